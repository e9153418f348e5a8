"""Many runs into the future: what is certain is exact, what is not is an interval."""

from __future__ import annotations

import os
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.core.cycle import run_turn
from batchyard.model.forecast import Basis, GaveUp, Interval
from batchyard.sim.forward import Bounds, End
from batchyard.sim.looking import Limits, Seen, interval_of, look
from tests.builders import a_job, queue_arn
from tests.unit.sim.futures import KIND, a_past, a_yard, foretell

FEW = Limits(runs_max=20)


def test_jobs_that_never_vary_start_at_the_very_moment() -> None:
    """One at a time, 60 s each; the first has run for 20 s."""
    state = a_yard(jobs=4)
    found = foretell(state, a_past([60] * 5), 2, 3, 4, now_ms=20_000, limits=FEW)
    starts = [(each.start, each.started_count) for each in found.jobs]
    assert starts == [
        (Interval(p10_ms=at, p50_ms=at, p90_ms=at), 20) for at in (60_000, 120_000, 180_000)
    ]
    assert found.gave_up is None
    assert found.all_started == Interval(p10_ms=180_000, p50_ms=180_000, p90_ms=180_000)


def test_the_end_of_all_is_told_too() -> None:
    found = foretell(a_yard(jobs=2), a_past([60] * 5), 2, until_ended=True, limits=FEW)
    assert found.all_ended == Interval(p10_ms=120_000, p50_ms=120_000, p90_ms=120_000)


def test_what_a_run_rests_on_is_told_and_the_nearest_history_is_taken() -> None:
    state = a_yard(jobs=2)
    other = type(KIND)("other", queue_arn())
    far = type(KIND)("far", queue_arn("far"))
    own, near, all_ = a_past([60] * 5), a_past([70] * 5, other), a_past([80] * 5, far)
    for past, basis, count, start_s in (
        (own + near + all_, Basis.DEFINITION, 5, 60),
        (near + all_, Basis.QUEUE, 5, 70),
        (all_, Basis.ALL, 5, 80),
        (own[:4], Basis.DEFINITION, 4, 60),
        ([], Basis.DEFAULT, 0, 600),
    ):
        found = foretell(state, past, 2, limits=FEW)
        assert [(each.basis, each.sample_count) for each in found.bases] == [(basis, count)]
        start = found.jobs[0].start
        assert None not in (start.p10_ms, start.p90_ms)
        if basis is Basis.DEFINITION:
            assert start.p10_ms == start.p90_ms == start_s * 1000
        else:  # Others' times, or a guess: it may be otherwise by far.
            assert start.p10_ms < start_s * 500
            assert start.p90_ms > start_s * 2000


def test_without_a_past_an_attempt_runs_until_its_timeout() -> None:
    found = foretell(a_yard(jobs=2, timeout_ms=90_000), [], 2, limits=FEW)
    assert [each.basis for each in found.bases] == [Basis.TIMEOUT]
    assert found.jobs[0].start.p90_ms == 90_000


def test_failed_attempts_are_tried_again_as_in_the_past() -> None:
    state = a_yard(jobs=2, attempts=3)
    found = foretell(state, a_past([10] * 5, exit_code=1), 2, limits=FEW)
    assert found.jobs[0].start.p50_ms == 30_000  # The first is tried again before it.


def test_what_never_starts_is_no_time() -> None:
    too_large = a_yard(jobs=0)
    run_turn(too_large, [a_job(1, cpu_milli=2000)], 0)
    found = foretell(too_large, [], 1, limits=FEW)
    assert (found.jobs[0].start, found.jobs[0].started_count) == (Interval(), 0)
    assert found.gave_up is None


def test_a_bound_on_turns_gives_up_and_says_what_was_reached() -> None:
    state = a_yard(jobs=50)
    limits = Limits(turns_per_run_max=10, turns_total=30)
    found = foretell(state, a_past([60] * 5), 2, 50, limits=limits)
    assert found.gave_up is GaveUp.TURNS
    assert found.run_count == 3
    assert found.jobs[0].start.p90_ms == 60_000
    assert found.jobs[1].start == Interval()
    assert found.reached_start_count > 5
    assert found.reached_ms >= 8 * 60_000


def test_a_bound_on_time_ahead_gives_up() -> None:
    limits = Limits(horizon_ms=100_000, runs_max=5)
    found = foretell(a_yard(jobs=4), a_past([60] * 5), 2, 4, limits=limits)
    assert (found.gave_up, found.reached_ms) == (GaveUp.HORIZON, 100_000)
    assert [each.start.p50_ms for each in found.jobs] == [60_000, None]


def test_a_bound_on_the_clock_gives_up() -> None:
    found = foretell(a_yard(jobs=4), a_past([60] * 5), 4, limits=Limits(wall_s=-1.0))
    assert (found.gave_up, found.run_count) == (GaveUp.CLOCK, 1)


def test_runs_that_the_clock_cuts_are_left_out_if_there_are_enough_others() -> None:
    def make(number: int, bounds: Bounds) -> Seen:
        end = End.CLOCK if number == 15 else End.DONE
        return Seen(
            end=end, reached_ms=9, turn_count=1, start_count=1, started_ms=(5,), ended_ms=()
        )

    assert len(look(make, Limits(runs_max=16))) == 15


@settings(deadline=None)
@given(
    run_s=st.lists(st.integers(1, 1000), min_size=1, max_size=20),
    now_s=st.integers(0, 2000),
    vcpus=st.integers(1, 3),
    seed=st.integers(0, 2**31),
)
def test_the_ends_of_intervals_are_in_order(
    run_s: list[int], now_s: int, vcpus: int, seed: int
) -> None:
    state = a_yard(vcpus=vcpus, jobs=5)
    limits = Limits(runs_max=11)
    found = foretell(state, a_past(run_s), 4, 5, now_ms=now_s * 1000, seed=seed, limits=limits)
    for each in found.jobs:
        ends = (each.start.p10_ms, each.start.p50_ms, each.start.p90_ms)
        assert None not in ends
        assert now_s * 1000 <= ends[0] <= ends[1] <= ends[2]
    first, second = found.jobs
    assert first.start.p50_ms <= second.start.p50_ms


@given(st.lists(st.none() | st.integers(0, 100), min_size=1), st.none() | st.integers(0, 100))
def test_intervals_of_anything_are_in_order(times: list[int | None], limit: int | None) -> None:
    found = interval_of(times, limit)
    ends = [found.p10_ms, found.p50_ms, found.p90_ms]
    known = [each for each in ends if each is not None]
    assert known == sorted(known)
    assert ends[: len(known)] == known, "what is later than known is not known either"


PROGRAM = """
from tests.unit.sim.futures import a_past, a_yard, foretell
print(foretell(a_yard(vcpus=2, jobs=9), a_past([5, 9, 20, 44, 80, 200]), 4, 9, seed=7))
"""


def test_equal_states_and_seeds_give_equal_answers_whatever_the_hash_seed() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1
    assert "p90_ms" in told.pop()


def test_another_seed_gives_another_answer() -> None:
    state, past = a_yard(vcpus=2, jobs=9), a_past([5, 9, 20, 44, 80, 200])
    assert foretell(state, past, 9, seed=1) != foretell(state, past, 9, seed=2)
