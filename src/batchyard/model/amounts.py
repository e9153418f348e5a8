"""How much: CPU, memory and GPUs, as integers. A float never decides whether a job fits."""

from msgspec import Struct

#: Thousandths in a vCPU.
_MILLI = 1000


class Amount(Struct, frozen=True, kw_only=True):
    """A quantity of capacity.

    `cpu_milli` is thousandths of a vCPU, `memory_mib` MiB, `gpu_count` whole GPUs; none is
    negative.
    """

    cpu_milli: int = 0
    memory_mib: int = 0
    gpu_count: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            cpu_milli=self.cpu_milli + other.cpu_milli,
            memory_mib=self.memory_mib + other.memory_mib,
            gpu_count=self.gpu_count + other.gpu_count,
        )

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(
            cpu_milli=self.cpu_milli - other.cpu_milli,
            memory_mib=self.memory_mib - other.memory_mib,
            gpu_count=self.gpu_count - other.gpu_count,
        )

    def fits_in(self, free: "Amount") -> bool:
        return (
            self.cpu_milli <= free.cpu_milli
            and self.memory_mib <= free.memory_mib
            and self.gpu_count <= free.gpu_count
        )

    def times_in(self, free: "Amount") -> int:
        """Tell how often this much fits; 0 for an amount of nothing."""
        count = None
        if self.cpu_milli > 0:
            count = free.cpu_milli // self.cpu_milli
        if self.memory_mib > 0:
            times = free.memory_mib // self.memory_mib
            count = times if count is None or times < count else count
        if self.gpu_count > 0:
            times = free.gpu_count // self.gpu_count
            count = times if count is None or times < count else count
        return count if count is not None and count > 0 else 0

    def text(self) -> str:
        """Say it in words: `4 vCPUs, 16,384 MiB, 1 GPU`."""
        parts = [vcpus_text(self.cpu_milli), mib_text(self.memory_mib)]
        return ", ".join(parts + ([gpus_text(self.gpu_count)] if self.gpu_count else []))


def vcpus_text(cpu_milli: int) -> str:
    """Say how many vCPUs thousandths of them are: `0.25 vCPUs`, `1 vCPU`."""
    return "1 vCPU" if cpu_milli == _MILLI else f"{cpu_milli / _MILLI:,.12g} vCPUs"


def mib_text(memory_mib: int) -> str:
    return f"{memory_mib:,} MiB"


def gpus_text(gpu_count: int) -> str:
    return "1 GPU" if gpu_count == 1 else f"{gpu_count} GPUs"
