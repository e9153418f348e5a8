"""Past facts, in the order in which they happened.

Owns the table `events`; the engine alone appends. Refuses to know what an event means, and how its
body is made: it takes encoded JSON and gives the object back.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select

from batchyard.model.ids import JobId
from batchyard.model.records import EventRecord
from batchyard.store import codec
from batchyard.store.schema import events
from batchyard.store.statements import insert_sql, run_many

#: When, of which job, what, the form's version, and the body as an encoded JSON object.
NewEvent = tuple[int, JobId | None, str, int, bytes]

_INSERT = insert_sql(events, ("at_ms", "job_id", "kind", "version", "body"))
_OF_JOB = select(events).where(events.c.job_id == bindparam("job_id")).order_by(events.c.seq)
_NEWEST = select(func.max(events.c.seq))
_AFTER = (
    select(events)
    .where(events.c.seq > bindparam("after"))
    .order_by(events.c.seq)
    .limit(bindparam("limit"))
)
_AT = select(events).where(events.c.at_ms == bindparam("at_ms")).order_by(events.c.seq)


def append_events(conn: Connection, new: Sequence[NewEvent]) -> None:
    """Append in the order given."""
    run_many(conn, _INSERT, new)


def read_events(conn: Connection, job_id: JobId) -> list[EventRecord]:
    """Read a job's story."""
    return [_record_of(row) for row in conn.execute(_OF_JOB, {"job_id": job_id})]


def read_events_after(conn: Connection, seq: int, limit: int) -> list[EventRecord]:
    """Read the next page of everything that happened."""
    return [_record_of(row) for row in conn.execute(_AFTER, {"after": seq, "limit": limit})]


def read_latest_of_kind(
    conn: Connection, kind: str, *, count_max: int, events_max: int
) -> list[EventRecord]:
    """Read the last events of a kind, oldest first; looks at the last `events_max` of any kind."""
    newest = newest_seq(conn)
    found = conn.execute(
        select(events)
        .where(events.c.seq > newest - events_max, events.c.kind == kind)
        .order_by(events.c.seq.desc())
        .limit(count_max)
    ).all()
    return [_record_of(row) for row in reversed(found)]


def newest_seq(conn: Connection) -> int:
    """Give the number of the last event; 0: nothing has happened yet."""
    return conn.scalar(_NEWEST) or 0


def read_last_time(conn: Connection, job_id: JobId, kinds: Sequence[str]) -> int | None:
    """Tell when one of these things last happened to a job; None: never, or it is forgotten."""
    found: int | None = conn.scalar(
        select(func.max(events.c.at_ms)).where(
            events.c.job_id == job_id, events.c.kind.in_(list(kinds))
        )
    )
    return found


def read_job_ids_of_latest(
    conn: Connection, kind: str, *, after_ms: int, events_max: int
) -> list[JobId]:
    """Name the jobs to which something of a kind happened last, the latest first.

    Looks at the last `events_max` events alone, of whatever kind.
    """
    newest = newest_seq(conn)
    found = conn.scalars(
        select(events.c.job_id)
        .where(
            events.c.seq > newest - events_max, events.c.kind == kind, events.c.at_ms >= after_ms
        )
        .order_by(events.c.seq.desc())
    )
    return [JobId(each) for each in dict.fromkeys(found) if each is not None]


def read_events_at(conn: Connection, at_ms: int) -> list[EventRecord]:
    """Read what happened at a moment. Looks through all events."""
    return [_record_of(row) for row in conn.execute(_AT, {"at_ms": at_ms})]


def _record_of(row: Row[*tuple[Any, ...]]) -> EventRecord:
    return EventRecord(
        seq=row.seq,
        at_ms=row.at_ms,
        job_id=None if row.job_id is None else JobId(row.job_id),
        kind=row.kind,
        version=row.version,
        body=codec.decode_object(row.body),
    )
