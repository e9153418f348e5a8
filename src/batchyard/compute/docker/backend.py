"""`DockerBackend`: the port to containers of an engine, Docker or Podman, on this machine.

Owns the list of tasks, the stream of the engine's events, and what is told when. Refuses to decide
anything about jobs. Rules: see `batchyard.compute.port`. What is known of a task comes from its
record (`records`) and from the engine; containers are removed only when the task is forgotten.

One stream of events tells of all ends. Whenever it had to be opened again, and now and then, the
engine is asked for everything at once, so that nothing hangs on one message.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import psutil
import structlog

from batchyard.compute.choice import FOLDER_BY_KIND
from batchyard.compute.docker.capture import Capture
from batchyard.compute.docker.engine_api import EngineApi, EngineError, Json, PullFailed
from batchyard.compute.docker.ground import LABEL_TASK, LABEL_YARD, Ground
from batchyard.compute.docker.images import Images
from batchyard.compute.docker.life import Life
from batchyard.compute.docker.records import Stored, TaskRecord, list_records
from batchyard.compute.docker.shape import EngineFacts, Rules, facts_of
from batchyard.compute.docker.task import Task
from batchyard.compute.host_name import read_host_id
from batchyard.compute.local.detect import DEFAULT_NETWORK_RANGE, MEMORY_RESERVE_MIB, now_ms
from batchyard.compute.local.gpus import control_paths, find_gpus
from batchyard.compute.local.shapes import SpecShape
from batchyard.compute.local.supervisor.bundle import TRAINING_FOLDER
from batchyard.compute.local.supervisor.network import Range
from batchyard.compute.local.supervisor.refusals import clip
from batchyard.compute.machine_share import MachineShare
from batchyard.compute.port import (
    Host,
    OutputSink,
    RegistryAuth,
    Report,
    TaskSpec,
    Trouble,
)
from batchyard.compute.pulls import Pull, PullsUnderWay
from batchyard.compute.registry_auth import BroughtAuths
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, TaskId

_RETRY_S: Final = 1.0
#: How often everything is asked for, should a message have been lost.
_RESYNC_S: Final = 30.0
_OVER: Final = ("die", "died", "remove", "destroy")

log = structlog.get_logger()

_ALL = MachineShare()


class DockerBackend:
    """Runs tasks as containers of an engine."""

    def __init__(  # noqa: PLR0913  # one value for each setting, all by keyword
        self,
        *,
        data_dir: Path,
        socket_path: str,
        sink: OutputSink,
        host_paths: Sequence[Path] = (),
        share: MachineShare = _ALL,
        devices: Sequence[Path] = (),
        is_privileged_allowed: bool = False,
        gpus: Sequence[str] | None = None,
        network_range: str = DEFAULT_NETWORK_RANGE,
    ) -> None:
        """`share` is of the engine's machine. The rest as for `LocalBackend`."""
        self._data_dir = data_dir.absolute()
        self._socket_path = socket_path
        self._sink = sink
        self._rules = Rules(
            host_paths=[str(path) for path in host_paths],
            own_paths=[str(data_dir.absolute() / TRAINING_FOLDER)],
            devices=[str(path) for path in devices],
            is_privileged_allowed=is_privileged_allowed,
        )
        self._share = share
        self._gpu_wishes = gpus
        self._network_range = network_range
        self._api = EngineApi(socket_path)
        self._images = Images(self._api)
        self._brought = BroughtAuths(self._data_dir / "registry-auth")
        self._tasks: dict[TaskId, Task] = {}
        self._waiting_by_pull: dict[Pull, set[TaskId]] = {}
        self._pulls = PullsUnderWay(self._waiting_by_pull, self._report, now_ms)
        self._missing_by_task: dict[TaskId, set[str]] = {}
        self._reports: list[Report] = []
        self._has_reports = asyncio.Event()
        self._is_closing = False
        self._group: asyncio.TaskGroup | None = None
        self._runner: asyncio.Task[None] | None = None
        #: Set by `open`.
        self._kind = ""
        self._records_path = self._data_dir
        self._host_id = HostId("")
        self._facts: EngineFacts | None = None
        self._ground: Ground | None = None
        self._life: Life | None = None

    # -- opening and closing ------------------------------------------------------------------

    async def open(self) -> None:
        """Make ready, and adopt what an earlier server left running. Raises `Trouble`."""
        try:
            Range(self._network_range)
        except ValueError as error:
            raise Trouble(f"the range of jobs' own networks: {error}") from error
        self._is_closing = False
        self._api.open()
        try:
            facts = facts_of(*await asyncio.gather(self._api.info(), self._api.version()))
        except (EngineError, Trouble) as error:
            await self._api.close()
            raise Trouble(f"{self._socket_path}: {error}") from error
        self._facts = facts
        self._kind = "podman" if facts.is_podman else "docker"
        log.info("engine_found", engine=self._kind, version=facts.version, socket=self._socket_path)
        self._records_path = self._data_dir / FOLDER_BY_KIND[self._kind]
        try:
            gpus = await asyncio.to_thread(find_gpus, self._gpu_wishes)
            self._records_path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._host_id = read_host_id(self._data_dir, kind=self._kind)
        except OSError as error:
            await self._api.close()
            raise Trouble(f"the data directory cannot be made: {error}") from error
        except Trouble:
            await self._api.close()
            raise
        self._ground = Ground(
            self._api,
            yard=self._yard,
            rules=self._rules,
            network_range=self._network_range,
            gpus=gpus,
            gpu_control_paths=control_paths() if gpus else [],
        )
        capture = Capture(self._api, self._sink, wake=self._wake)
        self._life = Life(
            self._api,
            self._ground,
            capture,
            booted_at_ms=int(psutil.boot_time() * 1000),
            report=self._tell,
        )
        self._adopt()
        try:
            await self._sweep()
        except (EngineError, Trouble) as error:
            await self.close()
            raise Trouble(f"{self._socket_path}: {error}") from error
        is_running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run(is_running, facts), name="docker-backend")
        await is_running

    async def close(self) -> None:
        """Let go of everything, but stop no task: tasks outlive the server."""
        self._is_closing = True
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await runner
        await self._api.close()
        for task in self._tasks.values():
            if task.timer is not None:
                task.timer.cancel()
        self._tasks.clear()
        self._reports.clear()
        self._waiting_by_pull.clear()
        self._missing_by_task.clear()
        self._has_reports.set()

    async def leave_if_idle(self) -> bool:
        """Leave nothing of the yard at the engine if every task has ended; return whether it is
        so."""
        if any(task.ended is None for task in self._tasks.values()):
            return False
        if not self._tasks and self._ground is not None:
            with contextlib.suppress(EngineError):
                await self._ground.leave()
        return True

    def _adopt(self) -> None:
        """Find the tasks of earlier servers."""
        assert self._ground is not None
        for record in list_records(self._records_path):
            found = record.read()
            if found is None:
                record.delete()  # Begun, but never acknowledged.
                continue
            spec, facts = found
            task = Task(spec, record)
            task.adopt(facts)
            self._tasks[task.task_id] = task
            if task.ended is None:
                self._ground.keep_gpus(task)

    async def _run(self, is_running: asyncio.Future[None], facts: EngineFacts) -> None:
        """Hold all background work."""
        assert self._life is not None
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._life.begin(group, facts)
                waiting = [task for task in self._tasks.values() if _awaits_images(task)]
                self._brought.keep_only(frozenset(task.task_id for task in waiting))
                for task in self._tasks.values():
                    self._life.look(task, None)
                for task in waiting:
                    self._await_images(task)
                group.create_task(self._listen())
                group.create_task(self._resync_now_and_then())
                is_running.set_result(None)
        finally:
            self._group = None
            self._life.end()

    async def _sweep(self) -> None:
        """Remove what is left of tasks that were being forgotten."""
        label = f"{LABEL_YARD}={self._yard}"
        for each in await self._api.list_containers(label):
            if TaskId(each.labels.get(LABEL_TASK, "")) not in self._tasks:
                await self._api.remove(each.id, is_forced=True)

    @property
    def _yard(self) -> str:
        """What the engine knows this yard by."""
        return self._host_id.rpartition("-")[2]

    # -- the port -----------------------------------------------------------------------------

    async def list_hosts(self) -> Sequence[Host]:
        assert self._facts is not None
        assert self._ground is not None
        machine = Amount(
            cpu_milli=self._facts.cpu_count * 1000,
            memory_mib=(self._facts.memory_bytes >> 20) - MEMORY_RESERVE_MIB,
            gpu_count=len(self._ground.gpus),
        )
        return [Host(host_id=self._host_id, capacity=self._share.of(machine))]

    async def list_tasks(self) -> frozenset[TaskId]:
        return frozenset(self._tasks)

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        for spec in tasks:
            if spec.task_id in self._tasks:
                continue
            try:
                self._accept(spec)
            except OSError as error:
                raise Trouble(f"the task cannot be kept: {error}") from error

    def _accept(self, spec: TaskSpec) -> None:
        plain = _plain_of(spec)
        record = TaskRecord(self._records_path, spec.task_id)
        brought = {
            each.image: each.registry_auth
            for each in spec.containers
            if each.registry_auth is not None
        }
        self._brought.put(spec.task_id, brought)
        with contextlib.suppress(Stored):
            record.claim(plain)
            task = Task(plain, record)
            self._tasks[spec.task_id] = task
            self._await_images(task)

    async def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        assert self._life is not None
        task = self._tasks.get(task_id)
        if task is None or task.ended is not None or task.is_stopping:
            return
        try:
            self._life.stop(task, grace_ms=grace_ms)
        except OSError as error:
            raise Trouble(f"the stop cannot be kept: {error}") from error

    async def reports(self) -> AsyncIterator[Sequence[Report]]:
        while not self._is_closing:
            await self._has_reports.wait()
            self._has_reports.clear()
            batch, self._reports = self._reports, []
            if batch:
                yield batch

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        assert self._ground is not None
        ended = [
            task
            for task_id in task_ids
            if (task := self._tasks.get(task_id)) is not None and task.ended is not None
        ]
        for task in ended:
            try:
                for unit in task.units:
                    await self._api.remove(unit.engine_name, is_forced=True)
                await self._ground.clear(task)
                task.record.delete()
            except (EngineError, OSError) as error:
                raise Trouble(f"the task {task.task_id} cannot be removed: {error}") from error
            self._tasks.pop(task.task_id, None)

    # -- telling ------------------------------------------------------------------------------

    def _wake(self, task: Task) -> None:
        if self._life is not None and self._tasks.get(task.task_id) is task:
            self._life.wake(task)

    def _tell(self, task: Task) -> None:
        """Report what is new of a task, once for each server."""
        has_streams = all(unit.has_stream for unit in task.units if unit.started_at_ms is not None)
        is_over = task.ended is not None
        if task.started_at_ms is not None and not task.is_start_told and (has_streams or is_over):
            task.is_start_told = True
            self._report(task.started_report())
        if is_over and not task.is_end_told:
            task.is_end_told = True
            self._drop_auth(task)
            self._report(task.ended_report())

    def _report(self, report: Report) -> None:
        self._reports.append(report)
        self._has_reports.set()

    # -- the engine's news --------------------------------------------------------------------

    async def _listen(self) -> None:
        """Follow the engine's events, over as many connections as it takes."""
        filters = {"type": ["container"], "label": [f"{LABEL_YARD}={self._yard}"]}
        since_s = int(time.time())
        while True:
            try:
                async for event in self._api.events(filters, since_s=since_s):
                    if event:
                        since_s = max(since_s, int(event.get("time") or 0))
                        self._take_event(event)
                    else:
                        await self._resync()
                reason = "the stream of events has ended"
            except (Trouble, EngineError, TimeoutError, msgspec.DecodeError) as error:
                reason = str(error)
            log.error("engine_lost", socket=self._socket_path, reason=reason)
            await asyncio.sleep(_RETRY_S)

    def _take_event(self, event: Json) -> None:
        assert self._life is not None
        if event.get("Action") not in _OVER:
            return
        actor = event.get("Actor") or {}
        task_id = TaskId((actor.get("Attributes") or {}).get(LABEL_TASK, ""))
        task = self._tasks.get(task_id)
        if task is not None and task.ended is None:
            self._life.look(task, str(actor.get("ID")), is_over=True)

    async def _resync_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_RESYNC_S)
            try:
                await self._resync()
            except (Trouble, EngineError) as error:
                log.warning("engine_silent", socket=self._socket_path, reason=str(error))

    async def _resync(self) -> None:
        """Look at each container that should run and does not."""
        assert self._life is not None
        if all(task.ended is not None for task in self._tasks.values()):
            return
        listed = await self._api.list_containers(f"{LABEL_YARD}={self._yard}")
        running = {each.id for each in listed if each.is_running}
        for task in list(self._tasks.values()):
            for unit in task.units:
                if unit.is_running and unit.container_id not in running:
                    self._life.look(task, unit.container_id)

    # -- images -------------------------------------------------------------------------------

    def _await_images(self, task: Task) -> None:
        """Open the task once its images are here; one pull serves all tasks that wait for it."""
        assert self._group is not None
        images = dict.fromkeys(unit.spec["image"] for unit in task.units)
        self._missing_by_task[task.task_id] = set(images)
        for image in images:
            key = image, self._brought.get(task.task_id, image)
            if key in self._waiting_by_pull:
                self._waiting_by_pull[key].add(task.task_id)
                self._pulls.tell(task.task_id)
            else:
                self._waiting_by_pull[key] = {task.task_id}
                self._group.create_task(self._provide(*key))

    async def _provide(self, image: str, auth: RegistryAuth | None) -> None:
        reason = ""
        try:
            await self._insist_on_image(image, auth)
        except PullFailed as failure:
            log.warning("image_not_pulled", image=image, reason=str(failure))
            reason = clip("CannotPullContainerError", str(failure))
        except Exception as error:
            # The edge of a task of ours: a fault with one image must not end all the others. The
            # kind alone: a text could show what is secret.
            log.error("image_pull_broke", image=image, error=type(error).__name__)
            reason = clip("CannotPullContainerError", f"{image}: {type(error).__name__}")
        for task_id in sorted(self._waiting_by_pull.pop((image, auth), ())):
            task = self._tasks.get(task_id)
            if task is None or task.ended is not None:
                continue
            try:
                self._take_image(task, image, reason)
                self._pulls.tell(task_id)
            except OSError as error:
                log.error("task_not_kept", task_id=task_id, reason=str(error))
                self._await_images(task)

    async def _insist_on_image(self, image: str, auth: RegistryAuth | None) -> None:
        """Have an image. Raises `PullFailed`; an engine that is silent is asked again."""
        while True:
            try:
                if not await self._images.is_here(image):
                    with self._pulls.pulling(image, auth):
                        await self._images.pull(image, auth)
            except EngineError as error:
                raise PullFailed(f"{image}: {error}") from error
            except Trouble as error:
                log.error("image_delayed", image=image, reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _take_image(self, task: Task, image: str, reason: str) -> None:
        assert self._life is not None
        missing = self._missing_by_task.get(task.task_id, set())
        missing.discard(image)
        if reason:
            self._life.fail(task, reason, image=image)
        elif not missing and task.opened_clock_ms is None and not task.is_stopping:
            self._life.open(task)
        if not missing:
            self._drop_auth(task)

    def _drop_auth(self, task: Task) -> None:
        self._missing_by_task.pop(task.task_id, None)
        with contextlib.suppress(OSError):
            self._brought.drop(task.task_id)


def _awaits_images(task: Task) -> bool:
    return task.ended is None and task.opened_clock_ms is None and not task.is_stopping


def _plain_of(spec: TaskSpec) -> SpecShape:
    """Give a spec as it is kept: without credentials."""
    containers = tuple(replace(each, registry_auth=None) for each in spec.containers)
    plain: SpecShape = msgspec.to_builtins(replace(spec, containers=containers))
    return plain
