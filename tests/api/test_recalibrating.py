"""Ends of forecasts are moved until they miss as often as they should, and by no more.

Forecasters here say the same each time: the start is an hour off, times exp of N(0, spread).
"""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from random import Random
from statistics import NormalDist, fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from batchyard.api.own import recalibrating
from batchyard.api.own.recalibrating import FIRST, stretch_of, stretched
from batchyard.model.forecast import Interval, PastForecast, Stretch

pytestmark = pytest.mark.ours_only

FEW = 60


@pytest.fixture(autouse=True)
def few_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older must not be needed, and walks are fast."""
    monkeypatch.setattr(recalibrating, "READ_MAX", FEW)


HOUR = 3_600_000
Z_90 = NormalDist().inv_cdf(0.9)


def said_with(spread: float, now_ms: int, *, wait_ms: float = HOUR) -> Interval:
    low, middle, high = (round(now_ms + wait_ms * exp(spread * each)) for each in (-Z_90, 0, Z_90))
    return Interval(p10_ms=low, p50_ms=middle, p90_ms=high)


def kept(said: Interval, stretch: Stretch, now_ms: int, started_ms: int | None) -> PastForecast:
    assert said.p10_ms is not None
    assert said.p50_ms is not None
    assert said.p90_ms is not None
    return PastForecast(
        made_ms=now_ms,
        p10_ms=said.p10_ms,
        p50_ms=said.p50_ms,
        p90_ms=said.p90_ms,
        stretch=stretch,
        started_ms=started_ms,
    )


def walk(
    wait_ms: Callable[[Random], float], spread: float, *, count: int = 900
) -> list[PastForecast]:
    """Say the same every 20 minutes, so that three or so are open at any time."""
    chance = Random(4)
    past: list[PastForecast] = []
    for number in range(count):
        now_ms = number * HOUR // 3
        known = [
            each if (each.started_ms or 0) <= now_ms else replace(each, started_ms=None)
            for each in past[-recalibrating.READ_MAX :]
        ]
        stretch = stretch_of(known, known, now_ms)
        said = stretched(said_with(spread, now_ms), stretch, now_ms)
        past.append(kept(said, stretch, now_ms, now_ms + round(wait_ms(chance))))
    return past


def lognormal(spread: float, factor: float = 1.0) -> Callable[[Random], float]:
    return lambda chance: factor * HOUR * exp(chance.gauss(0, spread))


def missed(past: list[PastForecast]) -> tuple[float, float]:
    early = fmean((each.started_ms or 0) < each.p10_ms for each in past)
    return early, fmean((each.started_ms or 0) > each.p90_ms for each in past)


@pytest.mark.parametrize(
    ("said_spread", "factor"),
    [
        pytest.param(0.2, 1.0, id="too narrow"),
        pytest.param(0.7, 1.0, id="too wide"),
        pytest.param(0.4, 1.35, id="too early"),
        pytest.param(0.4, 0.75, id="too late"),
    ],
)
def test_ends_that_miss_too_often_or_too_rarely_are_moved_until_one_in_ten_does(
    said_spread: float, factor: float
) -> None:
    past = walk(lognormal(0.4, factor), said_spread)
    early, late = missed(past[100:])
    assert early == pytest.approx(0.1, abs=0.02)
    assert late == pytest.approx(0.1, abs=0.02)
    # Without it they would miss by far.
    as_before = [
        kept(said_with(said_spread, each.made_ms), Stretch(), 0, each.started_ms) for each in past
    ]
    assert abs(missed(as_before)[1] - 0.1) > 0.05


def test_ends_that_miss_one_in_ten_are_left_alone() -> None:
    past = walk(lognormal(0.4), 0.4)
    early, late = missed(past)
    assert early + late == pytest.approx(0.2, abs=0.02)
    for permille in ("low_permille", "high_permille"):
        found = [getattr(each.stretch, permille) for each in past]
        assert 900 < median(found) < 1150
        assert min(found) > 700
        assert max(found) < 1600


def test_a_past_that_is_cut_says_the_same_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stretch of three is needed: it is known from the stretches in the part that is left."""
    cut = walk(lognormal(0.6), 0.2, count=300)
    monkeypatch.setattr(recalibrating, "READ_MAX", 1000)
    whole = walk(lognormal(0.6), 0.2, count=300)
    assert whole[-1].stretch.high_permille > 2000
    for one, other in zip(cut, whole, strict=True):
        assert one.stretch.high_permille == pytest.approx(other.stretch.high_permille, rel=0.1)


def test_without_a_past_and_before_anything_is_over_ends_are_a_little_further_off() -> None:
    said = Interval(p10_ms=HOUR, p50_ms=2 * HOUR, p90_ms=4 * HOUR)
    moved = stretched(said, stretch_of([], [], 0), 0)
    assert moved == Interval(p10_ms=HOUR * 19 // 20, p50_ms=2 * HOUR, p90_ms=HOUR * 41 // 10)
    open_ = [kept(said, FIRST, 0, None)]
    assert stretch_of(open_, open_, HOUR - 1) == FIRST


def test_what_still_waits_after_its_end_is_late_and_what_is_not_over_yet_is_nothing() -> None:
    said = said_with(0.4, 0)
    waiting = [kept(said, Stretch(), 0, None)]
    found = stretch_of(waiting, waiting, (said.p90_ms or 0) + 1)
    assert found.high_permille > 1050
    assert found.low_permille < 1000
    # It started in time, but what was said with it may still be late: nothing is known before.
    started = [kept(said, Stretch(), 0, said.p50_ms)]
    assert stretch_of(started, started, said.p90_ms or 0).moment_count == 0


def test_what_is_said_about_one_moment_counts_as_one() -> None:
    now_ms = 3 * HOUR
    one = [kept(said_with(0.4, 0), Stretch(), 0, None)]
    many = [kept(said_with(0.4, at), Stretch(), at, None) for at in range(0, 300_000, 10_000)]
    assert stretch_of(many, many, now_ms).moment_count == 1
    assert stretch_of(many, many, now_ms).high_permille == pytest.approx(
        stretch_of(one, one, now_ms).high_permille, abs=2
    )
    apart = [kept(said_with(0.4, at), Stretch(), at, None) for at in (0, HOUR * 2 // 3)]
    assert stretch_of(apart, apart, now_ms).moment_count == 2


def test_a_queue_goes_by_its_own_as_soon_as_that_says_something() -> None:
    def said(count: int, started_ms: int | None) -> list[PastForecast]:
        made = [number * HOUR for number in range(count)]
        return [
            kept(said_with(0.4, at), Stretch(), at, None if started_ms is None else at + started_ms)
            for at in made
        ]

    late, in_time = said(9, None), said(4, HOUR)
    found = stretch_of(in_time, late, 100 * HOUR)
    assert (found.is_of_queue, found.high_permille > 1500) == (False, True)
    found = stretch_of(said(5, HOUR), late, 100 * HOUR)
    assert (found.is_of_queue, found.high_permille < 1000) == (True, True)


def test_no_stretch_leaves_its_bounds() -> None:
    past = [kept(said_with(0.4, at * HOUR), Stretch(), at * HOUR, None) for at in range(200)]
    found = stretch_of(past, past, 1000 * HOUR)
    assert (found.low_permille, found.high_permille) == (400, 5000)


def test_an_interval_without_a_width_gets_one_where_it_missed() -> None:
    said = Interval(p10_ms=HOUR, p50_ms=HOUR, p90_ms=HOUR)
    assert stretched(said, Stretch(low_permille=500, high_permille=500), 0) == said
    assert stretched(said, FIRST, 0) == said, "what is certain stays so until it is missed"
    moved = stretched(said, Stretch(high_permille=3050), 0)
    assert (moved.p10_ms, moved.p50_ms) == (HOUR, HOUR)
    assert moved.p90_ms == HOUR + HOUR // 10


@given(
    ends=st.lists(st.none() | st.integers(0, 10**9), min_size=3, max_size=3),
    low=st.integers(400, 5000),
    high=st.integers(400, 5000),
    now_ms=st.integers(0, 10**9),
)
def test_ends_stay_in_order_and_after_now(
    ends: list[int | None], low: int, high: int, now_ms: int
) -> None:
    known = sorted(now_ms + each for each in ends if each is not None)
    p10, p50, p90 = (known[place] if place < len(known) else None for place in range(3))
    start = Interval(p10_ms=p10, p50_ms=p50, p90_ms=p90)
    moved = stretched(start, Stretch(low_permille=low, high_permille=high), now_ms)
    found = [moved.p10_ms, moved.p50_ms, moved.p90_ms]
    assert [each is None for each in found] == [each is None for each in (p10, p50, p90)]
    told = [each for each in found if each is not None]
    assert told == sorted(told)
    assert all(each >= now_ms for each in told)
    assert moved.p50_ms == start.p50_ms
