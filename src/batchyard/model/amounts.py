"""How much: CPU, memory and GPUs, as integers. A float never decides whether a job fits."""

from msgspec import Struct


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
        ratios = [
            have // need
            for need, have in (
                (self.cpu_milli, free.cpu_milli),
                (self.memory_mib, free.memory_mib),
                (self.gpu_count, free.gpu_count),
            )
            if need > 0
        ]
        return max(0, min(ratios, default=0))
