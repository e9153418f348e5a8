"""Which running jobs are stopped so that a waiting one can start.

Decides by reference/compute-and-scheduling.md section 3.4; AWS does not disclose how it chooses, so
the rule is ours: docs/decisions/0016-quota-shares.md. Refuses to know why nothing else could start
the job. Looks ahead: at the books and the room as they will be once everything that has been told
to end has ended.

Rules:

1. Nothing is stopped unless the waiting job can start then, and no more than it needs: not one of
   the chosen could be spared.
2. A job within its share's quota is stopped for no other share. Those that borrow are stopped only
   for a job that needs nothing borrowed itself.
3. Within a share, where that is allowed, a job is stopped only for one of a higher priority.
4. Taken from the share that borrows the most of what is needed, as it stands with those already
   chosen; within a share the lowest priority first, then the attempt that began last. Then, from
   the last chosen to the first, who can be spared is.
5. Nobody is stopped for what others would be served first: the round in which all have ended is
   rehearsed, and everybody for whom somebody is stopped must start in it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from heapq import merge

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId
from batchyard.scheduler.consumables import Stock
from batchyard.scheduler.ledger import Ledger, Taken
from batchyard.scheduler.plan import Preemption, PreemptionCause, Slot
from batchyard.scheduler.quota import (
    Accounts,
    QuotaTerms,
    RunningJob,
    RunningShare,
    keeping_order,
)
from batchyard.scheduler.view import EnvironmentView, WaitingJob, is_plain

_Change = Callable[[EnvironmentView, Slot, Amount], None]


class Outranked(Struct, frozen=True, kw_only=True):
    """Running jobs of a share that have a lower priority than a waiting one of it.

    What the books do not allow once all of them have ended, they do not allow once some of them
    have: each end leaves more of a right, and more to borrow.
    """

    jobs: Sequence[RunningJob] = ()
    #: Once all have ended it needs nothing borrowed.
    gives_right: bool = False
    #: The books let it start then.
    lets_start: bool = False

    @property
    def may_help(self) -> bool:
        """Tell whether stopping them, or others with them, could come to anything."""
        return self.gives_right or self.lets_start


@dataclass(slots=True)
class Prospect:
    """How things will stand once everything that is ending has ended."""

    accounts: Accounts
    ledger: Ledger
    stock: Stock
    terms: dict[str, QuotaTerms]
    environments: Sequence[EnvironmentView]
    #: By share: those that nobody has told to end.
    running: dict[str, RunningShare]
    #: The heads of shares that wait for capacity; the shares in the order of their creation.
    heads: dict[str, WaitingJob]
    #: Rehearses the round in which these have ended: do all of those start?
    start_once_ended: Callable[[Set[JobId], Sequence[RunningJob]], bool]
    #: Those that have been told to end, or are to be.
    ending: list[RunningJob] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    #: By share that something was reserved for: the lowest priority of those that will have it.
    served: dict[str, int] = field(default_factory=dict)
    #: By share: jobs that are to end, and will wait again.
    returning: dict[str, list[RunningJob]] = field(default_factory=dict)
    #: What there was no room for, asked for in one place, since some came free.
    refused: set[Amount] = field(default_factory=set)

    def settle(self, share: str, job: WaitingJob) -> tuple[EnvironmentView, Taken] | None:
        """See to it that a job will be able to start, and reserve its place. None: it waits on."""
        if not self.stock.has(job.needs):
            return None
        if not self._can_start(share, job):
            victims = self._find_victims(share, job)
            if not victims:
                return None
            self._stop(share, job, victims)
        return self._reserve(share, job)

    def seat_returning(self, share: str, behind: WaitingJob | None) -> bool:
        """Reserve a place for the job that comes back to the head of a share, and show who is next.

        `behind` is the first of those that wait in it now. Nobody is stopped for one that has not
        come back yet. False: there will be no place for it.
        """
        job = self.heads[share]
        if not (self.stock.has(job.needs) and self._can_start(share, job)):
            return False
        self._reserve(share, job)
        self.returning[share] = [
            each for each in self.returning[share] if each.job_id != job.job_id
        ]
        self.show(share, behind)
        return True

    def is_entitled(self, share: str) -> bool:
        """Tell whether the head of a share needs nothing borrowed."""
        return self.accounts.is_within_quota(share, self.heads[share].use)

    def note_end(self, job: RunningJob) -> None:
        """Count what comes free with the end of a job, and let it wait again."""
        self.ending.append(job)
        self._release(job)
        if self.accounts.why_never(job.share, job.use) is None:
            self.returning.setdefault(job.share, []).append(job)
            self.show(job.share, self.heads.get(job.share))

    def show(self, share: str, job: WaitingJob | None) -> None:
        """Say who waits first in a share, but for those that come back: they may go before."""
        first = min(self.returning.get(share, ()), key=_rank_of, default=None)
        if first is not None and (job is None or first.priority >= job.priority):
            job = _once_back(first)
        if job is None:
            self.heads.pop(share, None)
        else:
            self.heads[share] = job

    def _reserve(self, share: str, job: WaitingJob) -> tuple[EnvironmentView, Taken]:
        found = self._take(job)
        assert found is not None, job.job_id
        self.accounts.start(share, job.use)
        self.stock.take(job.needs)
        self.served[share] = min(job.priority, self.served.get(share, job.priority))
        return found

    def _release(self, job: RunningJob) -> None:
        self.accounts.end(job.share, job.use)
        self.refused.clear()
        end_in(self.ledger, self.environments, job)

    def _occupy(self, job: RunningJob) -> None:
        """Undo `_release`."""
        self.accounts.start(job.share, job.use)
        _change_room(self.environments, job, self.ledger, self.ledger.occupy, sign=-1)

    def _find_victims(self, share: str, job: WaitingJob) -> list[RunningJob]:
        for candidates, needs_right in self._ways(share, job):
            victims = self._choose(share, job, candidates, needs_right=needs_right)
            if victims:
                return victims
        return []

    def _ways(self, share: str, job: WaitingJob) -> Iterator[tuple[Sequence[RunningJob], bool]]:
        """Give sets of those who may be stopped, in the order in which they are tried.

        With each, whether the job must need nothing borrowed then: it must for other shares' jobs.
        """
        outranked = find_outranked(self.accounts, self.terms[share], self.running[share], job)
        has_right = self.accounts.is_within_quota(share, job.use)
        has_right_then = has_right or outranked.gives_right
        across = self._borrowing_elsewhere(share) if has_right_then else []
        if across and has_right:
            yield across, True
        if outranked.lets_start:
            yield outranked.jobs, False
        if across and outranked.jobs:
            yield [*outranked.jobs, *across], True

    def _borrowing_elsewhere(self, share: str) -> list[RunningJob]:
        found: list[RunningJob] = []
        for name, running in self.running.items():
            if name != share:
                least = self.served.get(name)
                # Nobody comes back to stand before those that something is reserved for.
                found += [
                    each for each in running.borrowing if least is None or each.priority < least
                ]
        return found

    def _choose(
        self, share: str, job: WaitingJob, candidates: Iterable[RunningJob], *, needs_right: bool
    ) -> list[RunningJob]:
        """Pick among the candidates by the rules in the head; all or nothing."""
        chosen: list[RunningJob] = []

        def is_enough() -> bool:
            is_entitled = not needs_right or self.accounts.is_within_quota(share, job.use)
            return is_entitled and self._can_start(share, job)

        for each in self._in_order_of_loss(job, candidates):
            self._release(each)
            chosen.append(each)
            if is_enough():
                break
        else:
            self._undo(chosen)
            return []
        for each in list(reversed(chosen)):
            self._occupy(each)
            if is_enough():
                chosen.remove(each)
            else:
                self._release(each)
        self._undo(chosen)
        winners = {job.job_id, *(each.for_job_id for each in self.preemptions)}
        return chosen if self.start_once_ended(winners, [*self.ending, *chosen]) else []

    def _in_order_of_loss(
        self, job: WaitingJob, candidates: Iterable[RunningJob]
    ) -> Iterable[RunningJob]:
        """Yield candidates, the least worth first; each is expected to be released at once."""
        lines: dict[str, list[RunningJob]] = {}
        for each in sorted(candidates, key=keeping_order):
            lines.setdefault(each.share, []).append(each)

        def borrowed(share: str) -> int:
            return sum(self.accounts.borrowed(share, unit) for unit in job.use)

        while lines:
            share = max(lines, key=borrowed)
            yield lines[share].pop()
            if not lines[share]:
                del lines[share]

    def _stop(self, share: str, job: WaitingJob, victims: Iterable[RunningJob]) -> None:
        for each in victims:
            self.running[each.share] = self.running[each.share].less(each)
            self.note_end(each)
            cause = PreemptionCause.IN_SHARE if each.share == share else PreemptionCause.CROSS_SHARE
            self.preemptions.append(
                Preemption(job_id=each.job_id, cause=cause, for_job_id=job.job_id)
            )

    def _undo(self, released: Iterable[RunningJob]) -> None:
        for each in released:
            self._occupy(each)

    def _can_start(self, share: str, job: WaitingJob) -> bool:
        if not self.accounts.may_start(share, job.use):
            return False
        found = self._take(job)
        if found is None:
            return False
        self._give_back(job, found)
        return True

    def _give_back(self, job: WaitingJob, place: tuple[EnvironmentView, Taken]) -> None:
        environment, taken = place
        for slot, demand in zip(taken.slots, job.demands, strict=True):
            self.ledger.release(environment, slot, demand)
        self.ledger.give_back_instances(environment, job.instances)

    def _take(self, job: WaitingJob) -> tuple[EnvironmentView, Taken] | None:
        """Take room for a job where it will be; nothing is launched for that."""
        if job.demand in self.refused and is_plain(job):
            return None
        for environment in self.environments:
            is_slice = not environment.has_instances
            taken = self.ledger.take(environment, job, may_launch=is_slice)
            if taken is not None:
                return environment, taken
        if is_plain(job):
            self.refused.add(job.demand)
        return None


def find_outranked(
    accounts: Accounts, terms: QuotaTerms, running: RunningShare, job: WaitingJob
) -> Outranked:
    """Give the jobs of a share that may be stopped for one of it, whatever comes of that."""
    least = running.least_priority if terms.preempts_within else None
    if least is None or least >= job.priority:
        return Outranked()
    jobs = [each for each in running.staying if each.priority < job.priority]
    with accounts.once_ended(jobs):
        return Outranked(
            jobs=jobs,
            gives_right=accounts.is_within_quota(terms.name, job.use),
            lets_start=accounts.may_start(terms.name, job.use),
        )


def end_in(ledger: Ledger, environments: Sequence[EnvironmentView], job: RunningJob) -> None:
    """Count the room that comes free with the end of a job."""
    _change_room(environments, job, ledger, ledger.release, sign=1)


def line_with(back: Iterable[RunningJob], line: Iterable[WaitingJob]) -> Iterator[WaitingJob]:
    """Give the line of a share as it is once jobs that were stopped wait again."""
    once_back = [_once_back(each) for each in sorted(back, key=_rank_of)]
    return merge(once_back, line, key=lambda each: -each.priority)


def _change_room(
    environments: Sequence[EnvironmentView],
    job: RunningJob,
    ledger: Ledger,
    change: _Change,
    *,
    sign: int,
) -> None:
    arn = job.environment_arn
    environment = next((each for each in environments if each.arn == arn), None)
    if environment is None:
        return  # The queue has another one now: what is in it comes free for nobody.
    for slot, amount in job.slots:
        change(environment, slot, amount)
    ledger.give_back_instances(environment, job.instances, sign=sign)


def _rank_of(job: RunningJob) -> tuple[int, int]:
    return (-job.priority, job.seq)


def _once_back(job: RunningJob) -> WaitingJob:
    amounts = [amount for _, amount in job.slots]
    return WaitingJob(
        job_id=job.job_id,
        demand=sum(amounts, Amount()),
        node_demands=amounts if len(amounts) > 1 else (),
        seq=job.seq,
        priority=job.priority,
        use=job.use,
        instances=job.instances,
    )
