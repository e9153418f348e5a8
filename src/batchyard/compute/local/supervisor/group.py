"""What follows in a task from where its containers stand: who may start, who never can, who stops.

Decides and does nothing: pure questions about a task, whoever holds it. Source: ECS's documentation
of `ContainerDependency` (order of starting, reversed for stopping) and of `essential`; the texts
are those of the ECS agent (`dependencygraph`), with containers' names for its dumps.

Rules: a task is started when all of its essential containers run or have run. The first essential
container that ends, or cannot start, begins the stop of all others. A container is told to stop
once no container that was to start after it lives. A container that can never start fails alone;
if it is essential, the task with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol, TypeVar

    from batchyard.compute.local.shapes import ContainerShape

    class Outcome(Protocol):
        """How a container ended."""

        @property
        def exit_code(self) -> int | None: ...

    class Unit(Protocol):
        """What is asked of a container; times are of one clock, whichever."""

        @property
        def spec(self) -> ContainerShape: ...
        @property
        def started_at_ms(self) -> int | None: ...
        @property
        def started_clock_ms(self) -> int | None: ...
        @property
        def end(self) -> Outcome | None: ...

    UnitT_co = TypeVar("UnitT_co", bound=Unit, covariant=True)

    class Task(Protocol[UnitT_co]):
        """What is asked of a task."""

        @property
        def units(self) -> Sequence[UnitT_co]: ...
        @property
        def unit_by_name(self) -> Mapping[str, UnitT_co]: ...
        @property
        def opened_clock_ms(self) -> int | None: ...


_START, _COMPLETE, _SUCCESS = "START", "COMPLETE", "SUCCESS"


def fault_of(containers: list[ContainerShape]) -> str:
    """Say what makes a task impossible; empty if nothing does."""
    names = [each["name"] for each in containers]
    if len(set(names)) != len(names):
        return "container names must be unique in a task"
    if not any(each["is_essential"] for each in containers):
        return "a task needs at least one essential container"
    waits = {
        each["name"]: {after["container"] for after in each["starts_after"]} for each in containers
    }
    for name, others in waits.items():
        for other in sorted(others - set(names)):
            return f"container {name} starts after {other}, which the task does not have"
    while waits:
        free = [name for name, others in waits.items() if not others & waits.keys()]
        if not free:
            return f"containers wait for each other in a circle: {', '.join(sorted(waits))}"
        for name in free:
            del waits[name]
    return ""


def is_ready(task: Task[Unit], unit: Unit) -> bool:
    """Tell whether everything the container waits for has come true."""
    return all(
        _holds(task.unit_by_name[after["container"]], after["condition"])
        for after in unit.spec["starts_after"]
    )


def despair_of(task: Task[Unit], unit: Unit, clock_ms: int) -> str:
    """Say why the container can never start; empty while it still may."""
    for after in unit.spec["starts_after"]:
        target, condition = task.unit_by_name[after["container"]], after["condition"]
        if _holds(target, condition):
            continue
        pair = f"[{target.spec['name']}] for target [{unit.spec['name']}]"
        if target.end is not None:
            if condition == _SUCCESS and target.end.exit_code is not None:
                return (
                    f"dependency graph: failed to resolve container ordering dependency {pair} as"
                    " dependency did not exit successfully."
                )
            return f"dependency graph: failed to resolve the container ordering dependency {pair}"
        if any(due <= clock_ms for due in _due_times(task, unit, target, condition)):
            return f"dependency graph: container ordering dependency {pair} has timed out."
    return ""


def next_look_ms(task: Task[Unit], unit: Unit) -> int | None:
    """Tell when a container will have waited too long, by the monotonic clock; None if it waits for
    nothing, or for ever."""
    times: list[int] = []
    for after in unit.spec["starts_after"]:
        target, condition = task.unit_by_name[after["container"]], after["condition"]
        if not _holds(target, condition):
            times += _due_times(task, unit, target, condition)
    return min(times, default=None)


def _due_times(task: Task[Unit], unit: Unit, target: Unit, condition: str) -> list[int]:
    """List when waiting for `target` is over.

    `start_timeout_ms` bounds the waiting of the container that has it; and, as the ECS agent reads
    it, from its own start, the waiting of those that need its end.
    """
    times = []
    if unit.spec["start_timeout_ms"] is not None and task.opened_clock_ms is not None:
        times.append(task.opened_clock_ms + unit.spec["start_timeout_ms"])
    own_ms, since_ms = target.spec["start_timeout_ms"], target.started_clock_ms
    if own_ms is not None and since_ms is not None and condition != _START:
        times.append(since_ms + own_ms)
    return times


def may_be_stopped(task: Task[Unit], unit: Unit) -> bool:
    """Tell whether no container that was to start after this one lives any more."""
    name = unit.spec["name"]
    return all(
        other.end is not None
        for other in task.units
        if any(after["container"] == name for after in other.spec["starts_after"])
    )


def has_started(task: Task[Unit]) -> bool:
    """Tell whether all essential containers run, or have run."""
    return all(unit.started_at_ms is not None for unit in task.units if unit.spec["is_essential"])


def _holds(target: Unit, condition: str) -> bool:
    if condition == _START:
        return target.started_at_ms is not None
    if target.end is None or target.end.exit_code is None:
        return False
    return condition == _COMPLETE or target.end.exit_code == 0
