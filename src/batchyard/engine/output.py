"""What is kept of a job's output, and which of the stores takes it.

Decides what a container's `logConfiguration` means here, and sends each task's output to log groups
or to files. Refuses to know how either keeps it.
"""

from collections.abc import Sequence
from typing import Protocol

from batchyard.compute.port import FileTarget, LogTarget, OutputLine, Target
from batchyard.model.ids import Scope, TaskId
from batchyard.model.log_options import event_start_of, file_limits_of
from batchyard.model.log_stream import log_group_of, log_region_of
from batchyard.model.records import Json


def target_of(container: Json, *, scope: Scope, stream: str, name: str) -> Target | None:
    """Say where a container's output goes; None: nowhere (driver `none`).

    `container` is as DescribeJobs shows it, `stream` the name of its log stream, `name` its own.
    Raises ValueError, in the words of docker's drivers, for options that cannot be: word it with
    `model.log_options.log_driver_failed`.
    """
    configuration = container.get("logConfiguration") or {}
    options = configuration.get("options") or {}
    driver = configuration.get("logDriver") or "awslogs"
    if driver == "none":
        return None
    if driver == "json-file":
        limits = file_limits_of(options)
        return FileTarget(container=name, bytes_max=limits.bytes_max, files_max=limits.files_max)
    if driver != "awslogs":
        raise ValueError(f"logger: no log driver named '{driver}' is registered")
    return LogTarget(
        account=scope.account,
        region=log_region_of(container) or scope.region,
        group=log_group_of(container),
        stream=stream,
        starts_event=event_start_of(options),
    )


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
