"""What `computeResources` of a managed compute environment may say. Pure.

Decides which member is legal for which type, and in which range
(reference/compute-and-scheduling.md sections 1.2, 1.3, 1.7). Refuses to know what hosts there are.
"""

import re
from collections.abc import Sequence

from batchyard.api.batch.refusals import executing
from batchyard.api.batch.rules.image_types import check_ec2_configuration
from batchyard.api.batch.rules.launch_templates import BUNDLES, check_launch_template
from batchyard.api.batch.rules.managed_instances import check_managed_instances, refuse_elsewhere
from batchyard.engine.catalogue import architectures_of
from batchyard.model.environment_kinds import MANAGED_KINDS, kind_of_environment
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import EnvironmentKind

_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)?|default_x86_64|default_arm64")

_NOT_ON_FARGATE = (
    "allocationStrategy",
    "bidPercentage",
    "desiredvCpus",
    "ec2Configuration",
    "ec2KeyPair",
    "imageId",
    "instanceRole",
    "instanceTypes",
    "launchTemplate",
    "minvCpus",
    "placementGroup",
    "scalingPolicy",
    "spotIamFleetRole",
    "tags",
)
_SPOT_ONLY_STRATEGIES = (
    "SPOT_CAPACITY_OPTIMIZED",
    "SPOT_PRICE_CAPACITY_OPTIMIZED",
    "SPOT_CAPACITY_OPTIMIZED_PRIORITIZED",
)
_EC2_ONLY_STRATEGY = "BEST_FIT_PROGRESSIVE_ORDERED"
BEST_FIT = "BEST_FIT"
STRATEGIES = (BEST_FIT, "BEST_FIT_PROGRESSIVE", _EC2_ONLY_STRATEGY, *_SPOT_ONLY_STRATEGIES)

_FARGATE_SUBNETS_MAX = 16
_FARGATE_SECURITY_GROUPS_MAX = 5
_SCALE_DOWN_MINUTES_MIN = 20
_SCALE_DOWN_MINUTES_MAX = 10_080
_PERCENT_MAX = 100


def kind_of(resources: Json) -> EnvironmentKind:
    """Read the type. Refuses types AWS does not have."""
    text = resources["type"]
    if text not in MANAGED_KINDS:
        raise client_exception(
            f"computeResources type {text} is not one of {', '.join(MANAGED_KINDS)}."
        )
    return EnvironmentKind(text)


def check_resources(
    resources: Json, *, is_eks: bool, request_id: str, is_update: bool = False
) -> None:
    """Refuse compute resources that AWS would refuse.

    An update may take the networks of EC2 away, as AWS allows.
    """
    kind = kind_of(resources)
    if is_eks:
        _check_eks(resources, kind)
    if kind is EnvironmentKind.MANAGED_INSTANCES:
        check_managed_instances(resources)
    else:
        refuse_elsewhere(resources, "Fargate" if kind.is_fargate else kind.value)
        if kind.is_fargate:
            _check_fargate(resources)
        else:
            if not is_update:
                _check_networks(resources)
            _check_ec2(resources, is_eks=is_eks, request_id=request_id)
            _check_strategy(resources, kind)
    if resources["maxvCpus"] < 0:
        raise client_exception("maxvCpus must not be below 0.")


def with_defaults(resources: Json) -> Json:
    """Give the resources as Describe shows them: EC2 kinds always have their vCPU bounds."""
    if not EnvironmentKind(resources["type"]).has_vcpu_bounds:
        return dict(resources)
    least = resources.get("minvCpus", 0)
    return {**resources, "minvCpus": least, "desiredvCpus": resources.get("desiredvCpus", least)}


def _check_eks(resources: Json, kind: EnvironmentKind) -> None:
    if not kind.has_vcpu_bounds:
        raise client_exception(f"computeResources type {kind} is not applicable for EKS.")
    strategy = resources.get("allocationStrategy")
    if not strategy:
        raise client_exception("allocationStrategy must be provided for EKS.")
    if strategy == BEST_FIT:
        raise client_exception(f"allocationStrategy {BEST_FIT} is not applicable for EKS.")


def current_desired_vcpus(record: EnvironmentRecord) -> int:
    """Give `desiredvCpus` as it is now: what has been launched, and at least `minvCpus`.

    Until a change is settled, it is what the caller asked for.
    """
    resources = record.detail["computeResources"]
    least: int = resources.get("minvCpus", 0)
    launched = record.cpu_milli_launched // 1000
    asked = resources.get("desiredvCpus", least) if record.status.is_in_transition else least
    return max(least, launched, asked)


def current_resources(record: EnvironmentRecord) -> Json:
    """Give the compute resources of a managed environment as Describe shows them now."""
    resources: Json = record.detail["computeResources"]
    if not kind_of_environment(record.detail).has_vcpu_bounds:
        return resources
    return {**resources, "desiredvCpus": current_desired_vcpus(record)}


def _check_fargate(resources: Json) -> None:
    for member in _NOT_ON_FARGATE:
        if resources.get(member) not in (None, "", [], {}):
            raise client_exception(f"{member} is not applicable for Fargate.")
    if not 1 <= len(resources.get("subnets", ())) <= _FARGATE_SUBNETS_MAX:
        raise client_exception(f"subnets must have 1 to {_FARGATE_SUBNETS_MAX} items for Fargate.")
    if not 1 <= len(resources.get("securityGroupIds", ())) <= _FARGATE_SECURITY_GROUPS_MAX:
        raise client_exception(
            f"securityGroupIds must have 1 to {_FARGATE_SECURITY_GROUPS_MAX} items for Fargate."
        )


def _check_networks(resources: Json) -> None:
    if not resources.get("subnets"):
        raise client_exception("subnets must be provided.")
    if not resources.get("securityGroupIds") and not resources.get("launchTemplate"):
        raise client_exception("securityGroupIds must be provided.")


def _check_ec2(resources: Json, *, is_eks: bool, request_id: str) -> None:
    if not resources.get("instanceRole"):
        raise executing(request_id, "Instance role is required.")
    instance_types = resources.get("instanceTypes") or ()
    _check_instance_types(instance_types)
    _check_vcpus(resources)
    _check_ec2_settings(resources)
    check_ec2_configuration(resources.get("ec2Configuration") or (), is_eks=is_eks)
    if template := resources.get("launchTemplate"):
        check_launch_template(template, instance_types, is_eks=is_eks)


def _check_instance_types(instance_types: Sequence[str]) -> None:
    """Refuse none, what cannot be a type, two bundles, and two architectures."""
    if not instance_types:
        raise client_exception("instanceTypes must be provided.")
    for instance_type in instance_types:
        if not _INSTANCE_TYPE.fullmatch(instance_type):
            raise client_exception(f"instanceTypes {instance_type} is not an instance type.")
    if sum(each in BUNDLES for each in instance_types) > 1:
        raise client_exception(f"instanceTypes can have only one of {', '.join(BUNDLES)}.")
    if len(architectures_of(instance_types)) > 1:
        raise client_exception("instanceTypes must all have the same CPU architecture.")


def _check_vcpus(resources: Json) -> None:
    least = resources.get("minvCpus", 0)
    most = resources["maxvCpus"]
    if not 0 <= least <= most:
        raise client_exception("minvCpus should be between 0 and maxvCpus")
    if not least <= resources.get("desiredvCpus", least) <= most:
        raise client_exception("desiredvCpus should be between minvCpus and maxvCpus")


def _check_ec2_settings(resources: Json) -> None:
    if not 0 <= resources.get("bidPercentage", _PERCENT_MAX) <= _PERCENT_MAX:
        raise client_exception(f"bidPercentage must be between 0 and {_PERCENT_MAX}.")
    minutes = resources.get("scalingPolicy", {}).get("minScaleDownDelayMinutes", 0)
    if minutes and not _SCALE_DOWN_MINUTES_MIN <= minutes <= _SCALE_DOWN_MINUTES_MAX:
        raise client_exception(
            f"minScaleDownDelayMinutes must be 0, or between {_SCALE_DOWN_MINUTES_MIN} and"
            f" {_SCALE_DOWN_MINUTES_MAX}."
        )


def _check_strategy(resources: Json, kind: EnvironmentKind) -> None:
    strategy = resources.get("allocationStrategy") or BEST_FIT
    if strategy not in STRATEGIES:
        raise client_exception(
            f"allocationStrategy {strategy} is not one of {', '.join(STRATEGIES)}."
        )
    is_spot = kind is EnvironmentKind.SPOT
    if (strategy in _SPOT_ONLY_STRATEGIES and not is_spot) or (
        strategy == _EC2_ONLY_STRATEGY and is_spot
    ):
        raise client_exception(f"allocationStrategy {strategy} is not applicable for {kind.value}.")
    if is_spot and strategy == BEST_FIT and not resources.get("spotIamFleetRole"):
        raise client_exception("ComputeResources.spotIamFleetRole cannot not be null or empty")
