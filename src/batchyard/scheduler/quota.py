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

from collections.abc import Iterable, Mapping, Sequence

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


class Accounts:
    """What the shares of a queue use, as far as a round has decided."""

    def __init__(self, terms: Iterable[QuotaTerms], used: Mapping[str, Use]) -> None:
        self._terms = {each.name: each for each in terms}
        self._used = {name: dict(used.get(name, {})) for name in self._terms}
        #: Of lending shares: capacity that is idle still, and that a waiting job has a right to.
        self._claimed: dict[str, int] = {}

    def copy_without_claims(self) -> "Accounts":
        """Give books of their own to somebody who looks ahead."""
        return Accounts(self._terms.values(), self._used)

    def used(self, share: str) -> Use:
        """Tell what the jobs of a share hold."""
        return self._used[share]

    def start(self, share: str, use: Use) -> None:
        """Count what a job holds from now on."""
        held = self._used[share]
        for unit, quantity in use.items():
            held[unit] = held.get(unit, 0) + quantity

    def end(self, share: str, use: Use) -> None:
        """Count what a job gives back."""
        self.start(share, {unit: -quantity for unit, quantity in use.items()})

    def claim(self, share: str, use: Use) -> None:
        """Lend no more of what a waiting job of the share has a right to."""
        if self._terms[share].lends:
            for unit, quantity in use.items():
                self._claimed[unit] = self._claimed.get(unit, 0) + quantity

    def is_within_quota(self, share: str, use: Use) -> bool:
        """Tell whether a job needs nothing borrowed, were it to start now."""
        terms, held = self._terms[share], self._used[share]
        return all(
            held.get(unit, 0) + quantity <= terms.limit(unit) for unit, quantity in use.items()
        )

    def may_start(self, share: str, use: Use) -> bool:
        """Tell whether the rules let a job start now."""
        return all(self._may_use(share, unit, quantity) for unit, quantity in use.items())

    def borrowed(self, share: str, unit: str) -> int:
        """Tell how much a share uses beyond its own."""
        return max(0, self._used[share].get(unit, 0) - self._terms[share].limit(unit))

    def left_to_borrow(self, unit: str) -> int:
        """Tell how much of what lending shares leave idle nobody has borrowed; negative: too much
        is.
        """
        borrowed = sum(self.borrowed(name, unit) for name in self._terms)
        return self._idle(unit, lends=True) - borrowed

    def idle_of_reserving(self, unit: str) -> int:
        """Tell how much shares that do not lend leave idle."""
        return self._idle(unit, lends=False)

    def lent_at_most(self, share: str, unit: str) -> int:
        """Tell how much the others lend to a share if none of them uses anything."""
        return sum(
            other.limit(unit)
            for name, other in self._terms.items()
            if other.lends and name != share
        )

    def is_anything_borrowed(self) -> bool:
        """Tell whether any share uses more than its own."""
        return any(
            self.borrowed(share, unit) for share, held in self._used.items() for unit in held
        )

    def why_never(self, share: str, use: Use) -> Obstacle | None:
        """Say why a job could not start even if no other ran; None: it could."""
        terms = self._terms[share]
        if terms.borrow_percent is None:
            is_within = all(quantity <= terms.limit(unit) for unit, quantity in use.items())
            return None if is_within else Obstacle.ABOVE_QUOTA
        for unit, quantity in use.items():
            most = terms.most(unit)
            if most is not None and quantity > most:
                return Obstacle.ABOVE_BORROW_LIMIT
        for unit, quantity in use.items():
            if quantity > terms.limit(unit) + self.lent_at_most(share, unit):
                return Obstacle.ABOVE_BORROWABLE
        return None

    def _may_use(self, share: str, unit: str, quantity: int) -> bool:
        terms, held = self._terms[share], self._used[share].get(unit, 0)
        own = max(0, min(terms.limit(unit) - held, quantity))
        borrows = quantity - own
        borrowed = sum(self.borrowed(name, unit) for name in self._terms)
        idle = self._idle(unit, lends=True)
        if borrows:
            most = terms.most(unit)
            if most is not None and held + quantity > most:
                return False
            idle -= self._claimed.get(unit, 0)
            return borrowed + borrows <= idle - (own if terms.lends else 0)
        if not terms.lends:
            idle += self._idle(unit, lends=False)
        return borrowed <= idle - own

    def _idle(self, unit: str, *, lends: bool) -> int:
        return sum(
            max(0, terms.limit(unit) - self._used[name].get(unit, 0))
            for name, terms in self._terms.items()
            if terms.lends is lends
        )


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
