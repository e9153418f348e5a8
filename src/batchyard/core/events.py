"""What has become true: past facts, in the order in which they happened.

Owns the words that are appended to the store and from which every record can be made again. An
event never changes its meaning; a new meaning is a new version. Refuses to know who reads them.
"""

from collections.abc import Mapping

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
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
from batchyard.model.records import (
    ConsumableNeed,
    ContainerResult,
    ExitRule,
    Fetching,
    InstanceRecord,
    NodePlan,
    StopCause,
    TerminationCause,
    TimeLimit,
    WishKind,
)
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceState
from batchyard.scheduler.quota import QuotaTerms

#: Version of every event below; raised when one of them changes.
VERSION = 1


class JobFact(Struct, frozen=True, kw_only=True):
    """What every event of a job's story has: the job, child or node that it is about."""

    job_id: JobId


class JobAccepted(JobFact, frozen=True, kw_only=True):
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
    exit_rules: tuple[ExitRule, ...] = ()
    #: Dependencies that are still live.
    unmet: tuple[JobId, ...]
    status: JobStatus
    #: Set for an array, which is PENDING for as long as its children live.
    array_size: int | None = None
    #: Arrays that its children wait for one by one, and that are still live.
    unmet_each: tuple[JobId, ...] = ()
    is_sequential: bool = False
    #: Set for a multi-node job.
    nodes: NodePlan | None = None
    #: What each attempt takes of consumable resources.
    needs: tuple[ConsumableNeed, ...] = ()
    #: Set exactly if the queue has shares.
    share_identifier: str | None = None
    priority: int = 0
    #: Set exactly if the queue has quota shares.
    quota_share: str | None = None
    #: Of a service job, in whole units; a container job's follows from its demand.
    capacity_use: tuple[UnitQuantity, ...] = ()
    preemption_retries_max: int | None = None


class DependencyEnded(JobFact, frozen=True, kw_only=True):
    """One of the dependencies that a PENDING job, or a child, waited for is over."""

    dependency_id: JobId


class ChildrenDoomed(JobFact, frozen=True, kw_only=True):
    """These children of an array that has none yet can never run: what they need has failed."""

    indexes: tuple[int, ...]
    dependency_id: JobId


class ChildrenSpawned(JobFact, frozen=True, kw_only=True):
    """Nothing holds up the array as a whole any more: it has children, all in this status.

    RUNNABLE, or PENDING if some have conditions of their own; what becomes of those follows.
    """

    status: JobStatus
    at_ms: int


class RestFailed(JobFact, frozen=True, kw_only=True):
    """Every child of the array without a story of its own -> FAILED."""

    at_ms: int
    status_reason: str


class JobBecameRunnable(JobFact, frozen=True, kw_only=True):
    """PENDING -> RUNNABLE."""


class JobReasonChanged(JobFact, frozen=True, kw_only=True):
    """A RUNNABLE job at the head of its queue is, or is no longer, blocked for the reason given."""

    status_reason: str | None
    #: Since when; None without a reason.
    since_ms: int | None = None


class JobMarked(JobFact, frozen=True, kw_only=True):
    """A caller cancelled or terminated the job; how it ends follows as events of its own."""

    kind: WishKind
    reason: str


class JobPrioritized(JobFact, frozen=True, kw_only=True):
    """A service job has another priority from now on."""

    priority: int


class AttemptPlaced(JobFact, frozen=True, kw_only=True):
    """RUNNABLE -> STARTING: the attempt holds capacity from now on.

    A service job becomes SCHEDULED by it.

    For a multi-node job it is the capacity of all its nodes; task and host are the main node's.
    """

    number: int
    task_id: TaskId
    environment_arn: EnvironmentArn
    host_id: HostId
    at_ms: int
    #: The host of each node, by its index.
    node_hosts: tuple[HostId, ...] = ()
    #: None: a slice of the host for itself.
    instance_id: InstanceId | None = None
    node_instances: tuple[InstanceId, ...] = ()


class NodePlaced(JobFact, frozen=True, kw_only=True):
    """A node begins, STARTING, on the capacity that its job's attempt holds for it."""

    number: int
    task_id: TaskId
    at_ms: int


class AttemptTaken(JobFact, frozen=True, kw_only=True):
    """SCHEDULED -> STARTING: somebody has begun with the attempt of a service job."""


class AttemptFetching(JobFact, frozen=True, kw_only=True):
    """The live attempt, which has not started, waits for something from elsewhere."""

    fetching: Fetching


class AttemptStarted(JobFact, frozen=True, kw_only=True):
    """STARTING -> RUNNING. A multi-node job does so with its main node."""

    at_ms: int
    #: Of a task with a network of its own.
    address: str | None = None


#: With these a placed attempt gets going; where it is, and what it holds, stays as it was.
GETS_GOING = (AttemptTaken, AttemptFetching, AttemptStarted)


class MainNodeEnded(JobFact, frozen=True, kw_only=True):
    """The node is over that decides how the job ends: so is the job, once its other nodes are.

    That is the main node; of a service job the first one that fails, or the last one.
    """

    at_ms: int
    exit_code: int | None
    reason: str | None
    status_reason: str
    containers: tuple[ContainerResult, ...] = ()


class AttemptStopping(JobFact, frozen=True, kw_only=True):
    """We have decided to stop the live attempt; what it keeps for nodes to come it gives back."""

    cause: StopCause
    #: 0: it was written before anybody asked.
    at_ms: int = 0


class AttemptEnded(JobFact, frozen=True, kw_only=True):
    """The live attempt is over and has given its capacity back. What becomes of the job follows."""

    at_ms: int
    exit_code: int | None
    reason: str | None
    status_reason: str
    containers: tuple[ContainerResult, ...] = ()


class JobRetried(JobFact, frozen=True, kw_only=True):
    """STARTING or RUNNING -> RUNNABLE, at the front of its queue.

    Also after an attempt that was preempted, and so does not count.
    """


class JobSucceeded(JobFact, frozen=True, kw_only=True):
    """RUNNING -> SUCCEEDED; an array from PENDING, without a reason."""

    at_ms: int
    status_reason: str | None


class JobFailed(JobFact, frozen=True, kw_only=True):
    """Any state -> FAILED."""

    at_ms: int
    status_reason: str


class EnvironmentSettled(Struct, frozen=True, kw_only=True):
    """A compute or service environment is VALID, or INVALID for `fault`, with these values."""

    arn: EnvironmentArn
    kind: EnvironmentKind
    state: ResourceState
    cpu_milli_max: int
    fault: str | None
    #: Of a service environment: see `PutEnvironment`.
    limits: Mapping[str, int] | None = None
    #: None: it launches no instances.
    launching: LaunchSettings | None = None
    has_instances: bool = False
    #: Identity of this incarnation of the name.
    uuid: str = ""
    #: How many instances an environment that was not known had launched before.
    launch_count: int = 0


class EnvironmentDraining(Struct, frozen=True, kw_only=True):
    """A compute environment takes no new attempts and goes with its last one."""

    arn: EnvironmentArn


class EnvironmentDeleted(Struct, frozen=True, kw_only=True):
    arn: EnvironmentArn


class QueueSettled(Struct, frozen=True, kw_only=True):
    """A job queue is VALID, with these values."""

    arn: QueueArn
    seq: int
    state: ResourceState
    priority: int
    environment_arns: tuple[EnvironmentArn, ...]
    time_limits: tuple[TimeLimit, ...] = ()
    #: Both set exactly if the queue has a scheduling policy.
    policy_arn: PolicyArn | None = None
    policy: FairShare | None = None
    has_quota_shares: bool = False


class QuotaShareSettled(Struct, frozen=True, kw_only=True):
    """A quota share of a queue is VALID, with these values."""

    #: Of the queue.
    arn: QueueArn
    terms: QuotaTerms


class QuotaShareDraining(Struct, frozen=True, kw_only=True):
    """A quota share starts nothing more and goes with its last job."""

    arn: QueueArn
    name: str


class QuotaShareDeleted(Struct, frozen=True, kw_only=True):
    arn: QueueArn
    name: str


class PolicySettled(Struct, frozen=True, kw_only=True):
    """Every queue with this scheduling policy goes by these values from now on.

    What shares have used stays; from its last change on it decays by the new window.
    """

    arn: PolicyArn
    revision: int
    policy: FairShare


class ShareForgotten(Struct, frozen=True, kw_only=True):
    """A share of a queue has no live jobs, and has used nothing for a window: it counts no more."""

    arn: QueueArn
    share_identifier: str


class QueueDraining(Struct, frozen=True, kw_only=True):
    """A job queue starts nothing more and goes with its last job."""

    arn: QueueArn


class QueueDeleted(Struct, frozen=True, kw_only=True):
    arn: QueueArn


class HostChanged(Struct, frozen=True, kw_only=True):
    """A host is offered, with this capacity."""

    host_id: HostId
    capacity: Amount


class ConsumableSettled(Struct, frozen=True, kw_only=True):
    """A consumable resource is there, with these values, as the caller's `version` of it has them.

    `used_up` is where the count began for a resource that was not known before.
    """

    arn: ConsumableArn
    version: int
    is_replenishable: bool
    given: int
    used_up: int


class ConsumableDeleted(Struct, frozen=True, kw_only=True):
    """A consumable resource is gone. What attempts hold of it they go on holding."""

    arn: ConsumableArn
    version: int


class InstanceLaunched(Struct, frozen=True, kw_only=True):
    """An environment has a new instance; jobs can be placed on it from `ready_ms` on."""

    record: InstanceRecord
    #: Of the environment, this one included.
    launch_count: int
    cpu_milli_launched: int


class InstanceReady(Struct, frozen=True, kw_only=True):
    """An instance has started."""

    instance_id: InstanceId


class InstanceDraining(Struct, frozen=True, kw_only=True):
    """Nothing new is placed on an instance; it ends with its last attempt."""

    instance_id: InstanceId
    cause: TerminationCause
    #: When the attempts that are still on it are stopped; None: they may go on.
    stop_ms: int | None


class InstanceTerminated(Struct, frozen=True, kw_only=True):
    """An instance that ran nothing is gone, and its room is free."""

    instance_id: InstanceId
    environment_arn: EnvironmentArn
    at_ms: int
    cause: TerminationCause
    #: Of the environment, without this one.
    cpu_milli_launched: int


class InstanceWishSettled(Struct, frozen=True, kw_only=True):
    """A wish about registered instances is answered: with the instances, or a refusal."""

    wish_seq: int
    at_ms: int
    instance_ids: tuple[InstanceId, ...] = ()
    refusal: str | None = None


InstanceEvent = (
    InstanceLaunched | InstanceReady | InstanceDraining | InstanceTerminated | InstanceWishSettled
)

JobEvent = (
    JobAccepted
    | DependencyEnded
    | ChildrenDoomed
    | ChildrenSpawned
    | RestFailed
    | JobBecameRunnable
    | JobReasonChanged
    | JobMarked
    | JobPrioritized
    | AttemptPlaced
    | AttemptTaken
    | AttemptFetching
    | NodePlaced
    | AttemptStarted
    | AttemptStopping
    | MainNodeEnded
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
    | QuotaShareSettled
    | QuotaShareDraining
    | QuotaShareDeleted
    | PolicySettled
    | ShareForgotten
    | QueueDraining
    | QueueDeleted
    | HostChanged
    | ConsumableSettled
    | ConsumableDeleted
    | InstanceEvent
)

Event = JobEvent | ResourceEvent
