"""SubmitJob: a request becomes a stored job. The hot path.

The order of checks is shape, names, queue, definition, meaning (reference/jobs.md sections 0.2, 2).
The answer is given only after the job is durable.
"""

from collections.abc import Sequence

from batchyard.api.batch.catalog import OpenQueue
from batchyard.api.batch.prepared import PreparedDefinition, check_shape, work_of
from batchyard.api.batch.refusals import executing
from batchyard.api.batch.rules.consumables import check_all_known
from batchyard.api.batch.rules.dependencies import (
    NO_DEPENDENCIES,
    Dependencies,
    array_size_of,
    check_known,
    dependencies_of,
    failed_dependencies,
)
from batchyard.api.batch.rules.names import is_job_name
from batchyard.api.batch.rules.quota import quota_share_of_request
from batchyard.api.batch.rules.shares import share_of_request
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.service import Service
from batchyard.model.ids import JobId
from batchyard.model.limits import SUBMIT_JOB_BYTES_MAX
from batchyard.model.records import ConsumableNeed, Json, NewJob
from batchyard.model.refusal import client_exception
from batchyard.model.status import JobStatus
from batchyard.store import Connection
from batchyard.store.consumables import find_consumables
from batchyard.store.jobs import read_array_sizes
from batchyard.store.live_jobs import read_statuses
from batchyard.wire.call import Call


async def submit_job(service: Service, call: Call, request: Json) -> Json:
    """Accept a job. Refuses what AWS refuses, and what we cannot run yet."""
    scope = call.scope
    name: str = request["jobName"]
    _check_request(call, request)
    array_size = array_size_of(request.get("arrayProperties"))
    dependencies = NO_DEPENDENCIES
    if given := request.get("dependsOn"):
        dependencies = dependencies_of(
            given, scope, array_size=array_size, request_id=call.request_id
        )
    queue = await service.catalog.open_queue(scope, request["jobQueue"])
    definition = await service.catalog.definition(scope, request["jobDefinition"])
    _check_fit(queue, definition)
    share, priority = _share_of(queue, definition, request)
    work = work_of(definition, queue.arn, request, request_id=call.request_id)
    if array_size is not None and work.nodes is not None:
        raise client_exception("arrayProperties is not applicable for multinode job definitions.")
    if dependencies.ids:
        call.warn(await _find(service, call, dependencies, array_size))
    if work.needs:
        await _check_consumables(service, work.needs)
    job = NewJob(
        id=service.ids.make(),
        scope=scope,
        queue_arn=queue.arn,
        name=name,
        definition_arn=definition.arn,
        created_ms=call.now_ms,
        demand=work.demand,
        attempts_max=work.attempts_max,
        exit_rules=work.exit_rules,
        timeout_ms=work.timeout_ms,
        depends_on=dependencies.whole,
        array_size=array_size,
        depends_on_each=dependencies.each,
        is_sequential=dependencies.is_sequential,
        nodes=work.nodes,
        needs=work.needs,
        share_identifier=share,
        scheduling_priority=priority,
        spec=work.spec,
        tags=request.get("tags") or {},
    )
    if not queue.is_fair_share:
        await service.store.append_job(job)
    else:
        await service.shares.append_job(job, call.now_ms)
    if service.foresight is not None:
        call.warn(service.foresight.of_job(job))
    return {"jobArn": scope.job_arn(job.id), "jobName": name, "jobId": job.id}


def _check_request(call: Call, request: Json) -> None:
    call.limit_body(SUBMIT_JOB_BYTES_MAX)
    if not is_job_name(request["jobName"]):
        raise executing(call.request_id, "Job name should match valid pattern")
    check_shape(request)
    if tags := request.get("tags"):
        check_tags(tags)


def _check_fit(queue: OpenQueue, definition: PreparedDefinition) -> None:
    """Refuse a queue whose environments cannot run the job."""
    if definition.platform is not queue.platform:
        raise client_exception(
            "Job Queue is attached to Compute Environment that can not run Jobs with capability"
            f" {definition.platform}"
        )


def _share_of(
    queue: OpenQueue, definition: PreparedDefinition, request: Json
) -> tuple[str | None, int | None]:
    """Give the share, or quota share, of a job, and its priority in it."""
    priority = definition.scheduling_priority
    if queue.quota_shares is not None:
        return quota_share_of_request(request, queue.quota_shares, definition_priority=priority)
    return share_of_request(
        request, is_fair_share=queue.is_fair_share, definition_priority=priority
    )


async def _find(
    service: Service, call: Call, dependencies: Dependencies, array_size: int | None
) -> list[str]:
    """Refuse what does not exist; give what is wrong with what does."""

    def read(conn: Connection) -> tuple[dict[JobId, int | None], dict[JobId, JobStatus]]:
        sizes = read_array_sizes(conn, call.scope, dependencies.ids)
        return sizes, read_statuses(conn, dependencies.ids)

    known, statuses = await service.store.read(read)
    check_known(dependencies, known, array_size=array_size)
    return failed_dependencies(dependencies, statuses)


async def _check_consumables(service: Service, needs: Sequence[ConsumableNeed]) -> None:
    arns = [need.arn for need in needs]
    check_all_known(needs, await service.store.read(lambda conn: find_consumables(conn, arns)))
