"""What an UNMANAGED compute environment may say. Pure.

Decides by reference/compute-and-scheduling.md sections 1.1 and 1.13. Texts are ours, in the form of
AWS's for managed ones, as AWS's are not known.
"""

from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

UNMANAGED = "UNMANAGED"


def check_unmanaged(request: Json) -> None:
    """Refuse a new environment that has capacity of its own making, or names no role."""
    if request.get("computeResources"):
        raise client_exception(
            "computeResources must not be provided for an UNMANAGED compute environment"
        )
    if request.get("eksConfiguration"):
        raise client_exception("eksConfiguration is only applicable for MANAGED environments.")
    if not request.get("serviceRole"):
        raise client_exception("serviceRole must be provided for an UNMANAGED compute environment")
    check_unmanaged_vcpus(request)


def check_unmanaged_change(request: Json) -> None:
    """Refuse an update of what such an environment does not have."""
    for member in ("computeResources", "updatePolicy", "eksConfiguration"):
        if request.get(member):
            raise client_exception(f"{member} is only applicable for MANAGED environments.")
    check_unmanaged_vcpus(request)


def check_unmanaged_vcpus(request: Json) -> None:
    """Refuse vCPUs below none."""
    if request.get("unmanagedvCpus", 0) < 0:
        raise client_exception("unmanagedvCpus must not be below 0.")
