"""How usage is counted, and whose turn it is.

What is counted in integers is compared with the same formula in floating point, worked out for each
attempt by itself.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from math import exp2, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId
from batchyard.scheduler.fair_share import (
    AHEAD_MS,
    FairOrder,
    ShareView,
    decay_factor,
    least_usage_after,
    reserve_limit,
    usage_after,
)
from batchyard.scheduler.view import WaitingJob

WINDOW_MS = 600_000
ONE = 1 << 64
WEIGHT_ONE = 10_000

WINDOWS_MS = st.integers(600, 604_800).map(lambda seconds: 1000 * seconds)


def test_what_was_used_counts_half_after_a_window() -> None:
    assert decay_factor(0, WINDOW_MS) == ONE
    assert decay_factor(WINDOW_MS, WINDOW_MS) == ONE // 2
    assert decay_factor(10 * WINDOW_MS, WINDOW_MS) == ONE // 1024
    assert decay_factor(1000 * WINDOW_MS, WINDOW_MS) == 0
    assert usage_after(1000, 0, elapsed_ms=WINDOW_MS, window_ms=WINDOW_MS) == 500


def test_the_numbers_are_the_same_on_every_machine() -> None:
    assert decay_factor(WINDOW_MS // 2, WINDOW_MS) == 13043817825332782212
    assert usage_after(123_456_789, 2000, elapsed_ms=98_765, window_ms=WINDOW_MS) == 296_822_292


@given(st.integers(0, 10**10), WINDOWS_MS)
def test_the_decay_is_that_of_the_formula(elapsed_ms: int, window_ms: int) -> None:
    expected = exp2(-elapsed_ms / window_ms)
    assert decay_factor(elapsed_ms, window_ms) / ONE == pytest.approx(expected, rel=1e-9, abs=1e-15)


@given(st.integers(1, 10**6), st.integers(1, 10**9), WINDOWS_MS)
def test_a_use_counts_as_its_integral(cpu_milli: int, elapsed_ms: int, window_ms: int) -> None:
    expected = cpu_milli * window_ms / log(2) * -(2 ** (-elapsed_ms / window_ms) - 1)
    found = usage_after(0, cpu_milli, elapsed_ms=elapsed_ms, window_ms=window_ms)
    assert found == pytest.approx(expected, rel=1e-5, abs=2)


@given(
    st.lists(st.tuples(st.integers(0, 64_000), st.integers(0, 10**7)), max_size=8),
    st.integers(0, 10**12),
    WINDOWS_MS,
)
def test_it_does_not_matter_where_a_time_is_cut(
    pieces: list[tuple[int, int]], usage: int, window_ms: int
) -> None:
    """Counted piece by piece, it is the sum over all moments, each by its age at the end."""
    found = usage
    for cpu_milli, elapsed_ms in pieces:
        found = usage_after(found, cpu_milli, elapsed_ms=elapsed_ms, window_ms=window_ms)
    age_ms = sum(elapsed_ms for _, elapsed_ms in pieces)
    expected = usage * exp2(-age_ms / window_ms)
    for cpu_milli, elapsed_ms in pieces:
        age_ms -= elapsed_ms
        fresh = 1 - exp2(-elapsed_ms / window_ms)
        expected += cpu_milli * window_ms / log(2) * fresh * exp2(-age_ms / window_ms)
    assert found == pytest.approx(expected, rel=1e-6, abs=20)


def test_the_reserve_is_a_power_of_the_active_shares() -> None:
    assert [reserve_limit(8000, 50, n) for n in (1, 2, 3)] == [4000, 6000, 7000]
    assert [reserve_limit(64_000, 25, n) for n in (1, 2, 3)] == [48_000, 60_000, 63_000]
    assert reserve_limit(8000, 99, 500) == 7947


def some_jobs(name: str, seqs: list[int] | None = None, cpu_milli: int = 1000):
    for seq in seqs if seqs is not None else count(1):
        yield WaitingJob(job_id=JobId(f"{name}{seq}"), demand=Amount(cpu_milli=cpu_milli), seq=seq)


def share(name: str, *, weight: float = 1, usage: int = 0, running: int = 0, seqs=None, vcpus=1):
    return ShareView(
        identifier=name,
        weight_e4=round(weight * WEIGHT_ONE),
        usage=usage,
        cpu_milli=1000 * running,
        front_seq=seqs[0] if seqs else 1,
        jobs=some_jobs(name, seqs, 1000 * vcpus),
    )


def an_order(*shares: ShareView, limit: int | None = None, is_alone: bool = False) -> FairOrder:
    return FairOrder(
        shares,
        cpu_milli_used=sum(each.cpu_milli for each in shares),
        cpu_milli_limit=limit,
        is_alone=is_alone,
    )


def taken(order: FairOrder, number: int) -> list[str]:
    found: list[str] = []
    while len(found) < number and (job := order.peek()) is not None and not order.is_held_back():
        assert order.peek() is job
        found.append(job.job_id)
        order.take()
    return found


def test_shares_without_a_history_take_turns_in_one_round() -> None:
    order = an_order(share("a", seqs=[1, 2, 5]), share("b", seqs=[3, 4]))
    assert taken(order, 9) == ["a1", "b3", "a2", "b4", "a5"]
    assert order.peek() is None


def test_among_equal_shares_the_older_job_goes_first() -> None:
    assert taken(an_order(share("a", seqs=[9]), share("b", seqs=[3])), 2) == ["b3", "a9"]


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ({"a": 1, "b": 3}, {"a": 9, "b": 3}),
        ({"a": 0.125, "b": 1}, {"a": 16, "b": 2}),
        ({"a": 1, "b": 1, "c": 2}, {"a": 6, "b": 6, "c": 3}),
        ({"a": 0.0001, "b": 999.9999}, {"a": 20, "b": 1}),
    ],
)
def test_what_runs_stands_as_the_weights_say(
    weights: dict[str, float], counts: dict[str, int]
) -> None:
    order = an_order(*(share(name, weight=weight) for name, weight in weights.items()))
    assert Counter(each[0] for each in taken(order, sum(counts.values()))) == counts


def test_a_new_share_comes_first_until_it_has_caught_up() -> None:
    used = share("a", usage=3 * 1000 * AHEAD_MS + 1, seqs=[1, 2, 3])
    order = an_order(used, share("new", seqs=[7, 8, 9, 10, 11]))
    assert taken(order, 6) == ["new7", "new8", "new9", "new10", "a1", "new11"]


def test_a_job_of_more_vcpus_counts_more() -> None:
    order = an_order(share("wide", vcpus=4), share("b"))
    assert Counter(each[0] for each in taken(order, 10)) == {"w": 2, "b": 8}


def test_shares_hold_no_more_than_is_not_reserved() -> None:
    order = an_order(share("a"), limit=4000, is_alone=True)
    assert taken(order, 9) == ["a1", "a2", "a3", "a4"]
    assert order.is_held_back()


def test_a_share_that_never_ran_may_go_into_the_reserve() -> None:
    order = an_order(share("a", running=6), share("new"), limit=6000)
    assert taken(order, 9) == ["new1"]
    assert order.peek() == next(some_jobs("new", [2]))
    assert order.is_held_back()


def test_the_only_share_has_no_reserve_to_go_into() -> None:
    order = an_order(share("a", vcpus=5), limit=4000, is_alone=True)
    assert order.peek() is not None
    assert order.is_held_back()


def test_a_head_that_is_held_back_lets_no_smaller_job_pass() -> None:
    big = share("a", vcpus=4, usage=1)
    order = an_order(big, share("b", usage=2), limit=3000)
    assert taken(order, 9) == []


def test_five_hundred_shares_are_read_only_as_far_as_they_are_taken() -> None:
    read = 0

    def endless(name: str):
        nonlocal read
        for job in some_jobs(name):
            read += 1
            yield job

    shares = [share(f"s{number}") for number in range(500)]
    for each in shares:
        each.jobs = endless(each.identifier)
    assert len(set(taken(an_order(*shares), 20))) == 20
    assert read <= 41


@given(
    usage=st.integers(0, 10**15),
    cpu_milli=st.integers(0, 10**9),
    elapsed_ms=st.one_of(st.integers(-100, 100), st.integers(0, 10**9)),
    window_ms=st.integers(600_000, 604_800_000),
)
def test_a_usage_is_never_below_its_bound(usage, cpu_milli, elapsed_ms, window_ms):
    span = {"elapsed_ms": elapsed_ms, "window_ms": window_ms}
    assert least_usage_after(usage, cpu_milli, **span) <= usage_after(usage, cpu_milli, **span)


@pytest.mark.parametrize("cpu_milli", [0, 10**7])
def test_the_bound_of_a_usage_is_close_for_what_was_counted_of_late(cpu_milli):
    span = {"elapsed_ms": 60_000, "window_ms": 86_400_000}
    exact = usage_after(10**12, cpu_milli, **span)
    assert exact * 0.9999 < least_usage_after(10**12, cpu_milli, **span) <= exact
