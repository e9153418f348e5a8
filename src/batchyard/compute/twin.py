"""The backend's twin: the port kept in memory, for tests and simulations that own time.

Owns a pretended machine and what tasks do on it. Refuses to know anything real: no process, no
disk, no clock but the one it is given. It passes the same suite as the real backends.

`TwinMachine` is what outlives a server: give the same one to the next `TwinBackend` to test
crashes. What a task does is its image's `Script`, or is told by hand (`finish`, `print_lines`,
`lose`)::

    machine = TwinMachine(now_ms=clock)
    machine.scripts["slow"] = Script(duration_ms=60_000, lines=("hello",), exit_code=3)
    backend = TwinBackend(machine, sink)
    ...
    clock.now += 60_000
    machine.tick()
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from batchyard.compute.port import (
    Host,
    OutputLine,
    OutputSink,
    Report,
    TaskEnded,
    TaskSpec,
    TaskStarted,
)
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, TaskId

_KILLED = 137
_TERMINATED = 143
_HOST = Host(host_id=HostId("twin"), capacity=Amount(cpu_milli=16_000, memory_mib=65_536))


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What tasks of an image do.

    `lines` are printed at the start. `duration_ms` None runs until `finish` or a stop.
    `start_failure` is the reason of a task that never starts. `is_start_held` keeps it starting
    until `begin`.
    """

    exit_code: int = 0
    reason: str | None = None
    duration_ms: int | None = None
    lines: tuple[str, ...] = ()
    start_failure: str | None = None
    is_start_held: bool = False
    is_term_ignored: bool = False


@dataclass(slots=True, kw_only=True)
class TwinTask:
    """A task on the pretended machine."""

    spec: TaskSpec
    script: Script
    started: TaskStarted | None = None
    ended: TaskEnded | None = None
    lines: list[OutputLine] = field(default_factory=list)
    #: When it exits by itself, or is killed after a stop; Unix milliseconds.
    exit_at_ms: int | None = None
    kill_at_ms: int | None = None


class TwinMachine:
    """What runs, and goes on running while no server looks."""

    def __init__(
        self, *, now_ms: Callable[[], int] = lambda: 0, hosts: Sequence[Host] = (_HOST,)
    ) -> None:
        self._now_ms = now_ms
        self.hosts = list(hosts)
        #: What to do, by image; other images run until told to finish.
        self.scripts: dict[str, Script] = {}
        self.tasks: dict[TaskId, TwinTask] = {}
        #: How often each task was really begun; more than once is a broken promise.
        self.begin_count_by_task: dict[TaskId, int] = {}
        self.on_change: Callable[[TaskId], None] | None = None

    def accept(self, spec: TaskSpec) -> None:
        """Take a task, once."""
        if spec.task_id in self.tasks:
            return
        task = TwinTask(spec=spec, script=self.scripts.get(spec.containers[0].image, Script()))
        self.tasks[spec.task_id] = task
        if task.script.start_failure is not None:
            self._end(task, exit_code=None, reason=task.script.start_failure)
        elif not task.script.is_start_held:
            self.begin(spec.task_id)

    def begin(self, task_id: TaskId) -> None:
        """Let the task's process run."""
        task = self.tasks[task_id]
        if task.started or task.ended:
            return
        now_ms = self._now_ms()
        self.begin_count_by_task[task_id] = self.begin_count_by_task.get(task_id, 0) + 1
        task.started = TaskStarted(task_id=task_id, at_ms=now_ms)
        self.print_lines(task_id, *task.script.lines)
        if task.script.duration_ms is not None:
            task.exit_at_ms = now_ms + task.script.duration_ms
        self._tell(task_id)
        self.tick()

    def print_lines(self, task_id: TaskId, *texts: str) -> None:
        """Let the task print lines."""
        now_ms = self._now_ms()
        self.tasks[task_id].lines += [OutputLine(at_ms=now_ms, text=text) for text in texts]
        self._tell(task_id)

    def finish(self, task_id: TaskId, *, exit_code: int = 0, reason: str | None = None) -> None:
        """Let the task's process exit."""
        self._end(self.tasks[task_id], exit_code=exit_code, reason=reason)

    def lose(self, task_id: TaskId) -> None:
        """Let the host vanish under the task."""
        task = self.tasks[task_id]
        self._end(task, exit_code=None, reason="DockerStateError: host lost", is_lost=True)

    def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        """Send SIGTERM now, and SIGKILL when the grace time is over."""
        task = self.tasks.get(task_id)
        if task is None or task.ended or task.kill_at_ms is not None:
            return
        if task.started is None:
            self._end(task, exit_code=None, reason=None)
        elif not task.script.is_term_ignored:
            self._end(task, exit_code=_TERMINATED, reason=None)
        else:
            task.kill_at_ms = self._now_ms() + grace_ms
            self.tick()

    def tick(self) -> None:
        """Let happen what is due by now; call it after the clock has moved."""
        now_ms = self._now_ms()
        for task in list(self.tasks.values()):
            if task.ended:
                continue
            if task.kill_at_ms is not None and task.kill_at_ms <= now_ms:
                self._end(task, exit_code=_KILLED, reason=None)
            elif task.exit_at_ms is not None and task.exit_at_ms <= now_ms:
                self._end(task, exit_code=task.script.exit_code, reason=task.script.reason)

    def next_due_ms(self) -> int | None:
        """Tell when `tick` will next have something to do; None if only calls can change
        anything."""
        due = [
            at_ms
            for task in self.tasks.values()
            if not task.ended
            for at_ms in (task.kill_at_ms, task.exit_at_ms)
            if at_ms is not None
        ]
        return min(due, default=None)

    def _end(
        self, task: TwinTask, *, exit_code: int | None, reason: str | None, is_lost: bool = False
    ) -> None:
        if task.ended:
            return
        task.ended = TaskEnded(
            task_id=task.spec.task_id,
            at_ms=self._now_ms(),
            exit_code=exit_code,
            reason=reason,
            is_lost=is_lost,
        )
        self._tell(task.spec.task_id)

    def _tell(self, task_id: TaskId) -> None:
        if self.on_change is not None:
            self.on_change(task_id)


class TwinBackend:
    """The port to a `TwinMachine`. Output moves when reports are asked for, so nothing runs
    unseen."""

    def __init__(self, machine: TwinMachine, sink: OutputSink) -> None:
        self._machine = machine
        self._sink = sink
        self._changed: dict[TaskId, None] = {}
        self._has_changes = asyncio.Event()
        self._is_open = False
        self._told_started: set[TaskId] = set()
        self._told_ended: set[TaskId] = set()

    async def open(self) -> None:
        self._is_open = True
        self._told_started.clear()
        self._told_ended.clear()
        self._machine.on_change = self._note
        for task_id in self._machine.tasks:
            self._note(task_id)

    async def close(self) -> None:
        self._is_open = False
        if self._machine.on_change == self._note:
            self._machine.on_change = None
        self._has_changes.set()

    async def list_hosts(self) -> Sequence[Host]:
        return tuple(self._machine.hosts)

    async def list_tasks(self) -> frozenset[TaskId]:
        return frozenset(self._machine.tasks)

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        for spec in tasks:
            self._machine.accept(spec)

    async def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        self._machine.stop(task_id, grace_ms=grace_ms)

    async def reports(self) -> AsyncIterator[Sequence[Report]]:
        while self._is_open:
            await self._has_changes.wait()
            self._has_changes.clear()
            changed, self._changed = self._changed, {}
            batch: list[Report] = []
            for task_id in changed:
                batch += await self._settle(task_id)
            if batch and self._is_open:
                yield batch

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        for task_id in task_ids:
            task = self._machine.tasks.get(task_id)
            if task is not None and task.ended:
                del self._machine.tasks[task_id]

    def _note(self, task_id: TaskId) -> None:
        self._changed[task_id] = None
        self._has_changes.set()

    async def _settle(self, task_id: TaskId) -> list[Report]:
        """Store a task's output, then give its reports that were not given yet."""
        task = self._machine.tasks.get(task_id)
        if task is None:
            return []
        started, ended, count = task.started, task.ended, len(task.lines)
        target = task.spec.containers[0].log
        if target is not None and started is not None:
            position = await self._sink.read_position(task_id, target)
            if count > position or task_id not in self._told_started:
                lines = task.lines[position:count]
                await self._sink.append(task_id, target, position=count, lines=lines)
        reports: list[Report] = []
        if started is not None and task_id not in self._told_started:
            self._told_started.add(task_id)
            reports.append(started)
        if ended is not None and task_id not in self._told_ended:
            self._told_ended.add(task_id)
            reports.append(ended)
        return reports
