"""What environments launch, and at which price, as the engine reads it from their records."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.engine.catalogue import (
    Bid,
    LaunchTimes,
    SpotMarket,
    UnknownType,
    architectures_of,
    facts_by_name,
    types_of,
)
from batchyard.model.instances import AllocationStrategy, LaunchSettings


def settings_of(times: LaunchTimes | None = None, **resources: Any) -> LaunchSettings:
    detail = {
        "type": "MANAGED",
        "computeResources": {"type": "EC2", "maxvCpus": 8, "instanceTypes": ["m6i"], **resources},
    }
    found = (times or LaunchTimes()).settings_of(detail, is_change=False)
    assert found is not None
    return found


def provider(**members: Any) -> dict[str, Any]:
    template = {
        "ec2InstanceProfileArn": "profile",
        "networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]},
    }
    for name in ("capacityOptionType", "instanceRequirements"):
        if name in members:
            template[name] = members.pop(name)
    return {"infrastructureRoleArn": "role", "instanceLaunchTemplate": template, **members}


def managed(**members: Any) -> LaunchSettings:
    return settings_of(
        type="ECS_MANAGED_INSTANCES", instanceTypes=[], managedInstancesProvider=provider(**members)
    )


def test_spot_prices_are_a_part_of_the_price_on_demand_unless_told_otherwise():
    market = SpotMarket(percent=40, price_micro_by_type={"m6i.large": 90_000})
    on_demand = {kind.name: kind.price_micro or 0 for kind in types_of(["m6i"])}
    on_spot = {kind.name: kind.price_micro for kind in types_of(["m6i"], Bid(market=market))}
    assert on_spot.pop("m6i.large") == 90_000
    assert on_spot == {
        name: price * 40 // 100 for name, price in on_demand.items() if name != "m6i.large"
    }


@pytest.mark.parametrize(("bid", "may"), [(35, False), (36, True), (0, True), (None, True)])
def test_a_type_is_launched_only_below_the_bid(bid, may):
    """The Spot price is 35 percent; a bid of 0 counts as none, and none as 100."""
    given = {} if bid is None else {"bidPercentage": bid}
    settings = settings_of(type="SPOT", instanceTypes=["m6i.large"], **given)
    assert [kind.is_launchable for kind in settings.types] == [may]


def test_a_type_without_spot_capacity_is_not_launched_there():
    name = next(fact.name for fact in facts_by_name().values() if not fact.is_spot)
    assert types_of([name])[0].is_launchable
    assert not types_of([name], Bid(market=SpotMarket()))[0].is_launchable


def test_on_demand_knows_no_bid():
    settings = settings_of(instanceTypes=["m6i.large"], bidPercentage=1)
    assert [kind.is_launchable for kind in settings.types] == [True]


def test_managed_instances_are_the_cheapest_that_fit():
    settings = managed(instanceRequirements={"allowedInstanceTypes": ["c7i.large", "m6g"]})
    assert settings.strategy is AllocationStrategy.BEST_FIT_PROGRESSIVE
    assert {kind.name.partition(".")[0] for kind in settings.types} == {"c7i", "m6g"}
    assert (settings.is_spot, settings.cpu_milli_min, settings.idle_ms) == (False, 0, 60_000)
    families = {kind.name.partition(".")[0] for kind in managed().types}
    assert families == {"m6i", "c6i", "r6i", "c7i"}
    assert managed(capacityOptionType="SPOT").is_spot


@pytest.mark.parametrize(("scale_in_s", "idle_ms"), [(0, 0), (90, 90_000), (-1, None)])
def test_managed_instances_are_kept_as_long_as_scale_in_says(scale_in_s, idle_ms):
    found = managed(infrastructureOptimization={"scaleInAfter": scale_in_s})
    assert found.idle_ms == idle_ms


def test_only_the_template_of_managed_instances_replaces_them():
    plain = managed().infrastructure
    assert managed(infrastructureOptimization={"scaleInAfter": 5}).infrastructure == plain
    assert managed(capacityOptionType="SPOT").infrastructure != plain


def test_unmanaged_and_fargate_launch_nothing():
    times = LaunchTimes()
    assert times.settings_of({"type": "UNMANAGED"}, is_change=True) is None
    fargate = {"computeResources": {"type": "FARGATE", "maxvCpus": 4}}
    assert times.settings_of(fargate, is_change=True) is None


def test_each_type_is_there_once_however_often_it_is_named():
    found = types_of(["m6i", "m6i.large", "m6i", "m6i.large"])
    names = [kind.name for kind in found]
    assert len(names) == len(set(names)) == len(types_of(["m6i"]))
    assert {kind.name: kind.rank for kind in found}["m6i.large"] == 1
    both = [kind.name for kind in types_of(["optimal", "m6i"])]
    assert both == [kind.name for kind in types_of(["optimal"])]


def test_an_item_that_means_no_type_is_named():
    with pytest.raises(UnknownType, match=r"^zz9$"):
        types_of(["m6i", "zz9"])


def test_architectures_are_those_of_known_types():
    assert architectures_of(["m6i", "c7i.large", "zz9"]) == {"x86_64"}
    assert architectures_of(["optimal", "m6g.large"]) == {"x86_64", "arm64"}
    assert architectures_of([]) == set()
