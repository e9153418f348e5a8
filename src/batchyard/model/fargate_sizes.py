"""Which amounts of vCPU and memory Fargate can run. Pure (reference/jobs.md section 3.5)."""

from collections.abc import Sequence


def _steps(first_mib: int, last_mib: int, step_mib: int) -> Sequence[int]:
    return range(first_mib, last_mib + 1, step_mib)


#: Memory sizes in MiB, by thousandths of a vCPU; both rise.
MEMORY_MIB_BY_CPU_MILLI: dict[int, Sequence[int]] = {
    250: (512, 1024, 2048),
    500: _steps(1024, 4096, 1024),
    1000: _steps(2048, 8192, 1024),
    2000: _steps(4096, 16384, 1024),
    4000: _steps(8192, 30720, 1024),
    8000: _steps(16384, 61440, 4096),
    16000: _steps(32768, 122880, 8192),
}
