"""The backend's twin with faults on the way to it, and eyes on what it really runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, TypeVar

from batchyard.compute.port import Host, LogTarget, OutputLine, Report, Target, TaskSpec, Trouble
from batchyard.compute.twin import Script, TwinBackend, TwinMachine
from batchyard.logs.log_store import LogStore
from batchyard.model.ids import TaskId
from batchyard.store import StoreTrouble

if TYPE_CHECKING:
    from tests.simulation.faults import Faults
    from tests.simulation.observer import Observer


T = TypeVar("T")

_SINK_PAUSE_S = 0.3


class Scripts(dict[str, Script]):
    """What containers do: drawn for each of them, by its image."""

    def __init__(self, seed: int, faults: Faults) -> None:
        super().__init__()
        self._faults = faults
        self._chance = Random(f"{seed}/scripts")
        #: From here on nothing runs for ever.
        self.are_finite = False

    def get(self, image: str, default: Script | None = None) -> Script:  # type: ignore[override]
        chance = self._chance
        duration_ms = chance.choice((0, 1000, 10_000, 45_000))
        is_long = image in ("long", "stubborn")
        code = 1 if image == "bad" or (image == "flaky" and chance.random() < 0.4) else 0
        return Script(
            exit_code=code,
            duration_ms=None if is_long and not self.are_finite else duration_ms,
            pull_ms=self._pull_ms(),
            start_failure="CannotPullContainerError: gone" if image == "nostart" else None,
            is_term_ignored=image == "stubborn",
        )

    def _pull_ms(self) -> int:
        if not self._faults.happens("slow_pull"):
            return 0
        return self._faults.dice("slow_pull").choice((300, 8000, 90_000))


class WatchedMachine(TwinMachine):
    """A machine whose owner sees what it takes and begins."""

    def __init__(
        self,
        *,
        now_ms: Callable[[], int],
        hosts: Sequence[Host],
        scripts: Scripts,
        observer: Observer,
    ) -> None:
        super().__init__(now_ms=now_ms, hosts=hosts)
        self.scripts = scripts
        self._observer = observer

    def accept(self, spec: TaskSpec, scripts: Sequence[Script] | None = None) -> None:
        if spec.task_id not in self.tasks:
            self._observer.see_accepted(spec.task_id, self.live_tasks())
        super().accept(spec, scripts)

    def live_tasks(self) -> list[TaskId]:
        return [task_id for task_id, task in self.tasks.items() if task.ended is None]

    def finish_everything(self) -> None:
        """Let end what would run for ever, unless somebody owes it an order to stop."""
        for task_id, task in list(self.tasks.items()):
            is_endless = task.ended is None and task.due_ms is None
            if is_endless and not self._observer.is_stopping(task_id):
                self.finish(task_id)


class PatientSink:
    """Stores output as the real backends do: again and again, until the store takes it."""

    def __init__(self, store: LogStore) -> None:
        self._store = store

    async def read_position(self, task_id: TaskId, target: Target) -> int:
        return await self._insist(lambda: self._store.read_position(task_id, as_log(target)))

    async def append(
        self, task_id: TaskId, target: Target, *, position: int, lines: Sequence[OutputLine]
    ) -> None:
        await self._insist(
            lambda: self._store.append(task_id, as_log(target), position=position, lines=lines)
        )

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except StoreTrouble:
                await asyncio.sleep(_SINK_PAUSE_S)


def as_log(target: Target) -> LogTarget:
    assert isinstance(target, LogTarget), target
    return target


class FaultyBackend(TwinBackend):
    """The port, with everything that can happen on the way, in the rules of the port."""

    def __init__(self, machine: WatchedMachine, log_store: LogStore, faults: Faults) -> None:
        super().__init__(machine, PatientSink(log_store))
        self._faults = faults
        self._out: asyncio.Queue[Report] = asyncio.Queue()
        #: When the last report of each task arrives: they arrive in order.
        self._last_s: dict[TaskId, float] = {}
        #: Reports that got lost; they come again once faults are over, or the server starts anew.
        self.lost: list[Report] = []
        self._pump: asyncio.Task[None] | None = None

    async def open(self) -> None:
        await self._way()
        await super().open()
        self._pump = asyncio.get_running_loop().create_task(self._take())

    async def list_hosts(self) -> Sequence[Host]:
        await self._way()
        return await super().list_hosts()

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        await self._way()
        await super().start(tasks)
        await self._way()

    async def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        await self._way()
        await super().stop(task_id, grace_ms=grace_ms)
        await self._way()

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        await self._way()
        await super().forget(task_ids)
        await self._way()

    async def reports(self) -> AsyncIterator[Sequence[Report]]:
        while True:
            yield [await self._out.get()]

    def check(self) -> None:
        """Raise what has ended the reports."""
        if self._pump is not None and self._pump.done():
            self._pump.result()

    def redeliver(self) -> None:
        """Let arrive what got lost."""
        lost, self.lost = self.lost, []
        for report in lost:
            self._out.put_nowait(report)

    async def _way(self) -> None:
        """Let a call be slow, or fail; afterwards nobody knows whether it was carried out."""
        if self._faults.happens("slow_backend"):
            await asyncio.sleep(self._faults.dice("slow_backend").choice((0.01, 0.5, 5.0)))
        if self._faults.happens("backend_trouble"):
            raise Trouble("the backend does not answer")

    async def _take(self) -> None:
        async for batch in super().reports():
            for report in batch:
                self._post(report)

    def _post(self, report: Report) -> None:
        task_id, faults = report.task_id, self._faults
        is_cut = any(each.task_id == task_id for each in self.lost)
        if is_cut or faults.happens("lost_report"):
            self.lost.append(report)
            return
        loop = asyncio.get_running_loop()
        at_s = loop.time()
        if faults.happens("late_report"):
            at_s += faults.dice("late_report").choice((0.001, 0.3, 8.0))
        at_s = max(at_s, self._last_s.get(task_id, 0.0))
        self._last_s[task_id] = at_s
        loop.call_at(at_s, self._out.put_nowait, report)
        if faults.happens("double_report"):
            again_s = at_s + faults.dice("double_report").choice((0.0, 0.2, 20.0))
            loop.call_at(again_s, self._out.put_nowait, report)
