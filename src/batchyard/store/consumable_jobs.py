"""Which jobs need a consumable resource.

Owns the table `consumable_jobs`: a row for each job and resource that it needs, as long as the job
is kept. Refuses to know how much they need: that stands in the job.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, and_, func, or_, select

from batchyard.model.ids import ConsumableArn
from batchyard.model.records import JobRecord, NewJob
from batchyard.model.status import JobStatus
from batchyard.store import codec
from batchyard.store.job_rows import record_of
from batchyard.store.schema import consumable_jobs, jobs
from batchyard.store.statements import insert_sql, run_many

_INSERT = insert_sql(consumable_jobs, ("consumable_arn", "created_ms", "job_id"))
_DELETE = "DELETE FROM consumable_jobs WHERE consumable_arn = ? AND created_ms = ? AND job_id = ?"


def insert_needs(conn: Connection, new: Iterable[NewJob]) -> None:
    """Enter submitted jobs; most need nothing."""
    rows = [(need.arn, job.created_ms, job.id) for job in new for need in job.needs]
    run_many(conn, _INSERT, rows)


def delete_needs(conn: Connection, job_ids: Sequence[str]) -> None:
    """Take out jobs that are about to be deleted."""
    found = conn.execute(
        select(jobs.c.id, jobs.c.created_ms, jobs.c.needs).where(
            jobs.c.id.in_(job_ids), jobs.c.needs.is_not(None)
        )
    )
    rows = [
        (need.arn, created_ms, job_id)
        for job_id, created_ms, needs in found
        for need in codec.decode_needs(needs)
    ]
    run_many(conn, _DELETE, rows)


def list_jobs_by_consumable(  # noqa: PLR0913 - what narrows a page, by name
    conn: Connection,
    arn: ConsumableArn,
    *,
    status: JobStatus | None = None,
    name: str | None = None,
    name_prefix: str | None = None,
    before: tuple[int, str] | None,
    limit: int,
) -> list[JobRecord]:
    """Read a page of the jobs that need a resource, newest first.

    `before` is time of creation and id of the last job of the page before. With a filter it may
    look at every job of the resource: use `Store.read_long`.
    """
    table = consumable_jobs.c
    query = (
        select(jobs)
        .join(consumable_jobs, table.job_id == jobs.c.id)
        .where(table.consumable_arn == arn)
    )
    if before is not None:
        created_ms, job_id = before
        query = query.where(
            or_(
                table.created_ms < created_ms,
                and_(table.created_ms == created_ms, table.job_id < job_id),
            )
        )
    if status is not None:
        query = query.where(jobs.c.status == status.value)
    lower = func.lower(jobs.c.name)
    if name is not None:
        query = query.where(lower == name.lower())
    if name_prefix is not None:
        query = query.where(lower.startswith(name_prefix.lower(), autoescape=True))
    query = query.order_by(table.created_ms.desc(), table.job_id.desc()).limit(limit)
    return [record_of(row) for row in conn.execute(query)]
