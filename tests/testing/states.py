"""States made by hand in which a job waits: one for each reason, with what is to be told of it.

Owns the table. Names in what is told are written without the world they are in, job ids as `ID`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from batchyard.model.amounts import Amount
from tests.testing.worlds import Script, World

#: A kind of change, of what, and by how many units.
Told = tuple[str, str | None, int]

NEVER_MAX = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the job queue cannot"
    " meet the CPU requirement of the job."
)
NEVER_FITS = (
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU) is"
    " higher than that can be met by the CE(s) attached to the job queue."
)
NO_ROOM = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested for"
    " instance type [c6i.large]"
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A state, and what is to be told of the job that waits in it."""

    script: Script
    cause: str
    text: str
    #: Of the first reason, those that matter.
    numbers: dict[str, int] = field(default_factory=dict)
    #: What DescribeJobs says; None: the text.
    status_reason: str | None = None
    #: Each alone helps.
    changes: Sequence[Told] = ()
    #: None alone does, but all of these.
    together: Sequence[Told] = ()
    #: Of a yard of its own.
    settings: dict[str, Any] = field(default_factory=dict)


CASES: dict[str, Case] = {}


def case(**members: Any) -> Callable[[Script], Script]:
    def enter(script: Script) -> Script:
        CASES[script.__name__] = Case(script=script, **members)
        return script

    return enter


# -- compute environments -----------------------------------------------------------------------


@case(
    cause="MAX_VCPUS",
    text="ce uses 2 vCPUs of maxvCpus 2 vCPUs: short by 1 vCPU.",
    numbers={"used_cpu_milli": 2000, "max_cpu_milli": 2000, "short_cpu_milli": 1000},
    changes=[("RAISE_MAX_VCPUS", None, 1)],
)
def others_use_all_that_may_be_launched(w: World) -> str:
    w.queue_on()
    w.submit(vcpus=2)
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="NEVER_FITS",
    text="Asked 1 vCPU; ce has maxvCpus 0 vCPUs: short by 1 vCPU.",
    status_reason=NEVER_MAX,
    changes=[("RAISE_MAX_VCPUS", None, 1)],
)
def nothing_may_be_launched(w: World) -> str:
    w.queue_on(vcpus=0)
    return w.submit(is_subject=True)


@case(
    cause="NEVER_FITS",
    text="Asked 7 vCPUs; ce has maxvCpus 4 vCPUs: short by 3 vCPUs.",
    status_reason=NEVER_MAX,
    changes=[("ASK_FOR_LESS", "VCPUS", 3), ("RAISE_MAX_VCPUS", None, 3)],
)
def more_than_the_maximum(w: World) -> str:
    w.queue_on(vcpus=4, instanceTypes=["c6i"])
    return w.submit(vcpus=7, is_subject=True)


@case(
    cause="NEVER_FITS",
    text=(
        "Instance type c6i.xlarge, the smallest that fits, has 4 vCPUs; ce has maxvCpus 3 vCPUs:"
        " short by 1 vCPU."
    ),
    status_reason=NEVER_MAX,
    changes=[("RAISE_MAX_VCPUS", None, 1)],
)
def types_above_the_maximum(w: World) -> str:
    w.queue_on(vcpus=3, instanceTypes=["c6i.xlarge"], allocationStrategy="BEST_FIT")
    return w.submit(is_subject=True)


@case(
    cause="NEVER_FITS",
    text="Asked 3 vCPUs; the nearest instance type, c6i.large, of ce has 2 vCPUs; short by 1 vCPU.",
    status_reason=NEVER_FITS,
    changes=[("ASK_FOR_LESS", "VCPUS", 1)],
)
def types_with_too_few_vcpus(w: World) -> str:
    w.queue_on(vcpus=16)
    return w.submit(vcpus=3, is_subject=True)


@case(
    cause="NEVER_FITS",
    text=(
        "Asked 4,096 MiB; the nearest instance type, c6i.large, of ce has 3,961 MiB; short by"
        " 135 MiB."
    ),
    status_reason=NEVER_FITS,
    changes=[("ASK_FOR_LESS", "MEMORY_MIB", 135)],
)
def types_with_too_little_memory(w: World) -> str:
    w.queue_on(vcpus=16)
    return w.submit(memory=4096, is_subject=True)


@case(
    cause="NEVER_FITS",
    text=(
        "Asked 2 vCPUs; the nearest instance type, c6i.large, of ce has 1 vCPU; short by 1 vCPU. No"
        " machine has room for a whole c6i.large."
    ),
    status_reason=NEVER_FITS,
    changes=[("ASK_FOR_LESS", "VCPUS", 1), ("ADD_CAPACITY", "VCPUS", 1)],
    settings={"machine": Amount(cpu_milli=1000, memory_mib=2000)},
)
def no_machine_is_as_large_as_a_type(w: World) -> str:
    w.queue_on(vcpus=16)
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="NEVER_FITS",
    text="Asked 1 GPU; the nearest instance type, c6i.large, of ce has 0 GPUs; short by 1 GPU.",
    status_reason=NEVER_FITS,
    changes=[("ASK_FOR_LESS", "GPUS", 1)],
)
def no_gpu_anywhere(w: World) -> str:
    w.queue_on(vcpus=16)
    return w.submit(gpus=1, is_subject=True)


@case(
    cause="ENVIRONMENT",
    text="Compute environment ce is DISABLED.",
    status_reason="ACTION_REQUIRED - CE(s) associated with the job queue are disabled.",
    changes=[("ENABLE_ENVIRONMENT", None, 1)],
)
def its_environment_is_disabled(w: World) -> str:
    w.queue_on()
    w.disable("ce")
    return w.submit(is_subject=True)


@case(
    cause="MAX_VCPUS",
    text="ce uses 1 vCPU of maxvCpus 2 vCPUs: short by 1 vCPU.",
    changes=[("ASK_FOR_LESS", "VCPUS", 4), ("RAISE_MAX_VCPUS", None, 1)],
)
def fargate_is_full(w: World) -> str:
    w.queue_on(kind="FARGATE")
    w.submit(memory=2048, is_fargate=True)
    return w.submit(vcpus=2, memory=4096, is_fargate=True, is_subject=True)


@case(
    cause="MAX_VCPUS",
    text="ce uses 0.25 vCPUs of maxvCpus 1 vCPU: short by 0.25 vCPUs.",
    # A quarter less would do, but there is no size of 0.75 vCPUs.
    changes=[("ASK_FOR_LESS", "VCPUS", 2), ("RAISE_MAX_VCPUS", None, 1)],
)
def fargate_has_sizes(w: World) -> str:
    w.queue_on(vcpus=1, kind="FARGATE")
    w.submit(vcpus=0.25, memory=512, is_fargate=True)
    return w.submit(memory=2048, is_fargate=True, is_subject=True)


@case(
    cause="CAPACITY",
    text="Asked 8,192 MiB; the machine has 6,952 MiB free; short by 1,240 MiB.",
    changes=[("ASK_FOR_LESS", "MEMORY_MIB", 2048), ("ADD_CAPACITY", "MEMORY_MIB", 1240)],
    settings={"machine": Amount(cpu_milli=64_000, memory_mib=9000)},
)
def the_machine_is_full_for_fargate(w: World) -> str:
    w.queue_on(vcpus=16, kind="FARGATE")
    w.submit(memory=2048, is_fargate=True)
    return w.submit(memory=8192, is_fargate=True, is_subject=True)


@case(
    cause="CAPACITY",
    text="Asked 2 vCPUs, 512 MiB; no instance with room is registered with ce.",
    changes=[("REGISTER_INSTANCE", None, 1)],
)
def nothing_is_registered(w: World) -> str:
    w.unmanaged()
    w.queue()
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="CAPACITY",
    text=(
        "For another c6i.large: asked 2 vCPUs; the machine has 0 vCPUs free; short by 2 vCPUs, and"
        " asked 3,961 MiB; the machine has 78 MiB free; short by 3,883 MiB."
    ),
    status_reason=NO_ROOM,
    together=[("ADD_CAPACITY", "VCPUS", 2), ("ADD_CAPACITY", "MEMORY_MIB", 3883)],
    settings={"machine": Amount(cpu_milli=4000, memory_mib=8000)},
)
def the_machine_has_no_room_for_another_instance(w: World) -> str:
    w.queue_on(vcpus=16)
    for _ in range(2):
        w.submit(vcpus=2)
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="ENVIRONMENT",
    text="Compute environment ce is DISABLED.",
    status_reason="ACTION_REQUIRED - CE(s) associated with the job queue are disabled.",
    together=[("ENABLE_ENVIRONMENT", None, 1), ("RAISE_MAX_VCPUS", None, 1)],
)
def its_environment_is_disabled_and_full(w: World) -> str:
    w.queue_on()
    w.submit(vcpus=2)
    w.disable("ce")
    return w.submit(vcpus=2, is_subject=True)


@case(
    cause="CAPACITY",
    text=(
        "Asked 2 vCPUs; the nearest of the instances with room in ce has 1 vCPU free; short by"
        " 1 vCPU."
    ),
    changes=[("ASK_FOR_LESS", "VCPUS", 1), ("REGISTER_INSTANCE", None, 1)],
)
def registered_instances_are_full(w: World) -> str:
    w.unmanaged()
    w.queue()
    assert w.register_instance(vcpus=2, memoryMib=4096) is None
    w.submit()
    return w.submit(vcpus=2, is_subject=True)


# -- consumable resources -----------------------------------------------------------------------


@case(
    cause="CONSUMABLE",
    text="Asked 2 of license; 1 available: short by 1.",
    numbers={"asked": 2, "available": 1, "short": 1},
    changes=[("ADD_CONSUMABLE", None, 1)],
)
def a_license_is_short(w: World) -> str:
    """There is room for it all the while: nothing about capacity is told."""
    w.queue_on(vcpus=16)
    w.consumable(total=3)
    w.submit(needs={"license": 2})
    return w.submit(needs={"license": 2}, is_subject=True)


@case(
    cause="CONSUMABLE",
    text="Asked 2 of license; 1 available: short by 1.",
    together=[("ADD_CONSUMABLE", None, 1), ("ADD_CONSUMABLE", None, 3)],
)
def two_are_short(w: World) -> str:
    w.queue_on(vcpus=16)
    w.consumable(total=3)
    w.consumable("seat", total=1)
    w.submit(needs={"license": 2, "seat": 1})
    return w.submit(needs={"license": 2, "seat": 3}, is_subject=True)


@case(
    cause="CONSUMABLE",
    text="Asked 1 of license; 0 available: short by 1.",
    together=[("ADD_CONSUMABLE", None, 1), ("RAISE_MAX_VCPUS", None, 1)],
)
def a_license_and_room_are_short(w: World) -> str:
    w.queue_on()
    w.consumable()
    w.submit(vcpus=2, needs={"license": 1})
    return w.submit(vcpus=2, needs={"license": 1}, is_subject=True)


@case(cause="CONSUMABLE", text="Asked 2 of license, which does not exist any more.")
def a_license_was_deleted(w: World) -> str:
    w.queue_on(vcpus=16)
    w.consumable()
    job_id = w.submit(needs={"license": 2}, is_subject=True)
    w.batch.delete_consumable_resource(consumableResource=w.named("license"))
    return job_id
