"""What can happen to the state: commands (wishes of callers), reports of backends, plans, time.

Owns the words that come in through `step`. Refuses to know where they come from. Ids and times
arrive inside; nothing here is ever made up by the core.
"""

from collections.abc import Mapping

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import (
    ConsumableArn,
    EnvironmentArn,
    HostId,
    JobId,
    PolicyArn,
    QueueArn,
    TaskId,
)
from batchyard.model.instances import InstanceId, LaunchSettings
from batchyard.model.records import QueuedJob, TimeLimit
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceState
from batchyard.scheduler.plan import Plan
from batchyard.scheduler.quota import QuotaTerms


class AcceptJob(Struct, frozen=True, kw_only=True):
    """Take in a SUBMITTED job.

    `finished` tells the status of dependencies that are no longer live, `ended_arrays` how each
    child ended of those that are waited for child by child.
    """

    job: QueuedJob
    finished: Mapping[JobId, JobStatus]
    ended_arrays: Mapping[JobId, Mapping[int, JobStatus]] = {}


class CancelJob(Struct, frozen=True, kw_only=True):
    job_id: JobId
    reason: str


class TerminateJob(Struct, frozen=True, kw_only=True):
    job_id: JobId
    reason: str


class PrioritizeJob(Struct, frozen=True, kw_only=True):
    """Let a live service job have another priority within its share."""

    job_id: JobId
    priority: int


class PutEnvironment(Struct, frozen=True, kw_only=True):
    """A compute or service environment was created or changed.

    Unset `fault` means that it can be used.
    """

    arn: EnvironmentArn
    kind: EnvironmentKind
    state: ResourceState
    #: `maxvCpus`, in thousandths; of a service environment what bounds nothing.
    cpu_milli_max: int
    #: Of a service environment, and of no other: how many instances its jobs may use, by capacity
    #: unit.
    limits: Mapping[str, int] | None = None
    #: Why it is INVALID, in AWS's form.
    fault: str | None = None
    #: How it launches instances; None: it launches none.
    launching: LaunchSettings | None = None
    #: Its jobs run on instances only, whoever launches them.
    has_instances: bool = False
    #: Identity of this incarnation of the name.
    uuid: str = ""
    #: How many instances it has launched before this state was made.
    launch_count: int = 0


class DeleteEnvironment(Struct, frozen=True, kw_only=True):
    """Let the environment end. It goes once no attempt runs in it."""

    arn: EnvironmentArn


class PutQueue(Struct, frozen=True, kw_only=True):
    """A job queue was created or changed."""

    arn: QueueArn
    seq: int
    state: ResourceState
    priority: int
    environment_arns: tuple[EnvironmentArn, ...]
    time_limits: tuple[TimeLimit, ...] = ()
    #: Both set exactly if the queue has a scheduling policy: for ever, or never.
    policy_arn: PolicyArn | None = None
    policy: FairShare | None = None
    #: Its policy is one of quota shares: for ever, or never. `policy` is None then.
    has_quota_shares: bool = False


class PutQuotaShare(Struct, frozen=True, kw_only=True):
    """A quota share of a queue was created or changed. The queue must be there already."""

    queue_arn: QueueArn
    terms: QuotaTerms


class DeleteQuotaShare(Struct, frozen=True, kw_only=True):
    """Let the share end: its jobs fail or are stopped; it goes with the last of them.

    To be given again while the outcome is partial.
    """

    queue_arn: QueueArn
    name: str


class PutPolicy(Struct, frozen=True, kw_only=True):
    """A scheduling policy was changed."""

    arn: PolicyArn
    #: Of the record that says so.
    revision: int
    policy: FairShare


class DeleteQueue(Struct, frozen=True, kw_only=True):
    """Let the queue end: its jobs fail or are stopped; it goes with the last of them.

    To be given again while the outcome is partial.
    """

    arn: QueueArn


class PutHost(Struct, frozen=True, kw_only=True):
    """A backend offers a host, or offers it with another capacity."""

    host_id: HostId
    capacity: Amount


class PutConsumable(Struct, frozen=True, kw_only=True):
    """A consumable resource was created or changed.

    `used_up` counts only where the core does not know the resource: from then on it counts itself.
    """

    arn: ConsumableArn
    version: int
    is_replenishable: bool
    given: int
    used_up: int = 0


class DeleteConsumable(Struct, frozen=True, kw_only=True):
    """A consumable resource is gone: nothing that needs it starts until it is there again."""

    arn: ConsumableArn
    version: int


class InterruptInstance(Struct, frozen=True, kw_only=True):
    """The Spot capacity of an instance is reclaimed: it ends after the notice."""

    instance_id: InstanceId
    notice_ms: int
    #: Also if it is not Spot capacity.
    is_forced: bool = False
    #: The wish that is answered; None: nobody asked.
    wish_seq: int | None = None


class RegisterInstances(Struct, frozen=True, kw_only=True):
    """Somebody brings instances for an environment that launches none: all of them or none."""

    wish_seq: int
    environment_arn: EnvironmentArn
    instance_type: str
    capacity: Amount
    count: int
    #: None: wherever there is room.
    host_id: HostId | None = None


class DeregisterInstance(Struct, frozen=True, kw_only=True):
    """A registered instance is taken back: with its last job, or by force now."""

    wish_seq: int
    instance_id: InstanceId
    is_forced: bool = False


class TaskTaken(Struct, frozen=True, kw_only=True):
    """The backend has the task, and begins with its images. Told of service jobs only."""

    task_id: TaskId


class TaskFetching(Struct, frozen=True, kw_only=True):
    """Since `at_ms` the task waits for something that is brought from elsewhere, for as long as it
    takes.

    What is told later replaces it. That it has come is not told: then the task starts, or ends.
    """

    task_id: TaskId
    at_ms: int
    #: Named as the job names it; None: its secrets.
    image: str | None = None


class InterruptTask(Struct, frozen=True, kw_only=True):
    """The Fargate Spot capacity under a job's live attempt is reclaimed: it is told to stop."""

    job_id: JobId
    wish_seq: int


class TaskStarted(Struct, frozen=True, kw_only=True):
    """The processes of the task's essential containers run since `at_ms`.

    `address` is the task's own IPv4 address, if its network is its own.
    """

    task_id: TaskId
    at_ms: int
    address: str | None = None


class ContainerEnded(Struct, frozen=True, kw_only=True):
    """How one of several containers of a task ended.

    `exit_code` and `reason` as in `TaskEnded`. A container that was never started, because the task
    ended before, has neither.
    """

    name: str
    is_essential: bool
    exit_code: int | None = None
    reason: str | None = None
    #: It was told to stop: by a caller, or because an essential container had ended.
    was_stopped: bool = False


class TaskEnded(Struct, frozen=True, kw_only=True):
    """The task is over, and will not come back.

    `exit_code` is None if no process ever reported one: it could not start, or was lost. `reason`
    has AWS's form `<ErrorName>: <text>` (reference/jobs.md section 1.6), and is None when a
    process simply exited. `is_lost` says that the host vanished under it (machine or supervisor
    gone). A task with several containers tells of each in `containers`, in the order of its spec;
    its own `exit_code` and `reason` are None then.
    """

    task_id: TaskId
    at_ms: int
    exit_code: int | None
    reason: str | None
    is_lost: bool = False
    containers: tuple[ContainerEnded, ...] = ()
    #: What the program of a training job left to say why it failed.
    message: str | None = None


class Tick(Struct, frozen=True, kw_only=True):
    """Time has passed: act on what is due."""


Input = (
    AcceptJob
    | CancelJob
    | TerminateJob
    | PrioritizeJob
    | PutEnvironment
    | DeleteEnvironment
    | PutQueue
    | PutPolicy
    | PutQuotaShare
    | DeleteQuotaShare
    | DeleteQueue
    | PutHost
    | PutConsumable
    | DeleteConsumable
    | InterruptInstance
    | InterruptTask
    | RegisterInstances
    | DeregisterInstance
    | TaskTaken
    | TaskFetching
    | TaskStarted
    | TaskEnded
    | Plan
    | Tick
)
