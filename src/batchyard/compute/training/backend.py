"""`TrainingBackend`: another backend, with SageMaker's contract around the training jobs in it.

Owns the moments: folders are made before a task is handed on, and its results are put away before
its end is told. Refuses to run anything, and to know what lies where (see `folders`). Tasks without
a `TrainingSetting` go through untouched. Rules: see `batchyard.compute.port`; the end of one task
that has much to put away holds up no other's.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Protocol

import structlog
from msgspec.structs import replace

from batchyard.compute.local.detect import now_ms
from batchyard.compute.port import Backend, Host, Report, TaskEnded, TaskSpec
from batchyard.compute.training.folders import NotThere, TrainingFolders
from batchyard.model.ids import TaskId
from batchyard.model.limits import CONTAINER_REASON_LENGTH_MAX

log = structlog.get_logger()


class RunsHere(Backend, Protocol):
    """A backend of this machine."""

    async def leave_if_idle(self) -> bool:
        """Leave nothing behind if every task has ended; return whether it is so.

        After True nothing but `close` may follow.
        """
        ...


class TrainingBackend:
    """See the module's head."""

    def __init__(self, inner: RunsHere, *, data_path: Path) -> None:
        self._inner = inner
        self.folders = TrainingFolders(data_path.absolute())
        self._batches: asyncio.Queue[Sequence[Report] | None] = asyncio.Queue()
        self._runner: asyncio.Task[None] | None = None
        #: Tasks that were never handed on, and whose end has been told; until they are forgotten.
        self._refused: dict[TaskId, TaskEnded] = {}

    async def open(self) -> None:
        await self._inner.open()
        known = await self._inner.list_tasks()
        await asyncio.to_thread(self.folders.keep_only, known)
        self._batches = asyncio.Queue()
        self._runner = asyncio.create_task(self._run(), name="training-backend")

    async def close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await runner
        await self._inner.close()
        self._batches.put_nowait(None)

    async def leave_if_idle(self) -> bool:
        return await self._inner.leave_if_idle()

    async def list_hosts(self) -> Sequence[Host]:
        return await self._inner.list_hosts()

    async def list_tasks(self) -> frozenset[TaskId]:
        return await self._inner.list_tasks() | frozenset(self._refused)

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        if all(task.training is None for task in tasks):
            await self._inner.start(tasks)
            return
        known = await self.list_tasks()
        made: list[TaskSpec] = []
        for task in tasks:
            if task.training is None:
                made.append(task)
            elif task.task_id not in known:
                prepared = await self._prepare(task)
                made += [] if prepared is None else [prepared]
        await self._inner.start(made)

    async def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        await self._inner.stop(task_id, grace_ms=grace_ms)

    async def reports(self) -> AsyncIterator[Sequence[Report]]:
        while (batch := await self._batches.get()) is not None:
            yield batch
        runner = self._runner
        if runner is not None:
            await runner  # It has failed, and says how.

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        await self._inner.forget(task_ids)
        for task_id in task_ids:
            self._refused.pop(task_id, None)
            if self.folders.has(task_id):
                await asyncio.to_thread(self.folders.forget, task_id)

    async def _prepare(self, task: TaskSpec) -> TaskSpec | None:
        """Make a task's folders; None: that could not be, and its end is told."""
        try:
            return await asyncio.to_thread(self.folders.prepare, task)
        except NotThere as error:
            reason = str(error)
        except OSError as error:
            log.warning("training_folders_not_made", task_id=task.task_id, reason=str(error))
            reason = (
                "InternalServerError: the folders of the job cannot be made:"
                f" {error.strerror or type(error).__name__}"
            )
        end = TaskEnded(
            task_id=task.task_id,
            at_ms=now_ms(),
            exit_code=None,
            reason=reason[:CONTAINER_REASON_LENGTH_MAX],
        )
        await asyncio.to_thread(self.folders.note_failure, task.task_id)
        self._refused[task.task_id] = end
        self._batches.put_nowait([end])
        return None

    async def _run(self) -> None:
        """Pass on what the backend reports; ends of training jobs once their results are safe."""
        try:
            async with asyncio.TaskGroup() as group:
                async for batch in self._inner.reports():
                    plain: list[Report] = []
                    for each in batch:
                        if isinstance(each, TaskEnded) and self.folders.has(each.task_id):
                            group.create_task(self._finish(each))
                        else:
                            plain.append(each)
                    if plain:
                        self._batches.put_nowait(plain)
        finally:
            self._batches.put_nowait(None)

    async def _finish(self, report: TaskEnded) -> None:
        message = await asyncio.to_thread(self.folders.read_failure, report.task_id)
        report = replace(report, message=message)
        try:
            await asyncio.to_thread(self.folders.publish, report.task_id)
        except OSError as error:
            log.warning("results_not_kept", task_id=report.task_id, reason=str(error))
            if report.exit_code == 0:
                text = f"ClientError: Artifact upload failed: {error.strerror or error}"
                reason = text[:CONTAINER_REASON_LENGTH_MAX]
                report = replace(report, exit_code=None, reason=reason)
        if report.exit_code != 0:
            await asyncio.to_thread(self.folders.note_failure, report.task_id)
        self._batches.put_nowait([report])
