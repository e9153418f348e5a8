"""Carries effects to one backend, in order, after their commit.

Owns the queue between the loop and a backend, so that a slow or failing backend never holds up a
commit. Refuses to decide: what cannot be handed over is tried again, for as long as the backend
is in trouble; a task that cannot even be described ends as a failed attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import groupby

import structlog

from batchyard.compute.port import Backend, TaskSpec, Trouble
from batchyard.core.effects import Effect, ForgetTask, StartTask, StopTask
from batchyard.core.inputs import TaskEnded
from batchyard.engine.launch import task_of
from batchyard.model.ids import EnvironmentArn, JobId, TaskId
from batchyard.model.records import JobRecord
from batchyard.model.status import EnvironmentKind
from batchyard.store.jobs import read_specs
from batchyard.store.store import Store, StoreTrouble

_log = structlog.get_logger()

#: Pause before a backend in trouble is asked again, doubling up to the second figure.
_RETRY_PAUSE_S = 0.2
_RETRY_PAUSE_S_MAX = 10.0

#: Drops what is kept about the output of tasks that the backend has forgotten (not the output).
ForgetOutput = Callable[[Sequence[TaskId]], Awaitable[None]]


class Dispatch:
    """One backend's queue of effects."""

    def __init__(  # noqa: PLR0913 -- what it stands between
        self,
        *,
        backend: Backend,
        store: Store,
        kind_of: Callable[[EnvironmentArn], EnvironmentKind],
        report: Callable[[TaskEnded], None],
        forget_output: ForgetOutput,
        clock_ms: Callable[[], int],
    ) -> None:
        self._backend = backend
        self._store = store
        self._kind_of = kind_of
        self._report = report
        self._forget_output = forget_output
        self._clock_ms = clock_ms
        self._waiting: asyncio.Queue[Effect] = asyncio.Queue()

    def send(self, effects: Iterable[Effect]) -> None:
        """Take effects whose events are durable. Never blocks."""
        for effect in effects:
            self._waiting.put_nowait(effect)

    async def run(self) -> None:
        """Hand effects over until cancelled; everything waiting goes as one batch."""
        while True:
            batch = [await self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            for kind, run in groupby(batch, key=type):
                await self._insist(kind, list(run))

    async def _insist(self, kind: type[Effect], effects: Sequence[Effect]) -> None:
        pause_s = _RETRY_PAUSE_S
        while True:
            try:
                return await self._hand_over(kind, effects)
            except (Trouble, StoreTrouble) as trouble:
                _log.error("effects_delayed", effect=kind.__name__, reason=str(trouble))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_PAUSE_S_MAX)

    async def _hand_over(self, kind: type[Effect], effects: Sequence[Effect]) -> None:
        if kind is StartTask:
            await self._start([each for each in effects if isinstance(each, StartTask)])
        elif kind is ForgetTask:
            task_ids = [each.task_id for each in effects if isinstance(each, ForgetTask)]
            await self._backend.forget(task_ids)
            await self._forget_output(task_ids)
        else:
            for each in effects:
                if isinstance(each, StopTask):
                    await self._backend.stop(each.task_id, grace_ms=each.grace_ms)

    async def _start(self, effects: Sequence[StartTask]) -> None:
        ids = [effect.job_id for effect in effects]
        records = await self._store.read(lambda connection: read_specs(connection, ids))
        tasks = [task for effect in effects if (task := self._describe(effect, records))]
        await self._backend.start(tasks)

    def _describe(self, effect: StartTask, records: dict[JobId, JobRecord]) -> TaskSpec | None:
        try:
            kind = self._kind_of(effect.environment_arn)
            return task_of(records[effect.job_id], effect, kind)
        except (KeyError, TypeError, ValueError) as error:
            _log.exception("task_not_describable", job_id=effect.job_id)
            self._report(
                TaskEnded(
                    task_id=effect.task_id,
                    at_ms=self._clock_ms(),
                    exit_code=None,
                    reason=f"CannotCreateContainerError: the job's spec is not usable: {error!r}",
                )
            )
            return None
