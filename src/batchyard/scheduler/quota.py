"""What the quota shares of a queue may use: their own capacity first, then what others lend.

Decides by reference/compute-and-scheduling.md section 3.4; the choices are ours where AWS says
nothing: docs/decisions/0016-quota-shares.md. Refuses to know machines, order and time. Quantities
are integers, in thousandths of a capacity unit (a vCPU, an instance type).

Of each unit a share has a limit: its own capacity. What its jobs use up to there is its own; what
they use beyond is borrowed. A unit that a share does not name has the limit 0. Rules, unit by unit:

1. A share borrows only if its strategy lets it, and not beyond its borrow limit.
2. What all shares borrow together is never more than what lending shares leave idle. So the idle
   capacity of a share that reserves it is nobody else's.
3. A job that needs nothing borrowed starts if what others borrow still fits in what is left idle;
   else something has to be taken back first.
4. After every start, all use together is within all limits together, also where a limit was
   lowered below what was in use.
5. Of the running jobs of a share, those are within its quota that fit it one after the other: the
   highest priority first, then those that have run longest. All others borrow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, JobId
from batchyard.scheduler.plan import Obstacle, Slot

#: By capacity unit, in thousandths.
Use = Mapping[str, int]

#: A share may borrow whatever is lent.
UNLIMITED = -1

_PERCENT = 100


class QuotaTerms(Struct, frozen=True, kw_only=True):
    """What a share may use, lend and borrow."""

    name: str
    limits: Use
    lends: bool = False
    #: Percent of its own limit, unit by unit; UNLIMITED; None: it does not borrow.
    borrow_percent: int | None = None
    #: A job of it may stop others of it that have a lower priority.
    preempts_within: bool = False

    def limit(self, unit: str) -> int:
        """Give its own capacity."""
        return self.limits.get(unit, 0)

    def most(self, unit: str) -> int | None:
        """Give what it may use if others lend enough; None: anything."""
        limit = self.limit(unit)
        if self.borrow_percent is None:
            return limit
        if self.borrow_percent == UNLIMITED:
            return None
        return limit + limit * self.borrow_percent // _PERCENT


class RunningJob(Struct, frozen=True, kw_only=True):
    """A job, child or multi-node job of a share whose live attempt holds capacity."""

    job_id: JobId
    share: str
    use: Use
    priority: int
    placed_ms: int
    seq: int
    environment_arn: EnvironmentArn
    #: The room that comes free with its end, and that something else could have.
    slots: Sequence[tuple[Slot, Amount]]
    #: Of a service job: how many instances it takes of its environment, by type.
    instances: Mapping[str, int] = {}
    #: It has been told to end.
    is_stopping: bool = False


@dataclass(slots=True)
class _Sums:
    """What all shares have of a unit, and use of it."""

    #: Of the limits of those that lend.
    lent_at_most: int = 0
    #: Of what is used beyond each limit.
    borrowed: int = 0
    #: Of what is left of limits, of shares that lend and of the others.
    idle_lending: int = 0
    idle_reserving: int = 0

    def copy(self) -> "_Sums":
        return _Sums(self.lent_at_most, self.borrowed, self.idle_lending, self.idle_reserving)

    def count(self, terms: QuotaTerms, limit: int, used: int, sign: int) -> None:
        """Count what a share uses, or with sign -1 no longer."""
        left = limit - used
        if left < 0:
            self.borrowed -= sign * left
        elif terms.lends:
            self.idle_lending += sign * left
        else:
            self.idle_reserving += sign * left


class Accounts:
    """What the shares of a queue use, as far as a round has decided.

    Asking and changing cost nothing for each share, but for the first time that a unit is asked of
    that no share has a limit for.
    """

    def __init__(self, terms: Iterable[QuotaTerms], used: Mapping[str, Use]) -> None:
        self._terms = {each.name: each for each in terms}
        #: What stands here is replaced, and never changed: books share it with their copies.
        self._used = {name: dict(used.get(name, {})) for name in self._terms}
        #: Of lending shares: capacity that is idle still, and that a waiting job has a right to.
        self._claimed: dict[str, int] = {}
        #: By unit: of all that are used or that a share has a limit for, and that were asked of.
        self._sums: dict[str, _Sums] = {}
        #: By share and unit, of those that were asked of: the most that a job may use there.
        self._most_ever: dict[str, dict[str, int]] = {name: {} for name in self._terms}
        for units in (*(each.limits for each in self._terms.values()), *self._used.values()):
            for unit in units:
                self._sums_of(unit)

    def copy_without_claims(self) -> "Accounts":
        """Give books of their own to somebody who looks ahead."""
        copied = Accounts.__new__(Accounts)  # Nothing is to be added up anew.
        copied._terms, copied._most_ever = self._terms, self._most_ever
        copied._used, copied._claimed = self._used.copy(), {}
        copied._sums = {unit: sums.copy() for unit, sums in self._sums.items()}
        return copied

    def used(self, share: str) -> Use:
        """Tell what the jobs of a share hold."""
        return self._used[share]

    def start(self, share: str, use: Use) -> None:
        """Count what a job holds from now on."""
        self._change(share, use, 1)

    def end(self, share: str, use: Use) -> None:
        """Count what a job gives back."""
        self._change(share, use, -1)

    @contextmanager
    def once_ended(self, jobs: Iterable[RunningJob]) -> Iterator[None]:
        """Count meanwhile what is in use once these have ended."""
        freed: dict[str, dict[str, int]] = {}
        for each in jobs:
            total = freed.setdefault(each.share, {})
            for unit, quantity in each.use.items():
                total[unit] = total.get(unit, 0) + quantity
        for share, use in freed.items():
            self.end(share, use)
        yield
        for share, use in freed.items():
            self.start(share, use)

    def settle(self, share: str, use: Use) -> None:
        """Count that the jobs of a share hold this from now on, whatever they held."""
        held = self._used[share]
        more = {unit: use.get(unit, 0) - held.get(unit, 0) for unit in {**held, **use}}
        self._change(share, more, 1)

    def claim(self, share: str, use: Use) -> None:
        """Lend no more of what a waiting job of the share has a right to."""
        if self._terms[share].lends:
            for unit, quantity in use.items():
                self._claimed[unit] = self._claimed.get(unit, 0) + quantity

    def is_within_quota(self, share: str, use: Use) -> bool:
        """Tell whether a job needs nothing borrowed, were it to start now."""
        limits, held = self._terms[share].limits, self._used[share]
        for unit, quantity in use.items():
            if held.get(unit, 0) + quantity > limits.get(unit, 0):
                return False
        return True

    def may_start(self, share: str, use: Use) -> bool:
        """Tell whether the rules let a job start now."""
        terms, held = self._terms[share], self._used[share]
        for unit, quantity in use.items():
            if not self._may_use(terms, unit, held.get(unit, 0), quantity):
                return False
        return True

    def borrowed(self, share: str, unit: str) -> int:
        """Tell how much a share uses beyond its own."""
        return max(0, self._used[share].get(unit, 0) - self._terms[share].limit(unit))

    def left_to_borrow(self, unit: str) -> int:
        """Tell how much of what lending shares leave idle nobody has borrowed; negative: too much
        is.
        """
        sums = self._sums_of(unit)
        return sums.idle_lending - sums.borrowed

    def idle_of_reserving(self, unit: str) -> int:
        """Tell how much shares that do not lend leave idle."""
        return self._sums_of(unit).idle_reserving

    def lent_at_most(self, share: str, unit: str) -> int:
        """Tell how much the others lend to a share if none of them uses anything."""
        terms = self._terms[share]
        own = terms.limit(unit) if terms.lends else 0
        return self._sums_of(unit).lent_at_most - own

    def is_anything_borrowed(self) -> bool:
        """Tell whether any share uses more than its own."""
        return any(sums.borrowed for sums in self._sums.values())

    def why_never(self, share: str, use: Use) -> Obstacle | None:
        """Say why a job could not start even if no other ran; None: it could."""
        known = self._most_ever[share]
        for unit, quantity in use.items():
            most = known.get(unit)
            if most is None:
                most = known[unit] = self._most_ever_of(share, unit)
            if quantity > most:
                return self._why_above(share, use)
        return None

    def _most_ever_of(self, share: str, unit: str) -> int:
        terms = self._terms[share]
        if terms.borrow_percent is None:
            return terms.limit(unit)
        lent, most = terms.limit(unit) + self.lent_at_most(share, unit), terms.most(unit)
        return lent if most is None else min(lent, most)

    def _why_above(self, share: str, use: Use) -> Obstacle:
        terms = self._terms[share]
        if terms.borrow_percent is None:
            return Obstacle.ABOVE_QUOTA
        for unit, quantity in use.items():
            most = terms.most(unit)
            if most is not None and quantity > most:
                return Obstacle.ABOVE_BORROW_LIMIT
        return Obstacle.ABOVE_BORROWABLE

    def _change(self, share: str, use: Use, sign: int) -> None:
        terms, held = self._terms[share], self._used[share].copy()
        for unit, quantity in use.items():
            before = held.get(unit, 0)
            after = held[unit] = before + sign * quantity
            sums, limit = self._sums_of(unit), terms.limit(unit)
            sums.count(terms, limit, before, -1)
            sums.count(terms, limit, after, 1)
        self._used[share] = held

    def _may_use(self, terms: QuotaTerms, unit: str, held: int, quantity: int) -> bool:
        left = terms.limits.get(unit, 0) - held
        own = quantity if quantity <= left else max(0, left)
        borrows = quantity - own
        sums = self._sums.get(unit) or self._sums_of(unit)
        idle = sums.idle_lending
        if borrows:
            most = terms.most(unit)
            if most is not None and held + quantity > most:
                return False
            idle -= self._claimed.get(unit, 0)
            return sums.borrowed + borrows <= idle - (own if terms.lends else 0)
        if not terms.lends:
            idle += sums.idle_reserving
        return sums.borrowed <= idle - own

    def _sums_of(self, unit: str) -> _Sums:
        sums = self._sums.get(unit)
        if sums is None:
            sums = self._sums[unit] = _Sums()
            for name, terms in self._terms.items():
                limit = terms.limits.get(unit, 0)
                sums.lent_at_most += limit if terms.lends else 0
                sums.count(terms, limit, self._used[name].get(unit, 0), 1)
        return sums


class RunningShare:
    """What runs in a share. Is not changed, so it may be kept from round to round."""

    def __init__(self, terms: QuotaTerms, running: Iterable[RunningJob]) -> None:
        self._terms = terms
        #: Those that were told to end, and the others, as they were given.
        self.stopping: list[RunningJob] = []
        self.staying: list[RunningJob] = []
        for each in running:
            (self.stopping if each.is_stopping else self.staying).append(each)

    @cached_property
    def borrowing(self) -> list[RunningJob]:
        """Those of `staying` that are not within the quota."""
        return split_by_quota(self._terms, self.staying)[1]

    @cached_property
    def least_priority(self) -> int | None:
        """The lowest priority of `staying`; None: nobody does."""
        return min((each.priority for each in self.staying), default=None)

    def less(self, job: RunningJob) -> "RunningShare":
        """Give what is left without one of those that stay."""
        return RunningShare(self._terms, [each for each in self.staying if each is not job])


def split_by_quota(
    terms: QuotaTerms, running: Iterable[RunningJob]
) -> tuple[list[RunningJob], list[RunningJob]]:
    """Give the running jobs of a share that are within its quota, and those that borrow (rule 5).

    Both in the order in which they are kept: what is worth most first.
    """
    within: list[RunningJob] = []
    borrowing: list[RunningJob] = []
    held: dict[str, int] = {}
    for job in sorted(running, key=keeping_order):
        if all(held.get(unit, 0) + each <= terms.limit(unit) for unit, each in job.use.items()):
            within.append(job)
            for unit, each in job.use.items():
                held[unit] = held.get(unit, 0) + each
        else:
            borrowing.append(job)
    return within, borrowing


def keeping_order(job: RunningJob) -> tuple[int, int, int, str]:
    """Order running jobs by what is worth most: high priority, long run, early submission."""
    return (-job.priority, job.placed_ms, job.seq, job.job_id)
