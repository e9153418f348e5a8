"""A container's output as an engine keeps it: from bytes of its log to lines.

Decides what a line is, and what counts as a position. Refuses to know containers and connections.

The engine sends its log as frames: which stream, how long, then a time and a piece of output. A
piece without a line break is the beginning of a longer line (docker cuts at 16 KiB, podman where
conmon stopped reading), or the very last one. The log only grows, so reading it from the beginning
gives the same lines in the same order every time: **a position counts lines**, in the order in
which they were complete. It does not count bytes or times: pieces of stdout and stderr are mixed,
and their times need not ascend (nor has podman more than whole seconds).
"""

import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from batchyard.compute.local.supervisor.spool import LINE_BYTES_MAX, LineCutter
from batchyard.compute.port import OutputLine

_HEAD: Final = struct.Struct(">BxxxI")
_STDERR: Final = 2
#: A time of whole seconds; only a finer one tells two entries apart.
_COARSE_LENGTH: Final = len("2026-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """A piece of output as it was logged."""

    is_error: bool
    #: As the engine spells it.
    time: bytes
    data: bytes

    @property
    def is_exact(self) -> bool:
        """No other entry of the container looks the same."""
        return len(self.time) > _COARSE_LENGTH


class FrameReader:
    """Takes a log apart into entries, however it arrives."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Entry]:
        """Take what was read; return the entries that are complete now."""
        data = self._rest + data
        entries: list[Entry] = []
        start = 0
        while len(data) - start >= _HEAD.size:
            stream, length = _HEAD.unpack_from(data, start)
            end = start + _HEAD.size + length
            if end > len(data):
                break
            time, _, piece = data[start + _HEAD.size : end].partition(b" ")
            entries.append(Entry(is_error=stream == _STDERR, time=time, data=piece))
            start = end
        self._rest = data[start:]
        return entries


class LineReader:
    """Makes lines of a log's entries, from a position on."""

    __slots__ = ("_cutters", "_last_ms", "_skip", "last_entry")

    def __init__(self, position: int) -> None:
        self._cutters = {False: LineCutter(), True: LineCutter()}
        self._skip = position
        self._last_ms = 0
        self.last_entry: Entry | None = None

    def feed(self, entries: list[Entry]) -> list[OutputLine]:
        """Take entries; return the lines after the position that are complete now."""
        lines: list[OutputLine] = []
        for entry in entries:
            at_ms = self._last_ms = _time_ms(entry.time) or self._last_ms
            for payload in self._cutters[entry.is_error].cut(entry.data):
                lines += _lines_of(payload, at_ms, is_error=entry.is_error)
            self.last_entry = entry
        return self._after_position(lines)

    def finish(self) -> list[OutputLine]:
        """Return the last lines, for lack of a line break incomplete until now."""
        lines: list[OutputLine] = []
        for is_error, cutter in self._cutters.items():
            if rest := cutter.finish():
                lines += _lines_of(rest, self._last_ms, is_error=is_error)
        return self._after_position(lines)

    def _after_position(self, lines: list[OutputLine]) -> list[OutputLine]:
        skip = min(self._skip, len(lines))
        self._skip -= skip
        return lines[skip:]


def _lines_of(payload: bytes, at_ms: int, *, is_error: bool) -> list[OutputLine]:
    """Give the lines of whole lines; what is longer than a line may be was cut before."""
    assert len(payload) <= LINE_BYTES_MAX + 1 or b"\n" in payload
    texts = payload.removesuffix(b"\n").split(b"\n")
    return [
        OutputLine(
            at_ms=at_ms,
            text=text.removesuffix(b"\r").decode("utf-8", "replace"),
            is_error=is_error,
        )
        for text in texts
    ]


def _time_ms(text: bytes) -> int | None:
    """Read a time; None where there is none to read."""
    try:
        # Python reads six digits of a second's fraction, docker writes nine.
        whole, _, fraction = text.decode().removesuffix("Z").partition(".")
        moment = datetime.fromisoformat(f"{whole}+00:00")
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000 + int(fraction.ljust(3, "0")[:3] or 0)
