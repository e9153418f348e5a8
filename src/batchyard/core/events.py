"""What has become true: past facts, in the order in which they happened.

Owns the words that are appended to the store and from which every record can be made again. An
event never changes its meaning; a new meaning is a new version. Refuses to know who reads them.
"""

from dataclasses import dataclass

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn, TaskId
from batchyard.model.records import StopCause, WishKind
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceState

#: Version of every event below; raised when one of them changes.
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFact:
    """What every event of a job's story has."""

    job_id: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAccepted(JobFact):
    """SUBMITTED -> `status`: PENDING if it waits for others, else RUNNABLE.

    It stays SUBMITTED if it fails at once, which the next event says.
    """

    seq: int
    queue_arn: QueueArn
    demand: Amount
    attempts_max: int
    timeout_ms: int | None
    created_ms: int
    depends_on: tuple[JobId, ...]
    #: Dependencies that are still live.
    unmet: tuple[JobId, ...]
    status: JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyEnded(JobFact):
    """One of the dependencies that a PENDING job waited for is over."""

    dependency_id: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBecameRunnable(JobFact):
    """PENDING -> RUNNABLE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReasonChanged(JobFact):
    """A RUNNABLE job is, or is no longer, blocked for the reason given."""

    status_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMarked(JobFact):
    """A caller cancelled or terminated the job; how it ends follows as events of its own."""

    kind: WishKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptPlaced(JobFact):
    """RUNNABLE -> STARTING: the attempt holds capacity from now on."""

    number: int
    task_id: TaskId
    environment_arn: EnvironmentArn
    host_id: HostId
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted(JobFact):
    """STARTING -> RUNNING."""

    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStopping(JobFact):
    """We have decided to stop the live attempt."""

    cause: StopCause


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded(JobFact):
    """The live attempt is over and has given its capacity back. What becomes of the job follows."""

    at_ms: int
    exit_code: int | None
    reason: str | None
    status_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRetried(JobFact):
    """STARTING or RUNNING -> RUNNABLE, at the front of its queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSucceeded(JobFact):
    """RUNNING -> SUCCEEDED."""

    at_ms: int
    status_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(JobFact):
    """Any state -> FAILED."""

    at_ms: int
    status_reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentSettled:
    """A compute environment is VALID, or INVALID for `fault`, with these values."""

    arn: EnvironmentArn
    kind: EnvironmentKind
    state: ResourceState
    cpu_milli_max: int
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDraining:
    """A compute environment takes no new attempts and goes with its last one."""

    arn: EnvironmentArn


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDeleted:
    arn: EnvironmentArn


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettled:
    """A job queue is VALID, with these values."""

    arn: QueueArn
    seq: int
    state: ResourceState
    priority: int
    environment_arns: tuple[EnvironmentArn, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDraining:
    """A job queue starts nothing more and goes with its last job."""

    arn: QueueArn


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDeleted:
    arn: QueueArn


@dataclass(frozen=True, slots=True, kw_only=True)
class HostChanged:
    """A host is offered, with this capacity."""

    host_id: HostId
    capacity: Amount


JobEvent = (
    JobAccepted
    | DependencyEnded
    | JobBecameRunnable
    | JobReasonChanged
    | JobMarked
    | AttemptPlaced
    | AttemptStarted
    | AttemptStopping
    | AttemptEnded
    | JobRetried
    | JobSucceeded
    | JobFailed
)

ResourceEvent = (
    EnvironmentSettled
    | EnvironmentDraining
    | EnvironmentDeleted
    | QueueSettled
    | QueueDraining
    | QueueDeleted
    | HostChanged
)

Event = JobEvent | ResourceEvent
