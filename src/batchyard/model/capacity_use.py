"""Capacity units of quota shares: what is counted of a job, and what of that is ours.

Decides the words (reference/compute-and-scheduling.md section 3.4). Refuses to know who has how
much. AWS counts instance types, for service jobs. Jobs that run containers use the units here,
which are ours: docs/decisions/0016-quota-shares.md.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from batchyard.model.amounts import Amount

VCPU = "VCPU"
MEMORY_MIB = "MEMORY_MIB"
GPU = "GPU"
CONTAINER_UNITS = (VCPU, MEMORY_MIB, GPU)
#: AWS's, of service environments: instances of any type.
NUM_INSTANCES = "NUM_INSTANCES"

#: Quantities are counted in thousandths.
MILLI = 1000


class UnitQuantity(Struct, frozen=True, kw_only=True):
    """So much of one capacity unit."""

    unit: str
    #: Whole units.
    quantity: int


def count_instances(capacity_use: Iterable[UnitQuantity], *, sign: int = 1) -> dict[str, int]:
    """Count the instances that a service job takes, by type."""
    return {each.unit: sign * each.quantity for each in capacity_use}


def are_within(used: Mapping[str, int], limits: Mapping[str, int]) -> bool:
    """Tell whether instances, by type, are within the limits of a service environment.

    They count together where the limit is one of NUM_INSTANCES; else a type without a limit may not
    be used at all.
    """
    if (most := limits.get(NUM_INSTANCES)) is not None:
        return sum(used.values()) <= most
    return all(count <= limits.get(unit, 0) for unit, count in used.items() if count)


def added(used: Mapping[str, int], more: Mapping[str, int]) -> dict[str, int]:
    """Add counts by unit; what comes to nothing is left out."""
    summed = {unit: used.get(unit, 0) + more.get(unit, 0) for unit in {**used, **more}}
    return {unit: count for unit, count in summed.items() if count}


def use_of_demand(demand: Amount) -> dict[str, int]:
    """Count what a container job uses, in thousandths; a unit that it does not need is left out."""
    use = {
        VCPU: demand.cpu_milli,
        MEMORY_MIB: demand.memory_mib * MILLI,
        GPU: demand.gpu_count * MILLI,
    }
    return {unit: quantity for unit, quantity in use.items() if quantity}
