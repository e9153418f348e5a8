"""DescribeServiceJob, ListServiceJobs and UpdateServiceJob (reference/jobs.md section 13)."""

from batchyard.api.batch.pages_of_jobs import pages_of
from batchyard.api.batch.paging import page_size
from batchyard.api.batch.rules.job_filters import service_filter_of
from batchyard.api.batch.rules.names import is_arn_in, queue_arn_of, service_job_id_of
from batchyard.api.batch.rules.service_rules import SAGEMAKER_TRAINING, check_priority
from batchyard.api.batch.service import Service
from batchyard.api.batch.service_detail import service_job_detail, service_job_summary
from batchyard.api.batch.waiting import with_reasons
from batchyard.model.ids import Scope
from batchyard.model.limits import PAGE_SIZE_MAX
from batchyard.model.records import JobRecord, Json, WishKind
from batchyard.model.refusal import Refusal, client_exception
from batchyard.store import Connection, jobs, queues
from batchyard.store.wishes import add_wish
from batchyard.wire.call import Call


async def describe_service_job(service: Service, call: Call, request: Json) -> Json:
    """Show one service job."""
    text: str = request["jobId"]

    def read(conn: Connection) -> JobRecord | None:
        record = find_service_job(conn, call.scope, text)
        return None if record is None else with_reasons(conn, [record], call.now_ms)[0]

    record = await service.store.read(read)
    if record is None:
        raise _unknown(text)
    return service_job_detail(record)


async def list_service_jobs(service: Service, call: Call, request: Json) -> Json:
    """List the service jobs of a queue, newest first."""
    if not request.get("jobQueue"):
        raise client_exception("jobQueue must be provided.")
    arn = queue_arn_of(call.scope, request["jobQueue"])
    wanted = service_filter_of(
        status=request.get("jobStatus"), filters=request.get("filters") or ()
    )
    size = page_size(request.get("maxResults"), size_max=PAGE_SIZE_MAX)
    query = ("ListServiceJobs", call.scope, arn, wanted)
    read_page, write_next = pages_of(arn, wanted, query, request.get("nextToken"))

    def read(conn: Connection) -> list[JobRecord]:
        queue = queues.read_queue(conn, arn)
        if queue is None or not is_arn_in(call.scope, arn):
            raise client_exception(f"{arn} does not exist")
        if queue.detail["jobQueueType"] != SAGEMAKER_TRAINING:
            raise client_exception(f"{arn} has no service jobs: use ListJobs.")
        return with_reasons(conn, read_page(conn, size + 1), call.now_ms)

    records = await service.store.read_long(read)
    answer: Json = {"jobSummaryList": [service_job_summary(each) for each in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_next(records[size - 1])
    return answer


async def update_service_job(service: Service, call: Call, request: Json) -> Json:
    """Let a service job that is not over have another priority within its share."""
    text: str = request["jobId"]
    priority: int = request["schedulingPriority"]
    check_priority(priority)

    def update(conn: Connection) -> JobRecord:
        record = find_service_job(conn, call.scope, text)
        if record is None:
            raise _unknown(text)
        if record.progress.status.is_terminal:
            raise client_exception(
                f"Service job {record.job.id} is in status {record.progress.status} and cannot be"
                " updated."
            )
        jobs.write_priority(conn, record.job.id, priority)
        add_wish(conn, WishKind.PRIORITIZE, record.job.id, "", priority=priority)
        service.store.note_wish()
        return record

    job = (await service.store.write(update)).job
    return {"jobArn": job.scope.service_job_arn(job.id), "jobName": job.name, "jobId": job.id}


def find_service_job(conn: Connection, scope: Scope, text: str) -> JobRecord | None:
    """Read the service job that an id or ARN means; None: there is none."""
    job_id = service_job_id_of(scope, text)
    found = [] if job_id is None else jobs.read_jobs(conn, scope, [job_id])
    return next((each for each in found if each.job.capacity_use), None)


def _unknown(text: str) -> Refusal:
    return client_exception(f"Service job {text} does not exist")
