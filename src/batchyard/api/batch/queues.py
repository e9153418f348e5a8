"""Create, describe, update and delete job queues (reference/compute-and-scheduling.md section 2).

Creating, updating and deleting are wishes: the record says so until the engine has settled it.
"""

from collections.abc import Sequence

from batchyard.api.batch.environments import BEING_MODIFIED
from batchyard.api.batch.listing import Listing, describe
from batchyard.api.batch.queue_orders import (
    ORDER,
    check_may_have_quotas,
    mixed_kinds,
    order_of,
    queue_type_of,
)
from batchyard.api.batch.quota_queues import (
    check_connections,
    check_may_have_shares,
    is_of_quota_shares,
)
from batchyard.api.batch.rules.names import (
    check_resource_name,
    is_arn_in,
    is_policy_arn_in,
    queue_arn_of,
)
from batchyard.api.batch.rules.service_rules import SAGEMAKER_TRAINING
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.rules.time_limits import check_time_limits
from batchyard.api.batch.service import Service
from batchyard.model.ids import EnvironmentArn, PolicyArn, QueueArn, Scope
from batchyard.model.limits import (
    QUEUE_COUNT_MAX,
    QUEUE_PRIORITY_MAX,
)
from batchyard.model.records import Json, QueueRecord
from batchyard.model.refusal import client_exception
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import Connection, policies, queues
from batchyard.store.quota_shares import quota_shares_of_queue
from batchyard.wire.call import Call

_TIME_LIMITS = "jobStateTimeLimitActions"
_POLICY = "schedulingPolicyArn"


async def create_job_queue(service: Service, call: Call, request: Json) -> Json:
    """Ask for a queue on environments that are VALID."""
    scope = call.scope
    name: str = request["jobQueueName"]
    check_resource_name(name, "jobQueueName")
    state = state_of(request.get("state")) or ResourceState.ENABLED
    check_priority(request["priority"])
    order = order_of(scope, request) or order_of(scope, {ORDER: []})
    assert order is not None
    time_limits = request.get(_TIME_LIMITS, [])
    check_time_limits(time_limits, is_service=order.is_service)
    tags = request.get("tags", {})
    check_tags(tags)
    arn = scope.queue_arn(name)
    policy_arn: str = request.get(_POLICY) or ""

    def insert(conn: Connection) -> None:
        queue_type = queue_type_of(conn, scope, order)
        _check_queue_type(request.get("jobQueueType"), queue_type)
        detail: Json = {
            **order.shown(),
            "jobQueueType": queue_type,
            _TIME_LIMITS: time_limits,
        }
        if policy_arn:
            _check_policy(conn, scope, policy_arn)
            detail[_POLICY] = policy_arn
        is_quota = is_of_quota_shares(conn, policy_arn)
        if is_quota and order.is_service:
            check_may_have_quotas(conn, order)
        elif is_quota:
            is_allowed = service.are_container_quota_shares_allowed
            check_may_have_shares(queue_type, is_allowed=is_allowed)
        check_connections(conn, arn, order.arns, is_quota=is_quota)
        count = queues.count_queues(conn, scope)
        is_new = queues.insert_queue(
            conn,
            arn=arn,
            scope=scope,
            name=name,
            state=state,
            priority=request["priority"],
            environment_arns=order.arns,
            detail=detail,
            tags=tags,
        )
        if not is_new:
            raise client_exception("Object already exists")
        if count >= QUEUE_COUNT_MAX:
            raise client_exception(
                f"An account cannot have more than {QUEUE_COUNT_MAX} job queues."
            )
        service.store.note_wish()

    await service.store.write(insert)
    service.catalog.drop()
    _warn(service, call, arn, order.arns)
    return {"jobQueueName": name, "jobQueueArn": arn}


async def update_job_queue(service: Service, call: Call, request: Json) -> Json:
    """Ask for new values; members that are absent stay as they are."""
    scope = call.scope
    arn = queue_arn_of(scope, request["jobQueue"])
    if not is_arn_in(scope, arn):
        raise client_exception(f"{arn} does not exist")
    state = state_of(request.get("state"))
    if "priority" in request:
        check_priority(request["priority"])
    order = order_of(scope, request)

    def update(conn: Connection) -> tuple[str, Sequence[EnvironmentArn]]:
        record = _settled(conn, arn, "update")
        detail = record.detail
        environment_arns = record.environment_arns
        if order is not None:
            _check_same_kind(queue_type_of(conn, scope, order), detail["jobQueueType"])
            detail = {**detail, **order.shown()}
            environment_arns = order.arns
        if _TIME_LIMITS in request:
            is_service = detail["jobQueueType"] == SAGEMAKER_TRAINING
            check_time_limits(request[_TIME_LIMITS], is_service=is_service)
            detail = {**detail, _TIME_LIMITS: request[_TIME_LIMITS]}
        if _POLICY in request:
            detail = _with_policy(conn, scope, detail, request[_POLICY] or "")
        if order is not None:
            is_quota = is_of_quota_shares(conn, detail.get(_POLICY))
            check_connections(conn, arn, environment_arns, is_quota=is_quota)
            if is_quota:
                check_may_have_quotas(conn, order)
        queues.update_queue(
            conn,
            arn,
            state=state or record.state,
            status=ResourceStatus.UPDATING,
            priority=request.get("priority", record.priority),
            environment_arns=environment_arns,
            detail=detail,
        )
        service.store.note_wish()
        return record.name, environment_arns

    name, environment_arns = await service.store.write(update)
    service.catalog.drop()
    _warn(service, call, arn, environment_arns)
    return {"jobQueueName": name, "jobQueueArn": arn}


def _warn(
    service: Service, call: Call, arn: QueueArn, environment_arns: Sequence[EnvironmentArn]
) -> None:
    if service.foresight is not None:
        call.warn(service.foresight.of_queue(arn, environment_arns))


async def delete_job_queue(service: Service, call: Call, request: Json) -> Json:
    """Ask for the end of a DISABLED queue; its jobs end with it."""
    arn = queue_arn_of(call.scope, request["jobQueue"])
    if not is_arn_in(call.scope, arn):
        raise client_exception(f"{arn} does not exist")

    def delete(conn: Connection) -> None:
        record = _settled(conn, arn, "delete")
        if record.state is not ResourceState.DISABLED:
            raise client_exception("Cannot delete, state must be DISABLED")
        if quota_shares_of_queue(conn, arn):
            raise client_exception("Cannot delete, found existing QuotaShare relationship")
        queues.update_queue(conn, arn, status=ResourceStatus.DELETING)
        service.store.note_wish()

    await service.store.write(delete)
    service.catalog.drop()
    return {}


async def describe_job_queues(service: Service, call: Call, request: Json) -> Json:
    """Show queues in the order of their creation; unknown ones are left out."""
    return await describe(_LISTING, service, call, request)


def _settled(conn: Connection, arn: QueueArn, verb: str) -> QueueRecord:
    record = queues.read_queue(conn, arn)
    if record is None:
        raise client_exception(f"{arn} does not exist")
    if record.status.is_in_transition:
        raise client_exception(f"Cannot {verb}, {BEING_MODIFIED}")
    return record


def state_of(text: str | None) -> ResourceState | None:
    """Read a state; None: none is given."""
    if not text:
        return None
    if text not in list(ResourceState):
        raise client_exception(f"state {text} is not one of ENABLED, DISABLED.")
    return ResourceState(text)


def check_priority(priority: int) -> None:
    """Refuse a priority that AWS would refuse."""
    if not 0 <= priority <= QUEUE_PRIORITY_MAX:
        raise client_exception(f"priority must be between 0 and {QUEUE_PRIORITY_MAX}.")


def _check_same_kind(asked: str, queue_type: str) -> None:
    """Refuse environments of another kind than the queue has."""
    if asked == queue_type:
        return
    if SAGEMAKER_TRAINING in (asked, queue_type):
        raise client_exception(
            "A job queue keeps to compute environments, or to a service environment."
        )
    raise mixed_kinds()


def _check_queue_type(asked: str | None, inferred: str) -> None:
    if not asked and inferred == SAGEMAKER_TRAINING:
        raise client_exception(
            f"jobQueueType must be {inferred} for a job queue with service environments."
        )
    if asked and asked != inferred:
        kind = "service" if inferred == SAGEMAKER_TRAINING else "compute"
        raise client_exception(
            f"jobQueueType {asked} does not fit the {kind} environments, which need {inferred}."
        )


def _check_policy(conn: Connection, scope: Scope, arn: str) -> None:
    """Refuse a policy that is not there; it stays until the queue refers to it."""
    if not is_policy_arn_in(scope, arn) or policies.hold_policy(conn, PolicyArn(arn)) is None:
        raise client_exception(f"{arn} does not exist")


def _with_policy(conn: Connection, scope: Scope, detail: Json, arn: str) -> Json:
    """Replace the policy of a queue: one that has none keeps to that, and one that has, too."""
    if _POLICY not in detail:
        if not arn:
            return detail
        raise client_exception(
            "A scheduling policy cannot be added to a job queue that was created without one."
        )
    if not arn:
        raise client_exception("The scheduling policy of a job queue cannot be removed.")
    _check_policy(conn, scope, arn)
    if is_of_quota_shares(conn, arn) != is_of_quota_shares(conn, detail[_POLICY]):
        raise client_exception(
            "A job queue has quota shares, or shares of a fairsharePolicy, for life."
        )
    return {**detail, _POLICY: arn}


def _shown(record: QueueRecord) -> Json:
    shown: Json = {
        "jobQueueName": record.name,
        "jobQueueArn": record.arn,
        "state": record.state.value,
        "status": record.status.value,
        "priority": record.priority,
        _TIME_LIMITS: [],
        **record.detail,
        "tags": dict(record.tags),
    }
    if record.status_reason is not None:
        shown["statusReason"] = record.status_reason
    return shown


_LISTING = Listing(
    operation="DescribeJobQueues",
    member="jobQueues",
    arn_of=queue_arn_of,
    read_one=queues.read_queue,
    read_page=queues.list_queues,
    show=_shown,
)
