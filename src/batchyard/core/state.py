"""The state of everything live: jobs that are not terminal, environments, queues, hosts.

Arrays and multi-node jobs are jobs with parts: children and nodes. A part is a job of its own in
`State.jobs` while it lives, under its own id; a child that nothing happened to alone is none yet
(see `array`).

Owns the collections and what each one holds. Only `evolve` (and `restore`, at start) writes them. A
finished job leaves memory and stays in the store. Refuses to know how the state came about.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from batchyard.core.array import REST, STATUS_BY_CODE, Array
from batchyard.core.consumables import Consumable
from batchyard.core.deadlines import Deadlines
from batchyard.core.remembered import Remembered
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.fair_share import FairShare, ShareWeight
from batchyard.model.ids import (
    ConsumableArn,
    EnvironmentArn,
    HostId,
    JobId,
    PolicyArn,
    QueueArn,
    TaskId,
    child_id,
    is_part_id,
    node_id,
    split_part_id,
)
from batchyard.model.instances import InstanceId, LaunchSettings
from batchyard.model.records import ConsumableNeed, ExitRule, InstanceRecord, JobProgress, TimeLimit
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceState
from batchyard.model.wording import reason_code_of
from batchyard.scheduler.allocation import may_exceed_max
from batchyard.scheduler.fair_share import least_usage_after, usage_after
from batchyard.scheduler.quota import QuotaTerms
from batchyard.scheduler.rooms import RoomGroups

#: Of a job without a quota share: one for all of them, for there may be a million.
NO_USE: Mapping[str, int] = {}


@dataclass(slots=True, kw_only=True)
class Job:
    """A live job."""

    id: JobId
    #: Submission number: the order among jobs of a queue.
    seq: int
    queue_arn: QueueArn
    #: What one attempt needs.
    demand: Amount
    #: 1..10.
    attempts_max: int
    #: Decide, in this order, whether a failed attempt is tried again; none: it is.
    exit_rules: tuple[ExitRule, ...]
    #: Per attempt, from its start; None is no timeout.
    timeout_ms: int | None
    #: Dependencies that are not over yet; empty unless PENDING. Those of an array hold up all its
    #: children: there are none before it is empty.
    unmet: tuple[JobId, ...]
    progress: JobProgress
    #: Set exactly if the queue has a scheduling policy.
    share_identifier: str | None = None
    #: Higher goes first within a share; 0 where there are none.
    priority: int = 0
    #: Set exactly if the queue has quota shares.
    quota_share: str | None = None
    #: What an attempt uses of its quota share, in thousandths, by capacity unit.
    use: Mapping[str, int] = field(default_factory=lambda: NO_USE)
    #: Of a service job, for which they are never empty: how many instances of which type it takes.
    capacity_use: tuple[UnitQuantity, ...] = ()
    #: How often it may be preempted and go on; None: any number.
    preemption_retries_max: int | None = None
    #: Set exactly for children and nodes.
    parent: "Job | None" = None
    #: Among the parent's children or nodes.
    index: int = 0
    #: Set exactly for an array's parent.
    array: Array | None = None
    #: Set exactly for the parent of a multi-node job.
    nodes: "Nodes | None" = None
    #: What each attempt takes of consumable resources; a node takes nothing, for its job does.
    needs: tuple[ConsumableNeed, ...] = ()

    @property
    def is_service(self) -> bool:
        return bool(self.capacity_use)


@dataclass(slots=True, kw_only=True)
class Nodes:
    """What the parent of a multi-node job holds of its nodes.

    All nodes of an attempt are placed together, and hold their capacity from then on. The main node
    starts first; the others exist only once it runs.

    A service job is over when all its nodes are, or the first of them has failed.
    """

    main_index: int
    #: What each node needs, by its index.
    demands: list[Amount]
    #: Indexes of the nodes of the live attempt that do not exist yet; their capacity is held.
    waiting: dict[int, None] = field(default_factory=dict)
    #: Indexes of the nodes that are live, in the order in which they began.
    live: dict[int, None] = field(default_factory=dict)
    #: What became of nodes that ended, by index: their attempts go on with the job's next one.
    ended: dict[int, JobProgress] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Environment:
    """A compute or service environment."""

    arn: EnvironmentArn
    kind: EnvironmentKind
    state: ResourceState
    #: `maxvCpus`, in thousandths. Lowering it below what is used stops nothing that runs. Of an
    #: unmanaged one `unmanagedvCpus`, which bounds nothing; 0: not given. Bounds no service
    #: environment.
    cpu_milli_max: int
    #: Why it is INVALID; None if it is VALID.
    fault: str | None
    #: How many instances service jobs may use, by capacity unit; None: it is none for them.
    limits: Mapping[str, int] | None = None
    #: How many they use, by instance type.
    instances_used: dict[str, int] = field(default_factory=dict)
    #: Identity of this incarnation of the name.
    uuid: str = ""
    #: None: it launches no instances.
    launching: LaunchSettings | None = None
    #: Its jobs run on instances only.
    has_instances: bool = False
    is_draining: bool = False
    #: `desiredvCpus` as a caller asked for it, in thousandths, until instances end.
    cpu_milli_wanted: int = 0
    #: How many instances it has ever launched.
    launch_count: int = 0
    #: Sum of the vCPUs of its instances, in thousandths.
    cpu_milli_launched: int = 0
    #: Its instances, in the order of their launch.
    instances: dict[InstanceId, None] = field(default_factory=dict)
    #: Those with room that jobs can be placed on, by that room; and those that are still starting.
    ready: RoomGroups = field(default_factory=RoomGroups)
    starting: RoomGroups = field(default_factory=RoomGroups)
    #: Those that are ready and run nothing, with the time since when; the longest idle first.
    idle_since_ms: dict[InstanceId, int] = field(default_factory=dict)
    #: Sum of the demands of the live attempts in it.
    used: Amount = field(default_factory=Amount)
    #: Number of live attempts in it.
    attempt_count: int = 0

    @property
    def is_unmanaged(self) -> bool:
        return self.kind is EnvironmentKind.UNMANAGED


@dataclass(slots=True, kw_only=True)
class Share:
    """The jobs of a queue with one share identifier, and what they used of late."""

    #: What the policy says of it; None: its weight is 1.
    weight: ShareWeight | None
    #: Holds all and only the RUNNABLE jobs of the share.
    line: WaitingLine = field(default_factory=WaitingLine)
    #: Number of live jobs, children and nodes not counted.
    live_count: int = 0
    #: What its live attempts hold, in milli-vCPUs; what its nodes do not need any more of a
    #: multi-node job is held until that ends.
    cpu_milli: int = 0
    #: How many instances its service jobs use, by type.
    instances: dict[str, int] = field(default_factory=dict)
    #: As of `counted_ms`: see `scheduler.fair_share`.
    usage: int = 0
    #: When `cpu_milli` last changed; 0: never yet.
    counted_ms: int = 0

    def usage_at(self, now_ms: int, window_ms: int) -> int:
        """Carry its usage on to a later time."""
        elapsed_ms = now_ms - self.counted_ms
        return usage_after(self.usage, self.cpu_milli, elapsed_ms=elapsed_ms, window_ms=window_ms)

    def least_usage_at(self, now_ms: int, window_ms: int) -> int:
        """Give what `usage_at` is at least."""
        elapsed_ms = now_ms - self.counted_ms
        return least_usage_after(
            self.usage, self.cpu_milli, elapsed_ms=elapsed_ms, window_ms=window_ms
        )

    def is_active(self, now_ms: int, window_ms: int) -> bool:
        """Tell whether it has live jobs, or had one running within the window."""
        if self.live_count:
            return True
        return self.usage > 0 and now_ms - self.counted_ms < window_ms


@dataclass(slots=True, kw_only=True)
class QuotaShare:
    """A share of a queue with a quota: a queue within the queue."""

    terms: QuotaTerms
    is_draining: bool = False
    #: Holds all and only the RUNNABLE jobs of the share.
    line: WaitingLine = field(default_factory=WaitingLine)
    #: Holds all and only the live jobs of the share, children and nodes not counted.
    jobs: dict[JobId, None] = field(default_factory=dict)
    #: Holds all and only the jobs, children included, whose attempts hold capacity.
    running: dict[JobId, None] = field(default_factory=dict)
    #: Sum of their use, in thousandths, by capacity unit.
    used: dict[str, int] = field(default_factory=dict)
    #: The RUNNABLE job that shows why it is blocked at the head; None: none does.
    blocked_id: JobId | None = None


@dataclass(slots=True, kw_only=True)
class Queue:
    """A job queue."""

    arn: QueueArn
    #: Creation order.
    seq: int
    state: ResourceState
    #: Higher goes first.
    priority: int
    #: In the order in which they are tried.
    environment_arns: tuple[EnvironmentArn, ...]
    is_draining: bool = False
    #: Which attempt its last one was, of all that this server has placed; 0: it has placed none.
    last_placed: int = 0
    #: How long a head may be blocked, by reason.
    time_limits: tuple[TimeLimit, ...] = ()
    #: The RUNNABLE job that shows why it is blocked at the head; None: none does.
    blocked_id: JobId | None = None
    #: vCPUs that its live attempts hold, in thousandths; a multi-node job's until it ends.
    cpu_milli: int = 0
    #: How many instances its service jobs use, by type.
    instances: dict[str, int] = field(default_factory=dict)
    #: Both set for ever, or never.
    policy_arn: PolicyArn | None = None
    policy: FairShare | None = None
    #: Holds all and only the RUNNABLE jobs of the queue, if it has neither policy nor quota shares.
    line: WaitingLine = field(default_factory=WaitingLine)
    #: By name, in the order of their creation; None: its policy is not one of quota shares.
    quota_shares: dict[str, QuotaShare] | None = None
    #: By identifier: holds all shares that are active, and some that were. None without a policy.
    shares: dict[str, Share] = field(default_factory=dict)
    #: Holds all and only the live jobs of the queue, in the order in which they were accepted.
    jobs: dict[JobId, None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Host:
    """A machine that a backend offers."""

    id: HostId
    capacity: Amount
    #: Sum of its instances, and of the demands of live attempts that have a slice for themselves.
    used: Amount = field(default_factory=Amount)


@dataclass(slots=True, kw_only=True)
class Instance:
    """A slice of a host, for the jobs of one environment."""

    record: InstanceRecord
    is_ready: bool
    #: Sum of the demands of the live attempts on it.
    used: Amount = field(default_factory=Amount)
    #: Live attempts on it, those of nodes that do not exist yet included.
    attempt_count: int = 0
    #: Tasks of the live attempts on it.
    tasks: dict[TaskId, None] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Something new may be placed on it, now or once it has started."""
        return self.record.draining_for is None

    @property
    def free(self) -> Amount:
        return self.record.capacity - self.used


@dataclass(slots=True)
class State:
    """Everything live."""

    #: Holds all and only jobs that are not terminal.
    jobs: dict[JobId, Job] = field(default_factory=dict)
    #: The PENDING jobs that wait for each live job or child, in the order in which they were
    #: accepted. A job that failed meanwhile stays listed until its dependency ends; readers skip
    #: what is not in `jobs`.
    dependents: dict[JobId, list[JobId]] = field(default_factory=dict)
    #: The arrays that wait for each live array child by child, likewise.
    pair_dependents: dict[JobId, list[JobId]] = field(default_factory=dict)
    #: Holds all and only the live attempts' tasks.
    job_by_task: dict[TaskId, JobId] = field(default_factory=dict)
    #: The same tasks by where they are, in the order of their placing; none is empty.
    tasks_by_environment: dict[EnvironmentArn, dict[TaskId, None]] = field(default_factory=dict)
    environments: dict[EnvironmentArn, Environment] = field(default_factory=dict)
    queues: dict[QueueArn, Queue] = field(default_factory=dict)
    hosts: dict[HostId, Host] = field(default_factory=dict)
    #: Holds all consumable resources that are there, and those that attempts still hold.
    consumables: dict[ConsumableArn, Consumable] = field(default_factory=dict)
    instances: dict[InstanceId, Instance] = field(default_factory=dict)
    #: How many attempts have been placed since this state was loaded.
    placed_count: int = 0
    #: When instances become ready, or attempts on them are to be stopped.
    alarms: Deadlines[InstanceId] = field(default_factory=Deadlines)
    #: Deadlines of started attempts with a timeout; entries of ended ones are dropped lazily.
    deadlines: Deadlines[TaskId] = field(default_factory=Deadlines)
    #: What rounds found out before; says nothing new, and may be thrown away at any time.
    remembered: Remembered = field(default_factory=Remembered, compare=False, repr=False)

    def find(self, job_id: JobId) -> Job | None:
        """Give a live job, child or node; None: there is none (any more, or yet).

        A child of the rest is made up for reading: it is entered when an event is about it.
        """
        job = self.jobs.get(job_id)
        if job is not None or not is_part_id(job_id):
            return job
        parent_id, index = split_part_id(job_id)
        parent = self.jobs.get(parent_id)
        if parent is None or parent.array is None or job_id != child_id(parent_id, index):
            return None
        status = child_status(parent, index)
        if status is None or status.is_terminal:
            return None
        return new_child(parent, index)

    def job_of_task(self, task_id: TaskId) -> Job | None:
        job_id = self.job_by_task.get(task_id)
        return None if job_id is None else self.jobs[job_id]

    def next_deadline_ms(self) -> int | None:
        """Tell when a `Tick` is needed next, in Unix milliseconds; None if nothing is timed."""
        times = [
            self.deadlines.next_ms(self.job_by_task.__contains__),
            self.alarms.next_ms(self.instances.__contains__),
            next_idle_ms(self),
            self.next_head_limit_ms(),
        ]
        return min((at_ms for at_ms in times if at_ms is not None), default=None)

    def next_head_limit_ms(self) -> int | None:
        """Tell when the next head has been blocked for too long; None: no limit counts."""
        times = [
            at_ms
            for queue in self.queues.values()
            if queue.time_limits
            for head_of in heads_of(queue)
            if (at_ms := self.head_limit_ms(queue, head_of)) is not None
        ]
        return min(times, default=None)

    def head_limit_ms(self, queue: Queue, head_of: Queue | QuotaShare) -> int | None:
        """Tell when the head of a queue has been blocked for too long; None if no limit counts."""
        if head_of.blocked_id is None or not queue.time_limits:
            return None
        progress = self.jobs[head_of.blocked_id].progress
        assert progress.status_reason is not None, head_of.blocked_id
        assert progress.blocked_ms is not None, head_of.blocked_id
        code = reason_code_of(progress.status_reason)
        limits = [each.blocked_ms_max for each in queue.time_limits if each.reason == code]
        return progress.blocked_ms + min(limits) if limits else None


def heads_of(queue: Queue) -> Iterable[Queue | QuotaShare]:
    """Give what has a head of its own: the queue, or each of its quota shares."""
    return (queue,) if queue.quota_shares is None else queue.quota_shares.values()


def next_idle_ms(state: State) -> int | None:
    """Tell when the next idle instance has been kept long enough; None: none may go."""
    due = [idle_end_ms(state, environment) for environment in state.environments.values()]
    return min((at_ms for at_ms in due if at_ms is not None), default=None)


def may_give_up(environment: Environment) -> bool:
    """Tell whether idle instances may go for what others need: not what somebody registered, nor
    what an environment that is INVALID has.
    """
    return environment.launching is not None and environment.fault is None


def is_above_max(state: State, environment: Environment) -> bool:
    """Tell whether an environment has more instances than its `maxvCpus` allows, which was lowered.

    What a strategy may launch beyond `maxvCpus` is one instance, the largest at most.
    """
    settings = environment.launching
    above = environment.cpu_milli_launched - environment.cpu_milli_max
    if settings is None or above <= 0:
        return False
    if not may_exceed_max(settings.strategy, is_spot=settings.is_spot):
        return True
    records = (state.instances[each].record for each in environment.instances)
    return above >= max((each.capacity.cpu_milli for each in records), default=0)


def idle_end_ms(state: State, environment: Environment) -> int | None:
    """Tell when the first of an environment's idle instances has been kept long enough.

    None: none may go. One that is INVALID keeps what it has until it is repaired, and what somebody
    registered stays until it is deregistered (reference/compute-and-scheduling.md section 1.5).
    Above `maxvCpus` none is kept at all.
    """
    settings = environment.launching
    if settings is None or not may_give_up(environment):
        return None
    found = first_to_go(state, environment)
    if found is None:
        return None
    since_ms = environment.idle_since_ms[found]
    if is_above_max(state, environment):
        return since_ms
    return None if settings.idle_ms is None else since_ms + settings.idle_ms


def first_to_go(state: State, environment: Environment) -> InstanceId | None:
    """Give the longest idle instance that is more than `minvCpus` asks for."""
    least = 0 if environment.launching is None else environment.launching.cpu_milli_min
    spare = environment.cpu_milli_launched - least
    if spare <= 0:
        return None
    return next(
        (
            instance_id
            for instance_id in environment.idle_since_ms
            if state.instances[instance_id].record.capacity.cpu_milli <= spare
        ),
        None,
    )


def child_status(parent: Job, index: int) -> JobStatus | None:
    """Tell the status of an array's child; None: there is no such child (yet)."""
    array, progress = parent.array, parent.progress.array
    assert array is not None, parent.id
    assert progress is not None, parent.id
    if index >= array.size:
        return None
    code = array.codes[index]
    return progress.rest if code == REST else STATUS_BY_CODE[code]


def new_child(parent: Job, index: int) -> Job:
    """Make a child as the rest of its array is."""
    assert parent.progress.array is not None, parent.id
    rest = parent.progress.array.rest
    assert rest is not None, parent.id
    return part_of(parent, index, JobProgress(status=rest))


def part_of(parent: Job, index: int, progress: JobProgress) -> Job:
    """Make a child or a node: its parent's job, under its own id and with its own progress.

    The timeout of a multi-node job is its own, not that of its nodes; nor are nodes tried again. A
    service job's nodes have it, too: its main node may be the first to end.
    """
    nodes = parent.nodes
    return Job(
        id=child_id(parent.id, index) if nodes is None else node_id(parent.id, index),
        seq=parent.seq,
        queue_arn=parent.queue_arn,
        demand=parent.demand if nodes is None else nodes.demands[index],
        attempts_max=parent.attempts_max,
        exit_rules=parent.exit_rules,
        timeout_ms=parent.timeout_ms if nodes is None or parent.is_service else None,
        unmet=(),
        progress=progress,
        share_identifier=parent.share_identifier,
        priority=parent.priority,
        quota_share=parent.quota_share,
        use=parent.use,
        capacity_use=parent.capacity_use,
        preemption_retries_max=parent.preemption_retries_max,
        parent=parent,
        index=index,
        needs=parent.needs if nodes is None else (),
    )
