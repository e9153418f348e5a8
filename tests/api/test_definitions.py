"""RegisterJobDefinition, DescribeJobDefinitions, DeregisterJobDefinition."""

from typing import Any

import pytest

from tests.api.conftest import CONTAINER, ELSEWHERE, Yard

ARN = "arn:aws:batch:eu-central-1:123456789012:job-definition"
ROLE = "arn:aws:iam::123456789012:role/execution"
FARGATE_CONTAINER = {
    "image": "busybox",
    "executionRoleArn": ROLE,
    "resourceRequirements": [
        {"type": "VCPU", "value": "0.25"},
        {"type": "MEMORY", "value": "512"},
    ],
}


def container(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**CONTAINER, **changes}.items() if value is not None}


def requirements(**value_by_type: str) -> list[dict[str, str]]:
    return [{"type": kind, "value": value} for kind, value in value_by_type.items()]


def awslogs(**options: str) -> dict[str, Any]:
    return {"logDriver": "awslogs", "options": options}


async def test_revisions_are_numbered_from_1_and_never_again(yard: Yard):
    assert await yard.define("a") == f"{ARN}/a:1"
    assert await yard.define("a") == f"{ARN}/a:2"
    assert await yard.define("b") == f"{ARN}/b:1"
    await yard.call("DeregisterJobDefinition", jobDefinition="a:2")
    answer = await yard.call(
        "RegisterJobDefinition",
        jobDefinitionName="a",
        type="container",
        containerProperties=CONTAINER,
    )
    assert answer == {"jobDefinitionName": "a", "jobDefinitionArn": f"{ARN}/a:3", "revision": 3}


async def test_unset_lists_are_shown_empty(yard: Yard):
    await yard.define()
    answer = await yard.call("DescribeJobDefinitions", jobDefinitions=["jd:1"])
    assert answer == {
        "jobDefinitions": [
            {
                "jobDefinitionName": "jd",
                "jobDefinitionArn": f"{ARN}/jd:1",
                "revision": 1,
                "status": "ACTIVE",
                "type": "container",
                "parameters": {},
                "containerOrchestrationType": "ECS",
                "containerProperties": {
                    **CONTAINER,
                    "environment": [],
                    "mountPoints": [],
                    "secrets": [],
                    "ulimits": [],
                    "volumes": [],
                },
                "tags": {},
            }
        ]
    }


async def test_everything_carried_is_shown_as_registered(yard: Yard):
    given = container(
        jobRoleArn=ROLE,
        user="1000:1000",
        privileged=False,
        readonlyRootFilesystem=True,
        environment=[{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        ulimits=[{"name": "nofile", "softLimit": 1024, "hardLimit": 2048}],
        volumes=[{"name": "v", "host": {"sourcePath": "/data"}}, {"name": "w", "host": {}}],
        mountPoints=[{"sourceVolume": "v", "containerPath": "/data", "readOnly": True}],
        linuxParameters={
            "initProcessEnabled": True,
            "sharedMemorySize": 64,
            "tmpfs": [{"containerPath": "/scratch", "size": 16, "mountOptions": ["noexec"]}],
        },
        logConfiguration=awslogs(**{"awslogs-group": "/g", "awslogs-stream-prefix": "p"}),
        secrets=[],
    )
    more: dict[str, Any] = {
        "parameters": {"a": "1"},
        "retryStrategy": {"attempts": 3},
        "timeout": {"attemptDurationSeconds": 60},
        "platformCapabilities": ["EC2"],
        "propagateTags": True,
        "schedulingPriority": 7,
        "tags": {"k": "v"},
    }
    await yard.define(containerProperties=given, **more)
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert {key: shown[key] for key in more} == more
    given["linuxParameters"]["devices"] = []
    given["logConfiguration"]["secretOptions"] = []
    assert shown["containerProperties"] == given


async def test_fargate_gets_its_platform_version(yard: Yard):
    await yard.define(platformCapabilities=["FARGATE"], containerProperties=FARGATE_CONTAINER)
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert shown["containerProperties"]["fargatePlatformConfiguration"] == {
        "platformVersion": "LATEST"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": None}, "containerProperties.image must be provided."),
        (
            {"image": "a b"},
            "containerProperties.image must be 1 to 255 letters, digits, and the characters"
            " - _ : . / # @",
        ),
        (
            {"resourceRequirements": requirements(MEMORY="128")},
            "Error executing request, Exception : vCPU is not provided., RequestId: the-request-id",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1")},
            "Error executing request, Exception : Memory is not provided.,"
            " RequestId: the-request-id",
        ),
        (
            {"resourceRequirements": requirements(VCPU="0.5", MEMORY="128")},
            "VCPU must be a whole number for jobs on EC2.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="many", MEMORY="128")},
            "VCPU value many must be a number greater than 0.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="0", MEMORY="128")},
            "VCPU value 0 must be a number greater than 0.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="3")},
            "MEMORY value 3 must be a whole number of MiB, at least 4.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="128", GPU="1")},
            "resourceRequirements of type GPU is not supported yet by batchyard.",
        ),
        (
            {"resourceRequirements": requirements(DISK="1")},
            "resourceRequirements type DISK is not one of VCPU, MEMORY.",
        ),
        (
            {"resourceRequirements": requirements(VCPU="1") * 2},
            "resourceRequirements type VCPU is given more than once.",
        ),
        ({"user": "no spaces"}, "User 'no spaces' does not match regex"),
        ({"environment": [{"value": "1"}]}, "Environment variables must have a name."),
        (
            {"environment": [{"name": "AWS_BATCH_X", "value": "1"}]},
            "Environment variables cannot start with AWS_BATCH.",
        ),
        ({"privileged": True}, "containerProperties.privileged is not supported yet by batchyard."),
        (
            {"secrets": [{"name": "a", "valueFrom": "b"}]},
            "containerProperties.secrets is not supported yet by batchyard.",
        ),
        (
            {"enableExecuteCommand": True},
            "containerProperties.enableExecuteCommand is not supported yet by batchyard.",
        ),
        (
            {"instanceType": "c5.large"},
            "containerProperties.instanceType is not supported yet by batchyard.",
        ),
        (
            {"repositoryCredentials": {"credentialsParameter": "arn"}},
            "containerProperties.repositoryCredentials is not supported yet by batchyard.",
        ),
        (
            {"networkConfiguration": {"assignPublicIp": "ENABLED"}},
            "networkConfiguration not applicable for EC2.",
        ),
        (
            {"volumes": [{"name": "v", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}]},
            "volumes.efsVolumeConfiguration is not supported yet by batchyard.",
        ),
        (
            {"volumes": [{"name": "v", "host": {"sourcePath": "data"}}]},
            "volumes.host.sourcePath data must be an absolute path.",
        ),
        (
            {"volumes": [{"name": "v"}, {"name": "v"}]},
            "volumes.name v is given more than once.",
        ),
        (
            {"volumes": [{"name": "a b"}]},
            "volumes.name must be 1 to 255 letters, digits, hyphens and underscores.",
        ),
        (
            {"mountPoints": [{"sourceVolume": "v", "containerPath": "/v"}]},
            "mountPoints.sourceVolume v is not a volume.",
        ),
        (
            {"volumes": [{"name": "v"}], "mountPoints": [{"sourceVolume": "v"}]},
            "mountPoints.containerPath must be an absolute path.",
        ),
        (
            {"linuxParameters": {"devices": [{"hostPath": "/dev/null"}]}},
            "linuxParameters.devices is not supported yet by batchyard.",
        ),
        (
            {"linuxParameters": {"maxSwap": 0}},
            "linuxParameters.maxSwap is not supported yet by batchyard.",
        ),
        (
            {"linuxParameters": {"swappiness": 60}},
            "linuxParameters.swappiness is not supported yet by batchyard.",
        ),
        (
            {"linuxParameters": {"sharedMemorySize": 0}},
            "linuxParameters.sharedMemorySize must be at least 1 MiB.",
        ),
        (
            {"linuxParameters": {"tmpfs": [{"containerPath": "/t", "size": 0}]}},
            "tmpfs.size must be at least 1 MiB.",
        ),
        (
            {
                "linuxParameters": {
                    "tmpfs": [{"containerPath": "/t", "size": 1, "mountOptions": ["quick"]}]
                }
            },
            "tmpfs.mountOptions quick is not a mount option.",
        ),
        (
            {"ulimits": [{"name": "wishes", "softLimit": 1, "hardLimit": 2}]},
            "ulimits name wishes is not one of core, cpu, data, fsize, locks, memlock, msgqueue,"
            " nice, nofile, nproc, rss, rtprio, rttime, sigpending, stack.",
        ),
        (
            {"ulimits": [{"name": "core", "softLimit": 3, "hardLimit": 2}]},
            "ulimits core: softLimit must not be above hardLimit.",
        ),
        (
            {"logConfiguration": {"logDriver": "json-file"}},
            "logDriver json-file is not supported yet by batchyard.",
        ),
        (
            {
                "logConfiguration": {
                    **awslogs(),
                    "secretOptions": [{"name": "a", "valueFrom": "b"}],
                }
            },
            "logConfiguration.secretOptions is not supported yet by batchyard.",
        ),
        (
            {"logConfiguration": awslogs(**{"awslogs-datetime-format": "%Y"})},
            "logConfiguration option awslogs-datetime-format is not supported yet by batchyard.",
        ),
        (
            {"logConfiguration": awslogs(**{"awslogs-group": "a b"})},
            "awslogs-group a b is not a valid log group name.",
        ),
        (
            {"logConfiguration": awslogs(**{"awslogs-stream-prefix": "a:b"})},
            "awslogs-stream-prefix a:b is not valid in a log stream name.",
        ),
    ],
)
async def test_containers_that_are_refused(yard: Yard, changes, message):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="container",
        containerProperties=container(**changes),
    )
    assert refused == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"vcpus": 1},
            "vcpus is not applicable for Fargate. Use resource requirements instead.",
        ),
        (
            {"memory": 512},
            "memory is not applicable for Fargate. Use resource requirements instead.",
        ),
        (
            {"privileged": True},
            "Fargate requires that the 'privileged' setting be 'false' at the container level.",
        ),
        (
            {"ulimits": [{"name": "core", "softLimit": 1, "hardLimit": 2}]},
            "ulimits is not applicable for Fargate.",
        ),
        (
            {"linuxParameters": {"sharedMemorySize": 64}},
            "sharedMemorySize is not applicable for Fargate.",
        ),
        ({"volumes": [{"name": "v", "host": {}}]}, "host is not applicable for Fargate."),
        ({"executionRoleArn": ""}, "executionRoleArn must be provided for Fargate."),
        (
            {"resourceRequirements": requirements(VCPU="1", MEMORY="4000")},
            "Fargate resource requirements (1.00 vCPU, 4000 MiB) not valid.",
        ),
        (
            {"fargatePlatformConfiguration": {"platformVersion": "2.0.0"}},
            "platformVersion 2.0.0 is not one of 1.3.0, 1.4.0, LATEST.",
        ),
        (
            {"ephemeralStorage": {"sizeInGiB": 20}},
            "ephemeralStorage.sizeInGiB must be between 21 and 200.",
        ),
        (
            {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}},
            "operatingSystemFamily WINDOWS_SERVER_2022_CORE is not supported yet by batchyard.",
        ),
        (
            {"runtimePlatform": {"cpuArchitecture": "MIPS"}},
            "cpuArchitecture MIPS is not one of X86_64, ARM64.",
        ),
        (
            {"networkConfiguration": {"assignPublicIp": "YES"}},
            "assignPublicIp YES is not one of ENABLED, DISABLED.",
        ),
    ],
)
async def test_fargate_containers_that_are_refused(yard: Yard, changes, message):
    refused = await yard.refused(
        "RegisterJobDefinition",
        jobDefinitionName="jd",
        type="container",
        platformCapabilities=["FARGATE"],
        containerProperties={**FARGATE_CONTAINER, **changes},
    )
    assert refused == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"jobDefinitionName": "a.b"},
            "jobDefinitionName must be 1 to 128 letters, digits, hyphens and underscores.",
        ),
        ({"type": "multinode"}, "type multinode is not supported yet by batchyard."),
        ({"type": "pod"}, "type pod is not one of container, multinode."),
        (
            {"containerProperties": {}},
            "Error executing request, Exception : Container properties should not be empty,"
            " RequestId: the-request-id",
        ),
        (
            {"nodeProperties": {"numNodes": 2}},
            "nodeProperties is not supported yet by batchyard.",
        ),
        (
            {"eksProperties": {"podProperties": {}}},
            "eksProperties is not supported yet by batchyard.",
        ),
        (
            {"ecsProperties": {"taskProperties": []}},
            "ecsProperties is not supported yet by batchyard.",
        ),
        (
            {"consumableResourceProperties": {"consumableResourceList": [{"quantity": 1}]}},
            "consumableResourceProperties is not supported yet by batchyard.",
        ),
        (
            {"platformCapabilities": ["MANAGED_INSTANCES"]},
            "platformCapabilities MANAGED_INSTANCES is not supported yet by batchyard.",
        ),
        (
            {"platformCapabilities": ["EC2", "FARGATE"]},
            "platformCapabilities with more than one value is not supported yet by batchyard.",
        ),
        (
            {"platformCapabilities": ["MOON"]},
            "platformCapabilities MOON is not one of EC2, FARGATE.",
        ),
        ({"schedulingPriority": 10_000}, "schedulingPriority must be between 0 and 9999."),
        ({"retryStrategy": {"attempts": 11}}, "Number of attempts must be between 1 and 10."),
        ({"retryStrategy": {"attempts": 0}}, "Number of attempts must be between 1 and 10."),
        (
            {"retryStrategy": {"evaluateOnExit": [{"action": "RETRY"}]}},
            "RetryAttempts must be provided with retry strategy",
        ),
        (
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "STOP"}]}},
            "retryStrategy.evaluateOnExit[0].action STOP is not one of RETRY, EXIT.",
        ),
        (
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT"}] * 6}},
            "retryStrategy.evaluateOnExit can have at most 5 items.",
        ),
        (
            {
                "retryStrategy": {
                    "attempts": 2,
                    "evaluateOnExit": [{"action": "EXIT", "onReason": "Host (x)*"}],
                }
            },
            r"retryStrategy.evaluateOnExit[0].onReason does not match the pattern"
            r" ^[0-9A-Za-z.:\s]*\*?$.",
        ),
        (
            {
                "retryStrategy": {
                    "attempts": 2,
                    "evaluateOnExit": [{"action": "EXIT", "onExitCode": "1" * 513}],
                }
            },
            "retryStrategy.evaluateOnExit[0].onExitCode can have at most 512 characters.",
        ),
        (
            {"timeout": {"attemptDurationSeconds": 59}},
            "Job timeout must be at least 60 seconds.",
        ),
        ({"tags": {"aws:x": "y"}}, "Tag keys and values cannot start with aws:"),
        (
            {"body_size": 24 * 1024 + 1},
            "The request is 24577 bytes long; at most 24576 are allowed.",
        ),
    ],
)
async def test_definitions_that_are_refused(yard: Yard, changes, message):
    request = {"jobDefinitionName": "jd", "type": "container", "containerProperties": CONTAINER}
    assert await yard.refused("RegisterJobDefinition", **{**request, **changes}) == message
    assert await yard.call("DescribeJobDefinitions") == {"jobDefinitions": []}


async def test_empty_members_count_as_absent(yard: Yard):
    await yard.define(
        nodeProperties={}, retryStrategy={}, timeout={}, parameters={}, platformCapabilities=[]
    )
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert "retryStrategy" not in shown
    assert "timeout" not in shown


async def test_an_inactive_revision_stays_describable(yard: Yard):
    arn = await yard.define()
    for _ in range(2):
        assert await yard.call("DeregisterJobDefinition", jobDefinition=arn) == {}
    [shown] = (await yard.call("DescribeJobDefinitions", jobDefinitionName="jd"))["jobDefinitions"]
    assert shown["status"] == "INACTIVE"
    assert await yard.call("DescribeJobDefinitions", status="ACTIVE") == {"jobDefinitions": []}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jd", "jobDefinition must name a revision: <name>:<revision> or its ARN"),
        ("jd:9", f"JobDefinition {ARN}/jd:9 does not exist"),
        ("jd:x", "Provided name jd:x is not supported pattern[a-zA-Z_0-9-]{1,128}"),
    ],
)
async def test_deregistering_needs_a_revision(yard: Yard, text, message):
    await yard.define()
    assert await yard.refused("DeregisterJobDefinition", jobDefinition=text) == message


async def test_describing_is_newest_first_in_stable_pages(yard: Yard):
    for name in ("a", "b", "a", "c"):
        await yard.define(name)
    seen: list[str] = []
    token: str | None = ""
    while token is not None:
        page = await yard.call("DescribeJobDefinitions", maxResults=2, nextToken=token)
        seen += [each["jobDefinitionArn"] for each in page["jobDefinitions"]]
        await yard.define("later")
        token = page.get("nextToken")
    assert seen == [f"{ARN}/c:1", f"{ARN}/a:2", f"{ARN}/b:1", f"{ARN}/a:1"]


async def test_a_token_of_another_query_is_refused(yard: Yard):
    await yard.define("a")
    await yard.define("a")
    page = await yard.call("DescribeJobDefinitions", maxResults=1)
    message = await yard.refused(
        "DescribeJobDefinitions", jobDefinitionName="a", nextToken=page["nextToken"]
    )
    assert message == "nextToken is not valid for this request."


async def test_listed_definitions_are_those_that_exist(yard: Yard):
    await yard.define("a")
    await yard.define("a")
    answer = await yard.call(
        "DescribeJobDefinitions", jobDefinitions=["a:2", "gone:1", f"{ARN}/a:1", "a:2"]
    )
    assert [each["revision"] for each in answer["jobDefinitions"]] == [2, 1]


@pytest.mark.parametrize(
    ("request_members", "message"),
    [
        ({"jobDefinitions": ["a:1"] * 101}, "jobDefinitions must not have more than 100 items."),
        (
            {"jobDefinitions": ["a:1"], "status": "ACTIVE"},
            "status cannot be combined with jobDefinitions.",
        ),
        ({"status": "OLD"}, "status OLD is not one of ACTIVE, INACTIVE."),
        ({"maxResults": 0}, "maxResults must be between 1 and 100."),
    ],
)
async def test_describe_requests_that_are_refused(yard: Yard, request_members, message):
    assert await yard.refused("DescribeJobDefinitions", **request_members) == message


async def test_definitions_of_other_scopes_are_out_of_sight(yard: Yard):
    arn = await yard.define()
    for request in ({}, {"jobDefinitions": [arn]}, {"jobDefinitionName": "jd"}):
        answer = await yard.call("DescribeJobDefinitions", ELSEWHERE, **request)
        assert answer == {"jobDefinitions": []}
