"""Which instance type to launch: the allocation strategies.

Decides by reference/compute-and-scheduling.md section 1.9. Refuses to know what runs already.
Prices are integers, and every order ends in the type's name, so that equal views give equal
choices. `choices` says the rules; `TypeOrder` gives the same, and keeps what does not change from
round to round.

- BEST_FIT: the cheapest type that the job fits, and no other: if there is no room for it, the job
  waits.
- BEST_FIT_PROGRESSIVE: types that the job fits, the cheapest per vCPU first, the smallest of them
  first; the next one if there is no room.
- BEST_FIT_PROGRESSIVE_ORDERED: the same within each item of `instanceTypes`, item by item.
- Spot capacity is compared by its Spot price, everything else by the price on demand.
- A type is launched on Spot only while its Spot price is below `bidPercentage` of its price on
  demand (section 1.3): see `on_spot`.
- SPOT_CAPACITY_OPTIMIZED: the deepest pool first. A pool is as deep as the number of instances of
  the type that the machines still have room for.
- SPOT_PRICE_CAPACITY_OPTIMIZED: the cheapest per vCPU first, then the deepest pool.
- SPOT_CAPACITY_OPTIMIZED_PRIORITIZED: the deepest pool first, then by item of `instanceTypes`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from msgspec.structs import replace

from batchyard.model.amounts import Amount
from batchyard.model.instances import AllocationStrategy, InstanceType

#: Dearer than any type with a price, in millionths of a USD an hour.
_UNKNOWN_PRICE_MICRO = 10**12

_PERCENT = 100

_Key = tuple[int | str, ...]

#: Tells how many instances of a type there is still room for.
DepthOf = Callable[[InstanceType], int]

#: Ours: answers for so many different demands are kept, then they are begun anew.
_DEMANDS_KEPT_MAX = 512


def choices(
    strategy: AllocationStrategy,
    types: Sequence[InstanceType],
    demand: Amount,
    depth_of: DepthOf,
) -> list[InstanceType]:
    """Give the types to try for a job, in order. `depth_of` tells the depth of a type's pool."""
    fitting = [each for each in types if each.is_launchable and demand.fits_in(each.capacity)]
    match strategy:
        case AllocationStrategy.BEST_FIT:
            return sorted(fitting, key=_by_price)[:1]
        case AllocationStrategy.BEST_FIT_PROGRESSIVE:
            return sorted(fitting, key=_by_price_per_vcpu)
        case AllocationStrategy.BEST_FIT_PROGRESSIVE_ORDERED:
            return sorted(fitting, key=lambda each: (each.rank, *_by_price_per_vcpu(each)))
        case AllocationStrategy.SPOT_CAPACITY_OPTIMIZED:
            return sorted(fitting, key=lambda each: (-depth_of(each), *_by_price_per_vcpu(each)))
        case AllocationStrategy.SPOT_PRICE_CAPACITY_OPTIMIZED:
            return sorted(fitting, key=lambda each: _by_price_then_depth(each, depth_of(each)))
        case AllocationStrategy.SPOT_CAPACITY_OPTIMIZED_PRIORITIZED:
            return sorted(
                fitting, key=lambda each: (-depth_of(each), each.rank, *_by_price_per_vcpu(each))
            )


@dataclass(frozen=True, slots=True)
class _ForDemand:
    """What holds of the types for one demand, whatever the machines have left."""

    #: In the order of the strategy. Types of one group differ in nothing that counts before depth.
    groups: tuple[tuple[InstanceType, ...], ...]
    #: See `TypeOrder.least`.
    least: tuple[Amount, ...]
    #: See `too_dear`.
    dear: tuple[InstanceType, ...]
    #: The demand fits one of the types, launchable or not.
    fits_any: bool


class TypeOrder:
    """The types of one environment in the order of its strategy.

    Holds for as long as the strategy and the types are these: nothing else goes into an answer that
    is kept. What machines have left comes in with `depth_of`, and is asked anew each time.
    """

    __slots__ = ("_by_demand", "_in_order", "_uses_depth", "strategy", "types")

    def __init__(self, strategy: AllocationStrategy, types: Sequence[InstanceType]) -> None:
        self.strategy = strategy
        self.types = types
        self._uses_depth = strategy in _BEFORE_DEPTH
        self._in_order: list[InstanceType] | None = None
        self._by_demand: dict[Amount, _ForDemand] = {}

    def choices(self, demand: Amount, depth_of: DepthOf) -> Iterator[InstanceType]:
        """Give the same types in the same order as `choices`, as far as they are read.

        Depth is asked only where it decides: among types of which none comes first otherwise.
        """
        for group in self._of(demand).groups:
            if self._uses_depth and len(group) > 1:
                # The group is in the order of what counts after depth, and sorting is stable.
                yield from sorted(group, key=depth_of, reverse=True)
            else:
                yield from group

    def least(self, demand: Amount) -> tuple[Amount, ...]:
        """Give the smallest of what types for this demand take of a machine.

        What any of these types takes is at least one of them in every dimension. So where no room
        is for the smallest, there is none for any.
        """
        return self._of(demand).least

    def too_dear(self, demand: Amount) -> tuple[InstanceType, ...]:
        """See the function of that name."""
        return self._of(demand).dear

    def may_hold(self, demand: Amount) -> bool:
        """Tell whether the demand fits any of the types."""
        return self._of(demand).fits_any

    def _of(self, demand: Amount) -> _ForDemand:
        found = self._by_demand.get(demand)
        if found is None:
            if len(self._by_demand) >= _DEMANDS_KEPT_MAX:
                self._by_demand.clear()
            found = self._by_demand[demand] = self._find(demand)
        return found

    def _find(self, demand: Amount) -> _ForDemand:
        if self._in_order is None:
            launchable = [each for each in self.types if each.is_launchable]
            self._in_order = sorted(launchable, key=_WITHOUT_DEPTH[self.strategy])
        before = _BEFORE_DEPTH.get(self.strategy, _by_nothing)
        fitting = [each for each in self._in_order if demand.fits_in(each.capacity)]
        if self.strategy is AllocationStrategy.BEST_FIT:
            fitting = fitting[:1]
        return _ForDemand(
            groups=tuple(tuple(group) for _, group in groupby(fitting, key=before)),
            least=_least_of([each.capacity for each in fitting]),
            dear=tuple(too_dear(self.types, demand)),
            fits_any=any(demand.fits_in(each.capacity) for each in self.types),
        )


def _least_of(amounts: Sequence[Amount]) -> tuple[Amount, ...]:
    """Leave out what is at least another one in every dimension."""
    least: list[Amount] = []
    for each in sorted(amounts, key=lambda each: (each.cpu_milli, each.memory_mib, each.gpu_count)):
        if not any(other.fits_in(each) for other in least):
            least.append(each)
    return tuple(least)


def types_on(types: Sequence[InstanceType], machines: Sequence[Amount]) -> Sequence[InstanceType]:
    """Give the types that machines of these capacities can stand for.

    Ours: where no machine has room for any of the types even when empty, the smallest type is there
    all the same, with no more than the largest machine has. So an environment that was made
    for a data centre works on a laptop too.
    """
    for (
        kind
    ) in types:  # A round asks this of every environment, and the first one nearly always fits.
        if kind.is_launchable and _fits_any(kind, machines):
            return types
    launchable = [kind for kind in types if kind.is_launchable] or types
    if any(_fits_any(kind, machines) for kind in launchable):
        return types
    smallest = min(launchable, key=_size_of, default=None)
    largest = max(
        machines, key=lambda each: (each.gpu_count, each.cpu_milli, each.memory_mib), default=None
    )
    if smallest is None or largest is None or not (largest.cpu_milli and largest.memory_mib):
        return types
    capacity = Amount(
        cpu_milli=min(smallest.capacity.cpu_milli, largest.cpu_milli),
        memory_mib=min(smallest.capacity.memory_mib, largest.memory_mib),
        gpu_count=min(smallest.capacity.gpu_count, largest.gpu_count),
    )
    return (replace(smallest, capacity=capacity),)


def _fits_any(kind: InstanceType, machines: Sequence[Amount]) -> bool:
    for machine in machines:  # noqa: SIM110 -- a generator costs three times as much
        if kind.capacity.fits_in(machine):
            return True
    return False


def on_spot(kind: InstanceType, spot_price_micro: int | None, *, bid_percent: int) -> InstanceType:
    """Give a type, whose price is the one on demand, as an environment of Spot capacity gets it.

    It may be launched only while its Spot price is below `bid_percent` of the price on demand. One
    of whose prices is unknown may be launched.
    """
    is_low = (
        kind.price_micro is None
        or spot_price_micro is None
        or spot_price_micro * _PERCENT < kind.price_micro * bid_percent
    )
    return replace(
        kind,
        price_micro=spot_price_micro,
        on_demand_micro=kind.price_micro,
        is_launchable=kind.is_launchable and is_low,
        is_sold=kind.is_launchable,
    )


def bid_percent_for(kind: InstanceType) -> int | None:
    """Give the least `bidPercentage` at which a type on Spot is launched; None: none decides it."""
    if not kind.is_sold or not kind.on_demand_micro or kind.price_micro is None:
        return None
    return kind.price_micro * _PERCENT // kind.on_demand_micro + 1


def at_bid(kind: InstanceType, bid_percent: int) -> InstanceType:
    """Give a type on Spot as an environment with another `bidPercentage` gets it."""
    least = bid_percent_for(kind)
    return kind if least is None else replace(kind, is_launchable=least <= bid_percent)


def on_demand(kind: InstanceType) -> InstanceType:
    """Give a type on Spot as an environment gets it that pays on demand."""
    return replace(
        kind,
        price_micro=kind.on_demand_micro,
        on_demand_micro=None,
        is_launchable=True,
        is_sold=True,
    )


def too_dear(types: Sequence[InstanceType], demand: Amount) -> list[InstanceType]:
    """Give the types that the job fits but that cost more than the environment pays."""
    fitting = [each for each in types if not each.is_launchable and demand.fits_in(each.capacity)]
    return sorted(fitting, key=_by_price)


def may_exceed_max(strategy: AllocationStrategy, *, is_spot: bool) -> bool:
    """Tell whether the last instance may go beyond `maxvCpus`: all may, but BEST_FIT on demand."""
    return is_spot or strategy is not AllocationStrategy.BEST_FIT


def _by_price(each: InstanceType) -> _Key:
    return (_price_of(each), *_size_of(each))


def _by_price_per_vcpu(each: InstanceType) -> _Key:
    return (_price_per_vcpu_of(each), *_size_of(each))


def _by_price_then_depth(each: InstanceType, depth: int) -> _Key:
    return (_price_per_vcpu_of(each), -depth, *_size_of(each))


def _price_of(each: InstanceType) -> int:
    return _UNKNOWN_PRICE_MICRO if each.price_micro is None else each.price_micro


def _price_per_vcpu_of(each: InstanceType) -> int:
    """In thousandths of a millionth, so that sizes of one family come out equal."""
    return _price_of(each) * 1_000_000 // each.capacity.cpu_milli


def _size_of(each: InstanceType) -> _Key:
    capacity = each.capacity
    return (capacity.gpu_count, capacity.cpu_milli, capacity.memory_mib, each.name)


def _by_rank_then_price_per_vcpu(each: InstanceType) -> _Key:
    return (each.rank, *_by_price_per_vcpu(each))


def _by_nothing(_each: InstanceType) -> int:
    return 0


#: The order of each strategy among types that are equally deep.
_WITHOUT_DEPTH: Mapping[AllocationStrategy, Callable[[InstanceType], _Key]] = {
    AllocationStrategy.BEST_FIT: _by_price,
    AllocationStrategy.BEST_FIT_PROGRESSIVE: _by_price_per_vcpu,
    AllocationStrategy.BEST_FIT_PROGRESSIVE_ORDERED: _by_rank_then_price_per_vcpu,
    AllocationStrategy.SPOT_CAPACITY_OPTIMIZED: _by_price_per_vcpu,
    AllocationStrategy.SPOT_PRICE_CAPACITY_OPTIMIZED: _by_price_per_vcpu,
    AllocationStrategy.SPOT_CAPACITY_OPTIMIZED_PRIORITIZED: _by_rank_then_price_per_vcpu,
}
#: Of strategies that look at depth: what goes before it.
_BEFORE_DEPTH: Mapping[AllocationStrategy, Callable[[InstanceType], int]] = {
    AllocationStrategy.SPOT_CAPACITY_OPTIMIZED: _by_nothing,
    AllocationStrategy.SPOT_PRICE_CAPACITY_OPTIMIZED: _price_per_vcpu_of,
    AllocationStrategy.SPOT_CAPACITY_OPTIMIZED_PRIORITIZED: _by_nothing,
}
