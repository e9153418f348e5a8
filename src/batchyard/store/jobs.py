"""Jobs: what was submitted, and what has become of it.

Owns the table `jobs`. The API inserts and reads; the engine alone writes progress. Refuses to know
which change of status is legal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from batchyard.model.amounts import Amount
from batchyard.model.ids import DefinitionArn, JobId, QueueArn, Scope
from batchyard.model.records import JobProgress, JobRecord, NewJob, QueuedJob
from batchyard.model.status import JobStatus
from batchyard.store import codec
from batchyard.store.schema import events, jobs, wishes
from batchyard.store.statements import changed_rows, in_lists, insert_sql, run_many

#: Ours: far more containers than machines can hold.
PLACED_JOBS_MAX = 10_000_000

#: In the order of a job's life.
_LIVE = (JobStatus.PENDING, JobStatus.RUNNABLE, JobStatus.STARTING, JobStatus.RUNNING)

_INSERT = insert_sql(
    jobs,
    (
        "id",
        "account",
        "region",
        "queue_arn",
        "name",
        "definition_arn",
        "created_ms",
        "cpu_milli",
        "memory_mib",
        "gpu_count",
        "attempts_max",
        "timeout_ms",
        "depends_on",
        "spec",
        "tags",
        "status",
        "exit_rules",
    ),
)
_WRITE_PROGRESS = "UPDATE jobs SET status = ?, stopped_ms = ?, progress = ? WHERE id = ?"

_QUEUED_COLUMNS = (
    jobs.c.seq,
    jobs.c.id,
    jobs.c.queue_arn,
    jobs.c.cpu_milli,
    jobs.c.memory_mib,
    jobs.c.gpu_count,
    jobs.c.attempts_max,
    jobs.c.timeout_ms,
    jobs.c.depends_on,
    jobs.c.created_ms,
    jobs.c.progress,
    jobs.c.exit_rules,
)
# `stopped_ms IS NULL` lets both databases use the index of live jobs.
_READ_LIVE = (
    select(*_QUEUED_COLUMNS)
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
_IDS: BindParameter[Sequence[str]] = bindparam("ids", expanding=True)
_READ_STATUSES = select(jobs.c.id, jobs.c.status).where(jobs.c.id.in_(_IDS))
_READ_JOBS = select(jobs).where(jobs.c.id.in_(_IDS))
_IN_SCOPE = (jobs.c.account == bindparam("account"), jobs.c.region == bindparam("region"))
_READ_SCOPED_JOBS = _READ_JOBS.where(*_IN_SCOPE)
_READ_SCOPED_IDS = select(jobs.c.id).where(jobs.c.id.in_(_IDS), *_IN_SCOPE)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Narrows `list_jobs`; what is None does not narrow. Several hold together.

    `name` and `name_prefix` ignore case, as AWS does. The definition's are of whole ARNs
    (`…job-definition/train:` is the prefix of every revision of `train`).
    """

    name: str | None = None
    name_prefix: str | None = None
    definition_arn: str | None = None
    definition_arn_prefix: str | None = None
    #: Exclusive.
    created_before_ms: int | None = None
    #: Exclusive.
    created_after_ms: int | None = None


_NO_FILTER = JobFilter()


def insert_jobs(conn: Connection, new: Iterable[NewJob]) -> None:
    """Store jobs as SUBMITTED, numbered in the order given. Callers use `Store.append_job`."""
    run_many(conn, _INSERT, [_row_of(job) for job in new])


def read_submitted(conn: Connection, limit: int) -> list[QueuedJob]:
    """Read what the engine has not looked at, oldest first. Costs what it returns."""
    return _read_live(conn, JobStatus.SUBMITTED, 0, limit)


def has_submitted_after(conn: Connection, queue_arn: QueueArn, seq: int) -> bool:
    """Tell whether a queue has SUBMITTED jobs beyond a submission number."""
    where = {"queue_arn": queue_arn, "seq": seq}
    return conn.scalars(_SUBMITTED_AFTER, where).one_or_none() is not None


def read_live(conn: Connection, after_seq: int, limit: int) -> list[QueuedJob]:
    """Read the next page of what the engine must hold: not terminal and not SUBMITTED, by seq."""
    pages = [_read_live(conn, status, after_seq, limit) for status in _LIVE]
    return list(islice(merge(*pages, key=lambda job: job.seq), limit))


def read_placed(conn: Connection) -> list[QueuedJob]:
    """Read the jobs that have a task on a host: no more than the hosts hold."""
    placed = (JobStatus.STARTING, JobStatus.RUNNING)
    return [job for status in placed for job in _read_live(conn, status, 0, PLACED_JOBS_MAX)]


def count_live(conn: Connection) -> dict[JobStatus, int]:
    """Count the jobs that have not ended, by status. Takes time in their number."""
    return {JobStatus(status): count for status, count in conn.execute(_COUNT_LIVE)}


def read_statuses(conn: Connection, ids: Sequence[JobId]) -> dict[JobId, JobStatus]:
    """Tell the status of those that exist."""
    return {
        JobId(row.id): JobStatus(row.status)
        for piece in in_lists(ids)
        for row in conn.execute(_READ_STATUSES, {"ids": piece})
    }


def read_jobs(conn: Connection, scope: Scope, ids: Sequence[JobId]) -> list[JobRecord]:
    """Read jobs in the order asked for; foreign and unknown ones are left out."""
    where = {"account": scope.account, "region": scope.region}
    found = {
        row.id: _record_of(row)
        for piece in in_lists(ids)
        for row in conn.execute(_READ_SCOPED_JOBS, {"ids": piece, **where})
    }
    return [found[each] for each in ids if each in found]


def which_exist(conn: Connection, scope: Scope, ids: Sequence[JobId]) -> set[JobId]:
    """Tell which of them are jobs of the scope, finished ones included. Reads no job whole."""
    where = {"account": scope.account, "region": scope.region}
    return {
        JobId(found)
        for piece in in_lists(ids)
        for found in conn.scalars(_READ_SCOPED_IDS, {"ids": piece, **where})
    }


def read_specs(conn: Connection, ids: Sequence[JobId]) -> dict[JobId, JobRecord]:
    """Read jobs of any scope: for the engine."""
    return {
        JobId(row.id): _record_of(row)
        for piece in in_lists(ids)
        for row in conn.execute(_READ_JOBS, {"ids": piece})
    }


def list_jobs(  # noqa: PLR0913 - what narrows a page, by name
    conn: Connection,
    queue_arn: QueueArn,
    *,
    statuses: Sequence[JobStatus] | None,
    before_seq: int | None,
    limit: int,
    narrowed: JobFilter = _NO_FILTER,
) -> list[JobRecord]:
    """Read a page of a queue's jobs, newest first; `statuses` None means all.

    Without a filter it costs what it returns, times the number of statuses. With one it may look at
    every job of the queue: use `Store.read_long`.
    """
    base = _narrow(select(jobs).where(jobs.c.queue_arn == queue_arn), narrowed)
    if before_seq is not None:
        base = base.where(jobs.c.seq < before_seq)
    base = base.order_by(jobs.c.seq.desc()).limit(limit)
    pages = [
        conn.execute(base.where(jobs.c.status == status)).all()
        for status in (tuple(JobStatus) if statuses is None else dict.fromkeys(statuses))
    ]
    newest = islice(merge(*pages, key=lambda row: -row.seq), limit)
    return [_record_of(row) for row in newest]


def list_jobs_by_name(
    conn: Connection,
    queue_arn: QueueArn,
    *,
    narrowed: JobFilter,
    after: tuple[str, int] | None,
    limit: int,
) -> list[JobRecord]:
    """Read a page of a queue's jobs of all statuses in order of names, newest first in each name.

    `after` is name and seq of the last job of the page before. Looks at every job of the queue: use
    `Store.read_long`.
    """
    query = _narrow(select(jobs).where(jobs.c.queue_arn == queue_arn), narrowed)
    if after is not None:
        name, seq = after
        query = query.where(or_(jobs.c.name > name, and_(jobs.c.name == name, jobs.c.seq < seq)))
    query = query.order_by(jobs.c.name, jobs.c.seq.desc()).limit(limit)
    return [_record_of(row) for row in conn.execute(query)]


def write_progress(conn: Connection, changed: Sequence[tuple[JobId, JobProgress]]) -> None:
    """Replace what the engine has made of jobs. Unknown jobs are passed over."""
    run_many(
        conn,
        _WRITE_PROGRESS,
        [
            (progress.status.value, progress.stopped_ms, codec.encode_progress(progress), job_id)
            for job_id, progress in changed
        ],
    )


def write_job_tags(conn: Connection, job_id: JobId, tags: Mapping[str, str]) -> bool:
    """Replace a job's tags. False: there is no such job."""
    statement = update(jobs).where(jobs.c.id == job_id).values(tags=codec.encode_tags(tags))
    return changed_rows(conn, statement) > 0


def delete_finished_before(conn: Connection, stopped_ms: int, limit: int) -> int:
    """Delete up to `limit` jobs that ended before, longest ago first, with all that hangs on them.

    Returns the number of jobs deleted: less than `limit` means that none is left.
    """
    ids = conn.scalars(
        select(jobs.c.id)
        .where(jobs.c.stopped_ms.is_not(None), jobs.c.stopped_ms < stopped_ms)
        .order_by(jobs.c.stopped_ms)
        .limit(limit)
    ).all()
    count = 0
    for piece in in_lists(ids):
        conn.execute(delete(events).where(events.c.job_id.is_not(None), events.c.job_id.in_(piece)))
        conn.execute(delete(wishes).where(wishes.c.job_id.in_(piece)))
        count += changed_rows(conn, delete(jobs).where(jobs.c.id.in_(piece)))
    return count


def _read_live(conn: Connection, status: JobStatus, after_seq: int, limit: int) -> list[QueuedJob]:
    rows = conn.execute(
        _READ_LIVE, {"status": status.value, "after_seq": after_seq, "limit": limit}
    )
    return [_queued_of(row) for row in rows]


def _narrow(query: Select[*tuple[Any, ...]], by: JobFilter) -> Select[*tuple[Any, ...]]:
    name = func.lower(jobs.c.name)
    if by.name is not None:
        query = query.where(name == by.name.lower())
    if by.name_prefix is not None:
        query = query.where(name.startswith(by.name_prefix.lower(), autoescape=True))
    if by.definition_arn is not None:
        query = query.where(jobs.c.definition_arn == by.definition_arn)
    if by.definition_arn_prefix is not None:
        # Not LIKE: SQLite's ignores case, and AWS does not here.
        length = len(by.definition_arn_prefix)
        query = query.where(
            func.substr(jobs.c.definition_arn, 1, length) == by.definition_arn_prefix
        )
    if by.created_before_ms is not None:
        query = query.where(jobs.c.created_ms < by.created_before_ms)
    if by.created_after_ms is not None:
        query = query.where(jobs.c.created_ms > by.created_after_ms)
    return query


def _row_of(job: NewJob) -> tuple[str | bytes | int | None, ...]:
    demand = job.demand
    return (
        job.id,
        job.scope.account,
        job.scope.region,
        job.queue_arn,
        job.name,
        job.definition_arn,
        job.created_ms,
        demand.cpu_milli,
        demand.memory_mib,
        demand.gpu_count,
        job.attempts_max,
        job.timeout_ms,
        codec.encode_job_ids(job.depends_on),
        job.spec,
        codec.encode_tags(job.tags),
        "SUBMITTED",
        codec.encode_exit_rules(job.exit_rules),
    )


def _queued_of(row: Row[*tuple[Any, ...]]) -> QueuedJob:
    (
        seq,
        job_id,
        queue_arn,
        cpu,
        memory,
        gpu,
        attempts,
        timeout,
        depends,
        created,
        progress,
        rules,
    ) = row
    return QueuedJob(
        seq=seq,
        id=JobId(job_id),
        queue_arn=QueueArn(queue_arn),
        demand=Amount(cpu_milli=cpu, memory_mib=memory, gpu_count=gpu),
        attempts_max=attempts,
        timeout_ms=timeout,
        depends_on=codec.decode_job_ids(depends),
        created_ms=created,
        progress=codec.decode_progress(progress),
        exit_rules=codec.decode_exit_rules(rules),
    )


def _record_of(row: Row[*tuple[Any, ...]]) -> JobRecord:
    return JobRecord(
        seq=row.seq,
        job=NewJob(
            id=JobId(row.id),
            scope=Scope(row.account, row.region),
            queue_arn=QueueArn(row.queue_arn),
            name=row.name,
            definition_arn=DefinitionArn(row.definition_arn),
            created_ms=row.created_ms,
            demand=Amount(
                cpu_milli=row.cpu_milli, memory_mib=row.memory_mib, gpu_count=row.gpu_count
            ),
            attempts_max=row.attempts_max,
            exit_rules=codec.decode_exit_rules(row.exit_rules),
            timeout_ms=row.timeout_ms,
            depends_on=codec.decode_job_ids(row.depends_on),
            spec=bytes(row.spec),
            tags=codec.decode_tags(row.tags),
        ),
        progress=codec.decode_progress(row.progress),
    )
