"""What runs did not come to: told by the pace of its line, as if they had come to it."""

from __future__ import annotations

from random import Random

import pytest
from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.cycle import run_turn
from batchyard.core.state import State
from batchyard.model.forecast import Future, GaveUp, Interval
from batchyard.model.ids import HostId
from batchyard.sim.looking import Limits
from tests.builders import a_host, a_job, a_policy, a_queue, an_environment
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


def test_what_waits_for_others_starts_when_they_are_over_and_its_turn_has_come() -> None:
    """A chain from the middle of the line, one that waits for its end, and those behind both."""
    state = a_yard(vcpus=4, jobs=600)
    chain = [a_job(601, after=(100,)), a_job(602, after=(601,)), a_job(603, after=(602,))]
    run_turn(state, [*chain, a_job(604, after=(300, 600))], 0)
    run_turn(state, [a_job(number) for number in range(605, 640)], 0)
    paced, whole = both(state, 600, 602, 603, 604, 639)
    for one, other in zip(paced.jobs, whole.jobs, strict=True):
        assert near(one.start, other.start), one.job_id
    assert near(paced.all_ended, whole.all_ended)


def test_an_array_that_waits_for_an_array_begins_when_the_last_child_of_that_is_over() -> None:
    state = a_yard(vcpus=4, jobs=0)
    run_turn(state, [a_job(1, array_size=400), a_job(2, array_size=50, after=(1,))], 0)
    run_turn(state, [a_job(3, after=(2,))], 0)
    paced, whole = both(state, 2, 3)
    for one, other in zip(paced.jobs, whole.jobs, strict=True):
        assert near(one.start, other.start), one.job_id


def test_what_waits_for_what_stands_in_another_line_is_told() -> None:
    queue = a_queue(policy=a_policy(a=1.0, b=1.0))
    state = a_yard(vcpus=4, jobs=0, queue=queue)
    jobs = [a_job(number, share_identifier="a" if number % 2 else "b") for number in range(1, 601)]
    more = [
        a_job(601, share_identifier="a", after=(600,)),
        a_job(602, share_identifier="b", after=(601,)),
        a_job(603, share_identifier="a", after=(602,)),
    ]
    run_turn(state, [*jobs, *more], 0)
    paced, whole = both(state, 601, 602, 603)
    for one, other in zip(paced.jobs, whole.jobs, strict=True):
        assert near(one.start, other.start, part=0.1), one.job_id


def test_what_failed_in_a_run_is_known_to_keep_others_from_starting() -> None:
    """Half of the runs let fail what a job waits for; in the others its start is told."""
    state = a_yard(vcpus=4, jobs=600)
    run_turn(state, [a_job(601, after=(1,))], 0)
    past = [*varied(), *a_past([60] * 60, exit_code=1)]
    found = foretell(state, past, 601, 600, limits=PACED).jobs[0]
    assert 0 < found.started_count < 20
    assert found.start.p10_ms is not None
    assert found.start.p90_ms is None


def test_what_waits_for_what_is_not_told_is_not_told() -> None:
    state = a_yard(vcpus=4, jobs=0)
    run_turn(state, [a_job(1, cpu_milli=64_000)], 0)
    run_turn(state, [a_job(number) for number in range(2, 602)], 0)
    run_turn(state, [a_job(602, after=(1, 600)), a_job(603, after=(602,))], 0)
    found = foretell(state, varied(), 600, 602, 603, limits=PACED)
    assert [each.started_count for each in found.jobs] == [20, 0, 0]
    assert found.jobs[2].start == Interval()
    assert found.all_started == Interval()


def coming_in(*, every_ms: int) -> list[tuple[int, i.AcceptJob]]:
    return [(number * every_ms, a_job(10_000 + number)) for number in range(1, 2000)]


def low_queue(state: State, *, count: int, **queue) -> None:
    jobs = [a_job(number, queue="low") for number in range(601, 601 + count)]
    run_turn(state, [a_queue("low", priority=0, seq=2, **queue), *jobs], 0)


def test_a_queue_of_low_priority_goes_on_when_those_before_it_are_empty() -> None:
    state = a_yard(vcpus=4, jobs=600)
    low_queue(state, count=200)
    paced, whole = both(state, 601, 700, 800)
    for one, other in zip(paced.jobs, whole.jobs, strict=True):
        assert near(one.start, other.start), one.job_id


def test_a_queue_of_low_priority_waits_longer_if_more_comes_in_before_it() -> None:
    """About half as many come in as are served: what is before it takes twice as long."""
    found = []
    for arrivals in ([], coming_in(every_ms=38_000)):
        state = a_yard(vcpus=4, jobs=400)
        low_queue(state, count=40)
        for limits in (replace(PACED, turns_per_run_max=400, turns_total=8000), WHOLE):
            told = foretell(state, varied(), 640, limits=limits, arrivals=arrivals)
            found.append(told.jobs[0].start)
    alone, whole_alone, late, whole_late = found
    assert near(alone, whole_alone)
    assert near(late, whole_late, part=0.15)
    assert late.p50_ms is not None
    assert alone.p50_ms is not None
    assert late.p50_ms > 1.7 * alone.p50_ms


def test_a_queue_of_low_priority_is_not_told_where_as_much_comes_in_as_is_served() -> None:
    state = a_yard(vcpus=4, jobs=600)
    low_queue(state, count=40)
    arrivals = coming_in(every_ms=15_000)
    found = foretell(state, varied(), 640, limits=PACED, arrivals=arrivals)
    assert found.jobs[0].start == Interval()


def test_a_queue_of_low_priority_is_not_told_where_those_before_it_have_more() -> None:
    """Nobody knows how much of what they are served with is its, too."""
    other = a_host(cpu_milli=4000, memory_mib=10**6, host_id=HostId("other"))
    queue = a_queue(environments=("ce", "own"))
    state = a_yard(vcpus=4, jobs=600, queue=queue)
    run_turn(state, [other, an_environment("own", vcpus=4)], 0)
    low_queue(state, count=40)
    assert foretell(state, varied(), 640, limits=PACED).jobs[0].start == Interval()
