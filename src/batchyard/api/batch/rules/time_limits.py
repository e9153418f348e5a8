"""What `jobStateTimeLimitActions` of a queue may say. Pure.

Decides by reference/compute-and-scheduling.md section 2.5. Refuses to know what the limits do.
"""

from collections.abc import Sequence

from batchyard.model.limits import TIME_LIMIT_SECONDS_MAX, TIME_LIMIT_SECONDS_MIN
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_REASONS = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE",
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
)


def check_time_limits(actions: Sequence[Json]) -> None:
    """Refuse actions that AWS would refuse of a queue that runs containers."""
    for action in actions:
        if action["reason"] not in _REASONS:
            raise client_exception("Invalid job reason")
        if action["state"] != "RUNNABLE":
            raise client_exception(f"state {action['state']} is not RUNNABLE.")
        if action["action"] != "CANCEL":
            raise client_exception(f"action {action['action']} is not CANCEL.")
        if not TIME_LIMIT_SECONDS_MIN <= action["maxTimeSeconds"] <= TIME_LIMIT_SECONDS_MAX:
            raise client_exception(
                f"maxTimeSeconds must be between {TIME_LIMIT_SECONDS_MIN} and"
                f" {TIME_LIMIT_SECONDS_MAX}."
            )
