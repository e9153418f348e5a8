"""Which instance a demand goes to, beside a plain search over all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.amounts import Amount
from batchyard.model.instances import InstanceId
from batchyard.scheduler.rooms import RoomGroups, Rooms

amounts = st.builds(
    Amount,
    cpu_milli=st.integers(0, 3),
    memory_mib=st.integers(0, 3),
    gpu_count=st.integers(0, 1),
)


def size_of(free: Amount) -> tuple[int, int, int]:
    return (free.cpu_milli, free.memory_mib, free.gpu_count)


def grouped(frees: list[Amount]) -> RoomGroups:
    groups = RoomGroups()
    for number, free in enumerate(frees):
        groups.enter(free, InstanceId(f"i-{number}"))
    return groups


@given(st.lists(amounts, max_size=8), st.lists(amounts, max_size=12), st.booleans())
def test_a_demand_goes_to_the_fullest_instance_that_it_fits(frees, demands, is_kept) -> None:
    """The core keeps its groups in order; a view of somebody else's may be any mapping."""
    groups = grouped(frees)
    rooms = Rooms(groups if is_kept else {free: list(groups[free]) for free in groups})
    free_by_id = {InstanceId(f"i-{number}"): free for number, free in enumerate(frees)}
    for demand in demands:
        fitting = [free for free in free_by_id.values() if demand.fits_in(free)]
        found = rooms.take(demand)
        if found is None:
            assert not fitting
            continue
        assert free_by_id[found] == min(fitting, key=size_of)
        free_by_id[found] -= demand
    assert {free: dict(groups[free]) for free in groups} == dict(grouped(frees)), "only read"


@given(st.lists(amounts, max_size=8), amounts, st.data())
def test_what_is_given_back_can_be_taken_again(frees, demand, data) -> None:
    rooms = Rooms(grouped(frees))
    taken: list[InstanceId] = []
    while (found := rooms.take(demand)) is not None and len(taken) < 50:
        taken.append(found)
    given_back = data.draw(st.permutations(taken))
    for instance_id in given_back:
        rooms.give_back(instance_id, demand)
    again = [each for _ in taken if (each := rooms.take(demand)) is not None]
    assert sorted(again) == sorted(taken)


@given(st.lists(amounts, max_size=8), st.data())
def test_groups_stay_in_order(frees, data) -> None:
    groups = grouped(frees)
    for number, free in data.draw(st.permutations(list(enumerate(frees)))):
        assert groups.sizes == sorted(size_of(each) for each in groups)
        groups.leave(free, InstanceId(f"i-{number}"))
        groups.leave(free, InstanceId(f"i-{number}"))  # it is gone already
    assert not groups
    assert not groups.sizes


def test_who_was_given_up_is_passed_over() -> None:
    free = Amount(cpu_milli=1)
    rooms = Rooms(grouped([free, free]))
    rooms.drop(InstanceId("i-0"))
    assert rooms.take(free) == "i-1"
    assert rooms.take(free) is None
