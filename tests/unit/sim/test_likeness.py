"""How alike jobs are, and what that says of those to come."""

from __future__ import annotations

from random import Random

import pytest

from batchyard.sim.likeness import (
    NONE,
    Batch,
    Likeness,
    batch_of,
    common_of,
    drawn,
    level_of,
    weighed,
)


def made(likeness: Likeness, *, groups: int, batches: int, size: int, seed: int) -> list[Batch]:
    """Draw a past from the model itself."""
    chance = Random(seed)
    levels = [chance.gauss(0, likeness.level**0.5) for _ in range(groups)]
    found = []
    for number in range(batches):
        group = number % groups
        move = (likeness.level * (1 - likeness.memory**2)) ** 0.5
        levels[group] = likeness.memory * levels[group] + chance.gauss(0, move)
        common = levels[group] + chance.gauss(0, likeness.batch**0.5)
        scores = [common + chance.gauss(0, likeness.own**0.5) for _ in range(size)]
        found.append(batch_of(str(group), [(each, 1.0) for each in scores]))
    return found


def expected(batches: list[Batch]) -> tuple[float, float, float]:
    weights = weighed(batches)[1]
    assert sum(weight for _, weight in weights) == pytest.approx(1)
    return (
        sum(each.level * weight for each, weight in weights),
        sum(each.batch * weight for each, weight in weights),
        sum(each.memory * weight for each, weight in weights),
    )


@pytest.mark.parametrize(
    "truth",
    [Likeness(0.0, 0.0, 1.0), Likeness(0.6, 0.1, 1.0), Likeness(0.0, 0.6, 1.0)],
)
def test_what_a_past_was_made_from_is_found_again(truth: Likeness) -> None:
    level, batch, _ = expected(made(truth, groups=8, batches=120, size=4, seed=1))
    assert level == pytest.approx(truth.level, abs=0.2)
    assert batch == pytest.approx(truth.batch, abs=0.2)


def test_levels_that_move_are_told_from_those_that_stay() -> None:
    moving, staying = (
        expected(made(Likeness(0.6, 0.1, each), groups=4, batches=120, size=4, seed=2))[2]
        for each in (0.75, 1.0)
    )
    assert moving < 0.9 < staying


def test_the_grouping_that_tells_more_of_the_past_is_the_likelier_one() -> None:
    told = made(Likeness(0.6, 0.1, 1.0), groups=6, batches=90, size=3, seed=3)
    mixed = [Batch(str(place % 7), each.count, each.mean, each.within)
             for place, each in enumerate(told)]  # fmt: skip
    assert weighed(told)[0] > weighed(mixed)[0] + 5


def test_the_latest_batches_say_most_of_a_level_that_moves() -> None:
    batches = [Batch("", 4, -1.0)] * 20 + [Batch("", 4, 1.0)] * 4
    moving, _ = level_of(Likeness(0.6, 0.1, 0.75), batches)
    staying, _ = level_of(Likeness(0.6, 0.1, 1.0), batches)
    assert moving > 0.4
    assert staying < -0.4


def test_nothing_known_is_the_middle_and_more_known_is_surer() -> None:
    likeness = Likeness(0.5, 0.2, 1.0)
    assert level_of(likeness, []) == (0.0, 0.5)
    variances = [level_of(likeness, [Batch("", 3, 0.5)] * count)[1] for count in range(5)]
    assert variances == sorted(variances, reverse=True)


def test_what_is_known_of_a_batch_moves_the_rest_of_it_from_its_group() -> None:
    likeness = Likeness(0.4, 0.4, 1.0)
    assert common_of(likeness, 0.3, None) == pytest.approx((0.3, 0.4))
    mean, variance = common_of(likeness, 0.3, Batch("", 50, 1.3))
    assert mean == pytest.approx(1.3, abs=0.02)
    assert variance < 0.01
    # Jobs that have nothing in common say nothing of each other.
    assert common_of(NONE, 0.3, Batch("", 50, 1.3)) == (0.3, 0.0)


def test_a_draw_follows_the_weights() -> None:
    first, second = Likeness(0.1, 0.1, 1.0), Likeness(0.2, 0.2, 1.0)
    weights = [(first, 0.25), (second, 0.75)]
    found = [drawn(weights, (place + 0.5) / 100) for place in range(100)]
    assert found.count(first) == 25
    assert found.count(second) == 75
