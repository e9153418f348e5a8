"""What the end of a task of several containers comes to."""

from __future__ import annotations

import pytest

from batchyard.core.inputs import ContainerEnded, TaskEnded
from batchyard.core.verdict import judge
from batchyard.model.ids import TaskId
from batchyard.model.records import ContainerResult


def main(exit_code: int | None, **more) -> ContainerEnded:
    return ContainerEnded(name="main", is_essential=True, exit_code=exit_code, **more)


def side(exit_code: int | None, **more) -> ContainerEnded:
    return ContainerEnded(name="side", is_essential=False, exit_code=exit_code, **more)


def verdict(*containers: ContainerEnded, exit_code: int | None = None, reason: str | None = None):
    return judge(
        TaskEnded(
            task_id=TaskId("t"),
            at_ms=1,
            exit_code=exit_code,
            reason=reason,
            containers=containers,
        )
    )


@pytest.mark.parametrize(
    ("containers", "is_success", "exit_code"),
    [
        ((main(0), side(0)), True, 0),
        ((main(0), side(3)), True, 0),
        ((main(0), side(137, was_stopped=True)), True, 0),
        ((main(4), side(0)), False, 4),
        ((main(0), main(137, was_stopped=True)), True, 0),
        ((main(0), main(2)), False, 2),
        ((main(137, was_stopped=True), main(5)), False, 5),
        ((main(143, was_stopped=True), side(0)), False, 143),
    ],
)
def test_essential_containers_that_ended_by_themselves_decide(
    containers: tuple[ContainerEnded, ...], is_success: bool, exit_code: int
) -> None:
    found = verdict(*containers)
    assert (found.is_success, found.exit_code) == (is_success, exit_code)


def test_what_kept_the_task_from_starting_is_the_reason() -> None:
    found = verdict(main(None, was_stopped=True), side(None, reason="CannotPullContainerError: x"))
    assert not found.is_success
    assert (found.exit_code, found.reason) == (None, "CannotPullContainerError: x")


def test_a_lost_task_has_neither_code_nor_success() -> None:
    found = verdict(main(None), side(None), reason="DockerStateError: gone")
    assert (found.is_success, found.exit_code) == (False, None)


def test_the_result_of_each_container_is_kept() -> None:
    found = verdict(main(0), side(137, reason="OutOfMemoryError: x", was_stopped=True))
    assert found.containers == (
        ContainerResult(name="main", exit_code=0),
        ContainerResult(name="side", exit_code=137, reason="OutOfMemoryError: x"),
    )


def test_a_single_container_speaks_for_its_task() -> None:
    found = verdict(exit_code=7, reason="OutOfMemoryError: x")
    assert (found.is_success, found.exit_code, found.reason) == (False, 7, "OutOfMemoryError: x")
    assert found.containers == ()
