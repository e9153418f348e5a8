"""Instances: slices of a machine in the shape of EC2 instance types. Pure.

Decides what a type gives to jobs, and how an instance is named. Refuses to know which types there
are (the engine's catalogue) and when an instance starts.
"""

from enum import StrEnum
from hashlib import blake2b
from typing import NewType

from msgspec import Struct

from batchyard.model.amounts import Amount

#: `i-` and 17 lower-case hex digits, as EC2 spells it.
InstanceId = NewType("InstanceId", str)

#: What Linux shows of an instance's nominal memory, in thousandths, and what the ECS agent keeps
#: for itself (reference/compute-and-scheduling.md section 1.10: 7,985 of 8,192 MiB, less 32).
_VISIBLE_MEMORY_PER_MILLE = 975
_RESERVED_MEMORY_MIB = 32


class AllocationStrategy(StrEnum):
    """`allocationStrategy` of a managed compute environment."""

    BEST_FIT = "BEST_FIT"
    BEST_FIT_PROGRESSIVE = "BEST_FIT_PROGRESSIVE"
    BEST_FIT_PROGRESSIVE_ORDERED = "BEST_FIT_PROGRESSIVE_ORDERED"
    SPOT_CAPACITY_OPTIMIZED = "SPOT_CAPACITY_OPTIMIZED"
    SPOT_PRICE_CAPACITY_OPTIMIZED = "SPOT_PRICE_CAPACITY_OPTIMIZED"
    SPOT_CAPACITY_OPTIMIZED_PRIORITIZED = "SPOT_CAPACITY_OPTIMIZED_PRIORITIZED"


class InstanceType(Struct, frozen=True, kw_only=True):
    """A type that an environment may launch."""

    name: str
    #: What jobs get of it. An instance takes as much of its machine.
    capacity: Amount
    #: Millionths of a USD an hour, as the environment pays them: on demand, or on the Spot market.
    #: A type without a known price is the dearest.
    price_micro: int | None = None
    #: Of an environment of Spot capacity: what it would pay on demand, likewise.
    on_demand_micro: int | None = None
    #: False: there is no Spot capacity of it at a price that the environment would pay.
    is_launchable: bool = True
    #: False: there is no Spot capacity of it at any price.
    is_sold: bool = True
    #: Position of the item of `instanceTypes` that it was found by, from 0.
    rank: int = 0


class LaunchSettings(Struct, frozen=True, kw_only=True):
    """How an environment launches instances, and when it lets them go."""

    strategy: AllocationStrategy
    is_spot: bool
    #: `bidPercentage`; None: it is not for Spot capacity.
    bid_percent: int | None = None
    #: Its instances may be replaced by others, so that what they are bought for may change.
    is_replaceable: bool = False
    #: In the order of `instanceTypes`.
    types: tuple[InstanceType, ...]
    #: `minvCpus`, in thousandths: kept also without any job.
    cpu_milli_min: int
    #: Asked for once: launched now, and kept until it was idle for long enough.
    cpu_milli_wanted: int = 0
    #: From a launch to the moment when jobs can be placed.
    boot_ms: int
    #: How long an instance that runs nothing is kept; None: until its room is needed.
    idle_ms: int | None
    #: A digest of everything whose change replaces the instances.
    infrastructure: str = ""
    #: How long attempts on instances that are replaced may go on.
    replace_ms: int = 0


def capacity_of_type(*, vcpus: int, memory_mib: int, gpu_count: int) -> Amount:
    """Say what a type of this nominal size gives to jobs."""
    visible_mib = memory_mib * _VISIBLE_MEMORY_PER_MILLE // 1000
    return Amount(
        cpu_milli=vcpus * 1000,
        memory_mib=visible_mib - _RESERVED_MEMORY_MIB,
        gpu_count=gpu_count,
    )


def instance_id_of(environment_uuid: str, number: int) -> InstanceId:
    """Name the instance that an environment launched as its `number`-th, from 1.

    The environment by its uuid: another one of the same name has other instances.
    """
    digest = blake2b(f"{environment_uuid} {number}".encode(), digest_size=9)
    return InstanceId(f"i-{digest.hexdigest()[:17]}")
