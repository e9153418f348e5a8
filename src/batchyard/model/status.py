"""AWS's enumerations, spelt the AWS way. Compare members with `is`."""

from enum import StrEnum


class JobStatus(StrEnum):
    """States of a job (reference/jobs.md section 1.1)."""

    SUBMITTED = "SUBMITTED"
    PENDING = "PENDING"
    RUNNABLE = "RUNNABLE"
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
        return self is JobStatus.STARTING or self is JobStatus.RUNNING


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
    """`computeResources.type` of a managed compute environment; one that is not has none."""

    EC2 = "EC2"
    SPOT = "SPOT"
    FARGATE = "FARGATE"
    FARGATE_SPOT = "FARGATE_SPOT"
    MANAGED_INSTANCES = "ECS_MANAGED_INSTANCES"
    #: Its operator registers the instances.
    UNMANAGED = "UNMANAGED"

    @property
    def is_fargate(self) -> bool:
        return self is EnvironmentKind.FARGATE or self is EnvironmentKind.FARGATE_SPOT

    @property
    def has_vcpu_bounds(self) -> bool:
        """It has `minvCpus` and `desiredvCpus`."""
        return self is EnvironmentKind.EC2 or self is EnvironmentKind.SPOT


class DefinitionStatus(StrEnum):
    """Status of one revision of a job definition."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
