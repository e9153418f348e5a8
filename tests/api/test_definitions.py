"""RegisterJobDefinition, DescribeJobDefinitions, DeregisterJobDefinition."""

from typing import Any

import pytest

from tests.api.conftest import CONTAINER, ELSEWHERE, FARGATE_CONTAINER, ROLE, Yard

ARN = "arn:aws:batch:eu-central-1:123456789012:job-definition"


def container(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in {**CONTAINER, **changes}.items() if value is not None}


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
        (
            {"jobDefinitionName": "a.b"},
            "jobDefinitionName must be 1 to 128 letters, digits, hyphens and underscores.",
        ),
        (
            {"type": "multinode"},
            "containerProperties is not applicable for type multinode.",
        ),
        ({"type": "pod"}, "type pod is not one of container, multinode."),
        (
            {"containerProperties": {}},
            "Error executing request, Exception : Container properties should not be empty,"
            " RequestId: the-request-id",
        ),
        (
            {"type": "multinode", "containerProperties": {}},
            "Error executing request, Exception : Node properties should not be empty,"
            " RequestId: the-request-id",
        ),
        (
            {"containerProperties": {}, "nodeProperties": {"numNodes": 2}},
            "nodeProperties is not applicable for type container.",
        ),
        (
            {"nodeProperties": {"numNodes": 2}},
            "containerProperties and nodeProperties cannot be given together.",
        ),
        (
            {"eksProperties": {"podProperties": {"hostNetwork": False}}},
            "containerProperties and eksProperties cannot be given together.",
        ),
        (
            {"ecsProperties": {"taskProperties": [{"containers": [{"image": "a"}]}]}},
            "containerProperties and ecsProperties cannot be given together.",
        ),
        (
            {"consumableResourceProperties": {"consumableResourceList": [{"quantity": 1}]}},
            "consumableResource must be provided",
        ),
        (
            {
                "type": "multinode",
                "containerProperties": {},
                "nodeProperties": {
                    "numNodes": 2,
                    "mainNode": 0,
                    "nodeRangeProperties": [{"targetNodes": "0:", "container": CONTAINER}],
                },
                "platformCapabilities": ["MANAGED_INSTANCES"],
            },
            "nodeProperties is not applicable for MANAGED_INSTANCES.",
        ),
        (
            {"platformCapabilities": ["EC2", "FARGATE"]},
            "platformCapabilities with more than one value is not supported yet by batchyard.",
        ),
        (
            {"platformCapabilities": ["MOON"]},
            "platformCapabilities MOON is not one of EC2, FARGATE, MANAGED_INSTANCES.",
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
        nodeProperties={},
        ecsProperties={"taskProperties": []},
        eksProperties={"podProperties": {}},
        retryStrategy={},
        timeout={},
        parameters={},
        platformCapabilities=[],
    )
    [shown] = (await yard.call("DescribeJobDefinitions"))["jobDefinitions"]
    assert "retryStrategy" not in shown
    assert "timeout" not in shown
    assert shown["containerOrchestrationType"] == "ECS"


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
