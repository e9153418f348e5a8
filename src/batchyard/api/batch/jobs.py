"""DescribeJobs and ListJobs (reference/jobs.md section 12)."""

from collections.abc import Sequence

from batchyard.api.batch.detail import job_detail, job_summary
from batchyard.api.batch.pages_of_jobs import WriteToken, pages_of
from batchyard.api.batch.paging import page_size, read_token, write_token
from batchyard.api.batch.refusals import executing
from batchyard.api.batch.rules.job_filters import filter_of
from batchyard.api.batch.rules.names import is_arn_in, job_id_of, queue_arn_of
from batchyard.api.batch.rules.service_rules import SAGEMAKER_TRAINING
from batchyard.api.batch.service import Service
from batchyard.api.batch.waiting import with_reasons
from batchyard.model.limits import DESCRIBE_IDS_MAX, LIST_JOBS_PAGE_SIZE_MAX, PAGE_SIZE_MAX
from batchyard.model.records import JobRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.store import Connection, jobs, queues
from batchyard.store.children import list_children
from batchyard.wire.call import Call

#: What ListJobs can be asked about.
_SELECTORS = ("jobQueue", "arrayJobId", "multiNodeJobId")


async def describe_jobs(service: Service, call: Call, request: Json) -> Json:
    """Show jobs in the order asked; unknown ones are left out, repeated ones shown once."""
    texts: list[str] = request["jobs"]
    if len(texts) > DESCRIBE_IDS_MAX:
        raise executing(
            call.request_id, f"Maximum number of jobs supported is  {DESCRIBE_IDS_MAX} ."
        )
    found = (job_id_of(call.scope, text) for text in texts)
    ids = list(dict.fromkeys(job_id for job_id in found if job_id is not None))
    records = await service.store.read(
        lambda conn: with_reasons(conn, jobs.read_jobs(conn, call.scope, ids), call.now_ms)
    )
    return {"jobs": [job_detail(record) for record in records if not record.job.capacity_use]}


async def list_jobs(service: Service, call: Call, request: Json) -> Json:
    """List a queue's jobs, or the children of one job."""
    given = [member for member in _SELECTORS if request.get(member)]
    if len(given) != 1:
        raise client_exception(f"Exactly one of {', '.join(_SELECTORS)} must be provided.")
    if request.get("jobQueue"):
        return await _list_queue(service, call, request)
    return await _list_parts(service, call, request, given[0])


async def _list_queue(service: Service, call: Call, request: Json) -> Json:
    """List a queue's jobs, newest first; with the filter JOB_NAME, name by name."""
    text: str = request["jobQueue"]
    scope = call.scope
    arn = queue_arn_of(scope, text)
    given = request.get("filters", [])
    wanted = filter_of(scope, status=request.get("jobStatus"), filters=given)
    size_max = PAGE_SIZE_MAX if given else LIST_JOBS_PAGE_SIZE_MAX
    size = page_size(request.get("maxResults"), size_max=size_max)
    query = ("ListJobs", arn, wanted)
    read_page, write_next = pages_of(arn, wanted, query, request.get("nextToken"))

    def read(conn: Connection) -> list[JobRecord]:
        queue = queues.read_queue(conn, arn) if is_arn_in(scope, arn) else None
        if queue is None:
            raise client_exception(f"JobQueue {text} not found.")
        if queue.detail["jobQueueType"] == SAGEMAKER_TRAINING:
            raise client_exception(f"{arn} has service jobs alone: use ListServiceJobs.")
        return with_reasons(conn, read_page(conn, size + 1), call.now_ms)

    # A filter may look at every job of the queue: not on the loop that takes submissions.
    run = service.store.read_long if given else service.store.read
    return _page_of(await run(read), size, write_next)


async def _list_parts(service: Service, call: Call, request: Json, member: str) -> Json:
    """List the children of an array, or the nodes of a multi-node job, in order of their index.

    Filters do not count here, as on AWS. A job that is unknown, or has no such parts, has none.
    """
    parent_id = job_id_of(call.scope, request[member])
    wanted = filter_of(call.scope, status=request.get("jobStatus"), filters=())
    size = page_size(request.get("maxResults"), size_max=LIST_JOBS_PAGE_SIZE_MAX)
    query = ("ListJobs", member, parent_id, wanted)
    after_index = read_token(query, request.get("nextToken"))

    def read(conn: Connection) -> list[JobRecord]:
        found = [] if parent_id is None else jobs.read_jobs(conn, call.scope, [parent_id])
        if not found or not _has_parts(found[0], member):
            return []
        parts = list_children(
            conn, found[0], statuses=wanted.statuses, after_index=after_index, limit=size + 1
        )
        return with_reasons(conn, parts, call.now_ms)

    return _page_of(
        await service.store.read_long(read), size, lambda last: write_token(query, last.index or 0)
    )


def _has_parts(record: JobRecord, member: str) -> bool:
    job = record.job
    parts = job.array_size if member == "arrayJobId" else job.nodes
    return record.index is None and parts is not None and not job.capacity_use


def _page_of(records: Sequence[JobRecord], size: int, write_next: WriteToken) -> Json:
    """Answer a page; `records` has one more than the page holds if there is a next one."""
    answer: Json = {"jobSummaryList": [job_summary(record) for record in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_next(records[size - 1])
    return answer
