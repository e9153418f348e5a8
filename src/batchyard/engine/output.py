"""Which of the stores takes a task's output: log groups, or files.

Owns the backend's one sink over both. Refuses to know how either keeps it, and what a container
asked for: that is `launch.logs`.
"""

from collections.abc import Sequence
from typing import Protocol

from batchyard.compute.port import FileTarget, LogTarget, OutputLine, Target
from batchyard.model.ids import TaskId


class StreamStore(Protocol):
    """What keeps output in log groups (`logs.LogStore`)."""

    async def read_position(self, task_id: TaskId, target: LogTarget) -> int: ...
    async def append(
        self, task_id: TaskId, target: LogTarget, *, position: int, lines: Sequence[OutputLine]
    ) -> None: ...
    async def forget(self, task_ids: Sequence[TaskId]) -> None: ...


class FileStore(Protocol):
    """What keeps output in files (`logs.json_files.JsonFiles`)."""

    async def read_position(self, task_id: TaskId, target: FileTarget) -> int: ...
    async def append(
        self, task_id: TaskId, target: FileTarget, *, position: int, lines: Sequence[OutputLine]
    ) -> None: ...
    async def forget(self, task_ids: Sequence[TaskId]) -> None: ...


class OutputRouter:
    """The backend's `OutputSink`: log groups, and files beside them."""

    def __init__(self, *, streams: StreamStore, files: FileStore) -> None:
        self._streams = streams
        self._files = files

    async def read_position(self, task_id: TaskId, target: Target) -> int:
        """Ask the store that the target belongs to."""
        match target:
            case LogTarget():
                return await self._streams.read_position(task_id, target)
            case FileTarget():
                return await self._files.read_position(task_id, target)

    async def append(
        self, task_id: TaskId, target: Target, *, position: int, lines: Sequence[OutputLine]
    ) -> None:
        """Hand the lines to the store that the target belongs to."""
        match target:
            case LogTarget():
                await self._streams.append(task_id, target, position=position, lines=lines)
            case FileTarget():
                await self._files.append(task_id, target, position=position, lines=lines)

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        """Drop what is kept about the output of tasks that the backend has forgotten."""
        await self._streams.forget(task_ids)
        await self._files.forget(task_ids)
