"""How a queue stands: who is next, since when, and what it uses."""

from __future__ import annotations

from batchyard.core.fronts import Look, front_of, snapshot_of
from batchyard.core.viewing import view_of
from batchyard.model.ids import JobId, child_id
from batchyard.model.queue_snapshots import QueueSnapshot
from tests.builders import (
    a_host,
    a_job,
    a_policy,
    a_queue,
    an_environment,
    job_id,
    queue_arn,
)
from tests.unit.core.yard import Yard


def look(yard: Yard, before: QueueSnapshot | None = None) -> QueueSnapshot:
    fronts = {view.arn: front_of(view) for view in view_of(yard.state, 0).queues}
    queue = yard.state.queues[queue_arn()]
    front = fronts.get(queue.arn, [])
    at = Look(state=yard.state, now_ms=yard.now_ms, why=lambda _: None)
    return snapshot_of(at, queue, front, before)


def shown(snapshot: QueueSnapshot) -> list[tuple[JobId, int]]:
    return [(each.job_id, each.since_ms) for each in snapshot.jobs]


def test_jobs_stand_in_the_order_in_which_they_start(yard: Yard):
    yard.feed(a_job(1, cpu_milli=4000, attempts=2), a_job(2, array_size=3), a_job(3))
    yard.round()
    first = look(yard)
    children = [child_id(job_id(2), index) for index in range(3)]
    assert shown(first) == [(each, 1_000) for each in (*children, job_id(3))]
    assert (first.front_ms, first.cpu_milli, first.used_ms) == (1_000, 4000, 1_000)
    yard.now_ms = 2_000
    yard.feed(yard.started(1), yard.ended(1, 1))
    second = look(yard, first)
    assert [each for each, _ in shown(second)] == [job_id(1), *children, job_id(3)]
    assert {since_ms for _, since_ms in shown(second)} == {2_000}, "each has another place"
    assert (second.front_ms, second.cpu_milli, second.used_ms) == (2_000, 0, 2_000)


def test_who_stays_at_its_place_keeps_its_time(yard: Yard):
    yard.feed(a_job(1, cpu_milli=9000), a_job(2))
    first = look(yard)
    yard.now_ms = 2_000
    yard.feed(a_job(3))
    second = look(yard, first)
    assert shown(second) == [(job_id(1), 1_000), (job_id(2), 1_000), (job_id(3), 2_000)]
    assert (second.front_ms, second.used_ms) == (2_000, 1_000)
    yard.now_ms = 3_000
    assert look(yard, second) == second


def test_a_front_has_a_hundred_jobs_and_may_be_empty(yard: Yard):
    empty = look(yard)
    assert (empty.jobs, empty.cpu_milli) == ((), 0)
    yard.feed(a_job(1, cpu_milli=9000, array_size=150))
    assert [each for each, _ in shown(look(yard, empty))] == [
        child_id(job_id(1), index) for index in range(100)
    ]


def test_the_shares_that_hold_most_are_named():
    policy = a_policy()
    yard = Yard(a_host(cpu_milli=64_000), an_environment(vcpus=64), a_queue(policy=policy))
    assert (look(yard).active_share_count, look(yard).top_shares) == (0, ())
    holds = {f"s{number:02}": 250 * (1 + number % 7) for number in range(25)}
    for number, (share, cpu_milli) in enumerate(holds.items(), start=1):
        yard.feed(a_job(number, cpu_milli=cpu_milli, memory_mib=1, share_identifier=share))
    first = look(yard)
    yard.now_ms = 2_000
    yard.round()
    second = look(yard, first)
    most = sorted(holds.items(), key=lambda item: (-item[1], item[0]))[:20]
    assert [(each.identifier, each.cpu_milli) for each in second.top_shares] == most
    assert (second.active_share_count, second.used_ms) == (25, 2_000)
    assert look(Yard(a_host(), an_environment(), a_queue())).active_share_count is None
