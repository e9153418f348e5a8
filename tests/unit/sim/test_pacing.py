"""What runs did not come to: told by the pace of its line, as if they had come to it."""

from __future__ import annotations

from random import Random

import pytest

from batchyard.core.cycle import run_turn
from batchyard.core.state import State
from batchyard.model.forecast import Future, GaveUp, Interval
from batchyard.sim.looking import Limits
from tests.builders import a_job, a_policy, a_queue
from tests.unit.sim.futures import a_past, a_yard, foretell

WHOLE = Limits(runs_max=20, turns_per_run_max=10**9, turns_total=10**9)
PACED = Limits(runs_max=20, turns_per_run_max=150, turns_total=3000, is_parted=True)


def varied(seed: int = 3) -> list:
    draw = Random(seed)
    return a_past(draw.lognormvariate(4, 0.8) for _ in range(60))


def near(found: Interval, expected: Interval, *, now_ms: int = 0, part: float = 0.06) -> bool:
    pairs = (
        (found.p10_ms, expected.p10_ms),
        (found.p50_ms, expected.p50_ms),
        (found.p90_ms, expected.p90_ms),
    )
    return all(
        one is not None and other is not None and one - now_ms == pytest.approx(other, rel=part)
        for one, other in pairs
    )


def both(state: State, *numbers: int) -> tuple[Future, Future]:
    paced = foretell(state, varied(), *numbers, limits=PACED, until_ended=True)
    assert (paced.gave_up, paced.run_count, paced.paced_after is not None) == (
        GaveUp.TURNS,
        20,
        True,
    )
    whole = foretell(state, varied(), *numbers, limits=WHOLE, until_ended=True)
    assert (whole.gave_up, whole.paced_after) == (None, None)
    return paced, whole


def test_a_line_goes_on_as_it_was_served() -> None:
    paced, whole = both(a_yard(vcpus=4, jobs=800), 100, 500, 800)
    assert paced.jobs[0] == whole.jobs[0], "runs came to it"
    for one, other in zip(paced.jobs[1:], whole.jobs[1:], strict=True):
        assert near(one.start, other.start)
        assert one.started_count == 20
    assert near(paced.all_started, whole.all_started)
    assert near(paced.all_ended, whole.all_ended)


def test_wide_jobs_hold_up_more() -> None:
    """The last 200 before the last one are four times as wide as those that are run."""
    state = a_yard(vcpus=4, jobs=300)
    run_turn(state, [a_job(number, cpu_milli=4000) for number in range(301, 501)], 0)
    run_turn(state, [a_job(501)], 0)
    paced, whole = both(state, 501)
    # Four vCPUs at a time are never idle with single ones, but the wide wait for the slowest.
    assert near(paced.jobs[0].start, whole.jobs[0].start, part=0.35)
    start_ms = paced.jobs[0].start.p50_ms
    assert start_ms is not None
    alike = foretell(a_yard(vcpus=4, jobs=501), varied(), 501, limits=PACED).jobs[0].start.p50_ms
    assert alike is not None
    assert start_ms > 1.8 * alike


def test_an_array_ends_with_its_last_child_and_each_child_has_its_place() -> None:
    state = a_yard(vcpus=4, jobs=40)
    run_turn(state, [a_job(41, array_size=600), a_job(42)], 0)
    paced, whole = both(state, 41, 42)
    for one, other in zip(paced.jobs, whole.jobs, strict=True):
        assert near(one.start, other.start)
    assert near(paced.all_ended, whole.all_ended, part=0.1)


def test_each_share_goes_at_its_own_pace() -> None:
    queue = a_queue(policy=a_policy(a=1.0, b=3.0))
    state = a_yard(vcpus=4, jobs=0, queue=queue)
    jobs = [a_job(number, share_identifier="a" if number % 2 else "b") for number in range(1, 601)]
    run_turn(state, jobs, 0)
    paced, whole = both(state, 301, 302)
    assert near(paced.jobs[0].start, whole.jobs[0].start, part=0.15)
    a_ms, b_ms = (each.start.p50_ms for each in paced.jobs)
    assert a_ms is not None
    assert b_ms is not None
    assert b_ms > 2 * a_ms, "its share has a third of the other's weight"


def test_what_others_pass_over_is_not_told() -> None:
    """One that never fits stands first in line all the time; behind it nobody is held up."""
    state = a_yard(vcpus=4, jobs=0)
    run_turn(state, [a_job(1, cpu_milli=64_000)], 0)
    run_turn(state, [a_job(number) for number in range(2, 602)], 0)
    found = foretell(state, varied(), 1, 601, limits=PACED)
    assert (found.jobs[0].start, found.jobs[0].started_count) == (Interval(), 0)
    assert found.jobs[1].started_count == 20


def test_what_can_never_start_is_not_told_however_it_stands() -> None:
    """Those of higher priority that come in go before it: nobody passes it over."""
    queue = a_queue(policy=a_policy(a=1.0))
    state = a_yard(vcpus=4, jobs=0, queue=queue)
    urgent = [a_job(each, share_identifier="a", scheduling_priority=5) for each in range(1, 601)]
    run_turn(state, [a_job(601, cpu_milli=64_000, share_identifier="a"), *urgent], 0)
    found = foretell(state, varied(), 600, 601, limits=PACED)
    assert [each.started_count for each in found.jobs] == [20, 0]


def test_what_waits_for_others_is_not_told() -> None:
    state = a_yard(vcpus=4, jobs=600)
    run_turn(state, [a_job(601, after=(600,))], 0)
    found = foretell(state, varied(), 600, 601, limits=PACED)
    assert [each.started_count for each in found.jobs] == [20, 0]
    assert found.jobs[1].start == Interval()
    assert found.all_started == Interval()


def test_a_line_that_was_hardly_served_has_no_pace() -> None:
    state = a_yard(vcpus=4, jobs=600)
    low = a_queue("low", priority=0, seq=2)
    run_turn(state, [low, *(a_job(number, queue="low") for number in range(601, 640))], 0)
    found = foretell(state, varied(), 639, limits=PACED)
    assert found.jobs[0].start == Interval()
