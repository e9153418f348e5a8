"""The kinds of things a job can run, under one door. Pure.

Decides nothing itself: it sends each question to the rules of its kind. A *workload* is what one
job, or one node of a multi-node job, runs: a container, a task of several, or a pod.
"""

from collections.abc import Mapping
from enum import StrEnum

from batchyard.api.batch.rules.choices import is_blank
from batchyard.api.batch.rules.container import check_container, normalised
from batchyard.api.batch.rules.ecs_task import (
    check_task_properties,
    demand_of_task,
    merge_task,
    normalised_task,
    substitute_task,
    task_has_reference,
)
from batchyard.api.batch.rules.eks_pod import (
    check_pod_properties,
    demand_of_pod,
    merge_pod,
    normalised_pod,
    pod_of_job,
)
from batchyard.api.batch.rules.fargate import check_fargate_pair
from batchyard.api.batch.rules.ground import Ground
from batchyard.api.batch.rules.overrides import check_overrides, merge_container
from batchyard.api.batch.rules.requirements import demand_of
from batchyard.api.batch.rules.substitution import has_reference, substitute
from batchyard.model.amounts import Amount
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception


class Kind(StrEnum):
    """What a job is described by; the value is the member of a job, and of a node range."""

    CONTAINER = "container"
    ECS = "ecsProperties"
    EKS = "eksProperties"
    NODES = "nodeProperties"


#: The member of a job definition that describes each kind.
DEFINED_BY = {
    Kind.CONTAINER: "containerProperties",
    Kind.ECS: "ecsProperties",
    Kind.EKS: "eksProperties",
    Kind.NODES: "nodeProperties",
}
#: The member of SubmitJob, and of a node's overrides, that changes each kind.
OVERRIDDEN_BY = {
    Kind.CONTAINER: "containerOverrides",
    Kind.ECS: "ecsPropertiesOverride",
    Kind.EKS: "eksPropertiesOverride",
    Kind.NODES: "nodeOverrides",
}
_OVERRIDES_IN_WORDS = {
    Kind.CONTAINER: "Container overrides",
    Kind.ECS: "ECS properties overrides",
    Kind.EKS: "EKS properties overrides",
    Kind.NODES: "Node overrides",
}
_IN_WORDS = {
    Kind.CONTAINER: "container",
    Kind.ECS: "ECS",
    Kind.EKS: "EKS",
    Kind.NODES: "multinode",
}


def override_of(kind: Kind, request: Json) -> Json:
    """Give what the request changes of a workload. Refuses overrides of another kind."""
    for other, member in OVERRIDDEN_BY.items():
        if member in request and other is not kind and not is_blank(request[member]):
            raise client_exception(
                f"{_OVERRIDES_IN_WORDS[other]} should not be set for {_IN_WORDS[kind]} job"
                " definitions."
            )
    override: Json | None = request.get(OVERRIDDEN_BY[kind])
    return override or {}


def check_workload(kind: Kind, properties: Json, ground: Ground, *, where: str) -> None:
    """Refuse a workload that AWS would refuse, or that we cannot run."""
    match kind:
        case Kind.CONTAINER:
            check_container(properties, ground, where=where)
        case Kind.ECS:
            check_task_properties(properties, ground)
        case Kind.EKS:
            check_pod_properties(properties)
        case Kind.NODES:
            raise AssertionError("nodes are made of workloads, and are none themselves")


def normalised_workload(kind: Kind, properties: Json, ground: Ground) -> Json:
    """Give a workload as Describe shows it."""
    match kind:
        case Kind.CONTAINER:
            return normalised(properties, ground)
        case Kind.ECS:
            return normalised_task(properties, ground)
        case _:
            return normalised_pod(properties)


def merged_workload(
    kind: Kind, properties: Json, override: Json, parameters: Mapping[str, str], ground: Ground
) -> Json:
    """Give the workload of a job: overrides merged, then parameters put into commands."""
    match kind:
        case Kind.CONTAINER:
            if override:
                check_overrides(override, ground)
                properties = merge_container(properties, override)
            if has_reference(properties["command"]):
                properties = {
                    **properties,
                    "command": substitute(properties["command"], parameters),
                }
            return properties
        case Kind.ECS:
            if override:
                properties = merge_task(properties, override, ground)
            if task_has_reference(properties):
                properties = substitute_task(properties, parameters)
            return properties
        case _:
            return pod_of_job(merge_pod(properties, override) if override else properties)


def demand_of_workload(kind: Kind, properties: Json, ground: Ground) -> Amount:
    """Say what one attempt needs. Refuses a pair of amounts that Fargate does not offer."""
    match kind:
        case Kind.CONTAINER:
            demand = demand_of(properties, ground)
            if ground.is_fargate:
                check_fargate_pair(demand)
            return demand
        case Kind.ECS:
            return demand_of_task(properties, ground)
        case _:
            return demand_of_pod(properties)
