"""UpdateComputeEnvironment (reference/compute-and-scheduling.md section 1.11).

Decides what may change: the switch, the bounds of capacity, and, where AWS can replace instances,
how they are made. The new values are written as a wish (UPDATING) that the engine settles.
"""

from batchyard.api.batch.environments import (
    BEING_MODIFIED,
    check_ecs_settings,
    does_not_exist,
    service_linked_role,
)
from batchyard.api.batch.refusals import unsupported
from batchyard.api.batch.rules.compute_resources import (
    BEST_FIT,
    check_resources,
    current_desired_vcpus,
    current_resources,
    kind_of,
)
from batchyard.api.batch.rules.eks_configuration import check_access_entry
from batchyard.api.batch.rules.names import environment_arn_of, is_arn_in
from batchyard.api.batch.service import Service
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import EnvironmentKind, ResourceState, ResourceStatus
from batchyard.store import Connection, environments
from batchyard.wire.call import Call

#: Changing one of these replaces instances on AWS; on Fargate the networks change in place.
_INFRASTRUCTURE = (
    "allocationStrategy",
    "bidPercentage",
    "ec2Configuration",
    "ec2KeyPair",
    "imageId",
    "instanceRole",
    "instanceTypes",
    "launchTemplate",
    "placementGroup",
    "securityGroupIds",
    "subnets",
    "tags",
    "type",
)
#: An empty value of these puts the default back.
_RESETTABLE = ("imageId", "ec2KeyPair", "ec2Configuration", "subnets", "securityGroupIds", "tags")
_TIMEOUT_MINUTES_MAX = 7200


async def update_compute_environment(service: Service, call: Call, request: Json) -> Json:
    """Ask for new values; members that are absent stay as they are."""
    scope = call.scope
    arn = environment_arn_of(scope, request["computeEnvironment"])
    if not is_arn_in(scope, arn):
        raise does_not_exist(arn)
    _check_request(request)

    def update(conn: Connection) -> str:
        record = environments.read_environment(conn, arn)
        if record is None:
            raise does_not_exist(arn)
        if record.status.is_in_transition:
            raise client_exception(f"Cannot update, {BEING_MODIFIED}")
        environments.update_environment(
            conn,
            arn,
            state=ResourceState(request.get("state") or record.state),
            status=ResourceStatus.UPDATING,
            detail=_changed_detail(record, request, request_id=call.request_id),
        )
        service.store.note_wish()
        return record.name

    name = await service.store.write(update)
    return {"computeEnvironmentName": name, "computeEnvironmentArn": arn}


def _check_request(request: Json) -> None:
    state = request.get("state")
    if state and state not in list(ResourceState):
        raise client_exception(f"state {state} is not one of ENABLED, DISABLED.")
    if "unmanagedvCpus" in request:
        raise client_exception("unmanagedvCpus is only applicable for UNMANAGED environments.")
    check_access_entry(request.get("eksConfiguration", {}).get("accessEntry", {}))
    check_ecs_settings(request.get("ecsSettings", {}))
    minutes = request.get("updatePolicy", {}).get("jobExecutionTimeoutMinutes", 1)
    if not 1 <= minutes <= _TIMEOUT_MINUTES_MAX:
        raise client_exception(
            f"jobExecutionTimeoutMinutes must be between 1 and {_TIMEOUT_MINUTES_MAX}."
        )
    for member in ("managedInstancesProvider", "capacityTags"):
        if request.get("computeResources", {}).get(member):
            raise unsupported(f"computeResources.{member}")


def _changed_detail(record: EnvironmentRecord, request: Json, *, request_id: str) -> Json:
    detail: Json = {**record.detail}
    if role := request.get("serviceRole"):
        _check_role(record, role)
        detail["serviceRole"] = role
    for member in ("updatePolicy", "context", "ecsSettings"):
        if request.get(member):
            detail[member] = request[member]
    if change := request.get("eksConfiguration"):
        ours = detail.get("eksConfiguration")
        if not ours:
            raise client_exception("eksConfiguration is only applicable for EKS environments.")
        detail["eksConfiguration"] = {**ours, **change}
    if change := request.get("computeResources"):
        is_eks = bool(record.detail.get("eksConfiguration"))
        if is_eks and "desiredvCpus" in change:
            raise client_exception("desiredvCpus cannot be updated for EKS environments.")
        _check_change(record, change)
        resources = _changed_resources(current_resources(record), change)
        check_resources(resources, is_eks=is_eks, request_id=request_id)
        detail["computeResources"] = resources
    return detail


def _check_role(record: EnvironmentRecord, role: str) -> None:
    linked = service_linked_role(record.scope.account)
    if (role == linked) is not (record.detail["serviceRole"] == linked):
        raise client_exception(
            "serviceRole cannot change between a service-linked role and another role."
        )


def _check_change(record: EnvironmentRecord, change: Json) -> None:
    ours = record.detail["computeResources"]
    kind = EnvironmentKind(ours["type"])
    if "type" in change and kind_of(change).is_fargate is not kind.is_fargate:
        raise client_exception("computeResources.type cannot change between EC2 and Fargate.")
    desired = change.get("desiredvCpus")
    if desired is not None and not kind.is_fargate:
        least = change.get("minvCpus", ours["minvCpus"])
        most = change.get("maxvCpus", ours["maxvCpus"])
        if not least <= desired <= most:
            raise client_exception("desiredvCpus should be between minvCpus and maxvCpus")
        if desired < current_desired_vcpus(record):
            raise client_exception(
                "Manually scaling down compute environment is not supported. Disconnecting job"
                " queues from compute environment will cause it to scale-down to minvCpus"
            )
    if kind.is_fargate or not _replaces_instances(ours, change):
        return
    if record.detail["serviceRole"] != service_linked_role(record.scope.account):
        raise client_exception(
            "Infrastructure can be updated only in environments with the service-linked role."
        )
    if (ours.get("allocationStrategy") or BEST_FIT) == BEST_FIT:
        raise client_exception(
            "Infrastructure cannot be updated in environments with allocationStrategy BEST_FIT."
        )


def _replaces_instances(ours: Json, change: Json) -> bool:
    return bool(change.get("updateToLatestImageVersion")) or any(
        (change[member] or None) != (ours.get(member) or None)
        for member in _INFRASTRUCTURE
        if member in change
    )


def _changed_resources(ours: Json, change: Json) -> Json:
    kind = EnvironmentKind(change["type"] if "type" in change else ours["type"])
    changed: Json = {**ours}
    for member, value in change.items():
        if member == "updateToLatestImageVersion":
            continue
        if value in ("", [], {}) and member in _RESETTABLE:
            if not kind.is_fargate:
                changed.pop(member, None)
            continue
        changed[member] = value
    template = changed.get("launchTemplate", {})
    if not template.get("launchTemplateId") and not template.get("launchTemplateName"):
        changed.pop("launchTemplate", None)
    if not kind.is_fargate:
        desired = max(changed["desiredvCpus"], changed["minvCpus"])
        changed["desiredvCpus"] = min(desired, max(changed["maxvCpus"], changed["minvCpus"]))
    return changed
