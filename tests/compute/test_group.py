"""What follows from where a task's containers stand: the pure part, without a container."""

from pathlib import Path

import pytest

from batchyard.compute.local.shapes import ContainerShape
from batchyard.compute.local.supervisor import group
from batchyard.compute.local.supervisor.probe import _spec
from batchyard.compute.local.supervisor.records import TaskRecord
from batchyard.compute.local.supervisor.task import Task
from batchyard.compute.local.supervisor.unit import Unit

pytestmark = [pytest.mark.ours_only]


def a_container(name: str, *waits: str, **changes: object) -> ContainerShape:
    """Make a container; a wait is `<container>:<condition>`."""
    (base,) = _spec(["true"])["containers"]
    pairs = [wait.partition(":") for wait in waits]
    after = [{"container": target, "condition": condition} for target, _, condition in pairs]
    return {**base, "name": name, "starts_after": after, **changes}  # type: ignore[typeddict-item]


def a_task(*containers: ContainerShape) -> Task:
    spec = _spec(["true"])
    spec["containers"] = list(containers)
    return Task(spec, TaskRecord("/nowhere", "t"))


def start(unit: Unit, clock_ms: int = 0) -> None:
    unit.started_at_ms = unit.started_clock_ms = clock_ms


def end(unit: Unit, exit_code: int | None) -> None:
    unit.end = unit.make_end(exit_code=exit_code, reason=None, was_stopped=False)


def test_units_are_named_by_their_place() -> None:
    assert [unit.unit_id for unit in a_task(a_container("a")).units] == ["probe"]
    units = a_task(a_container("a"), a_container("b")).units
    assert [(unit.number, unit.unit_id) for unit in units] == [(0, "probe-0"), (1, "probe-1")]


@pytest.mark.parametrize(
    ("condition", "is_ready"),
    [
        ("START", [False, True, True, True]),
        ("COMPLETE", [False, False, True, True]),
        ("SUCCESS", [False, False, True, False]),
    ],
)
def test_conditions(condition: str, is_ready: list[bool]) -> None:
    task = a_task(a_container("a", f"b:{condition}"), a_container("b"))
    a, b = task.units
    seen = [group.is_ready(task, a)]
    start(b)
    seen.append(group.is_ready(task, a))
    for code in (0, 1):
        end(b, code)
        seen.append(group.is_ready(task, a))
    assert seen == is_ready


@pytest.mark.parametrize("condition", ["START", "COMPLETE", "SUCCESS"])
def test_what_never_started_can_hold_nothing(condition: str) -> None:
    task = a_task(a_container("a", f"b:{condition}"), a_container("b"))
    a, b = task.units
    end(b, None)
    assert not group.is_ready(task, a)
    assert group.despair_of(task, a, 0) == (
        "dependency graph: failed to resolve the container ordering dependency [b] for target [a]"
    )


def test_the_waiting_ones_timeout_counts_from_the_opening() -> None:
    task = a_task(a_container("a", "b:START", start_timeout_ms=100), a_container("b"))
    a, b = task.units
    assert group.next_look_ms(task, a) is None
    task.opened_clock_ms = 1_000
    assert group.next_look_ms(task, a) == 1_100
    assert group.despair_of(task, a, 1_099) == ""
    assert group.despair_of(task, a, 1_100).endswith("[b] for target [a] has timed out.")
    start(b, 1_050)
    assert group.next_look_ms(task, a) is None  # nothing is left to wait for


def test_the_awaited_ones_timeout_counts_from_its_start() -> None:
    """As the ECS agent reads `startTimeout`."""
    task = a_task(
        a_container("a", "b:COMPLETE"),
        a_container("b", start_timeout_ms=100),
        a_container("c", "b:START"),
    )
    a, b, c = task.units
    task.opened_clock_ms = 0
    assert group.next_look_ms(task, a) is None
    start(b, 500)
    assert (group.next_look_ms(task, a), group.next_look_ms(task, c)) == (600, None)
    assert group.despair_of(task, a, 600).endswith("has timed out.")
    assert group.despair_of(task, c, 600) == ""
    end(b, 0)
    assert group.despair_of(task, a, 9_999) == ""


def test_stopping_goes_against_the_order_of_starting() -> None:
    task = a_task(a_container("a", "b:START"), a_container("b", "c:START"), a_container("c"))
    a, b, c = task.units
    assert [group.may_be_stopped(task, unit) for unit in (a, b, c)] == [True, False, False]
    end(a, 0)
    assert [group.may_be_stopped(task, unit) for unit in (b, c)] == [True, False]
    end(b, 0)
    assert group.may_be_stopped(task, c)


def test_a_task_has_started_with_its_essential_containers() -> None:
    task = a_task(a_container("a"), a_container("b", is_essential=False), a_container("c"))
    a, _, c = task.units
    start(a)
    assert not group.has_started(task)
    end(a, 0)
    start(c)
    assert group.has_started(task)


@pytest.mark.parametrize(
    ("containers", "fault"),
    [
        ([a_container("a"), a_container("b", "a:START")], ""),
        ([a_container("a"), a_container("a")], "container names must be unique in a task"),
        (
            [a_container("a", is_essential=False)],
            "a task needs at least one essential container",
        ),
        ([a_container("a", "a:START")], "containers wait for each other in a circle: a"),
    ],
)
def test_faults(containers: list[ContainerShape], fault: str) -> None:
    assert group.fault_of(containers) == fault


def test_records_name_what_they_hold(tmp_path: Path) -> None:
    record = TaskRecord(str(tmp_path), "t")
    assert record.spool_path("t-1") == f"{tmp_path}/t-1.spool"
