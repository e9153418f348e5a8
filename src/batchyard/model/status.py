"""AWS's enumerations, spelt the AWS way. Compare members with `is`."""

from collections.abc import Sequence
from enum import StrEnum


class JobStatus(StrEnum):
    """States of a job (reference/jobs.md section 1.1)."""

    SUBMITTED = "SUBMITTED"
    PENDING = "PENDING"
    RUNNABLE = "RUNNABLE"
    #: Of service jobs alone: handed over, and nobody has begun with it yet.
    SCHEDULED = "SCHEDULED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def is_terminal(self) -> bool:
        return self is JobStatus.SUCCEEDED or self is JobStatus.FAILED

    @property
    def has_task(self) -> bool:
        """True while an attempt holds capacity and a backend has, or will have, a task for it."""
        return (
            self is JobStatus.RUNNING or self is JobStatus.STARTING or self is JobStatus.SCHEDULED
        )


#: The states that a job with containers can have, in the order of its life.
CONTAINER_JOB_STATUSES: Sequence[JobStatus] = tuple(
    each for each in JobStatus if each is not JobStatus.SCHEDULED
)


class ResourceStatus(StrEnum):
    """The service's view of a compute environment or a job queue."""

    CREATING = "CREATING"
    UPDATING = "UPDATING"
    DELETING = "DELETING"
    DELETED = "DELETED"
    VALID = "VALID"
    INVALID = "INVALID"

    @property
    def is_in_transition(self) -> bool:
        """True while the API has asked for something that the engine has not settled yet."""
        return self in (ResourceStatus.CREATING, ResourceStatus.UPDATING, ResourceStatus.DELETING)


class ResourceState(StrEnum):
    """The user's switch on a compute environment or a job queue."""

    ENABLED = "ENABLED"
    DISABLED = "DISABLED"


class EnvironmentKind(StrEnum):
    """`computeResources.type` of a managed compute environment; one that is not has none.

    And the type of a service environment.
    """

    EC2 = "EC2"
    SPOT = "SPOT"
    FARGATE = "FARGATE"
    FARGATE_SPOT = "FARGATE_SPOT"
    MANAGED_INSTANCES = "ECS_MANAGED_INSTANCES"
    #: Its operator registers the instances.
    UNMANAGED = "UNMANAGED"
    #: A service environment, for training jobs.
    SAGEMAKER_TRAINING = "SAGEMAKER_TRAINING"

    @property
    def is_fargate(self) -> bool:
        return self is EnvironmentKind.FARGATE or self is EnvironmentKind.FARGATE_SPOT

    @property
    def has_vcpu_bounds(self) -> bool:
        """It has `minvCpus` and `desiredvCpus`."""
        return self is EnvironmentKind.EC2 or self is EnvironmentKind.SPOT

    @property
    def is_service(self) -> bool:
        return self is EnvironmentKind.SAGEMAKER_TRAINING

    @property
    def runs_nodes(self) -> bool:
        """Jobs with containers may have several nodes there."""
        return self.has_vcpu_bounds or self is EnvironmentKind.UNMANAGED


class DefinitionStatus(StrEnum):
    """Status of one revision of a job definition."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
