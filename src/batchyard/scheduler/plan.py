"""What a round proposes: launches, placements, instances to give up, and what keeps a queue's head.

The core disposes.
"""

from enum import StrEnum

from msgspec import Struct

from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.instances import InstanceId, InstanceType


class Obstacle(StrEnum):
    """Why the job at the head of a queue was not placed."""

    #: Every environment of the queue is INVALID.
    NO_VALID_ENVIRONMENT = "NO_VALID_ENVIRONMENT"
    #: No environment is both VALID and ENABLED, and at least one is DISABLED.
    NO_ENABLED_ENVIRONMENT = "NO_ENABLED_ENVIRONMENT"
    #: The job asks for more vCPUs than `maxvCpus` of every usable environment.
    ABOVE_ENVIRONMENT_MAX = "ABOVE_ENVIRONMENT_MAX"
    #: The service job takes more instances than every usable service environment may give at all.
    ABOVE_SERVICE_ENVIRONMENT_MAX = "ABOVE_SERVICE_ENVIRONMENT_MAX"
    #: The job asks for more than any host or instance type has, even when empty; or its nodes, than
    #: all hosts have.
    ABOVE_HOST_CAPACITY = "ABOVE_HOST_CAPACITY"
    #: It would fit, but a consumable resource that it needs is not there in that quantity now.
    CONSUMABLE_UNAVAILABLE = "CONSUMABLE_UNAVAILABLE"
    #: An instance for it would be within `maxvCpus`, but no machine has room for one.
    INSUFFICIENT_INSTANCE_CAPACITY = "INSUFFICIENT_INSTANCE_CAPACITY"
    #: It would fit, but other jobs hold what it needs.
    CAPACITY_IN_USE = "CAPACITY_IN_USE"
    #: The queue's scheduling policy keeps what is left for others.
    RESERVED_FOR_OTHERS = "RESERVED_FOR_OTHERS"
    #: The job needs more than the capacity limits of its quota share, which does not borrow.
    ABOVE_QUOTA = "ABOVE_QUOTA"
    #: The job needs more than its quota share has and may borrow.
    ABOVE_BORROW_LIMIT = "ABOVE_BORROW_LIMIT"
    #: The job needs more than its quota share has and all others could lend.
    ABOVE_BORROWABLE = "ABOVE_BORROWABLE"
    #: Its quota share has nothing left for it at the moment, and nothing more is lent.
    QUOTA_IN_USE = "QUOTA_IN_USE"


class Slot(Struct, frozen=True, kw_only=True):
    """Where an attempt, or one node of it, runs: a host, and the instance on it, if any."""

    host_id: HostId
    instance_id: InstanceId | None = None


class Placement(Struct, frozen=True, kw_only=True):
    """Start an attempt of this job, in this environment.

    One slot; a multi-node job has one for each node, by the node's index.
    """

    job_id: JobId
    environment_arn: EnvironmentArn
    slots: tuple[Slot, ...]


class Launch(Struct, frozen=True, kw_only=True):
    """Start an instance: a slice of this host."""

    instance_id: InstanceId
    environment_arn: EnvironmentArn
    instance_type: InstanceType
    host_id: HostId


class PreemptionCause(StrEnum):
    """Why a running job is stopped for another one."""

    #: It borrows, and the other needs nothing borrowed.
    CROSS_SHARE = "CROSS_SHARE"
    #: The other is of the same quota share, and has a higher priority.
    IN_SHARE = "IN_SHARE"


class Preemption(Struct, frozen=True, kw_only=True):
    """Stop the live attempt of a job, which is to wait again."""

    job_id: JobId
    cause: PreemptionCause
    #: Who can start then.
    for_job_id: JobId


class BlockedHead(Struct, frozen=True, kw_only=True):
    """The job at the head of a queue, or of a quota share of it, and what keeps it there."""

    queue_arn: QueueArn
    #: None: the queue has no quota shares.
    quota_share: str | None = None
    job_id: JobId
    obstacle: Obstacle
    #: The type whose capacity is missing.
    instance_type: str | None = None


class Plan(Struct, frozen=True, kw_only=True):
    """The result of one round, in the order in which it was chosen.

    First what is given up (idle instances, for the room they take), then launches, then placements.
    One blocked head a queue, or a quota share.
    """

    placements: tuple[Placement, ...]
    blocked: tuple[BlockedHead, ...]
    launches: tuple[Launch, ...] = ()
    terminations: tuple[InstanceId, ...] = ()
    preemptions: tuple[Preemption, ...] = ()
    #: Once all of this is done, another round would decide nothing more, and show the same reasons,
    #: until something happens or, among shares with a history, it is the turn of somebody else.
    is_settling: bool = False
