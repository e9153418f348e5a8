"""Moves what containers print from the engine's logs into the sink.

Owns one connection for each running container, and how far its output has come. Refuses to know
tasks beyond that, and reports. Rules: what `position` counts, `frames` says; a log is read from its
beginning whenever a connection is new, and what is stored already is passed over.

docker ends a followed log before it has written what a process left without a line break, so the
end is looked at once more after the process is known to be gone. An engine that loses a log (its
file was deleted) is not waited for: a line in the sink says so.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import structlog

from batchyard.compute.docker.engine_api import EngineApi, EngineError
from batchyard.compute.docker.frames import Entry, LineReader
from batchyard.compute.docker.task import Task, Unit
from batchyard.compute.event_grouping import EventGrouper
from batchyard.compute.local.detect import now_ms
from batchyard.compute.port import LogTarget, OutputLine, OutputSink, Target

_RETRY_S: Final = 1.0
#: A log that ended while its container runs is opened again; not at once, or an engine that is
#: being stopped would be asked without a pause.
_REOPEN_S: Final = 0.5
#: So many times an engine may refuse to show the log of a container that is over.
_REFUSALS_MAX: Final = 5
#: What a container that is over has printed comes at once.
_QUIET_S: Final = 0.05
_LINES_PER_APPEND_MAX: Final = 1000

_log = structlog.get_logger()


class Capture:
    """Follows the output of containers."""

    def __init__(self, api: EngineApi, sink: OutputSink, *, wake: Callable[[Task], None]) -> None:
        """`wake` is called when a container's stream is there, and when its output is stored."""
        self._api = api
        self._sink = sink
        self._wake = wake
        self._follower_by_name: dict[str, asyncio.Task[None]] = {}

    def follow(self, task: Task, unit: Unit, group: asyncio.TaskGroup) -> None:
        """Begin to follow a container that runs, or has run; once."""
        if unit.is_output_done or unit.engine_name in self._follower_by_name:
            return
        follower = group.create_task(self._follow(task, unit))
        self._follower_by_name[unit.engine_name] = follower
        follower.add_done_callback(lambda _: self._follower_by_name.pop(unit.engine_name, None))

    async def _follow(self, task: Task, unit: Unit) -> None:
        assert unit.target is not None
        refusal_count = 0
        while not unit.is_output_done:
            output = _Output(self._sink, task, unit, unit.target)
            try:
                await self._move(task, unit, output)
            except Exception as failure:
                # The edge of a follower: whatever the sink or the engine says, it goes on.
                error = _first_of(failure)
                _log.error("output_not_moved", task_id=task.task_id, reason=str(error))
                refusal_count += isinstance(error, EngineError) and unit.has_exited.is_set()
                if refusal_count >= _REFUSALS_MAX:
                    await self._give_up(task, unit, output, str(error))
                else:
                    await asyncio.sleep(_RETRY_S)

    async def _give_up(self, task: Task, unit: Unit, output: "_Output", why: str) -> None:
        try:
            await output.tell_loss(why)
        except Exception as error:
            _log.error("output_not_moved", task_id=task.task_id, reason=str(error))
            await asyncio.sleep(_RETRY_S)
        else:
            unit.is_output_done = True
            self._wake(task)

    async def _move(self, task: Task, unit: Unit, output: "_Output") -> None:
        """Move all there is; return when the container is over and everything stored, or when the
        log ended early."""
        assert unit.container_id is not None
        await output.begin()
        if not unit.has_stream:
            unit.has_stream = True
            self._wake(task)
        if unit.is_refused:
            unit.is_output_done = True
            self._wake(task)
            return
        was_over = unit.has_exited.is_set()
        async with asyncio.TaskGroup() as group:
            flusher = group.create_task(output.flush_in_time())
            log = self._api.log(unit.container_id, is_followed=not was_over)
            # What is read once the container is over is read to its end.
            parts = log if was_over else _until_quiet(log, unit.has_exited)
            async with contextlib.aclosing(parts):
                async for entries in parts:
                    await output.store(entries)
            if not was_over:
                await _wait(unit.has_exited, _REOPEN_S)
            flusher.cancel()
        if not unit.has_exited.is_set():
            return
        if was_over or await self._is_complete(unit.container_id, output):
            await output.end()
            unit.is_output_done = True
            self._wake(task)

    async def _is_complete(self, container_id: str, output: "_Output") -> bool:
        """Tell whether the log ends with what was read last; if that cannot be told, it does
        not."""
        if output.last_entry is None:
            return False  # Nothing came, or it was not waited for.
        last: list[Entry] = []
        async for entries in self._api.log(container_id, is_followed=False, last=1):
            last += entries
        return last[-1:] == [output.last_entry] and last[-1].is_exact


def _first_of(error: Exception) -> Exception:
    """Give the first error of a group."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _until_quiet(
    log: AsyncGenerator[list[Entry], None], has_exited: asyncio.Event
) -> AsyncGenerator[list[Entry], None]:
    """Pass on a followed log; once the container is over, only as long as something comes.

    podman ends one half a second late. Whether that was all is for the caller to find out.
    """
    exiting = asyncio.ensure_future(has_exited.wait())
    reading: asyncio.Future[list[Entry]] | None = None
    try:
        while True:
            if reading is None:
                reading = asyncio.ensure_future(anext(log))
            either: list[asyncio.Future[Any]] = [reading, exiting]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await asyncio.wait([reading], timeout=_QUIET_S)
            if not reading.done():
                return
            entries, reading = reading.result(), None
            yield entries
    except StopAsyncIteration:
        return
    finally:
        exiting.cancel()
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
        await log.aclose()


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return


class _Output:
    """The output of one container on its way, over one connection."""

    def __init__(self, sink: OutputSink, task: Task, unit: Unit, target: Target) -> None:
        self._sink = sink
        self._task_id = task.task_id
        self._unit = unit
        self._target = target
        self._reader = LineReader(0)
        pattern = target.starts_event if isinstance(target, LogTarget) else None
        self._events = None if pattern is None else EventGrouper(pattern)
        #: Lines that are stored; and those that were read, of which some may still wait in an
        #: event.
        self._position = 0
        self._read_count = 0
        self._lock = asyncio.Lock()
        self._has_open_event = asyncio.Event()

    @property
    def last_entry(self) -> Entry | None:
        return self._reader.last_entry

    async def begin(self) -> None:
        """Ask where the sink stands, and make the stream."""
        self._position = await self._sink.read_position(self._task_id, self._target)
        self._read_count = self._position
        self._reader = LineReader(self._position)
        await self._append([], self._position)

    async def store(self, entries: list[Entry]) -> None:
        async with self._lock:
            await self._take(self._reader.feed(entries))

    async def end(self) -> None:
        """Store what is left, now that nothing more can come."""
        async with self._lock:
            await self._take(self._reader.finish())
            await self._flush()

    async def tell_loss(self, why: str) -> None:
        text = f"batchyard: the rest of the output was lost: {why}"
        line = OutputLine(at_ms=now_ms(), text=text)
        await self._append([line], self._position + 1)

    async def flush_in_time(self) -> None:
        """End events that do not grow any more, until cancelled."""
        events = self._events
        while events is not None:
            await self._has_open_event.wait()
            due_in_ms = events.due_in_ms(now_ms())
            if due_in_ms is None:
                self._has_open_event.clear()
            elif due_in_ms > 0:
                await asyncio.sleep(due_in_ms / 1000)
            else:
                async with self._lock:
                    if events.due_in_ms(now_ms()) == 0:
                        await self._flush()

    async def _take(self, lines: list[OutputLine]) -> None:
        if self._events is None:
            for start in range(0, len(lines), _LINES_PER_APPEND_MAX):
                part = lines[start : start + _LINES_PER_APPEND_MAX]
                await self._append(part, self._position + len(part))
            return
        done: list[OutputLine] = []
        position = self._position
        for line in lines:
            if events := self._events.take(line.at_ms, line.text):
                done += events
                position = self._read_count
            self._read_count += 1
        if done:
            await self._append(done, position)
        self._has_open_event.set()

    async def _flush(self) -> None:
        if self._events is not None and (lines := self._events.flush()):
            await self._append(lines, self._read_count)

    async def _append(self, lines: list[OutputLine], position: int) -> None:
        await self._sink.append(self._task_id, self._target, position=position, lines=lines)
        self._position = position
