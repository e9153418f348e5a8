"""DescribeJobs and ListJobs (reference/jobs.md section 12)."""

from collections.abc import Callable, Sequence

from batchyard.api.batch.detail import job_detail, job_summary
from batchyard.api.batch.paging import (
    page_size,
    read_named_token,
    read_token,
    write_named_token,
    write_token,
)
from batchyard.api.batch.refusals import executing, unsupported
from batchyard.api.batch.rules.job_filters import Wanted, filter_of
from batchyard.api.batch.rules.names import is_arn_in, job_id_of, queue_arn_of
from batchyard.api.batch.service import Service
from batchyard.model.ids import QueueArn
from batchyard.model.limits import DESCRIBE_IDS_MAX, LIST_JOBS_PAGE_SIZE_MAX, PAGE_SIZE_MAX
from batchyard.model.records import JobRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.store import Connection, jobs, queues
from batchyard.wire.call import Call


async def describe_jobs(service: Service, call: Call, request: Json) -> Json:
    """Show jobs in the order asked; unknown ones are left out, repeated ones shown once."""
    texts: list[str] = request["jobs"]
    if len(texts) > DESCRIBE_IDS_MAX:
        raise executing(
            call.request_id, f"Maximum number of jobs supported is  {DESCRIBE_IDS_MAX} ."
        )
    found = (job_id_of(call.scope, text) for text in texts)
    ids = list(dict.fromkeys(job_id for job_id in found if job_id is not None))
    records = await service.store.read(lambda conn: jobs.read_jobs(conn, call.scope, ids))
    return {"jobs": [job_detail(record) for record in records]}


async def list_jobs(service: Service, call: Call, request: Json) -> Json:
    """List a queue's jobs, newest first; with the filter JOB_NAME, name by name."""
    for member in ("arrayJobId", "multiNodeJobId"):
        if request.get(member):
            raise unsupported(member)
    text = request.get("jobQueue")
    if not text:
        raise client_exception("jobQueue must be provided")
    scope = call.scope
    arn = queue_arn_of(scope, text)
    given = request.get("filters", [])
    wanted = filter_of(scope, status=request.get("jobStatus"), filters=given)
    size_max = PAGE_SIZE_MAX if given else LIST_JOBS_PAGE_SIZE_MAX
    size = page_size(request.get("maxResults"), size_max=size_max)
    query = ("ListJobs", arn, wanted)
    read_page, write_next = _pages(arn, wanted, query, request.get("nextToken"))

    def read(conn: Connection) -> list[JobRecord]:
        if not is_arn_in(scope, arn) or queues.read_queue(conn, arn) is None:
            raise client_exception(f"JobQueue {text} not found.")
        return read_page(conn, size + 1)

    # A filter may look at every job of the queue: not on the loop that takes submissions.
    run = service.store.read_long if given else service.store.read
    records = await run(read)
    answer: Json = {"jobSummaryList": [job_summary(record) for record in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_next(records[size - 1])
    return answer


_ReadPage = Callable[[Connection, int], list[JobRecord]]
_WriteToken = Callable[[JobRecord], str]


def _pages(
    arn: QueueArn, wanted: Wanted, query: Sequence[object], token: str | None
) -> tuple[_ReadPage, _WriteToken]:
    """Give the reader of the page that `token` names, and the writer of the next page's token.

    With JOB_NAME the jobs are grouped by their names; otherwise the newest come first.
    """
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
