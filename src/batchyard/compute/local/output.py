"""From the spool to the sink: one task's output, read where the supervisor left it.

Owns how far each task's output has come and when its reports may be told: the start after its
stream exists, the end after everything is stored (rule 4 of the port). Refuses to know sockets and
containers. A spool is read in the event loop: it was written a moment ago and lies in the page
cache.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from batchyard.compute.local.detect import now_ms
from batchyard.compute.local.lines import EventLines, decode_marked, offset_of, position_after
from batchyard.compute.local.shapes import EndShape
from batchyard.compute.local.supervisor.records import SPOOL_SUFFIX
from batchyard.compute.local.supervisor.spool import READ_BYTES, READ_BYTES_MAX, decode, is_cut
from batchyard.compute.port import (
    FileTarget,
    LogTarget,
    OutputLine,
    OutputSink,
    Report,
    Target,
    TaskEnded,
    TaskStarted,
)
from batchyard.model.ids import TaskId


class Tail:
    """What the server knows of one task."""

    __slots__ = (
        "end",
        "events",
        "flush",
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

    def __init__(self, task_id: TaskId, target: Target | None) -> None:
        self.task_id = task_id
        self.target = target
        self.started_at_ms: int | None = None
        self.end: EndShape | None = None
        #: How large the spool is, as far as the supervisor has told.
        self.size = 0
        #: Up to where it is in the sink; None until the sink was asked.
        self.position: int | None = None
        #: The lines between `position` and what was read, where they are grouped to events.
        self.events: EventLines | None = None
        #: Ends an event that does not grow any more.
        self.flush: asyncio.TimerHandle | None = None
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
        wake: Callable[[Tail], None],
    ) -> None:
        """`wake` has `run` called for a tail some time later, when nothing new was told of it."""
        self._tasks_path = str(tasks_path)
        self._sink = sink
        self._note_taken = note_taken
        self._report = report
        self._wake = wake

    async def run(self, tail: Tail) -> None:
        """Move everything there is to move. Raises whatever the sink raises; then call it again."""
        while tail.is_dirty:
            tail.is_dirty = False
            started_at_ms = tail.started_at_ms
            end = tail.end
            if tail.target is not None and (started_at_ms is not None or tail.size > 0):
                if isinstance(tail.target, LogTarget) and tail.target.starts_event is not None:
                    await self._move_events(tail, tail.target, tail.target.starts_event)
                else:
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

    async def _move_output(self, tail: Tail, target: Target) -> None:
        if tail.position is None:
            tail.position = await self._sink.read_position(tail.task_id, target)
            if tail.position > 0:
                self._note_taken(tail.task_id, tail.position)
        while tail.position < tail.size or not tail.has_stream:
            lines, position = self._read_lines(tail, tail.position)
            if position == tail.position and tail.has_stream:
                break  # A power failure ate the rest.
            await self._sink.append(tail.task_id, target, position=position, lines=lines)
            tail.has_stream = True
            tail.position = position
            if position > 0:
                self._note_taken(tail.task_id, position)
        end = tail.end
        if end is not None and end["lost_bytes"] and tail.position <= tail.size:
            line = _lost_line(end)
            # One past the spool: so that this line, too, is stored once.
            tail.position = tail.size + 1
            await self._sink.append(tail.task_id, target, position=tail.position, lines=[line])

    async def _move_events(self, tail: Tail, target: LogTarget, starts_event: str) -> None:
        """Do what `_move_output` does, with positions as `lines` counts them."""
        if tail.position is None:
            tail.position = await self._sink.read_position(tail.task_id, target)
            self._note_taken(tail.task_id, offset_of(tail.position))
        # What was read and not stored is read again if an append fails.
        events, tail.events = tail.events or EventLines(starts_event, tail.position), None
        end = tail.end
        while True:
            offset = events.offset
            lines = events.add(self._read(tail, offset))
            is_dry = events.offset == offset
            if is_dry and (end is not None or events.due_in_ms(now_ms()) == 0):
                lines += events.flush()
            if lines or not tail.has_stream:
                position = events.position
                await self._sink.append(tail.task_id, target, position=position, lines=lines)
                tail.has_stream = True
                tail.position = position
                self._note_taken(tail.task_id, offset_of(position))
            if is_dry:
                break
        if end is not None and end["lost_bytes"] and tail.position <= position_after(tail.size):
            tail.position = position_after(tail.size) + 1
            line = _lost_line(end)
            await self._sink.append(tail.task_id, target, position=tail.position, lines=[line])
        tail.events = events
        self._flush_in_time(tail, events)

    def _flush_in_time(self, tail: Tail, events: EventLines) -> None:
        if tail.flush is not None:
            tail.flush.cancel()
            tail.flush = None
        due_in_ms = events.due_in_ms(now_ms())
        if due_in_ms is not None:
            loop = asyncio.get_running_loop()
            tail.flush = loop.call_later(due_in_ms / 1000, self._wake, tail)

    def _read_lines(self, tail: Tail, position: int) -> tuple[list[OutputLine], int]:
        data = self._read(tail, position)
        if isinstance(tail.target, FileTarget):
            marked, used = decode_marked(data)
            return marked, position + used
        lines, used = decode(data)
        return [OutputLine(at_ms=at_ms, text=text) for at_ms, text in lines], position + used

    def _read(self, tail: Tail, position: int) -> bytes:
        """Read some of a spool, and at least the chunk at `position`; nothing where it ends."""
        if position >= tail.size:
            return b""
        try:
            fd = os.open(
                f"{self._tasks_path}/{tail.task_id}{SPOOL_SUFFIX}", os.O_RDONLY | os.O_CLOEXEC
            )
        except FileNotFoundError:
            return b""
        try:
            data = os.pread(fd, min(READ_BYTES, tail.size - position), position)
            if is_cut(data):
                data = os.pread(fd, min(READ_BYTES_MAX, tail.size - position), position)
        finally:
            os.close(fd)
        return data


def _lost_line(end: EndShape) -> OutputLine:
    text = f"batchyard: {end['lost_bytes']} bytes of output were lost: no disk space"
    return OutputLine(at_ms=end["at_ms"], text=text)
