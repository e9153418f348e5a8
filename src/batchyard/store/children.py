"""Children of arrays and nodes of multi-node jobs: those with a story of their own, and the rest.

Owns the table `children`, and how a child is put together from its row and its parent. Refuses to
know what may happen to a child.

Rule: a child of an array without a row has the status that the parent's record gives to the rest
(`ArrayProgress`); a row wins over it. A node without a row does not exist yet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace
from sqlalchemy import BindParameter, Connection, and_, bindparam, delete, or_, select

from batchyard.model.ids import JobId, child_id, node_id, split_part_id
from batchyard.model.records import ArrayProgress, JobProgress, JobRecord
from batchyard.model.status import JobStatus
from batchyard.store import codec
from batchyard.store.schema import children, jobs
from batchyard.store.statements import in_lists, run_many

_WRITE = (
    "INSERT INTO children (parent_id, child_index, status, stopped_ms, progress)"
    " VALUES (?, ?, ?, ?, ?) ON CONFLICT (parent_id, child_index) DO UPDATE SET"
    " status = excluded.status, stopped_ms = excluded.stopped_ms, progress = excluded.progress"
)
_INDEXES: BindParameter[Sequence[int]] = bindparam("indexes", expanding=True)
_PARENT = children.c.parent_id == bindparam("parent_id")
_READ = select(children.c.child_index, children.c.progress).where(
    _PARENT, children.c.child_index.in_(_INDEXES)
)
_AFTER = (
    select(children.c.child_index, children.c.status, children.c.progress)
    .where(_PARENT, children.c.child_index > bindparam("after"))
    .order_by(children.c.child_index)
)
_OWN_INDEXES = select(children.c.child_index).where(
    _PARENT, children.c.child_index > bindparam("after")
)
_IS_PARENT_LIVE = and_(jobs.c.id == children.c.parent_id, jobs.c.stopped_ms.is_(None))
_READ_LIVE_STATUSES = (
    select(children.c.parent_id, children.c.child_index, children.c.status)
    .join(jobs, _IS_PARENT_LIVE)
    .order_by(children.c.parent_id, children.c.child_index)
)
# Nodes that ended count too: their attempts go on with the next attempt of their job.
_READ_LIVE = (
    select(children.c.parent_id, children.c.child_index, children.c.progress)
    .join(jobs, _IS_PARENT_LIVE)
    .where(or_(children.c.stopped_ms.is_(None), jobs.c.nodes.is_not(None)))
    .order_by(jobs.c.seq, children.c.child_index)
)
_READ_PLACED = select(children.c.progress).where(
    children.c.stopped_ms.is_(None),
    children.c.status.in_([JobStatus.STARTING.value, JobStatus.RUNNING.value]),
)
_STATUSES_OF = select(children.c.child_index, children.c.status).where(_PARENT)


@dataclass(frozen=True, slots=True)
class ChildRow:
    """A stored child, as the engine loads it."""

    parent_id: JobId
    index: int
    progress: JobProgress


def write_children(conn: Connection, changed: Iterable[tuple[JobId, JobProgress]]) -> None:
    """Store what the engine has made of children and nodes, named by their ids."""
    run_many(
        conn,
        _WRITE,
        [
            (
                *split_part_id(job_id),
                progress.status.value,
                progress.stopped_ms,
                codec.encode_progress(progress),
            )
            for job_id, progress in changed
        ],
    )


def read_child(conn: Connection, parent: JobRecord, index: int) -> JobRecord | None:
    """Read one child or node; None: the parent has no such child (yet)."""
    return read_children(conn, parent, [index]).get(index)


def read_children(
    conn: Connection, parent: JobRecord, indexes: Sequence[int]
) -> dict[int, JobRecord]:
    """Read those of the children or nodes that exist, by index."""
    found = {
        index: _with_progress(parent, index, progress)
        for index in indexes
        if (progress := _rest_progress(parent, index)) is not None
    }
    for piece in in_lists(indexes):
        where = {"parent_id": parent.job.id, "indexes": piece}
        for index, stored in conn.execute(_READ, where):
            found[index] = _with_progress(parent, index, codec.decode_progress(stored))
    return found


def list_children(
    conn: Connection,
    parent: JobRecord,
    *,
    statuses: Sequence[JobStatus] | None,
    after_index: int | None,
    limit: int,
) -> list[JobRecord]:
    """Read a page of children or nodes in the order of their indexes; `statuses` None means all.

    May look at the index of every child: use `Store.read_long`.
    """
    after = -1 if after_index is None else after_index
    where = {"parent_id": parent.job.id, "after": after}
    query = _AFTER.limit(limit)
    if statuses is not None:
        query = query.where(children.c.status.in_([status.value for status in statuses]))
    found = {
        index: _with_progress(parent, index, codec.decode_progress(stored))
        for index, _, stored in conn.execute(query, where)
    }
    array = parent.progress.array
    if array is None or array.rest is None or (statuses is not None and array.rest not in statuses):
        return list(found.values())
    own = set(conn.scalars(_OWN_INDEXES, where))
    page: list[JobRecord] = []
    for index in range(after + 1, array.size):
        if len(page) == limit:
            break
        if index not in own:
            progress = _rest_progress(parent, index)
            assert progress is not None, parent.job.id
            page.append(_with_progress(parent, index, progress))
        elif index in found:
            page.append(found[index])
    return page


def read_live_statuses(conn: Connection) -> Iterable[tuple[JobId, int, JobStatus]]:
    """Tell the status of every stored child of jobs that are live, parent by parent."""
    for parent_id, index, status in conn.execute(_READ_LIVE_STATUSES):
        yield JobId(parent_id), index, JobStatus(status)


def read_live_children(conn: Connection) -> Iterable[ChildRow]:
    """Read the children that are live, and all nodes, of jobs that are live."""
    for parent_id, index, stored in conn.execute(_READ_LIVE):
        yield ChildRow(JobId(parent_id), index, codec.decode_progress(stored))


def read_placed_children(conn: Connection) -> Iterable[JobProgress]:
    """Read the progress of those that have a task on a host."""
    for stored in conn.scalars(_READ_PLACED):
        yield codec.decode_progress(stored)


def read_child_statuses(conn: Connection, array: JobRecord) -> dict[int, JobStatus]:
    """Tell the status of every child of one array."""
    progress = array.progress.array
    assert progress is not None, array.job.id
    rest = progress.rest
    found = {} if rest is None else dict.fromkeys(range(progress.size), rest)
    for index, status in conn.execute(_STATUSES_OF, {"parent_id": array.job.id}):
        found[index] = JobStatus(status)
    return found


def delete_children(conn: Connection, parent_ids: Sequence[str]) -> None:
    """Delete everything that is kept of the children of some jobs."""
    conn.execute(delete(children).where(children.c.parent_id.in_(parent_ids)))


def _rest_progress(parent: JobRecord, index: int) -> JobProgress | None:
    """Give what a child without a row has come to; None: there is no such child."""
    array = parent.progress.array
    if array is None or array.rest is None or not 0 <= index < array.size:
        return None
    has_ended = array.rest.is_terminal
    return JobProgress(
        status=array.rest,
        status_reason=array.rest_status_reason,
        stopped_ms=array.rest_stopped_ms,
        is_cancelled=has_ended and parent.progress.is_cancelled,
        is_terminated=has_ended and parent.progress.is_terminated,
    )


def _with_progress(parent: JobRecord, index: int, progress: JobProgress) -> JobRecord:
    """Put a child together: the parent's job under the child's own id, time and progress."""
    job = parent.job
    return JobRecord(
        seq=parent.seq,
        job=replace(
            job,
            id=(child_id if job.nodes is None else node_id)(job.id, index),
            created_ms=_created_ms(parent, progress),
            depends_on=(),
            depends_on_each=(),
            tags={},
        ),
        progress=progress,
        index=index,
    )


def _created_ms(parent: JobRecord, progress: JobProgress) -> int:
    """Children were made together; a node was made with its first attempt."""
    array: ArrayProgress | None = parent.progress.array
    if array is not None:
        return parent.job.created_ms if array.spawned_ms is None else array.spawned_ms
    first = progress.attempts[0] if progress.attempts else progress.attempt
    return parent.job.created_ms if first is None else first.placed_ms
