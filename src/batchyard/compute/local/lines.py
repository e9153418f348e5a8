"""What becomes of a spool's lines on their way to the sink: events of several lines, or files.

Decides where an event ends and which position says that it is stored. Refuses to know tasks, files
and the clock: it is given bytes and the time.

Events are those of docker's awslogs driver (its `collectBatch`): a line that matches begins one,
every line of it ends in a line break, and it is stored when the next one begins, when one more line
would make it too long, when its first line is `FLUSH_MS` old, or at the end.

A position within a spool of events counts chunks and lines: the chunk's offset, times
`_LINES_PER_CHUNK_MAX`, plus the lines of that chunk that are stored. It moves past an event only
with that event, so after a crash its lines are read again and come out as the same event. In a
spool of single lines a position is an offset; which of the two it is follows from the target.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from batchyard.compute.local.supervisor.spool import chunks
from batchyard.compute.port import OutputLine
from batchyard.model.log_options import compile_pattern

#: docker's: CloudWatch Logs' limit of an event for most of its life, less what it counts besides.
EVENT_BYTES_MAX = 256 * 1024 - 26
#: docker's flush interval.
FLUSH_MS = 5_000

#: A chunk holds no more bytes than this, so no more lines (`supervisor.spool`).
_LINES_PER_CHUNK_MAX = 1 << 20


def decode_marked(data: bytes) -> tuple[list[OutputLine], int]:
    """Read lines from whole chunks, with their stream; return them and the bytes used."""
    lines: list[OutputLine] = []
    used = 0
    for end, at_ms, is_error, texts in chunks(data):
        lines += [OutputLine(at_ms=at_ms, text=text, is_error=is_error) for text in texts]
        used = end
    return lines, used


def offset_of(position: int) -> int:
    """Give the offset of the first chunk of a spool of events that is still needed."""
    return position // _LINES_PER_CHUNK_MAX


def position_after(offset: int) -> int:
    """Give the position in a spool of events that has everything before `offset`."""
    return offset * _LINES_PER_CHUNK_MAX


@dataclass(slots=True)
class _Event:
    """An event that may grow."""

    #: When it began: its time.
    at_ms: int
    #: When the first line since the last flush was read: its age.
    read_ms: int
    size: int = 0
    texts: list[str] = field(default_factory=list)


class EventLines:
    """Makes events of one spool's lines, from a position on."""

    __slots__ = ("_event", "_finds", "_next", "_skip", "offset", "position")

    def __init__(self, starts_event: str, position: int) -> None:
        self._finds: Callable[[str], object | None] = compile_pattern(starts_event)
        #: What was read belongs to complete events up to here.
        self.position = position
        #: Where the next chunk begins that was not read.
        self.offset = offset_of(position)
        self._skip = position % _LINES_PER_CHUNK_MAX
        #: The position after the last line that was read.
        self._next = position
        self._event: _Event | None = None

    def add(self, data: bytes) -> list[OutputLine]:
        """Read the whole chunks that `data` begins with; `offset` moves past them.

        Gives the events that are complete now; `position` moves past those.
        """
        done: list[OutputLine] = []
        start = self.offset
        for end, at_ms, _, texts in chunks(data):
            first, self._skip = self._skip, 0
            for number in range(first, len(texts)):
                done += self._take(at_ms, texts[number])
                self._next = position_after(self.offset) + number + 1
            self.offset = start + end
            self._next = position_after(self.offset)
            if self._event is None:
                self.position = self._next
        return done

    def flush(self) -> list[OutputLine]:
        """Give the event that may still grow, as it is."""
        event, self._event = self._event, None
        self.position = self._next
        return [] if event is None else [_line_of(event)]

    def due_in_ms(self, now_ms: int) -> int | None:
        """Tell when to call `flush`, from 0 on; None: nothing waits for it."""
        if self._event is None:
            return None
        age_ms = now_ms - self._event.read_ms
        # A clock that was set back would make it wait for long.
        return FLUSH_MS - age_ms if 0 <= age_ms < FLUSH_MS else 0

    def _take(self, at_ms: int, text: str) -> list[OutputLine]:
        """Add a line; `_next` is still the position before it."""
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


def _line_of(event: _Event) -> OutputLine:
    return OutputLine(at_ms=event.at_ms, text="".join(f"{text}\n" for text in event.texts))
