"""One turn of the core: the state, the time, and what came of an input so far.

Owns the rule that every event takes effect at once, so that what is decided next sees it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from batchyard.core.consumables import Consumable
from batchyard.core.effects import Effect
from batchyard.core.events import (
    AttemptEnded,
    AttemptPlaced,
    ConsumableSettled,
    Event,
    JobAccepted,
    JobFailed,
    JobSucceeded,
    ShareForgotten,
)
from batchyard.core.evolve import evolve
from batchyard.core.shares import record_of_share
from batchyard.core.state import State
from batchyard.model.ids import ConsumableArn, JobId, QueueArn
from batchyard.model.records import JobProgress, ShareRecord


@dataclass(slots=True)
class Outcome:
    """What inputs led to.

    Events and changed records are to be made durable together, before any effect is sent.
    """

    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    #: The progress of every job, child and node whose record changed, finished ones included.
    changed: dict[JobId, JobProgress] = field(default_factory=dict)
    #: Every consumable resource that is there and of which more or less is held or used up.
    consumables: dict[ConsumableArn, Consumable] = field(default_factory=dict)
    #: What is to be stored of every share whose numbers changed; None: nothing any more.
    shares: dict[tuple[QueueArn, str], ShareRecord | None] = field(default_factory=dict)
    #: An input was too large for one turn: give it once more.
    is_partial: bool = False

    def add(self, later: "Outcome") -> None:
        """Append what came of later inputs."""
        self.events.extend(later.events)
        self.effects.extend(later.effects)
        self.changed.update(later.changed)
        self.consumables.update(later.consumables)
        self.shares.update(later.shares)
        self.is_partial |= later.is_partial


@dataclass(slots=True)
class Turn:
    """What the deciding functions work with."""

    state: State
    now_ms: int
    outcome: Outcome = field(default_factory=Outcome)

    def emit(self, event: Event) -> None:
        """Make the event true, and keep it for the outcome."""
        job = evolve(self.state, event)
        if job is not None:
            changed = self.outcome.changed
            changed[job.id] = job.progress
            if job.parent is not None and job.parent.array is not None:
                changed[job.parent.id] = job.parent.progress  # It counts its children.
            if job.needs and isinstance(event, AttemptPlaced | AttemptEnded):
                self._note_consumables(need.arn for need in job.needs)
            if job.share_identifier is not None and isinstance(event, _COUNTED_IN_SHARES):
                self._note_share(job.queue_arn, job.share_identifier)
        elif isinstance(event, ConsumableSettled):
            self._note_consumables((event.arn,))
        elif isinstance(event, ShareForgotten):
            self.outcome.shares[event.arn, event.share_identifier] = None
        self.outcome.events.append(event)

    def _note_consumables(self, arns: Iterable[ConsumableArn]) -> None:
        for arn in arns:
            found = self.state.consumables.get(arn)
            if found is not None and found.is_there:
                self.outcome.consumables[arn] = found

    def note(self, event: Event) -> None:
        """Keep an event that says what the state never held."""
        self.outcome.events.append(event)

    def ask(self, effect: Effect) -> None:
        self.outcome.effects.append(effect)

    def _note_share(self, queue_arn: QueueArn, identifier: str) -> None:
        queue = self.state.queues.get(queue_arn)
        if queue is not None:
            record = record_of_share(queue.shares[identifier])
            self.outcome.shares[queue_arn, identifier] = record


#: The events of a job that change the numbers of its share.
_COUNTED_IN_SHARES = (JobAccepted, AttemptPlaced, AttemptEnded, JobSucceeded, JobFailed)
