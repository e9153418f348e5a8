"""One turn of the core: the state, the time, and what came of an input so far.

Owns the rule that every event takes effect at once, so that what is decided next sees it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from batchyard.core.consumables import Consumable
from batchyard.core.effects import Effect
from batchyard.core.events import AttemptEnded, AttemptPlaced, ConsumableSettled, Event
from batchyard.core.evolve import evolve
from batchyard.core.state import State
from batchyard.model.ids import ConsumableArn, JobId
from batchyard.model.records import JobProgress


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
    #: An input was too large for one turn: give it once more.
    is_partial: bool = False

    def add(self, later: "Outcome") -> None:
        """Append what came of later inputs."""
        self.events.extend(later.events)
        self.effects.extend(later.effects)
        self.changed.update(later.changed)
        self.consumables.update(later.consumables)
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
        elif isinstance(event, ConsumableSettled):
            self._note_consumables((event.arn,))
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
