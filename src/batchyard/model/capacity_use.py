"""Capacity units of quota shares: what is counted of a job, and what of that is ours.

Decides the words (reference/compute-and-scheduling.md section 3.4). Refuses to know who has how
much. AWS counts instance types, for service jobs. Jobs that run containers use the units here,
which are ours: docs/decisions/0016-quota-shares.md.
"""

from msgspec import Struct

from batchyard.model.amounts import Amount

VCPU = "VCPU"
MEMORY_MIB = "MEMORY_MIB"
GPU = "GPU"
CONTAINER_UNITS = (VCPU, MEMORY_MIB, GPU)

#: Quantities are counted in thousandths.
MILLI = 1000


class UnitQuantity(Struct, frozen=True, kw_only=True):
    """So much of one capacity unit."""

    unit: str
    #: Whole units.
    quantity: int


def use_of_demand(demand: Amount) -> dict[str, int]:
    """Count what a container job uses, in thousandths; a unit that it does not need is left out."""
    use = {
        VCPU: demand.cpu_milli,
        MEMORY_MIB: demand.memory_mib * MILLI,
        GPU: demand.gpu_count * MILLI,
    }
    return {unit: quantity for unit, quantity in use.items() if quantity}
