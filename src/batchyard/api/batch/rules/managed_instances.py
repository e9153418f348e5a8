"""What `computeResources` of type ECS_MANAGED_INSTANCES may say. Pure.

Decides by AWS's service model (reference/compute-and-scheduling.md section 1.16). Texts are ours,
in AWS's form for Fargate, as AWS's are not known.
"""

import re
from collections.abc import Mapping
from typing import Any

from batchyard.api.batch.rules.choices import check_choice
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

PROVIDER = "managedInstancesProvider"
CAPACITY_TAGS = "capacityTags"

_KIND = "ECS_MANAGED_INSTANCES"
_NOT_APPLICABLE = (
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
    "securityGroupIds",
    "spotIamFleetRole",
    "subnets",
    "tags",
)
_INSTANCE_TYPE = re.compile(r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)?")
_CAPACITY_OPTIONS = ("ON_DEMAND", "SPOT")
_MONITORING = ("BASIC", "DETAILED")
_PROPAGATION = ("CAPACITY_PROVIDER", "NONE")
_RESERVATIONS = ("RESERVATIONS_ONLY", "RESERVATIONS_FIRST", "RESERVATIONS_EXCLUDED")
_SCALE_IN_NEVER = -1
_SCALE_IN_S_MAX = 3600


def check_managed_instances(resources: Json) -> None:
    """Refuse what such an environment cannot have, and a provider that leaves things open."""
    for member in _NOT_APPLICABLE:
        if resources.get(member) not in (None, "", [], {}):
            raise client_exception(f"{member} is not applicable for {_KIND}.")
    provider = resources.get(PROVIDER)
    if not provider:
        raise client_exception(f"{PROVIDER} must be provided for {_KIND}.")
    if not provider["infrastructureRoleArn"]:
        raise client_exception(f"{PROVIDER}.infrastructureRoleArn must be provided.")
    check_choice(provider, "propagateTags", _PROPAGATION)
    scale_in_s = (provider.get("infrastructureOptimization") or {}).get("scaleInAfter", 0)
    if not _SCALE_IN_NEVER <= scale_in_s <= _SCALE_IN_S_MAX:
        raise client_exception(
            f"scaleInAfter must be {_SCALE_IN_NEVER}, or between 0 and {_SCALE_IN_S_MAX}."
        )
    _check_template(provider["instanceLaunchTemplate"])
    check_tags(resources.get(CAPACITY_TAGS) or {})


def refuse_elsewhere(resources: Json, kind: str) -> None:
    """Refuse the members that only environments of managed instances have."""
    for member in (PROVIDER, CAPACITY_TAGS):
        if resources.get(member):
            raise client_exception(f"{member} is not applicable for {kind}.")


def merged_provider(ours: Mapping[str, Any], change: Mapping[str, Any]) -> Json:
    """Give the provider after an update: structures are merged, all else is replaced."""
    merged = dict(ours)
    for member, value in change.items():
        known = ours.get(member)
        if isinstance(value, dict) and isinstance(known, dict):
            merged[member] = merged_provider(known, value)
        else:
            merged[member] = value
    return merged


def _check_template(template: Json) -> None:
    where = f"{PROVIDER}.instanceLaunchTemplate"
    if not template["ec2InstanceProfileArn"]:
        raise client_exception(f"{where}.ec2InstanceProfileArn must be provided.")
    for member in ("subnets", "securityGroups"):
        if not template["networkConfiguration"][member]:
            raise client_exception(f"{where}.networkConfiguration.{member} must be provided.")
    check_choice(template, "capacityOptionType", _CAPACITY_OPTIONS)
    check_choice(template, "monitoring", _MONITORING)
    reservations = template.get("capacityReservations") or {}
    check_choice(reservations, "reservationPreference", _RESERVATIONS)
    if (template.get("storageConfiguration") or {}).get("storageSizeGiB", 1) < 1:
        raise client_exception("storageSizeGiB must be at least 1.")
    for each in (template.get("instanceRequirements") or {}).get("allowedInstanceTypes") or ():
        if not _INSTANCE_TYPE.fullmatch(each):
            raise client_exception(f"allowedInstanceTypes {each} is not an instance type.")
