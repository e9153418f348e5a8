"""Kinds of compute environments beside EC2, SPOT and Fargate, and what launch templates may say."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from tests.api.conftest import EC2_RESOURCES, FARGATE_RESOURCES, Yard

ROLE = "arn:aws:iam::123456789012:role/AWSBatchServiceRole"
MANAGED_INSTANCES: dict[str, Any] = {
    "type": "ECS_MANAGED_INSTANCES",
    "maxvCpus": 16,
    "managedInstancesProvider": {
        "infrastructureRoleArn": "arn:aws:iam::123456789012:role/infrastructure",
        "instanceLaunchTemplate": {
            "ec2InstanceProfileArn": "arn:aws:iam::123456789012:instance-profile/mine",
            "networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]},
            "instanceRequirements": {"allowedInstanceTypes": ["m6i", "m6g.large"]},
            "capacityOptionType": "SPOT",
        },
        "infrastructureOptimization": {"scaleInAfter": 60},
    },
    "capacityTags": {"team": "lab"},
}


def managed_instances(path: str = "", value: Any = None) -> dict[str, Any]:
    """The resources above, with one member at `a.b.c` replaced."""
    resources = deepcopy(MANAGED_INSTANCES)
    if path:
        *parents, last = path.split(".")
        at = resources
        for each in parents:
            at = at.setdefault(each, {})
        at[last] = value
    return resources


async def create(yard: Yard, name: str = "ce", **request: Any) -> dict[str, Any]:
    await yard.call("CreateComputeEnvironment", computeEnvironmentName=name, **request)
    await yard.settle()
    return await shown(yard, name)


async def unmanaged(yard: Yard, name: str = "ce", **request: Any) -> dict[str, Any]:
    return await create(yard, name, type="UNMANAGED", serviceRole=ROLE, **request)


async def shown(yard: Yard, name: str = "ce") -> dict[str, Any]:
    answer = await yard.call("DescribeComputeEnvironments", computeEnvironments=[name])
    [environment] = answer["computeEnvironments"]
    return dict(environment)


async def test_an_unmanaged_environment_is_shown_without_resources(yard: Yard):
    environment = await unmanaged(yard, unmanagedvCpus=24, tags={"k": "v"})
    cluster = environment.pop("ecsClusterArn")
    assert cluster.startswith("arn:aws:ecs:eu-central-1:123456789012:cluster/ce_Batch_")
    del environment["uuid"]
    assert environment == {
        "computeEnvironmentName": "ce",
        "computeEnvironmentArn": "arn:aws:batch:eu-central-1:123456789012:compute-environment/ce",
        "type": "UNMANAGED",
        "unmanagedvCpus": 24,
        "state": "ENABLED",
        "status": "VALID",
        "serviceRole": ROLE,
        "containerOrchestrationType": "ECS",
        "tags": {"k": "v"},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"computeResources": EC2_RESOURCES},
            "computeResources must not be provided for an UNMANAGED compute environment",
        ),
        (
            {"serviceRole": ""},
            "serviceRole must be provided for an UNMANAGED compute environment",
        ),
        (
            {"eksConfiguration": {"eksClusterArn": "arn", "kubernetesNamespace": "jobs"}},
            "eksConfiguration is only applicable for MANAGED environments.",
        ),
        ({"unmanagedvCpus": -1}, "unmanagedvCpus must not be below 0."),
        (
            {"state": "DISABLED"},
            "state must be ENABLED when a compute environment is created.",
        ),
    ],
)
async def test_unmanaged_environments_that_are_refused(yard: Yard, changes, message):
    request = {"computeEnvironmentName": "ce", "type": "UNMANAGED", "serviceRole": ROLE, **changes}
    assert await yard.refused("CreateComputeEnvironment", **request) == message


async def test_an_unmanaged_environment_changes_its_vcpus_role_and_state(yard: Yard):
    await unmanaged(yard)
    assert "unmanagedvCpus" not in await shown(yard)
    await yard.call(
        "UpdateComputeEnvironment",
        computeEnvironment="ce",
        unmanagedvCpus=8,
        state="DISABLED",
        serviceRole=f"{ROLE}2",
    )
    await yard.settle()
    environment = await shown(yard)
    assert environment["unmanagedvCpus"] == 8
    assert (environment["state"], environment["serviceRole"]) == ("DISABLED", f"{ROLE}2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"computeResources": {"maxvCpus": 4}},
            "computeResources is only applicable for MANAGED environments.",
        ),
        (
            {"updatePolicy": {"terminateJobsOnUpdate": True}},
            "updatePolicy is only applicable for MANAGED environments.",
        ),
        ({"unmanagedvCpus": -2}, "unmanagedvCpus must not be below 0."),
    ],
)
async def test_updates_of_unmanaged_environments_that_are_refused(yard: Yard, change, message):
    await unmanaged(yard, unmanagedvCpus=2)
    request = {"computeEnvironment": "ce", **change}
    assert await yard.refused("UpdateComputeEnvironment", **request) == message


async def test_unmanaged_counts_as_ec2_in_a_queue(yard: Yard):
    await unmanaged(yard, "mine")
    await yard.environment("theirs")
    await yard.fargate_environment()
    order = [
        {"order": 1, "computeEnvironment": "mine"},
        {"order": 2, "computeEnvironment": "theirs"},
    ]
    request: dict[str, Any] = {
        "jobQueueName": "jq",
        "priority": 1,
        "computeEnvironmentOrder": order,
    }
    await yard.call("CreateJobQueue", **request)
    answer = await yard.call("DescribeJobQueues", jobQueues=["jq"])
    assert answer["jobQueues"][0]["jobQueueType"] == "ECS"
    order[1]["computeEnvironment"] = "fargate"
    assert "must all be EC2 or SPOT" in await yard.refused("CreateJobQueue", **request)


async def test_managed_instances_are_shown_as_given_and_run_their_own_definitions(yard: Yard):
    environment = await create(yard, type="MANAGED", computeResources=MANAGED_INSTANCES)
    assert environment["computeResources"] == MANAGED_INSTANCES
    await yard.queue()
    answer = await yard.call("DescribeJobQueues", jobQueues=["jq"])
    assert answer["jobQueues"][0]["jobQueueType"] == "ECS_MANAGED_INSTANCES"
    await yard.define(platformCapabilities=["MANAGED_INSTANCES"])
    assert (await yard.job(await yard.submit()))["platformCapabilities"] == ["MANAGED_INSTANCES"]
    await yard.define("plain")
    request = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "plain"}
    assert await yard.refused("SubmitJob", **request) == (
        "Job Queue is attached to Compute Environment that can not run Jobs with capability EC2"
    )


async def test_managed_instances_do_not_mix_with_ec2(yard: Yard):
    await create(yard, "mi", type="MANAGED", computeResources=MANAGED_INSTANCES)
    await yard.environment("ec2")
    order = [
        {"order": 1, "computeEnvironment": "mi"},
        {"order": 2, "computeEnvironment": "ec2"},
    ]
    request: dict[str, Any] = {
        "jobQueueName": "jq",
        "priority": 1,
        "computeEnvironmentOrder": order,
    }
    assert await yard.refused("CreateJobQueue", **request) == (
        "The compute environments of a job queue must all be EC2 or SPOT, all be Fargate, all be"
        " EKS, or all be ECS_MANAGED_INSTANCES."
    )
    assert await yard.refused(
        "CreateJobQueue", **request | {"computeEnvironmentOrder": order[:1], "jobQueueType": "ECS"}
    ) == (
        "jobQueueType ECS does not fit the compute environments, which need ECS_MANAGED_INSTANCES."
    )


_TEMPLATE = "managedInstancesProvider.instanceLaunchTemplate"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("minvCpus", 1, "minvCpus is not applicable for ECS_MANAGED_INSTANCES."),
        (
            "subnets",
            ["subnet-1"],
            "subnets is not applicable for ECS_MANAGED_INSTANCES.",
        ),
        (
            "managedInstancesProvider",
            {},
            "managedInstancesProvider must be provided for ECS_MANAGED_INSTANCES.",
        ),
        (
            "managedInstancesProvider.infrastructureRoleArn",
            "",
            "managedInstancesProvider.infrastructureRoleArn must be provided.",
        ),
        (
            "managedInstancesProvider.infrastructureOptimization.scaleInAfter",
            3601,
            "scaleInAfter must be -1, or between 0 and 3600.",
        ),
        (
            "managedInstancesProvider.propagateTags",
            "ALL",
            "propagateTags ALL is not one of CAPACITY_PROVIDER, NONE.",
        ),
        (
            f"{_TEMPLATE}.ec2InstanceProfileArn",
            "",
            f"{_TEMPLATE}.ec2InstanceProfileArn must be provided.",
        ),
        (
            f"{_TEMPLATE}.networkConfiguration.subnets",
            [],
            f"{_TEMPLATE}.networkConfiguration.subnets must be provided.",
        ),
        (
            f"{_TEMPLATE}.capacityOptionType",
            "RESERVED",
            "capacityOptionType RESERVED is not one of ON_DEMAND, SPOT.",
        ),
        (f"{_TEMPLATE}.monitoring", "FULL", "monitoring FULL is not one of BASIC, DETAILED."),
        (
            f"{_TEMPLATE}.storageConfiguration.storageSizeGiB",
            0,
            "storageSizeGiB must be at least 1.",
        ),
        (
            f"{_TEMPLATE}.instanceRequirements.allowedInstanceTypes",
            ["M6I"],
            "allowedInstanceTypes M6I is not an instance type.",
        ),
        ("capacityTags", {"aws:a": "b"}, "Tag keys and values cannot start with aws:"),
        ("maxvCpus", -1, "maxvCpus must not be below 0."),
    ],
)
async def test_managed_instances_that_are_refused(yard: Yard, path, value, message):
    request = {
        "computeEnvironmentName": "ce",
        "type": "MANAGED",
        "computeResources": managed_instances(path, value),
    }
    assert await yard.refused("CreateComputeEnvironment", **request) == message


async def test_an_update_of_managed_instances_merges_the_provider(yard: Yard):
    await create(yard, type="MANAGED", computeResources=MANAGED_INSTANCES)
    change = {
        "maxvCpus": 32,
        "managedInstancesProvider": {
            "instanceLaunchTemplate": {
                "instanceRequirements": {"allowedInstanceTypes": ["c7i"]},
                "monitoring": "DETAILED",
            },
            "infrastructureOptimization": {"scaleInAfter": -1},
        },
        "capacityTags": {"team": "shop"},
    }
    await yard.call("UpdateComputeEnvironment", computeEnvironment="ce", computeResources=change)
    expected = managed_instances(f"{_TEMPLATE}.monitoring", "DETAILED")
    provider = expected["managedInstancesProvider"]
    provider["infrastructureOptimization"] = {"scaleInAfter": -1}
    provider["instanceLaunchTemplate"]["instanceRequirements"] = {"allowedInstanceTypes": ["c7i"]}
    expected |= {"maxvCpus": 32, "capacityTags": {"team": "shop"}}
    assert (await shown(yard))["computeResources"] == expected
    await yard.settle()
    for wanted in ("EC2", "FARGATE"):
        assert await yard.refused(
            "UpdateComputeEnvironment", computeEnvironment="ce", computeResources={"type": wanted}
        ) == ("computeResources.type cannot change to or from ECS_MANAGED_INSTANCES.")


async def test_members_of_managed_instances_are_refused_elsewhere(yard: Yard):
    provider = MANAGED_INSTANCES["managedInstancesProvider"]
    for resources, kind in ((EC2_RESOURCES, "EC2"), (FARGATE_RESOURCES, "Fargate")):
        assert await yard.refused(
            "CreateComputeEnvironment",
            computeEnvironmentName="ce",
            type="MANAGED",
            computeResources={**resources, "managedInstancesProvider": provider},
        ) == (f"managedInstancesProvider is not applicable for {kind}.")


def a_template(*overrides: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"launchTemplateId": "lt-1", "overrides": list(overrides), **changes}


def an_override(*targets: str, **changes: Any) -> dict[str, Any]:
    return {"launchTemplateName": "mine", "targetInstanceTypes": list(targets), **changes}


@pytest.mark.parametrize(
    "template",
    [
        a_template(version="$Latest"),
        a_template(version="7"),
        a_template(an_override("m5.large"), an_override("m5.xlarge", "c5", version="$Default")),
    ],
)
async def test_launch_templates_that_are_accepted(yard: Yard, template):
    await yard.environment(instanceTypes=["m5", "c5"], launchTemplate=template)
    assert (await shown(yard))["computeResources"]["launchTemplate"] == template


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            a_template(launchTemplateName="also"),
            "launchTemplate must have exactly one of launchTemplateId and launchTemplateName.",
        ),
        (
            {"version": "1"},
            "launchTemplate must have exactly one of launchTemplateId and launchTemplateName.",
        ),
        (
            a_template(version="$Newest"),
            "launchTemplate.version $Newest must be a number, $Default or $Latest.",
        ),
        (
            a_template(*[an_override("m5.large")] * 11),
            "launchTemplate.overrides must not have more than 10 items.",
        ),
        (
            a_template(an_override("m5", launchTemplateName="")),
            "launchTemplate.overrides must have exactly one of launchTemplateId and"
            " launchTemplateName.",
        ),
        (
            a_template(an_override()),
            "targetInstanceTypes must be provided for each of launchTemplate.overrides.",
        ),
        (
            a_template(an_override("optimal")),
            "targetInstanceTypes optimal is not an instance type or family.",
        ),
        (
            a_template(an_override("m5.huge")),
            "targetInstanceTypes m5.huge is not an instance type or family.",
        ),
        (
            a_template(an_override("r5.large")),
            "targetInstanceTypes r5.large is not among instanceTypes.",
        ),
        (
            a_template(an_override("c5", "m5"), an_override("m5.large")),
            "targetInstanceTypes m5 and m5.large of launchTemplate.overrides overlap.",
        ),
        (
            a_template(an_override("m5.large", "m5.large")),
            "targetInstanceTypes m5.large and m5.large of launchTemplate.overrides overlap.",
        ),
        (
            a_template(userdataType="EKS_NODEADM"),
            "userdataType is only applicable for EKS environments.",
        ),
        (
            a_template(userdataType="MIME"),
            "userdataType MIME is not one of EKS_BOOTSTRAP_SH, EKS_NODEADM.",
        ),
    ],
)
async def test_launch_templates_that_are_refused(yard: Yard, template, message):
    request = {
        "computeEnvironmentName": "ce",
        "type": "MANAGED",
        "computeResources": {
            **EC2_RESOURCES,
            "instanceTypes": ["m5", "c5"],
            "launchTemplate": template,
        },
    }
    assert await yard.refused("CreateComputeEnvironment", **request) == message


async def test_an_update_replaces_or_removes_a_launch_template(yard: Yard):
    await yard.environment(
        allocationStrategy="BEST_FIT_PROGRESSIVE",
        instanceTypes=["m5", "c5"],
        launchTemplate=a_template(an_override("m5")),
    )

    async def change(**resources: Any) -> dict[str, Any]:
        await yard.call(
            "UpdateComputeEnvironment", computeEnvironment="ce", computeResources=resources
        )
        await yard.settle()
        return dict((await shown(yard))["computeResources"])

    changed = await change(launchTemplate={"launchTemplateName": "other"})
    assert changed["launchTemplate"] == {"launchTemplateName": "other"}
    assert "launchTemplate" not in await change(launchTemplate={"launchTemplateName": ""})
    changed = await change(subnets=[], securityGroupIds=[], placementGroup="", tags={})
    assert not {"subnets", "securityGroupIds", "placementGroup", "tags"} & set(changed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"instanceTypes": ["m6i", "m6g"]},
            "instanceTypes must all have the same CPU architecture.",
        ),
        (
            {"instanceTypes": ["optimal", "default_x86_64"]},
            "instanceTypes can have only one of optimal, default_x86_64, default_arm64.",
        ),
        (
            {"ec2Configuration": [{"imageType": "EKS_AL2023"}]},
            "ec2Configuration.imageType EKS_AL2023 is not one of ECS_AL2, ECS_AL2_NVIDIA,"
            " ECS_AL2023, ECS_AL2023_NVIDIA, ECS_AL1.",
        ),
        (
            {"ec2Configuration": [{"imageType": "ECS_AL2", "imageKubernetesVersion": "1.30"}]},
            "At least one imageKubernetesVersion in EC2Configuration is not supported.",
        ),
    ],
)
async def test_instance_types_and_images_that_are_refused(yard: Yard, changes, message):
    request = {
        "computeEnvironmentName": "ce",
        "type": "MANAGED",
        "computeResources": {**EC2_RESOURCES, **changes},
    }
    assert await yard.refused("CreateComputeEnvironment", **request) == message


async def test_a_queue_has_one_architecture(yard: Yard):
    await yard.environment("x86", instanceTypes=["optimal"])
    await yard.environment("arm", instanceTypes=["default_arm64"])
    order = [
        {"order": 1, "computeEnvironment": "x86"},
        {"order": 2, "computeEnvironment": "arm"},
    ]
    assert await yard.refused(
        "CreateJobQueue", jobQueueName="jq", priority=1, computeEnvironmentOrder=order
    ) == ("The compute environments of a job queue must all have the same CPU architecture.")


async def test_best_fit_is_neither_updated_nor_updated_to(yard: Yard):
    await yard.environment(allocationStrategy="BEST_FIT_PROGRESSIVE")
    assert await yard.refused(
        "UpdateComputeEnvironment",
        computeEnvironment="ce",
        computeResources={"allocationStrategy": "BEST_FIT"},
    ) == ("Infrastructure cannot be updated in environments with allocationStrategy BEST_FIT.")


async def test_fargate_ignores_the_policy_of_updates(yard: Yard):
    await yard.fargate_environment()
    await yard.call(
        "UpdateComputeEnvironment",
        computeEnvironment="fargate",
        updatePolicy={"terminateJobsOnUpdate": True},
    )
    assert "updatePolicy" not in await shown(yard, "fargate")
