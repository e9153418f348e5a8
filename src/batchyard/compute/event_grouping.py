"""Lines of output that belong together become one event, as docker's awslogs driver groups them.

Decides where an event ends (its `collectBatch`): a line that matches begins one, every line of it
ends in a line break, and it is over when the next one begins, when one more line would make it too
long, when its first line is `FLUSH_MS` old, or at the end. Refuses to know where lines come from,
positions and the clock.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from batchyard.compute.port import OutputLine
from batchyard.model.log_options import compile_pattern

#: docker's: CloudWatch Logs' limit of an event for most of its life, less what it counts besides.
EVENT_BYTES_MAX = 256 * 1024 - 26
#: docker's flush interval.
FLUSH_MS = 5_000


@dataclass(slots=True)
class _Event:
    """An event that may grow."""

    #: When it began: its time.
    at_ms: int
    #: When the first line since the last flush was read: its age.
    read_ms: int
    size: int = 0
    texts: list[str] = field(default_factory=list)


class EventGrouper:
    """Makes events of the lines of one container."""

    __slots__ = ("_event", "_finds")

    def __init__(self, starts_event: str) -> None:
        self._finds: Callable[[str], object | None] = compile_pattern(starts_event)
        self._event: _Event | None = None

    @property
    def has_open_event(self) -> bool:
        """An event has begun and may still grow."""
        return self._event is not None

    def take(self, at_ms: int, text: str) -> list[OutputLine]:
        """Add a line; give the event that was over before it, if one was."""
        size = len(text.encode()) + 1
        event = self._event
        done: list[OutputLine] = []
        is_start = self._finds(text) is not None
        if event is None:
            event = self._event = _Event(at_ms, at_ms)
        elif is_start or not 0 <= at_ms - event.read_ms < FLUSH_MS:
            done = self.flush()
            event = self._event = _Event(at_ms, at_ms)
        elif event.size + size > EVENT_BYTES_MAX:
            done = self.flush()
            # Parts of one event keep the time of the line that began it.
            event = self._event = _Event(event.at_ms, at_ms)
        event.texts.append(text)
        event.size += size
        return done

    def flush(self) -> list[OutputLine]:
        """Give the event that may still grow, as it is."""
        event, self._event = self._event, None
        if event is None:
            return []
        text = "".join(f"{text}\n" for text in event.texts)
        return [OutputLine(at_ms=event.at_ms, text=text)]

    def due_in_ms(self, now_ms: int) -> int | None:
        """Tell when to call `flush`, from 0 on; None: nothing waits for it."""
        if self._event is None:
            return None
        age_ms = now_ms - self._event.read_ms
        # A clock that was set back would make it wait for long.
        return FLUSH_MS - age_ms if 0 <= age_ms < FLUSH_MS else 0
