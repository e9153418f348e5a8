"""Pages of a queue's jobs: how each is read, and where the next one begins.

With JOB_NAME jobs are grouped by their names; otherwise the newest come first (reference/jobs.md
section 12.3).
"""

from collections.abc import Callable, Sequence

from batchyard.api.batch.paging import (
    read_named_token,
    read_token,
    write_named_token,
    write_token,
)
from batchyard.api.batch.rules.job_filters import Wanted
from batchyard.model.ids import QueueArn
from batchyard.model.records import JobRecord
from batchyard.store import Connection, jobs

ReadPage = Callable[[Connection, int], list[JobRecord]]
WriteToken = Callable[[JobRecord], str]


def pages_of(
    arn: QueueArn, wanted: Wanted, query: Sequence[object], token: str | None
) -> tuple[ReadPage, WriteToken]:
    """Give the reader of the page that `token` names, and the writer of the next page's token."""
    if wanted.is_grouped_by_name:
        after = read_named_token(query, token)
        return (
            lambda conn, limit: jobs.list_jobs_by_name(
                conn, arn, narrowed=wanted.narrowed, after=after, limit=limit
            ),
            lambda record: write_named_token(query, record.job.name, record.seq),
        )
    before_seq = read_token(query, token)
    return (
        lambda conn, limit: jobs.list_jobs(
            conn,
            arn,
            statuses=wanted.statuses,
            before_seq=before_seq,
            limit=limit,
            narrowed=wanted.narrowed,
        ),
        lambda record: write_token(query, record.seq),
    )
