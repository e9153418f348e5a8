"""What an operator asks of instances, until the engine has answered it, and the answer.

Owns the words that the API and the engine exchange about instances through the store. Refuses to
know what comes of a wish.
"""

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId, JobId
from batchyard.model.instances import InstanceId


class Registration(Struct, frozen=True, kw_only=True):
    """What an operator wants to register in an UNMANAGED environment: all of it or nothing."""

    environment_arn: EnvironmentArn
    #: As shown; `custom` where it is none of EC2's.
    instance_type: str
    #: What jobs get of each.
    capacity: Amount
    count: int
    #: None: on any.
    host_id: HostId | None = None


class Deregistration(Struct, frozen=True, kw_only=True):
    """What an operator wants to take back."""

    environment_arn: EnvironmentArn
    instance_id: InstanceId
    #: Stop what runs on it, now.
    is_forced: bool = False


class Interruption(Struct, frozen=True, kw_only=True):
    """What an operator wants to reclaim, as EC2 does with Spot capacity."""

    environment_arn: EnvironmentArn
    instance_id: InstanceId
    #: From now until what still runs on it is stopped.
    notice_ms: int
    #: Also if it is not Spot capacity.
    is_forced: bool = False


class TaskInterruption(Struct, frozen=True, kw_only=True):
    """What an operator wants to reclaim, as ECS does with Fargate Spot capacity."""

    environment_arn: EnvironmentArn
    job_id: JobId


class InstanceWish(Struct, frozen=True, kw_only=True):
    """A durable wish about capacity. The API writes it, the engine answers it once."""

    seq: int
    registration: Registration | None = None
    deregistration: Deregistration | None = None
    interruption: Interruption | None = None
    task_interruption: TaskInterruption | None = None
    #: The answer: instances that are, or were, registered; or why nothing was done.
    is_settled: bool = False
    instance_ids: tuple[InstanceId, ...] = ()
    refusal: str | None = None

    @property
    def environment_arn(self) -> EnvironmentArn:
        asked = (
            self.registration or self.deregistration or self.interruption or self.task_interruption
        )
        assert asked is not None, self.seq
        return asked.environment_arn
