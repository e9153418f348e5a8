"""What rounds found out and may use again, because what it follows from is still the same.

Owns the rule by which each of these answers holds. Refuses to be part of the state: it says nothing
that the state does not say, nobody stores it, and a round that begins without it decides the same.

- The types that an environment may launch, and their order, follow from its `launching` and from
  what the machines have in all. Both are compared each time: settings by being the same object, for
  nobody changes one; machines one by one, in their order.
- A round that changed nothing but what heads show as their reason would change nothing if it were
  made again on the same state: a plan follows from the view alone, and a reason that is shown is
  not shown anew. So the next one is left out for as long as nothing happens that a round reads.
  Everything counts as such but:
  - that an attempt is taken or starts: a round asks of those that hold capacity where, how much and
    since when it was given to them, and whether they are to stop;
  - that a job comes in that waits for others: nobody looks at it before it is RUNNABLE;
  - that a job comes in behind the last one that the round looked at in its line. The round stopped
    there, and would stop there again.
  Time counts where shares have a history, which fades: if anybody waits in a queue with a policy of
  fair shares, every round is made. And it counts for the limits of heads: a round is made once the
  first of them is reached.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from batchyard.core import events as e
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, QueueArn
from batchyard.model.instances import LaunchSettings
from batchyard.model.status import JobStatus
from batchyard.scheduler.allocation import TypeOrder, types_on
from batchyard.scheduler.view import InOrder, View

_NOT_READ = (e.AttemptTaken, e.AttemptStarted)


@dataclass(slots=True)
class Remembered:
    """What is remembered beside one state."""

    #: What each machine has in all, in the order of the machines.
    _machines: list[Amount] = field(default_factory=list)
    #: By environment: what the order was made of, and it.
    _orders: dict[EnvironmentArn, tuple[LaunchSettings, list[Amount], TypeOrder]] = field(
        default_factory=dict
    )
    #: By queue: the submission number of the job that the last round stopped at. None: the next
    #: round may decide something.
    _stopped_at: dict[QueueArn, int] | None = None
    #: When the first limit of a head is reached that the last round has seen; None: never.
    _limit_ms: int | None = None

    def is_settled(self, now_ms: int) -> bool:
        """Tell whether a round would change nothing."""
        return self._stopped_at is not None and (self._limit_ms is None or now_ms < self._limit_ms)

    def note_round(self, view: View, happened: Iterable[e.Event], limit_ms: int | None) -> None:
        """Take in what a round has read and changed; `limit_ms` is when a head has waited enough.

        To be called right after it, before anything else happens.
        """
        self._stopped_at = None
        if all(isinstance(each, e.JobReasonChanged) for each in happened):
            self._stopped_at = _stops_of(view)
            self._limit_ms = limit_ms

    def see(self, event: e.Event) -> None:
        """Note that something happened."""
        if self._stopped_at is None or isinstance(event, _NOT_READ):
            return
        if not isinstance(event, e.JobAccepted) or not _is_behind(event, self._stopped_at):
            self._stopped_at = None

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


def _is_behind(event: e.JobAccepted, stopped_at: Mapping[QueueArn, int]) -> bool:
    """Tell whether no round looks at a job that comes in, for it stops before."""
    if event.status is JobStatus.PENDING:
        return True
    stop = stopped_at.get(event.queue_arn)
    return stop is not None and event.seq > stop


def _stops_of(view: View) -> dict[QueueArn, int] | None:
    """Say where a round stopped in each queue in which it did not come to the end.

    None: somebody waits whose turn depends on the time.
    """
    stops: dict[QueueArn, int] = {}
    for queue in view.queues:
        if not isinstance(queue.waiting, InOrder):
            return None
        shown = queue.waiting.shown
        if shown is not None:
            stops[queue.arn] = shown.seq
    return stops
