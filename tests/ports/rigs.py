"""What the port's suite needs of a backend: a way to make one, and tasks that behave as asked.

A rig hides whether containers are real. `LocalRig` runs busybox for each behaviour; `TwinRig`
scripts it.
"""

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from batchyard.compute.docker.backend import DockerBackend
from batchyard.compute.local import LocalBackend
from batchyard.compute.local.images.busybox import make_busybox_image
from batchyard.compute.port import (
    Backend,
    Condition,
    ContainerSpec,
    LogTarget,
    Network,
    OutputLine,
    Report,
    StartsAfter,
    Target,
    TaskEnded,
    TaskFetching,
    TaskSpec,
    TaskStarted,
)
from batchyard.compute.twin import Script, TwinBackend, TwinMachine
from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, TaskId, task_id_of
from tests.fixtures.engines import Engine

TARGET = LogTarget(account="123456789012", region="eu-west-1", group="/aws/batch/job", stream="s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a task does: print, then exit, or wait to be stopped."""

    lines: tuple[str, ...] = ()
    exit_code: int = 0
    is_waiting: bool = False
    is_term_ignored: bool = False
    is_executable_missing: bool = False
    #: Its image is not here, and nobody has it.
    is_image_missing: bool = False


#: An image of a registry that is not there.
MISSING_IMAGE = "127.0.0.1:1/none:1"
#: How long the twin is about that.
PULL_MS = 1000


def name_of(target: Target) -> str:
    """Name what a target is to its task: no two containers of one share it."""
    return target.stream if isinstance(target, LogTarget) else target.container


class MemorySink:
    """Keeps output as a database would: lines and position change together."""

    def __init__(self) -> None:
        #: By task and the container's own name of its output.
        self.positions: dict[tuple[TaskId, str], int] = {}
        self.lines_by_task: dict[TaskId, list[OutputLine]] = {}
        self.lines_by_name: dict[str, list[str]] = {}
        self.appended_to: list[Target] = []
        #: How many of the next appends fail, as a busy database would.
        self.failure_count = 0
        self.changed = asyncio.Event()

    async def read_position(self, task_id: TaskId, target: Target) -> int:
        return self.positions.get((task_id, name_of(target)), 0)

    async def append(
        self, task_id: TaskId, target: Target, *, position: int, lines: Sequence[OutputLine]
    ) -> None:
        await asyncio.sleep(0)
        if self.failure_count:
            self.failure_count -= 1
            raise OSError("the database is locked")
        key = (task_id, name_of(target))
        assert position >= self.positions.get(key, 0), "positions never go back"
        self.positions[key] = position
        self.lines_by_task.setdefault(task_id, []).extend(lines)
        texts = self.lines_by_name.setdefault(name_of(target), [])
        texts += [line.text for line in lines]
        self.appended_to.append(target)
        self.changed.set()

    def texts(self, task_id: TaskId) -> list[str]:
        return [line.text for line in self.lines_by_task.get(task_id, [])]

    def printed(self, name: str) -> list[str]:
        """Give what went to a container's stream."""
        return self.lines_by_name.get(name, [])

    async def until(self, is_met: Callable[[], bool]) -> None:
        """Wait until a condition on this sink holds."""
        while not is_met():
            self.changed.clear()
            await self.changed.wait()


class Listener:
    """Collects a backend's reports, and waits for some."""

    def __init__(self, backend: Backend) -> None:
        self.reports: list[Report] = []
        self._changed = asyncio.Event()
        self._task = asyncio.create_task(self._listen(backend))

    async def _listen(self, backend: Backend) -> None:
        async for batch in backend.reports():
            self.reports += batch
            self._changed.set()

    def of(self, task_id: TaskId) -> list[Report]:
        return [report for report in self.reports if report.task_id == task_id]

    async def fetching(self, task_id: TaskId) -> TaskFetching:
        while True:
            for report in self.of(task_id):
                if isinstance(report, TaskFetching):
                    return report
            await self._wait()

    async def started(self, task_id: TaskId) -> TaskStarted:
        while True:
            for report in self.of(task_id):
                if isinstance(report, TaskStarted):
                    return report
            await self._wait()

    async def ended(self, task_id: TaskId) -> TaskEnded:
        while True:
            for report in self.of(task_id):
                if isinstance(report, TaskEnded):
                    return report
            await self._wait()

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def change(spec: TaskSpec, **changes: object) -> TaskSpec:
    """Give a task whose only container differs in the named members."""
    (only,) = spec.containers
    return replace(spec, containers=(replace(only, **changes),))  # type: ignore[arg-type]


class Rig(Protocol):
    """A backend under test."""

    sink: MemorySink

    async def open(self) -> tuple[Backend, Listener]:
        """Open a backend as a new server would; the earlier one, if any, is gone."""
        ...

    async def close(self) -> None:
        """End everything, containers included."""
        ...

    def container(self, name: str, behaviour: Behaviour) -> ContainerSpec:
        """Make a container that behaves so, and prints to the stream of its name."""
        ...

    def next_task_id(self) -> TaskId: ...

    def pass_time(self, duration_ms: int) -> None:
        """Let time pass, where time is pretended."""
        ...


def task(rig: Rig, behaviour: Behaviour) -> TaskSpec:
    """Make a task of one container."""
    only = replace(rig.container("default", behaviour), log=TARGET)
    return TaskSpec(task_id=rig.next_task_id(), containers=(only,))


def group(rig: Rig, *containers: ContainerSpec, network: Network = Network.HOST) -> TaskSpec:
    """Make a task of several containers."""
    return TaskSpec(task_id=rig.next_task_id(), containers=containers, network=network)


def after(container: ContainerSpec, condition: str, *targets: str) -> ContainerSpec:
    """Have a container start after others."""
    waits = tuple(StartsAfter(container=each, condition=Condition(condition)) for each in targets)
    return replace(container, starts_after=container.starts_after + waits)


def target_of(name: str) -> LogTarget:
    return replace(TARGET, stream=name)


class _Numbered:
    def __init__(self) -> None:
        self._count = 0

    def next_task_id(self) -> TaskId:
        self._count += 1
        return task_id_of(JobId(f"rig-{self._count}"), 1)


class TwinRig(_Numbered):
    """A rig around the twin."""

    def __init__(self) -> None:
        super().__init__()
        self.sink = MemorySink()
        self._image_count = 0
        self._now_ms = 1_700_000_000_000
        self.machine = TwinMachine(now_ms=lambda: self._now_ms)
        self._backend: TwinBackend | None = None
        self._listener: Listener | None = None

    async def open(self) -> tuple[Backend, Listener]:
        await self.close()
        self._backend = TwinBackend(self.machine, self.sink)
        await self._backend.open()
        self._listener = Listener(self._backend)
        return self._backend, self._listener

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.close()
        if self._backend is not None:
            await self._backend.close()

    def container(self, name: str, behaviour: Behaviour) -> ContainerSpec:
        self._image_count += 1
        image = f"image-{self._image_count}"
        missing = "CannotStartContainerError: executable file not found"
        if behaviour.is_image_missing:
            image, missing = MISSING_IMAGE, "CannotPullContainerError: connection refused"
        self.machine.scripts[image] = Script(
            exit_code=behaviour.exit_code,
            duration_ms=None if behaviour.is_waiting else 0,
            lines=behaviour.lines,
            pull_ms=PULL_MS if behaviour.is_image_missing else 0,
            start_failure=missing
            if behaviour.is_executable_missing or behaviour.is_image_missing
            else None,
            is_term_ignored=behaviour.is_term_ignored,
        )
        limits = Amount(cpu_milli=1000, memory_mib=64)
        return ContainerSpec(name=name, image=image, limits=limits, log=target_of(name))

    def task(self, behaviour: Behaviour) -> TaskSpec:
        return task(self, behaviour)

    def pass_time(self, duration_ms: int) -> None:
        self._now_ms += duration_ms
        self.machine.tick()


class _ShellContainers(_Numbered):
    """Makes containers of busybox that behave as asked."""

    def container(self, name: str, behaviour: Behaviour) -> ContainerSpec:
        parts = [f"echo '{line}'" for line in behaviour.lines]
        if behaviour.is_term_ignored:
            parts.insert(0, "trap '' TERM")
        elif behaviour.is_waiting:
            parts.insert(0, "trap 'exit 143' TERM")
        if behaviour.is_waiting:
            # The shell itself must wait: a trap runs only between commands or in `wait`.
            parts.append("while :; do sleep 1000 & wait; done")
        parts.append(f"exit {behaviour.exit_code}")
        made = self.script(name, "\n".join(parts))
        if behaviour.is_image_missing:
            made = replace(made, image=MISSING_IMAGE)
        return (
            replace(made, command=("/no/such/file",)) if behaviour.is_executable_missing else made
        )

    def script(self, name: str, text: str) -> ContainerSpec:
        """Make a container that runs a shell script."""
        return ContainerSpec(
            name=name,
            image="busybox",
            limits=Amount(cpu_milli=1000, memory_mib=64),
            log=target_of(name),
            command=("sh", "-c", text),
        )

    def task(self, behaviour: Behaviour) -> TaskSpec:
        only = replace(self.container("default", behaviour), log=TARGET)
        return TaskSpec(task_id=self.next_task_id(), containers=(only,))

    def shell(self, text: str, *, command: tuple[str, ...] | None = None) -> TaskSpec:
        """Make a task of one container that runs a shell script."""
        only = replace(self.script("default", text), log=TARGET)
        if command is not None:
            only = replace(only, command=command)
        return TaskSpec(task_id=self.next_task_id(), containers=(only,))

    def pass_time(self, duration_ms: int) -> None:
        return


class LocalRig(_ShellContainers):
    """A rig around real containers of this machine."""

    def __init__(self, data_dir: Path, runtime: Literal["crun", "runc"], images: Path) -> None:
        super().__init__()
        self.sink = MemorySink()
        self.data_dir = data_dir
        self._runtime: Literal["crun", "runc"] = runtime
        self._backend: LocalBackend | None = None
        self._listener: Listener | None = None
        self.host_paths: list[Path] = []
        self.devices: list[Path] = []
        self.gpus: list[str] | None = None
        self.is_privileged_allowed = False
        #: Of this rig alone: a range serves one yard of a machine.
        self.network_range = _range_of(data_dir)
        shutil.copytree(images, data_dir / "images", symlinks=True)

    async def open(self) -> tuple[LocalBackend, Listener]:
        await self._hang_up()
        self._backend = LocalBackend(
            data_dir=self.data_dir,
            sink=self.sink,
            runtime=self._runtime,
            host_paths=self.host_paths,
            devices=self.devices,
            gpus=self.gpus,
            is_privileged_allowed=self.is_privileged_allowed,
            network_range=self.network_range,
        )
        await self._backend.open()
        self._listener = Listener(self._backend)
        return self._backend, self._listener

    async def _hang_up(self) -> None:
        if self._listener is not None:
            await self._listener.close()
        if self._backend is not None:
            await self._backend.close()

    async def close(self) -> None:
        backend, listener = await self.open()
        for task_id in await backend.list_tasks():
            await backend.stop(task_id, grace_ms=0)
        for task_id in await backend.list_tasks():
            await listener.ended(task_id)
        await backend.forget(list(await backend.list_tasks()))
        assert await backend.leave_if_idle()
        await self._hang_up()


class EngineRig(_ShellContainers):
    """A rig around an engine's containers."""

    def __init__(self, data_dir: Path, engine: Engine) -> None:
        super().__init__()
        self.sink = MemorySink()
        self.data_dir = data_dir
        self.engine = engine
        self._backend: DockerBackend | None = None
        self._listener: Listener | None = None
        self.host_paths: list[Path] = []
        self.devices: list[Path] = []
        self.gpus: list[str] | None = None
        self.is_privileged_allowed = False
        self.network_range = _range_of(data_dir)

    async def open(self) -> tuple[DockerBackend, Listener]:
        await self._hang_up()
        self._backend = DockerBackend(
            data_dir=self.data_dir,
            socket_path=self.engine.socket_path,
            sink=self.sink,
            host_paths=self.host_paths,
            devices=self.devices,
            gpus=self.gpus,
            is_privileged_allowed=self.is_privileged_allowed,
            network_range=self.network_range,
        )
        await self._backend.open()
        self._listener = Listener(self._backend)
        return self._backend, self._listener

    async def _hang_up(self) -> None:
        if self._listener is not None:
            await self._listener.close()
        if self._backend is not None:
            await self._backend.close()

    async def close(self) -> None:
        if self._backend is None or self._listener is None:
            return
        backend, listener = self._backend, self._listener
        for task_id in await backend.list_tasks():
            await backend.stop(task_id, grace_ms=0)
        for task_id in await backend.list_tasks():
            await listener.ended(task_id)
        await backend.forget(list(await backend.list_tasks()))
        assert await backend.leave_if_idle()
        await self._hang_up()
        assert self.engine.names() == []


def _range_of(data_dir: Path) -> str:
    """Give a range of 126 addresses that tests running beside this one hardly have, too."""
    number = int.from_bytes(hashlib.blake2b(os.fsencode(data_dir), digest_size=2).digest())
    return f"10.{214 + number % 32}.{number >> 8}.{number & 128}/25"


def make_image_store(data_dir: Path) -> Path:
    """Build the busybox image once; rigs copy it."""
    from batchyard.compute.local.images.image_store import ImageStore

    make_busybox_image(ImageStore(data_dir))
    return data_dir / "images"
