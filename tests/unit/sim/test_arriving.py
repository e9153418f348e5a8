"""Who comes in later: whole stretches of the past, where they matter."""

from __future__ import annotations

from itertools import islice

from msgspec.structs import replace

from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.forecast import ArrivalUse
from batchyard.sim.arriving import past_of, whose_matter
from batchyard.store.run_times import Origin, PastArrival
from tests.builders import a_job, a_policy, a_queue, an_environment, queue_arn
from tests.unit.sim.futures import KIND

MINUTE = 60_000


def came(count: int, *, every_ms: int = MINUTE, queue: str = "jq") -> list[PastArrival]:
    return [
        PastArrival(
            origin=Origin(KIND, str(number)),
            job=replace(a_job(number, queue=queue).job, created_ms=number * every_ms),
        )
        for number in range(count)
    ]


def test_queues_matter_whose_jobs_may_go_ahead() -> None:
    state = State()
    for happening in (
        an_environment("ce"),
        an_environment("other"),
        a_queue("line"),
        a_queue("beside", seq=2),
        a_queue("shares", seq=3, policy=a_policy(), environments=("other",)),
    ):
        step(state, happening, 0)
    assert whose_matter(state, [queue_arn("line")]) == [queue_arn("beside")]
    assert whose_matter(state, [queue_arn("shares")]) == [queue_arn("shares")]


def test_stretches_of_the_past_are_laid_into_the_future() -> None:
    past = past_of(came(30), [queue_arn()], now_ms=30 * MINUTE, first_seq=100)
    assert past.use == ArrivalUse(job_count=30, window_ms=30 * MINUTE)
    origins: dict = {}
    coming = list(islice(past.laid_ahead(origins, seed=1, run=0), 60))
    times = [at_ms for at_ms, _ in coming]
    assert times == sorted(times)
    assert times[0] >= 30 * MINUTE
    # Stretches of 3 minutes begin anywhere in the past: two or three jobs each, then four at most.
    assert 17 * MINUTE <= times[-1] - times[0] <= 90 * MINUTE
    assert [each.job.seq for _, each in coming] == list(range(100, 160))
    assert len({each.job.id for _, each in coming}) == len(origins) == 60
    other = [at_ms for at_ms, _ in islice(past.laid_ahead({}, seed=1, run=1), 60)]
    assert times != other


def test_after_two_days_the_future_begins_at_the_same_time_of_a_day() -> None:
    hour = 60 * MINUTE
    past = past_of(came(72, every_ms=hour), [queue_arn()], now_ms=72 * hour, first_seq=1)
    for run in range(5):
        first_ms, _ = next(past.laid_ahead({}, seed=1, run=run))
        assert first_ms == 72 * hour


def test_too_few_batches_say_nothing() -> None:
    past = past_of(came(4), [queue_arn()], now_ms=30 * MINUTE, first_seq=1)
    assert past.use is None
    assert list(past.laid_ahead({}, seed=1, run=0)) == []


def test_queues_that_do_not_matter_are_left_out() -> None:
    past = past_of(came(30), [queue_arn("no")], now_ms=30 * MINUTE, first_seq=1)
    assert past.use is None


def test_how_much_comes_in_differs_from_run_to_run_as_it_did_in_the_past() -> None:
    """Half of the past is empty: over long futures some runs see twice as much as others."""
    busy = came(100, every_ms=MINUTE)
    now_ms = 200 * MINUTE
    past = past_of(busy, [queue_arn()], now_ms=now_ms, first_seq=1)
    last_ms = []
    for run in range(30):
        coming = list(islice(past.laid_ahead({}, seed=1, run=run), 1000))
        last_ms.append(coming[-1][0] - now_ms)
    assert max(last_ms) > 1.5 * min(last_ms)


def test_after_two_weeks_a_day_goes_by_the_same_day_of_the_week() -> None:
    """Jobs come in on two days of each week alone: three weeks to the hour."""
    hour = 60 * MINUTE
    jobs = [each for each in came(21 * 24, every_ms=hour) if each.job.seq // 24 % 7 in (0, 3)]
    past = past_of(jobs, [queue_arn()], now_ms=21 * 24 * hour, first_seq=1)
    assert past.use is not None
    for run in range(5):
        coming = islice(past.laid_ahead({}, seed=1, run=run), 96)
        days = [at_ms // (24 * hour) % 7 for at_ms, _ in coming]
        assert days == [0] * 24 + [3] * 24 + [0] * 24 + [3] * 24


def test_what_waited_for_another_job_of_its_stretch_does_so_again() -> None:
    pairs = came(40)
    chained = [
        replace(each, job=replace(each.job, depends_on=(pairs[place - 1].job.id,)))
        if place % 2
        else each
        for place, each in enumerate(pairs)
    ]
    past = past_of(chained, [queue_arn()], now_ms=40 * MINUTE, first_seq=1)
    coming = [each.job for _, each in islice(past.laid_ahead({}, seed=1, run=0), 60)]
    known = {each.id: each.created_ms for each in coming}
    waiting = [each for each in coming if each.depends_on]
    assert len(waiting) > 15
    for each in waiting:
        assert known[each.depends_on[0]] == each.created_ms - MINUTE


def test_a_run_may_draw_a_past_in_which_nobody_came_in() -> None:
    """All came in within one of a thousand minutes: most stretches that can be drawn are empty."""
    burst = [
        replace(each, job=replace(each.job, created_ms=MINUTE if place else 0))
        for place, each in enumerate(came(50))
    ]
    past = past_of(burst, [queue_arn()], now_ms=1000 * MINUTE, first_seq=1)
    found = [len(list(islice(past.laid_ahead({}, seed=1, run=run), 60))) for run in range(40)]
    assert set(found) == {0, 60}
