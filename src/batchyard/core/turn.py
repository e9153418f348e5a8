"""One turn of the core: the state, the time, and what came of an input so far.

Owns the rule that every event takes effect at once, so that what is decided next sees it.
"""

from dataclasses import dataclass, field

from batchyard.core.effects import Effect
from batchyard.core.events import Event
from batchyard.core.evolve import evolve
from batchyard.core.state import State


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an input led to. Events are to be made durable before any effect is sent."""

    events: list[Event]
    effects: list[Effect]


@dataclass(slots=True)
class Turn:
    """What the deciding functions work with."""

    state: State
    now_ms: int
    events: list[Event] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        """Make the event true, and keep it for the outcome."""
        evolve(self.state, event)
        self.events.append(event)

    def ask(self, effect: Effect) -> None:
        self.effects.append(effect)
