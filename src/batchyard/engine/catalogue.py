"""Which EC2 instance types there are, and which of them an environment may launch.

Owns the table of facts that comes with batchyard, and how `instanceTypes` is read: exact types,
families and bundles (reference/compute-and-scheduling.md section 1.3). Refuses to know what any
machine has.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from hashlib import blake2b
from importlib.resources import files

import msgspec

from batchyard.model.amounts import Amount
from batchyard.model.environment_kinds import kind_of_environment
from batchyard.model.instances import (
    AllocationStrategy,
    InstanceType,
    LaunchSettings,
    capacity_of_type,
)
from batchyard.model.records import Json
from batchyard.model.status import EnvironmentKind
from batchyard.scheduler.allocation import on_spot

_TABLE = "instance_types.csv"
_MICRO = 1_000_000
_METAL = "metal"
#: Of the instance types of SageMaker.
TRAINING_PREFIX = "ml."

_MS_PER_S = 1000
_MS_PER_MINUTE = 60_000
#: `scaleInAfter` of instances that are kept.
_NEVER = -1
#: What managed instances are launched from where no type is named. AWS takes any type that it has.
_ANY_TYPE = "default_x86_64"
#: AWS's, of `jobExecutionTimeoutMinutes`.
_REPLACE_MINUTES_DEFAULT = 30
#: In the ARN of each service-linked role.
_LINKED_ROLES = ":role/aws-service-role/"
#: What may change while an instance runs.
_SCALING = ("minvCpus", "maxvCpus", "desiredvCpus", "scalingPolicy")

#: Ours, from the savings that AWS advertises for Spot: most prices are well below half.
SPOT_PERCENT_DEFAULT = 35
_PERCENT = 100
#: AWS's, of `bidPercentage`.
_BID_PERCENT_DEFAULT = 100

_X86_BUNDLE = ("m6i", "c6i", "r6i", "c7i")
_ARM_BUNDLE = ("m6g", "c6g", "r6g", "c7g")
_FAMILIES_BY_BUNDLE = {
    "optimal": _X86_BUNDLE,
    "default_x86_64": _X86_BUNDLE,
    "default_arm64": _ARM_BUNDLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What is known of a type."""

    name: str
    vcpus: int
    #: Nominal.
    memory_mib: int
    #: `x86_64` or `arm64`.
    architecture: str
    gpu_count: int
    is_spot: bool
    price_micro: int | None

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


class UnknownType(Exception):
    """An item of `instanceTypes` that means no type. The text names it."""


@cache
def facts_by_name() -> dict[str, Fact]:
    """Read the table, once."""
    text = files("batchyard.engine").joinpath(_TABLE).read_text(encoding="ascii")
    _comment, _head, *lines = text.splitlines()
    return {fact.name: fact for fact in map(_read, lines)}


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotMarket:
    """What Spot capacity costs: prices do not move while a server runs."""

    #: Of the price on demand, for types without a price of their own here.
    percent: int = SPOT_PERCENT_DEFAULT
    #: Millionths of a USD an hour, by type.
    price_micro_by_type: Mapping[str, int] = field(default_factory=dict)

    def price_micro_of(self, fact: Fact) -> int | None:
        """Give the Spot price of a type; None: nothing is known of its price."""
        known = self.price_micro_by_type.get(fact.name)
        if known is not None or fact.price_micro is None:
            return known
        return fact.price_micro * self.percent // _PERCENT


_NO_MARKET = SpotMarket()


def architectures_of(instance_types: Sequence[str]) -> set[str]:
    """Name the CPU architectures of what is known of the items of `instanceTypes`."""
    return {fact.architecture for item in instance_types for fact in _meant_by(item)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """What an environment pays for Spot capacity."""

    market: SpotMarket
    #: Of the price on demand.
    percent: int = _BID_PERCENT_DEFAULT


def names_of(instance_types: Sequence[str]) -> set[str]:
    """Name the types that items of `instanceTypes` mean, as far as they are known."""
    return {fact.name for item in instance_types for fact in _meant_by(item)}


def types_of(instance_types: Sequence[str], bid: Bid | None = None) -> list[InstanceType]:
    """Give what the items of `instanceTypes` mean, in their order; on demand without a bid.

    Each type once; one that is named beside its family keeps its own place. Raises `UnknownType`.
    """
    named = {each for each in instance_types if each in facts_by_name()}
    found: dict[str, InstanceType] = {}
    for rank, item in enumerate(dict.fromkeys(instance_types)):
        facts = list(_meant_by(item))
        if not facts:
            raise UnknownType(item)
        for fact in facts:
            if fact.name not in found and (fact.name == item or fact.name not in named):
                found[fact.name] = _type_of(fact, rank, bid)
    return list(found.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTimes:
    """What an operator decides about all instances."""

    #: From a launch to the moment when jobs can be placed.
    boot_ms: int = 0
    #: How long an instance that runs nothing is kept, unless its environment says otherwise.
    idle_ms: int = _MS_PER_MINUTE
    market: SpotMarket = _NO_MARKET

    def settings_of(self, detail: Json, *, is_change: bool) -> LaunchSettings | None:
        """Say how an environment, as Describe shows it, launches instances; None: it launches none.

        `desiredvCpus` counts once, as part of a change. Raises `UnknownType`.
        """
        kind = kind_of_environment(detail)
        if kind is EnvironmentKind.MANAGED_INSTANCES:
            return self._settings_of_provider(
                detail["computeResources"]["managedInstancesProvider"]
            )
        if kind.is_fargate or kind is EnvironmentKind.UNMANAGED:
            return None
        resources: Json = detail["computeResources"]
        is_spot = kind is EnvironmentKind.SPOT
        bid = Bid(
            market=self.market, percent=resources.get("bidPercentage") or _BID_PERCENT_DEFAULT
        )
        types = types_of(resources.get("instanceTypes") or ["optimal"], bid if is_spot else None)
        delay = (resources.get("scalingPolicy") or {}).get("minScaleDownDelayMinutes")
        return LaunchSettings(
            strategy=AllocationStrategy(
                resources.get("allocationStrategy") or AllocationStrategy.BEST_FIT
            ),
            is_spot=is_spot,
            bid_percent=bid.percent if is_spot else None,
            is_replaceable=_is_replaceable(detail),
            types=tuple(types),
            cpu_milli_min=resources.get("minvCpus", 0) * 1000,
            cpu_milli_wanted=resources.get("desiredvCpus", 0) * 1000 if is_change else 0,
            boot_ms=self.boot_ms,
            idle_ms=delay * _MS_PER_MINUTE if delay else self.idle_ms,
            infrastructure=_infrastructure_of(resources),
            replace_ms=_replace_ms(detail.get("updatePolicy") or {}),
        )

    def _settings_of_provider(self, provider: Json) -> LaunchSettings:
        """Say how managed instances are launched: AWS chooses, so the cheapest per vCPU."""
        template: Json = provider["instanceLaunchTemplate"]
        allowed = (template.get("instanceRequirements") or {}).get("allowedInstanceTypes")
        scale_in_s = (provider.get("infrastructureOptimization") or {}).get("scaleInAfter")
        if scale_in_s is None:
            idle_ms: int | None = self.idle_ms
        else:
            idle_ms = None if scale_in_s == _NEVER else scale_in_s * _MS_PER_S
        is_spot = template.get("capacityOptionType") == EnvironmentKind.SPOT
        bid = Bid(market=self.market) if is_spot else None
        return LaunchSettings(
            strategy=AllocationStrategy.BEST_FIT_PROGRESSIVE,
            is_spot=is_spot,
            types=tuple(types_of(allowed or [_ANY_TYPE], bid)),
            cpu_milli_min=0,
            boot_ms=self.boot_ms,
            idle_ms=idle_ms,
            infrastructure=_infrastructure_of(template),
            replace_ms=_replace_ms({}),
        )


def _infrastructure_of(resources: Json) -> str:
    """Digest what cannot change under an instance (section 1.11: infrastructure updates)."""
    lasting = {name: value for name, value in resources.items() if name not in _SCALING}
    return blake2b(msgspec.json.encode(lasting, order="sorted"), digest_size=8).hexdigest()


def _is_replaceable(detail: Json) -> bool:
    """Tell whether AWS would replace instances (section 1.11): not with a role of one's own."""
    strategy = detail["computeResources"].get("allocationStrategy") or AllocationStrategy.BEST_FIT
    is_linked = _LINKED_ROLES in (detail.get("serviceRole") or "")
    return is_linked and strategy != AllocationStrategy.BEST_FIT


def _replace_ms(update_policy: Json) -> int:
    if update_policy.get("terminateJobsOnUpdate"):
        return 0
    minutes: int = update_policy.get("jobExecutionTimeoutMinutes", _REPLACE_MINUTES_DEFAULT)
    return minutes * _MS_PER_MINUTE


def _meant_by(item: str) -> Iterable[Fact]:
    """Give the types that an item means; families and bundles leave out metal sizes."""
    facts = facts_by_name()
    if item in facts:
        yield facts[item]
        return
    by_family = _facts_by_family()
    for family in _FAMILIES_BY_BUNDLE.get(item, (item,)):
        yield from by_family.get(family, ())


@cache
def _facts_by_family() -> dict[str, list[Fact]]:
    """Group the table, metal sizes left out."""
    found: dict[str, list[Fact]] = {}
    for fact in facts_by_name().values():
        if _METAL not in fact.name:
            found.setdefault(fact.family, []).append(fact)
    return found


def capacity_of_fact(fact: Fact) -> Amount:
    """Say what a type gives to jobs."""
    return capacity_of_type(vcpus=fact.vcpus, memory_mib=fact.memory_mib, gpu_count=fact.gpu_count)


def capacity_of_training(instance_type: str) -> Amount | None:
    """Say what a job gets of an instance type of SageMaker; None: there is no such type.

    It is as large as the EC2 instances that are behind it.
    """
    fact = facts_by_name().get(instance_type.removeprefix(TRAINING_PREFIX))
    if fact is None or not instance_type.startswith(TRAINING_PREFIX):
        return None
    return capacity_of_fact(fact)


def _type_of(fact: Fact, rank: int, bid: Bid | None) -> InstanceType:
    kind = InstanceType(
        name=fact.name,
        capacity=capacity_of_fact(fact),
        price_micro=fact.price_micro,
        is_launchable=bid is None or fact.is_spot,
        rank=rank,
    )
    if bid is None:
        return kind
    return on_spot(kind, bid.market.price_micro_of(fact), bid_percent=bid.percent)


def _read(line: str) -> Fact:
    name, vcpus, memory_mib, architecture, gpus, is_spot, price = line.split(",")
    return Fact(
        name=name,
        vcpus=int(vcpus),
        memory_mib=int(memory_mib),
        architecture=architecture,
        gpu_count=int(gpus),
        is_spot=is_spot == "1",
        price_micro=int(Decimal(price) * _MICRO) if price else None,
    )
