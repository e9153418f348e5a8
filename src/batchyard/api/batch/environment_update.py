"""UpdateComputeEnvironment (reference/compute-and-scheduling.md section 1.11).

Decides what may change: the switch, the bounds of capacity, and, where AWS can replace instances,
how they are made. The new values are written as a wish (UPDATING) that the engine settles.
"""

from msgspec.structs import replace

from batchyard.api.batch.environments import (
    BEING_MODIFIED,
    check_ecs_settings,
    does_not_exist,
    service_linked_role,
)
from batchyard.api.batch.rules.compute_resources import (
    BEST_FIT,
    check_resources,
    current_desired_vcpus,
    current_resources,
    kind_of,
)
from batchyard.api.batch.rules.eks_configuration import check_access_entry
from batchyard.api.batch.rules.managed_instances import PROVIDER, merged_provider
from batchyard.api.batch.rules.names import environment_arn_of, is_arn_in
from batchyard.api.batch.rules.unmanaged import check_unmanaged_change
from batchyard.api.batch.service import Service
from batchyard.model.environment_kinds import kind_of_environment
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
_RESETTABLE = (
    "imageId",
    "ec2KeyPair",
    "ec2Configuration",
    "placementGroup",
    "subnets",
    "securityGroupIds",
    "tags",
)
_STRATEGY = "allocationStrategy"
_UNMANAGED_VCPUS = "unmanagedvCpus"
_TIMEOUT_MINUTES_MAX = 7200


async def update_compute_environment(service: Service, call: Call, request: Json) -> Json:
    """Ask for new values; members that are absent stay as they are."""
    scope = call.scope
    arn = environment_arn_of(scope, request["computeEnvironment"])
    if not is_arn_in(scope, arn):
        raise does_not_exist(arn)
    _check_request(request)

    def update(conn: Connection) -> EnvironmentRecord:
        record = environments.read_environment(conn, arn)
        if record is None:
            raise does_not_exist(arn)
        if record.status.is_in_transition:
            raise client_exception(f"Cannot update, {BEING_MODIFIED}")
        state = ResourceState(request.get("state") or record.state)
        detail = _changed_detail(record, request, request_id=call.request_id)
        environments.update_environment(
            conn, arn, state=state, status=ResourceStatus.UPDATING, detail=detail
        )
        service.store.note_wish()
        return replace(record, state=state, status=ResourceStatus.UPDATING, detail=detail)

    record = await service.store.write(update)
    if service.foresight is not None:
        call.warn(service.foresight.of_environment(record))
    return {"computeEnvironmentName": record.name, "computeEnvironmentArn": arn}


def _check_request(request: Json) -> None:
    state = request.get("state")
    if state and state not in list(ResourceState):
        raise client_exception(f"state {state} is not one of ENABLED, DISABLED.")
    check_access_entry(request.get("eksConfiguration", {}).get("accessEntry", {}))
    check_ecs_settings(request.get("ecsSettings", {}))
    minutes = request.get("updatePolicy", {}).get("jobExecutionTimeoutMinutes", 1)
    if not 1 <= minutes <= _TIMEOUT_MINUTES_MAX:
        raise client_exception(
            f"jobExecutionTimeoutMinutes must be between 1 and {_TIMEOUT_MINUTES_MAX}."
        )


def _changed_detail(record: EnvironmentRecord, request: Json, *, request_id: str) -> Json:
    detail: Json = {**record.detail}
    kind = kind_of_environment(detail)
    _check_for_kind(kind, request)
    if _UNMANAGED_VCPUS in request:
        detail[_UNMANAGED_VCPUS] = request[_UNMANAGED_VCPUS]
    if role := request.get("serviceRole"):
        _check_role(record, role)
        detail["serviceRole"] = role
    if request.get("updatePolicy") and not kind.is_fargate:  # there AWS ignores it
        detail["updatePolicy"] = request["updatePolicy"]
    for member in ("context", "ecsSettings"):
        if request.get(member):
            detail[member] = request[member]
    if change := request.get("eksConfiguration"):
        ours = detail.get("eksConfiguration")
        if not ours:
            raise client_exception("eksConfiguration is only applicable for EKS environments.")
        detail["eksConfiguration"] = {**ours, **change}
    if change := request.get("computeResources"):
        detail["computeResources"] = _checked_resources(record, change, request_id)
    elif "computeResources" in detail:
        # A capacity that somebody desired once is not asked for again.
        detail["computeResources"] = current_resources(record)
    return detail


def _check_for_kind(kind: EnvironmentKind, request: Json) -> None:
    if kind is EnvironmentKind.UNMANAGED:
        check_unmanaged_change(request)
    elif _UNMANAGED_VCPUS in request:
        raise client_exception("unmanagedvCpus is only applicable for UNMANAGED environments.")


def _checked_resources(record: EnvironmentRecord, change: Json, request_id: str) -> Json:
    is_eks = bool(record.detail.get("eksConfiguration"))
    if is_eks and "desiredvCpus" in change:
        raise client_exception("desiredvCpus cannot be updated for EKS environments.")
    _check_change(record, change)
    resources = _changed_resources(current_resources(record), change)
    check_resources(resources, is_eks=is_eks, request_id=request_id, is_update=True)
    return resources


def _check_role(record: EnvironmentRecord, role: str) -> None:
    linked = service_linked_role(record.scope.account)
    if (role == linked) is not (record.detail["serviceRole"] == linked):
        raise client_exception(
            "serviceRole cannot change between a service-linked role and another role."
        )


def _check_change(record: EnvironmentRecord, change: Json) -> None:
    ours = record.detail["computeResources"]
    kind = EnvironmentKind(ours["type"])
    if "type" in change:
        _check_type(kind, kind_of(change))
    desired = change.get("desiredvCpus")
    if desired is not None and kind.has_vcpu_bounds:
        least = change.get("minvCpus", ours["minvCpus"])
        most = change.get("maxvCpus", ours["maxvCpus"])
        if not least <= desired <= most:
            raise client_exception("desiredvCpus should be between minvCpus and maxvCpus")
        if desired < current_desired_vcpus(record):
            raise client_exception(
                "Manually scaling down compute environment is not supported. Disconnecting job"
                " queues from compute environment will cause it to scale-down to minvCpus"
            )
    if kind.has_vcpu_bounds and _replaces_instances(ours, change):
        _check_replacement(record, ours, change)


def _check_type(ours: EnvironmentKind, wanted: EnvironmentKind) -> None:
    managed = EnvironmentKind.MANAGED_INSTANCES
    if ours is not wanted and managed in (ours, wanted):
        raise client_exception(f"computeResources.type cannot change to or from {managed}.")
    if ours.is_fargate is not wanted.is_fargate:
        raise client_exception("computeResources.type cannot change between EC2 and Fargate.")


def _check_replacement(record: EnvironmentRecord, ours: Json, change: Json) -> None:
    """Refuse to replace instances where AWS cannot: another environment must be made then."""
    if record.detail["serviceRole"] != service_linked_role(record.scope.account):
        raise client_exception(
            "Infrastructure can be updated only in environments with the service-linked role."
        )
    if BEST_FIT in (ours.get(_STRATEGY) or BEST_FIT, change.get(_STRATEGY)):
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
    kind = kind_of(change if "type" in change else ours)
    changed: Json = {**ours}
    for member, value in change.items():
        if member == "updateToLatestImageVersion":
            continue
        if value in ("", [], {}) and member in _RESETTABLE:
            if not kind.is_fargate:
                changed.pop(member, None)
            continue
        is_provider = member == PROVIDER and PROVIDER in ours
        changed[member] = merged_provider(ours[PROVIDER], value) if is_provider else value
    template = changed.get("launchTemplate", {})
    if not template.get("launchTemplateId") and not template.get("launchTemplateName"):
        changed.pop("launchTemplate", None)
    if kind.has_vcpu_bounds:
        desired = max(changed["desiredvCpus"], changed["minvCpus"])
        changed["desiredvCpus"] = min(desired, max(changed["maxvCpus"], changed["minvCpus"]))
    return changed
