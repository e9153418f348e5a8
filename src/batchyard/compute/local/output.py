"""From the spool to the sink: one task's output, read where the supervisor left it.

Owns how far each task's output has come and when its reports may be told: the start after its
stream exists, the end after everything is stored (rule 4 of the port). Refuses to know sockets and
containers. A spool is read in the event loop: it was written a moment ago and lies in the page
cache.
"""

import os
from collections.abc import Callable
from pathlib import Path

from batchyard.compute.local.shapes import EndShape
from batchyard.compute.local.supervisor.records import SPOOL_SUFFIX
from batchyard.compute.local.supervisor.spool import READ_BYTES, READ_BYTES_MAX, decode
from batchyard.compute.port import (
    LogTarget,
    OutputLine,
    OutputSink,
    Report,
    TaskEnded,
    TaskStarted,
)
from batchyard.model.ids import TaskId


class Tail:
    """What the server knows of one task."""

    __slots__ = (
        "end",
        "has_stream",
        "is_dirty",
        "is_end_told",
        "is_pumping",
        "is_start_told",
        "position",
        "size",
        "started_at_ms",
        "target",
        "task_id",
    )

    def __init__(self, task_id: TaskId, target: LogTarget | None) -> None:
        self.task_id = task_id
        self.target = target
        self.started_at_ms: int | None = None
        self.end: EndShape | None = None
        #: How large the spool is, as far as the supervisor has told.
        self.size = 0
        #: Up to where it is in the sink; None until the sink was asked.
        self.position: int | None = None
        self.has_stream = False
        self.is_start_told = False
        self.is_end_told = False
        self.is_pumping = False
        #: Something was told since the pump last looked.
        self.is_dirty = False


class Pump:
    """Moves output and then reports, for one task at a time and many tasks at once."""

    def __init__(
        self,
        *,
        tasks_path: Path,
        sink: OutputSink,
        note_taken: Callable[[TaskId, int], None],
        report: Callable[[Report], None],
    ) -> None:
        self._tasks_path = str(tasks_path)
        self._sink = sink
        self._note_taken = note_taken
        self._report = report

    async def run(self, tail: Tail) -> None:
        """Move everything there is to move. Raises whatever the sink raises; then call it again."""
        while tail.is_dirty:
            tail.is_dirty = False
            started_at_ms = tail.started_at_ms
            end = tail.end
            if tail.target is not None and (started_at_ms is not None or tail.size > 0):
                await self._move_output(tail, tail.target)
            if started_at_ms is not None and not tail.is_start_told:
                tail.is_start_told = True
                self._report(TaskStarted(task_id=tail.task_id, at_ms=started_at_ms))
            if end is not None and not tail.is_end_told:
                tail.is_end_told = True
                self._report(
                    TaskEnded(
                        task_id=tail.task_id,
                        at_ms=end["at_ms"],
                        exit_code=end["exit_code"],
                        reason=end["reason"],
                        is_lost=end["is_lost"],
                    )
                )

    async def _move_output(self, tail: Tail, target: LogTarget) -> None:
        if tail.position is None:
            tail.position = await self._sink.read_position(tail.task_id, target)
            if tail.position > 0:
                self._note_taken(tail.task_id, tail.position)
        while tail.position < tail.size or not tail.has_stream:
            lines, position = self._read(tail, tail.position)
            if position == tail.position and tail.has_stream:
                break  # A power failure ate the rest.
            await self._sink.append(tail.task_id, target, position=position, lines=lines)
            tail.has_stream = True
            tail.position = position
            if position > 0:
                self._note_taken(tail.task_id, position)
        end = tail.end
        if end is not None and end["lost_bytes"] and tail.position <= tail.size:
            text = f"batchyard: {end['lost_bytes']} bytes of output were lost: no disk space"
            line = OutputLine(at_ms=end["at_ms"], text=text)
            # One past the spool: so that this line, too, is stored once.
            tail.position = tail.size + 1
            await self._sink.append(tail.task_id, target, position=tail.position, lines=[line])

    def _read(self, tail: Tail, position: int) -> tuple[list[OutputLine], int]:
        if position >= tail.size:
            return [], position
        try:
            fd = os.open(
                f"{self._tasks_path}/{tail.task_id}{SPOOL_SUFFIX}", os.O_RDONLY | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return [], position
        try:
            lines, used = decode(os.pread(fd, min(READ_BYTES, tail.size - position), position))
            if not used:
                length = min(READ_BYTES_MAX, tail.size - position)
                lines, used = decode(os.pread(fd, length, position))
        finally:
            os.close(fd)
        return [OutputLine(at_ms=at_ms, text=text) for at_ms, text in lines], position + used
