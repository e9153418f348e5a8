"""The log store: takes the output of tasks, and is what the CloudWatch Logs operations work on.

Owns the making of groups and streams on demand, and the sweep of what expired. Refuses to know SQL.

Rules:
- It is the backend's `OutputSink`: lines and position are written in one transaction, and an append
  whose position is not beyond the stored one is ignored. So each line is stored once. Each
  container of a task writes to a stream of its own, and has a position of its own.
- A stream of a task keeps the order in which the task wrote: a clock that was set back gives no
  line an earlier time than the one before it.
- An empty line is no event: CloudWatch Logs knows none, and its drivers drop them.
- A group that a task writes to is made if it is missing: who must refuse a start without a group
  does so before it. A group that is deleted under a running task comes back with its next line;
  losing output helps nobody.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from batchyard.logs.limits import MS_PER_DAY, SWEEP_REST_S, SWEEP_ROWS
from batchyard.logs.putting import Line, split_line
from batchyard.model.ids import Scope, TaskId
from batchyard.store import Connection, Store
from batchyard.store import log_events as events
from batchyard.store import log_groups as groups


class Target(Protocol):
    """`compute.port.LogTarget`, which this room may not import."""

    @property
    def account(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def stream(self) -> str: ...


class OutputLine(Protocol):
    """`compute.port.OutputLine`."""

    @property
    def at_ms(self) -> int: ...
    @property
    def text(self) -> str: ...


#: A stream, found before: ids of group and stream, and the time of its last line.
_Known = tuple[int, int, int]

#: Ours: tasks remembered between appends; more than run at a time.
_KNOWN_MAX = 50_000


class LogStore:
    """Output in, CloudWatch Logs out."""

    def __init__(
        self, store: Store, *, clock_ms: Callable[[], int], rest_s: float = SWEEP_REST_S
    ) -> None:
        """`rest_s` is how long callers have the store after each batch of a sweep."""
        self.store = store
        self._clock_ms = clock_ms
        self._rest_s = rest_s
        #: By task and name of the stream.
        self._known: dict[TaskId, dict[str, _Known]] = {}

    async def read_position(self, task_id: TaskId, target: Target) -> int:
        """Tell up to where the output of the task is stored; 0 for a task it never heard of."""
        return await self.store.read(
            lambda conn: events.read_position(conn, task_id, target.stream)
        )

    async def append(
        self, task_id: TaskId, target: Target, *, position: int, lines: Sequence[OutputLine]
    ) -> None:
        """Store the lines and the position after them; return once both are durable.

        Makes the group and the stream if they are missing, also when `lines` is empty. An append
        that was stored before is ignored. Raises `StoreTrouble`; the append may then be repeated.
        """
        known = self._known.get(task_id, {}).pop(target.stream, None)
        stored = [
            (line.at_ms, piece)
            for line in lines
            if line.text
            for piece in split_line(line.text.encode(errors="replace"))
        ]
        now_ms = self._clock_ms()

        def write(conn: Connection) -> _Known:
            is_new = events.advance_position(conn, task_id, target.stream, position)
            found = known or _make_stream(conn, target, now_ms)
            if not is_new:
                return found
            if not _append(conn, found, stored, now_ms):
                # Deleted since: a stream of that name begins anew.
                found = _make_stream(conn, target, now_ms)
                _append(conn, found, stored, now_ms)
            last_ms = max((found[2], *(at_ms for at_ms, _ in stored)))
            return found[0], found[1], last_ms

        self._remember(task_id, target.stream, await self.store.write(write))

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        """Drop the positions of tasks that the backend has forgotten."""
        for task_id in task_ids:
            self._known.pop(task_id, None)
        await self.store.write(lambda conn: events.forget_positions(conn, task_ids))

    async def has_group(self, scope: Scope, name: str) -> bool:
        """Tell whether a log group exists."""
        return await self.store.read(lambda conn: groups.read_group(conn, scope, name)) is not None

    async def sweep(self, *, batches_max: int = 1000) -> int:
        """Delete expired events and what is left of deleted groups and streams.

        Each batch is a commit of its own, with a rest after it, so that others do not wait. Returns
        the number of rows deleted; call it again, some time later.
        """
        now_ms = self._clock_ms()
        count = 0
        for _ in range(batches_max):
            deleted = await self.store.write(lambda conn: _sweep_batch(conn, now_ms))
            if deleted is None:
                break
            count += deleted
            await asyncio.sleep(self._rest_s)
        return count

    def _remember(self, task_id: TaskId, stream: str, known: _Known) -> None:
        if len(self._known) >= _KNOWN_MAX:
            # The one that was silent for longest: each append moves its task to the end.
            del self._known[next(iter(self._known))]
        streams = self._known.pop(task_id, {})
        streams[stream] = known
        self._known[task_id] = streams


def _append(conn: Connection, known: _Known, lines: Sequence[Line], now_ms: int) -> bool:
    group_id, stream_id, last_ms = known
    ordered = []
    for at_ms, message in lines:
        last_ms = max(last_ms, at_ms)
        ordered.append((last_ms, message))
    return events.append_log_events(
        conn, group_id=group_id, stream_id=stream_id, lines=ordered, ingestion_ms=now_ms
    )


def _make_stream(conn: Connection, target: Target, now_ms: int) -> _Known:
    scope = Scope(target.account, target.region)
    group = groups.read_group(conn, scope, target.group)
    if group is None:
        groups.insert_group(
            conn, scope, target.group, groups.NewGroup(created_ms=now_ms, detail={}, tags={})
        )
        group = groups.read_group(conn, scope, target.group)
        assert group is not None
    groups.insert_stream(conn, group.id, target.stream, created_ms=now_ms)
    stream = groups.read_stream(conn, group.id, target.stream)
    assert stream is not None
    return group.id, stream.id, stream.last_event_ms or 0


def _sweep_batch(conn: Connection, now_ms: int) -> int | None:
    """Delete one batch; None: there is nothing left to delete."""
    trash = groups.read_trash(conn)
    if trash is not None:
        return _sweep_trash(conn, trash)
    for group in groups.list_expiring_groups(conn):
        assert group.retention_days is not None
        before_ms = now_ms - group.retention_days * MS_PER_DAY
        if count := events.delete_events_before(conn, group.id, before_ms, SWEEP_ROWS):
            return count
    return None


def _sweep_trash(conn: Connection, trash: groups.Trash) -> int:
    if trash.stream_id is not None:
        count = events.delete_events_of_stream(conn, trash.group_id, trash.stream_id, SWEEP_ROWS)
    else:
        end_ms, _ = events.END_KEY
        count = events.delete_events_before(conn, trash.group_id, end_ms, SWEEP_ROWS)
        count += groups.delete_streams_of_group(conn, trash.group_id, SWEEP_ROWS)
    if count == 0:
        groups.settle_trash(conn, trash)
    return count
