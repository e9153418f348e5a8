"""Instances of UNMANAGED environments that are there from the beginning.

Decides how `[[instances]]` of a configuration read, and whether the machines have room for them
all. Refuses to know what runs on them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.engine.catalogue import capacity_of_fact, facts_by_name
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, name_in_arn
from batchyard.model.limits import (
    MEMORY_MIB_MIN,
    REGISTERED_COUNT_MAX,
    REGISTERED_GPUS_MAX,
    REGISTERED_MEMORY_MIB_MAX,
    REGISTERED_VCPUS_MAX,
)
from batchyard.model.status import EnvironmentKind

#: What an instance is called that has no type.
CUSTOM = "custom"


class Instances(Struct, forbid_unknown_fields=True, kw_only=True):
    """One item of `[[instances]]`: `count` of them, as large as a type or as it says."""

    #: Of an UNMANAGED environment, by name.
    environment: str
    instance_type: str | None = None
    vcpus: Annotated[int, Meta(ge=1, le=REGISTERED_VCPUS_MAX)] | None = None
    memory_mib: Annotated[int, Meta(ge=MEMORY_MIB_MIN, le=REGISTERED_MEMORY_MIB_MAX)] | None = None
    gpus: Annotated[int, Meta(ge=0, le=REGISTERED_GPUS_MAX)] | None = None
    count: Annotated[int, Meta(ge=1, le=REGISTERED_COUNT_MAX)] = 1


class BadInstances(ValueError):
    """Instances that cannot be there. The text says why."""


def registrations_of(
    items: Iterable[Instances], environments: Iterable[i.PutEnvironment]
) -> tuple[i.RegisterInstances, ...]:
    """Make inputs of items. Raises `BadInstances`."""
    known = {name_in_arn(each.arn): each for each in environments}
    return tuple(_registration(item, number, known) for number, item in enumerate(items, start=1))


def refusal_of_registrations(
    made: Sequence[i.Input], registrations: Sequence[i.RegisterInstances]
) -> dict[int, str]:
    """Try to register, after what is `made` before; give the refusals, by `wish_seq`."""
    state = State()
    for each in made:
        step(state, each, 0)
    return {
        event.wish_seq: event.refusal
        for each in registrations
        for event in step(state, each, 0).events
        if isinstance(event, e.InstanceWishSettled) and event.refusal is not None
    }


def check_room(made: Sequence[i.Input], registrations: Sequence[i.RegisterInstances]) -> None:
    """Refuse instances that the machines have no room for. Raises `BadInstances`."""
    for seq, refusal in refusal_of_registrations(made, registrations).items():
        raise BadInstances(f"[[instances]] {seq}: {refusal}")


def _registration(
    item: Instances, number: int, known: Mapping[str, i.PutEnvironment]
) -> i.RegisterInstances:
    where = f"[[instances]] {number}"
    environment = known.get(item.environment)
    if environment is None:
        raise BadInstances(
            f"{where}: there is no compute environment {item.environment}; there are:"
            f" {', '.join(known)}"
        )
    if environment.kind is not EnvironmentKind.UNMANAGED:
        raise BadInstances(
            f"{where}: {item.environment} is MANAGED: it launches its instances itself"
        )
    name, capacity = _capacity_of(item, where)
    return i.RegisterInstances(
        wish_seq=number,
        environment_arn=EnvironmentArn(environment.arn),
        instance_type=name,
        capacity=capacity,
        count=item.count,
    )


def _capacity_of(item: Instances, where: str) -> tuple[str, Amount]:
    sizes = {"vcpus": item.vcpus, "memory_mib": item.memory_mib, "gpus": item.gpus}
    given = [name for name, size in sizes.items() if size is not None]
    if item.instance_type is not None:
        if given:
            raise BadInstances(f"{where}: instance_type and {given[0]} cannot be given together")
        fact = facts_by_name().get(item.instance_type)
        if fact is None:
            raise BadInstances(f"{where}: there is no instance type {item.instance_type}")
        return item.instance_type, capacity_of_fact(fact)
    if item.vcpus is None or item.memory_mib is None:
        raise BadInstances(f"{where}: give either instance_type, or vcpus and memory_mib")
    return CUSTOM, Amount(
        cpu_milli=item.vcpus * 1000, memory_mib=item.memory_mib, gpu_count=item.gpus or 0
    )
