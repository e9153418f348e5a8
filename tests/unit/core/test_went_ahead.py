"""Who went ahead of a job that waits, and by which rule."""

from __future__ import annotations

from batchyard.core.went_ahead import TOLD_MAX, Placements
from batchyard.model.explanation import AheadRule
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_policy,
    a_queue,
    an_environment,
    job_id,
)
from tests.unit.core.yard import Yard


def ahead_of(yard: Yard, number: int, placed: Placements) -> list[tuple[str, AheadRule]]:
    job = yard.state.find(job_id(number))
    assert job is not None
    return [(each.job_id, each.rule) for each in placed.ahead_of(yard.state, job)]


def rounds(yard: Yard, placed: Placements) -> None:
    for _ in range(2):
        events, _ = yard.round()
        placed.note(yard.state, events)


def test_a_queue_of_higher_priority_goes_ahead():
    yard = Yard(a_host(), an_environment(vcpus=1), a_queue("jq"))
    yard.feed(a_queue("high", seq=2, priority=9))
    placed = Placements()
    yard.feed(a_job(1), a_job(2, queue="high"))
    rounds(yard, placed)
    assert ahead_of(yard, 1, placed) == [(job_id(2), AheadRule.QUEUE_PRIORITY)]


def test_queues_of_equal_priority_take_turns():
    yard = Yard(a_host(), an_environment(vcpus=2), a_queue("jq"))
    yard.feed(a_queue("equal", seq=2))
    placed = Placements()
    yard.feed(a_job(1), a_job(2), a_job(3, queue="equal"))
    rounds(yard, placed)
    assert ahead_of(yard, 2, placed) == [(job_id(3), AheadRule.QUEUES_IN_TURNS)]


def test_who_fits_where_the_head_can_never_be_goes_ahead():
    yard = Yard(
        a_host(),
        a_launching_environment("small", vcpus=1),
        an_environment("large", vcpus=4),
        a_queue(environments=("small", "large")),
    )
    placed = Placements()
    yard.feed(a_job(1, cpu_milli=2500), a_job(2, cpu_milli=500))
    rounds(yard, placed)
    yard.feed(a_job(3, cpu_milli=3500), a_job(4, cpu_milli=250))
    rounds(yard, placed)
    assert ahead_of(yard, 3, placed) == [(job_id(4), AheadRule.ROOM_NOT_FOR_IT)]


def test_a_share_that_used_less_goes_ahead():
    yard = Yard(a_host(), an_environment(vcpus=2), a_queue(policy=a_policy()))
    placed = Placements()
    for number, share in ((1, "a"), (2, "a"), (3, "b")):
        yard.feed(a_job(number, share_identifier=share))
    rounds(yard, placed)
    assert ahead_of(yard, 2, placed) == [(job_id(3), AheadRule.SHARE)]


def test_a_higher_priority_within_the_share_goes_ahead():
    yard = Yard(a_host(), an_environment(vcpus=1), a_queue(policy=a_policy()))
    placed = Placements()
    yard.feed(a_job(1, share_identifier="a"))
    yard.feed(a_job(2, share_identifier="a", scheduling_priority=5))
    rounds(yard, placed)
    assert ahead_of(yard, 1, placed) == [(job_id(2), AheadRule.SCHEDULING_PRIORITY)]


def test_only_the_latest_are_told():
    yard = Yard(
        a_host(cpu_milli=64_000, memory_mib=65_536),
        an_environment(vcpus=64),
        a_queue("jq", environments=("ce",)),
    )
    yard.feed(a_queue("high", seq=2, priority=9))
    placed = Placements()
    yard.feed(a_job(1, cpu_milli=64_000))
    count = TOLD_MAX + 5
    yard.feed(*(a_job(number, queue="high") for number in range(2, count + 2)))
    rounds(yard, placed)
    told = ahead_of(yard, 1, placed)
    assert [each for each, _ in told] == [
        job_id(number) for number in range(count + 1, count + 1 - TOLD_MAX, -1)
    ]
