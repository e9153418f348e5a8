"""Which environments a job queue may have, and which type it has by them.

Decides by reference/compute-and-scheduling.md section 2.1. A queue has compute environments, or
service environments, for life. Refuses to know everything else about queues.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchyard.api.batch.catalog import QUEUE_TYPE_BY_PLATFORM
from batchyard.api.batch.environments import platform_of_environment
from batchyard.api.batch.rules.ground import Platform
from batchyard.api.batch.rules.names import environment_arn_of, service_environment_arn_of
from batchyard.api.batch.rules.service_rules import (
    LIMITS,
    SAGEMAKER_TRAINING,
    check_instance_units,
)
from batchyard.engine.catalogue import architectures_of
from batchyard.model.ids import EnvironmentArn, Scope
from batchyard.model.limits import (
    ENVIRONMENTS_PER_QUEUE_MAX,
    SERVICE_ENVIRONMENTS_PER_QUEUE_MAX,
)
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import ResourceStatus
from batchyard.store import Connection, environments
from batchyard.store.service_environments import read_service_environment

ORDER = "computeEnvironmentOrder"
SERVICE_ORDER = "serviceEnvironmentOrder"
_TYPES = "instanceTypes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The environments of a queue as a caller gave them, with ARNs for names."""

    items: Sequence[Json]
    is_service: bool

    @property
    def arns(self) -> tuple[EnvironmentArn, ...]:
        """Give the environments in the order in which they are tried."""
        member = "serviceEnvironment" if self.is_service else "computeEnvironment"
        ranked = sorted(self.items, key=lambda item: int(item["order"]))
        return tuple(EnvironmentArn(item[member]) for item in ranked)

    def shown(self) -> Json:
        """Give the members of the queue that show them."""
        if self.is_service:
            return {ORDER: [], SERVICE_ORDER: list(self.items)}
        return {ORDER: list(self.items)}


def order_of(scope: Scope, request: Json) -> Order | None:
    """Give the order that a request asks for; None: it asks for none.

    Refuses both kinds at once, an empty one, too many, and the same one twice.
    """
    if request.get(SERVICE_ORDER):
        if request.get(ORDER):
            raise client_exception(f"A job queue cannot have both {ORDER} and {SERVICE_ORDER}.")
        return Order(items=_resolved_services(scope, request[SERVICE_ORDER]), is_service=True)
    if ORDER in request:
        return Order(items=_resolved(scope, request[ORDER]), is_service=False)
    if SERVICE_ORDER in request:
        raise client_exception("At least 1 service environment must be provided")
    return None


def queue_type_of(conn: Connection, scope: Scope, order: Order) -> str:
    """Infer the queue's type. Refuses environments that are unknown, not VALID, or do not mix."""
    if not order.is_service:
        return _type_of_computes(conn, scope, order)
    for arn in order.arns:
        record = read_service_environment(conn, arn)
        if record is None or record.scope != scope:
            raise client_exception(f"{arn} does not exist")
        if record.status is not ResourceStatus.VALID:
            raise client_exception(f"{arn} must have status VALID, but is {record.status}.")
    return SAGEMAKER_TRAINING


def check_may_have_quotas(conn: Connection, order: Order) -> None:
    """Refuse service environments whose limits are not by instance type: quotas need that."""
    for arn in order.arns if order.is_service else ():
        record = read_service_environment(conn, arn)
        assert record is not None, arn
        check_instance_units(record.detail[LIMITS])


def mixed_kinds() -> Exception:
    """Say that the environments of a queue are of different kinds."""
    return client_exception(
        "The compute environments of a job queue must all be EC2 or SPOT, all be Fargate, all be"
        " EKS, or all be ECS_MANAGED_INSTANCES."
    )


def _resolved(scope: Scope, order: Sequence[Json]) -> list[Json]:
    if not order:
        raise client_exception("At least 1 compute environment must be provided")
    if len(order) > ENVIRONMENTS_PER_QUEUE_MAX:
        raise client_exception(
            f"A job queue cannot have more than {ENVIRONMENTS_PER_QUEUE_MAX} compute environments."
        )
    resolved = [
        {
            "order": item["order"],
            "computeEnvironment": environment_arn_of(scope, item["computeEnvironment"]),
        }
        for item in order
    ]
    for member in ("order", "computeEnvironment"):
        if len({item[member] for item in resolved}) < len(resolved):
            raise client_exception(f"{ORDER} must not repeat {member}.")
    return resolved


def _resolved_services(scope: Scope, order: Sequence[Json]) -> list[Json]:
    if len(order) > SERVICE_ENVIRONMENTS_PER_QUEUE_MAX:
        raise client_exception(
            f"A job queue cannot have more than {SERVICE_ENVIRONMENTS_PER_QUEUE_MAX} service"
            " environment."
        )
    return [
        {
            "order": item["order"],
            "serviceEnvironment": service_environment_arn_of(scope, item["serviceEnvironment"]),
        }
        for item in order
    ]


def _type_of_computes(conn: Connection, scope: Scope, order: Order) -> str:
    types: list[str] = []
    architectures: set[str] = set()
    for item in order.items:
        arn = EnvironmentArn(item["computeEnvironment"])
        record = environments.read_environment(conn, arn)
        if record is None or record.scope != scope:
            raise client_exception(f"{arn} does not exist")
        platform = platform_of_environment(record.detail)
        # Those of EKS have nothing to run on yet, and say so: jobs wait in their queues.
        is_waiting = platform is Platform.EKS and record.status is ResourceStatus.INVALID
        if record.status is not ResourceStatus.VALID and not is_waiting:
            raise client_exception(f"{arn} must have status VALID, but is {record.status}.")
        types.append(QUEUE_TYPE_BY_PLATFORM[platform])
        architectures |= architectures_of(record.detail.get("computeResources", {}).get(_TYPES, ()))
    if len(set(types)) > 1:
        raise mixed_kinds()
    if len(architectures) > 1:
        raise client_exception(
            "The compute environments of a job queue must all have the same CPU architecture."
        )
    return types[0]
