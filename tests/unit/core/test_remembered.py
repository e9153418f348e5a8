"""What rounds find out is used again only while it still follows from the state."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.viewing import view_of
from batchyard.model.fair_share import FairShare
from batchyard.model.instances import InstanceType
from batchyard.model.status import JobStatus
from batchyard.scheduler.allocation import TypeOrder
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_queue,
    an_instance_type,
    environment_arn,
)
from tests.unit.core.yard import Yard


def is_settled(yard: Yard) -> bool:
    return yard.state.remembered.is_settled(yard.now_ms)


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


def test_every_round_is_made_where_shares_have_a_history(yard: Yard) -> None:
    fair = FairShare(window_ms=600_000, reservation_percent=0, weights=())
    yard.feed(a_queue("fair", seq=2, policy=fair))
    yard.round()
    assert is_settled(yard), "nobody waits there"
    for number in (1, 2):
        yard.feed(a_job(number, queue="fair", cpu_milli=4000, share_identifier="a"))
    yard.round()
    yard.round()
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
