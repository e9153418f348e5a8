"""What keeps a compute environment from being used, whatever the machine has. Pure.

Decides the reason, in the form of AWS's `statusReason`, for environments that are accepted and
shown but that nothing here can run jobs in. The engine makes such an environment INVALID.
"""

from batchyard.model.records import Json


def environment_fault_of(detail: Json) -> str | None:
    """Say why an environment, as Describe shows it, cannot be used; None: it can."""
    if detail.get("eksConfiguration"):
        return "CLIENT_ERROR - Kubernetes is not connected to this batchyard yet"
    return None
