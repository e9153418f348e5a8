"""What could be otherwise in a yard, and what would come of it.

Owns the words of a question that begins with "what if", and of its answer. Refuses to know how the
answer is found. Times are Unix milliseconds, durations milliseconds.
"""

from collections.abc import Mapping

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.forecast import BasisUse, GaveUp, Interval
from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.records import Json, NodePlan


class Machine(Struct, frozen=True, kw_only=True):
    """What a machine would have; None: what it has."""

    cpu_milli: int | None = None
    memory_mib: int | None = None
    gpu_count: int | None = None


class Submission(Struct, frozen=True, kw_only=True):
    """A job that would come in."""

    name: str
    #: From now.
    after_ms: int
    queue_arn: QueueArn
    #: Of an array, each child's; of a multi-node job, that of all nodes together.
    demand: Amount
    nodes: NodePlan | None = None
    #: Of a service job, as of `NewJob`.
    capacity_use: tuple[UnitQuantity, ...] = ()
    #: For how long each attempt runs, and with what it exits, for certain.
    run_ms: int
    exit_code: int = 0
    attempts_max: int = 1
    share_identifier: str | None = None
    scheduling_priority: int = 0
    array_size: int | None = None
    timeout_ms: int | None = None
    #: Names of submissions before it, which come in no later and must succeed first.
    depends_on: tuple[str, ...] = ()


class QuotaChange(Struct, frozen=True, kw_only=True):
    """What a quota share would have; what is not said stays as it is."""

    #: By capacity unit, in thousandths.
    limits: Mapping[str, int] = {}
    lends: bool | None = None
    borrows: bool | None = None
    #: Only where it borrows; -1: any amount.
    borrow_percent: int | None = None
    preempts_within: bool | None = None


class Changes(Struct, frozen=True, kw_only=True):
    """Everything that would be otherwise."""

    #: `maxvCpus`, in thousandths.
    cpu_milli_max: Mapping[EnvironmentArn, int] = {}
    #: Of service environments, in instances, by capacity unit; others stay.
    instance_limits: Mapping[EnvironmentArn, Mapping[str, int]] = {}
    machines: Mapping[HostId, Machine] = {}
    priorities: Mapping[QueueArn, int] = {}
    #: The `fairsharePolicy` of queues; None: first in, first out.
    policies: Mapping[QueueArn, Json | None] = {}
    #: Some weight factors of queues' policies, by share identifier, in ten-thousandths.
    weights: Mapping[QueueArn, Mapping[str, int]] = {}
    #: By queue, and by the name of the share.
    quota_shares: Mapping[QueueArn, Mapping[str, QuotaChange]] = {}
    submissions: tuple[Submission, ...] = ()


class Outlook(Struct, frozen=True, kw_only=True):
    """What lies ahead of a queue, or of one of its shares."""

    #: From now to its first start, of the middle job and of one in ten, in the middle run; None:
    #: beyond what was seen.
    wait_p50_ms: int | None = None
    wait_p90_ms: int | None = None
    all_started: Interval = Interval()
    all_ended: Interval = Interval()


class GroupComparison(Struct, frozen=True, kw_only=True):
    """A queue, or one of its shares, as it is and as it would be."""

    queue: str
    #: None: the whole queue.
    share: str | None = None
    #: Jobs that wait now and those that would be submitted to it; an array counts once.
    waiting_count: int
    submitted_count: int
    #: Of the jobs that wait now.
    before: Outlook
    after: Outlook
    #: Of those that would be submitted.
    submitted: Outlook
    #: Jobs that wait now and would start earlier, or later, by more than a second, in the middle
    #: run.
    gaining_count: int
    losing_count: int
    #: Of the jobs that would be submitted: how many would be FAILED in the middle run.
    failing_count: int = 0
    #: Jobs that are stopped, once or more often, so that others of the queue can start: in the
    #: middle run, until all that waits has ended.
    preempted_before_count: int = 0
    preempted_after_count: int = 0


class JobComparison(Struct, frozen=True, kw_only=True):
    """A job that waits now: when it would start, in the middle run."""

    job_id: JobId
    queue: str
    share: str | None = None
    #: None: beyond what was seen, or never.
    before_ms: int | None
    after_ms: int | None
    #: How much later it starts; less than 0: earlier. None: one of them is not known, or never.
    later_ms: int | None


class PreemptionComparison(Struct, frozen=True, kw_only=True):
    """A job that is stopped for another one in the middle run of one of the futures alone."""

    job_id: JobId
    queue: str
    share: str | None = None
    #: When it is stopped for the first time; None: it is not.
    before_ms: int | None
    after_ms: int | None


class Comparison(Struct, frozen=True, kw_only=True):
    """A yard's future as it is, and as it would be."""

    at_ms: int
    seed: int
    run_count: int
    groups: tuple[GroupComparison, ...]
    #: Those that gain and lose most.
    gainers: tuple[JobComparison, ...] = ()
    losers: tuple[JobComparison, ...] = ()
    #: The first of them to be stopped.
    preemptions: tuple[PreemptionComparison, ...] = ()
    gave_up: GaveUp | None = None
    #: How far every run came.
    reached_ms: int = 0
    bases: tuple[BasisUse, ...] = ()
