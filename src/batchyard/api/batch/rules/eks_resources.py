"""What a container of a pod asks of CPU, memory and GPUs (reference/jobs.md section 10.2). Pure.

Rules: each of CPU and memory is in `limits`, in `requests`, or in both; what is missing in
`requests` is what `limits` say; jobs are scheduled by `requests`.
"""

import re
from collections.abc import Callable, Mapping

from batchyard.model.amounts import Amount
from batchyard.model.limits import MEMORY_MIB_MIN
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

CPU = "cpu"
MEMORY = "memory"
GPU = "nvidia.com/gpu"
_KEYS = (CPU, MEMORY, GPU)
_SIDES = ("limits", "requests")

_CPU = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,3})0*)?")
_MEMORY = re.compile(r"([0-9]{1,10})Mi")
_GPU = re.compile(r"[0-9]{1,9}")
_CPU_STEP_MILLI = 250


def check_resources(resources: Json, *, where: str, is_needed: bool) -> None:
    """Refuse amounts that AWS would refuse, and limits that do not fit the requests.

    `is_needed`: CPU and memory must be there.
    """
    limits: Mapping[str, str] = resources.get("limits") or {}
    requests: Mapping[str, str] = resources.get("requests") or {}
    for side in _SIDES:
        for key, value in (resources.get(side) or {}).items():
            if key not in _KEYS:
                raise client_exception(f"{where} {key} is not one of {', '.join(_KEYS)}.")
            _READ_BY_KEY[key](value, f"{where}.{side}")
    for key in (CPU, MEMORY):
        if is_needed and key not in limits and key not in requests:
            raise client_exception(f"{where} must have {key} in limits or requests.")
    for key in _KEYS:
        if key not in limits or key not in requests:
            continue
        limit = _READ_BY_KEY[key](limits[key], where)
        request = _READ_BY_KEY[key](requests[key], where)
        if key == CPU and request > limit:
            raise client_exception(f"{where} {key} must not be more in requests than in limits.")
        if key != CPU and request != limit:
            raise client_exception(f"{where} {key} must be the same in limits and requests.")


def with_requests(resources: Json) -> Json:
    """Give the resources with whatever is missing in `requests` taken from `limits`."""
    limits = resources.get("limits") or {}
    return {"limits": limits, "requests": {**limits, **(resources.get("requests") or {})}}


def amount_of(resources: Json) -> Amount:
    """Say what is requested. Must have passed `check_resources`."""
    requests = with_requests(resources)["requests"]
    amounts = {key: _READ_BY_KEY[key](requests[key], "") if key in requests else 0 for key in _KEYS}
    return Amount(cpu_milli=amounts[CPU], memory_mib=amounts[MEMORY], gpu_count=amounts[GPU])


def _cpu_milli_of(text: str, where: str) -> int:
    match = _CPU.fullmatch(text)
    cpu_milli = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")) if match else 0
    if not cpu_milli or cpu_milli % _CPU_STEP_MILLI:
        raise client_exception(f"{where}.{CPU} {text} must be a multiple of 0.25.")
    return cpu_milli


def _memory_mib_of(text: str, where: str) -> int:
    match = _MEMORY.fullmatch(text)
    memory_mib = int(match[1]) if match else 0
    if memory_mib < MEMORY_MIB_MIN:
        raise client_exception(
            f"{where}.{MEMORY} {text} must be a whole number with the suffix Mi, at least"
            f" {MEMORY_MIB_MIN}Mi."
        )
    return memory_mib


def _gpu_count_of(text: str, where: str) -> int:
    if not _GPU.fullmatch(text):
        raise client_exception(f"{where}.{GPU} {text} must be a whole number.")
    return int(text)


_READ_BY_KEY: Mapping[str, Callable[[str, str], int]] = {
    CPU: _cpu_milli_of,
    MEMORY: _memory_mib_of,
    GPU: _gpu_count_of,
}
