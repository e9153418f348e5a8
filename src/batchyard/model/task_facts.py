"""What is told to a running task about itself: the facts behind its metadata endpoint.

Filled by whoever can read the records; shown by the wire in the member names of ECS. Times are Unix
milliseconds. Holds nothing secret: no environment, no values.
"""

from collections.abc import Mapping

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, Scope, TaskId
from batchyard.model.instances import InstanceId


class ContainerFacts(Struct, frozen=True, kw_only=True):
    """One container of a task."""

    name: str
    image: str
    limits: Amount
    #: `awslogs`, `json-file`, `none`, …; None: not known.
    log_driver: str | None = None
    log_options: Mapping[str, str] = {}
    #: `host` or `awsvpc`.
    network_mode: str = "host"
    #: IPv4, in a network of its own.
    address: str | None = None
    created_ms: int | None = None
    started_ms: int | None = None
    exit_code: int | None = None
    #: Why it ended, where there is more to say than its exit code.
    reason: str | None = None


class TaskGlance(Struct, frozen=True, kw_only=True):
    """What is known of a task without looking at its job."""

    task_id: TaskId
    job_id: JobId
    #: None: it has a slice of the machine for itself.
    instance_id: InstanceId | None
    #: Its process runs, or ran until it ended.
    is_running: bool
    #: It was asked to end, or has ended.
    is_stopping: bool


class InstanceFacts(Struct, frozen=True, kw_only=True):
    """The instance under a task."""

    id: InstanceId
    type: str
    is_spot: bool
    #: When it is stopped, once its Spot capacity is being reclaimed; None: it is not.
    interrupted_ms: int | None = None


class TaskEnd(Struct, frozen=True, kw_only=True):
    """How a task ended."""

    at_ms: int
    #: ECS's `stopCode`.
    code: str
    #: ECS's `stoppedReason`.
    reason: str | None


class TaskFacts(Struct, frozen=True, kw_only=True):
    """A task that was started."""

    task_id: TaskId
    #: Account and region of the job.
    scope: Scope
    task_arn: str
    #: Name or ARN of the cluster.
    cluster: str
    #: Name and revision of the job definition.
    family: str
    revision: str
    is_fargate: bool
    availability_zone: str
    #: Its process runs: RUNNING rather than STARTING.
    is_running: bool
    #: It was asked to end.
    is_stopping: bool = False
    #: What the job's `jobRoleArn` is, if it has one that it may have (`model.roles`).
    role_arn: str | None = None
    started_ms: int | None = None
    tags: Mapping[str, str] = {}
    #: Of the host; None on Fargate.
    container_instance_arn: str | None = None
    containers: tuple[ContainerFacts, ...]
    #: None: it has a slice of the machine for itself.
    instance: InstanceFacts | None = None
    #: None: it has not ended.
    end: TaskEnd | None = None
