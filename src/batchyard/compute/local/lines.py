"""What becomes of a spool's lines on their way to the sink: events of several lines, or files.

Decides where an event ends and which position says that it is stored. Refuses to know tasks, files
and the clock: it is given bytes and the time.

What an event is, `event_grouping` says.

A position within a spool of events counts chunks and lines: the chunk's offset, times
`_LINES_PER_CHUNK_MAX`, plus the lines of that chunk that are stored. It moves past an event only
with that event, so after a crash its lines are read again and come out as the same event. In a
spool of single lines a position is an offset; which of the two it is follows from the target.
"""

from batchyard.compute.event_grouping import EventGrouper
from batchyard.compute.local.supervisor.spool import chunks
from batchyard.compute.port import OutputLine

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


class EventLines:
    """Makes events of one spool's lines, from a position on."""

    __slots__ = ("_events", "_next", "_skip", "offset", "position")

    def __init__(self, starts_event: str, position: int) -> None:
        self._events = EventGrouper(starts_event)
        #: What was read belongs to complete events up to here.
        self.position = position
        #: Where the next chunk begins that was not read.
        self.offset = offset_of(position)
        self._skip = position % _LINES_PER_CHUNK_MAX
        #: The position after the last line that was read.
        self._next = position

    def add(self, data: bytes) -> list[OutputLine]:
        """Read the whole chunks that `data` begins with; `offset` moves past them.

        Gives the events that are complete now; `position` moves past those.
        """
        done: list[OutputLine] = []
        start = self.offset
        for end, at_ms, _, texts in chunks(data):
            first, self._skip = self._skip, 0
            for number in range(first, len(texts)):
                events = self._events.take(at_ms, texts[number])
                if events:
                    done += events
                    self.position = self._next
                self._next = position_after(self.offset) + number + 1
            self.offset = start + end
            self._next = position_after(self.offset)
            if not self._events.has_open_event:
                self.position = self._next
        return done

    def flush(self) -> list[OutputLine]:
        """Give the event that may still grow, as it is."""
        self.position = self._next
        return self._events.flush()

    def due_in_ms(self, now_ms: int) -> int | None:
        """Tell when to call `flush`, from 0 on; None: nothing waits for it."""
        return self._events.due_in_ms(now_ms)
