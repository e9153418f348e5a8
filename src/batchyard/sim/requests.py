"""Requests of AWS's API that no server answers: what a configuration says becomes inputs.

Decides nothing of its own: members are those of botocore's model, decoded by the wire's decoder,
checked by the API's checks, and read as the engine reads what is stored. Stricter than AWS in one
thing: a member that AWS does not have is refused, for in a file it is a mistake in writing. Refuses
to know files.
"""

from collections.abc import Container, Iterable, Mapping

import msgspec

from batchyard.api.batch.environments import checked_environment
from batchyard.api.batch.policies import checked_policy
from batchyard.api.batch.queue_orders import Order, order_of
from batchyard.api.batch.queues import check_priority, state_of
from batchyard.api.batch.quota_shares import checked_share
from batchyard.api.batch.rules.names import check_resource_name
from batchyard.api.batch.rules.quota import check_container_units
from batchyard.api.batch.rules.service_rules import SAGEMAKER_TRAINING, check_instance_units
from batchyard.api.batch.rules.time_limits import check_time_limits
from batchyard.api.batch.service_environments import checked_service_environment
from batchyard.core import inputs as i
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.wishes import (
    put_environment_of,
    put_quota_share_of,
    put_service_environment_of,
)
from batchyard.model.fair_share import fair_share_of
from batchyard.model.ids import (
    EnvironmentArn,
    PolicyArn,
    QueueArn,
    Scope,
    is_service_environment_arn,
)
from batchyard.model.records import EnvironmentRecord, Json, QuotaShareRecord, TimeLimit
from batchyard.model.refusal import client_exception
from batchyard.model.service_records import ServiceEnvironmentRecord
from batchyard.model.status import EnvironmentKind, ResourceState, ResourceStatus
from batchyard.wire.decode import Decoder
from batchyard.wire.models import Match, Operation, Ref, Shape, load_service
from batchyard.wire.request import HttpRequest

#: Of everything in a simulation.
SCOPE = Scope(account="000000000000", region="us-east-1")

_REQUEST_ID = "00000000-0000-0000-0000-000000000000"
_POLICY = "schedulingPolicyArn"
_TIME_LIMITS = "jobStateTimeLimitActions"
#: What AWS demands and nothing here depends on.
_NETWORKS: Json = {"subnets": ["subnet-00000000"], "securityGroupIds": ["sg-00000000"]}
_ROLE = "ecsInstanceRole"
_SERVICE_ROLE = f"arn:aws:iam::{SCOPE.account}:role/AWSBatchServiceRole"


class Requests:
    """Takes requests in the order in which they build on each other."""

    def __init__(self, times: LaunchTimes) -> None:
        self._times = times
        self._decoders: dict[str, Decoder] = {}
        self._environments: dict[EnvironmentArn, i.PutEnvironment] = {}
        self._policies: dict[PolicyArn, Json] = {}
        self._queues: dict[QueueArn, i.PutQueue] = {}
        self._share_count = 0

    def environment(self, members: Json) -> i.PutEnvironment:
        """Take a request of CreateComputeEnvironment. Raises `Refusal`."""
        request = self._decode("CreateComputeEnvironment", _with_networks(members))
        detail = checked_environment(SCOPE, request, _REQUEST_ID)
        name: str = request["computeEnvironmentName"]
        put = put_environment_of(
            EnvironmentRecord(
                seq=len(self._environments) + 1,
                arn=SCOPE.environment_arn(name),
                scope=SCOPE,
                name=name,
                uuid=name,
                state=ResourceState.ENABLED,
                status=ResourceStatus.CREATING,
                status_reason=None,
                detail=detail,
                tags={},
            ),
            self._times,
        )
        if put.fault is not None:
            raise client_exception(f"{name}: {put.fault}")
        _refuse_twice(put.arn, self._environments)
        self._environments[put.arn] = put
        return put

    def service_environment(self, members: Json) -> i.PutEnvironment:
        """Take a request of CreateServiceEnvironment. Raises `Refusal`."""
        request = self._decode("CreateServiceEnvironment", members)
        detail = checked_service_environment(request)
        name: str = request["serviceEnvironmentName"]
        put = put_service_environment_of(
            ServiceEnvironmentRecord(
                seq=len(self._environments) + 1,
                arn=SCOPE.service_environment_arn(name),
                scope=SCOPE,
                name=name,
                state=state_of(request.get("state")) or ResourceState.ENABLED,
                status=ResourceStatus.CREATING,
                detail=detail,
                tags={},
            )
        )
        _refuse_twice(put.arn, self._environments)
        self._environments[put.arn] = put
        return put

    def policy(self, members: Json) -> PolicyArn:
        """Take a request of CreateSchedulingPolicy. Raises `Refusal`."""
        request = self._decode("CreateSchedulingPolicy", members)
        check_resource_name(request["name"], "name")
        arn = SCOPE.policy_arn(request["name"])
        _refuse_twice(arn, self._policies)
        self._policies[arn] = checked_policy(request)
        return arn

    def queue(self, members: Json) -> i.PutQueue:
        """Take a request of CreateJobQueue; its policy may be named by name. Raises `Refusal`."""
        request = self._decode("CreateJobQueue", members)
        name: str = request["jobQueueName"]
        check_resource_name(name, "jobQueueName")
        check_priority(request["priority"])
        order = order_of(SCOPE, request) or order_of(SCOPE, {"computeEnvironmentOrder": []})
        assert order is not None, name
        for arn in order.arns:
            if arn not in self._environments:
                raise client_exception(f"{name}: {arn} does not exist")
        _refuse_mixed(name, [self._environments[arn].kind for arn in order.arns])
        _check_type(name, request.get("jobQueueType"), order)
        time_limits = request.get(_TIME_LIMITS, [])
        check_time_limits(time_limits, is_service=order.is_service)
        policy_arn, policy = self._policy_of(name, request.get(_POLICY) or "")
        has_quota_shares = policy is not None and "quotaSharePolicy" in policy
        if has_quota_shares and order.is_service:
            check_instance_units(_units_of(self._environments[arn] for arn in order.arns))
        is_fair = policy is not None and not has_quota_shares
        put = i.PutQueue(
            arn=SCOPE.queue_arn(name),
            seq=len(self._queues) + 1,
            state=state_of(request.get("state")) or ResourceState.ENABLED,
            priority=request["priority"],
            environment_arns=order.arns,
            time_limits=tuple(
                TimeLimit(reason=each["reason"], blocked_ms_max=each["maxTimeSeconds"] * 1000)
                for each in time_limits
            ),
            policy_arn=policy_arn if is_fair else None,
            policy=fair_share_of(policy) if is_fair and policy is not None else None,
            has_quota_shares=has_quota_shares,
        )
        _refuse_twice(put.arn, self._queues)
        self._queues[put.arn] = put
        return put

    def quota_share(self, members: Json) -> i.PutQuotaShare:
        """Take a request of CreateQuotaShare. Raises `Refusal`."""
        request = self._decode("CreateQuotaShare", members)
        name: str = request["quotaShareName"]
        check_resource_name(name, "quotaShareName")
        detail = checked_share(request)
        queue_name: str = request["jobQueue"].rpartition("/")[2]
        queue = self._queues.get(SCOPE.queue_arn(queue_name))
        if queue is None:
            raise client_exception(f"{name}: job queue {queue_name} does not exist")
        if any(map(is_service_environment_arn, queue.environment_arns)):
            check_instance_units(detail["capacityLimits"])
        else:
            check_container_units(detail["capacityLimits"])
        if not queue.has_quota_shares:
            raise client_exception(f"{queue.arn} has no scheduling policy with a quotaSharePolicy.")
        self._share_count += 1
        return put_quota_share_of(
            QuotaShareRecord(
                seq=self._share_count,
                arn=SCOPE.quota_share_arn(queue_name, name),
                queue_arn=queue.arn,
                name=name,
                state=ResourceState.ENABLED,
                status=ResourceStatus.CREATING,
                detail=detail,
                tags={},
            )
        )

    def _policy_of(self, queue: str, text: str) -> tuple[PolicyArn | None, Json | None]:
        if not text:
            return None, None
        arn = PolicyArn(text if text.startswith("arn:") else SCOPE.policy_arn(text))
        if arn not in self._policies:
            raise client_exception(f"{queue}: scheduling policy {text} does not exist")
        return arn, self._policies[arn]

    def _decode(self, name: str, members: Json) -> Json:
        operation = _operations()[name]
        assert operation.input is not None, name
        _refuse_unknown(operation.service.shapes, operation.input, members, name)
        if name not in self._decoders:
            self._decoders[name] = Decoder(operation)
        request = HttpRequest(
            method="POST", raw_path=b"", query=b"", headers={}, body=msgspec.json.encode(members)
        )
        return self._decoders[name].decode(Match(operation), request)


def _operations() -> dict[str, Operation]:
    _, operations = load_service("batch")
    return {each.name: each for each in operations}


def _with_networks(members: Json) -> Json:
    """Fill in what AWS demands of an environment and nothing here depends on."""
    filled = {"type": "MANAGED", **members}
    if filled["type"] == EnvironmentKind.UNMANAGED:
        return {"serviceRole": _SERVICE_ROLE, **filled}
    resources = filled.get("computeResources")
    if isinstance(resources, dict) and "managedInstancesProvider" not in resources:
        more = dict(_NETWORKS)
        if resources.get("type") in (EnvironmentKind.EC2, EnvironmentKind.SPOT):
            more["instanceRole"] = _ROLE
            more["minvCpus"] = 0
        if resources.get("type") == EnvironmentKind.SPOT:
            more["spotIamFleetRole"] = "AmazonEC2SpotFleetRole"
        filled["computeResources"] = {**more, **resources}
    return filled


def _refuse_unknown(shapes: Mapping[str, Shape], ref: Ref, value: object, at: str) -> None:
    """Refuse members that the model does not have. What has the wrong type is not ours to say."""
    shape = shapes[ref.shape]
    if shape.type == "structure" and isinstance(value, dict):
        for name, inner in value.items():
            if name not in shape.members:
                known = ", ".join(shape.members)
                raise client_exception(f"{at} has no member {name}; it has: {known}")
            _refuse_unknown(shapes, shape.members[name], inner, f"{at}.{name}")
    elif shape.type == "list" and isinstance(value, list) and shape.member is not None:
        for index, inner in enumerate(value):
            _refuse_unknown(shapes, shape.member, inner, f"{at}[{index}]")


def _check_type(queue: str, asked: str | None, order: Order) -> None:
    """Refuse a type that the environments of a queue do not have."""
    if asked is not None and (asked == SAGEMAKER_TRAINING) is not order.is_service:
        wanted = "service" if asked == SAGEMAKER_TRAINING else "compute"
        raise client_exception(f"{queue}: a queue of the type {asked} has {wanted} environments.")


def _units_of(environments: Iterable[i.PutEnvironment]) -> list[Json]:
    return [{"capacityUnit": unit} for each in environments for unit in each.limits or ()]


def _refuse_mixed(queue: str, kinds: list[EnvironmentKind]) -> None:
    if len({kind.is_fargate for kind in kinds}) > 1:
        raise client_exception(f"{queue}: Fargate and EC2 environments cannot be in one job queue.")


def _refuse_twice(arn: str, known: Container[str]) -> None:
    if arn in known:
        raise client_exception(f"{arn}: Object already exists")
