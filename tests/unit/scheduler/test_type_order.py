"""The order of types that is kept from round to round, beside the plain one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.instances import AllocationStrategy, InstanceId, InstanceType
from batchyard.scheduler import allocation
from batchyard.scheduler.allocation import DepthOf, TypeOrder, choices, too_dear
from batchyard.scheduler.round import plan_round
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    IdleInstance,
    InOrder,
    LaunchTerms,
    QueueView,
    View,
    WaitingJob,
)

STRATEGIES = st.sampled_from(list(AllocationStrategy))
ENVIRONMENT = EnvironmentArn("ce")


def amounts(least: int, most: int) -> st.SearchStrategy[Amount]:
    return st.builds(
        Amount,
        cpu_milli=st.integers(least, most),
        memory_mib=st.integers(least, most),
        gpu_count=st.integers(0, 1),
    )


TYPES = st.lists(
    st.builds(
        InstanceType,
        name=st.sampled_from("abcdefgh"),
        capacity=amounts(1, 6),
        price_micro=st.sampled_from([None, 1, 2, 6, 12]),
        is_launchable=st.sampled_from([True, True, True, False]),
        rank=st.integers(0, 1),
    ),
    max_size=8,
    unique_by=lambda each: each.name,
).map(tuple)


@given(STRATEGIES, TYPES, st.lists(amounts(0, 5), min_size=1, max_size=6), st.data())
def test_types_come_in_the_plain_order_however_often_they_are_asked_for(
    strategy: AllocationStrategy,
    types: tuple[InstanceType, ...],
    demands: list[Amount],
    data: st.DataObject,
) -> None:
    order = TypeOrder(strategy, types)
    for demand in (*demands, *demands):
        depth_of = {each.name: data.draw(st.integers(0, 2)) for each in types}

        def depth(kind: InstanceType, depth_of: dict[str, int] = depth_of) -> int:
            return depth_of[kind.name]

        assert list(order.choices(demand, depth)) == choices(strategy, types, demand, depth)
        assert list(order.too_dear(demand)) == too_dear(types, demand)
        assert order.may_hold(demand) == any(demand.fits_in(each.capacity) for each in types)


@given(STRATEGIES, TYPES, amounts(0, 5), st.lists(amounts(-1, 8), max_size=4))
def test_where_the_least_has_no_room_no_type_has(
    strategy: AllocationStrategy,
    types: tuple[InstanceType, ...],
    demand: Amount,
    frees: list[Amount],
) -> None:
    kinds = choices(strategy, types, demand, lambda _kind: 0)
    least = TypeOrder(strategy, types).least(demand)
    for free in frees:
        fitting = any(kind.capacity.fits_in(free) for kind in kinds)
        assert fitting == any(each.fits_in(free) for each in least)
        deep = any(kind.capacity.times_in(free) for kind in kinds)
        assert deep == any(each.times_in(free) for each in least)


def test_of_types_that_differ_in_shape_each_may_be_the_least() -> None:
    tall, wide, both = (
        InstanceType(
            name=f"{cpu_milli}-{memory_mib}",
            capacity=Amount(cpu_milli=cpu_milli, memory_mib=memory_mib),
        )
        for cpu_milli, memory_mib in ((2, 8), (8, 2), (8, 8))
    )
    order = TypeOrder(AllocationStrategy.BEST_FIT_PROGRESSIVE, (both, wide, tall))
    assert order.least(Amount(cpu_milli=1)) == (tall.capacity, wide.capacity)
    assert order.least(Amount(memory_mib=3)) == (tall.capacity,)


def test_answers_do_not_pile_up(monkeypatch) -> None:
    monkeypatch.setattr(allocation, "_DEMANDS_KEPT_MAX", 2)
    kind = InstanceType(name="a", capacity=Amount(cpu_milli=2, memory_mib=2))
    order = TypeOrder(AllocationStrategy.BEST_FIT, (kind,))
    for vcpus in (1, 2, 3, 1, 2, 3):
        found = list(order.choices(Amount(cpu_milli=vcpus), lambda _kind: 0))
        assert found == ([kind] if vcpus < 3 else [])
        assert len(order._by_demand) <= 2


class PlainOrder(TypeOrder):
    """Looks at every type for every demand."""

    def choices(self, demand: Amount, depth_of: DepthOf):
        return iter(choices(self.strategy, self.types, demand, depth_of))

    def least(self, demand: Amount) -> tuple[Amount, ...]:
        return tuple(each.capacity for each in self.choices(demand, lambda _kind: 0))


def a_view(
    order: TypeOrder,
    demands: list[Amount],
    machines: list[Amount],
    idle: list[tuple[int, Amount]],
    most: int,
) -> View:
    """Show machines that are full but for what is given, and for idle instances that may go."""
    environment = EnvironmentView(
        arn=ENVIRONMENT,
        is_valid=True,
        is_enabled=True,
        cpu_milli_max=most,
        cpu_milli_used=0,
        has_instances=True,
        launching=LaunchTerms(
            strategy=order.strategy,
            is_spot=True,
            types=order.types,
            order=order,
            cpu_milli_launched=sum(each.cpu_milli for _, each in idle),
            cpu_milli_min=2,
            cpu_milli_wanted=2,
            environment_uuid="ce",
            launch_count=0,
            boot_ms=0,
        ),
    )
    used = [sum((each for on, each in idle if on == at), Amount()) for at in range(len(machines))]
    waiting = InOrder(
        WaitingJob(job_id=JobId(str(at)), demand=each) for at, each in enumerate(demands)
    )
    queue = QueueView(
        arn=QueueArn("q"), priority=1, seq=1, environments=[environment], waiting=waiting
    )
    return View(
        queues=[queue],
        hosts=[
            HostView(host_id=HostId(str(at)), capacity=free + used[at], used=used[at])
            for at, free in enumerate(machines)
        ],
        environments=[environment],
        idle_instances=[
            IdleInstance(
                instance_id=InstanceId(f"i-{at}"),
                environment_arn=ENVIRONMENT,
                host_id=HostId(str(on)),
                capacity=each,
            )
            for at, (on, each) in enumerate(idle)
            if on < len(machines)
        ],
    )


@given(
    st.tuples(STRATEGIES, TYPES),
    st.lists(amounts(0, 5), max_size=6),
    st.lists(amounts(0, 9), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), amounts(1, 4)), max_size=4),
    st.integers(0, 20),
)
def test_rounds_launch_and_give_up_the_same(
    made_of: tuple[AllocationStrategy, tuple[InstanceType, ...]],
    demands: list[Amount],
    machines: list[Amount],
    idle: list[tuple[int, Amount]],
    most: int,
) -> None:
    plain = PlainOrder(*made_of)
    planned = plan_round(a_view(TypeOrder(*made_of), demands, machines, idle, most))
    assert planned == plan_round(a_view(plain, demands, machines, idle, most))
