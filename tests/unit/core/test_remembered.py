"""What rounds find out is used again only while it still follows from the state."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import pytest
from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.quota_books import quota_accounts_of, quota_memory_of
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.viewing import do_heads_stand, view_of
from batchyard.model.fair_share import FairShare
from batchyard.model.instances import InstanceType
from batchyard.model.status import JobStatus
from batchyard.scheduler.allocation import TypeOrder
from batchyard.scheduler.view import QuotaShareView
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_queue,
    a_quota_share,
    an_environment,
    an_instance_type,
    environment_arn,
    job_id,
    queue_arn,
)
from tests.unit.core.yard import Yard


def is_settled(yard: Yard) -> bool:
    is_settled = yard.state.remembered.is_settled(yard.now_ms)
    return is_settled and do_heads_stand(yard.state, yard.now_ms)


@pytest.fixture
def full(yard: Yard) -> Yard:
    """One job takes all there is, one is the blocked head, one stands behind it."""
    yard.feed(*(a_job(number, cpu_milli=4000) for number in (1, 2, 3)))
    yard.round()
    yard.round()
    assert is_settled(yard)
    return yard


def test_a_round_that_decided_nothing_is_not_made_again(full: Yard) -> None:
    full.feed(full.started(1), a_job(4), a_job(5, after=(4,)))
    assert is_settled(full)
    assert full.round() == ([], [])


def test_a_round_is_made_once_capacity_comes_free(full: Yard) -> None:
    full.feed(full.ended(1, 0))
    assert not is_settled(full)
    full.round()
    assert full.status(2) is JobStatus.STARTING


def test_a_round_is_made_for_who_comes_in_before_the_one_it_stopped_at(full: Yard) -> None:
    full.feed(a_job(0))
    assert not is_settled(full)


def test_a_round_is_made_for_who_comes_in_where_nobody_waited(full: Yard) -> None:
    full.feed(a_queue("other", seq=2, environments=("ce",)))
    full.round()
    assert is_settled(full)
    full.feed(a_job(4, queue="other", cpu_milli=8000))
    assert not is_settled(full)


def test_a_round_is_made_once_a_head_has_waited_for_long_enough(yard: Yard) -> None:
    limits = {"MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE": 60_000}
    yard.feed(a_queue(time_limits=limits), a_job(1, cpu_milli=8000))
    yard.round()
    assert is_settled(yard)
    yard.now_ms += 60_000
    assert not is_settled(yard)
    yard.round()
    assert yard.status(1) is JobStatus.FAILED


def test_after_a_round_that_filled_everything_none_is_made(yard: Yard) -> None:
    yard.feed(*(a_job(number, cpu_milli=3000) for number in (1, 2)))
    yard.round()
    assert yard.status(1) is JobStatus.STARTING
    assert is_settled(yard)


def test_a_round_is_made_after_one_that_served_several_queues(yard: Yard) -> None:
    yard.feed(a_queue("other", seq=2, environments=("ce",)))
    yard.feed(a_job(1, cpu_milli=3000), a_job(2, queue="other", cpu_milli=3000))
    yard.round()
    assert yard.status(1) is JobStatus.STARTING
    assert not is_settled(yard)


def test_a_round_is_made_after_one_that_passed_over_somebody(yard: Yard) -> None:
    """One that fits nowhere is passed: another round would look further behind it."""
    yard.feed(a_job(1, cpu_milli=8000), a_job(2, cpu_milli=3000), a_job(3, cpu_milli=3000))
    yard.round()
    assert yard.status(2) is JobStatus.STARTING
    assert not is_settled(yard)


def a_fair_yard(percent: int = 0) -> Yard:
    """Share b, which runs, comes first; share a, which ran more before, once that has faded."""
    fair = FairShare(window_ms=600_000, reservation_percent=percent, weights=())
    yard = Yard(a_host(), an_environment(), a_queue("fair", policy=fair))
    for number, cpu_milli, share in ((1, 3000, "a"), (2, 1000, "b")):
        yard.feed(a_job(number, queue="fair", cpu_milli=cpu_milli, share_identifier=share))
    yard.round()
    yard.feed(yard.started(1), yard.started(2))
    yard.now_ms += 60_000
    yard.feed(yard.ended(1, 0))
    for number, share in ((3, "a"), (4, "b")):
        yard.feed(a_job(number, queue="fair", cpu_milli=4000, share_identifier=share))
    yard.round()
    return yard


def test_a_round_is_made_once_it_is_another_shares_turn() -> None:
    yard = a_fair_yard()
    assert is_settled(yard)
    yard.now_ms += 1_000
    yard.feed(a_job(5, queue="fair", share_identifier="b"))
    assert is_settled(yard)
    assert yard.round() == ([], [])
    yard.now_ms += 120_000
    assert not is_settled(yard)


def test_a_round_is_made_for_a_share_that_used_nothing() -> None:
    yard = a_fair_yard()
    yard.feed(a_job(5, queue="fair", share_identifier="c"))
    assert not is_settled(yard)
    yard.round()
    assert yard.status(5) is JobStatus.STARTING


def test_every_round_is_made_where_a_policy_reserves_a_part() -> None:
    assert not is_settled(a_fair_yard(percent=10))


def a_quota_yard() -> Yard:
    """Share a has used what it has, and one more waits in it; share b has room."""
    shares = a_quota_share("a", VCPU=2), a_quota_share("b", VCPU=2)
    yard = Yard(a_host(), an_environment(), a_queue(has_quota_shares=True), *shares)
    yard.feed(*(a_job(number, cpu_milli=2000, share_identifier="a") for number in (1, 2)))
    yard.round()
    yard.round()
    assert is_settled(yard)
    return yard


def test_no_round_is_made_for_who_comes_in_behind_the_head_of_a_quota_share() -> None:
    yard = a_quota_yard()
    yard.feed(a_job(3, share_identifier="a", scheduling_priority=0))
    assert is_settled(yard)


def test_after_a_round_that_filled_a_quota_share_none_is_made() -> None:
    shares = a_quota_share("a", VCPU=2), a_quota_share("b", VCPU=2)
    yard = Yard(a_host(), an_environment(), a_queue(has_quota_shares=True), *shares)
    yard.feed(*(a_job(number, cpu_milli=2000, share_identifier="a") for number in (1, 2)))
    yard.round()
    assert yard.status(1) is JobStatus.STARTING
    assert is_settled(yard)


def test_what_runs_in_a_quota_share_is_looked_at_anew_when_a_job_of_it_ends() -> None:
    yard = a_quota_yard()
    yard.state.remembered.quota.clear()
    yard.feed(a_job(3, cpu_milli=2000, share_identifier="b"))
    yard.round()
    [share, other] = view_of(yard.state, yard.now_ms).queues[0].quota_shares or ()
    assert [each.job_id for each in share.running().staying] == [job_id(1)]
    assert share.running() is share.running()
    kept = other.running()
    yard.feed(yard.ended(1, 0))
    [share, other] = view_of(yard.state, yard.now_ms).queues[0].quota_shares or ()
    assert share.running().staying == []
    assert other.running() is kept


def shares_of(yard: Yard) -> list[QuotaShareView]:
    [queue] = view_of(yard.state, yard.now_ms).queues
    return list(queue.quota_shares or ())


def test_who_waits_in_a_quota_share_is_read_anew_when_a_job_of_it_comes_or_starts() -> None:
    yard = a_quota_yard()
    first, other = shares_of(yard)
    yard.feed(yard.started(1))
    again, kept = shares_of(yard)
    assert again is first
    assert kept is other
    yard.feed(a_job(3, cpu_milli=2000, share_identifier="a", scheduling_priority=1))
    share, kept = shares_of(yard)
    assert kept is other
    assert [each.job_id for each in share.jobs.show_from(0)] == [job_id(3), job_id(2)]
    yard.feed(yard.ended(1, 0))
    yard.round()
    assert yard.status(3) is JobStatus.STARTING
    share, kept = shares_of(yard)
    assert kept is other
    assert [each.job_id for each in share.jobs.show_from(0)] == [job_id(2)]


def test_what_a_job_of_a_quota_share_holds_is_found_anew_once_it_is_to_end() -> None:
    yard = a_quota_yard()
    yard.feed(yard.started(1))
    before = shares_of(yard)[0].running()
    assert [each.is_stopping for each in before.staying] == [False]
    assert shares_of(yard)[0].running() is before
    yard.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
    after = shares_of(yard)[0].running()
    assert [each.job_id for each in after.stopping] == [job_id(1)]
    yard.feed(yard.ended(1, 1))
    assert not yard.state.remembered.quota[queue_arn()].running_by_job, "nothing is kept of it"


def test_what_quota_shares_use_is_counted_anew_when_a_job_starts_or_ends() -> None:
    yard = a_quota_yard()
    [queue] = yard.state.queues.values()
    for feed in ((yard.ended(1, 0),), (a_job(3, cpu_milli=1000, share_identifier="b"),)):
        yard.feed(*feed)
        yard.round()
        kept, anew = quota_memory_of(yard.state, queue).accounts, quota_accounts_of(queue)
        assert [kept.used(name).get("VCPU", 0) for name in "ab"] == [
            anew.used(name).get("VCPU", 0) for name in "ab"
        ]
        assert kept.left_to_borrow("VCPU") == anew.left_to_borrow("VCPU")


def test_what_quota_shares_may_ever_do_is_found_anew_when_it_may_be_otherwise() -> None:
    yard = a_quota_yard()
    yard.feed(a_job(3, cpu_milli=3000, share_identifier="b"), a_job(4, share_identifier="b"))
    yard.round()
    assert yard.status(4) is JobStatus.STARTING, "it passes one that is above the quota"
    yard.feed(a_quota_share("b", VCPU=8), yard.ended(1, 0), yard.ended(4, 0))
    yard.round()
    yard.feed(yard.ended(2, 0))
    yard.round()
    assert yard.status(3) is JobStatus.STARTING
    yard.feed(an_environment(vcpus=2), a_job(5, cpu_milli=3000, share_identifier="b"))
    yard.round()
    assert "MISCONFIGURATION" in str(yard.state.jobs[job_id(5)].progress.status_reason)


def test_a_copy_of_a_state_begins_without_what_is_remembered() -> None:
    yard = a_quota_yard()
    other = deepcopy(yard.state)
    assert other.jobs == yard.state.jobs
    assert yard.state.remembered.quota
    assert not other.remembered.quota


@pytest.mark.parametrize(("share", "priority"), [("a", 1), ("b", 0)])
def test_a_round_is_made_for_who_comes_in_at_the_head_of_a_quota_share(
    share: str, priority: int
) -> None:
    yard = a_quota_yard()
    yard.feed(a_job(3, share_identifier=share, scheduling_priority=priority))
    assert not is_settled(yard)


def an_environment_of(*vcpus: int) -> i.PutEnvironment:
    made = a_launching_environment("ec2")
    assert made.launching is not None
    types = tuple(an_instance_type(f"t.{each}", vcpus=each) for each in vcpus)
    return replace(made, launching=replace(made.launching, types=types))


def order_in(state: State) -> TypeOrder:
    [environment] = view_of(state, 0).environments
    assert environment.launching is not None
    assert environment.launching.types is environment.launching.order.types
    return environment.launching.order


def vcpus_of(types: Sequence[InstanceType]) -> list[int]:
    return [each.capacity.cpu_milli // 1000 for each in types]


def test_types_are_found_anew_when_the_machines_are_others() -> None:
    state = State()
    step(state, a_host(cpu_milli=4000), 0)
    step(state, an_environment_of(8), 0)
    first = order_in(state)
    assert vcpus_of(first.types) == [4], "the smallest type, cut to the machine"
    assert order_in(state) is first
    step(state, a_host(cpu_milli=2000), 0)
    assert vcpus_of(order_in(state).types) == [2]
    step(state, a_host(cpu_milli=16_000, memory_mib=4096), 0)
    assert vcpus_of(order_in(state).types) == [8]


def test_types_are_found_anew_when_the_environment_is_another() -> None:
    state = State()
    step(state, a_host(cpu_milli=16_000, memory_mib=4096), 0)
    for vcpus in (8, 4):
        step(state, an_environment_of(vcpus), 0)
        assert vcpus_of(order_in(state).types) == [vcpus]


def test_nothing_is_remembered_of_environments_that_are_gone() -> None:
    state = State()
    step(state, an_environment_of(1), 0)
    order_in(state)
    step(state, i.DeleteEnvironment(arn=environment_arn("ec2")), 0)
    assert not state.environments
    assert not state.remembered._orders
