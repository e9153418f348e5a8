"""How amounts are spelt in AWS's `resourceRequirements`. Pure.

Decides what "0.25" vCPU and "2048" MiB come to, as integers (reference/jobs.md sections 2.5, 3.2).
Refuses to know which amounts are allowed where.
"""

import re

from batchyard.model.amounts import Amount
from batchyard.model.records import Json

#: As many digits as an integer of the service model has. Nothing has to fit a machine: a job that
#: asks for too much waits, and says why.
_CPU = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,3})0*)?")
_WHOLE = re.compile(r"[0-9]{1,10}")
_MILLI = 1000

VCPU = "VCPU"
MEMORY = "MEMORY"
GPU = "GPU"

#: The deprecated member that says the same as a type of requirement.
DEPRECATED_MEMBER_BY_TYPE = {VCPU: "vcpus", MEMORY: "memory"}


def read_cpu_milli(text: str) -> int | None:
    """Read vCPUs, with up to three decimals, as thousandths; None: it is no such number."""
    match = _CPU.fullmatch(text)
    if match is None:
        return None
    return int(match[1]) * _MILLI + int((match[2] or "").ljust(3, "0"))


def read_whole(text: str) -> int | None:
    """Read MiB or GPUs; None: it is no whole number."""
    return int(text) if _WHOLE.fullmatch(text) else None


def requirements_of(container: Json) -> dict[str, str]:
    """Give what a container asks for, by type; `resourceRequirements` beat deprecated members."""
    asked = {
        kind: str(container[member])
        for kind, member in DEPRECATED_MEMBER_BY_TYPE.items()
        if container.get(member) is not None
    }
    given = container.get("resourceRequirements") or ()
    return asked | {each["type"]: each["value"] for each in given}


def stored_amount_of(container: Json) -> Amount:
    """Give what a container of a stored job needs: it was checked when it was submitted."""
    asked = requirements_of(container)
    return Amount(
        cpu_milli=read_cpu_milli(asked[VCPU]) or 0,
        memory_mib=read_whole(asked[MEMORY]) or 0,
        gpu_count=read_whole(asked.get(GPU, "0")) or 0,
    )
