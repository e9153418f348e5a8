"""Jobs as the engine sees them: what waits for it, what it loads at its start, what it writes.

Owns the engine's side of the table `jobs`: it alone writes progress, of children and nodes too.
Refuses to know what callers ask, and which change of status is legal.
"""

from collections.abc import Iterator, Sequence
from heapq import merge
from operator import attrgetter

from sqlalchemy import BindParameter, Connection, bindparam, func, select

from batchyard.model.ids import JobId, QueueArn, TaskId, is_part_id
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.status import JobStatus
from batchyard.store import codec
from batchyard.store.children import (
    read_child_statuses,
    read_placed_children,
    write_children,
)
from batchyard.store.job_rows import QUEUED_COLUMNS, queued_of
from batchyard.store.jobs import read_specs
from batchyard.store.schema import children, jobs
from batchyard.store.statements import in_lists, run_many

#: Ours: far more containers than machines can hold.
PLACED_JOBS_MAX = 10_000_000

#: Rows of a status that are read at a time while everything is.
_PAGE_ROWS = 5000

#: In the order of a job's life.
_LIVE = (
    JobStatus.PENDING,
    JobStatus.RUNNABLE,
    JobStatus.SCHEDULED,
    JobStatus.STARTING,
    JobStatus.RUNNING,
)

_IDS: BindParameter[Sequence[str]] = bindparam("ids", expanding=True)
_WRITE_PROGRESS = "UPDATE jobs SET status = ?, stopped_ms = ?, progress = ? WHERE id = ?"

# `stopped_ms IS NULL` lets both databases use the index of live jobs.
_READ_LIVE = (
    select(*QUEUED_COLUMNS)
    .where(
        jobs.c.stopped_ms.is_(None),
        jobs.c.status == bindparam("status"),
        jobs.c.seq > bindparam("after_seq"),
    )
    .order_by(jobs.c.seq)
    .limit(bindparam("limit"))
)
_SUBMITTED_AFTER = (
    select(jobs.c.seq)
    .where(
        jobs.c.queue_arn == bindparam("queue_arn"),
        jobs.c.status == JobStatus.SUBMITTED.value,
        jobs.c.seq > bindparam("seq"),
    )
    .limit(1)
)
_COUNT_LIVE = (
    select(jobs.c.status, func.count()).where(jobs.c.stopped_ms.is_(None)).group_by(jobs.c.status)
)

_READ_STATUSES = select(jobs.c.id, jobs.c.status).where(jobs.c.id.in_(_IDS))


def read_submitted(conn: Connection, limit: int) -> list[QueuedJob]:
    """Read what the engine has not looked at, oldest first. Costs what it returns."""
    return _read_live(conn, JobStatus.SUBMITTED, 0, limit)


def has_submitted_after(conn: Connection, queue_arn: QueueArn, seq: int) -> bool:
    """Tell whether a queue has SUBMITTED jobs beyond a submission number."""
    where = {"queue_arn": queue_arn, "seq": seq}
    return conn.scalars(_SUBMITTED_AFTER, where).one_or_none() is not None


def read_live(conn: Connection) -> Iterator[QueuedJob]:
    """Read what the engine must hold: not terminal and not SUBMITTED, by submission number."""
    return merge(*(_read_all_live(conn, status) for status in _LIVE), key=attrgetter("seq"))


def read_placed_tasks(conn: Connection) -> set[TaskId]:
    """Name the tasks of all live attempts, children and nodes included."""
    whole = (
        job.progress
        for status in (JobStatus.SCHEDULED, JobStatus.STARTING, JobStatus.RUNNING)
        for job in _read_live(conn, status, 0, PLACED_JOBS_MAX)
    )
    return {
        progress.attempt.task_id
        for progress in (*whole, *read_placed_children(conn))
        if progress.attempt is not None
    }


def count_live(conn: Connection) -> dict[JobStatus, int]:
    """Count the jobs that have not ended, by status. Takes time in their number."""
    return {JobStatus(status): count for status, count in conn.execute(_COUNT_LIVE)}


def read_statuses(conn: Connection, ids: Sequence[JobId]) -> dict[JobId, JobStatus]:
    """Tell the status of those that exist, children and nodes included."""
    whole = [each for each in ids if not is_part_id(each)]
    parts = [each for each in ids if is_part_id(each)]
    statuses = {
        JobId(row.id): JobStatus(row.status)
        for piece in in_lists(whole)
        for row in conn.execute(_READ_STATUSES, {"ids": piece})
    }
    if parts:
        found = read_specs(conn, parts)
        statuses.update((job_id, record.progress.status) for job_id, record in found.items())
    return statuses


def read_ended_arrays(conn: Connection, ids: Sequence[JobId]) -> dict[JobId, dict[int, JobStatus]]:
    """Tell how each child ended, of those of the jobs that are arrays and have ended."""
    return {
        job_id: read_child_statuses(conn, record)
        for job_id, record in read_specs(conn, ids).items()
        if record.progress.array is not None and record.progress.status.is_terminal
    }


def write_progress(conn: Connection, changed: Sequence[tuple[JobId, JobProgress]]) -> None:
    """Replace what the engine has made of jobs, children and nodes.

    Unknown jobs are passed over; a child or a node gets its row with the first thing written of it.
    """
    run_many(
        conn,
        _WRITE_PROGRESS,
        [
            (progress.status.value, progress.stopped_ms, codec.encode_progress(progress), job_id)
            for job_id, progress in changed
            if not is_part_id(job_id)
        ],
    )
    write_children(conn, [each for each in changed if is_part_id(each[0])])


def _read_live(conn: Connection, status: JobStatus, after_seq: int, limit: int) -> list[QueuedJob]:
    rows = conn.execute(
        _READ_LIVE, {"status": status.value, "after_seq": after_seq, "limit": limit}
    )
    return [queued_of(row) for row in rows.all()]


def _read_all_live(conn: Connection, status: JobStatus) -> Iterator[QueuedJob]:
    after_seq = 0
    while page := _read_live(conn, status, after_seq, _PAGE_ROWS):
        yield from page
        after_seq = page[-1].seq


def count_live_up_to(conn: Connection, most: int) -> int:
    """Count the jobs, children and nodes with a record that have not ended; stops at `most`."""
    total = 0
    for table in (jobs, children):
        found = select(table.c.status).where(table.c.stopped_ms.is_(None)).limit(most).subquery()
        total += conn.scalar(select(func.count()).select_from(found)) or 0
    return min(total, most)
