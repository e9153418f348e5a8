"""Log events: one row per line of output.

Owns the tables `log_events` and `output_positions`. Refuses to know who wrote a line, and what a
page is.

Events of a stream, and those of a group, are ordered by time and then by arrival (`id`). Both
orders are an index, so that the tail of a group with thousands of streams and the output of one
job cost what they return. A line touches three b-trees: the table grows at its end; the group's
index nearly so, because lines come in the order of their time; the stream's at one place per
stream that is being written, so its pages stay in the cache. Measured on SQLite: 5 us of CPU per
line in appends of a hundred, 70 in an append of its own. (Keeping rows inside the group's index
would save a third, and make every long line spill over the pages that a search walks through;
chunks of lines would be cheaper still, but then a page, a filter and a retention limit all cut
through the middle of rows.)

Rules:
- Messages are UTF-8 bytes.
- The position of a container's output and the lines up to it are written in one transaction, and a
  position never goes back: a line is stored once, however often its append is repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, select, tuple_

from batchyard.store import codec
from batchyard.store.schema import log_events, output_positions
from batchyard.store.statements import in_lists, insert_sql, run_many, run_one

#: What CloudWatch Logs adds to the bytes of each message when it counts.
EVENT_OVERHEAD_BYTES = 26

#: Where an event stands: its time, then its id.
EventKey = tuple[int, int]

#: Beyond every event.
END_KEY: EventKey = (2**42, 0)

_INSERT = insert_sql(log_events, ("group_id", "stream_id", "at_ms", "ingestion_ms", "message"))
_READ_POSITION = select(func.max(output_positions.c.position)).where(
    output_positions.c.task_id == bindparam("task_id"),
    output_positions.c.stream.in_([bindparam("stream"), ""]),
)
_ADVANCE = (
    "INSERT INTO output_positions (task_id, stream, position) VALUES (?, ?, ?)"
    " ON CONFLICT (task_id, stream) DO UPDATE SET position = excluded.position"
    " WHERE output_positions.position < excluded.position"
)
_TOUCH_STREAM = (
    "UPDATE log_streams SET"
    " first_event_ms = CASE WHEN first_event_ms = 0 OR first_event_ms > ? THEN ?"
    " ELSE first_event_ms END,"
    " last_event_ms = CASE WHEN last_event_ms < ? THEN ? ELSE last_event_ms END,"
    " last_ingestion_ms = ? WHERE id = ? AND group_id = ?"
)
_GROW_GROUP = "UPDATE log_groups SET stored_bytes = stored_bytes + ? WHERE id = ?"

_COLUMNS = (
    log_events.c.id,
    log_events.c.stream_id,
    log_events.c.at_ms,
    log_events.c.ingestion_ms,
    log_events.c.message,
)
_KEY = tuple_(log_events.c.at_ms, log_events.c.id)
_RANGE = (
    select(*_COLUMNS)
    .where(
        tuple_(bindparam("low_ms"), bindparam("low_id")) <= _KEY,
        tuple_(bindparam("high_ms"), bindparam("high_id")) > _KEY,
    )
    .limit(bindparam("limit"))
)
_ASCENDING = (log_events.c.at_ms, log_events.c.id)
_DESCENDING = (log_events.c.at_ms.desc(), log_events.c.id.desc())
_OF_STREAM = _RANGE.where(log_events.c.stream_id == bindparam("owner_id"))
_OF_GROUP = _RANGE.where(log_events.c.group_id == bindparam("owner_id"))
#: By (of a stream, descending).
_READ = {
    (True, False): _OF_STREAM.order_by(*_ASCENDING),
    (True, True): _OF_STREAM.order_by(*_DESCENDING),
    (False, False): _OF_GROUP.order_by(*_ASCENDING),
    (False, True): _OF_GROUP.order_by(*_DESCENDING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEvent:
    """A stored line."""

    #: Rises with arrival; never used twice.
    id: int
    stream_id: int
    at_ms: int
    ingestion_ms: int
    message: str
    #: As CloudWatch Logs counts: the message in UTF-8, and the overhead.
    size: int

    @property
    def key(self) -> EventKey:
        return self.at_ms, self.id


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Events of a stream, or of a group: from `low` (inclusive) to `high` (exclusive)."""

    group_id: int
    #: None: the events of every stream of the group.
    stream_id: int | None
    low: EventKey
    high: EventKey
    is_descending: bool = False


def read_slice(conn: Connection, part: Slice, limit: int) -> list[LogEvent]:
    """Read the first `limit` events of a slice, in its direction. Costs what it returns."""
    is_of_stream = part.stream_id is not None
    values = {
        "owner_id": part.stream_id if is_of_stream else part.group_id,
        "low_ms": part.low[0],
        "low_id": part.low[1],
        "high_ms": part.high[0],
        "high_id": part.high[1],
        "limit": limit,
    }
    rows = conn.execute(_READ[is_of_stream, part.is_descending], values)
    return [_event_of(row) for row in rows]


def append_log_events(
    conn: Connection,
    *,
    group_id: int,
    stream_id: int,
    lines: Sequence[tuple[int, bytes]],
    ingestion_ms: int,
) -> bool:
    """Append lines, given as time and message. False: stream or group is gone."""
    if not lines:
        return True
    first_ms = min(at_ms for at_ms, _ in lines)
    last_ms = max(at_ms for at_ms, _ in lines)
    times = (first_ms, first_ms, last_ms, last_ms, ingestion_ms)
    size = sum(len(message) + EVENT_OVERHEAD_BYTES for _, message in lines)
    # The streams of a deleted group are still there until they are swept.
    if not run_one(conn, _TOUCH_STREAM, (*times, stream_id, group_id)) or not run_one(
        conn, _GROW_GROUP, (size, group_id)
    ):
        return False
    rows = [(group_id, stream_id, at_ms, ingestion_ms, message) for at_ms, message in lines]
    run_many(conn, _INSERT, rows)
    return True


def read_position(conn: Connection, task_id: str, stream: str) -> int:
    """Tell up to where a container's output is stored; 0 if nothing is known of it."""
    return conn.scalars(_READ_POSITION, {"task_id": task_id, "stream": stream}).one() or 0


def advance_position(conn: Connection, task_id: str, stream: str, position: int) -> bool:
    """Move a container's position forward. False: it is there already, or beyond."""
    return run_one(conn, _ADVANCE, (task_id, stream, position)) > 0


def forget_positions(conn: Connection, task_ids: Sequence[str]) -> None:
    """Drop the positions of tasks whose output is complete."""
    for piece in in_lists(task_ids):
        conn.execute(delete(output_positions).where(output_positions.c.task_id.in_(piece)))


def delete_events_before(conn: Connection, group_id: int, before_ms: int, limit: int) -> int:
    """Delete up to `limit` of a group's oldest events that are older; returns how many."""
    return _delete(
        conn,
        group_id,
        select(log_events.c.id, func.length(log_events.c.message))
        .where(log_events.c.group_id == group_id, log_events.c.at_ms < before_ms)
        .order_by(log_events.c.at_ms, log_events.c.id)
        .limit(limit),
    )


def delete_events_of_stream(conn: Connection, group_id: int, stream_id: int, limit: int) -> int:
    """Delete up to `limit` events of a stream; returns how many."""
    return _delete(
        conn,
        group_id,
        select(log_events.c.id, func.length(log_events.c.message))
        .where(log_events.c.stream_id == stream_id)
        .limit(limit),
    )


def _delete(conn: Connection, group_id: int, doomed: Select[int, int]) -> int:
    found = conn.execute(doomed).all()
    for piece in in_lists([number for number, _ in found]):
        conn.execute(delete(log_events).where(log_events.c.id.in_(piece)))
    if found:
        size = sum(length + EVENT_OVERHEAD_BYTES for _, length in found)
        run_one(conn, _GROW_GROUP, (-size, group_id))
    return len(found)


def _event_of(row: Row[int, int, int, int, bytes]) -> LogEvent:
    number, stream_id, at_ms, ingestion_ms, message = row
    return LogEvent(
        id=number,
        stream_id=stream_id,
        at_ms=at_ms,
        ingestion_ms=ingestion_ms,
        message=codec.decode_text(message),
        size=len(message) + EVENT_OVERHEAD_BYTES,
    )
