"""How much of the machine jobs may have."""

from __future__ import annotations

import pytest

from batchyard.compute.machine_share import MachineShare
from batchyard.compute.port import Trouble
from batchyard.model.amounts import Amount

MACHINE = Amount(cpu_milli=2000, memory_mib=3000, gpu_count=1)


@pytest.mark.parametrize(
    ("share", "cpu_milli", "memory_mib"),
    [
        (MachineShare(), 2000, 3000),
        (MachineShare(cpu_milli=1500, memory_mib=3000), 1500, 3000),
        (MachineShare(cpu_overcommit_per_mille=4000), 8000, 3000),
        (MachineShare(memory_overcommit_per_mille=1500), 2000, 4500),
        (MachineShare(cpu_milli=7000, cpu_overcommit_per_mille=4000), 7000, 3000),
    ],
)
def test_the_operator_takes_less_or_allows_more(share, cpu_milli, memory_mib):
    assert share.of(MACHINE) == Amount(cpu_milli=cpu_milli, memory_mib=memory_mib, gpu_count=1)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (
            MachineShare(cpu_milli=7000, cpu_overcommit_per_mille=3000),
            "machine_vcpus is 7, but the machine has 2 vCPUs for jobs; to give away more than it"
            " has, set cpu_overcommit to at least 3.5",
        ),
        (
            MachineShare(memory_mib=3001),
            "machine_memory_mib is 3001, but the machine has 3000 MiB for jobs; to give away more"
            " than it has, set memory_overcommit to at least 1.001",
        ),
    ],
)
def test_more_than_there_is_is_refused_with_the_factor_that_allows_it(share, text):
    with pytest.raises(Trouble) as refused:
        share.of(MACHINE)
    assert str(refused.value) == text
