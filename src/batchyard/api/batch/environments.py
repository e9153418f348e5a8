"""Create, describe and delete compute environments (reference/compute-and-scheduling.md section 1).

Creating and deleting are wishes: the record says CREATING or DELETING until the engine has settled
it.
"""

from batchyard.api.batch.listing import Listing, describe
from batchyard.api.batch.rules.compute_resources import (
    check_resources,
    current_resources,
    with_defaults,
)
from batchyard.api.batch.rules.eks_configuration import check_eks_configuration
from batchyard.api.batch.rules.ground import Platform
from batchyard.api.batch.rules.names import check_resource_name, environment_arn_of, is_arn_in
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.rules.unmanaged import UNMANAGED, check_unmanaged
from batchyard.api.batch.service import Service
from batchyard.model.ecs_arns import cluster_arn_of
from batchyard.model.environment_kinds import kind_of_environment
from batchyard.model.ids import EnvironmentArn, Scope, name_in_arn
from batchyard.model.limits import ENVIRONMENT_COUNT_MAX, ENVIRONMENTS_PER_EKS_CLUSTER_MAX
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import EnvironmentKind, ResourceState, ResourceStatus
from batchyard.store import Connection, environments, queues
from batchyard.wire.call import Call

BEING_MODIFIED = "resource is being modified"
_TYPES = ("MANAGED", UNMANAGED)
_CONTAINER_INSIGHTS = ("ENABLED", "ENHANCED", "DISABLED")


async def create_compute_environment(service: Service, call: Call, request: Json) -> Json:
    """Ask for an environment; it is CREATING until the engine has looked at it."""
    scope = call.scope
    name: str = request["computeEnvironmentName"]
    tags = request.get("tags", {})
    check_tags(tags)
    arn = scope.environment_arn(name)
    detail = checked_environment(scope, request, call.request_id)
    eks: Json | None = detail.get("eksConfiguration")

    def insert(conn: Connection) -> None:
        count = environments.count_environments(conn, scope)
        if eks:
            _check_cluster(conn, scope, eks["eksClusterArn"])
        is_new = environments.insert_environment(
            conn,
            arn=arn,
            scope=scope,
            name=name,
            uuid=service.ids.make(),
            state=ResourceState.ENABLED,
            detail=detail,
            tags=tags,
        )
        if not is_new:
            raise client_exception("Object already exists")
        if count >= ENVIRONMENT_COUNT_MAX:
            raise client_exception(
                f"An account cannot have more than {ENVIRONMENT_COUNT_MAX} compute environments."
            )
        service.store.note_wish()

    await service.store.write(insert)
    if service.foresight is not None:
        call.warn(service.foresight.of_environment(_wanted(scope, arn, detail)))
    return {"computeEnvironmentName": name, "computeEnvironmentArn": arn}


def _wanted(scope: Scope, arn: EnvironmentArn, detail: Json) -> EnvironmentRecord:
    """Give an environment as it will be read."""
    return EnvironmentRecord(
        seq=0,
        arn=arn,
        scope=scope,
        name=name_in_arn(arn),
        uuid="",
        state=ResourceState.ENABLED,
        status=ResourceStatus.CREATING,
        status_reason=None,
        detail=detail,
        tags={},
    )


def checked_environment(scope: Scope, request: Json, request_id: str) -> Json:
    """Give what is kept of a request to create an environment. Refuses what AWS would refuse."""
    _check_creation(request, request_id)
    arn = scope.environment_arn(request["computeEnvironmentName"])
    detail: Json = {
        "type": request["type"],
        "serviceRole": request.get("serviceRole") or service_linked_role(scope.account),
    }
    if resources := request.get("computeResources"):
        detail["computeResources"] = with_defaults(resources)
    if "unmanagedvCpus" in request:
        detail["unmanagedvCpus"] = request["unmanagedvCpus"]
    if eks := request.get("eksConfiguration"):
        detail |= {"eksConfiguration": eks, "containerOrchestrationType": "EKS"}
    else:
        detail |= {
            "ecsClusterArn": cluster_arn_of(scope, arn),
            "containerOrchestrationType": "ECS",
        }
    detail.update(
        (member, request[member]) for member in ("context", "ecsSettings") if request.get(member)
    )
    return detail


async def delete_compute_environment(service: Service, call: Call, request: Json) -> Json:
    """Ask for the end of a DISABLED environment that no queue refers to."""
    arn = environment_arn_of(call.scope, request["computeEnvironment"])
    if not is_arn_in(call.scope, arn):
        return {}

    def delete(conn: Connection) -> None:
        record = environments.read_environment(conn, arn)
        if record is None:
            return
        if record.status.is_in_transition:
            raise client_exception(f"Cannot delete, {BEING_MODIFIED}")
        if record.state is not ResourceState.DISABLED:
            raise client_exception("Cannot delete, state must be DISABLED")
        if queues.queues_of_environment(conn, arn):
            raise client_exception("Cannot delete, found existing JobQueue relationship")
        environments.update_environment(conn, arn, status=ResourceStatus.DELETING)
        service.store.note_wish()

    await service.store.write(delete)
    return {}


async def describe_compute_environments(service: Service, call: Call, request: Json) -> Json:
    """Show environments in the order of their creation; unknown ones are left out."""
    return await describe(_LISTING, service, call, request)


def service_linked_role(account: str) -> str:
    """Name the role AWS uses where the caller names none."""
    return (
        f"arn:aws:iam::{account}:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch"
    )


def check_ecs_settings(settings: Json) -> None:
    """Refuse a Container Insights mode that AWS does not have."""
    mode = settings.get("containerInsights")
    if mode is not None and mode not in _CONTAINER_INSIGHTS:
        raise client_exception(
            f"containerInsights {mode} is not one of {', '.join(_CONTAINER_INSIGHTS)}."
        )


def platform_of_environment(detail: Json) -> Platform:
    """Tell what jobs of an environment, as Describe shows it, run on."""
    if detail.get("eksConfiguration"):
        return Platform.EKS
    kind = kind_of_environment(detail)
    if kind is EnvironmentKind.MANAGED_INSTANCES:
        return Platform.MANAGED_INSTANCES
    return Platform.FARGATE if kind.is_fargate else Platform.EC2


def does_not_exist(arn: EnvironmentArn) -> Exception:
    """Say that an environment addressed by name or ARN is unknown."""
    return client_exception(f"{arn} does not exist")


def _check_creation(request: Json, request_id: str) -> None:
    check_resource_name(request["computeEnvironmentName"], "computeEnvironmentName")
    kind = request["type"]
    if kind not in _TYPES:
        raise client_exception(f"type {kind} is not one of {', '.join(_TYPES)}.")
    state = request.get("state") or ResourceState.ENABLED
    if state != ResourceState.ENABLED:
        raise client_exception("state must be ENABLED when a compute environment is created.")
    check_ecs_settings(request.get("ecsSettings", {}))
    if kind == UNMANAGED:
        check_unmanaged(request)
    else:
        _check_managed(request, request_id)


def _check_managed(request: Json, request_id: str) -> None:
    if "unmanagedvCpus" in request:
        raise client_exception("unmanagedvCpus is only applicable for UNMANAGED environments.")
    resources = request.get("computeResources")
    if not resources:
        raise client_exception(
            "computeResources must be provided for a MANAGED compute environment"
        )
    eks = request.get("eksConfiguration")
    check_resources(resources, is_eks=bool(eks), request_id=request_id)
    if eks:
        check_eks_configuration(eks)


def _check_cluster(conn: Connection, scope: Scope, cluster_arn: str) -> None:
    """Refuse one environment too many on a cluster."""
    known = environments.list_environments(conn, scope, 0, ENVIRONMENT_COUNT_MAX)
    on_cluster = [
        record
        for record in known
        if record.detail.get("eksConfiguration", {}).get("eksClusterArn") == cluster_arn
    ]
    if len(on_cluster) >= ENVIRONMENTS_PER_EKS_CLUSTER_MAX:
        raise client_exception(
            f"An EKS cluster cannot have more than {ENVIRONMENTS_PER_EKS_CLUSTER_MAX} compute"
            " environments."
        )


def _shown(record: EnvironmentRecord) -> Json:
    shown: Json = {
        "computeEnvironmentName": record.name,
        "computeEnvironmentArn": record.arn,
        "state": record.state.value,
        "status": record.status.value,
        "uuid": record.uuid,
        **record.detail,
        "tags": dict(record.tags),
    }
    if record.detail["type"] != UNMANAGED:
        shown["computeResources"] = current_resources(record)
    if record.status_reason is not None:
        shown["statusReason"] = record.status_reason
    return shown


_LISTING = Listing(
    operation="DescribeComputeEnvironments",
    member="computeEnvironments",
    arn_of=environment_arn_of,
    read_one=environments.read_environment,
    read_page=environments.list_environments,
    show=_shown,
)
