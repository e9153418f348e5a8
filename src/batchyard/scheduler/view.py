"""What a round may see: queues in which jobs wait, the environments they may use, the hosts.

Owns the words between the core, which builds a view of its state, and `round`, which only reads
it. Refuses to know how the state is kept. A queue's order is asked for one job at a time, and what
is iterable is lazy: a round that places ten jobs looks at eleven, however long the queue is, and at
no instance that is full.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.ids import ConsumableArn, EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.instances import AllocationStrategy, InstanceId, InstanceType
from batchyard.model.records import ConsumableNeed
from batchyard.scheduler.allocation import TypeOrder
from batchyard.scheduler.plan import BlockedHead, Obstacle
from batchyard.scheduler.quota import Accounts, QuotaTerms, RunningShare, Use


class WaitingJob(Struct, frozen=True, kw_only=True):
    """A RUNNABLE job, as far as the scheduler needs to know it."""

    job_id: JobId
    #: In all; of a multi-node job, what its nodes need together.
    demand: Amount
    #: What each node of a multi-node job needs; they start together or not at all.
    node_demands: Sequence[Amount] = ()
    #: What an attempt takes of consumable resources: all of it or nothing.
    needs: Sequence[ConsumableNeed] = ()
    #: Submission number.
    seq: int = 0
    #: Higher goes first within a share.
    priority: int = 0
    #: What it uses of its quota share, in thousandths, by capacity unit; empty without one.
    use: Use = {}
    #: Of a service job, for which they are never none: how many instances it takes, by type.
    instances: Mapping[str, int] = {}

    @property
    def demands(self) -> Sequence[Amount]:
        """What each slot of the job must give."""
        return self.node_demands or (self.demand,)


def is_plain(job: WaitingJob) -> bool:
    """Tell whether a job asks for its demand, in one place, and for nothing else."""
    return not (job.node_demands or job.instances)


class IdleInstance(Struct, frozen=True, kw_only=True):
    """An instance that runs nothing, and may be given up for the room it takes."""

    instance_id: InstanceId
    environment_arn: EnvironmentArn
    host_id: HostId
    capacity: Amount


class LaunchTerms(Struct, frozen=True, kw_only=True):
    """How an environment launches instances."""

    strategy: AllocationStrategy
    is_spot: bool
    #: `bidPercentage`; None: it is not for Spot capacity.
    bid_percent: int | None = None
    #: In the order of `instanceTypes`.
    types: Sequence[InstanceType]
    #: What follows from the two.
    order: TypeOrder
    #: Sum of the vCPUs of its instances, those on their way included, in thousandths.
    cpu_milli_launched: int
    #: What it keeps without any job: `minvCpus`, in thousandths.
    cpu_milli_min: int
    #: What is launched without any job, in thousandths; at least as much.
    cpu_milli_wanted: int
    #: Identity of the environment, and how many instances it has launched: name the next one.
    environment_uuid: str
    launch_count: int
    #: From a launch to the moment when jobs can be placed.
    boot_ms: int
    #: More is launched than `maxvCpus` allows, which was lowered: jobs may use no more than that.
    is_above_max: bool = False


class WaitingOrder(Protocol):
    """Whose turn it is among the RUNNABLE jobs of a queue. Good for one round."""

    def peek(self) -> WaitingJob | None:
        """Show the job whose turn it is; the same one until it is taken. None: nobody waits."""

    def is_held_back(self) -> bool:
        """Tell whether the job shown may not start even if there is room for it."""

    def take(self) -> None:
        """Note that the job shown was placed: whose turn comes next may follow from it."""

    def pass_over(self) -> None:
        """Leave the job shown where it is, and show who is behind it."""


class Outlook(Protocol):
    """What holds of the jobs of a queue whatever else runs."""

    def possible(self, job: WaitingJob) -> Sequence[EnvironmentArn]:
        """Name the environments that the job would fit if nobody else used them."""
        ...

    def lasting(self, job: WaitingJob) -> Obstacle | None:
        """Say what keeps a job for ever; None: nothing does."""
        ...


class Front(Struct, frozen=True, kw_only=True):
    """Who is the first of a quota share that could start some time.

    Follows from who waits in the share and what it uses, and from what never changes while jobs
    come and go: the terms of the shares, and the outlook of the queue.
    """

    #: None: there is none.
    head: WaitingJob | None
    #: How many have been taken out of the line; the head is the last of them.
    taken: int
    #: How many of them could never start.
    passed: int
    #: The first of those, and what keeps it.
    blocked: BlockedHead | None
    #: The head needs nothing borrowed.
    is_entitled: bool


class ShareLine:
    """Waiting jobs of a quota share in their order, each read once and kept for later readers."""

    __slots__ = ("_is_read_out", "_read", "_rest", "front")

    def __init__(self, jobs: Iterable[WaitingJob], front: Front | None = None) -> None:
        self._rest = iter(jobs)
        self._read: list[WaitingJob] = []
        self._is_read_out = False
        #: Where a turn begins with this line; None: no turn has begun with it yet.
        self.front = front

    @property
    def last(self) -> WaitingJob | None:
        """Give the last that somebody has read; None: nobody was yet, or all were."""
        return self._read[-1] if self._read and not self._is_read_out else None

    def at(self, place: int) -> WaitingJob | None:
        """Give the job at a place, counted from 0; None: there are not so many."""
        read = self._read
        while len(read) <= place:
            job = next(self._rest, None)
            if job is None:
                self._is_read_out = True
                return None
            read.append(job)
        return read[place]

    def show_from(self, place: int) -> Iterator[WaitingJob]:
        """Give the job at a place, and those behind it."""
        while (job := self.at(place)) is not None:
            yield job
            place += 1


class InOrder:
    """An order that stands from the beginning, read as far as jobs are taken."""

    def __init__(self, jobs: Iterable[WaitingJob]) -> None:
        self._rest = iter(jobs)
        #: Who was looked at last, and not taken; None: nobody yet, or nobody is left.
        self.shown: WaitingJob | None = None

    def peek(self) -> WaitingJob | None:
        """See `WaitingOrder`."""
        if self.shown is None:
            self.shown = next(self._rest, None)
        return self.shown

    def is_held_back(self) -> bool:
        """See `WaitingOrder`."""
        return False

    def take(self) -> None:
        """See `WaitingOrder`."""
        assert self.shown is not None, "a job is looked at before it is taken"
        self.shown = None

    def pass_over(self) -> None:
        """See `WaitingOrder`."""
        self.take()


class EnvironmentView(Struct, frozen=True, kw_only=True):
    """A compute environment: how much it may use in all, and how much it uses."""

    arn: EnvironmentArn
    is_valid: bool
    is_enabled: bool
    #: `maxvCpus`, in thousandths.
    cpu_milli_max: int
    #: What bounds it are the instances that somebody registers, and `cpu_milli_max` says nothing.
    is_unbounded: bool = False
    #: Of a service environment, which nothing else bounds: how many instances its jobs may use, by
    #: capacity unit.
    limits: Mapping[str, int] | None = None
    #: How many they use, by type.
    instances_used: Mapping[str, int] = {}
    #: Sum of what its jobs ask for.
    cpu_milli_used: int
    #: None: it has no instances of its own making. Its jobs take slices of a host (Fargate).
    launching: LaunchTerms | None = None
    #: Its jobs run on instances only.
    has_instances: bool = False
    #: Instances with room that jobs can be placed on, by that room.
    ready: Mapping[Amount, Iterable[InstanceId]] = {}
    #: Instances that are still starting: capacity on its way, likewise.
    starting: Mapping[Amount, Iterable[InstanceId]] = {}


class HostView(Struct, frozen=True, kw_only=True):
    """A machine: what it can give in all, and what is given away, to instances or to jobs."""

    host_id: HostId
    capacity: Amount
    used: Amount


class QuotaShareView(Struct, frozen=True, kw_only=True):
    """A quota share of a queue. `jobs` and `running` are read as far as they are needed."""

    terms: QuotaTerms
    #: Its RUNNABLE jobs, in the order in which they should start.
    jobs: ShareLine
    running: Callable[[], RunningShare]


class QueueView(Struct, frozen=True, kw_only=True):
    """A job queue with its RUNNABLE jobs in the order in which they should start."""

    arn: QueueArn
    #: Higher goes first.
    priority: int
    #: Creation order.
    seq: int
    #: Of queues of equal priority the one goes first that had its turn the longest ago.
    last_placed: int = 0
    environments: Sequence[EnvironmentView]
    waiting: WaitingOrder
    #: In the order of their creation; None: it has none, and `waiting` says whose turn it is.
    quota_shares: Sequence[QuotaShareView] | None = None
    #: Set exactly if it has quota shares: what their live attempts use. A round changes a copy.
    accounts: Accounts | None = None
    #: What holds of its jobs whatever runs; None: a round finds that out by itself.
    outlook: Outlook | None = None


class View(Struct, frozen=True, kw_only=True):
    """Everything a round reads.

    Lists are in a fixed order, so that equal states give equal plans.
    """

    queues: Sequence[QueueView]
    hosts: Sequence[HostView]
    #: All environments, those without a waiting job included.
    environments: Sequence[EnvironmentView] = ()
    #: Longest idle first.
    idle_instances: Iterable[IdleInstance] = ()
    host_by_instance: Mapping[InstanceId, HostId] = {}
    #: Tells what room an instance has, one that is full included.
    free_of: Callable[[InstanceId], Amount] = lambda _instance_id: Amount()
    #: Tells how much of a consumable resource may be taken.
    available_of: Callable[[ConsumableArn], int] = lambda _arn: 0
