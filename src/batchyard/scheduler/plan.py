"""What a round proposes: placements, and why the head of a queue cannot start.

The core disposes.
"""

from enum import StrEnum

from msgspec import Struct

from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn


class Obstacle(StrEnum):
    """Why the job at the head of a queue was not placed."""

    #: Every environment of the queue is INVALID.
    NO_VALID_ENVIRONMENT = "NO_VALID_ENVIRONMENT"
    #: No environment is both VALID and ENABLED, and at least one is DISABLED.
    NO_ENABLED_ENVIRONMENT = "NO_ENABLED_ENVIRONMENT"
    #: The job asks for more vCPUs than `maxvCpus` of every usable environment.
    ABOVE_ENVIRONMENT_MAX = "ABOVE_ENVIRONMENT_MAX"
    #: The job asks for more than any host has, even when empty; or its nodes, than all hosts have.
    ABOVE_HOST_CAPACITY = "ABOVE_HOST_CAPACITY"
    #: It would fit, but a consumable resource that it needs is not there in that quantity now.
    CONSUMABLE_UNAVAILABLE = "CONSUMABLE_UNAVAILABLE"
    #: It would fit, but other jobs hold what it needs.
    CAPACITY_IN_USE = "CAPACITY_IN_USE"
    #: The queue's scheduling policy keeps what is left for others.
    RESERVED_FOR_OTHERS = "RESERVED_FOR_OTHERS"


class Placement(Struct, frozen=True, kw_only=True):
    """Start an attempt of this job, in this environment, on this host.

    A multi-node job has a host for each node, and its `host_id` is that of the main one.
    """

    job_id: JobId
    environment_arn: EnvironmentArn
    host_id: HostId
    node_hosts: tuple[HostId, ...] = ()


class BlockedHead(Struct, frozen=True, kw_only=True):
    """The job at the head of a queue, and what keeps it there."""

    queue_arn: QueueArn
    job_id: JobId
    obstacle: Obstacle


class Plan(Struct, frozen=True, kw_only=True):
    """The result of one round.

    Placements in the order they were chosen, one blocked head a queue.
    """

    placements: tuple[Placement, ...]
    blocked: tuple[BlockedHead, ...]
