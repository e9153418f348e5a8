"""Every job that is kept, ended or not, with what became of it and of its children.

Owns two passes over everything, for readers that look at the past as a whole. Refuses to judge it.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, select

from batchyard.model.ids import JobId
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.store import codec
from batchyard.store.job_rows import QUEUED_COLUMNS, queued_of
from batchyard.store.schema import children, jobs

_PAGE_ROWS = 1_000
_ALL = (
    select(*QUEUED_COLUMNS)
    .where(jobs.c.seq > bindparam("after"))
    .order_by(jobs.c.seq)
    .limit(bindparam("limit"))
)
_CHILDREN = (
    select(children.c.child_index, children.c.progress)
    .where(children.c.parent_id == bindparam("parent_id"))
    .order_by(children.c.child_index)
)


def read_all_jobs(conn: Connection) -> Iterator[QueuedJob]:
    """Read the jobs in the order of their submission, some at a time."""
    after = 0
    while True:
        rows = conn.execute(_ALL, {"after": after, "limit": _PAGE_ROWS}).all()
        for row in rows:
            yield queued_of(row)
        if len(rows) < _PAGE_ROWS:
            return
        after = rows[-1].seq


def read_progress_of_children(conn: Connection, parent_id: JobId) -> dict[int, JobProgress]:
    """Read what became of the children or nodes to which anything happened, by index."""
    rows = conn.execute(_CHILDREN, {"parent_id": parent_id})
    return {index: codec.decode_progress(stored) for index, stored in rows}
