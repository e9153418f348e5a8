"""The life of tasks: accepted, opened, launched, running, stopping, ended, forgotten.

Owns every task from the moment it is accepted to the moment it is forgotten, and the order in which
things are done to it; `group` says what follows, `container` and `bundle` do it. Refuses to know
sockets: what happened is left in `news`. Writes down before it tells.

Rules: a task's containers are made ready together, when the first of them may start. What they
share is released when the last of them has ended, before that is told.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import traceback
from collections import deque

from batchyard.compute.local.supervisor import group
from batchyard.compute.local.supervisor.bundle import Surroundings
from batchyard.compute.local.supervisor.container import Container, Launcher
from batchyard.compute.local.supervisor.ground import Ground, NoGround
from batchyard.compute.local.supervisor.records import TASK_SUFFIX, End, Stored, TaskRecord
from batchyard.compute.local.supervisor.refusals import LaunchRefused, clip, note
from batchyard.compute.local.supervisor.task import Task
from batchyard.compute.local.supervisor.unit import Unit, clock_ms, now_ms
from batchyard.model.wording import OUT_OF_MEMORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import NewsShape, SpecShape
    from batchyard.compute.local.supervisor.cgroups import Groups
    from batchyard.compute.local.supervisor.poller import Poller

#: ECS's, for containers that are stopped because an essential one has ended.
_GRACE_MS = 30_000
_KILL, _LOOK = 0, 1
_LOST = (
    "DockerStateError: the supervisor of the containers was killed or the machine restarted while"
    " the task was running; its containers were stopped"
)


class Life:
    """All tasks that are not yet forgotten."""

    def __init__(self, *, data_dir: str, groups: Groups, poller: Poller) -> None:
        self._tasks_path = f"{data_dir}/tasks"
        self._poller = poller
        self.launcher = Launcher(groups=groups, data_dir=data_dir)
        self.ground = Ground(data_dir)
        self.tasks: dict[str, Task] = {}
        self.units: dict[str, Unit] = {}
        #: What happened since the news was last sent.
        self.news: NewsShape = {}
        #: Containers that are gone but for processes still on their way out.
        self.busy_groups: list[Container] = []
        self._unit_by_pid: dict[int, Unit] = {}
        self._unit_by_stream: dict[int, Unit] = {}
        #: Containers that may be launched as soon as fewer are being made.
        self._queue: deque[Unit] = deque()
        self._making_count = 0
        self._making_max = 2 * (os.cpu_count() or 1) + 4
        #: (time by the monotonic clock, unit id, what is due): SIGKILL after SIGTERM, or a look
        #: whether a container has waited too long.
        self._deadlines: list[tuple[int, str, int]] = []

    # -- from records ---------------------------------------------------------------------------

    def recover(self) -> None:
        """Take over what an earlier supervisor left on disk; nothing of it runs any more."""
        for file_name in sorted(os.listdir(self._tasks_path)):
            if not file_name.endswith(TASK_SUFFIX):
                continue
            record = TaskRecord(self._tasks_path, file_name.removesuffix(TASK_SUFFIX))
            kept = record.read()
            if kept is None:
                record.delete([])  # Begun, but never acknowledged.
                continue
            task = Task(kept.spec, record)
            task.adopt(kept)
            self._add(task)
            if kept.end is None and kept.images is not None:
                self._lose(task, kept.launched)

    def _lose(self, task: Task, launched: set[int]) -> None:
        lost = [unit for unit in task.units if unit.end is None]
        for unit in lost:
            was_begun = not task.is_group or unit.number in launched
            unit.end = unit.make_end(
                exit_code=None, reason=_LOST if was_begun else None, was_stopped=False
            )
        self._finish(task, is_lost=bool(lost))

    # -- orders ---------------------------------------------------------------------------------

    def accept(self, spec: SpecShape, images: list[str | None]) -> None:
        """Take a task, once; `images` are the ids of those that are here."""
        if spec["task_id"] in self.tasks:
            return
        task = Task(spec, TaskRecord(self._tasks_path, spec["task_id"]))
        for unit, image in zip(task.units, images, strict=True):
            unit.image = image
        self._add(task)
        try:
            task.record.claim(spec, images=task.images())
        except (OSError, Stored) as error:
            self._fail(task, clip("CannotCreateContainerError", str(error)))
            return
        if task.images() is not None or group.fault_of(spec["containers"]):
            self._open(task)

    def supply_image(self, task_id: str, *, image: str, image_id: str) -> None:
        """Note that an image is here; the task goes on once all of its images are."""
        task = self.tasks.get(task_id)
        if task is None or task.end or task.images() is not None:
            return
        for unit in task.units:
            if unit.image is None and unit.spec["image"] == image:
                unit.image = image_id
        images = task.images()
        if images is None:
            return
        try:
            task.record.write_images(images)
        except OSError as error:
            self._fail(task, clip("CannotCreateContainerError", str(error)))
            return
        self._open(task)

    def deny_image(self, task_id: str, *, image: str, reason: str) -> None:
        """End a task whose image cannot be had."""
        task = self.tasks.get(task_id)
        if task is None or task.end:
            return
        for unit in task.units:
            if unit.image is None and unit.end is None and unit.spec["image"] == image:
                self._settle(task, unit, exit_code=None, reason=reason)
                self._begin_stop(task, grace_ms=_GRACE_MS)
        self._advance(task)

    def stop(self, task_id: str, *, grace_ms: int) -> None:
        task = self.tasks.get(task_id)
        if task is not None and not task.end and not task.is_stopping:
            self._begin_stop(task, grace_ms=grace_ms)
            self._advance(task)

    def mark_taken(self, unit_id: str, position: int) -> None:
        """Note that what was told of a container's output was read, and up to where it is safe."""
        unit = self.units.get(unit_id)
        if unit is None or unit.spool is None:
            return
        unit.spool.mark_taken(position)
        unit.is_notified = False
        self._tell_output(unit)
        if unit.is_paused and not unit.spool.is_backlogged:
            unit.is_paused = False
            for fd in unit.open_streams:
                self._poller.want(fd, select.EPOLLIN)

    def forget(self, task_id: str) -> None:
        """Drop an ended task with its output."""
        task = self.tasks.get(task_id)
        if task is not None and task.end:
            del self.tasks[task_id]
            for unit in task.units:
                del self.units[unit.unit_id]
            task.record.delete([unit.unit_id for unit in task.units])

    def uses_image(self, image_id: str) -> bool:
        return any(
            unit.image == image_id
            for task in self.tasks.values()
            if not task.end
            for unit in task.units
        )

    # -- what follows ---------------------------------------------------------------------------

    def _add(self, task: Task) -> None:
        self.tasks[task.task_id] = task
        for unit in task.units:
            self.units[unit.unit_id] = unit

    def _open(self, task: Task) -> None:
        """Let containers start, for all images are here; or fail a task that is impossible."""
        fault = group.fault_of(task.spec["containers"])
        if fault:
            self._fail(task, clip("CannotCreateContainerError", fault))
            return
        task.opened_clock_ms = clock_ms()
        self._advance(task)
        self._schedule_look(task)

    def _advance(self, task: Task) -> None:
        """Do what follows from where the task's containers stand."""
        if task.end is not None:
            return
        # One that is settled can take others with it.
        while any(self._move(task, unit) for unit in task.units if unit.is_waiting):
            pass
        if task.is_stopping:
            for unit in task.units:
                if unit.may_be_signalled and group.may_be_stopped(task, unit):
                    self._terminate(task, unit)
        if not task.is_start_told and group.has_started(task):
            self._tell_start(task)
        if all(unit.end is not None for unit in task.units):
            self._finish(task)

    def _move(self, task: Task, unit: Unit) -> bool:
        """Queue a waiting container that may start; True if it was settled, because it never can
        or shall not any more."""
        if task.is_stopping:
            self._settle(task, unit, exit_code=None, reason=None, was_stopped=True)
            return True
        if task.opened_clock_ms is None or unit.is_queued:
            return False
        if group.is_ready(task, unit):
            unit.is_queued = True
            self._queue.append(unit)
            return False
        despair = group.despair_of(task, unit, clock_ms())
        if despair:
            reason = clip("CannotStartContainerError", despair)
            self._settle(task, unit, exit_code=None, reason=reason)
        return bool(despair)

    def _settle(
        self,
        task: Task,
        unit: Unit,
        *,
        exit_code: int | None,
        reason: str | None,
        was_stopped: bool = False,
    ) -> None:
        """Note how a container ended; an essential one takes the others with it."""
        unit.end = unit.make_end(exit_code=exit_code, reason=reason, was_stopped=was_stopped)
        if not task.is_group:
            return
        try:
            task.record.write_unit_end(unit.number, unit.end)
        except OSError as error:
            note(f"end_not_written unit_id={unit.unit_id} error={error}")
        if unit.spec["is_essential"]:
            self._begin_stop(task, grace_ms=_GRACE_MS)

    def _fail(self, task: Task, reason: str) -> None:
        """End a task as a whole: its first essential container tells why."""
        essential = [unit for unit in task.units if unit.spec["is_essential"]]
        for unit in (essential or task.units)[:1]:
            if unit.end is None:
                self._settle(task, unit, exit_code=None, reason=reason)
        self._begin_stop(task, grace_ms=_GRACE_MS)
        self._advance(task)

    def _begin_stop(self, task: Task, *, grace_ms: int) -> None:
        if not task.is_stopping:
            task.is_stopping = True
            task.stop_grace_ms = grace_ms

    def _terminate(self, task: Task, unit: Unit) -> None:
        assert unit.process_id is not None
        unit.is_signalled = self.launcher.send_signal(unit.unit_id, unit.process_id, signal.SIGTERM)
        own_ms = unit.spec["stop_timeout_ms"]
        grace_ms = task.stop_grace_ms if own_ms is None else own_ms
        heapq.heappush(self._deadlines, (clock_ms() + grace_ms, unit.unit_id, _KILL))

    def _schedule_look(self, task: Task) -> None:
        """Come back when the first of the waiting containers has waited too long."""
        if not task.is_group:
            return
        for unit in task.units:
            # One that is queued waits for us alone.
            is_waiting = unit.is_waiting and not unit.is_queued
            due_ms = group.next_look_ms(task, unit) if is_waiting else None
            if due_ms is not None:
                heapq.heappush(self._deadlines, (due_ms, unit.unit_id, _LOOK))

    def next_timeout_s(self) -> float | None:
        """Tell how long nothing is due; None for ever."""
        if not self._deadlines:
            return None
        return max(0, self._deadlines[0][0] - clock_ms()) / 1000 + 0.001

    def act_on_time(self) -> None:
        """Do what is due."""
        while self._deadlines:
            due_ms, unit_id, kind = self._deadlines[0]
            unit = self.units.get(unit_id)
            is_current = unit is not None and unit.end is None
            if is_current and due_ms > clock_ms():
                return
            heapq.heappop(self._deadlines)
            if unit is None or not is_current:
                continue
            if kind == _LOOK:
                self._advance(self.tasks[unit.task_id])
                self._schedule_look(self.tasks[unit.task_id])
            elif unit.process_id is not None:
                self.launcher.send_signal(unit_id, unit.process_id, signal.SIGKILL)

    # -- starting -------------------------------------------------------------------------------

    def launch_queued(self) -> None:
        while self._queue and self._making_count < self._making_max:
            unit = self._queue.popleft()
            if unit.end:
                continue  # Stopped while it was queued.
            task = self.tasks[unit.task_id]
            try:
                if task.surroundings is None:
                    self._prepare(task)
                if unit.end is None:
                    self._launch(task, unit)
            except Exception as error:
                # Our own fault with one task must not take all others down.
                note(traceback.format_exc())
                text = f"{type(error).__name__}: {error}"
                self._refuse(task, unit, clip("CannotCreateContainerError", text))

    def _prepare(self, task: Task) -> None:
        """Make everything that the task's containers share, and each of them, ready."""
        around = Surroundings(
            task.task_id, is_group=task.is_group, is_cpu_capped=task.spec["is_cpu_capped"]
        )
        around.own_host_name = task.spec.get("host_name") or ""
        around.hosts_path = task.spec.get("hosts_path")
        task.surroundings = around
        settings = self.launcher.settings
        try:
            self.ground.make(task.spec, around, settings)
            gpus = self.ground.take_gpus(task.spec, settings)
        except NoGround as error:
            self._fail(task, str(error))
            return
        for unit in task.units:
            assert unit.image is not None
            if unit.end is not None:
                continue
            try:
                unit.bundle = self.launcher.make_ready(
                    unit.unit_id, unit.spec, unit.image, around=around, gpus=gpus[unit.number]
                )
            except LaunchRefused as error:
                self._refuse(task, unit, str(error))

    def _launch(self, task: Task, unit: Unit) -> None:
        assert unit.bundle is not None
        try:
            if task.is_group:
                task.record.write_launch(unit.number)
            container = self.launcher.launch(unit.bundle)
        except LaunchRefused as error:
            self._refuse(task, unit, str(error))
            return
        except OSError as error:
            self._refuse(task, unit, clip("CannotCreateContainerError", str(error)))
            return
        unit.container = container
        self._making_count += 1
        self._unit_by_pid[container.pid] = unit

    def _refuse(self, task: Task, unit: Unit, reason: str) -> None:
        """Settle a container that could not be launched."""
        self.launcher.clean(unit.unit_id, None)
        self._settle(task, unit, exit_code=None, reason=reason)
        self._advance(task)

    def look_at_pid(self, unit_id: str) -> None:
        """A runtime has left a pid: the container's process exists."""
        unit = self.units.get(unit_id)
        if unit is not None and unit.container is not None and not unit.end:
            self._note_started(unit)

    def _note_started(self, unit: Unit) -> bool:
        """Look whether the container's process exists now, and tell it; True if it does."""
        if unit.process_id is not None:
            return True
        unit.process_id = self.launcher.take_process_id(unit.unit_id)
        if unit.process_id is None:
            return False
        self._making_count -= 1
        unit.started_at_ms, unit.started_clock_ms = now_ms(), clock_ms()
        # Only now: what came before a pid is the runtime's own complaint.
        for fd in unit.open_pipes():
            self._unit_by_stream[fd] = unit
            self._poller.watch(fd, self._on_output)
        task = self.tasks[unit.task_id]
        self._advance(task)
        self._schedule_look(task)
        return True

    def _tell_start(self, task: Task) -> None:
        task.is_start_told = True
        task.started_at_ms = max(
            unit.started_at_ms or 0 for unit in task.units if unit.spec["is_essential"]
        )
        self.news.setdefault("started", []).append((task.task_id, task.started_at_ms, task.address))

    # -- output ---------------------------------------------------------------------------------

    def _on_output(self, fd: int, _event: int) -> None:
        unit = self._unit_by_stream[fd]
        is_open = unit.read_pipe(fd)
        if not is_open:
            self._close_stream(unit, fd)
        self._tell_output(unit)
        if unit.spool is not None and unit.spool.is_backlogged and not unit.is_paused:
            unit.is_paused = True
            for stream in unit.open_streams:
                self._poller.want(stream, 0)

    def _close_stream(self, unit: Unit, fd: int) -> None:
        self._poller.unwatch(fd)
        del self._unit_by_stream[fd]
        unit.close_pipe(fd)

    def _tell_output(self, unit: Unit) -> None:
        spool = unit.spool
        if spool is None or unit.is_notified:
            return
        if spool.size > max(spool.taken, unit.told_size):
            unit.is_notified = True
            self.news.setdefault("output", {})[unit.unit_id] = 0

    # -- ends -----------------------------------------------------------------------------------

    def bury(self, pid: int, runtime_code: int) -> None:
        """Settle the container whose runtime process is gone, if it was one: its last output, its
        reason, its remains."""
        unit = self._unit_by_pid.pop(pid, None)
        if unit is None:
            return
        task, container = self.tasks[unit.task_id], unit.container
        around = task.surroundings
        assert container is not None
        assert around is not None
        if self._note_started(unit):
            if runtime_code < 0 or around.has_shared_processes:
                self.launcher.kill_all(unit.unit_id)
            unit.drain_pipes()
        else:
            self._making_count -= 1
            os.close(container.stdout)
            os.close(container.stderr)
        exit_code, reason = self._outcome(unit, runtime_code)
        for fd in list(unit.open_streams):
            self._close_stream(unit, fd)
        is_gone = self.launcher.clean(unit.unit_id, container)
        if not is_gone:
            self.busy_groups.append(container)
        around.is_reusable &= is_gone and runtime_code >= 0
        self._settle(task, unit, exit_code=exit_code, reason=reason, was_stopped=unit.is_signalled)
        self._advance(task)

    def _outcome(self, unit: Unit, runtime_code: int) -> tuple[int | None, str | None]:
        is_out_of_memory = self.launcher.has_oom_kill(unit.unit_id)
        if runtime_code < 0:
            if is_out_of_memory:
                return 137, OUT_OF_MEMORY
            text = f"the container runtime was killed by signal {-runtime_code}"
            name = "DockerStateError" if unit.process_id else "CannotStartContainerError"
            return None, clip(name, text)
        if unit.process_id is None:
            if is_out_of_memory:
                return 137, OUT_OF_MEMORY
            error = self.launcher.read_error(unit.unit_id)
            text = error or f"the container runtime failed with status {runtime_code}"
            return None, clip("CannotStartContainerError", text)
        complaint = unit.take_complaint(runtime_code)
        if complaint:
            return None, clip("CannotStartContainerError", complaint)
        return runtime_code, OUT_OF_MEMORY if is_out_of_memory else None

    def _finish(self, task: Task, *, is_lost: bool = False) -> None:
        """Let go of what the task's containers shared, and tell its end."""
        address = task.address
        if task.surroundings is not None:
            for unit in task.units:
                if unit.container is None:
                    self.launcher.clean(unit.unit_id, None)
            self.launcher.release(task.surroundings)
            self.ground.release(task.surroundings)
            task.surroundings = None
        ends = [unit.end for unit in task.units if unit.end is not None]
        end = End(
            at_ms=now_ms(),
            containers=ends,
            is_lost=is_lost,
            started_at_ms=task.started_at_ms,
            address=address,
        )
        try:
            task.record.write_end(end)
        except OSError as error:
            # Told all the same; should we be killed before it is forgotten, it will count as lost.
            note(f"end_not_written task_id={task.task_id} error={error}")
        for unit in task.units:
            if unit.spool:
                unit.spool.close()
        task.end = end
        self.news.setdefault("ended", []).append((task.task_id, end.to_plain()))
