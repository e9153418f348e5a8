"""How long attempts will take: drawn from the past, alike where they were alike."""

from __future__ import annotations

from math import exp
from random import Random
from statistics import fmean, quantiles

import pytest
from msgspec.structs import replace

from batchyard.sim.durations import Draws, History
from batchyard.store.run_times import Origin, PastAttempt
from tests.builders import job_id
from tests.unit.sim.futures import KIND, a_past

RUNS = 400


def drawn(past: list[PastAttempt], number: int = 1, *, batch: str = "new", running=None, **asked):
    """Give the run times of a job in many futures, in seconds."""
    asked = {"elapsed_ms": None, "timeout_ms": None, **asked}
    origins = {job_id(each): Origin(KIND, batch) for each in (1, 2)}
    history = History(past)
    fates = [
        Draws(history, origins, running or {}, seed=1, run=run).fate_of(job_id(number), 1, **asked)
        for run in range(RUNS)
    ]
    return [(each.run_ms or 0) / 1000 for each in fates]


def in_batches(spread_between: float, spread_within: float) -> list[PastAttempt]:
    chance = Random(5)
    past = []
    for batch in range(40):
        factor = exp(chance.gauss(0, spread_between))
        times = [100 * factor * exp(chance.gauss(0, spread_within)) for _ in range(6)]
        past += [replace(each, batch=str(batch)) for each in a_past(times)]
    return past


def correlation(one: list[float], other: list[float]) -> float:
    ranks = [{each: place for place, each in enumerate(sorted(times))} for times in (one, other)]
    pairs = [(ranks[0][a], ranks[1][b]) for a, b in zip(one, other, strict=True)]
    middle = (len(one) - 1) / 2
    covariance = fmean((a - middle) * (b - middle) for a, b in pairs)
    return covariance / fmean((a - middle) ** 2 for a, _ in pairs)


def test_times_spread_as_those_of_the_past_did() -> None:
    past = in_batches(0.0, 0.5)
    lived = [each.running_ms / 1000 for each in past]
    told = drawn(past)
    for was, is_ in zip(quantiles(lived, n=10), quantiles(told, n=10), strict=True):
        assert is_ == pytest.approx(was, rel=0.2)


def test_what_never_varied_does_not_vary() -> None:
    assert set(drawn(a_past([60] * 9))) == {60}


def test_jobs_that_came_together_are_late_together_as_much_as_in_the_past() -> None:
    alike, unlike = in_batches(0.5, 0.1), in_batches(0.0, 0.5)
    assert correlation(drawn(alike, 1), drawn(alike, 2)) > 0.8
    assert abs(correlation(drawn(unlike, 1), drawn(unlike, 2))) < 0.2


def test_what_has_ended_of_a_batch_moves_the_rest_of_it() -> None:
    alike = in_batches(0.5, 0.1)
    slow = [replace(each, batch="new") for each in a_past([300, 310])]
    assert fmean(drawn(alike)) < 150
    assert fmean(drawn(slow + alike)) > 220


def test_what_runs_for_long_of_a_batch_moves_the_rest_of_it() -> None:
    alike = in_batches(0.5, 0.1)
    running = {Origin(KIND, "new"): [250_000, 250_000]}
    assert fmean(drawn(alike, running=running)) > fmean(drawn(alike)) + 50


def test_what_has_run_for_a_while_ends_later_than_that() -> None:
    past = a_past([10, 20, 30, 40, 50, 60])
    assert min(drawn(past, elapsed_ms=35_000)) > 35
    # It has outrun them all by 40 s: it takes about as long again.
    rest = [each - 100 for each in drawn(past, elapsed_ms=100_000)]
    assert min(rest) > 0
    assert fmean(rest) == pytest.approx(40, rel=0.3)
