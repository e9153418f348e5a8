"""The backend's twin: the port kept in memory, for tests and simulations that own time.

Owns a pretended machine and what tasks do on it. Refuses to know anything real: no process, no
disk, no clock but the one it is given. It passes the same suite as the real backends.

`TwinMachine` is what outlives a server: give the same one to the next `TwinBackend` to test
crashes. What a container does is its image's `Script`, or is told by hand (`finish`, `print_lines`,
`lose`; of several containers by `container`, its name)::

    machine = TwinMachine(now_ms=clock)
    machine.scripts["slow"] = Script(duration_ms=60_000, lines=("hello",), exit_code=3)
    backend = TwinBackend(machine, sink)
    ...
    clock.now += 60_000
    machine.tick()
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from batchyard.compute.port import (
    START_REFUSED,
    Condition,
    ContainerEnded,
    ContainerSpec,
    Host,
    Network,
    OutputLine,
    OutputSink,
    Report,
    StartsAfter,
    TaskEnded,
    TaskFetching,
    TaskSpec,
    TaskStarted,
)
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, TaskId

_KILLED = 137
_TERMINATED = 143
#: ECS's, for containers that are stopped because an essential one has ended.
_GRACE_MS = 30_000
_HOST = Host(host_id=HostId("twin"), capacity=Amount(cpu_milli=16_000, memory_mib=65_536))


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What containers of an image do.

    `lines` are printed at the start, `later_lines` so many milliseconds after it. `duration_ms`
    None runs until `finish` or a stop.
    Before anything else the image is pulled for `pull_ms`.
    `start_failure` is the reason of a container that never starts. `is_start_held` keeps it
    starting until `begin`.
    """

    exit_code: int = 0
    reason: str | None = None
    duration_ms: int | None = None
    lines: tuple[str, ...] = ()
    #: In the order of their times.
    later_lines: tuple[tuple[int, str], ...] = ()
    pull_ms: int = 0
    start_failure: str | None = None
    is_start_held: bool = False
    is_term_ignored: bool = False


@dataclass(slots=True, kw_only=True)
class TwinContainer:
    """A container of a task on the pretended machine."""

    spec: ContainerSpec
    script: Script
    is_held: bool
    #: When its image is there; None: it is.
    pulled_at_ms: int | None = None
    started_at_ms: int | None = None
    ended: ContainerEnded | None = None
    was_stopped: bool = False
    lines: list[OutputLine] = field(default_factory=list)
    #: When it exits by itself, or is killed after a stop; Unix milliseconds.
    exit_at_ms: int | None = None
    kill_at_ms: int | None = None
    #: How many of the script's later lines are printed.
    later_count: int = 0

    @property
    def is_waiting(self) -> bool:
        return self.started_at_ms is None and self.ended is None

    @property
    def is_running(self) -> bool:
        return self.started_at_ms is not None and self.ended is None

    @property
    def next_line_ms(self) -> int | None:
        """When it prints next by itself."""
        later = self.script.later_lines
        if self.started_at_ms is None or self.ended or self.later_count >= len(later):
            return None
        return self.started_at_ms + later[self.later_count][0]

    def satisfies(self, condition: Condition) -> bool:
        """Tell whether a container that waits for this one may start."""
        if condition is Condition.START:
            return self.started_at_ms is not None
        code = self.ended.exit_code if self.ended else None
        return code is not None and (condition is Condition.COMPLETE or code == 0)


@dataclass(slots=True, kw_only=True)
class TwinTask:
    """A task on the pretended machine."""

    spec: TaskSpec
    containers: list[TwinContainer]
    accepted_at_ms: int
    address: str | None = None
    started: TaskStarted | None = None
    ended: TaskEnded | None = None
    is_stopping: bool = False
    stop_grace_ms: int = 0
    #: When something happens to it by itself; None: nothing is expected.
    due_ms: int | None = None

    @property
    def fetching(self) -> TaskFetching | None:
        """Tell which image is still being pulled, if one is."""
        for each in self.containers:
            if each.is_waiting and each.pulled_at_ms is not None:
                return TaskFetching(
                    task_id=self.spec.task_id, at_ms=self.accepted_at_ms, image=each.spec.image
                )
        return None

    def named(self, name: str | None) -> TwinContainer:
        """Find a container; None is the first."""
        return next(each for each in self.containers if name in (None, each.spec.name))

    def may_be_stopped(self, container: TwinContainer) -> bool:
        """Tell whether no container that was to start after this one lives any more."""
        name = container.spec.name
        return all(
            other.ended is not None
            for other in self.containers
            if any(after.container == name for after in other.spec.starts_after)
        )


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
        self._address_count = 0
        #: When something happens to which task, soonest first; those that do not hold any more are
        #: passed over.
        self._due: list[tuple[int, int, TwinTask]] = []
        self._due_count = 0

    def accept(self, spec: TaskSpec, scripts: Sequence[Script] | None = None) -> None:
        """Take a task, once. `scripts` are those of its containers, instead of their images'."""
        if spec.task_id in self.tasks:
            return
        if scripts is None:
            scripts = [self.scripts.get(each.image, Script()) for each in spec.containers]
        now_ms = self._now_ms()
        containers = [
            TwinContainer(
                spec=each,
                script=script,
                is_held=script.is_start_held,
                pulled_at_ms=now_ms + script.pull_ms if script.pull_ms else None,
            )
            for each, script in zip(spec.containers, scripts, strict=True)
        ]
        self.tasks[spec.task_id] = TwinTask(
            spec=spec,
            containers=containers,
            accepted_at_ms=now_ms,
            address=self._next_address() if spec.network is Network.OWN else None,
        )
        self._advance(self.tasks[spec.task_id])

    def begin(self, task_id: TaskId, *, container: str | None = None) -> None:
        """Let a container that was held run, once what it waits for has come true."""
        task = self.tasks[task_id]
        task.named(container).is_held = False
        self._advance(task)

    def print_lines(self, task_id: TaskId, *texts: str, container: str | None = None) -> None:
        """Let a container print lines."""
        now_ms = self._now_ms()
        lines = self.tasks[task_id].named(container).lines
        lines += [OutputLine(at_ms=now_ms, text=text) for text in texts]
        self._tell(task_id)

    def finish(
        self,
        task_id: TaskId,
        *,
        exit_code: int = 0,
        reason: str | None = None,
        container: str | None = None,
    ) -> None:
        """Let a container's process exit."""
        task = self.tasks[task_id]
        self._end(task, task.named(container), exit_code=exit_code, reason=reason)
        self._advance(task)

    def direct(self, task_id: TaskId, script: Script, *, container: str | None = None) -> None:
        """Let a container do something else from now on; times count from its start, as ever."""
        task = self.tasks[task_id]
        each = task.named(container)
        each.script, each.later_count = script, 0
        if each.started_at_ms is not None:
            each.exit_at_ms = None
            if script.duration_ms is not None:
                each.exit_at_ms = max(self._now_ms(), each.started_at_ms + script.duration_ms)
        self._advance(task)

    def lose(self, task_id: TaskId) -> None:
        """Let the host vanish under the task."""
        task = self.tasks[task_id]
        for each in task.containers:
            if each.ended is None:
                reason = None if each.is_waiting else "DockerStateError: host lost"
                self._end(task, each, exit_code=None, reason=reason)
        self._finish(task, is_lost=True)

    def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        """Send SIGTERM now, and SIGKILL when the grace time is over."""
        task = self.tasks.get(task_id)
        if task is not None and task.ended is None and not task.is_stopping:
            self._begin_stop(task, grace_ms)
            self._advance(task)

    def tick(self) -> None:
        """Let happen what is due by now; call it after the clock has moved."""
        while (due_ms := self.next_due_ms()) is not None and due_ms <= self._now_ms():
            task = heapq.heappop(self._due)[2]
            task.due_ms = None
            self._advance(task)

    def next_due_ms(self) -> int | None:
        """Tell when `tick` will next have something to do; None if only calls can change
        anything."""
        while self._due and self._due[0][2].due_ms != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def _expect(self, task: TwinTask) -> None:
        """Note when something happens to a task next."""
        due_ms = _due_of(task)
        if due_ms is not None and due_ms != task.due_ms:
            self._due_count += 1
            heapq.heappush(self._due, (due_ms, self._due_count, task))
        task.due_ms = due_ms

    def _next_address(self) -> str:
        self._address_count += 1
        number = self._address_count + 1
        return f"10.213.{number >> 8}.{number & 255}"

    def _advance(self, task: TwinTask) -> None:
        """Let everything happen that can happen now."""
        if task.ended is not None:
            return
        while any(self._move(task, each) for each in task.containers if each.ended is None):
            pass
        essential = [each for each in task.containers if each.spec.is_essential]
        started = [each.started_at_ms for each in essential if each.started_at_ms is not None]
        if task.started is None and len(started) == len(essential):
            task.started = TaskStarted(
                task_id=task.spec.task_id, at_ms=max(started), address=task.address
            )
        if all(each.ended is not None for each in task.containers):
            self._finish(task)
        else:
            self._expect(task)
            self._tell(task.spec.task_id)

    def _move(self, task: TwinTask, each: TwinContainer) -> bool:
        """Let one thing happen to a container; False if nothing can."""
        now_ms = self._now_ms()
        if (line_ms := each.next_line_ms) is not None and line_ms <= now_ms:
            text = each.script.later_lines[each.later_count][1]
            each.lines.append(OutputLine(at_ms=line_ms, text=text))
            each.later_count += 1
        elif each.kill_at_ms is not None and each.kill_at_ms <= now_ms:
            self._end(task, each, exit_code=_KILLED)
        elif each.exit_at_ms is not None and each.exit_at_ms <= now_ms:
            code, reason = each.script.exit_code, each.script.reason
            self._end(task, each, exit_code=code, reason=reason)
        elif task.is_stopping and (each.is_waiting or not each.was_stopped):
            return self._stop_one(task, each)
        elif each.is_waiting and not task.is_stopping:
            return self._start_one(task, each)
        else:
            return False
        return True

    def _stop_one(self, task: TwinTask, each: TwinContainer) -> bool:
        if each.is_running and not task.may_be_stopped(each):
            return False
        each.was_stopped = True
        if each.is_waiting:
            self._end(task, each, exit_code=None)
        elif not each.script.is_term_ignored:
            self._end(task, each, exit_code=_TERMINATED)
        else:
            own_ms = each.spec.stop_timeout_ms
            each.kill_at_ms = self._now_ms() + (task.stop_grace_ms if own_ms is None else own_ms)
        return True

    def _start_one(self, task: TwinTask, each: TwinContainer) -> bool:
        if each.pulled_at_ms is not None:
            if each.pulled_at_ms > self._now_ms():
                return False
            each.pulled_at_ms = None
        waits = [(task.named(after.container), after) for after in each.spec.starts_after]
        if each.script.start_failure is not None:
            self._end(task, each, exit_code=None, reason=each.script.start_failure)
        elif all(target.satisfies(after.condition) for target, after in waits):
            if each.is_held:
                return False
            self._begin(task, each)
        elif despair := _despair_of(task, each, waits, self._now_ms()):
            reason = f"CannotStartContainerError: {despair}"
            self._end(task, each, exit_code=None, reason=reason)
        else:
            return False
        return True

    def _begin(self, task: TwinTask, each: TwinContainer) -> None:
        now_ms, task_id = self._now_ms(), task.spec.task_id
        if all(other.started_at_ms is None for other in task.containers):
            self.begin_count_by_task[task_id] = self.begin_count_by_task.get(task_id, 0) + 1
        each.started_at_ms = now_ms
        each.lines += [OutputLine(at_ms=now_ms, text=text) for text in each.script.lines]
        if each.script.duration_ms is not None:
            each.exit_at_ms = now_ms + each.script.duration_ms

    def _begin_stop(self, task: TwinTask, grace_ms: int) -> None:
        if not task.is_stopping:
            task.is_stopping = True
            task.stop_grace_ms = grace_ms

    def _end(
        self,
        task: TwinTask,
        each: TwinContainer,
        *,
        exit_code: int | None,
        reason: str | None = None,
    ) -> None:
        if each.ended is not None:
            return
        each.ended = ContainerEnded(
            name=each.spec.name,
            is_essential=each.spec.is_essential,
            exit_code=exit_code,
            reason=reason,
            was_stopped=each.was_stopped,
        )
        if each.spec.is_essential:
            self._begin_stop(task, _GRACE_MS)

    def _finish(self, task: TwinTask, *, is_lost: bool = False) -> None:
        if task.ended is not None:
            return
        task.due_ms = None
        ends = tuple(each.ended for each in task.containers if each.ended is not None)
        is_group = len(ends) > 1
        task.ended = TaskEnded(
            task_id=task.spec.task_id,
            at_ms=self._now_ms(),
            exit_code=None if is_group else ends[0].exit_code,
            reason=None if is_group else ends[0].reason,
            is_lost=is_lost,
            containers=ends if is_group else (),
        )
        self._tell(task.spec.task_id)

    def _tell(self, task_id: TaskId) -> None:
        if self.on_change is not None:
            self.on_change(task_id)


def _due_of(task: TwinTask) -> int | None:
    """Tell when something happens to a task by itself."""
    times = (
        at_ms
        for each in task.containers
        if each.ended is None
        for at_ms in (
            each.kill_at_ms,
            each.exit_at_ms,
            each.next_line_ms,
            each.pulled_at_ms if each.is_waiting else None,
            *_times_of(task, each),
        )
        if at_ms is not None
    )
    return min(times, default=None)


def _times_of(task: TwinTask, each: TwinContainer) -> list[int]:
    """List when a container that waits has waited too long."""
    times: list[int] = []
    if not each.is_waiting:
        return times
    if each.spec.start_timeout_ms is not None and each.spec.starts_after:
        times.append(task.accepted_at_ms + each.spec.start_timeout_ms)
    for after in each.spec.starts_after:
        target = task.named(after.container)
        own_ms = target.spec.start_timeout_ms
        if target.is_running and own_ms is not None and after.condition is not Condition.START:
            times.append((target.started_at_ms or 0) + own_ms)
    return times


def _despair_of(
    task: TwinTask,
    each: TwinContainer,
    waits: Sequence[tuple[TwinContainer, StartsAfter]],
    now_ms: int,
) -> str:
    """Say why a container can never start; empty while it still may. The ECS agent's words."""
    for target, after in waits:
        if target.satisfies(after.condition):
            continue
        pair = f"[{target.spec.name}] for target [{each.spec.name}]"
        if target.ended is not None:
            if after.condition is Condition.SUCCESS and target.ended.exit_code is not None:
                return (
                    f"dependency graph: failed to resolve container ordering dependency {pair} as"
                    " dependency did not exit successfully."
                )
            return f"dependency graph: failed to resolve the container ordering dependency {pair}"
        if any(due_ms <= now_ms for due_ms in _times_of(task, each)):
            return f"dependency graph: container ordering dependency {pair} has timed out."
    return ""


class TwinBackend:
    """The port to a `TwinMachine`. Output moves when reports are asked for, so nothing runs
    unseen."""

    def __init__(self, machine: TwinMachine, sink: OutputSink) -> None:
        self._machine = machine
        self._sink = sink
        self._changed: dict[TaskId, None] = {}
        self._has_changes = asyncio.Event()
        self._is_open = False
        self._told_fetching: dict[TaskId, TaskFetching] = {}
        self._told_started: set[TaskId] = set()
        self._told_ended: set[TaskId] = set()

    async def open(self) -> None:
        self._is_open = True
        self._told_fetching.clear()
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
                self._told_fetching.pop(task_id, None)

    def _note(self, task_id: TaskId) -> None:
        self._changed[task_id] = None
        self._has_changes.set()

    async def _settle(self, task_id: TaskId) -> list[Report]:
        """Store a task's output, then give its reports that were not given yet."""
        task = self._machine.tasks.get(task_id)
        if task is None:
            return []
        started, ended = task.started, task.ended
        is_group = len(task.containers) > 1
        for number, each in enumerate(task.containers):
            unit_id = TaskId(f"{task_id}-{number}") if is_group else task_id
            await self._store(task_id, unit_id, each)
        reports: list[Report] = []
        fetching = task.fetching
        if fetching is not None and fetching != self._told_fetching.get(task_id):
            self._told_fetching[task_id] = fetching
            reports.append(fetching)
        if started is not None and task_id not in self._told_started:
            self._told_started.add(task_id)
            reports.append(started)
        if ended is not None and task_id not in self._told_ended:
            self._told_ended.add(task_id)
            reports.append(ended)
        return reports

    async def _store(self, task_id: TaskId, unit_id: TaskId, each: TwinContainer) -> None:
        target, count = each.spec.log, len(each.lines)
        reason = (each.ended.reason if each.ended else None) or ""
        if target is None or (each.started_at_ms is None and not reason.startswith(START_REFUSED)):
            return
        position = await self._sink.read_position(unit_id, target)
        if count > position or task_id not in self._told_started:
            lines = each.lines[position:count]
            await self._sink.append(unit_id, target, position=count, lines=lines)
