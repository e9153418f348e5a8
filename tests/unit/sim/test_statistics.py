"""Figures about many values, against the plain way to work them out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchyard.sim.report import Spread
from batchyard.sim.sharing import ShareGroup, ShareUse, Sharing
from batchyard.sim.statistics import POINTS_MAX, Course, jain_index, spread_of


def test_a_spread_is_of_values_that_occur() -> None:
    assert spread_of([4, 1, 3, 2]) == Spread(count=4, mean=2.5, median=2, p90=4, p99=4, max=4)
    hundred = spread_of(range(1, 101))
    assert (hundred.median, hundred.p90, hundred.p99, hundred.max) == (50, 90, 99, 100)
    assert spread_of([]).count == 0


def test_jains_index() -> None:
    assert jain_index([1, 1, 1]) == 1
    assert jain_index([1, 0, 0, 0]) == 0.25
    assert jain_index([]) == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(0, 29),
)
def test_a_course_keeps_sums_in_few_stretches_and_ends_where_it_was_marked(
    stretches: list[tuple[int, int]], last: int
) -> None:
    course, now_ms, total = Course(columns=1), 0, 0
    end_ms = until_end = 0
    for index, (length, value) in enumerate(stretches):
        course.add(now_ms, now_ms + length, [value])
        now_ms += length
        total += length * value
        if index == min(last, len(stretches) - 1):
            course.mark_end()
            end_ms, until_end = now_ms, total
    points = course.averages()
    assert len(points) <= POINTS_MAX
    ends = [at_ms for at_ms, _ in points[1:]] + [end_ms]
    summed = sum(
        values[0] * (end - at_ms) for (at_ms, values), end in zip(points, ends, strict=True)
    )
    assert summed == pytest.approx(until_end)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 3), st.integers(0, 3), st.integers(0, 4000)),
        max_size=40,
    )
)
def test_dues_are_the_plain_sums(changes: list[tuple[int, int, int, int]]) -> None:
    pair = ShareGroup(0.5)  # The last two have a prefix in common.
    groups = [ShareGroup(1.0), ShareGroup(2.0), pair, pair]
    shares = [ShareUse(str(index), group) for index, group in enumerate(groups)]
    sharing, now_ms = Sharing(shares), 0
    due, contended = [0.0] * 4, [0] * 4
    for span_ms, index, waiting, cpu_milli in changes:
        waits = [each for each in range(4) if shares[each].waiting]
        weights = {}
        for each in waits:
            group = groups[each]
            count = sum(groups[other] is group for other in waits)
            weights[each] = 1 / group.weight_factor / count
        used = sum(shares[each].cpu_milli for each in waits)
        for each in waits:
            due[each] += span_ms * used * weights[each] / sum(weights.values())
            contended[each] += span_ms * shares[each].cpu_milli
        now_ms += span_ms
        sharing.advance(now_ms)
        share = shares[index]
        sharing.change(
            share, waiting=waiting - share.waiting, cpu_milli=cpu_milli - share.cpu_milli
        )
    for share in shares:
        sharing.count(share)
    assert [share.due for share in shares] == pytest.approx(due)
    assert [share.contended for share in shares] == contended
