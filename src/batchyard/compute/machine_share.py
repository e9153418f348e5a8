"""How much of the machine jobs may have: what it has, what the operator says, and overcommit.

Decides the capacity of a host. The machine's own is a hard limit: more than that is given only
where the operator allows it by a factor, and what he says beyond it is refused. Refuses to know
settings by name; the texts name them all the same, as that is where the remedy is.
"""

from dataclasses import dataclass

from batchyard.compute.port import Trouble
from batchyard.model.amounts import Amount

_PER_MILLE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineShare:
    """What the operator decides about the machine."""

    #: At most; None: all.
    cpu_milli: int | None = None
    memory_mib: int | None = None
    #: How much may be given away of what there is, in thousandths; at least 1000.
    cpu_overcommit_per_mille: int = _PER_MILLE
    memory_overcommit_per_mille: int = _PER_MILLE

    def of(self, machine: Amount) -> Amount:
        """Give what jobs may have of a machine. Raises `Trouble` for more than it may give."""
        cpu_milli_max = machine.cpu_milli * self.cpu_overcommit_per_mille // _PER_MILLE
        memory_mib_max = machine.memory_mib * self.memory_overcommit_per_mille // _PER_MILLE
        cpu_milli = cpu_milli_max if self.cpu_milli is None else self.cpu_milli
        memory_mib = memory_mib_max if self.memory_mib is None else self.memory_mib
        if cpu_milli > cpu_milli_max:
            raise Trouble(
                f"machine_vcpus is {cpu_milli / 1000:g}, but the machine has"
                f" {machine.cpu_milli / 1000:g} vCPUs for jobs; to give away more than it has,"
                f" set cpu_overcommit to at least {_factor(cpu_milli, machine.cpu_milli)}"
            )
        if memory_mib > memory_mib_max:
            raise Trouble(
                f"machine_memory_mib is {memory_mib}, but the machine has {machine.memory_mib} MiB"
                " for jobs; to give away more than it has, set memory_overcommit to at least"
                f" {_factor(memory_mib, machine.memory_mib)}"
            )
        return Amount(cpu_milli=cpu_milli, memory_mib=memory_mib, gpu_count=machine.gpu_count)


def _factor(wanted: int, there: int) -> str:
    """Round up, so that the factor named is one that works."""
    return f"{-(-wanted * _PER_MILLE // max(there, 1)) / _PER_MILLE:g}"
