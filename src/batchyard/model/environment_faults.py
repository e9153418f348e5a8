"""What keeps a compute environment from being used, whatever the machine has. Pure.

Decides the reason, in the form of AWS's `statusReason`, for environments that are accepted and
shown but that nothing here can run jobs in. The engine makes such an environment INVALID. AWS does
not look at roles before either (reference/compute-and-scheduling.md sections 1.1 and 1.6); as there
is no IAM here, only what cannot be a role at all is found out.
"""

import re
from hashlib import blake2b

from batchyard.model.records import Json
from batchyard.model.wording import ACTIVE_JOBS_ON_FARGATE

_NOT_CONNECTED = "CLIENT_ERROR - Kubernetes is not connected to this batchyard yet"
_NOT_AUTHORIZED = "CLIENT_ERROR - Not authorized to perform sts:AssumeRole"
_INSTANCE_PROFILE = "CLIENT_ERROR - Instance profile"

_ROLE = re.compile(r"(?:arn:aws[a-z-]*:iam::\d{12}:role/)?[\w+=,.@/-]{1,512}", re.ASCII)
_PROFILE = re.compile(r"(?:arn:aws[a-z-]*:iam::\d{12}:instance-profile/)?[\w+=,.@/-]+", re.ASCII)


def environment_fault_of(detail: Json) -> str | None:
    """Say why an environment, as Describe shows it, cannot be used; None: it can."""
    if detail.get("eksConfiguration"):
        return _NOT_CONNECTED
    resources = detail.get("computeResources") or {}
    provider = resources.get("managedInstancesProvider") or {}
    for role in (detail.get("serviceRole"), provider.get("infrastructureRoleArn")):
        if role and not _ROLE.fullmatch(role):
            return (
                f"{_NOT_AUTHORIZED} (Service: AWSSecurityTokenService; Status Code: 403; Error"
                f" Code: AccessDenied; Request ID: {_request_id_of(role)})"
            )
    fleet_role = resources.get("spotIamFleetRole")
    if fleet_role and not _ROLE.fullmatch(fleet_role):
        return (
            "CLIENT_ERROR - Parameter: SpotFleetRequestConfig.IamFleetRole is invalid. (Service:"
            " AmazonEC2; Status Code: 400; Error Code: InvalidSpotFleetRequestConfig; Request ID:"
            f" {_request_id_of(fleet_role)})"
        )
    template = provider.get("instanceLaunchTemplate") or {}
    for profile in (resources.get("instanceRole"), template.get("ec2InstanceProfileArn")):
        if profile and not _PROFILE.fullmatch(profile):
            return f"{_INSTANCE_PROFILE} {profile} does not exist"
    return None


def may_be_repaired(fault: str, *, is_replaceable: bool) -> bool:
    """Tell whether an update makes an environment VALID; else another must be made.

    What instances are launched with changes only where they may be replaced.
    """
    if fault.startswith(_INSTANCE_PROFILE):
        return is_replaceable
    return fault.startswith(_NOT_AUTHORIZED) or fault == ACTIVE_JOBS_ON_FARGATE


def _request_id_of(text: str) -> str:
    """Make the id of a request that was never made; the same for the same reason."""
    digits = blake2b(text.encode(), digest_size=16).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
