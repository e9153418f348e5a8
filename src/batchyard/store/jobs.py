"""Jobs as callers see them: what was submitted, and what has become of it.

Owns the table `jobs`, as the API inserts into it and reads it; what the engine loads and writes is
in `live_jobs`. Refuses to know which change of status is legal.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from batchyard.model.ids import (
    JobId,
    QueueArn,
    Scope,
    child_id,
    is_part_id,
    node_id,
    split_part_id,
    whole_id_of,
)
from batchyard.model.records import JobRecord, Json, NewJob
from batchyard.model.status import JobStatus
from batchyard.store import codec
from batchyard.store.children import delete_children, read_children
from batchyard.store.consumable_jobs import delete_needs, insert_needs
from batchyard.store.job_rows import INSERTED_COLUMNS, record_of, row_of
from batchyard.store.schema import events, jobs, wishes
from batchyard.store.statements import changed_rows, in_lists, insert_sql, run_many

_INSERT = insert_sql(jobs, INSERTED_COLUMNS)
_IDS: BindParameter[Sequence[str]] = bindparam("ids", expanding=True)
_READ_JOBS = select(jobs).where(jobs.c.id.in_(_IDS))
_READ_PARTS = select(jobs.c.array_size, jobs.c.nodes).where(jobs.c.id == bindparam("id"))
#: Before and behind every `:index` and every `#index`.
_PART_RANGES = ((":", ";"), ("#", "$"))
_IN_SCOPE = (jobs.c.account == bindparam("account"), jobs.c.region == bindparam("region"))
_READ_SCOPED_JOBS = _READ_JOBS.where(*_IN_SCOPE)
_READ_ARRAY_SIZES = select(jobs.c.id, jobs.c.array_size).where(
    jobs.c.id.in_(_IDS), *_IN_SCOPE, jobs.c.service.is_(None)
)


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
    share_identifier: str | None = None
    quota_share: str | None = None


_NO_FILTER = JobFilter()


def insert_jobs(conn: Connection, new: Iterable[NewJob]) -> None:
    """Store jobs as SUBMITTED, numbered in the order given. Callers use `Store.append_job`."""
    all_new = list(new)
    run_many(conn, _INSERT, [row_of(job) for job in all_new])
    insert_needs(conn, all_new)


def read_jobs(conn: Connection, scope: Scope, ids: Sequence[JobId]) -> list[JobRecord]:
    """Read jobs, children and nodes in the order asked for; those unknown or foreign are left out.

    Children and nodes are put together from their parents; see `children`.
    """
    where = {"account": scope.account, "region": scope.region}
    found = _read_all(conn, ids, _READ_SCOPED_JOBS, where)
    return [found[each] for each in ids if each in found]


def read_specs(conn: Connection, ids: Sequence[JobId]) -> dict[JobId, JobRecord]:
    """Read jobs, children and nodes of any scope: for the engine."""
    return _read_all(conn, ids, _READ_JOBS, {})


def read_array_sizes(
    conn: Connection, scope: Scope, ids: Sequence[JobId]
) -> dict[JobId, int | None]:
    """Tell which of the ids exist in the scope, and how many children each has; None: no array.

    Ended ones are included. A child exists as soon as its parent does; a node and a service job
    never count as something to refer to. Reads no job whole.
    """
    where = {"account": scope.account, "region": scope.region}
    size_by_id = {
        JobId(found): size
        for piece in in_lists(list({whole_id_of(each) for each in ids}))
        for found, size in conn.execute(_READ_ARRAY_SIZES, {"ids": piece, **where})
    }
    known: dict[JobId, int | None] = {}
    for job_id in ids:
        if not is_part_id(job_id):
            if job_id in size_by_id:
                known[job_id] = size_by_id[job_id]
            continue
        parent_id, index = split_part_id(job_id)
        if job_id == child_id(parent_id, index) and index < (size_by_id.get(parent_id) or 0):
            known[job_id] = None
    return known


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
    return [record_of(row) for row in newest]


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
    return [record_of(row) for row in conn.execute(query)]


def write_job_tags(conn: Connection, job_id: JobId, tags: Mapping[str, str]) -> bool:
    """Replace a job's tags. False: there is no such job."""
    statement = update(jobs).where(jobs.c.id == job_id).values(tags=codec.encode_tags(tags))
    return changed_rows(conn, statement) > 0


def write_priority(conn: Connection, job_id: JobId, priority: int) -> None:
    """Let a job have another priority in its record; the engine is told by a wish."""
    conn.execute(update(jobs).where(jobs.c.id == job_id).values(scheduling_priority=priority))


def delete_finished_before(conn: Connection, stopped_ms: int, limit: int) -> int:
    """Delete up to `limit` jobs that ended before, longest ago first, with all that hangs on them.

    An array goes whole, with its children. Returns the number of jobs deleted: less than `limit`
    means that none is left.
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
        parents = [each for each in piece if _has_parts(conn, each)]
        for parent_id in parents:
            _delete_stories_of_parts(conn, parent_id)
        delete_children(conn, parents)
        delete_needs(conn, piece)
        count += changed_rows(conn, delete(jobs).where(jobs.c.id.in_(piece)))
    return count


def _has_parts(conn: Connection, job_id: str) -> bool:
    found = conn.execute(_READ_PARTS, {"id": job_id}).one()
    return found.array_size is not None or found.nodes is not None


def _delete_stories_of_parts(conn: Connection, parent_id: str) -> None:
    """Delete events and wishes of children and nodes: their ids begin with the parent's."""
    for table in (events, wishes):
        for first, end in _PART_RANGES:
            conn.execute(
                delete(table).where(
                    table.c.job_id.is_not(None),
                    table.c.job_id > parent_id + first,
                    table.c.job_id < parent_id + end,
                )
            )


def _read_all(
    conn: Connection, ids: Sequence[JobId], query: Select[*tuple[Any, ...]], where: Json
) -> dict[JobId, JobRecord]:
    found = {
        JobId(row.id): record_of(row)
        for piece in in_lists(list(dict.fromkeys(map(whole_id_of, ids))))
        for row in conn.execute(query, {"ids": piece, **where})
    }
    indexes: dict[JobId, list[int]] = {}
    for job_id in ids:
        if is_part_id(job_id):
            parent_id, index = split_part_id(job_id)
            spelt = node_id if (known := found.get(parent_id)) and known.job.nodes else child_id
            if known is not None and job_id == spelt(parent_id, index):
                indexes.setdefault(parent_id, []).append(index)
    for parent_id, of_parent in indexes.items():
        parts = read_children(conn, found[parent_id], of_parent)
        found.update((part.job.id, part) for part in parts.values())
    return found


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
    if by.share_identifier is not None:
        query = query.where(jobs.c.share_identifier == by.share_identifier)
    if by.quota_share is not None:
        query = query.where(jobs.c.quota_share == by.quota_share)
    return query
