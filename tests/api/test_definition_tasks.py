"""RegisterJobDefinition with ecsProperties: tasks of several containers."""

from typing import Any

import pytest

from tests.api.conftest import CONTAINER, ROLE, Yard, requirements

SECRET = [{"name": "PASSWORD", "valueFrom": "/password"}]


def a_container(name: str = "main", **changes: Any) -> dict[str, Any]:
    return {"name": name, **CONTAINER, **changes}


def a_task(*containers: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"taskProperties": [{"containers": list(containers or (a_container(),)), **members}]}


def after(name: str, condition: str = "START") -> list[dict[str, str]]:
    return [{"containerName": name, "condition": condition}]


def small(name: str = "main", cpu: str = "0.25", memory: str = "512") -> dict[str, Any]:
    return {
        "name": name,
        "image": "busybox",
        "resourceRequirements": requirements(VCPU=cpu, MEMORY=memory),
    }


async def test_a_task_is_shown_with_its_defaults(yard: Yard):
    await yard.call(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="container",
        containerProperties={},
        ecsProperties=a_task(
            a_container(dependsOn=after("side")),
            a_container("side", essential=False, linuxParameters={"initProcessEnabled": True}),
            taskRoleArn=ROLE,
            ipcMode="task",
            pidMode="task",
        ),
    )
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert shown["containerOrchestrationType"] == "ECS"
    assert "containerProperties" not in shown
    empty: dict[str, Any] = {"environment": [], "mountPoints": [], "secrets": [], "ulimits": []}
    assert shown["ecsProperties"] == {
        "taskProperties": [
            {
                "containers": [
                    {**a_container(), **empty, "essential": True, "dependsOn": after("side")},
                    {
                        **a_container("side"),
                        **empty,
                        "essential": False,
                        "dependsOn": [],
                        "linuxParameters": {
                            "initProcessEnabled": True,
                            "devices": [],
                            "tmpfs": [],
                        },
                    },
                ],
                "taskRoleArn": ROLE,
                "ipcMode": "task",
                "pidMode": "task",
                "volumes": [],
            }
        ]
    }


async def test_the_only_container_of_a_task_needs_no_name(yard: Yard):
    nameless = {**CONTAINER}
    await yard.define(containerProperties={}, ecsProperties=a_task(nameless))
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    [task] = shown["ecsProperties"]["taskProperties"]
    assert [each["name"] for each in task["containers"]] == ["default"]


async def test_a_fargate_task_sums_up_to_a_pair_and_gets_its_platform_version(yard: Yard):
    await yard.define(
        platformCapabilities=["FARGATE"],
        containerProperties={},
        ecsProperties=a_task(small("a"), small("b"), executionRoleArn=ROLE),
    )
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert shown["ecsProperties"]["taskProperties"][0]["platformVersion"] == "LATEST"


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (
            {"taskProperties": a_task()["taskProperties"] * 2},
            "ecsProperties.taskProperties must have 1 to 1 items.",
        ),
        (
            a_task(*(a_container(f"c{n}") for n in range(11))),
            "taskProperties.containers must have 1 to 10 items.",
        ),
        (
            a_task(a_container(), a_container("")),
            "containers.name must be 1 to 255 letters, digits, hyphens and underscores.",
        ),
        (
            a_task(a_container("a b")),
            "containers.name must be 1 to 255 letters, digits, hyphens and underscores.",
        ),
        (a_task(a_container(), a_container()), "containers.name main is given more than once."),
        (a_task(a_container(image="")), "containers[0].image must be provided."),
        (
            a_task(a_container(resourceRequirements=requirements(MEMORY="4"))),
            "Error executing request, Exception : vCPU is not provided., RequestId: the-request-id",
        ),
        (
            a_task(a_container(), a_container("b", resourceRequirements=requirements(VCPU="1"))),
            "Error executing request, Exception : Memory is not provided.,"
            " RequestId: the-request-id",
        ),
        (
            a_task(a_container(essential=False)),
            "A task must have at least one essential container.",
        ),
        (
            a_task(a_container(dependsOn=after("gone"))),
            "containers.dependsOn.containerName gone is not a container of the task.",
        ),
        (
            a_task(a_container(dependsOn=after("b", "HEALTHY")), a_container("b")),
            "containers.dependsOn.condition HEALTHY is not one of START, COMPLETE, SUCCESS.",
        ),
        *(
            (
                a_task(a_container(dependsOn=after("b", condition)), a_container("b")),
                f"containers.dependsOn: condition {condition} cannot be set on the essential"
                " container b.",
            )
            for condition in ("COMPLETE", "SUCCESS")
        ),
        (
            a_task(a_container(dependsOn=after("main"))),
            "containers.dependsOn must not be a circle: main.",
        ),
        (
            a_task(
                a_container("a"),
                a_container("b", dependsOn=after("c")),
                a_container("c", dependsOn=after("d")),
                a_container("d", dependsOn=after("b")),
            ),
            "containers.dependsOn must not be a circle: b, c, d.",
        ),
        (
            a_task(a_container(startTimeout=1)),
            "containers[0].startTimeout must be at least 2 seconds.",
        ),
        (
            a_task(a_container(stopTimeout=0)),
            "containers[0].stopTimeout must be at least 2 seconds.",
        ),
        (
            a_task(a_container(firelensConfiguration={"type": "fluentbit"})),
            "containers[0].firelensConfiguration is not supported yet by batchyard.",
        ),
        (
            a_task(a_container(repositoryCredentials={"credentialsParameter": "arn"})),
            "containers[0].repositoryCredentials.credentialsParameter: 'arn' is not the ARN of a"
            " secret.",
        ),
        (
            a_task(a_container(secrets=SECRET)),
            "When you are specifying container secrets, you must also specify a value for"
            " 'executionRoleArn'.",
        ),
        (
            a_task(a_container(mountPoints=[{"sourceVolume": "v", "containerPath": "/v"}])),
            "mountPoints.sourceVolume v is not a volume.",
        ),
        (
            a_task(enableExecuteCommand=True),
            "taskProperties.enableExecuteCommand is not supported yet by batchyard.",
        ),
        (a_task(networkMode="host"), "networkMode is not applicable for EC2."),
        (a_task(ipcMode="all"), "ipcMode all is not one of host, task, none."),
        (a_task(pidMode="none"), "pidMode none is not one of host, task."),
        (a_task(platformVersion="LATEST"), "platformVersion not applicable for EC2."),
        (a_task(ephemeralStorage={"sizeInGiB": 30}), "ephemeralStorage not applicable for EC2."),
    ],
)
async def test_tasks_on_ec2_that_are_refused(yard: Yard, properties, message):
    refused = await yard.refused(
        "RegisterJobDefinition", jobDefinitionName="jd", type="container", ecsProperties=properties
    )
    assert refused == message


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        (a_task(small()), "executionRoleArn must be provided for Fargate."),
        (
            a_task(small("a"), small("b"), small("c"), executionRoleArn=ROLE),
            "Fargate resource requirements (0.75 vCPU, 1536 MiB) not valid.",
        ),
        (
            a_task({**small(), "stopTimeout": 121}, executionRoleArn=ROLE),
            "containers[0].stopTimeout must be at most 120 seconds for Fargate.",
        ),
        (
            a_task(small(), executionRoleArn=ROLE, ipcMode="task"),
            "ipcMode is not applicable for Fargate.",
        ),
        (
            a_task(small(), executionRoleArn=ROLE, pidMode="host"),
            "pidMode host is not applicable for Fargate.",
        ),
        (
            a_task(small(), executionRoleArn=ROLE, platformVersion="2.0.0"),
            "platformVersion 2.0.0 is not one of 1.3.0, 1.4.0, LATEST.",
        ),
        (
            a_task({**small(), "privileged": True}, executionRoleArn=ROLE),
            "Fargate requires that the 'privileged' setting be 'false' at the container level.",
        ),
        (
            a_task(
                small(),
                executionRoleArn=ROLE,
                platformVersion="1.3.0",
                volumes=[{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}],
            ),
            "EFS is supported for Fargate platform version 1.4.0",
        ),
    ],
)
async def test_tasks_on_fargate_that_are_refused(yard: Yard, properties, message):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="container",
        platformCapabilities=["FARGATE"],
        ecsProperties=properties,
    )
    assert refused == message
