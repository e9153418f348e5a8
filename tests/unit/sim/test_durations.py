"""How long attempts will take: drawn from the past, alike where they were alike."""

from __future__ import annotations

from math import exp
from random import Random
from statistics import fmean, quantiles

import pytest
from msgspec.structs import replace

from batchyard.sim.durations import Draws
from batchyard.sim.past_runs import History
from batchyard.sim.ranks import NORMAL
from batchyard.store.run_times import Origin, PastAttempt
from tests.builders import job_id
from tests.unit.sim.futures import KIND, a_past

RUNS = 400


def drawn(
    past: list[PastAttempt],
    number: int = 1,
    *,
    batch: str = "new",
    trait: str = "",
    kind=KIND,
    running=None,
    now_ms=0,
    **asked,
):
    """Give the run times of a job in many futures, in seconds."""
    asked = {"elapsed_ms": None, "timeout_ms": None, **asked}
    origins = {job_id(each): Origin(kind, batch, trait) for each in (1, 2)}
    history = History(past)
    fates = [
        Draws(history, origins, running or {}, seed=1, run=run, now_ms=now_ms).fate_of(
            job_id(number), 1, **asked
        )
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


def test_a_batch_of_which_enough_has_ended_goes_by_itself() -> None:
    """Two batches before it took twenty times as long: that says nothing of it any more."""
    chance = Random(5)

    def some(count: int, middle_s: float, batch: str) -> list[PastAttempt]:
        times = [middle_s * exp(chance.gauss(0, 0.1)) for _ in range(count)]
        return [replace(each, batch=batch) for each in a_past(times)]

    others = some(10, 100, "one") + some(10, 120, "other")
    low, *_, high = quantiles(drawn(some(40, 5, "new") + others), n=10)
    assert low == pytest.approx(5 * exp(-0.128), rel=0.1)
    assert high == pytest.approx(5 * exp(0.128), rel=0.1)
    low, *_, high = quantiles(drawn(some(10, 5, "new") + others), n=10)
    assert high > 3 * low, "of ten little is known"


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


def of_owners(spread_between: float, spread_within: float) -> list[PastAttempt]:
    """Six owners, each of whom has submitted ten times: the first is the fastest."""
    chance = Random(3)
    past = []
    for turn in range(60):
        owner = turn % 6
        middle = 100 * exp(spread_between * (owner - 2.5))
        times = [middle * exp(chance.gauss(0, spread_within)) for _ in range(3)]
        past += [
            replace(each, batch=str(turn), trait=f"u{owner} {turn % 2}") for each in a_past(times)
        ]
    return past


def test_jobs_of_an_owner_go_by_how_long_those_of_that_owner_took() -> None:
    alike = of_owners(0.8, 0.2)
    first, last = (sorted(drawn(alike, trait=f"u{each} 7"))[RUNS // 2] for each in (0, 5))
    assert first == pytest.approx(100 * exp(-2.0), rel=0.5)
    assert last == pytest.approx(100 * exp(2.0), rel=0.5)


def test_owners_make_no_difference_where_they_made_none() -> None:
    unlike = of_owners(0.0, 0.8)
    first, last = (sorted(drawn(unlike, trait=f"u{each} 7"))[RUNS // 2] for each in (0, 5))
    assert first == pytest.approx(last, rel=0.4)


def test_run_times_that_grow_are_followed() -> None:
    """From 100 s to ten times as much; the latest come first in a past."""
    chance = Random(8)
    times = [100 * 10 ** (place / 80) * exp(chance.gauss(0, 0.2)) for place in range(80)]
    told = sorted(drawn(a_past(reversed(times))))
    assert told[RUNS // 2] == pytest.approx(1000, rel=0.25)
    # The same without an order shows no growth.
    chance.shuffle(times)
    told = sorted(drawn(a_past(times)))
    assert told[RUNS // 2] < 500


def test_a_definition_that_is_new_may_differ_as_much_as_others_do() -> None:
    kinds = [type(KIND)(name, KIND.queue_arn) for name in "abcdef"]
    alike = [each for kind in kinds for each in a_past([95, 100, 100, 105] * 3, kind)]
    unlike = [
        each
        for place, kind in enumerate(kinds)
        for each in a_past([3**place, 3**place * 1.1] * 6, kind)
    ]
    new = type(KIND)("new", KIND.queue_arn)
    near, far = (quantiles(drawn(past, kind=new), n=10) for past in (alike, unlike))
    assert near[8] / near[0] < far[8] / far[0] / 3
    # Two of it have ended: the rest is like these.
    few = a_past([2000, 2100], new)
    assert quantiles(drawn(few + unlike, kind=new), n=10)[0] > 1000


def test_what_runs_of_a_new_definition_for_longer_than_others_moves_the_rest_of_it() -> None:
    known = a_past([60, 61, 62, 63, 64] * 3, type(KIND)("known", KIND.queue_arn))
    running = {Origin(KIND, "new"): [600_000] * 4}
    assert quantiles(drawn(known, running=running), n=10)[0] > 300


def test_a_guess_where_nothing_is_known_is_a_wide_one() -> None:
    told = quantiles(drawn([]), n=10)
    assert told[0] < 300
    assert told[8] > 1200
    assert min(drawn([], elapsed_ms=3_600_000)) > 3600
    assert correlation(drawn([], 1), drawn([], 2)) > 0.4


def test_what_runs_for_longer_than_all_that_ended_says_that_half_may() -> None:
    """In a young yard only the short ones have ended: six of twelve."""
    past = [replace(each, batch=str(place)) for place, each in enumerate(a_past(range(10, 16)))]
    running = {Origin(KIND, f"r{place}"): [500_000 + place] for place in range(6)}
    assert max(drawn(past)) < 100
    longer = [each for each in drawn(past, running=running) if each > 400]
    assert 0.3 < len(longer) / RUNS < 0.7


def test_of_a_past_that_is_cut_only_what_was_seen_counts() -> None:
    """Of an old yard the last 300 ends are known; as many run, but that is always so."""
    past = [
        replace(each, batch=str(place), stopped_ms=3_000_000 - place * 1000)
        for place, each in enumerate(a_past([600 + place % 9 for place in range(300)]))
    ]
    running = {Origin(KIND, f"r{place}"): [place * 10_000] for place in range(60)}
    told = drawn(past, running=running, now_ms=3_000_000)
    assert fmean(told) == pytest.approx(604, rel=0.05)


def test_a_short_past_is_taken_to_be_narrower_than_all_of_it() -> None:
    def ratio(count: int) -> float:
        chances = [(place + 0.5) / count for place in range(count)]
        Random(2).shuffle(chances)
        past = a_past([100 * exp(0.5 * NORMAL.inv_cdf(each)) for each in chances])
        told = quantiles(drawn(past), n=10)
        return told[8] / told[0]

    assert ratio(250) == pytest.approx(exp(0.5 * 2.56), rel=0.15)
    assert ratio(6) > ratio(250)
