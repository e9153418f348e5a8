"""Compute environments: create, update, delete, describe."""

from typing import Any

import pytest

from batchyard.model.status import ResourceStatus
from tests.api.conftest import EC2_RESOURCES, ELSEWHERE, FARGATE_RESOURCES, Yard

ARN = "arn:aws:batch:eu-central-1:123456789012:compute-environment"
LINKED_ROLE = (
    "arn:aws:iam::123456789012:role/aws-service-role/batch.amazonaws.com/AWSServiceRoleForBatch"
)
SPOT = {"type": "SPOT", "spotIamFleetRole": "arn:aws:iam::123456789012:role/fleet"}


def ec2(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**EC2_RESOURCES, **changes}.items() if value is not None}


def fargate(**changes: Any) -> dict[str, Any]:
    return {**FARGATE_RESOURCES, **changes}


async def shown(yard: Yard, name: str = "ce") -> dict[str, Any]:
    answer = await yard.call("DescribeComputeEnvironments", computeEnvironments=[name])
    [environment] = answer["computeEnvironments"]
    return dict(environment)


async def test_a_new_environment_is_creating_and_shown_in_full(yard: Yard):
    answer = await yard.call(
        "CreateComputeEnvironment",
        computeEnvironmentName="ce",
        type="MANAGED",
        computeResources=EC2_RESOURCES,
        tags={"k": "v"},
    )
    assert answer == {"computeEnvironmentName": "ce", "computeEnvironmentArn": f"{ARN}/ce"}
    environment = await shown(yard)
    assert len(environment.pop("uuid")) == 36
    cluster = environment.pop("ecsClusterArn")
    assert cluster.startswith("arn:aws:ecs:eu-central-1:123456789012:cluster/ce_Batch_")
    assert environment == {
        "computeEnvironmentName": "ce",
        "computeEnvironmentArn": f"{ARN}/ce",
        "type": "MANAGED",
        "state": "ENABLED",
        "status": "CREATING",
        "computeResources": {**EC2_RESOURCES, "minvCpus": 0, "desiredvCpus": 0},
        "serviceRole": LINKED_ROLE,
        "containerOrchestrationType": "ECS",
        "tags": {"k": "v"},
    }


async def test_fargate_resources_are_shown_as_given(yard: Yard):
    await yard.fargate_environment()
    environment = await shown(yard, "fargate")
    assert environment["computeResources"] == FARGATE_RESOURCES


@pytest.mark.parametrize(
    "resources",
    [
        ec2(minvCpus=2, desiredvCpus=4),
        ec2(instanceTypes=["c5", "m5.large", "p4d.24xlarge", "u-6tb1.metal"]),
        ec2(allocationStrategy="BEST_FIT_PROGRESSIVE_ORDERED"),
        ec2(securityGroupIds=None, launchTemplate={"launchTemplateId": "lt-1"}),
        ec2(**SPOT),
        ec2(type="SPOT", allocationStrategy="SPOT_CAPACITY_OPTIMIZED", bidPercentage=60),
        fargate(type="FARGATE_SPOT"),
        fargate(instanceTypes=[], tags={}),
    ],
)
async def test_resources_that_are_accepted(yard: Yard, resources):
    await yard.call(
        "CreateComputeEnvironment",
        computeEnvironmentName="ce",
        type="MANAGED",
        computeResources=resources,
    )
    environment = await shown(yard)
    assert {**environment["computeResources"], **resources} == environment["computeResources"]


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        (
            ec2(instanceRole=None),
            "Error executing request, Exception : Instance role is required.,"
            " RequestId: the-request-id",
        ),
        (ec2(instanceTypes=None), "instanceTypes must be provided."),
        (ec2(instanceTypes=["C5"]), "instanceTypes C5 is not an instance type."),
        (ec2(subnets=[]), "subnets must be provided."),
        (ec2(securityGroupIds=[]), "securityGroupIds must be provided."),
        (ec2(maxvCpus=-1), "minvCpus should be between 0 and maxvCpus"),
        (ec2(minvCpus=17), "minvCpus should be between 0 and maxvCpus"),
        (ec2(desiredvCpus=17), "desiredvCpus should be between minvCpus and maxvCpus"),
        (
            ec2(minvCpus=2, desiredvCpus=1),
            "desiredvCpus should be between minvCpus and maxvCpus",
        ),
        (ec2(type="SPOT"), "ComputeResources.spotIamFleetRole cannot not be null or empty"),
        (
            ec2(allocationStrategy="SPOT_CAPACITY_OPTIMIZED"),
            "allocationStrategy SPOT_CAPACITY_OPTIMIZED is not applicable for EC2.",
        ),
        (
            ec2(**SPOT, allocationStrategy="BEST_FIT_PROGRESSIVE_ORDERED"),
            "allocationStrategy BEST_FIT_PROGRESSIVE_ORDERED is not applicable for SPOT.",
        ),
        (
            ec2(allocationStrategy="WORST_FIT"),
            "allocationStrategy WORST_FIT is not one of BEST_FIT, BEST_FIT_PROGRESSIVE,"
            " BEST_FIT_PROGRESSIVE_ORDERED, SPOT_CAPACITY_OPTIMIZED,"
            " SPOT_PRICE_CAPACITY_OPTIMIZED, SPOT_CAPACITY_OPTIMIZED_PRIORITIZED.",
        ),
        (ec2(bidPercentage=101), "bidPercentage must be between 0 and 100."),
        (
            ec2(scalingPolicy={"minScaleDownDelayMinutes": 5}),
            "minScaleDownDelayMinutes must be 0, or between 20 and 10080.",
        ),
        (
            ec2(ec2Configuration=[{"imageType": "ECS_AL2023"}] * 3),
            "ec2Configuration must not have more than 2 items.",
        ),
        (
            ec2(launchTemplate={"launchTemplateId": "lt-1", "launchTemplateName": "n"}),
            "launchTemplate must have exactly one of launchTemplateId and launchTemplateName.",
        ),
        (
            ec2(type="MOON"),
            "computeResources type MOON is not one of EC2, SPOT, FARGATE, FARGATE_SPOT,"
            " ECS_MANAGED_INSTANCES.",
        ),
        (
            ec2(type="ECS_MANAGED_INSTANCES"),
            "instanceRole is not applicable for ECS_MANAGED_INSTANCES.",
        ),
        (
            ec2(capacityTags={"a": "b"}),
            "capacityTags is not applicable for EC2.",
        ),
        (fargate(subnets=[]), "subnets must have 1 to 16 items for Fargate."),
        (fargate(subnets=["s"] * 17), "subnets must have 1 to 16 items for Fargate."),
        (fargate(securityGroupIds=[]), "securityGroupIds must have 1 to 5 items for Fargate."),
        (fargate(maxvCpus=-1), "maxvCpus must not be below 0."),
        *(
            (fargate(**{member: value}), f"{member} is not applicable for Fargate.")
            for member, value in (
                ("allocationStrategy", "BEST_FIT"),
                ("bidPercentage", 50),
                ("desiredvCpus", 0),
                ("ec2Configuration", [{"imageType": "ECS_AL2023"}]),
                ("ec2KeyPair", "key"),
                ("imageId", "ami-1"),
                ("instanceRole", "role"),
                ("instanceTypes", ["c5"]),
                ("launchTemplate", {"launchTemplateId": "lt-1"}),
                ("minvCpus", 0),
                ("placementGroup", "group"),
                ("spotIamFleetRole", "role"),
                ("tags", {"a": "b"}),
            )
        ),
    ],
)
async def test_resources_that_are_refused(yard: Yard, resources, message):
    refused = await yard.refused(
        "CreateComputeEnvironment",
        computeEnvironmentName="ce",
        type="MANAGED",
        computeResources=resources,
    )
    assert refused == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"computeEnvironmentName": "a b"},
            "computeEnvironmentName must be 1 to 128 letters, digits, hyphens and underscores.",
        ),
        (
            {"type": "UNMANAGED"},
            "computeResources must not be provided for an UNMANAGED compute environment",
        ),
        ({"type": "WILD"}, "type WILD is not one of MANAGED, UNMANAGED."),
        (
            {"computeResources": {}},
            "computeResources must be provided for a MANAGED compute environment",
        ),
        (
            {"eksConfiguration": {"eksClusterArn": "a", "kubernetesNamespace": "b"}},
            "allocationStrategy must be provided for EKS.",
        ),
        (
            {"unmanagedvCpus": 4},
            "unmanagedvCpus is only applicable for UNMANAGED environments.",
        ),
        (
            {"state": "DISABLED"},
            "state must be ENABLED when a compute environment is created.",
        ),
        (
            {"ecsSettings": {"containerInsights": "LOUD"}},
            "containerInsights LOUD is not one of ENABLED, ENHANCED, DISABLED.",
        ),
        ({"tags": {"aws:a": "b"}}, "Tag keys and values cannot start with aws:"),
    ],
)
async def test_environments_that_are_refused(yard: Yard, changes, message):
    request = {"computeEnvironmentName": "ce", "type": "MANAGED", "computeResources": EC2_RESOURCES}
    assert await yard.refused("CreateComputeEnvironment", **{**request, **changes}) == message
    assert await yard.call("DescribeComputeEnvironments") == {"computeEnvironments": []}


async def test_a_name_is_used_once_in_a_scope(yard: Yard):
    await yard.environment()
    request: dict[str, Any] = {
        "computeEnvironmentName": "ce",
        "type": "MANAGED",
        "computeResources": EC2_RESOURCES,
    }
    assert await yard.refused("CreateComputeEnvironment", **request) == "Object already exists"
    await yard.call("CreateComputeEnvironment", ELSEWHERE, **request)


async def test_there_are_at_most_50(yard: Yard):
    for number in range(50):
        await yard.environment(f"ce{number}")
    request = {"computeEnvironmentName": "ce", "type": "MANAGED", "computeResources": EC2_RESOURCES}
    assert (
        await yard.refused("CreateComputeEnvironment", **request)
        == "An account cannot have more than 50 compute environments."
    )
    answer = await yard.call("DescribeComputeEnvironments", maxResults=30)
    rest = await yard.call(
        "DescribeComputeEnvironments", maxResults=30, nextToken=answer["nextToken"]
    )
    found = [*answer["computeEnvironments"], *rest["computeEnvironments"]]
    assert [each["computeEnvironmentName"] for each in found] == [f"ce{n}" for n in range(50)]
    assert "nextToken" not in rest


async def test_describe_leaves_out_what_it_does_not_know(yard: Yard):
    await yard.environment("b")
    await yard.environment("a")
    answer = await yard.call(
        "DescribeComputeEnvironments", computeEnvironments=["a", "gone", f"{ARN}/b", "a"]
    )
    assert [e["computeEnvironmentName"] for e in answer["computeEnvironments"]] == ["b", "a"]
    foreign = await yard.call(
        "DescribeComputeEnvironments", ELSEWHERE, computeEnvironments=[f"{ARN}/b"]
    )
    assert foreign == {"computeEnvironments": []}


async def test_an_update_is_a_wish_with_the_new_values(yard: Yard):
    await yard.environment()
    answer = await yard.call(
        "UpdateComputeEnvironment",
        computeEnvironment="ce",
        state="DISABLED",
        computeResources={"maxvCpus": 32, "minvCpus": 4},
        updatePolicy={"terminateJobsOnUpdate": True, "jobExecutionTimeoutMinutes": 10},
    )
    assert answer == {"computeEnvironmentName": "ce", "computeEnvironmentArn": f"{ARN}/ce"}
    environment = await shown(yard)
    assert (environment["state"], environment["status"]) == ("DISABLED", "UPDATING")
    resources = environment["computeResources"]
    assert resources == {**EC2_RESOURCES, "maxvCpus": 32, "minvCpus": 4, "desiredvCpus": 4}
    assert environment["updatePolicy"]["terminateJobsOnUpdate"] is True
    assert (
        await yard.refused("UpdateComputeEnvironment", computeEnvironment="ce")
        == "Cannot update, resource is being modified"
    )


async def test_infrastructure_changes_where_amazon_can_replace_instances(yard: Yard):
    await yard.environment(allocationStrategy="BEST_FIT_PROGRESSIVE", imageId="ami-1")
    await yard.call(
        "UpdateComputeEnvironment",
        computeEnvironment="ce",
        computeResources={
            "instanceTypes": ["c6i"],
            "imageId": "",
            "updateToLatestImageVersion": True,
        },
    )
    resources = (await shown(yard))["computeResources"]
    assert resources["instanceTypes"] == ["c6i"]
    assert "imageId" not in resources
    assert "updateToLatestImageVersion" not in resources


async def test_fargate_ignores_empty_networks_and_takes_new_ones(yard: Yard):
    await yard.fargate_environment()
    await yard.call(
        "UpdateComputeEnvironment",
        computeEnvironment="fargate",
        computeResources={"type": "FARGATE_SPOT", "subnets": ["subnet-2"], "securityGroupIds": []},
    )
    resources = (await shown(yard, "fargate"))["computeResources"]
    assert resources == {**FARGATE_RESOURCES, "type": "FARGATE_SPOT", "subnets": ["subnet-2"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"computeResources": {"desiredvCpus": 1}},
            "Manually scaling down compute environment is not supported. Disconnecting job queues"
            " from compute environment will cause it to scale-down to minvCpus",
        ),
        (
            {"computeResources": {"desiredvCpus": 17}},
            "desiredvCpus should be between minvCpus and maxvCpus",
        ),
        (
            {"computeResources": {"type": "FARGATE"}},
            "computeResources.type cannot change between EC2 and Fargate.",
        ),
        (
            {"computeResources": {"instanceTypes": ["c6i"]}},
            "Infrastructure cannot be updated in environments with allocationStrategy BEST_FIT.",
        ),
        (
            {"computeResources": {"minvCpus": 17}},
            "minvCpus should be between 0 and maxvCpus",
        ),
        (
            {"serviceRole": "arn:aws:iam::123456789012:role/mine"},
            "serviceRole cannot change between a service-linked role and another role.",
        ),
        ({"state": "ASLEEP"}, "state ASLEEP is not one of ENABLED, DISABLED."),
        (
            {"unmanagedvCpus": 1},
            "unmanagedvCpus is only applicable for UNMANAGED environments.",
        ),
        (
            {"updatePolicy": {"jobExecutionTimeoutMinutes": 0}},
            "jobExecutionTimeoutMinutes must be between 1 and 7200.",
        ),
        ({"computeEnvironment": "gone"}, f"{ARN}/gone does not exist"),
    ],
)
async def test_updates_that_are_refused(yard: Yard, change, message):
    await yard.environment(desiredvCpus=2)
    before = await shown(yard)
    request = {"computeEnvironment": "ce", **change}
    assert await yard.refused("UpdateComputeEnvironment", **request) == message
    assert await shown(yard) == before


async def test_deleting_waits_for_its_conditions(yard: Yard):
    await yard.environment()
    await yard.queue()

    async def refused() -> str:
        return await yard.refused("DeleteComputeEnvironment", computeEnvironment="ce")

    assert await refused() == "Cannot delete, state must be DISABLED"
    await yard.call("UpdateComputeEnvironment", computeEnvironment="ce", state="DISABLED")
    assert await refused() == "Cannot delete, resource is being modified"
    await yard.settle()
    assert await refused() == "Cannot delete, found existing JobQueue relationship"
    await yard.call("UpdateJobQueue", jobQueue="jq", state="DISABLED")
    await yard.settle()
    await yard.call("DeleteJobQueue", jobQueue="jq")
    assert await refused() == "Cannot delete, found existing JobQueue relationship"
    await yard.settle()
    assert await yard.call("DeleteComputeEnvironment", computeEnvironment="ce") == {}
    assert (await shown(yard))["status"] == "DELETING"
    await yard.settle()
    assert await yard.call("DescribeComputeEnvironments") == {"computeEnvironments": []}
    assert await yard.call("DeleteComputeEnvironment", computeEnvironment="ce") == {}


async def test_an_invalid_environment_is_repaired_by_an_update(yard: Yard):
    await yard.environment()
    await yard.call("UpdateComputeEnvironment", computeEnvironment="ce")
    await yard.settle(ResourceStatus.INVALID)
    await yard.call("UpdateComputeEnvironment", computeEnvironment=f"{ARN}/ce")
    await yard.settle()
    assert (await shown(yard))["status"] == "VALID"
