"""Refuses what Fargate cannot run. Pure (reference/jobs.md section 3.5)."""

from batchyard.model.amounts import Amount
from batchyard.model.fargate_sizes import MEMORY_MIB_BY_CPU_MILLI
from batchyard.model.refusal import client_exception


def check_fargate_pair(demand: Amount) -> None:
    """Refuse a pair of vCPU and memory that Fargate does not offer, in AWS's words."""
    if demand.memory_mib not in MEMORY_MIB_BY_CPU_MILLI.get(demand.cpu_milli, ()):
        cpu = f"{demand.cpu_milli // 1000}.{demand.cpu_milli % 1000 // 10:02d}"
        raise client_exception(
            f"Fargate resource requirements ({cpu} vCPU, {demand.memory_mib} MiB) not valid."
        )
