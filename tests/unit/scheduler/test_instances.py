"""Which instances a round launches, fills and gives up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.amounts import Amount
from batchyard.model.ids import ConsumableArn, EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.instances import AllocationStrategy, InstanceId, InstanceType
from batchyard.model.records import ConsumableNeed
from batchyard.scheduler.allocation import TypeOrder, choices, on_spot, too_dear, types_on
from batchyard.scheduler.plan import Obstacle, Plan
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

S = AllocationStrategy


def amount(vcpus: int, gib: int = 1, gpus: int = 0) -> Amount:
    return Amount(cpu_milli=vcpus * 1000, memory_mib=gib * 1024, gpu_count=gpus)


def a_type(
    name: str, vcpus: int, price: int | None, *, gib: int = 64, rank: int = 0, gpus: int = 0
):
    micro = None if price is None else price * 1000
    return InstanceType(name=name, capacity=amount(vcpus, gib, gpus), price_micro=micro, rank=rank)


SMALL, LARGE = a_type("c.small", 2, 100), a_type("c.large", 8, 400)
DEAR, ODD = a_type("x.tiny", 1, 90, rank=1), a_type("z.none", 4, None, rank=2)
TYPES = (SMALL, LARGE, DEAR, ODD)


def names(strategy: AllocationStrategy, demand: Amount, depth=lambda _kind: 1) -> list[str]:
    return [kind.name for kind in choices(strategy, TYPES, demand, depth)]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (S.BEST_FIT, ["x.tiny"]),
        (S.BEST_FIT_PROGRESSIVE, ["c.small", "c.large", "x.tiny", "z.none"]),
        (S.BEST_FIT_PROGRESSIVE_ORDERED, ["c.small", "c.large", "x.tiny", "z.none"]),
        (S.SPOT_CAPACITY_OPTIMIZED, ["c.small", "c.large", "x.tiny", "z.none"]),
        (S.SPOT_PRICE_CAPACITY_OPTIMIZED, ["c.small", "c.large", "x.tiny", "z.none"]),
    ],
)
def test_strategies_order_what_fits(strategy: AllocationStrategy, expected: list[str]) -> None:
    assert names(strategy, amount(1)) == expected


def test_a_type_whose_spot_price_is_too_high_is_passed_over_but_named() -> None:
    """Its price is 100 of 300 on demand: a bid must be above that third, and equal is too low."""
    bids = {33: False, 34: True}
    kind = InstanceType(name="c.spot", capacity=amount(2, 64), price_micro=300)
    for bid_percent, may in bids.items():
        found = on_spot(kind, 100, bid_percent=bid_percent)
        assert (found.price_micro, found.is_launchable) == (100, may)
    assert not on_spot(kind, 300, bid_percent=100).is_launchable
    assert on_spot(kind, None, bid_percent=1).is_launchable
    dear = on_spot(kind, 300, bid_percent=100)
    assert choices(S.BEST_FIT, (dear, LARGE), amount(1), lambda _kind: 1) == [LARGE]
    assert too_dear((dear, LARGE), amount(1)) == [dear]
    assert too_dear((dear, LARGE), amount(9)) == []


def test_spot_capacity_is_compared_by_its_spot_price() -> None:
    cheap = on_spot(a_type("dear.on_demand", 2, 400), 50_000, bid_percent=100)
    plain = on_spot(a_type("c.small", 2, 100), 90_000, bid_percent=100)
    for strategy in (S.BEST_FIT, S.BEST_FIT_PROGRESSIVE, S.SPOT_PRICE_CAPACITY_OPTIMIZED):
        assert choices(strategy, (plain, cheap), amount(1), lambda _kind: 1)[0] is cheap


def test_a_head_that_only_waits_for_the_price_says_so() -> None:
    dear = on_spot(a_type("c.dear", 2, 100), 100_000, bid_percent=100)
    result = plan(1, environments=[an_environment(types=(dear,))])
    assert not result.launches
    [head] = result.blocked
    assert head.obstacle is Obstacle.INSUFFICIENT_INSTANCE_CAPACITY
    assert head.instance_type == "c.dear"


def test_a_machine_too_small_for_all_stands_for_the_smallest_that_may_be_launched() -> None:
    dear = on_spot(a_type("a.dear", 2, 100), 100_000, bid_percent=100)
    cheap = on_spot(a_type("b.cheap", 4, 200), 20_000, bid_percent=100)
    (found,) = types_on((dear, cheap), [amount(1, 4)])
    assert found.name == "b.cheap"


def test_best_fit_is_one_type_and_no_other() -> None:
    assert names(S.BEST_FIT, amount(2)) == ["c.small"]
    assert names(S.BEST_FIT, amount(9)) == []


def test_order_of_the_list_and_depth_of_pools_decide_where_they_should() -> None:
    depths = {"c.small": 1, "c.large": 1, "x.tiny": 5, "z.none": 3}

    def depth(kind: InstanceType) -> int:
        return depths[kind.name]

    by_depth = ["x.tiny", "z.none", "c.small", "c.large"]
    assert names(S.SPOT_CAPACITY_OPTIMIZED, amount(1), depth) == by_depth
    assert names(S.SPOT_CAPACITY_OPTIMIZED_PRIORITIZED, amount(1), depth) == by_depth
    by_price = ["c.small", "c.large", "x.tiny", "z.none"]
    assert names(S.SPOT_PRICE_CAPACITY_OPTIMIZED, amount(1), depth) == by_price
    listed = [a_type("b", 2, 400, rank=0), a_type("a", 2, 100, rank=1)]
    ordered = choices(S.BEST_FIT_PROGRESSIVE_ORDERED, listed, amount(1), lambda _kind: 1)
    assert [kind.name for kind in ordered] == ["b", "a"]


def an_environment(
    name: str = "ce",
    *,
    types: Sequence[InstanceType] = (SMALL, LARGE),
    vcpus_max: int = 16,
    vcpus_min: int = 0,
    launched: int = 0,
    strategy: AllocationStrategy = S.BEST_FIT_PROGRESSIVE,
    boot_ms: int = 0,
    ready: dict[Amount, list[str]] | None = None,
    starting: dict[Amount, list[str]] | None = None,
) -> EnvironmentView:
    return EnvironmentView(
        arn=EnvironmentArn(name),
        is_valid=True,
        is_enabled=True,
        cpu_milli_max=vcpus_max * 1000,
        cpu_milli_used=0,
        has_instances=True,
        launching=LaunchTerms(
            strategy=strategy,
            is_spot=False,
            types=types,
            order=TypeOrder(strategy, types),
            cpu_milli_launched=launched * 1000,
            cpu_milli_min=vcpus_min * 1000,
            cpu_milli_wanted=vcpus_min * 1000,
            environment_uuid=name,
            launch_count=launched,
            boot_ms=boot_ms,
        ),
        ready={free: [InstanceId(each) for each in ids] for free, ids in (ready or {}).items()},
        starting={
            free: [InstanceId(each) for each in ids] for free, ids in (starting or {}).items()
        },
    )


def plan(
    *jobs: int | tuple[int, ...],
    environments: Sequence[EnvironmentView] = (),
    vcpus: int = 64,
    used: int = 0,
    idle: Sequence[IdleInstance] = (),
    hosts: dict[str, str] | None = None,
) -> Plan:
    environments = environments or [an_environment()]
    waiting = []
    for number, job in enumerate(jobs):
        nodes = [amount(each) for each in job] if isinstance(job, tuple) else []
        in_all = amount(sum(job), len(job)) if isinstance(job, tuple) else amount(job)
        waiting.append(WaitingJob(job_id=JobId(str(number)), demand=in_all, node_demands=nodes))
    queue = QueueView(
        arn=QueueArn("q"), priority=1, seq=1, environments=environments, waiting=InOrder(waiting)
    )
    host = HostView(host_id=HostId("h"), capacity=amount(vcpus, 4096, 8), used=amount(used, 0))
    known = {InstanceId(name): HostId(host) for name, host in (hosts or {}).items()}
    return plan_round(
        View(
            queues=[queue] if jobs else [],
            hosts=[host],
            environments=environments,
            idle_instances=idle,
            host_by_instance=known,
        )
    )


def launched(result: Plan) -> list[str]:
    return [each.instance_type.name for each in result.launches]


def placed(result: Plan) -> list[str]:
    return [each.job_id for each in result.placements]


def test_instances_are_launched_for_jobs_and_packed() -> None:
    result = plan(1, 1, 1)
    assert launched(result) == ["c.small", "c.small"]
    assert placed(result) == ["0", "1", "2"]
    on = [each.slots[0].instance_id for each in result.placements]
    assert on[0] == on[1] != on[2]


def test_the_fullest_instance_with_room_is_taken_first() -> None:
    ready = {amount(8, 64): ["empty"], amount(2, 8): ["full"], amount(1, 8): ["fuller"]}
    environment = an_environment(launched=32, vcpus_max=32, ready=ready)
    names_ = {"empty": "h", "full": "h", "fuller": "h"}
    result = plan(2, 1, 8, environments=[environment], hosts=names_)
    assert [each.slots[0].instance_id for each in result.placements] == ["full", "fuller", "empty"]
    assert launched(result) == []


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [(S.BEST_FIT, ["c.small"]), (S.BEST_FIT_PROGRESSIVE, ["c.small", "c.small"])],
)
def test_only_best_fit_on_demand_never_exceeds_the_maximum(
    strategy: AllocationStrategy, expected: list[str]
) -> None:
    environment = an_environment(strategy=strategy, vcpus_max=3)
    assert launched(plan(2, 2, 2, environments=[environment])) == expected


def test_a_full_machine_is_insufficient_capacity() -> None:
    result = plan(2, 2, vcpus=3)
    assert placed(result) == ["0"]
    [blocked] = result.blocked
    assert blocked.obstacle is Obstacle.INSUFFICIENT_INSTANCE_CAPACITY
    assert blocked.instance_type == "c.small"


def test_who_waits_for_a_consumable_is_not_told_that_a_machine_is_full() -> None:
    """Nobody has asked for an instance: a time limit of blocked heads must not end such a job."""
    need = ConsumableNeed(arn=ConsumableArn("license"), quantity=1)
    job = WaitingJob(job_id=JobId("j"), demand=amount(2), needs=(need,))
    environments = [an_environment()]
    queue = QueueView(
        arn=QueueArn("q"), priority=1, seq=1, environments=environments, waiting=InOrder([job])
    )
    host = HostView(host_id=HostId("h"), capacity=amount(64, 4096), used=Amount())
    view = View(queues=[queue], hosts=[host], environments=environments)
    [blocked] = plan_round(view).blocked
    assert (blocked.obstacle, blocked.instance_type) == (Obstacle.CONSUMABLE_UNAVAILABLE, None)


def test_progressive_takes_the_next_type_and_best_fit_waits() -> None:
    types = (a_type("a.big", 8, 100), a_type("b.small", 2, 300))
    environment = an_environment(types=types)
    assert launched(plan(1, environments=[environment], vcpus=4)) == ["b.small"]
    strict = an_environment(types=types, strategy=S.BEST_FIT)
    result = plan(1, environments=[strict], vcpus=4)
    assert launched(result) == []
    assert result.blocked[0].instance_type == "a.big"


def test_a_job_that_no_type_fits_is_told_so_and_passed() -> None:
    result = plan(9, 1)
    assert placed(result) == ["1"]
    assert result.blocked[0].obstacle is Obstacle.ABOVE_HOST_CAPACITY


def test_a_spent_maximum_is_capacity_in_use() -> None:
    environment = an_environment(launched=16, vcpus_max=16)
    result = plan(2, environments=[environment])
    assert result.blocked[0].obstacle is Obstacle.CAPACITY_IN_USE


def test_what_is_starting_is_waited_for_and_launches_nothing_more() -> None:
    result = plan(1, 1, 1, environments=[an_environment(boot_ms=5000)])
    assert launched(result) == ["c.small", "c.small"]
    assert (placed(result), result.blocked) == ([], ())
    starting = {SMALL.capacity: ["one", "two"]}
    environment = an_environment(launched=4, boot_ms=5000, starting=starting)
    again = plan(1, 1, 1, environments=[environment], hosts={"one": "h", "two": "h"})
    assert (launched(again), placed(again), again.blocked) == ([], [], ())


def test_nodes_get_instances_together_or_not_at_all() -> None:
    result = plan((2, 2, 2), vcpus=64)
    assert len(result.placements[0].slots) == 3
    assert launched(result) == ["c.small"] * 3
    assert placed(plan((2, 2, 2), vcpus=5)) == []


def test_idle_instances_make_room_the_longest_idle_first() -> None:
    other = an_environment("other", launched=4, ready={SMALL.capacity: ["old", "young"]})
    idle = [
        IdleInstance(
            instance_id=InstanceId(name),
            environment_arn=EnvironmentArn("other"),
            host_id=HostId("h"),
            capacity=SMALL.capacity,
        )
        for name in ("old", "young")
    ]
    known = {"old": "h", "young": "h"}
    wanting = an_environment("ce")

    def run(*jobs: int, other: EnvironmentView = other) -> Plan:
        return plan_round(
            View(
                queues=[
                    QueueView(
                        arn=QueueArn("q"),
                        priority=1,
                        seq=1,
                        environments=[wanting],
                        waiting=InOrder(
                            WaitingJob(job_id=JobId(str(at)), demand=amount(each))
                            for at, each in enumerate(jobs)
                        ),
                    )
                ],
                hosts=[HostView(host_id=HostId("h"), capacity=amount(4, 128), used=amount(4, 128))],
                environments=[wanting, other],
                idle_instances=idle,
                host_by_instance={InstanceId(key): HostId(name) for key, name in known.items()},
            )
        )

    result = run(2)
    assert (result.terminations, placed(result)) == (("old",), ["0"])
    kept = an_environment(
        "other", launched=4, vcpus_min=3, ready={SMALL.capacity: ["old", "young"]}
    )
    assert run(2, other=kept).terminations == ()


def test_the_least_is_kept_without_any_job() -> None:
    assert launched(plan(environments=[an_environment(vcpus_min=5)])) == ["c.small"] * 3
    assert launched(plan(environments=[an_environment(vcpus_min=5, launched=6)])) == []


@given(
    st.lists(st.integers(1, 9), max_size=12),
    st.integers(0, 40),
    st.integers(0, 20),
    st.sampled_from(list(S)),
)
def test_nothing_is_ever_over_filled(
    jobs: list[int], vcpus: int, vcpus_max: int, strategy: AllocationStrategy
) -> None:
    environment = an_environment(types=TYPES, vcpus_max=vcpus_max, strategy=strategy)
    result = plan(*jobs, environments=[environment], vcpus=vcpus)
    capacity = {each.instance_id: each.instance_type.capacity for each in result.launches}
    total = sum(each.cpu_milli for each in capacity.values())
    assert total <= vcpus * 1000
    largest = max((each.cpu_milli for each in capacity.values()), default=0)
    assert total < vcpus_max * 1000 + largest or not capacity
    for placement in result.placements:
        [slot] = placement.slots
        assert slot.instance_id is not None
        capacity[slot.instance_id] -= amount(jobs[int(placement.job_id)])
    assert all(free.cpu_milli >= 0 and free.memory_mib >= 0 for free in capacity.values())


def test_a_machine_smaller_than_every_type_stands_in_for_the_smallest() -> None:
    small, large = a_type("s.one", 2, 8, gib=8), a_type("s.two", 4, 16, gib=16)
    (found,) = types_on((large, small), [amount(1, 4)])
    assert (found.name, found.capacity) == ("s.one", amount(1, 4))


def test_types_stay_as_they_are_where_a_machine_has_room_for_one() -> None:
    types = (a_type("s.one", 2, 8, gib=8), a_type("s.two", 400, 16, gib=16))
    assert types_on(types, [amount(1, 4), amount(2, 8)]) == types


def test_no_more_gpus_are_there_than_the_machine_has() -> None:
    types = (a_type("g.four", 48, 8, gib=192, gpus=4),)
    (found,) = types_on(types, [amount(64, 512), amount(8, 64, gpus=2)])
    assert found.capacity == amount(8, 64, gpus=2)


def test_a_maximum_below_every_type_that_fits_is_told() -> None:
    environment = an_environment(vcpus_max=1, strategy=S.BEST_FIT, types=(SMALL,))
    [head] = plan(1, environments=[environment]).blocked
    assert head.obstacle is Obstacle.ABOVE_ENVIRONMENT_MAX
