"""`LocalBackend`: the port to containers on this machine.

Owns what the server knows of its tasks between the supervisor (which runs them), the image store
(where their files come from) and the sink (where their output goes). Refuses to decide anything
about jobs. Rules: see `batchyard.compute.port`. All state here can be rebuilt from the supervisor's
snapshot.
"""

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import structlog

from batchyard.compute.host_name import read_host_id
from batchyard.compute.local.detect import (
    DEFAULT_NETWORK_RANGE,
    capability_mask,
    find_init,
    find_runtime,
    machine_capacity,
    now_ms,
)
from batchyard.compute.local.gpus import control_paths, find_gpus, find_hook
from batchyard.compute.local.images.image_store import ImageStore
from batchyard.compute.local.images.pull import Puller, PullFailed
from batchyard.compute.local.link import Link
from batchyard.compute.local.output import Pump, Tail, Watch
from batchyard.compute.local.shapes import (
    EndShape,
    GpuShape,
    NewsShape,
    SettingsShape,
    TaskShape,
)
from batchyard.compute.local.supervisor.network import Range
from batchyard.compute.local.supervisor.records import unit_ids_for
from batchyard.compute.local.targets import target_of
from batchyard.compute.port import (
    Host,
    OutputSink,
    RegistryAuth,
    Report,
    TaskSpec,
    Trouble,
    Ulimit,
)
from batchyard.compute.pulls import Pull, PullsUnderWay
from batchyard.compute.registry_auth import BroughtAuths
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, TaskId
from batchyard.model.limits import CONTAINER_REASON_LENGTH_MAX

_RETRY_S = 1.0
_LEAVE_TIMEOUT_S = 20.0

log = structlog.get_logger()


class LocalBackend:
    """Runs tasks as containers of this machine, through crun or runc."""

    def __init__(  # noqa: PLR0913  # one value for each setting, all by keyword
        self,
        *,
        data_dir: Path,
        sink: OutputSink,
        host_paths: Sequence[Path] = (),
        capacity: Amount | None = None,
        runtime: Literal["auto", "crun", "runc"] = "auto",
        insecure_registries: Sequence[str] = (),
        devices: Sequence[Path] = (),
        is_privileged_allowed: bool = False,
        gpus: Sequence[str] | None = None,
        network_range: str = DEFAULT_NETWORK_RANGE,
    ) -> None:
        """`devices` and `host_paths` are what jobs may have of the host (with what lies below);
        privileged containers, and those that share the host's processes, need their own word.
        `gpus` None looks for them. `network_range` is for tasks with a network of their own.
        """
        self._data_dir = data_dir.absolute()
        self._host_paths = [str(path) for path in host_paths]
        self._capacity = capacity
        self._host_id = HostId("")
        self._device_paths = [str(path) for path in devices]
        self._is_privileged_allowed = is_privileged_allowed
        self._gpu_wishes = gpus
        self._gpus: list[GpuShape] = []
        self._network_range = network_range
        self._runtime_wish = runtime
        self.images = ImageStore(self._data_dir)
        self._puller = Puller(self.images, insecure_registries=insecure_registries)
        self._link = Link(self._data_dir, on_news=self._on_news, on_lost=self._on_lost)
        self._pump = Pump(
            tasks_path=self._data_dir / "tasks",
            sink=sink,
            note_taken=self._note_taken,
            report=self._report,
            wake=self._wake_again,
        )
        self._watches: dict[TaskId, Watch] = {}
        #: Where the output of each container stands, by unit.
        self._tails: dict[str, tuple[Watch, Tail]] = {}
        #: Tasks whose `start` or `forget` the supervisor has not answered yet.
        self._unsettled: set[TaskId] = set()
        self._brought = BroughtAuths(self._data_dir / "registry-auth")
        self._waiting_by_pull: dict[Pull, set[TaskId]] = {}
        self._pulls = PullsUnderWay(self._waiting_by_pull, self._report, now_ms)
        self._taken: dict[str, int] = {}
        self._reports: list[Report] = []
        self._has_reports = asyncio.Event()
        self._is_lost = asyncio.Event()
        self._is_closing = False
        self._group: asyncio.TaskGroup | None = None
        self._runner: asyncio.Task[None] | None = None
        self._settings: SettingsShape | None = None

    # -- opening and closing ------------------------------------------------------------------

    async def open(self) -> None:
        """Make ready, and adopt what an earlier server left running. Raises `Trouble`."""
        if os.geteuid() != 0:
            raise Trouble("containers can be run directly only as root; see `batchyard doctor`")
        try:
            Range(self._network_range)
        except ValueError as error:
            raise Trouble(f"the range of jobs' own networks: {error}") from error
        try:
            os.makedirs(self._data_dir, mode=0o700, exist_ok=True)
        except OSError as error:
            raise Trouble(f"the data directory cannot be made: {error}") from error
        self._host_id = read_host_id(self._data_dir, kind="local")
        found = await asyncio.to_thread(find_runtime, self._data_dir, self._runtime_wish)
        self._gpus = await asyncio.to_thread(find_gpus, self._gpu_wishes)
        log.info("runtime_chosen", runtime=found.name, path=found.path, version=found.version)
        self._settings = {
            "runtime_name": found.name,
            "runtime_path": found.path,
            "init_path": find_init(),
            "host_paths": self._host_paths,
            "device_paths": self._device_paths,
            "is_privileged_allowed": self._is_privileged_allowed,
            "gpus": self._gpus,
            "gpu_control_paths": control_paths() if self._gpus else [],
            "gpu_hook_path": find_hook() if self._gpus else None,
            "network_range": self._network_range,
        }
        self._is_closing = False
        snapshot = await self._link.connect(self._settings)
        is_running: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run(is_running), name="local-backend")
        await is_running
        self._adopt(snapshot)

    async def close(self) -> None:
        """Let go of everything, but stop no task: tasks outlive the server."""
        self._is_closing = True
        self._link.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await runner
        self._watches.clear()
        self._tails.clear()
        self._reports.clear()
        self._waiting_by_pull.clear()
        self._has_reports.set()

    async def leave_if_idle(self) -> bool:
        """Have the supervisor exit if every task has ended; return whether it does.

        After True nothing but `close` may follow: another order would start a new supervisor.
        """
        self._is_closing = True
        answer = await self._link.ask({"do": "leave_if_idle"}, timeout_s=_LEAVE_TIMEOUT_S)
        is_leaving = answer.get("is_done", False)
        self._is_closing = is_leaving
        return is_leaving

    async def _run(self, is_running: asyncio.Future[None]) -> None:
        """Hold all background work, and replace a supervisor that is gone."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            is_running.set_result(None)
            while True:
                await self._is_lost.wait()
                self._is_lost.clear()
                log.error("supervisor_lost", data_dir=str(self._data_dir))
                await self._reconnect()

    async def _reconnect(self) -> None:
        assert self._settings is not None
        while True:
            try:
                self._adopt(await self._link.connect(self._settings))
            except (Trouble, OSError) as error:
                log.error("supervisor_not_restarted", reason=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                return

    def _on_lost(self) -> None:
        if not self._is_closing:
            self._is_lost.set()

    def _adopt(self, snapshot: list[TaskShape]) -> None:
        """Make what we know equal to what the supervisor knows."""
        for shape in snapshot:
            task_id = TaskId(shape["task_id"])
            watch = self._watches.get(task_id) or self._follow(_watch_of(shape))
            watch.started_at_ms = shape["started_at_ms"] or watch.started_at_ms
            watch.address = shape["address"] or watch.address
            for tail, unit in zip(watch.tails, shape["units"], strict=True):
                tail.size = max(tail.size, unit["spool_size"])
            watch.end = shape["end"]
            self._wake(watch)
            for image in shape["missing_images"]:
                self._await_image(task_id, image)
        waiting = {TaskId(each["task_id"]) for each in snapshot if each["missing_images"]}
        self._brought.keep_only(frozenset(waiting | self._unsettled))
        known = {shape["task_id"] for shape in snapshot}
        for task_id in [t for t in self._watches if t not in known and t not in self._unsettled]:
            log.error("task_vanished", task_id=task_id)
            watch = self._watches[task_id]
            if watch.end is None:
                watch.end = _end_of_vanished(watch)
                self._wake(watch)

    def _follow(self, watch: Watch) -> Watch:
        self._watches[watch.task_id] = watch
        for tail in watch.tails:
            self._tails[tail.unit_id] = watch, tail
        return watch

    # -- the port -----------------------------------------------------------------------------

    async def list_hosts(self) -> Sequence[Host]:
        machine = self._capacity or machine_capacity()
        capacity = Amount(
            cpu_milli=machine.cpu_milli,
            memory_mib=machine.memory_mib,
            gpu_count=len(self._gpus),
        )
        return [Host(host_id=self._host_id, capacity=capacity)]

    async def list_tasks(self) -> frozenset[TaskId]:
        return frozenset(self._watches)

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        fresh = [task for task in tasks if task.task_id not in self._watches]
        if not fresh:
            return
        orders: list[tuple[TaskSpec, list[str | None]]] = []
        for task in map(self._without_auth, fresh):
            self._follow(_watch_for(task))
            self._unsettled.add(task.task_id)
            images = [self.images.resolve(each.image) for each in task.containers]
            orders.append((_clamped(task), images))
        try:
            await self._link.ask({"do": "accept", "tasks": orders})
        finally:
            self._unsettled.difference_update(task.task_id for task in fresh)
        for task, images in orders:
            pairs = zip(task.containers, images, strict=True)
            for image in dict.fromkeys(each.image for each, found in pairs if found is None):
                self._await_image(task.task_id, image)

    async def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        watch = self._watches.get(task_id)
        if watch is not None and watch.end is None:
            await self._link.ask({"do": "stop", "task_id": task_id, "grace_ms": grace_ms})

    async def reports(self) -> AsyncIterator[Sequence[Report]]:
        while not self._is_closing:
            await self._has_reports.wait()
            self._has_reports.clear()
            batch, self._reports = self._reports, []
            if batch:
                yield batch

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        self._unsettled.update(task_ids)
        try:
            await self._link.ask({"do": "forget", "task_ids": list(task_ids)})
        finally:
            self._unsettled.difference_update(task_ids)
        for task_id in task_ids:
            watch = self._watches.get(task_id)
            if watch is not None and watch.end is not None:
                del self._watches[task_id]
                for tail in watch.tails:
                    del self._tails[tail.unit_id]

    # -- news and output ----------------------------------------------------------------------

    def _on_news(self, news: NewsShape) -> None:
        for name, at_ms, address in news.get("started", ()):
            if (watch := self._watches.get(TaskId(name))) is not None:
                watch.started_at_ms = at_ms
                watch.address = address
                self._wake(watch)
        for name, size in news.get("output", {}).items():
            if (pair := self._tails.get(name)) is not None:
                watch, tail = pair
                tail.size = max(tail.size, size)
                self._wake(watch)
        for name, end in news.get("ended", ()):
            if (watch := self._watches.get(TaskId(name))) is not None:
                watch.take_end(end)
                self._wake(watch)

    def _wake(self, watch: Watch) -> None:
        watch.is_dirty = True
        if not watch.is_pumping and self._group is not None:
            watch.is_pumping = True
            self._group.create_task(self._pump_until_done(watch))

    def _wake_again(self, watch: Watch) -> None:
        """Wake a watch some time later; it may be gone by then."""
        if self._watches.get(watch.task_id) is watch:
            self._wake(watch)

    async def _pump_until_done(self, watch: Watch) -> None:
        try:
            while watch.is_dirty:
                try:
                    await self._pump.run(watch)
                except Exception as error:
                    log.error("output_not_stored", task_id=watch.task_id, reason=str(error))
                    watch.is_dirty = True
                    await asyncio.sleep(_RETRY_S)
        finally:
            watch.is_pumping = False

    def _note_taken(self, unit_id: str, position: int) -> None:
        if not self._taken:
            asyncio.get_running_loop().call_soon(self._send_taken)
        self._taken[unit_id] = position

    def _send_taken(self) -> None:
        taken, self._taken = self._taken, {}
        self._link.send({"do": "taken", "positions": taken})

    def _report(self, report: Report) -> None:
        self._reports.append(report)
        self._has_reports.set()

    # -- images -------------------------------------------------------------------------------

    def _without_auth(self, task: TaskSpec) -> TaskSpec:
        """Take the credentials out of a task, and keep those that are needed. Raises `Trouble`."""
        brought = {
            each.image: each.registry_auth
            for each in task.containers
            if each.registry_auth is not None
        }
        if not brought:
            return task
        missing = {name: auth for name, auth in brought.items() if not self.images.resolve(name)}
        try:
            self._brought.put(task.task_id, missing)
        except OSError as error:
            raise Trouble(f"credentials for a registry cannot be kept: {error}") from error
        containers = tuple(replace(each, registry_auth=None) for each in task.containers)
        return replace(task, containers=containers)

    def _await_image(self, task_id: TaskId, image: str) -> None:
        """Launch the task once its image is here; one pull serves all tasks that wait for it."""
        key = image, self._brought.get(task_id, image)
        waiting = self._waiting_by_pull.get(key)
        if waiting is not None:
            waiting.add(task_id)
            self._pulls.tell(task_id)
        elif self._group is not None:
            self._waiting_by_pull[key] = {task_id}
            self._group.create_task(self._fetch(*key))

    async def _fetch(self, image: str, auth: RegistryAuth | None) -> None:
        order: dict[str, object]
        try:
            image_id = self.images.resolve(image)
            if image_id is None:
                with self._pulls.pulling(image, auth):
                    image_id = await self._puller.pull(image, auth=auth)
            order = {"do": "launch", "image_id": image_id}
        except PullFailed as failure:
            log.warning("image_not_pulled", image=image, reason=str(failure))
            text = f"CannotPullContainerError: {failure}"
            order = {"do": "fail", "reason": text[:CONTAINER_REASON_LENGTH_MAX]}
        except Exception as error:
            # The edge of a task of ours: a fault with one image must not end all the others.
            log.exception("image_pull_broke", image=image)
            text = f"CannotPullContainerError: {image}: {error}"
            order = {"do": "fail", "reason": text[:CONTAINER_REASON_LENGTH_MAX]}
        for task_id in sorted(self._waiting_by_pull.pop((image, auth))):
            self._link.send(order | {"task_id": task_id, "image": image})
            self._drop_auth(task_id)
            self._pulls.tell(task_id)

    def _drop_auth(self, task_id: TaskId) -> None:
        """Forget the credentials of a task that waits for no more pulls."""
        if not any(task_id in waiting for waiting in self._waiting_by_pull.values()):
            with contextlib.suppress(OSError):
                self._brought.drop(task_id)


def _watch_for(task: TaskSpec) -> Watch:
    units = unit_ids_for(task.task_id, len(task.containers))
    return Watch(
        task.task_id,
        [
            Tail(task.task_id, unit_id, each.log, name=each.name, is_essential=each.is_essential)
            for unit_id, each in zip(units, task.containers, strict=True)
        ],
    )


def _watch_of(shape: TaskShape) -> Watch:
    units = unit_ids_for(shape["task_id"], len(shape["units"]))
    task_id = TaskId(shape["task_id"])
    return Watch(
        task_id,
        [
            Tail(
                task_id,
                unit_id,
                target_of(each["log"]),
                name=each["name"],
                is_essential=each["is_essential"],
            )
            for unit_id, each in zip(units, shape["units"], strict=True)
        ],
    )


def _end_of_vanished(watch: Watch) -> EndShape:
    """Tell the end of a task that the supervisor does not know any more."""
    reason = "DockerStateError: the task's directory has vanished"
    return {
        "at_ms": now_ms(),
        "is_lost": True,
        "started_at_ms": watch.started_at_ms,
        "address": watch.address,
        "containers": [
            {
                "exit_code": None,
                "reason": reason,
                "was_stopped": False,
                "spool_size": tail.size,
                "lost_bytes": 0,
            }
            for tail in watch.tails
        ],
    }


def _clamped(task: TaskSpec) -> TaskSpec:
    """Lower ulimits to what this process may grant, and say so in the log."""
    if not any(container.ulimits for container in task.containers) or _has_sys_resource():
        return task
    containers = tuple(
        replace(each, ulimits=_clamped_ulimits(task.task_id, each.ulimits))
        for each in task.containers
    )
    return replace(task, containers=containers)


def _clamped_ulimits(task_id: TaskId, wanted: Sequence[Ulimit]) -> tuple[Ulimit, ...]:
    ulimits = []
    for ulimit in wanted:
        number = getattr(resource, f"RLIMIT_{ulimit.name.upper()}", None)
        hard_max = resource.getrlimit(number)[1] if number is not None else -1
        if hard_max != resource.RLIM_INFINITY and (ulimit.hard > hard_max or ulimit.hard < 0):
            log.warning(
                "ulimit_clamped",
                task_id=task_id,
                ulimit=ulimit.name,
                wanted=ulimit.hard,
                granted=hard_max,
            )
            soft = hard_max if ulimit.soft < 0 else min(ulimit.soft, hard_max)
            ulimit = Ulimit(name=ulimit.name, soft=soft, hard=hard_max)
        ulimits.append(ulimit)
    return tuple(ulimits)


def _has_sys_resource() -> bool:
    return bool(capability_mask() >> 24 & 1)
