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
5. Nobody is stopped for room that the head of another share would take first.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from batchyard.model.amounts import Amount
from batchyard.scheduler.consumables import Stock
from batchyard.scheduler.ledger import Ledger, Taken
from batchyard.scheduler.plan import Preemption, PreemptionCause, Slot
from batchyard.scheduler.quota import (
    Accounts,
    QuotaTerms,
    RunningJob,
    keeping_order,
    split_by_quota,
)
from batchyard.scheduler.view import EnvironmentView, WaitingJob

_Change = Callable[[EnvironmentView, Slot, Amount], None]


@dataclass(slots=True)
class Prospect:
    """How things will stand once everything that is ending has ended."""

    accounts: Accounts
    ledger: Ledger
    stock: Stock
    terms: dict[str, QuotaTerms]
    environments: Sequence[EnvironmentView]
    #: Those that nobody has told to end.
    running: list[RunningJob]
    #: The heads of shares that wait for capacity; the shares in the order of their creation.
    heads: dict[str, WaitingJob]
    preemptions: list[Preemption] = field(default_factory=list)
    #: By share that something was reserved for: the lowest priority of those that will have it.
    served: dict[str, int] = field(default_factory=dict)
    #: By share: jobs that are to end, and will wait again.
    returning: dict[str, list[RunningJob]] = field(default_factory=dict)

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

    def release(self, job: RunningJob) -> None:
        """Count what comes free with the end of a job."""
        self.accounts.end(job.share, job.use)
        self._change_room(job, self.ledger.release, sign=1)

    def note_return(self, job: RunningJob) -> None:
        """Let a job that is to end stand where it will wait again."""
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

    def _occupy(self, job: RunningJob) -> None:
        """Undo `release`."""
        self.accounts.start(job.share, job.use)
        self._change_room(job, self.ledger.occupy, sign=-1)

    def _find_victims(self, share: str, job: WaitingJob) -> list[RunningJob]:
        across = self._borrowing_elsewhere(share)
        within = self._outranked(share, job)
        ways: list[tuple[list[RunningJob], bool]] = []
        if across and self.accounts.is_within_quota(share, job.use):
            ways.append((across, True))
        if within:
            ways.append((within, False))
        if across and within:
            ways.append(([*within, *across], True))
        for candidates, needs_right in ways:
            victims = self._choose(share, job, candidates, needs_right=needs_right)
            if victims:
                return victims
        return []

    def _borrowing_elsewhere(self, share: str) -> list[RunningJob]:
        found: list[RunningJob] = []
        for name, terms in self.terms.items():
            if name != share:
                own = [each for each in self.running if each.share == name]
                least = self.served.get(name)
                # Nobody comes back to stand before those that something is reserved for.
                found += [
                    each
                    for each in split_by_quota(terms, own)[1]
                    if least is None or each.priority < least
                ]
        return found

    def _outranked(self, share: str, job: WaitingJob) -> list[RunningJob]:
        if not self.terms[share].preempts_within:
            return []
        return [
            each for each in self.running if each.share == share and each.priority < job.priority
        ]

    def _choose(
        self, share: str, job: WaitingJob, candidates: list[RunningJob], *, needs_right: bool
    ) -> list[RunningJob]:
        """Pick among the candidates by the rules in the head; all or nothing."""
        chosen: list[RunningJob] = []

        def is_enough() -> bool:
            is_entitled = not needs_right or self.accounts.is_within_quota(share, job.use)
            return is_entitled and self._can_start(share, job)

        for each in self._in_order_of_loss(job, candidates):
            self.release(each)
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
                self.release(each)
        is_in_vain = self._is_in_vain(share, job, chosen)
        self._undo(chosen)
        return [] if is_in_vain else chosen

    def _is_in_vain(self, share: str, job: WaitingJob, victims: Sequence[RunningJob]) -> bool:
        """Tell whether what comes free would be another's, or would be kept for another."""
        first = [each for each in self.heads if self._goes_first(each, share, job, victims)]
        if any(self._leaves_nothing(other, share, job) for other in first):
            return True
        if self.accounts.is_within_quota(share, job.use):
            return False
        claims = self.accounts.copy_without_claims()
        for other in first:
            use = self.heads[other].use
            if self.accounts.is_within_quota(other, use):
                if self.accounts.may_start(other, use) and not self._can_start(
                    other, self.heads[other]
                ):
                    return True  # It waits for room, which borrowers then leave to it.
                claims.claim(other, use)
        return not claims.may_start(share, job.use)

    def _goes_first(
        self, other: str, share: str, job: WaitingJob, victims: Sequence[RunningJob]
    ) -> bool:
        """Tell whether the head of another share would be served before the job."""
        head = self.heads[other]
        if other == share or any(
            self._returns_before(each, head) for each in victims if each.share == other
        ):
            return False
        if self.accounts.is_within_quota(other, head.use):
            names = list(self.terms)
            return (
                not self.accounts.is_within_quota(share, job.use)
                or share in self.served
                or names.index(other) < names.index(share)
            )
        return not self.accounts.is_within_quota(share, job.use) and head.seq < job.seq

    def _returns_before(self, victim: RunningJob, head: WaitingJob) -> bool:
        """Tell whether a job that is stopped comes to stand before the head of its share."""
        return victim.priority >= head.priority and (
            self.accounts.why_never(victim.share, victim.use) is None
        )

    def _leaves_nothing(self, other: str, share: str, job: WaitingJob) -> bool:
        """Tell whether the job could not start any more once the head of another share has."""
        head = self.heads[other]
        if not self._can_start(other, head):
            return False
        found = self._take(head)
        assert found is not None, head.job_id
        self.accounts.start(other, head.use)
        is_left = self._can_start(share, job)
        self._give_back(head, found)
        self.accounts.end(other, head.use)
        return not is_left

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
            self.release(each)
            self.running.remove(each)
            self.note_return(each)
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

    def _give_back(self, job: WaitingJob, found: tuple[EnvironmentView, Taken]) -> None:
        environment, taken = found
        for slot, demand in zip(taken.slots, job.demands, strict=True):
            self.ledger.release(environment, slot, demand)
        self.ledger.give_back_instances(environment, job.instances)

    def _take(self, job: WaitingJob) -> tuple[EnvironmentView, Taken] | None:
        """Take room for a job where it will be; nothing is launched for that."""
        for environment in self.environments:
            is_slice = not environment.has_instances
            taken = self.ledger.take(environment, job, may_launch=is_slice)
            if taken is not None:
                return environment, taken
        return None

    def _environment_of(self, job: RunningJob) -> EnvironmentView | None:
        """None: the queue has another environment now; what is in it comes free for nobody."""
        arn = job.environment_arn
        return next((each for each in self.environments if each.arn == arn), None)

    def _change_room(self, job: RunningJob, change: _Change, *, sign: int) -> None:
        environment = self._environment_of(job)
        if environment is not None:
            for slot, amount in job.slots:
                change(environment, slot, amount)
            self.ledger.give_back_instances(environment, job.instances, sign=sign)


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
