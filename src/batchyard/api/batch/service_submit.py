"""SubmitServiceJob: a request becomes a stored job (reference/jobs.md section 13.1).

The answer is given only after the job is durable. The order of checks is that of SubmitJob.
"""

from hashlib import blake2b

import msgspec

from batchyard.api.batch.active_shares import check_active_shares
from batchyard.api.batch.catalog import OpenQueue
from batchyard.api.batch.rules.ground import Platform
from batchyard.api.batch.rules.names import check_resource_name
from batchyard.api.batch.rules.service_rules import (
    check_service_members,
    check_service_retry,
    check_service_type,
    check_shares,
    payload_of,
    service_exit_rules_of,
)
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.service import Service
from batchyard.engine.catalogue import capacity_of_training
from batchyard.model.amounts import Amount
from batchyard.model.ids import DefinitionArn, Scope
from batchyard.model.limits import (
    CLIENT_TOKEN_LENGTH_MAX,
    CLIENT_TOKEN_MS,
    SUBMIT_SERVICE_JOB_BYTES_MAX,
    TRAINING_SECONDS_DEFAULT,
)
from batchyard.model.records import Json, NewJob, NodeGroup, NodePlan
from batchyard.model.refusal import Refusal, client_exception
from batchyard.model.training_requests import InstanceGroup, TrainingRequest
from batchyard.store import Connection
from batchyard.store.jobs import insert_jobs
from batchyard.store.service_job_requests import note_request
from batchyard.wire.call import Call

_TOKEN = "clientToken"  # noqa: S105 -- the member's name
_MS_PER_SECOND = 1000
#: What DescribeServiceJob shows as it was given.
_ECHOED = ("serviceJobType", "serviceRequestPayload", "timeoutConfig", "preemptionConfiguration")


async def submit_service_job(service: Service, call: Call, request: Json) -> Json:
    """Accept a service job. Refuses what AWS refuses, and what could never be queued here."""
    scope = call.scope
    _check_request(call, request)
    training = payload_of(request)
    groups = tuple(_node_group(each) for each in training.groups)
    queue = await service.catalog.open_queue(scope, request["jobQueue"])
    if queue.platform is not Platform.SAGEMAKER_TRAINING:
        raise client_exception(
            f"{queue.arn} must have type SAGEMAKER_TRAINING to take service jobs."
        )
    check_shares(request, is_fair_share=queue.is_fair_share, quota_shares=queue.quota_shares)
    job = _job_of(service, call, request, queue, training, groups)
    digest = _digest_of(scope, request)

    def insert(conn: Connection) -> None:
        if digest is not None:
            _refuse_repeated(conn, digest, job)
        if queue.is_fair_share:
            check_active_shares(conn, job, call.now_ms)
        insert_jobs(conn, [job])
        service.store.note_wish()

    await service.store.write(insert)
    if service.foresight is not None:
        call.warn(service.foresight.of_job(job))
    return {"jobArn": scope.service_job_arn(job.id), "jobName": job.name, "jobId": job.id}


def _check_request(call: Call, request: Json) -> None:
    call.limit_body(SUBMIT_SERVICE_JOB_BYTES_MAX)
    check_resource_name(request["jobName"], "jobName")
    check_service_type(request["serviceJobType"], "serviceJobType")
    if len(request.get(_TOKEN) or "") > CLIENT_TOKEN_LENGTH_MAX:
        raise client_exception(f"{_TOKEN} can have at most {CLIENT_TOKEN_LENGTH_MAX} characters.")
    if strategy := request.get("retryStrategy"):
        check_service_retry(strategy)
    check_service_members(request)
    if tags := request.get("tags"):
        check_tags(tags)


def _job_of(  # noqa: PLR0913, PLR0917 -- what a job is made of
    service: Service,
    call: Call,
    request: Json,
    queue: OpenQueue,
    training: TrainingRequest,
    groups: tuple[NodeGroup, ...],
) -> NewJob:
    strategy: Json = request.get("retryStrategy") or {"attempts": 1}
    demands = [each.demand for each in groups for _ in range(each.count)]
    preemption = request.get("preemptionConfiguration") or {}
    spec = {member: request[member] for member in _ECHOED if request.get(member) is not None}
    spec["retryStrategy"] = strategy
    return NewJob(
        id=service.ids.make(),
        scope=call.scope,
        queue_arn=queue.arn,
        name=request["jobName"],
        definition_arn=DefinitionArn(""),
        created_ms=call.now_ms,
        demand=sum(demands, Amount()),
        attempts_max=strategy["attempts"],
        exit_rules=service_exit_rules_of(strategy),
        timeout_ms=_timeout_ms_of(request, training),
        depends_on=(),
        nodes=NodePlan(main_index=0, groups=groups) if len(demands) > 1 else None,
        share_identifier=request.get("shareIdentifier") or None,
        scheduling_priority=request.get("schedulingPriority"),
        quota_share=request.get("quotaShareName") or None,
        capacity_use=training.capacity_use,
        preemption_retries_max=preemption.get("preemptionRetriesBeforeTermination"),
        spec=msgspec.json.encode(spec),
        tags=request.get("tags") or {},
    )


def _node_group(group: InstanceGroup) -> NodeGroup:
    """Give the instances of a group, in the size of the EC2 instances that are behind them."""
    capacity = capacity_of_training(group.instance_type)
    if capacity is None:
        raise client_exception(
            f"serviceRequestPayload is not valid: the instance type {group.instance_type} is not"
            " known."
        )
    return NodeGroup(count=group.instance_count, demand=capacity)


def _timeout_ms_of(request: Json, training: TrainingRequest) -> int:
    """Give the longest time of an attempt: Batch's own limit, and that of SageMaker."""
    own: int | None = (request.get("timeoutConfig") or {}).get("attemptDurationSeconds")
    of_sagemaker = training.max_runtime_s
    given = [each for each in (own, of_sagemaker) if each is not None]
    return _MS_PER_SECOND * min(given, default=TRAINING_SECONDS_DEFAULT)


def _digest_of(scope: Scope, request: Json) -> bytes | None:
    """Digest all that makes two requests the same one; None: the caller gave no token."""
    if not request.get(_TOKEN):
        return None
    what = [scope.account, scope.region, request]
    return blake2b(msgspec.json.encode(what, order="sorted"), digest_size=16).digest()


def _refuse_repeated(conn: Connection, digest: bytes, job: NewJob) -> None:
    """Refuse a request that came before, as the service model has it."""
    earlier = note_request(
        conn,
        digest,
        job.id,
        at_ms=job.created_ms,
        forget_before_ms=job.created_ms - CLIENT_TOKEN_MS,
    )
    if earlier is not None:
        raise _repeated(earlier)


def _repeated(job_id: str) -> Refusal:
    return client_exception(
        f"A service job with the same {_TOKEN} and payload was submitted already: {job_id}."
    )
