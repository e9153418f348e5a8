"""What still runs counts among what has ended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.sim.outliving import Watched, watched, weights_of


def seen(*until_ms: int) -> list[Watched]:
    return [Watched(0, each) for each in until_ms]


def test_where_nothing_runs_all_count_for_the_same() -> None:
    weights, beyond = weights_of(seen(40, 10, 10, 30), [])
    assert weights == pytest.approx([0.25] * 4)
    assert beyond == pytest.approx(0)


def test_what_runs_is_shared_by_those_that_took_longer() -> None:
    weights, beyond = weights_of(seen(30, 10), seen(20))
    assert weights == pytest.approx([2 / 3, 1 / 3])
    assert beyond == pytest.approx(0)


def test_what_outruns_all_lies_beyond_them() -> None:
    weights, beyond = weights_of(seen(10, 20), seen(50, 60))
    assert weights == pytest.approx([0.25, 0.25])
    assert beyond == pytest.approx(0.5)


def test_what_was_seen_late_says_nothing_of_what_was_before() -> None:
    """At 10 two were seen, at 20 two: the one that ended at 10 stands for half of all."""
    weights, _ = weights_of([Watched(0, 10), Watched(0, 30), Watched(15, 20)], [])
    assert weights == pytest.approx([0.5, 0.25, 0.25])
    # Nobody else was seen at 10: that does not mean that all end then.
    weights, _ = weights_of([Watched(0, 10), Watched(15, 20)], [])
    assert weights[1] == pytest.approx(0.37, abs=0.01)


def test_an_attempt_is_seen_from_when_the_past_began() -> None:
    assert watched(began_ms=100, until_ms=50, since_ms=None) == Watched(0, 50)
    assert watched(began_ms=100, until_ms=50, since_ms=130) == Watched(30, 50)
    assert watched(began_ms=100, until_ms=50, since_ms=150) == Watched(49, 50)
    assert watched(began_ms=100, until_ms=0, since_ms=None) == Watched(0, 1)


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), min_size=1),
    st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50))),
)
def test_parts_are_parts_of_a_whole(
    ended: list[tuple[int, int]], running: list[tuple[int, int]]
) -> None:
    def seen_late(pairs: list[tuple[int, int]]) -> list[Watched]:
        return [Watched(late, late + more) for late, more in pairs]

    weights, beyond = weights_of(seen_late(ended), seen_late(running))
    assert sum(weights) + beyond == pytest.approx(1)
    assert min(weights) > 0
    assert beyond >= 0
