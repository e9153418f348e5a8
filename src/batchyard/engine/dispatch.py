"""Carries effects to one backend, in order, after their commit.

Owns the queue between the loop and a backend, so that a slow or failing backend never holds up a
commit, and a secret that is slow to come holds up no other task. Refuses to decide: what cannot be
handed over is tried again, for as long as the backend is in trouble; a task that cannot even be
described, that has too many tags, whose log group is missing or whose secrets cannot be had, ends
as a failed attempt.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import structlog

from batchyard.compute.port import Backend, TaskSpec, Trouble
from batchyard.compute.secrets import SecretUnavailable
from batchyard.core.effects import Effect, ForgetTask, StartTask, StopTask
from batchyard.core.inputs import TaskEnded, TaskFetching, TaskTaken
from batchyard.engine.launch import (
    CannotLaunch,
    Surroundings,
    needed_log_groups_of,
    secrets_of,
    task_of,
)
from batchyard.engine.launch.tags import read_task_tags
from batchyard.model import wording
from batchyard.model.ids import EnvironmentArn, JobId, TaskId
from batchyard.model.limits import CONTAINER_REASON_LENGTH_MAX, TAGS_PER_RESOURCE_MAX
from batchyard.model.records import JobRecord
from batchyard.model.secret_reference import SecretReference
from batchyard.model.status import EnvironmentKind
from batchyard.store import Connection
from batchyard.store.jobs import read_specs
from batchyard.store.log_groups import read_group
from batchyard.store.store import Store, StoreTrouble

_log = structlog.get_logger()

#: Pause before a backend in trouble is asked again, doubling up to the second figure.
_RETRY_PAUSE_S = 0.2
_RETRY_PAUSE_S_MAX = 10.0

#: Ours: secrets that come sooner are not worth a word.
_SECRETS_TOLD_AFTER_S = 1.0

#: Drops what is kept about the output of tasks that the backend has forgotten (not the output).
ForgetOutput = Callable[[Sequence[TaskId]], Awaitable[None]]

#: Fetches secrets. Raises `SecretUnavailable`.
ReadSecrets = Callable[[Collection[SecretReference]], Awaitable[Mapping[SecretReference, str]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A task whose secrets have come."""

    effect: StartTask
    task: TaskSpec


_Waiting = Effect | _Prepared


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """Jobs to be started, and what keeps some of them from it."""

    records: Mapping[JobId, JobRecord]
    without_group: frozenset[JobId]
    #: Jobs whose task would have more tags than there may be, and how many.
    overtagged: Mapping[JobId, int]


class Dispatch:
    """One backend's queue of effects."""

    def __init__(  # noqa: PLR0913 -- what it stands between
        self,
        *,
        backend: Backend,
        store: Store,
        kind_of: Callable[[EnvironmentArn], EnvironmentKind],
        report: Callable[[TaskEnded | TaskFetching | TaskTaken], None],
        forget_output: ForgetOutput,
        read_secrets: ReadSecrets,
        surroundings: Surroundings,
        clock_ms: Callable[[], int],
    ) -> None:
        self._backend = backend
        self._store = store
        self._kind_of = kind_of
        self._report = report
        self._forget_output = forget_output
        self._read_secrets = read_secrets
        self._surroundings = surroundings
        self._clock_ms = clock_ms
        self._waiting: asyncio.Queue[_Waiting] = asyncio.Queue()
        #: Tasks handed to the backend that it has not confirmed yet.
        self._offered: set[TaskId] = set()
        #: Tasks that were ended instead: not to be judged again while their batch is.
        self._refused: set[TaskId] = set()
        #: Tasks that wait for their secrets; whoever takes one out of here decides what becomes
        #: of it.
        self._preparing: dict[TaskId, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def send(self, effects: Iterable[Effect]) -> None:
        """Take effects whose events are durable. Never blocks."""
        for effect in effects:
            self._waiting.put_nowait(effect)

    async def run(self) -> None:
        """Hand effects over until cancelled; everything waiting goes as one batch."""
        async with asyncio.TaskGroup() as self._group:
            while True:
                batch = [await self._waiting.get()]
                while not self._waiting.empty():
                    batch.append(self._waiting.get_nowait())
                for kind, run in groupby(batch, key=type):
                    await self._insist(kind, list(run))

    async def _insist(self, kind: type[_Waiting], effects: Sequence[_Waiting]) -> None:
        pause_s = _RETRY_PAUSE_S
        while True:
            try:
                return await self._hand_over(kind, effects)
            except (Trouble, StoreTrouble) as trouble:
                _log.error("effects_delayed", effect=kind.__name__, reason=str(trouble))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_PAUSE_S_MAX)

    async def _hand_over(self, kind: type[_Waiting], effects: Sequence[_Waiting]) -> None:
        if kind is StartTask:
            await self._start([each for each in effects if isinstance(each, StartTask)])
        elif kind is _Prepared:
            prepared = [each for each in effects if isinstance(each, _Prepared)]
            wanted = [each.task for each in prepared if each.task.task_id in self._preparing]
            await self._backend.start(wanted)
            for task in wanted:
                self._preparing.pop(task.task_id, None)
        elif kind is ForgetTask:
            task_ids = [each.task_id for each in effects if isinstance(each, ForgetTask)]
            await self._backend.forget(task_ids)
            await self._forget_output(task_ids)
        else:
            for each in effects:
                if isinstance(each, StopTask):
                    await self._stop(each)

    async def _stop(self, effect: StopTask) -> None:
        preparing = self._preparing.pop(effect.task_id, None)
        if preparing is None:
            await self._backend.stop(effect.task_id, grace_ms=effect.grace_ms)
        else:
            preparing.cancel()
            self._end_unstarted(effect.task_id, reason=None)

    async def _start(self, effects: Sequence[StartTask]) -> None:
        ids = [effect.job_id for effect in effects]
        found = await self._store.read(lambda conn: _look_up(conn, ids))
        tasks = []
        for effect in effects:
            # Nothing is judged a second time: what was offered to the backend may be running, and
            # what was refused has ended.
            if effect.task_id in self._refused or effect.task_id in self._preparing:
                continue
            obstacle = self._obstacle(effect, found)
            record = found.records[effect.job_id]
            if obstacle is not None and effect.task_id not in self._offered:
                self._refuse(effect, obstacle)
            elif wanted := secrets_of(record):
                self._prepare(effect, record, wanted)
            elif (task := self._describe(effect, record, {})) is not None:
                tasks.append(task)
        self._offered.update(task.task_id for task in tasks)
        await self._backend.start(tasks)
        for task in tasks:
            if task.training is not None:
                self._report(TaskTaken(task_id=task.task_id))
        self._offered.clear()
        self._refused.clear()

    def _prepare(
        self, effect: StartTask, record: JobRecord, wanted: Collection[SecretReference]
    ) -> None:
        assert self._group is not None, "effects are carried while `run` runs"
        fetching = self._group.create_task(self._fetch_secrets(effect, record, wanted))
        self._preparing[effect.task_id] = fetching

    async def _fetch_secrets(
        self, effect: StartTask, record: JobRecord, wanted: Collection[SecretReference]
    ) -> None:
        try:
            secrets = await self._read_slowly(effect, wanted)
        except SecretUnavailable as trouble:
            self._preparing.pop(effect.task_id, None)
            self._refuse(effect, trouble.reason)
            return
        task = self._describe(effect, record, secrets)
        if task is None:
            self._preparing.pop(effect.task_id, None)
        else:
            self._waiting.put_nowait(_Prepared(effect=effect, task=task))

    async def _read_slowly(
        self, effect: StartTask, wanted: Collection[SecretReference]
    ) -> Mapping[SecretReference, str]:
        """Fetch secrets, and tell if that takes long. Raises `SecretUnavailable`."""
        loop, since_ms = asyncio.get_running_loop(), self._clock_ms()
        told = TaskFetching(task_id=effect.task_id, at_ms=since_ms)
        timer = loop.call_later(_SECRETS_TOLD_AFTER_S, self._report, told)
        try:
            return await self._read_secrets(wanted)
        finally:
            timer.cancel()

    def _describe(
        self, effect: StartTask, record: JobRecord, secrets: Mapping[SecretReference, str]
    ) -> TaskSpec | None:
        try:
            kind = self._kind_of(effect.environment_arn)
            return task_of(record, effect, kind, self._surroundings, secrets)
        except CannotLaunch as error:
            self._refuse(effect, str(error))
        except (KeyError, TypeError, ValueError) as error:
            # The error alone: a traceback could show what is secret.
            _log.error("task_not_describable", job_id=effect.job_id, error=type(error).__name__)
            self._refuse(
                effect, f"CannotCreateContainerError: the job's spec is not usable: {error!r}"
            )
        return None

    def _obstacle(self, effect: StartTask, found: _Found) -> str | None:
        """Say why an attempt must not start; None: nothing keeps it."""
        if (count := found.overtagged.get(effect.job_id)) is not None:
            return wording.too_many_task_tags(count, TAGS_PER_RESOURCE_MAX)
        if effect.job_id not in found.without_group:
            return None
        if self._kind_of(effect.environment_arn).is_fargate:
            return wording.NO_LOG_GROUP_ON_FARGATE
        return wording.NO_LOG_GROUP_ON_EC2

    def _refuse(self, effect: StartTask, reason: str) -> None:
        """End a task that was never handed over."""
        self._refused.add(effect.task_id)
        self._end_unstarted(effect.task_id, reason[:CONTAINER_REASON_LENGTH_MAX])

    def _end_unstarted(self, task_id: TaskId, reason: str | None) -> None:
        self._report(
            TaskEnded(task_id=task_id, at_ms=self._clock_ms(), exit_code=None, reason=reason)
        )


def _look_up(conn: Connection, ids: Sequence[JobId]) -> _Found:
    """Read jobs, and tell which of them must not start."""
    records = read_specs(conn, ids)
    needed = {
        job_id: groups
        for job_id, record in records.items()
        if (groups := needed_log_groups_of(record))
    }
    wanted = {group for groups in needed.values() for group in groups}
    missing = {group for group in wanted if read_group(conn, *group) is None}
    tag_counts = {job_id: len(read_task_tags(conn, record)) for job_id, record in records.items()}
    return _Found(
        records=records,
        without_group=frozenset(
            job_id for job_id, groups in needed.items() if missing.intersection(groups)
        ),
        overtagged={
            job_id: count for job_id, count in tag_counts.items() if count > TAGS_PER_RESOURCE_MAX
        },
    )
