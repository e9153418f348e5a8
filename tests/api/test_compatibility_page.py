"""docs/compatibility.md speaks of every operation and every member that AWS Batch has."""

import re
from collections import defaultdict
from pathlib import Path

import botocore.session
import pytest

from batchyard.api.batch import handlers
from batchyard.store import Store

_PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"
_MODEL = botocore.session.get_session().get_service_model("batch")
_WORDS = ("supported", "shown", "ignored", "refused")
#: Structures that have a table of their own, and a request in which they stand.
_STRUCTURES = {
    "computeResources": ("CreateComputeEnvironment", ("computeResources",)),
    "managedInstancesProvider": (
        "CreateComputeEnvironment",
        ("computeResources", "managedInstancesProvider"),
    ),
    "instanceLaunchTemplate": (
        "CreateComputeEnvironment",
        ("computeResources", "managedInstancesProvider", "instanceLaunchTemplate"),
    ),
    "fairsharePolicy": ("CreateSchedulingPolicy", ("fairsharePolicy",)),
    "eksConfiguration": ("CreateComputeEnvironment", ("eksConfiguration",)),
    "containerProperties": ("RegisterJobDefinition", ("containerProperties",)),
    "volumes": ("RegisterJobDefinition", ("containerProperties", "volumes")),
    "linuxParameters": ("RegisterJobDefinition", ("containerProperties", "linuxParameters")),
    "logConfiguration": ("RegisterJobDefinition", ("containerProperties", "logConfiguration")),
    "taskProperties": ("RegisterJobDefinition", ("ecsProperties", "taskProperties")),
    "taskProperties.containers": (
        "RegisterJobDefinition",
        ("ecsProperties", "taskProperties", "containers"),
    ),
    "podProperties": ("RegisterJobDefinition", ("eksProperties", "podProperties")),
    "podProperties.containers": (
        "RegisterJobDefinition",
        ("eksProperties", "podProperties", "containers"),
    ),
    "nodeProperties": ("RegisterJobDefinition", ("nodeProperties",)),
    "nodeRangeProperties": ("RegisterJobDefinition", ("nodeProperties", "nodeRangeProperties")),
    "containerOverrides": ("SubmitJob", ("containerOverrides",)),
    "ecsPropertiesOverride": ("SubmitJob", ("ecsPropertiesOverride",)),
    "nodeOverrides": ("SubmitJob", ("nodeOverrides",)),
    "nodePropertyOverrides": ("SubmitJob", ("nodeOverrides", "nodePropertyOverrides")),
}


def tables() -> dict[str, dict[str, str]]:
    """Give what the page says of each member, by the heading over its table."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    heading = ""
    for line in _PAGE.read_text().splitlines():
        if line.startswith("### "):
            heading = line.removeprefix("### ")
        elif line.startswith("| `") and heading:
            _, members, word, *_ = (cell.strip() for cell in line.split("|"))
            for member in re.findall(r"`([^`]+)`", members):
                found[heading][member] = word
    return found


def members_of(heading: str) -> list[str]:
    operation, path = _STRUCTURES.get(heading, (heading, ()))
    shape = _MODEL.operation_model(operation).input_shape
    for step in path:
        shape = shape.members[step]
        shape = shape.member if shape.type_name == "list" else shape
    return list(shape.members)


def served(store: Store) -> set[str]:
    return {operation for _, operation in handlers(store)}


@pytest.mark.parametrize("heading", sorted(tables()))
def test_every_member_has_its_word(heading):
    rows = tables()[heading]
    own = {member: word for member, word in rows.items() if "." not in member}
    assert sorted(own) == sorted(members_of(heading))
    assert set(rows.values()) <= set(_WORDS)


async def test_every_operation_is_on_the_page(store: Store):
    page = _PAGE.read_text()
    not_served = set(re.findall(r"`(\w+)`", page.partition("## Operations that are not served")[2]))
    assert set(tables()) - set(_STRUCTURES) == served(store)
    assert not_served == set(_MODEL.operation_names) - served(store)
