"""What rounds find out is used again only while it still follows from the state."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.viewing import view_of
from batchyard.model.instances import InstanceType
from batchyard.scheduler.allocation import TypeOrder
from tests.builders import a_host, a_launching_environment, an_instance_type, environment_arn


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
