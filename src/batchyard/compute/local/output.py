"""From the spool to the sink: each container's output, read where the supervisor left it.

Owns how far each container's output has come and when its reports may be told: the start after its
stream exists, the end after everything is stored (rule 4 of the port). A container that was made
and did not start has a stream, too, an empty one. Refuses to know sockets and containers. A spool
is read in the event loop: it was written a moment ago and lies in the page cache.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from batchyard.compute.local.detect import now_ms
from batchyard.compute.local.lines import EventLines, decode_marked, offset_of, position_after
from batchyard.compute.local.shapes import EndShape
from batchyard.compute.local.supervisor.records import SPOOL_SUFFIX
from batchyard.compute.local.supervisor.spool import READ_BYTES, READ_BYTES_MAX, decode, is_cut
from batchyard.compute.port import (
    START_REFUSED,
    ContainerEnded,
    FileTarget,
    LogTarget,
    OutputLine,
    OutputSink,
    Report,
    Target,
    TaskEnded,
    TaskStarted,
)
from batchyard.model.ids import TaskId


class Tail:
    """How far the output of one container has come."""

    __slots__ = (
        "events",
        "flush",
        "has_stream",
        "is_essential",
        "name",
        "position",
        "size",
        "target",
        "task_id",
        "unit_id",
    )

    def __init__(
        self,
        task_id: TaskId,
        unit_id: str,
        target: Target | None,
        *,
        name: str,
        is_essential: bool,
    ) -> None:
        #: The sink knows the output by the task and the target.
        self.task_id = task_id
        #: The supervisor knows it by this: the task's id if it is the only container.
        self.unit_id = unit_id
        self.target = target
        self.name = name
        self.is_essential = is_essential
        #: How large the spool is, as far as the supervisor has told.
        self.size = 0
        #: Up to where it is in the sink; None until the sink was asked.
        self.position: int | None = None
        #: The lines between `position` and what was read, where they are grouped to events.
        self.events: EventLines | None = None
        #: Ends an event that does not grow any more.
        self.flush: asyncio.TimerHandle | None = None
        self.has_stream = False


class Watch:
    """What the server knows of one task."""

    __slots__ = (
        "address",
        "end",
        "is_dirty",
        "is_end_told",
        "is_pumping",
        "is_start_told",
        "started_at_ms",
        "tails",
        "task_id",
    )

    def __init__(self, task_id: TaskId, tails: list[Tail]) -> None:
        self.task_id = task_id
        #: One for each container, in the order of the spec.
        self.tails = tails
        self.started_at_ms: int | None = None
        self.address: str | None = None
        self.end: EndShape | None = None
        self.is_start_told = False
        self.is_end_told = False
        self.is_pumping = False
        #: Something was told since the pump last looked.
        self.is_dirty = False

    def take_end(self, end: EndShape) -> None:
        """Note the end, and how much output there is."""
        self.end = end
        self.address = end["address"] or self.address
        for tail, container in zip(self.tails, end["containers"], strict=True):
            tail.size = max(tail.size, container["spool_size"])


def end_report_of(watch: Watch, end: EndShape) -> TaskEnded:
    """Tell a task's end in the words of the port."""
    first = end["containers"][0]
    is_group = len(watch.tails) > 1
    return TaskEnded(
        task_id=watch.task_id,
        at_ms=end["at_ms"],
        exit_code=None if is_group else first["exit_code"],
        reason=None if is_group else first["reason"],
        is_lost=end["is_lost"],
        containers=tuple(
            ContainerEnded(
                name=tail.name,
                is_essential=tail.is_essential,
                exit_code=each["exit_code"],
                reason=each["reason"],
                was_stopped=each["was_stopped"],
            )
            for tail, each in zip(watch.tails, end["containers"], strict=True)
        )
        if is_group
        else (),
    )


def _was_made(end: EndShape | None, number: int) -> bool:
    """Say whether a container that ended got as far as its start."""
    reason = end["containers"][number]["reason"] if end else None
    return reason is not None and reason.startswith(START_REFUSED)


class Pump:
    """Moves output and then reports; many tasks at once, of each one container after the other."""

    def __init__(
        self,
        *,
        tasks_path: Path,
        sink: OutputSink,
        note_taken: Callable[[str, int], None],
        report: Callable[[Report], None],
        wake: Callable[[Watch], None],
    ) -> None:
        """`wake` has `run` called some time later, when nothing new was told of the task."""
        self._tasks_path = str(tasks_path)
        self._sink = sink
        self._note_taken = note_taken
        self._report = report
        self._wake = wake

    async def run(self, watch: Watch) -> None:
        """Move everything there is to move. Raises whatever the sink raises; then call it again."""
        while watch.is_dirty:
            watch.is_dirty = False
            started_at_ms, end = watch.started_at_ms, watch.end
            for number, tail in enumerate(watch.tails):
                is_made = started_at_ms is not None or _was_made(end, number)
                if tail.target is not None and (is_made or tail.size > 0):
                    lost_bytes = end["containers"][number]["lost_bytes"] if end else 0
                    await self._move(watch, tail, tail.target)
                    if end is not None and lost_bytes:
                        await self._tell_loss(tail, tail.target, end["at_ms"], lost_bytes)
            if started_at_ms is not None and not watch.is_start_told:
                watch.is_start_told = True
                self._report(
                    TaskStarted(task_id=watch.task_id, at_ms=started_at_ms, address=watch.address)
                )
            if end is not None and not watch.is_end_told:
                watch.is_end_told = True
                self._report(end_report_of(watch, end))

    async def _move(self, watch: Watch, tail: Tail, target: Target) -> None:
        if isinstance(target, LogTarget) and target.starts_event is not None:
            await self._move_events(watch, tail, target, target.starts_event)
        else:
            await self._move_lines(tail, target)

    async def _move_lines(self, tail: Tail, target: Target) -> None:
        if tail.position is None:
            tail.position = await self._sink.read_position(tail.task_id, target)
            if tail.position > 0:
                self._note_taken(tail.unit_id, tail.position)
        # What comes meanwhile waits for its turn: the task may have other containers.
        size = tail.size
        while tail.position < size or not tail.has_stream:
            lines, position = self._read_lines(tail, tail.position)
            if position == tail.position and tail.has_stream:
                break  # A power failure ate the rest.
            await self._sink.append(tail.task_id, target, position=position, lines=lines)
            tail.has_stream = True
            tail.position = position
            if position > 0:
                self._note_taken(tail.unit_id, position)

    async def _move_events(
        self, watch: Watch, tail: Tail, target: LogTarget, starts_event: str
    ) -> None:
        """Do what `_move_lines` does, with positions as `lines` counts them."""
        if tail.position is None:
            tail.position = await self._sink.read_position(tail.task_id, target)
            self._note_taken(tail.unit_id, offset_of(tail.position))
        # What was read and not stored is read again if an append fails.
        events, tail.events = tail.events or EventLines(starts_event, tail.position), None
        is_over = watch.end is not None
        begin = events.offset
        while True:
            offset = events.offset
            lines = events.add(self._read(tail, offset))
            is_dry = events.offset == offset
            if is_dry and (is_over or events.due_in_ms(now_ms()) == 0):
                lines += events.flush()
            if lines or not tail.has_stream:
                position = events.position
                await self._sink.append(tail.task_id, target, position=position, lines=lines)
                tail.has_stream = True
                tail.position = position
                self._note_taken(tail.unit_id, offset_of(position))
            if is_dry:
                break
        if events.offset != begin:
            # Also where nothing was stored: the supervisor tells of no more until it has heard.
            self._note_taken(tail.unit_id, offset_of(tail.position))
        tail.events = events
        self._flush_in_time(watch, tail, events)

    def _flush_in_time(self, watch: Watch, tail: Tail, events: EventLines) -> None:
        if tail.flush is not None:
            tail.flush.cancel()
            tail.flush = None
        due_in_ms = events.due_in_ms(now_ms())
        if due_in_ms is not None:
            loop = asyncio.get_running_loop()
            tail.flush = loop.call_later(due_in_ms / 1000, self._wake, watch)

    async def _tell_loss(self, tail: Tail, target: Target, at_ms: int, lost_bytes: int) -> None:
        end = tail.size if tail.events is None else position_after(tail.size)
        if tail.position is None or tail.position > end:
            return
        text = f"batchyard: {lost_bytes} bytes of output were lost: no disk space"
        # One past the spool: so that this line, too, is stored once.
        tail.position = end + 1
        line = OutputLine(at_ms=at_ms, text=text)
        await self._sink.append(tail.task_id, target, position=tail.position, lines=[line])

    def _read_lines(self, tail: Tail, position: int) -> tuple[list[OutputLine], int]:
        data = self._read(tail, position)
        if isinstance(tail.target, FileTarget):
            marked, used = decode_marked(data)
            return marked, position + used
        lines, used = decode(data)
        return [OutputLine(at_ms=at_ms, text=text) for at_ms, text in lines], position + used

    def _read(self, tail: Tail, position: int) -> bytes:
        """Read some of a spool, and at least the chunk at `position`; nothing where it ends."""
        if position >= tail.size:
            return b""
        try:
            fd = os.open(
                f"{self._tasks_path}/{tail.unit_id}{SPOOL_SUFFIX}", os.O_RDONLY | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return b""
        try:
            data = os.pread(fd, min(READ_BYTES, tail.size - position), position)
            if is_cut(data):
                data = os.pread(fd, min(READ_BYTES_MAX, tail.size - position), position)
        finally:
            os.close(fd)
        return data
