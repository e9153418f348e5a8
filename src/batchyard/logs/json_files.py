"""Output kept in files, in the form of docker's json-file driver, instead of in log groups.

Owns `<folder>/<task id>/<container>-json.log` with its rotated elders (`….log.1` is the latest of
them) and a small state file beside them. Refuses to know containers and jobs.

Rules:
- A line is written once, however often its append is repeated, also across a kill at any moment.
  The state says up to where the output is in the files, how many lines beyond that, and how long
  the current file is with them. It changes by a rename, after the lines are on disk; what a file
  has beyond it was never acknowledged, and is cut off.
- A rotation is announced in the state before it begins and can be repeated from any point.
- Everything blocking runs in threads; one task's appends come one after the other.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import msgspec

from batchyard.model.ids import TaskId

_MILLI = 1000


class FileTarget(Protocol):
    """`compute.port.FileTarget`, which this room may not import."""

    @property
    def container(self) -> str: ...
    @property
    def bytes_max(self) -> int | None: ...
    @property
    def files_max(self) -> int: ...


class FileLine(Protocol):
    """`compute.port.OutputLine`."""

    @property
    def at_ms(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def is_error(self) -> bool: ...


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """What is in the files."""

    #: Up to where, in the backend's units.
    position: int = 0
    #: How many of the lines after `position`.
    line_count: int = 0
    #: Length of the current file with all of that.
    size: int = 0
    #: The current file is being put aside; a new one begins.
    is_rotating: bool = False


class JsonFiles:
    """The files of all tasks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._states: dict[tuple[TaskId, str], _State] = {}

    async def read_position(self, task_id: TaskId, target: FileTarget) -> int:
        """Tell up to where the output is in the files; 0 for a task never heard of."""
        state = await asyncio.to_thread(self._recover, task_id, target)
        self._states[task_id, target.container] = state
        return state.position

    async def append(
        self, task_id: TaskId, target: FileTarget, *, position: int, lines: Sequence[FileLine]
    ) -> None:
        """Write the lines; return once they and the position are on disk.

        Makes the file if it is missing, also when `lines` is empty. An append that was made before
        is ignored. Raises OSError; the append may then be repeated.
        """
        key = (task_id, target.container)
        state = self._states.pop(key, None)
        self._states[key] = await asyncio.to_thread(
            self._append, task_id, target, state, position, lines
        )

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        """Drop from memory what is kept about tasks that write no more. The files stay."""
        gone = set(task_ids)
        for key in [key for key in self._states if key[0] in gone]:
            del self._states[key]

    async def remove(self, task_ids: Sequence[TaskId]) -> None:
        """Delete the files of tasks."""
        await self.forget(task_ids)
        for task_id in task_ids:
            await asyncio.to_thread(shutil.rmtree, self._folder / task_id, ignore_errors=True)

    async def sweep(self, before_ms: int, live: Collection[TaskId]) -> int:
        """Delete the files of tasks that are not live and wrote nothing since; return how many."""
        stale = await asyncio.to_thread(self._stale, before_ms, frozenset(live))
        await self.remove(stale)
        return len(stale)

    # -- in threads ---------------------------------------------------------------------------

    def _append(
        self,
        task_id: TaskId,
        target: FileTarget,
        state: _State | None,
        position: int,
        lines: Sequence[FileLine],
    ) -> _State:
        files = _Files(self._folder / task_id, target)
        if state is None:
            state = files.recover()
        if position > state.position:
            files.write(state, lines[state.line_count :])
            state.position = position
            state.line_count -= len(lines)  # what is left is of the lines to come
            files.keep(state)
        return state

    def _recover(self, task_id: TaskId, target: FileTarget) -> _State:
        return _Files(self._folder / task_id, target).recover()

    def _stale(self, before_ms: int, live: Collection[TaskId]) -> list[TaskId]:
        if not self._folder.is_dir():
            return []
        stale = []
        for folder in self._folder.iterdir():
            if folder.name not in live:
                # The state file is replaced with each append, and that changes the folder.
                with contextlib.suppress(FileNotFoundError):
                    if folder.stat().st_mtime * _MILLI < before_ms:
                        stale.append(TaskId(folder.name))
        return stale


class _Files:
    """The files of one container."""

    def __init__(self, folder: Path, target: FileTarget) -> None:
        self._folder = folder
        self._target = target
        self._current = folder / f"{target.container}-json.log"
        self._state = folder / f"{target.container}-json.state"

    def recover(self) -> _State:
        """Read the state and make the files agree with it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            state = msgspec.json.decode(self._state.read_bytes(), type=_State)
        except FileNotFoundError:
            state = _State()
        except msgspec.DecodeError:
            # A power failure ate it, and the task with it. What there is stays.
            state = _State(size=self._current.stat().st_size if self._current.exists() else 0)
        if state.is_rotating:
            self._rotate(state)
        descriptor = os.open(self._current, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            state.size = min(state.size, os.fstat(descriptor).st_size)
            os.ftruncate(descriptor, state.size)
        finally:
            os.close(descriptor)
        return state

    def write(self, state: _State, lines: Sequence[FileLine]) -> None:
        """Append lines, and rotate between them as docker does: before a line, once it is full."""
        bytes_max = self._target.bytes_max
        waiting: list[bytes] = []
        size = state.size
        for line in lines:
            if bytes_max is not None and size >= bytes_max:
                self._flush(state, waiting)
                self.keep(state)
                self._begin_rotation(state)
                waiting, size = [], 0
            entry = _encode(line)
            waiting.append(entry)
            size += len(entry)
        self._flush(state, waiting)

    def keep(self, state: _State) -> None:
        """Make the state durable."""
        draft = self._state.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(state))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(self._state)

    def _flush(self, state: _State, waiting: Sequence[bytes]) -> None:
        if not waiting:
            return
        descriptor = os.open(self._current, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Not at the end: an append that failed half-way may have left something there.
            os.ftruncate(descriptor, state.size)
            os.lseek(descriptor, state.size, os.SEEK_SET)
            rest = memoryview(b"".join(waiting))
            size = len(rest)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        state.size += size
        state.line_count += len(waiting)

    def _begin_rotation(self, state: _State) -> None:
        state.is_rotating = True
        self.keep(state)
        self._rotate(state)

    def _rotate(self, state: _State) -> None:
        """Put the current file aside. Can be repeated: it moves files into the first gap only."""
        if self._current.exists():
            elders = [
                self._current.with_name(f"{self._current.name}.{number}")
                for number in range(1, self._target.files_max)
            ]
            row = [self._current, *elders]
            gap = next((at for at, path in enumerate(row) if not path.exists()), len(row) - 1)
            for at in range(gap, 0, -1):
                row[at - 1].replace(row[at])
            if gap == 0:  # there is to be one file alone
                self._current.unlink()
        state.size, state.is_rotating = 0, False
        self.keep(state)


def _encode(line: FileLine) -> bytes:
    second, milli = divmod(line.at_ms, _MILLI)
    # Go's RFC3339Nano: no zeros at the end.
    fraction = f".{milli:03d}".rstrip("0") if milli else ""
    time = datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    entry = {
        "log": line.text.encode(errors="replace").decode() + "\n",
        "stream": "stderr" if line.is_error else "stdout",
        "time": f"{time}{fraction}Z",
    }
    return msgspec.json.encode(entry) + b"\n"
