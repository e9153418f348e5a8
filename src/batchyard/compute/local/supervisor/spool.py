"""The spool: a task's output between the container's pipes and the sink, on disk.

Owns the format and the cutting into lines. A spool is a row of chunks, each `at_ms` (8 bytes),
length (4 bytes, the highest bit says stderr), payload; every payload holds whole lines, and a line
longer than `LINE_BYTES_MAX` is cut and fills chunks of its own. A position is a byte offset between
two chunks. Refuses to know sockets and sinks. What has been taken is given back to the disk as
holes, so positions never move.

One chunk is written by one `write`, so a kill leaves whole chunks; after a power failure the rest
of a spool may be zeros, which `decode` takes for its end.
"""

from __future__ import annotations

import contextlib
import os
import struct

from batchyard.compute.local.supervisor import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Ours; CloudWatch Logs' own limit of an event was 256 KiB for most of its life.
LINE_BYTES_MAX = 256 * 1024
#: Un-taken bytes at which a container's pipes are left alone until the server has caught up.
BACKLOG_BYTES_MAX = 16 * 1024 * 1024
#: Give space back in steps of this size; a hole costs a system call.
_HOLE_BYTES_MIN = 1024 * 1024
#: How much of a spool is looked at in one go: about a thousand lines, so that storing them holds up
#: nobody for long; and more than the largest chunk, for when the next one is larger than that.
READ_BYTES = 64 * 1024
READ_BYTES_MAX = 1024 * 1024

#: The two high bits of a byte that continues a UTF-8 character.
_CONTINUATION = 0b1000_0000
_HEAD = struct.Struct(">QI")
#: In a chunk's length: the payload came from stderr.
_IS_ERROR = 1 << 31


class LineCutter:
    """Cuts one stream of bytes into payloads of whole lines, keeping the unfinished last one."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def cut(self, data: bytes) -> list[bytes]:
        """Take what was read; return the payloads that are complete now."""
        end = data.rfind(b"\n") + 1
        if end and len(self._rest) + data.find(b"\n") <= LINE_BYTES_MAX:
            payloads = [self._rest + data[:end]]
            self._rest = data[end:]
            return payloads
        return self._cut_long(self._rest + data)

    def _cut_long(self, data: bytes) -> list[bytes]:
        payloads = []
        while (end := data.find(b"\n", 0, LINE_BYTES_MAX + 1)) >= 0 or len(data) > LINE_BYTES_MAX:
            if end >= 0:
                payloads.append(data[: end + 1])
                data = data[end + 1 :]
                continue
            end = _character_boundary(data, LINE_BYTES_MAX)
            payloads.append(data[:end])
            data = data[end:]
        self._rest = data
        return payloads

    def finish(self) -> bytes:
        """Return the last line if it lacks its line break, else nothing."""
        rest, self._rest = self._rest, b""
        return rest


def _character_boundary(data: bytes, end: int) -> int:
    """Move `end` back so that it does not cut a UTF-8 character in two."""
    for back in range(4):
        if data[end - back] & 0b1100_0000 != _CONTINUATION:
            return end - back
    return end


class SpoolWriter:
    """Appends chunks. Never raises: what cannot be written is counted as lost."""

    __slots__ = ("_fd", "_hole_end", "_path", "lost_bytes", "size", "taken")

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._hole_end = 0
        self.size = 0
        self.taken = 0
        self.lost_bytes = 0

    def adopt(self) -> None:
        """Take over what an earlier process wrote."""
        try:
            self.size = os.stat(self._path).st_size
        except OSError:
            self.size = 0

    @property
    def is_backlogged(self) -> bool:
        return self.size - self.taken > BACKLOG_BYTES_MAX

    def append(self, payload: bytes, at_ms: int, *, is_error: bool = False) -> None:
        chunk = _HEAD.pack(at_ms, len(payload) | (_IS_ERROR if is_error else 0)) + payload
        try:
            if self._fd < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._fd = os.open(self._path, flags, 0o600)
            written = os.write(self._fd, chunk)
            if written != len(chunk):
                os.ftruncate(self._fd, self.size)
        except OSError:
            written = 0
        if written == len(chunk):
            self.size += written
        else:
            self.lost_bytes += len(payload)

    def mark_taken(self, position: int) -> None:
        """Note that everything before `position` is safe in the sink, and free its disk space."""
        self.taken = max(self.taken, min(position, self.size))
        if self._fd >= 0 and self.taken - self._hole_end >= _HOLE_BYTES_MIN:
            # Not every file system can; `forget` frees the space then.
            with contextlib.suppress(OSError):
                kernel.punch_hole(self._fd, self._hole_end, self.taken)
            self._hole_end = self.taken

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def decode(data: bytes) -> tuple[list[tuple[int, str]], int]:
    """Read lines with their times from whole chunks; return them and the bytes used.

    Stops before a chunk that is incomplete, or that a power failure left as zeros. Bytes that are
    not UTF-8 become U+FFFD.
    """
    lines: list[tuple[int, str]] = []
    offset = 0
    for chunk in chunks(data):
        at_ms = chunk[1]
        lines += [(at_ms, text) for text in chunk[3]]
        offset = chunk[0]
    return lines, offset


def chunks(data: bytes) -> Iterator[tuple[int, int, bool, list[str]]]:
    """Read chunk by chunk: where it ends, its time, whether it is of stderr, its lines."""
    offset = 0
    while offset + _HEAD.size <= len(data):
        at_ms, length = _HEAD.unpack_from(data, offset)
        is_error = length & _IS_ERROR != 0
        length &= ~_IS_ERROR
        start = offset + _HEAD.size
        if at_ms == 0 or length == 0 or start + length > len(data):
            break
        texts = data[start : start + length].decode("utf-8", "replace").split("\n")
        if not texts[-1]:
            texts.pop()
        offset = start + length
        yield offset, at_ms, is_error, [text.removesuffix("\r") for text in texts]


def is_cut(data: bytes) -> bool:
    """Tell whether `data` ends within its very first chunk."""
    if len(data) < _HEAD.size:
        return False
    length: int = _HEAD.unpack_from(data)[1]
    return _HEAD.size + (length & ~_IS_ERROR) > len(data)
