"""What runs where, for an operator's eyes.

Owns what is told of the use of an instance. Refuses to change anything. Costs what it shows.
"""

from msgspec import Struct

from batchyard.core.state import State
from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId
from batchyard.model.instances import InstanceId


class InstanceUse(Struct, frozen=True, kw_only=True):
    """What a live instance is used for."""

    #: Jobs can be placed on it, or could before it began to drain.
    is_ready: bool
    used: Amount
    #: Jobs, children and nodes, in the order in which they came.
    job_ids: tuple[JobId, ...]


def use_of(state: State, instance_id: InstanceId) -> InstanceUse | None:
    """Tell what is on an instance; None: it is not live."""
    instance = state.instances.get(instance_id)
    if instance is None:
        return None
    return InstanceUse(
        is_ready=instance.is_ready,
        used=instance.used,
        job_ids=tuple(state.job_by_task[task_id] for task_id in instance.tasks),
    )
