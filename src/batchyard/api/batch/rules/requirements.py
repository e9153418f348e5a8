"""What one attempt needs, read from AWS's `resourceRequirements` and the deprecated members. Pure.

Values come as text ("0.25", "2048") and leave as integers (reference/jobs.md sections 2.5, 3.2).
"""

import re
from collections.abc import Callable, Sequence

from batchyard.api.batch.refusals import executing
from batchyard.api.batch.rules.choices import not_on_fargate
from batchyard.api.batch.rules.ground import Ground
from batchyard.model.amounts import Amount
from batchyard.model.limits import MEMORY_MIB_MIN
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

#: As many digits as an integer of the service model has. Nothing has to fit a machine: a job that
#: asks for too much waits, and says why.
_CPU = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,3})0*)?")
_MEMORY = re.compile(r"[0-9]{1,10}")
_GPU = re.compile(r"[0-9]{1,10}")
_MILLI = 1000

VCPU = "VCPU"
MEMORY = "MEMORY"
GPU = "GPU"
_TYPES = (GPU, VCPU, MEMORY)

#: The deprecated member that says the same as a type of requirement.
DEPRECATED_MEMBER_BY_TYPE = {VCPU: "vcpus", MEMORY: "memory"}


def check_requirements(requirements: Sequence[Json], ground: Ground) -> None:
    """Refuse unknown and repeated types, values that are no amounts, and GPUs on Fargate."""
    seen: list[str] = []
    for requirement in requirements:
        kind = requirement["type"]
        if kind not in _TYPES:
            raise client_exception(
                f"resourceRequirements type {kind} is not one of {', '.join(_TYPES)}."
            )
        if kind in seen:
            raise client_exception(f"resourceRequirements type {kind} is given more than once.")
        if kind == GPU and ground.is_fargate:
            raise not_on_fargate("resourceRequirements type GPU")
        seen.append(kind)
        _READ_BY_TYPE[kind](requirement["value"])


def demand_of(container: Json, ground: Ground) -> Amount:
    """Say what an attempt needs. `resourceRequirements` beat the deprecated members.

    Refuses a container that leaves vCPU or memory open, or asks too little.
    """
    value_by_type = {
        requirement["type"]: requirement["value"]
        for requirement in container.get("resourceRequirements", ())
    }
    cpu = value_by_type.get(VCPU, container.get("vcpus"))
    memory = value_by_type.get(MEMORY, container.get("memory"))
    if cpu is None:
        raise executing(ground.request_id, "vCPU is not provided.")
    if memory is None:
        raise executing(ground.request_id, "Memory is not provided.")
    demand = Amount(
        cpu_milli=_cpu_milli_of(str(cpu)),
        memory_mib=_memory_mib_of(str(memory)),
        gpu_count=_gpu_count_of(value_by_type[GPU]) if GPU in value_by_type else 0,
    )
    if not ground.is_fargate and demand.cpu_milli % _MILLI:
        raise client_exception("VCPU must be a whole number for jobs on EC2.")
    return demand


def merged_requirements(ours: Sequence[Json], over: Sequence[Json]) -> list[Json]:
    """Merge requirements by their types: a listed type replaces ours, others stay."""
    merged = {requirement["type"]: requirement for requirement in ours}
    merged.update((requirement["type"], requirement) for requirement in over)
    return list(merged.values())


def _cpu_milli_of(text: str) -> int:
    match = _CPU.fullmatch(text)
    cpu_milli = 0
    if match:
        cpu_milli = int(match[1]) * _MILLI + int((match[2] or "").ljust(3, "0"))
    if not cpu_milli:
        raise client_exception(f"VCPU value {text} must be a number greater than 0.")
    return cpu_milli


def _memory_mib_of(text: str) -> int:
    if not _MEMORY.fullmatch(text) or int(text) < MEMORY_MIB_MIN:
        raise client_exception(
            f"MEMORY value {text} must be a whole number of MiB, at least {MEMORY_MIB_MIN}."
        )
    return int(text)


def _gpu_count_of(text: str) -> int:
    if not _GPU.fullmatch(text) or not int(text):
        raise client_exception(f"GPU value {text} must be a whole number greater than 0.")
    return int(text)


_READ_BY_TYPE: dict[str, Callable[[str], int]] = {
    VCPU: _cpu_milli_of,
    MEMORY: _memory_mib_of,
    GPU: _gpu_count_of,
}
