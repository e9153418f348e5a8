"""Which instance type to launch: the allocation strategies.

Decides by reference/compute-and-scheduling.md section 1.9. Refuses to know what runs already.
Prices are integers, and every order ends in the type's name, so that equal views give equal
choices.

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

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from batchyard.model.amounts import Amount
from batchyard.model.instances import AllocationStrategy, InstanceType

#: Dearer than any type with a price, in millionths of a USD an hour.
_UNKNOWN_PRICE_MICRO = 10**12

_PERCENT = 100

_Key = tuple[int | str, ...]


def choices(
    strategy: AllocationStrategy,
    types: Sequence[InstanceType],
    demand: Amount,
    depth_of: Callable[[InstanceType], int],
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
    return replace(kind, price_micro=spot_price_micro, is_launchable=kind.is_launchable and is_low)


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
