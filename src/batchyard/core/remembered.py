"""What rounds found out and may use again, because what it follows from is still the same.

Owns the rule by which each of these answers holds. Refuses to be part of the state: it says nothing
that the state does not say, nobody stores it, and a round that begins without it decides the same.

- The types that an environment may launch, and their order, follow from its `launching` and from
  what the machines have in all. Both are compared each time: settings by being the same object, for
  nobody changes one; machines one by one, in their order.
- What is remembered of a queue with quota shares, and why: see `quota_memory`. `evolve` tells it of
  every event.
- A round that changed nothing but what heads show as their reason would change nothing if it were
  made again on the same state: a plan follows from the view alone, and a reason that is shown is
  not shown anew. So the next one is left out for as long as nothing happens that a round reads.
  Everything counts as such but:
  - that an attempt is taken, waits for something from elsewhere or starts: a round asks of those
    that hold capacity where, how much and since when it was given to them, and whether they are to
    stop;
  - that a job comes in that waits for others: nobody looks at it before it is RUNNABLE;
  - that a job comes in behind the last one that the round looked at in its line. The round stopped
    there, and would stop there again.
- Nor would a round change anything after one whose plan says so (`Plan.is_settling`), if all that
  it proposed was done.
- Time counts where shares have a history, which fades. There a round follows from whose turn it is,
  down to the first who gets no room: so who they were is kept, and the next round is left out while
  it is they (`heads`). Where a policy reserves a part, or somebody was passed over, every round is
  made. And time counts for the limits of heads: a round is made once the first of them is reached.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from batchyard.core import events as e
from batchyard.core.quota_memory import QuotaMemory
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, JobId, QueueArn
from batchyard.model.instances import LaunchSettings
from batchyard.model.status import JobStatus
from batchyard.scheduler.allocation import TypeOrder, types_on
from batchyard.scheduler.fair_share import FairOrder
from batchyard.scheduler.plan import Plan
from batchyard.scheduler.view import InOrder, QueueView, View


@dataclass(slots=True)
class _Stops:
    """The job that a round stopped at, by where it waits, if the round did not come to the end."""

    #: Of a queue in line: its submission number.
    seqs: dict[QueueArn, int] = field(default_factory=dict)
    #: Of a quota share, by its name: what it stands behind, which is lower priorities and later
    #: submission.
    of_shares: dict[tuple[QueueArn, str], tuple[int, int]] = field(default_factory=dict)
    #: Of a queue with fair shares: whose turn it was, down to the first who got no room.
    heads: dict[QueueArn, list[JobId]] = field(default_factory=dict)

    def are_before(self, event: e.JobAccepted) -> bool:
        """Tell whether no round looks at a job that comes in, for it stops before."""
        if event.status is JobStatus.PENDING:
            return True
        if event.quota_share is not None:
            stop = self.of_shares.get((event.queue_arn, event.quota_share))
            return stop is not None and (-event.priority, event.seq) > stop
        seq = self.seqs.get(event.queue_arn)
        return event.queue_arn in self.heads if seq is None else event.seq > seq


@dataclass(slots=True)
class Remembered:
    """What is remembered beside one state."""

    #: What each machine has in all, in the order of the machines.
    _machines: list[Amount] = field(default_factory=list)
    #: By environment: what the order was made of, and it.
    _orders: dict[EnvironmentArn, tuple[LaunchSettings, list[Amount], TypeOrder]] = field(
        default_factory=dict
    )
    #: Where the last round stopped. None: the next round may decide something.
    _stops: _Stops | None = None
    #: Of queues with quota shares.
    quota: dict[QueueArn, QuotaMemory] = field(default_factory=dict)
    #: When the first limit of a head is reached that the last round has seen; None: never.
    _limit_ms: int | None = None

    def __reduce__(self) -> tuple[type["Remembered"], tuple[()]]:
        """Let a copy of a state begin without what is remembered beside it."""
        return Remembered, ()

    def is_settled(self, now_ms: int) -> bool:
        """Tell whether a round would change nothing while the `heads` are these."""
        return self._stops is not None and (self._limit_ms is None or now_ms < self._limit_ms)

    @property
    def heads(self) -> Mapping[QueueArn, Sequence[JobId]]:
        """Name whose turn it was in queues with fair shares in which somebody waits.

        Those before the last wait for instances that are on their way.
        """
        return {} if self._stops is None else self._stops.heads

    def note_round(
        self, view: View, plan: Plan, happened: Iterable[e.Event], limit_ms: int | None
    ) -> None:
        """Take in what a round has read and changed; `limit_ms` is when a head has waited enough.

        To be called right after it, before anything else happens.
        """
        self._stops = None
        placed_count = 0
        for each in happened:
            if isinstance(each, e.AttemptPlaced):
                placed_count += 1
            elif not isinstance(each, e.JobReasonChanged):
                return
        if not placed_count or (plan.is_settling and placed_count == len(plan.placements)):
            self._stops = _stops_of(view, plan)
            self._limit_ms = limit_ms

    def see(self, event: e.Event) -> None:
        """Note that something happened."""
        if self._stops is None or isinstance(event, e.GETS_GOING):
            return
        if not isinstance(event, e.JobAccepted) or not self._stops.are_before(event):
            self._stops = None

    def machines_like(self, machines: list[Amount]) -> list[Amount]:
        """Give what each machine has in all: the same list for as long as it is an equal one."""
        if machines != self._machines:
            self._machines = machines
        return self._machines

    def order_of(
        self, arn: EnvironmentArn, settings: LaunchSettings, machines: list[Amount]
    ) -> TypeOrder:
        """Give the types that machines of these capacities can stand for, in their order."""
        known = self._orders.get(arn)
        if known is not None and known[0] is settings and known[1] is machines:
            return known[2]
        order = TypeOrder(settings.strategy, types_on(settings.types, machines))
        self._orders[arn] = (settings, machines, order)
        return order

    def forget(self, arn: EnvironmentArn) -> None:
        """Let go of what was found of an environment that is no more."""
        self._orders.pop(arn, None)


def _stops_of(view: View, plan: Plan) -> _Stops | None:
    """Say where a round stopped. None: somebody waits whose turn depends on the time."""
    stops = _Stops()
    for queue in view.queues:
        order = queue.waiting
        if queue.quota_shares is not None:
            _note_stops_of_shares(stops, queue)
        elif isinstance(order, InOrder):
            if order.shown is not None:
                stops.seqs[queue.arn] = order.shown.seq
        elif isinstance(order, FairOrder):
            heads = _heads_of(order, plan)
            if heads is None:
                return None
            if heads:
                stops.heads[queue.arn] = heads
        else:
            return None
    return stops


def _heads_of(order: FairOrder, plan: Plan) -> list[JobId] | None:
    """Name those whose turn is first in the next round, if it is to decide what this one did."""
    if order.cpu_milli_limit is not None or order.has_passed:
        return None
    if not plan.placements:
        heads = list(order.taken)  # They wait for instances, and have their turn again.
    elif plan.is_settling:
        heads = []
    else:
        return None
    first = order.peek()
    if first is None:
        return None if heads else []  # Whoever comes in has his turn behind them.
    return [*heads, first.job_id]


def _note_stops_of_shares(stops: _Stops, queue: QueueView) -> None:
    for share in queue.quota_shares or ():
        last = share.jobs.last
        if last is not None:
            stops.of_shares[queue.arn, share.terms.name] = (-last.priority, last.seq)
