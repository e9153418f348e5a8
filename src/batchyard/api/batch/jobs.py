"""DescribeJobs and ListJobs (reference/jobs.md section 12)."""

from batchyard.api.batch.detail import job_detail, job_summary
from batchyard.api.batch.job_filters import filter_of
from batchyard.api.batch.names import is_arn_in, job_id_of, queue_arn_of
from batchyard.api.batch.paging import page_size, read_token, write_token
from batchyard.api.batch.refusals import executing, unsupported
from batchyard.api.batch.service import Service
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
    """List a queue's jobs, newest first."""
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
    before_seq = read_token(query, request.get("nextToken"))

    def read(conn: Connection) -> list[JobRecord]:
        if not is_arn_in(scope, arn) or queues.read_queue(conn, arn) is None:
            raise client_exception(f"JobQueue {text} not found.")
        return jobs.list_jobs(
            conn,
            arn,
            statuses=wanted.statuses,
            before_seq=before_seq,
            limit=size + 1,
            narrowed=wanted.narrowed,
        )

    # A filter may look at every job of the queue: not on the loop that takes submissions.
    run = service.store.read_long if given else service.store.read
    records = await run(read)
    answer: Json = {"jobSummaryList": [job_summary(record) for record in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_token(query, records[size - 1].seq)
    return answer
