"""Compute environments and job queues of EKS: accepted and shown; nothing runs there yet."""

from typing import Any

import pytest

from batchyard.model.environment_faults import environment_fault_of
from batchyard.model.status import ResourceStatus
from tests.api.conftest import EC2_RESOURCES, EKS_CONFIGURATION, Yard

BATCH = "arn:aws:batch:eu-central-1:123456789012"
RESOURCES = {**EC2_RESOURCES, "allocationStrategy": "BEST_FIT_PROGRESSIVE"}
REQUEST: dict[str, Any] = {
    "computeEnvironmentName": "eks",
    "type": "MANAGED",
    "eksConfiguration": EKS_CONFIGURATION,
    "computeResources": RESOURCES,
}


def order(*names: str) -> list[dict[str, Any]]:
    return [{"order": at, "computeEnvironment": name} for at, name in enumerate(names)]


async def shown(yard: Yard) -> Any:
    return (await yard.call("DescribeComputeEnvironments"))["computeEnvironments"][0]


async def test_an_environment_of_eks_has_a_cluster_of_kubernetes_and_none_of_ecs(yard: Yard):
    await yard.call("CreateComputeEnvironment", **REQUEST)
    environment = await shown(yard)
    assert environment["eksConfiguration"] == EKS_CONFIGURATION
    assert environment["containerOrchestrationType"] == "EKS"
    assert environment["status"] == "CREATING"
    assert "ecsClusterArn" not in environment


def test_the_engine_is_told_that_nothing_can_run_there():
    fault = "CLIENT_ERROR - Kubernetes is not connected to this batchyard yet"
    assert environment_fault_of({"eksConfiguration": EKS_CONFIGURATION}) == fault
    assert environment_fault_of({"computeResources": RESOURCES}) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"eksConfiguration": {**EKS_CONFIGURATION, "eksClusterArn": "cluster"}},
            "eksConfiguration.eksClusterArn cluster is not the ARN of a cluster.",
        ),
        (
            {"eksConfiguration": {**EKS_CONFIGURATION, "kubernetesNamespace": "default"}},
            "eksConfiguration.kubernetesNamespace must not be default, and must not start with"
            " kube.",
        ),
        (
            {"eksConfiguration": {**EKS_CONFIGURATION, "accessEntry": {"desiredState": "MAYBE"}}},
            "desiredState MAYBE is not one of ENABLED, DISABLED, INHERIT_FROM_CLUSTER.",
        ),
        (
            {"computeResources": EC2_RESOURCES},
            "allocationStrategy must be provided for EKS.",
        ),
        (
            {"computeResources": {**RESOURCES, "allocationStrategy": "BEST_FIT"}},
            "allocationStrategy BEST_FIT is not applicable for EKS.",
        ),
        (
            {"computeResources": {**RESOURCES, "type": "FARGATE"}},
            "computeResources type FARGATE is not applicable for EKS.",
        ),
    ],
)
async def test_environments_of_eks_that_are_refused(yard: Yard, changes, message):
    assert await yard.refused("CreateComputeEnvironment", **{**REQUEST, **changes}) == message


async def test_a_cluster_has_at_most_five_environments(yard: Yard):
    for number in range(5):
        await yard.eks_environment(f"eks{number}")
    message = await yard.refused("CreateComputeEnvironment", **REQUEST)
    assert message == "An EKS cluster cannot have more than 5 compute environments."
    other = "arn:aws:eks:eu-central-1:123456789012:cluster/other"
    configuration = {**EKS_CONFIGURATION, "eksClusterArn": other}
    await yard.call("CreateComputeEnvironment", **{**REQUEST, "eksConfiguration": configuration})


async def test_only_the_access_entry_may_change(yard: Yard):
    await yard.eks_environment()
    entry = {"desiredState": "ENABLED"}
    await yard.call(
        "UpdateComputeEnvironment",
        computeEnvironment="eks",
        eksConfiguration={"accessEntry": entry},
    )
    assert (await shown(yard))["eksConfiguration"] == {**EKS_CONFIGURATION, "accessEntry": entry}
    await yard.settle(ResourceStatus.INVALID)
    message = await yard.refused(
        "UpdateComputeEnvironment",
        computeEnvironment="eks",
        computeResources={"desiredvCpus": 1},
    )
    assert message == "desiredvCpus cannot be updated for EKS environments."
    await yard.environment()
    message = await yard.refused(
        "UpdateComputeEnvironment",
        computeEnvironment="ce",
        eksConfiguration={"accessEntry": entry},
    )
    assert message == "eksConfiguration is only applicable for EKS environments."


@pytest.mark.parametrize("asked", [{}, {"jobQueueType": "EKS"}])
async def test_a_queue_of_eks_is_made_although_nothing_runs_there(yard: Yard, asked):
    await yard.eks_environment()
    await yard.call(
        "CreateJobQueue",
        jobQueueName="pods",
        priority=1,
        computeEnvironmentOrder=order("eks"),
        **asked,
    )
    [queue] = (await yard.call("DescribeJobQueues"))["jobQueues"]
    assert queue["jobQueueType"] == "EKS"


async def test_a_queue_does_not_mix_ecs_and_eks(ready: Yard):
    await ready.eks_environment()
    mixed = (
        "The compute environments of a job queue must all be EC2 or SPOT, all be Fargate,"
        " all be EKS, or all be ECS_MANAGED_INSTANCES."
    )
    request = {"jobQueueName": "both", "priority": 1}
    environments = order("ce", "eks")
    assert (
        await ready.refused("CreateJobQueue", **request, computeEnvironmentOrder=environments)
        == mixed
    )
    assert (
        await ready.refused("UpdateJobQueue", jobQueue="jq", computeEnvironmentOrder=order("eks"))
        == mixed
    )
