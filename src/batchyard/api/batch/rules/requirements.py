"""What one attempt needs, read from AWS's `resourceRequirements` and the deprecated members. Pure.

Decides which amounts may be asked for, and where (reference/jobs.md sections 2.5, 3.2).
"""

from collections.abc import Callable, Sequence

from batchyard.api.batch.refusals import executing
from batchyard.api.batch.rules.choices import not_on_fargate
from batchyard.api.batch.rules.ground import Ground
from batchyard.model.amounts import Amount
from batchyard.model.limits import MEMORY_MIB_MIN
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.requirements import (
    GPU,
    MEMORY,
    VCPU,
    read_cpu_milli,
    read_whole,
    requirements_of,
)

_TYPES = (GPU, VCPU, MEMORY)
_MILLI = 1000


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
    asked = requirements_of(container)
    if VCPU not in asked:
        raise executing(ground.request_id, "vCPU is not provided.")
    if MEMORY not in asked:
        raise executing(ground.request_id, "Memory is not provided.")
    demand = Amount(
        cpu_milli=_cpu_milli_of(asked[VCPU]),
        memory_mib=_memory_mib_of(asked[MEMORY]),
        gpu_count=_gpu_count_of(asked[GPU]) if GPU in asked else 0,
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
    cpu_milli = read_cpu_milli(text)
    if not cpu_milli:
        raise client_exception(f"VCPU value {text} must be a number greater than 0.")
    return cpu_milli


def _memory_mib_of(text: str) -> int:
    memory_mib = read_whole(text)
    if memory_mib is None or memory_mib < MEMORY_MIB_MIN:
        raise client_exception(
            f"MEMORY value {text} must be a whole number of MiB, at least {MEMORY_MIB_MIN}."
        )
    return memory_mib


def _gpu_count_of(text: str) -> int:
    gpu_count = read_whole(text)
    if not gpu_count:
        raise client_exception(f"GPU value {text} must be a whole number greater than 0.")
    return gpu_count


_READ_BY_TYPE: dict[str, Callable[[str], int]] = {
    VCPU: _cpu_milli_of,
    MEMORY: _memory_mib_of,
    GPU: _gpu_count_of,
}
