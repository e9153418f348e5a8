"""Which amounts of vCPU and memory Fargate can run. Pure (reference/jobs.md section 3.5)."""

from batchyard.model.amounts import Amount
from batchyard.model.refusal import client_exception


def _steps(first_mib: int, last_mib: int, step_mib: int) -> frozenset[int]:
    return frozenset(range(first_mib, last_mib + 1, step_mib))


#: Memory sizes in MiB, by thousandths of a vCPU.
MEMORY_MIB_BY_CPU_MILLI: dict[int, frozenset[int]] = {
    250: frozenset((512, 1024, 2048)),
    500: _steps(1024, 4096, 1024),
    1000: _steps(2048, 8192, 1024),
    2000: _steps(4096, 16384, 1024),
    4000: _steps(8192, 30720, 1024),
    8000: _steps(16384, 61440, 4096),
    16000: _steps(32768, 122880, 8192),
}


def check_fargate_pair(demand: Amount) -> None:
    """Refuse a pair of vCPU and memory that Fargate does not offer, in AWS's words."""
    if demand.memory_mib not in MEMORY_MIB_BY_CPU_MILLI.get(demand.cpu_milli, ()):
        cpu = f"{demand.cpu_milli // 1000}.{demand.cpu_milli % 1000 // 10:02d}"
        raise client_exception(
            f"Fargate resource requirements ({cpu} vCPU, {demand.memory_mib} MiB) not valid."
        )
