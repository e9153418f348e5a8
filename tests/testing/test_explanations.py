"""What `explain` says of jobs that wait, and that what it says would help does.

Goal: for each reason the right one is told, in numbers, and each change that is told starts the job
once it is made, and one unit less does not. Method: each world is built anew for each change, which
is made through the API, in a yard with virtual time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.testing.states import Case
from tests.testing.states_of_others import CASES
from tests.testing.worlds import World, Worlds, check_all_that_is_told

_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    with ExitStack() as stack:
        yield Worlds(stack)


@pytest.fixture
def own() -> Iterator[ExitStack]:
    """End the yards that a test has for itself."""
    with ExitStack() as stack:
        yield stack


def bare(world: World, text: str) -> str:
    """Leave out what differs from world to world."""
    return _JOB_ID.sub("ID", text.replace(f"{world.name}-", ""))


def build(worlds: Worlds, own: ExitStack, case: Case) -> tuple[World, str, dict[str, Any]]:
    world, job_id = worlds.build(case.script, own, **case.settings)
    world.yard.advance(seconds=2)  # Lines in DescribeJobs may be a second old.
    return world, job_id, world.told(job_id)


@pytest.mark.parametrize("name", CASES)
def test_the_reason_is_told_in_numbers(worlds: Worlds, own: ExitStack, name: str) -> None:
    case = CASES[name]
    world, job_id, told = build(worlds, own, case)
    first = told["reasons"][0]
    assert (first["cause"], bare(world, first["text"])) == (case.cause, case.text)
    assert told["summary"].startswith(first["text"])
    assert case.numbers.items() <= first["numbers"].items()
    found = [(each["kind"], each.get("dimension"), each["by"]) for each in told.get("changes", [])]
    assert found == list(case.changes)
    together = told.get("together", {}).get("changes", [])
    found = [(each["kind"], each.get("dimension"), each["by"]) for each in together]
    assert found == list(case.together)
    shown = bare(world, world.job(job_id).get("statusReason", ""))
    assert shown == (case.text if case.status_reason is None else case.status_reason)


@pytest.mark.parametrize(
    "name", [name for name, each in CASES.items() if each.changes or each.together]
)
def test_each_change_starts_the_job_and_one_unit_less_does_not(
    worlds: Worlds, own: ExitStack, name: str
) -> None:
    case = CASES[name]
    world, job_id, told = build(worlds, own, case)
    assert not world.has_started(job_id)
    check_all_that_is_told(worlds, case.script, own, told, world.asked, **case.settings)


def test_a_job_that_has_room_waits_for_its_turn_alone(worlds: Worlds, own: ExitStack) -> None:
    _, _, told = build(worlds, own, CASES["a_license_is_short_for_the_one_before_it"])
    assert [each["cause"] for each in told["reasons"]] == ["TURN"]


def test_a_job_that_is_tried_again_says_how_it_ended_before(worlds: Worlds, own: ExitStack) -> None:
    _, _, told = build(worlds, own, CASES["it_is_tried_again"])
    [again] = [each for each in told["reasons"] if each["cause"] == "RETRY"]
    assert again["text"] == (
        "It is tried again: attempt 1 of 3 ended with exit code 1 (Essential container in task"
        " exited)."
    )
    assert again["numbers"] == {"attempts": 1, "attempts_max": 3}
