"""The shares of queues with a scheduling policy.

Owns the table `shares`, which the engine alone writes. Refuses to know how usage is counted.
"""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, delete, or_, select

from batchyard.model.ids import QueueArn
from batchyard.model.records import ShareRecord
from batchyard.model.status import JobStatus
from batchyard.store.schema import jobs, shares
from batchyard.store.statements import run_many

_WRITE = (
    "INSERT INTO shares (queue_arn, identifier, live_count, usage, counted_ms, cpu_milli)"
    " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (queue_arn, identifier) DO UPDATE SET"
    " live_count = excluded.live_count, usage = excluded.usage,"
    " counted_ms = excluded.counted_ms, cpu_milli = excluded.cpu_milli"
)
_DELETE = "DELETE FROM shares WHERE queue_arn = ? AND identifier = ?"
_QUEUE = bindparam("queue_arn", type_=shares.c.queue_arn.type)
_READ_ALL = select(shares).order_by(shares.c.queue_arn, shares.c.identifier)
_ACTIVE = select(shares.c.identifier).where(
    shares.c.queue_arn == _QUEUE,
    or_(
        shares.c.live_count > 0,
        (shares.c.usage > 0) & (shares.c.counted_ms > bindparam("used_after_ms")),
    ),
)
# One range of `ix_jobs_queue`: what the engine has not looked at yet.
_SUBMITTED = (
    select(jobs.c.share_identifier)
    .where(
        jobs.c.queue_arn == _QUEUE,
        jobs.c.status == JobStatus.SUBMITTED.value,
        jobs.c.share_identifier.is_not(None),
    )
    .distinct()
)


def write_shares(
    conn: Connection, changed: Mapping[tuple[QueueArn, str], ShareRecord | None]
) -> None:
    """Replace what is kept of shares; None: nothing any more."""
    run_many(conn, _DELETE, [key for key, record in changed.items() if record is None])
    run_many(
        conn,
        _WRITE,
        [
            (*key, record.live_count, record.usage, record.counted_ms, record.cpu_milli)
            for key, record in changed.items()
            if record is not None
        ],
    )


def read_all_shares(conn: Connection) -> Iterable[tuple[QueueArn, str, ShareRecord]]:
    """Read the shares of all queues: the engine's start."""
    for row in conn.execute(_READ_ALL):
        record = ShareRecord(
            live_count=row.live_count,
            usage=row.usage,
            counted_ms=row.counted_ms,
            cpu_milli=row.cpu_milli,
        )
        yield QueueArn(row.queue_arn), row.identifier, record


def read_active_shares(conn: Connection, queue_arn: QueueArn, *, used_after_ms: int) -> set[str]:
    """Name the shares of a queue that have live jobs, or used something after a time.

    Costs as much as the queue has SUBMITTED jobs.
    """
    taken_in = conn.scalars(_ACTIVE, {"queue_arn": queue_arn, "used_after_ms": used_after_ms})
    submitted = conn.scalars(_SUBMITTED, {"queue_arn": queue_arn})
    return {*taken_in, *(each for each in submitted if each is not None)}


def delete_shares(conn: Connection, queue_arn: QueueArn) -> None:
    """Delete everything that is kept of the shares of a queue."""
    conn.execute(delete(shares).where(shares.c.queue_arn == queue_arn))
