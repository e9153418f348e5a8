"""The life of tasks on an engine: opened, launched, running, stopping, ended, forgotten.

Owns the order in which things are done to a task; `group` says what follows, the engine does it.
Here the server drives: while none is up, what runs goes on and ends, but nothing follows from it
until the next one looks. Refuses to know images, connections and output.

Rules: a task is advanced by one worker at a time, for as long as something moves, and by nobody
while nothing does. A fact is written down before it is acted on. A container is started only while
the engine says that it never ran: one that an earlier server may have told to start is replaced
first, so that a late request finds nothing.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from batchyard.compute.docker.capture import Capture
from batchyard.compute.docker.engine_api import EngineApi, EngineError, Look
from batchyard.compute.docker.ground import Footing, Ground
from batchyard.compute.docker.records import (
    Ended,
    Launched,
    Opened,
    Signalled,
    Started,
    StopAsked,
    UnitEnd,
    UnitEnded,
)
from batchyard.compute.docker.shape import EngineFacts, Place, Refused, config_of
from batchyard.compute.docker.task import Task, Unit
from batchyard.compute.local.detect import now_ms
from batchyard.compute.local.supervisor import group
from batchyard.compute.local.supervisor.refusals import clip
from batchyard.compute.port import Trouble
from batchyard.model.wording import OUT_OF_MEMORY

#: ECS's, for containers that are stopped because an essential one has ended.
_GRACE_MS: Final = 30_000
_RETRY_S: Final = 1.0
#: An engine tells of an end a moment before it can say how it ended.
_LOOK_AGAIN_S: Final = 0.2
#: Calls to the engine that make or start something, at once: more only wait for each other there.
_MAKING_MAX: Final = 8
_VANISHED: Final = "DockerStateError: the container was removed by somebody else"
_LOST: Final = (
    "DockerStateError: the machine restarted while the task was running; its containers were"
    " stopped"
)
_DAEMON: Final = "Error response from daemon: "

_log = structlog.get_logger()


class Life:
    """Does what follows for each task."""

    def __init__(
        self,
        api: EngineApi,
        ground: Ground,
        capture: Capture,
        *,
        booted_at_ms: int,
        report: Callable[[Task], None],
    ) -> None:
        """`report` is called when a task has something to tell. `booted_at_ms`: what ran before
        has been lost, unless it had ended."""
        self._api = api
        self._ground = ground
        self._capture = capture
        self._booted_at_ms = booted_at_ms
        self._report = report
        self._making = asyncio.Semaphore(_MAKING_MAX)
        self._group: asyncio.TaskGroup | None = None
        #: Set by `begin`.
        self.facts: EngineFacts | None = None

    def begin(self, work: asyncio.TaskGroup, facts: EngineFacts) -> None:
        """Work in this group from now on."""
        self._group, self.facts = work, facts

    def end(self) -> None:
        """Stop working; the group is being left."""
        self._group = None

    # -- orders -------------------------------------------------------------------------------

    def open(self, task: Task) -> None:
        """Let containers start, for all images are here; or fail a task that is impossible."""
        fault = group.fault_of(task.spec["containers"])
        if fault:
            self.fail(task, clip("CannotCreateContainerError", fault))
            return
        task.opened_clock_ms = now_ms()
        task.record.write(Opened(at_ms=task.opened_clock_ms))
        self.wake(task)

    def stop(self, task: Task, *, grace_ms: int) -> None:
        self._begin_stop(task, grace_ms=grace_ms)
        self.wake(task)

    def fail(self, task: Task, reason: str, *, image: str | None = None) -> None:
        """End a task as a whole: its first essential container, or those of an image, tell why."""
        essential = [unit for unit in task.units if unit.spec["is_essential"]]
        told = (essential or task.units)[:1]
        if image is not None:
            told = [unit for unit in task.units if unit.spec["image"] == image]
        for unit in told:
            if unit.end is None and not unit.is_launched:
                self._settle(task, unit, UnitEnd(reason=reason))
        self._begin_stop(task, grace_ms=_GRACE_MS)
        self.wake(task)

    def look(self, task: Task, container_id: str | None, *, is_over: bool = False) -> None:
        """Ask the engine how a container does; None: all of the task's. `is_over`: it was said to
        be."""
        for unit in task.units:
            if container_id in (None, unit.container_id) and unit.is_launched and unit.end is None:
                unit.is_look_due = True
                unit.is_over_told |= is_over
        self.wake(task)

    def wake(self, task: Task) -> None:
        """Do what follows for a task, soon."""
        task.is_dirty = True
        if not task.is_busy and self._group is not None:
            task.is_busy = True
            self._group.create_task(self._work(task))

    # -- the worker ---------------------------------------------------------------------------

    async def _work(self, task: Task) -> None:
        try:
            while task.is_dirty:
                task.is_dirty = False
                try:
                    await self._advance(task)
                except (Trouble, EngineError, OSError) as error:
                    _log.error("task_delayed", task_id=task.task_id, reason=str(error))
                    task.is_dirty = True
                    await asyncio.sleep(_RETRY_S)
                except Exception:
                    # The edge of a task: a fault with one must not end all others.
                    _log.exception("task_broke", task_id=task.task_id)
                    task.is_dirty = True
                    await asyncio.sleep(_RETRY_S)
        finally:
            task.is_busy = False

    async def _advance(self, task: Task) -> None:
        """Do what follows from where the task's containers stand, until nothing does."""
        if task.ended is None:
            while await self._move_one(task):
                pass
            await self._note_start(task)
            if all(unit.is_settled for unit in task.units):
                await self._finish(task)
        self._report(task)
        self._set_timer(task)

    async def _move_one(self, task: Task) -> bool:
        """Do one thing, if there is one to do."""
        for unit in task.units:
            if unit.is_unsure:
                await self._resolve(task, unit)
                return True
            if unit.is_look_due:
                unit.is_look_due = False
                await self._look(task, unit)
                return True
            if unit.is_waiting and await self._move_waiting(task, unit):
                return True
            if unit.is_running and await self._move_running(task, unit):
                return True
        return False

    async def _move_waiting(self, task: Task, unit: Unit) -> bool:
        if task.is_stopping:
            self._settle(task, unit, UnitEnd(was_stopped=True))
            return True
        if task.opened_clock_ms is None:
            return False
        if group.is_ready(task, unit):
            async with self._making:
                await self._launch(task, unit)
            return True
        despair = group.despair_of(task, unit, now_ms())
        if despair:
            reason = clip("CannotStartContainerError", despair)
            self._settle(task, unit, UnitEnd(reason=reason))
        return bool(despair)

    async def _move_running(self, task: Task, unit: Unit) -> bool:
        assert unit.container_id is not None
        if not task.is_stopping or not group.may_be_stopped(task, unit):
            return False
        if not unit.is_signal_sent:
            if unit.signalled_at_ms is None:
                unit.signalled_at_ms = now_ms()
                task.record.write(Signalled(unit=unit.number, at_ms=unit.signalled_at_ms))
            await self._api.kill(unit.container_id, "SIGTERM")
            unit.is_signal_sent = True
            return True
        due_ms = _kill_due_ms(task, unit)
        if not unit.is_killed and due_ms is not None and due_ms <= now_ms():
            unit.is_killed = True
            await self._api.kill(unit.container_id, "SIGKILL")
            return True
        return False

    def _set_timer(self, task: Task) -> None:
        """Come back when something is due that nobody will tell."""
        if task.timer is not None:
            task.timer.cancel()
            task.timer = None
        if task.ended is not None:
            return
        due: list[int] = []
        for unit in task.units:
            if unit.is_waiting and (look_ms := group.next_look_ms(task, unit)) is not None:
                due.append(look_ms)
            kill_ms = _kill_due_ms(task, unit)
            if unit.is_running and not unit.is_killed and kill_ms is not None:
                due.append(kill_ms)
        if due:
            wait_s = max(0, min(due) - now_ms()) / 1000 + 0.001
            task.timer = asyncio.get_running_loop().call_later(wait_s, self.wake, task)

    # -- starting -----------------------------------------------------------------------------

    async def _launch(self, task: Task, unit: Unit) -> None:
        if not task.is_prepared:
            await self._prepare(task)
            task.is_prepared = True
        if unit.end is not None:
            return  # Refused while the task was prepared.
        assert unit.container_id is not None
        task.record.write(
            Launched(unit=unit.number, container_id=unit.container_id, gpus=unit.gpus)
        )
        unit.is_launched = True
        try:
            await self._api.start(unit.container_id)
        except EngineError as error:
            reason = clip("CannotStartContainerError", f"{_DAEMON}{error}")
            self._settle(task, unit, UnitEnd(reason=reason))
            unit.is_refused = True
            if self._group is not None:
                self._capture.follow(task, unit, self._group)
        else:
            await self._look(task, unit)

    async def _prepare(self, task: Task) -> None:
        """Make everything that the task's containers share, and then the containers."""
        assert self.facts is not None
        try:
            footing = await self._ground.make(task, self.facts)
            self._ground.take_gpus(task)
            await self._add_to_hosts(task)
        except Refused as error:
            self.fail(task, str(error))
            return
        except EngineError as error:
            self.fail(task, clip("CannotCreateContainerError", f"{_DAEMON}{error}"))
            return
        for unit in task.units:
            if not unit.is_waiting:
                continue
            try:
                unit.container_id = await self._make(task, unit, footing)
            except Refused as error:
                self._settle(task, unit, UnitEnd(reason=str(error)))
            except EngineError as error:
                reason = clip("CannotCreateContainerError", f"{_DAEMON}{error}")
                self._settle(task, unit, UnitEnd(reason=reason))

    async def _add_to_hosts(self, task: Task) -> None:
        """Let the task's companions know its address, if there may be some."""
        path = task.spec.get("hosts_path")
        address = None if path is None else await self._ground.address_of(task)
        if path is not None and address is not None:
            line = f"{address} {task.spec.get('host_name') or task.task_id}\n"
            await asyncio.to_thread(_append, path, line)

    async def _make(self, task: Task, unit: Unit, footing: Footing) -> str:
        """Make a container that has not been told to start yet; return its id."""
        assert self.facts is not None
        ground = self._ground
        place = Place(
            task_id=task.task_id,
            image=unit.spec["image"],
            labels=ground.labels(task.task_id),
            is_cpu_capped=task.spec["is_cpu_capped"],
            network_mode=footing.network_mode,
            process_mode=footing.process_mode,
            ipc_mode=footing.ipc_mode,
            name_by_volume=footing.name_by_volume,
            host_name=task.spec.get("host_name"),
            hosts_path=task.spec.get("hosts_path"),
            gpus=[gpu for gpu in ground.gpus if gpu["id"] in unit.gpus],
            has_gpus=bool(ground.gpus),
            gpu_control_paths=ground.gpu_control_paths,
            rules=ground.rules,
        )
        config = config_of(unit.spec, place, self.facts)
        try:
            return await self._api.create(unit.engine_name, config)
        except EngineError as error:
            if not error.is_conflict:
                raise
        # One that was made and, as nothing says so, never told to start.
        await self._api.remove(unit.engine_name, is_forced=False)
        return await self._api.create(unit.engine_name, config)

    async def _resolve(self, task: Task, unit: Unit) -> None:
        """Find out what came of a start that nobody has seen the answer to."""
        assert unit.container_id is not None
        look = await self._api.inspect(unit.container_id)
        if look is not None and look.stage == "created":
            # The request may still be under way: it must not find the container.
            try:
                await self._api.remove(unit.container_id, is_forced=False)
            except EngineError as error:
                if not error.is_conflict:
                    raise
                return  # It runs by now.
            unit.is_launched, unit.container_id = False, None
            task.is_prepared = False
            return
        self._take_look(task, unit, look)

    # -- what the engine says -----------------------------------------------------------------

    async def _look(self, task: Task, unit: Unit) -> None:
        assert unit.container_id is not None
        self._take_look(task, unit, await self._api.inspect(unit.container_id))

    def _take_look(self, task: Task, unit: Unit, look: Look | None) -> None:
        if look is None:
            unit.has_exited.set()
            # What it printed went with it.
            unit.is_output_done = True
            if unit.end is None:
                task.is_lost = True
                self._settle(task, unit, UnitEnd(reason=_VANISHED))
            return
        if look.started_at_ms is not None and look.stage != "created":
            unit.started_at_ms = look.started_at_ms
            if self._group is not None:
                self._capture.follow(task, unit, self._group)
        if look.stage == "over":
            unit.has_exited.set()
            if unit.end is None:
                self._settle(task, unit, self._end_of(task, unit, look))
        elif unit.is_over_told and unit.end is None:
            # Told a moment before the engine itself knows it.
            loop = asyncio.get_running_loop()
            loop.call_later(_LOOK_AGAIN_S, self.look, task, unit.container_id)

    def _end_of(self, task: Task, unit: Unit, look: Look) -> UnitEnd:
        started_ms, finished_ms = look.started_at_ms, look.finished_at_ms
        if (
            started_ms is not None
            and started_ms < self._booted_at_ms
            and (finished_ms is None or finished_ms >= self._booted_at_ms)
        ):
            task.is_lost = True
            return UnitEnd(reason=_LOST, finished_at_ms=finished_ms)
        if started_ms is None:
            text = f"{_DAEMON}{look.error or 'the container was never started'}"
            return UnitEnd(reason=clip("CannotStartContainerError", text))
        return UnitEnd(
            exit_code=look.exit_code,
            reason=OUT_OF_MEMORY if look.is_out_of_memory else None,
            was_stopped=unit.signalled_at_ms is not None,
            finished_at_ms=finished_ms,
        )

    async def _note_start(self, task: Task) -> None:
        if task.started_at_ms is not None or not group.has_started(task):
            return
        essential = [unit for unit in task.units if unit.spec["is_essential"]]
        at_ms = max(unit.started_at_ms or 0 for unit in essential)
        task.address = await self._ground.address_of(task)
        task.record.write(Started(at_ms=at_ms, address=task.address))
        task.started_at_ms = at_ms

    # -- ends ---------------------------------------------------------------------------------

    def _settle(self, task: Task, unit: Unit, end: UnitEnd) -> None:
        """Note how a container ended; an essential one takes the others with it."""
        task.record.write(UnitEnded(unit=unit.number, end=end))
        unit.end = end
        if task.is_group and unit.spec["is_essential"]:
            self._begin_stop(task, grace_ms=_GRACE_MS)

    def _begin_stop(self, task: Task, *, grace_ms: int) -> None:
        if not task.is_stopping:
            task.record.write(StopAsked(grace_ms=grace_ms))
            task.is_stopping, task.stop_grace_ms = True, grace_ms

    async def _finish(self, task: Task) -> None:
        """Let go of what the task's containers shared, and note its end."""
        await self._ground.release(task)
        times = [unit.end.finished_at_ms for unit in task.units if unit.end is not None]
        known = [at_ms for at_ms in times if at_ms is not None]
        at_ms = max(known) if len(known) == len(task.units) else now_ms()
        ended = Ended(at_ms=max(at_ms, task.started_at_ms or 0), is_lost=task.is_lost)
        task.record.write(ended)
        task.ended = ended


def _kill_due_ms(task: Task, unit: Unit) -> int | None:
    """Tell when a container that was told to stop is killed."""
    if unit.signalled_at_ms is None:
        return None
    own_ms = unit.spec["stop_timeout_ms"]
    return unit.signalled_at_ms + (task.stop_grace_ms if own_ms is None else own_ms)


def _append(path: str, line: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(line)
