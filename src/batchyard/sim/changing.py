"""A yard as it would be: what each change means for the state that is run forward.

Decides how changes are put into the inputs from which a state is loaded, so that a queue's policy
can change as it never could live, and how jobs that would be submitted come in. Refuses to know
which changes mean nothing (`meaning`), and what comes of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b

from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.state import Queue, State
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import FairShare, ShareWeight, fair_share_of
from batchyard.model.ids import JobId, PolicyArn, QueueArn, is_service_environment_arn
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.status import JobStatus
from batchyard.model.what_if import Changes, Machine, QuotaChange, Submission
from batchyard.scheduler.quota import UNLIMITED, QuotaTerms
from batchyard.sim.driver import Coming
from batchyard.sim.fate import Fate

#: Gives an input as it would have been; None: it would not have been at all.
Adjust = Callable[[i.Input], i.Input | None]

_NO_POLICY_YET = PolicyArn("supposed")
_PREFIX_MARK = "*"


def adjusting(changes: Changes) -> Adjust:
    """Give inputs as they would have been."""

    def adjust(given: i.Input) -> i.Input | None:
        match given:
            case i.PutEnvironment():
                return _adjusted_environment(changes, given)
            case i.PutHost() if given.host_id in changes.machines:
                machine = changes.machines[given.host_id]
                return replace(given, capacity=_capacity_of(machine, given.capacity))
            case i.PutQueue():
                return _adjusted_queue(changes, given)
            case i.PutQuotaShare() if given.queue_arn in changes.policies:
                return None
            case i.PutQuotaShare():
                quotas = changes.quota_shares.get(given.queue_arn, {})
                change = quotas.get(given.terms.name, QuotaChange())
                return replace(given, terms=_adjusted_terms(change, given.terms))
            case _:
                return given

    return adjust


class Arrivals:
    """The jobs that would come in, in the order in which they would, and how they go."""

    def __init__(self, state: State, submissions: Iterable[Submission], now_ms: int) -> None:
        """Make them for the yard as it would be."""
        first_seq = 1 + max((job.seq for job in state.jobs.values()), default=0)
        in_order = sorted(submissions, key=lambda each: each.after_ms)
        ids = {each.name: _id_of(place) for place, each in enumerate(in_order)}
        #: With their moments.
        self.coming: list[tuple[int, i.AcceptJob]] = []
        self.fates: dict[JobId, Fate] = {}
        for place, each in enumerate(in_order):
            queue = state.queues[each.queue_arn]
            job = _queued_of(each, queue, _id_of(place), first_seq + place, now_ms)
            awaited = tuple(ids[name] for name in each.depends_on)
            accept = i.AcceptJob(job=replace(job, depends_on=awaited), finished={})
            self.coming.append((job.created_ms, accept))
            self.fates[job.id] = Fate(run_ms=each.run_ms, exit_code=each.exit_code)

    @property
    def ids(self) -> list[JobId]:
        return [each.job.id for _, each in self.coming]


class ComingIn:
    """Arrivals in one run: each is told at its moment how what it depends on has ended."""

    def __init__(self, arrivals: Sequence[tuple[int, i.AcceptJob]]) -> None:
        self._arrivals = arrivals
        self._awaited = {each for _, come in arrivals for each in come.job.depends_on}
        self._ends: dict[JobId, JobStatus] = {}

    def in_time(self) -> Iterator[tuple[int, Coming]]:
        """Give what a driver follows."""
        for at_ms, come in self._arrivals:
            yield at_ms, partial(self._told, come) if come.job.depends_on else come

    def note(self, events: Sequence[e.Event], _now_ms: int) -> None:
        """See what happens in the run."""
        if not self._awaited:
            return
        for event in events:
            if isinstance(event, e.JobSucceeded | e.JobFailed) and event.job_id in self._awaited:
                has_succeeded = isinstance(event, e.JobSucceeded)
                status = JobStatus.SUCCEEDED if has_succeeded else JobStatus.FAILED
                self._ends[event.job_id] = status

    def _told(self, come: i.AcceptJob) -> i.AcceptJob:
        awaited = come.job.depends_on
        ended = {each: self._ends[each] for each in awaited if each in self._ends}
        return replace(come, finished=ended)


def takes_service_jobs(queue: Queue) -> bool:
    """Tell whether a queue takes service jobs, and no others."""
    return any(map(is_service_environment_arn, queue.environment_arns))


def _adjusted_environment(changes: Changes, given: i.PutEnvironment) -> i.PutEnvironment:
    limits = changes.instance_limits.get(given.arn, {})
    return replace(
        given,
        cpu_milli_max=changes.cpu_milli_max.get(given.arn, given.cpu_milli_max),
        limits=None if given.limits is None else {**given.limits, **limits},
    )


def _adjusted_queue(changes: Changes, given: i.PutQueue) -> i.PutQueue:
    arn = given.arn
    policy, policy_arn = given.policy, given.policy_arn
    if arn in changes.policies:
        detail = changes.policies[arn]
        policy = None if detail is None else fair_share_of({"fairsharePolicy": detail})
        policy_arn = None if policy is None else policy_arn or _NO_POLICY_YET
    if policy is not None and arn in changes.weights:
        policy = _weighed(policy, changes.weights[arn])
    return replace(
        given,
        priority=changes.priorities.get(arn, given.priority),
        policy=policy,
        policy_arn=policy_arn,
        has_quota_shares=given.has_quota_shares and arn not in changes.policies,
    )


def _weighed(policy: FairShare, weight_by_share: Mapping[str, int]) -> FairShare:
    """Give a policy with other weights for some shares."""
    kept = [
        each
        for each in policy.weights
        if f"{each.text}{_PREFIX_MARK if each.is_prefix else ''}" not in weight_by_share
    ]
    new = [
        ShareWeight(
            text=name.removesuffix(_PREFIX_MARK),
            is_prefix=name.endswith(_PREFIX_MARK),
            weight_e4=weight,
        )
        for name, weight in weight_by_share.items()
    ]
    # The first that fits counts: the new ones are meant.
    return replace(policy, weights=(*new, *kept))


def _adjusted_terms(change: QuotaChange, given: QuotaTerms) -> QuotaTerms:
    """Give the terms of a quota share with some of them otherwise."""
    percent = given.borrow_percent
    if change.borrows is False:
        percent = None
    elif change.borrow_percent is not None:
        percent = change.borrow_percent
    elif change.borrows and percent is None:
        percent = UNLIMITED
    preempts_within = change.preempts_within
    return replace(
        given,
        limits={**given.limits, **change.limits},
        lends=given.lends if change.lends is None else change.lends,
        borrow_percent=percent,
        preempts_within=given.preempts_within if preempts_within is None else preempts_within,
    )


def _capacity_of(machine: Machine, there: Amount) -> Amount:
    return replace(
        there,
        cpu_milli=there.cpu_milli if machine.cpu_milli is None else machine.cpu_milli,
        memory_mib=there.memory_mib if machine.memory_mib is None else machine.memory_mib,
        gpu_count=there.gpu_count if machine.gpu_count is None else machine.gpu_count,
    )


def _queued_of(each: Submission, queue: Queue, job_id: JobId, seq: int, now_ms: int) -> QueuedJob:
    has_shares = queue.policy is not None or queue.quota_shares is not None
    return QueuedJob(
        seq=seq,
        id=job_id,
        queue_arn=QueueArn(each.queue_arn),
        demand=each.demand,
        attempts_max=each.attempts_max,
        timeout_ms=each.timeout_ms,
        depends_on=(),
        array_size=each.array_size,
        nodes=each.nodes,
        capacity_use=each.capacity_use if takes_service_jobs(queue) else (),
        share_identifier=each.share_identifier if has_shares else None,
        scheduling_priority=each.scheduling_priority if has_shares else None,
        created_ms=now_ms + each.after_ms,
        progress=JobProgress(),
    )


def _id_of(place: int) -> JobId:
    """Make up an id in the form of a job's."""
    digits = blake2b(f"supposed {place}".encode(), digest_size=16).hexdigest()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return JobId("-".join(parts))
