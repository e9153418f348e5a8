"""What `jobStateTimeLimitActions` of a queue may say. Pure.

Decides by reference/compute-and-scheduling.md section 2.5. Refuses to know what the limits do.
"""

from collections.abc import Sequence

from batchyard.model.limits import TIME_LIMIT_SECONDS_MAX, TIME_LIMIT_SECONDS_MIN
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_REASONS_OF_SERVICE_JOBS = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE",
)
_REASONS = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
)


def check_time_limits(actions: Sequence[Json], *, is_service: bool) -> None:
    """Refuse actions that AWS would refuse of a queue of containers, or of service jobs."""
    reasons = _REASONS_OF_SERVICE_JOBS if is_service else _REASONS
    expected = "TERMINATE" if is_service else "CANCEL"
    for action in actions:
        if action["reason"] not in reasons:
            raise client_exception("Invalid job reason")
        if action["state"] != "RUNNABLE":
            raise client_exception(f"state {action['state']} is not RUNNABLE.")
        if action["action"] != expected:
            raise client_exception(f"action {action['action']} is not {expected}.")
        if not TIME_LIMIT_SECONDS_MIN <= action["maxTimeSeconds"] <= TIME_LIMIT_SECONDS_MAX:
            raise client_exception(
                f"maxTimeSeconds must be between {TIME_LIMIT_SECONDS_MIN} and"
                f" {TIME_LIMIT_SECONDS_MAX}."
            )
