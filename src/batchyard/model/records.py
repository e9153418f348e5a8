"""What is kept of each thing: the rows that the API and the engine exchange through the store.

Decides which facts exist and who writes each one; refuses to know how they are stored. `detail` and
`spec` hold AWS's own members as the wire shows them (JSON objects); what the core decides by stands
beside them in typed fields. Times are Unix milliseconds.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.ids import (
    ConsumableArn,
    DefinitionArn,
    EnvironmentArn,
    HostId,
    JobId,
    PolicyArn,
    QueueArn,
    QuotaShareArn,
    Scope,
    TaskId,
)
from batchyard.model.instances import InstanceId
from batchyard.model.status import (
    CONTAINER_JOB_STATUSES,
    DefinitionStatus,
    JobStatus,
    ResourceState,
    ResourceStatus,
)

#: A JSON object in the form that the wire shows.
Json = dict[str, Any]


class StopCause(StrEnum):
    """Why an attempt is being stopped by us."""

    TERMINATED = "TERMINATED"
    TIMED_OUT = "TIMED_OUT"
    QUEUE_DELETED = "QUEUE_DELETED"
    #: Of a node: its job is over, as the main node is.
    MAIN_NODE_ENDED = "MAIN_NODE_ENDED"
    #: The instance under it goes.
    INSTANCE_TERMINATED = "INSTANCE_TERMINATED"
    #: Its Fargate Spot capacity was reclaimed.
    SPOT_TASK_INTERRUPTED = "SPOT_TASK_INTERRUPTED"
    QUOTA_SHARE_DELETED = "QUOTA_SHARE_DELETED"
    #: The capacity that its quota share has borrowed is taken back; the job waits again.
    CROSS_SHARE_PREEMPTION = "CROSS_SHARE_PREEMPTION"
    #: A job of its quota share with a higher priority needs its place; it waits again.
    IN_SHARE_PREEMPTION = "IN_SHARE_PREEMPTION"

    @property
    def is_preemption(self) -> bool:
        """Tell whether the attempt does not count, and another follows."""
        return self in (StopCause.CROSS_SHARE_PREEMPTION, StopCause.IN_SHARE_PREEMPTION)


class ExitAction(StrEnum):
    """What an exit rule decides."""

    RETRY = "RETRY"
    EXIT = "EXIT"


class ExitRule(Struct, frozen=True, kw_only=True):
    """One item of `retryStrategy.evaluateOnExit`. Patterns that are None match anything."""

    action: ExitAction
    on_status_reason: str | None = None
    on_reason: str | None = None
    on_exit_code: str | None = None


class ContainerResult(Struct, frozen=True, kw_only=True):
    """How one of several containers of a task ended (`ecsProperties`)."""

    name: str
    exit_code: int | None = None
    #: The container-level cause, `<ErrorName>: <text>`.
    reason: str | None = None


class Fetching(Struct, frozen=True, kw_only=True):
    """What an attempt waits for before it starts, that is brought from elsewhere."""

    since_ms: int
    #: None: its secrets.
    image: str | None = None


class Attempt(Struct, kw_only=True):
    """One pass RUNNABLE -> STARTING -> end of a job. Written by the engine alone."""

    #: From 1, without gaps.
    number: int
    task_id: TaskId
    environment_arn: EnvironmentArn
    host_id: HostId
    #: When the job entered STARTING; a service job SCHEDULED.
    placed_ms: int
    #: Set only before the container's process has started, and only if that takes long.
    fetching: Fetching | None = None
    #: When the container's process started; None if it never did.
    started_ms: int | None = None
    #: None while the attempt is live.
    stopped_ms: int | None = None
    exit_code: int | None = None
    #: The container-level cause, `<ErrorName>: <text>`.
    reason: str | None = None
    #: Why the attempt ended.
    status_reason: str | None = None
    #: Set once we have asked the backend to stop it; decides how the job ends.
    stop_cause: StopCause | None = None
    #: The results of the containers of an ended task that has several; empty for a task with one.
    containers: tuple[ContainerResult, ...] = ()
    #: The IPv4 address of a node of a multi-node job, once its process runs.
    address: str | None = None
    #: Where each node of a multi-node job was placed, by node; empty for every other job.
    node_hosts: tuple[HostId, ...] = ()
    #: The instance on the host that it runs on; None: it has a slice of the host for itself.
    instance_id: InstanceId | None = None
    #: The instances of the nodes, as `node_hosts`; empty where there are none.
    node_instances: tuple[InstanceId, ...] = ()


class ArrayProgress(Struct, kw_only=True):
    """What has become of an array's children, in the parent's record. Written by the engine alone.

    Most children have no record of their own for most of their life: those are the *rest*, and
    `rest` is the status of each of them. A child gets a record of its own with the first thing
    that happens to it alone.
    """

    size: int
    #: Status of the children without a record; None before the children were made.
    rest: JobStatus | None = None
    #: How many children have no record.
    rest_count: int
    rest_status_reason: str | None = None
    #: When the rest ended; set exactly when `rest` is terminal.
    rest_stopped_ms: int | None = None
    #: When the children were made: their `createdAt`.
    spawned_ms: int | None = None
    #: When a count last changed.
    updated_ms: int | None = None
    #: How many children with a record have each status; statuses without any may be missing.
    own_count_by_status: dict[JobStatus, int] = {}

    def count_by_status(self) -> dict[JobStatus, int]:
        """Count the children in each status, zeros included; their sum is `size` or 0."""
        counts: dict[JobStatus, int] = {
            status: self.own_count_by_status.get(status, 0) for status in CONTAINER_JOB_STATUSES
        }
        if self.rest is not None:
            counts[self.rest] += self.rest_count
        return counts


class JobProgress(Struct, kw_only=True):
    """What the engine has made of a job. Written by the engine alone."""

    status: JobStatus = JobStatus.SUBMITTED
    #: Why the job is in its current state; None if there is nothing to say.
    status_reason: str | None = None
    #: Since when a RUNNABLE job is at the head of its queue and blocked for the reason shown; None
    #: where it shows none.
    blocked_ms: int | None = None
    #: STARTING -> RUNNING of the latest attempt.
    started_ms: int | None = None
    #: Set exactly when the status is terminal.
    stopped_ms: int | None = None
    #: Ended attempts that count, oldest first.
    attempts: tuple[Attempt, ...] = ()
    #: How many attempts were stopped so that another job could start. They do not count.
    preempted_count: int = 0
    #: The last of these, oldest first; at most PREEMPTED_ATTEMPTS_KEPT_MAX.
    preempted: tuple[Attempt, ...] = ()
    #: The live attempt: present exactly in SCHEDULED, STARTING and RUNNING.
    attempt: Attempt | None = None
    is_cancelled: bool = False
    is_terminated: bool = False
    #: The caller's reason of the first cancel or terminate that took effect.
    wish_reason: str | None = None
    #: Present exactly for an array's parent.
    array: ArrayProgress | None = None

    @property
    def attempt_number_next(self) -> int:
        """Number the attempt that comes next; those that do not count have numbers too."""
        return len(self.attempts) + self.preempted_count + 1

    @property
    def was_tried(self) -> bool:
        return bool(self.attempts) or self.preempted_count > 0


class ConsumableNeed(Struct, frozen=True, kw_only=True):
    """How much of one consumable resource each attempt of a job takes."""

    arn: ConsumableArn
    #: At least 1.
    quantity: int


class TimeLimit(Struct, frozen=True, kw_only=True):
    """One item of a queue's `jobStateTimeLimitActions`: how long a head may be blocked."""

    #: A code as in `status_reason`, before its ` - `.
    reason: str
    blocked_ms_max: int


class NodeGroup(Struct, frozen=True, kw_only=True):
    """Nodes of a multi-node job, one after the other, that need the same."""

    count: int
    demand: Amount


class NodePlan(Struct, frozen=True, kw_only=True):
    """The nodes of a multi-node job, in the order of their indexes."""

    main_index: int
    groups: tuple[NodeGroup, ...]

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)

    def demands(self) -> list[Amount]:
        """Give what each node needs, by node index."""
        return [group.demand for group in self.groups for _ in range(group.count)]


class NewJob(Struct, frozen=True, kw_only=True):
    """A job as the API submits it: immutable from then on. It is stored as SUBMITTED."""

    id: JobId
    scope: Scope
    queue_arn: QueueArn
    name: str
    #: Empty for a service job.
    definition_arn: DefinitionArn
    created_ms: int
    #: What one attempt needs: of an array's child, or of all nodes of a multi-node job together.
    demand: Amount
    #: 1..10.
    attempts_max: int
    #: Decide, in this order, whether a failed attempt is tried again; none: it is.
    exit_rules: tuple[ExitRule, ...] = ()
    #: Per attempt, from its start; None is no timeout.
    timeout_ms: int | None
    #: Ids that must be SUCCEEDED first, in the order given. They hold up all children of an array.
    depends_on: tuple[JobId, ...]
    #: 2..10,000: the children of an array job; None: it is none.
    array_size: int | None = None
    #: N_TO_N: arrays of the same size whose child i must be SUCCEEDED before our child i.
    depends_on_each: tuple[JobId, ...] = ()
    #: SEQUENTIAL: child i - 1 must be SUCCEEDED before child i.
    is_sequential: bool = False
    #: The nodes of a multi-node parallel job; None: it is none.
    nodes: NodePlan | None = None
    #: What one attempt takes: of an array's child, or of all nodes together. Each resource once.
    needs: tuple[ConsumableNeed, ...] = ()
    #: Set exactly if the queue has a scheduling policy.
    share_identifier: str | None = None
    #: 0..9999, higher goes first within its share; set exactly if the queue has a policy.
    scheduling_priority: int | None = None
    #: Of a service job, for which they are never empty: how many instances of which type it takes.
    capacity_use: tuple[UnitQuantity, ...] = ()
    #: Of a service job: set exactly if the queue has quota shares.
    quota_share: str | None = None
    #: Of a service job: how often it may be preempted and go on; None: any number.
    preemption_retries_max: int | None = None
    #: The resolved definition with overrides merged, in DescribeJobs' form, as encoded JSON; of a
    #: service job what DescribeServiceJob shows of the request.
    spec: bytes
    tags: Mapping[str, str]


class JobRecord(Struct, frozen=True, kw_only=True):
    """A stored job, an array's child or a node.

    A child (`<parent>:<index>`) and a node (`<parent>#<index>`) have their own id in `job.id`, and
    everything else in `job` is the parent's, but for the dependencies: they have none.
    """

    #: Submission number: rises with each submission of this store. A child has its parent's.
    seq: int
    job: NewJob
    progress: JobProgress
    #: The index among the parent's children or nodes; None: it is no child.
    index: int | None = None


class QueuedJob(Struct, frozen=True, kw_only=True):
    """What the core needs of a stored job: `NewJob` without spec, name and tags."""

    seq: int
    id: JobId
    queue_arn: QueueArn
    demand: Amount
    attempts_max: int
    exit_rules: tuple[ExitRule, ...] = ()
    timeout_ms: int | None
    depends_on: tuple[JobId, ...]
    array_size: int | None = None
    depends_on_each: tuple[JobId, ...] = ()
    is_sequential: bool = False
    nodes: NodePlan | None = None
    needs: tuple[ConsumableNeed, ...] = ()
    share_identifier: str | None = None
    scheduling_priority: int | None = None
    #: Of a service job: its quota share; how many instances of which type it takes; how often it
    #: may be preempted and go on (None: any number). A container job's quota share is its share
    #: identifier.
    quota_share: str | None = None
    capacity_use: tuple[UnitQuantity, ...] = ()
    preemption_retries_max: int | None = None
    created_ms: int
    progress: JobProgress


class EnvironmentRecord(Struct, frozen=True, kw_only=True):
    """A compute environment.

    The API writes the wish (CREATING, UPDATING, DELETING), the engine settles it.
    """

    #: Creation order; gives DescribeComputeEnvironments a stable order.
    seq: int
    arn: EnvironmentArn
    scope: Scope
    name: str
    #: Identity of this incarnation of the name.
    uuid: str
    state: ResourceState
    status: ResourceStatus
    status_reason: str | None
    #: Everything else as DescribeComputeEnvironments shows it.
    detail: Json
    tags: Mapping[str, str]
    #: Sum of the vCPUs of its instances, in thousandths. Written by the engine alone.
    cpu_milli_launched: int = 0
    #: How many instances it has ever launched. Written by the engine alone.
    launch_count: int = 0


class QueueRecord(Struct, frozen=True, kw_only=True):
    """A job queue.

    The API writes the wish (CREATING, UPDATING, DELETING), the engine settles it.
    """

    #: Creation order; breaks ties of priority.
    seq: int
    arn: QueueArn
    scope: Scope
    name: str
    state: ResourceState
    status: ResourceStatus
    status_reason: str | None
    priority: int
    #: In the order in which they are tried.
    environment_arns: tuple[EnvironmentArn, ...]
    #: Everything else as DescribeJobQueues shows it.
    detail: Json
    tags: Mapping[str, str]


class ConsumableRecord(Struct, frozen=True, kw_only=True):
    """A consumable resource.

    The API writes what callers gave, and asks the engine to look at it by a higher `version`; the
    engine writes what is held and used up.
    """

    #: Creation order.
    seq: int
    arn: ConsumableArn
    scope: Scope
    name: str
    is_replenishable: bool
    created_ms: int
    #: All that callers have ever put in, less what they took out.
    given: int
    #: Sum of what live attempts took.
    held: int
    #: What attempts took of it for ever, while it was NON_REPLENISHABLE.
    used_up: int
    #: Rises with each change by a caller.
    version: int
    #: A caller deleted it, and the engine has not seen that yet.
    is_deleted: bool
    tags: Mapping[str, str]

    @property
    def total(self) -> int:
        """What there is in all, in use or not."""
        return max(0, self.given - self.used_up)

    @property
    def in_use(self) -> int:
        return self.held if self.is_replenishable else 0

    @property
    def available(self) -> int:
        return max(0, self.total - self.in_use)


class PolicyRecord(Struct, frozen=True, kw_only=True):
    """A scheduling policy. Written by the API at once; the engine takes up each revision."""

    #: Creation order.
    seq: int
    arn: PolicyArn
    scope: Scope
    name: str
    #: Rises with each update, from 1.
    revision: int
    #: Its `fairsharePolicy` as DescribeSchedulingPolicies shows it.
    detail: Json
    tags: Mapping[str, str]


class QuotaShareRecord(Struct, frozen=True, kw_only=True):
    """A quota share of a queue.

    The API writes the wish (CREATING, UPDATING, DELETING), the engine settles it.
    """

    #: Creation order; the shares of a queue take turns in it.
    seq: int
    arn: QuotaShareArn
    queue_arn: QueueArn
    name: str
    state: ResourceState
    status: ResourceStatus
    #: Everything else as DescribeQuotaShare shows it.
    detail: Json
    tags: Mapping[str, str]


class ShareRecord(Struct, frozen=True, kw_only=True):
    """A share of a queue with a scheduling policy. Written by the engine alone.

    Share identifiers that a queue has no record of have neither live jobs nor any usage.
    """

    #: Jobs that are not terminal; an array is one. SUBMITTED ones are not counted yet.
    live_count: int
    #: As of `counted_ms`; see `scheduler.fair_share`.
    usage: int
    #: When what the share holds last changed.
    counted_ms: int
    #: What the share holds.
    cpu_milli: int


class DefinitionRecord(Struct, frozen=True, kw_only=True):
    """One revision of a job definition. Written by the API at once; nobody decides about it."""

    #: Registration order.
    seq: int
    arn: DefinitionArn
    scope: Scope
    name: str
    #: From 1; never reused, also after deregistration.
    revision: int
    status: DefinitionStatus
    #: The definition as DescribeJobDefinitions shows it, without name, arn, revision, status, tags.
    detail: Json
    tags: Mapping[str, str]


class WishKind(StrEnum):
    """What a caller asked of a job that exists."""

    CANCEL = "CANCEL"
    TERMINATE = "TERMINATE"
    #: Let a service job have another priority.
    PRIORITIZE = "PRIORITIZE"


class Wish(Struct, frozen=True, kw_only=True):
    """A durable CancelJob, TerminateJob or UpdateServiceJob, until the engine has settled it."""

    seq: int
    kind: WishKind
    job_id: JobId
    #: The caller's; empty for PRIORITIZE.
    reason: str
    #: Set exactly for PRIORITIZE.
    priority: int | None = None


class TerminationCause(StrEnum):
    """Why an instance ended."""

    #: It ran nothing for a while.
    IDLE = "IDLE"
    #: It ran nothing, and something else needed its room.
    ROOM_NEEDED = "ROOM_NEEDED"
    ENVIRONMENT_DELETED = "ENVIRONMENT_DELETED"
    #: Its machine is gone.
    HOST_LOST = "HOST_LOST"
    #: Its Spot capacity was reclaimed.
    INTERRUPTED = "INTERRUPTED"
    #: Its environment launches others now.
    REPLACED = "REPLACED"
    #: Who registered it has taken it back.
    DEREGISTERED = "DEREGISTERED"


class InstanceRecord(Struct, frozen=True, kw_only=True):
    """An instance: a slice of a host. Written by the engine alone."""

    id: InstanceId
    environment_arn: EnvironmentArn
    #: `m6i.large`.
    instance_type: str
    host_id: HostId
    capacity: Amount
    is_spot: bool
    launched_ms: int
    #: When jobs could be placed on it, or will be.
    ready_ms: int
    #: What the environment launched at that time, as a digest: another one replaces it.
    infrastructure: str = ""
    #: Set once nothing new is placed on it, with why it ends.
    draining_for: TerminationCause | None = None
    #: When the attempts that are still on it are stopped; None: they may go on.
    stop_ms: int | None = None
    #: Set exactly when it has ended, with the cause.
    terminated_ms: int | None = None
    cause: TerminationCause | None = None


class EventRecord(Struct, frozen=True, kw_only=True):
    """A past fact, as appended to the store."""

    #: Rises in the order in which events happened.
    seq: int
    at_ms: int
    #: None for events of queues, environments and hosts.
    job_id: JobId | None
    kind: str
    version: int
    body: Json
