"""SubmitJob: a request becomes a stored job. The hot path.

The order of checks is shape, names, queue, definition, meaning (reference/jobs.md sections 0.2, 2).
The answer is given only after the job is durable.
"""

from collections.abc import Sequence

from batchyard.api.batch.prepared import check_shape, work_of
from batchyard.api.batch.refusals import executing, refuse_given, unsupported
from batchyard.api.batch.rules.names import is_job_name, job_id_of
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.service import Service
from batchyard.model.ids import JobId, Scope
from batchyard.model.limits import DEPENDENCIES_PER_JOB_MAX, SUBMIT_JOB_BYTES_MAX
from batchyard.model.records import Json, NewJob
from batchyard.model.refusal import client_exception
from batchyard.store.jobs import read_array_sizes
from batchyard.wire.call import Call

_UNSUPPORTED = (
    "arrayProperties",
    "nodeOverrides",
    "ecsPropertiesOverride",
    "eksPropertiesOverride",
)


async def submit_job(service: Service, call: Call, request: Json) -> Json:
    """Accept a job. Refuses what AWS refuses, and what we cannot run yet."""
    scope = call.scope
    name: str = request["jobName"]
    _check_request(call, request)
    queue = await service.catalog.open_queue(scope, request["jobQueue"])
    definition = await service.catalog.definition(scope, request["jobDefinition"])
    if definition.is_fargate is not queue.is_fargate:
        capability = "FARGATE" if definition.is_fargate else "EC2"
        raise client_exception(
            "Job Queue is attached to Compute Environment that can not run Jobs with capability"
            f" {capability}"
        )
    if "shareIdentifier" in request or "schedulingPriorityOverride" in request:
        raise client_exception(
            "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with"
            " fair share scheduling policy."
        )
    work = work_of(definition, queue.arn, request, request_id=call.request_id)
    depends_on: tuple[JobId, ...] = ()
    if dependencies := request.get("dependsOn"):
        depends_on = await _dependencies(service, scope, dependencies)
    job_id = service.ids.make()
    await service.store.append_job(
        NewJob(
            id=job_id,
            scope=scope,
            queue_arn=queue.arn,
            name=name,
            definition_arn=definition.arn,
            created_ms=call.now_ms,
            demand=work.demand,
            attempts_max=work.attempts_max,
            exit_rules=work.exit_rules,
            timeout_ms=work.timeout_ms,
            depends_on=depends_on,
            spec=work.spec,
            tags=request.get("tags") or {},
        )
    )
    return {"jobArn": scope.job_arn(job_id), "jobName": name, "jobId": job_id}


def _check_request(call: Call, request: Json) -> None:
    call.limit_body(SUBMIT_JOB_BYTES_MAX)
    if not is_job_name(request["jobName"]):
        raise executing(call.request_id, "Job name should match valid pattern")
    refuse_given(request, _UNSUPPORTED)
    if request.get("consumableResourcePropertiesOverride", {}).get("consumableResourceList"):
        raise unsupported("consumableResourcePropertiesOverride")
    check_shape(request)
    if tags := request.get("tags"):
        check_tags(tags)
    if dependencies := request.get("dependsOn"):
        _check_dependencies(call.request_id, dependencies)


def _check_dependencies(request_id: str, dependencies: Sequence[Json]) -> None:
    if len(dependencies) > DEPENDENCIES_PER_JOB_MAX:
        raise executing(
            request_id, f"Job cannot have more than {DEPENDENCIES_PER_JOB_MAX} dependencies"
        )
    for dependency in dependencies:
        kind = dependency.get("type")
        if kind == "N_TO_N" or (kind == "SEQUENTIAL" and not dependency.get("jobId")):
            raise unsupported(f"dependsOn type {kind} (array jobs)")
        if kind not in (None, "", "SEQUENTIAL"):
            raise client_exception(f"dependsOn type {kind} is not one of N_TO_N, SEQUENTIAL.")
        if not dependency.get("jobId"):
            raise client_exception("dependsOn.jobId must be provided")


async def _dependencies(
    service: Service, scope: Scope, dependencies: Sequence[Json]
) -> tuple[JobId, ...]:
    """Give the ids to wait for. A job must never wait for ever on an id that cannot resolve."""
    ids: list[JobId] = []
    for dependency in dependencies:
        job_id = job_id_of(scope, dependency["jobId"])
        if job_id is None:
            raise client_exception(f"Job {dependency['jobId']} does not exist.")
        ids.append(job_id)
    known = await service.store.read(lambda conn: read_array_sizes(conn, scope, ids))
    for job_id in ids:
        if job_id not in known:
            raise client_exception(f"Job {job_id} does not exist.")
    return tuple(dict.fromkeys(ids))
