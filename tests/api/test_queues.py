"""Job queues: create, update, delete, describe."""

from typing import Any

import pytest

from batchyard.model.status import ResourceStatus
from batchyard.store import queues
from tests.api.conftest import EC2_RESOURCES, ELSEWHERE, Yard

ARN = "arn:aws:batch:eu-central-1:123456789012:job-queue"
CE_ARN = "arn:aws:batch:eu-central-1:123456789012:compute-environment"


def order(*names: str) -> list[dict[str, Any]]:
    return [{"order": at, "computeEnvironment": name} for at, name in enumerate(names, 1)]


def a_limit(**changes: Any) -> dict[str, Any]:
    return {
        "reason": "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
        "state": "RUNNABLE",
        "maxTimeSeconds": 600,
        "action": "CANCEL",
        **changes,
    }


async def shown(yard: Yard, name: str = "jq") -> dict[str, Any]:
    [queue] = (await yard.call("DescribeJobQueues", jobQueues=[name]))["jobQueues"]
    return dict(queue)


async def test_a_new_queue_is_creating_and_shown_in_full(yard: Yard):
    await yard.environment()
    answer = await yard.call(
        "CreateJobQueue",
        jobQueueName="jq",
        priority=10,
        computeEnvironmentOrder=order("ce"),
        tags={"k": "v"},
    )
    assert answer == {"jobQueueName": "jq", "jobQueueArn": f"{ARN}/jq"}
    assert await shown(yard) == {
        "jobQueueName": "jq",
        "jobQueueArn": f"{ARN}/jq",
        "state": "ENABLED",
        "status": "CREATING",
        "priority": 10,
        "computeEnvironmentOrder": [{"order": 1, "computeEnvironment": f"{CE_ARN}/ce"}],
        "jobQueueType": "ECS",
        "jobStateTimeLimitActions": [],
        "tags": {"k": "v"},
    }


async def test_environments_are_tried_by_order_and_shown_as_given(yard: Yard):
    for name in ("a", "b", "c"):
        await yard.environment(name)
    given = [
        {"order": 20, "computeEnvironment": "a"},
        {"order": 3, "computeEnvironment": f"{CE_ARN}/b"},
        {"order": 7, "computeEnvironment": "c"},
    ]
    await yard.call("CreateJobQueue", jobQueueName="jq", priority=1, computeEnvironmentOrder=given)
    queue = await shown(yard)
    assert [item["order"] for item in queue["computeEnvironmentOrder"]] == [20, 3, 7]
    record = await yard.store.read(lambda conn: queues.read_queue(conn, queue["jobQueueArn"]))
    assert record is not None
    assert record.environment_arns == (f"{CE_ARN}/b", f"{CE_ARN}/c", f"{CE_ARN}/a")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"jobQueueName": ""},
            "jobQueueName must be 1 to 128 letters, digits, hyphens and underscores.",
        ),
        ({"state": "ON"}, "state ON is not one of ENABLED, DISABLED."),
        ({"priority": -1}, "priority must be between 0 and 1000."),
        ({"priority": 1001}, "priority must be between 0 and 1000."),
        ({"computeEnvironmentOrder": []}, "At least 1 compute environment must be provided"),
        (
            {"computeEnvironmentOrder": order("a", "b", "c", "d")},
            "A job queue cannot have more than 3 compute environments.",
        ),
        (
            {
                "computeEnvironmentOrder": [
                    {"order": 1, "computeEnvironment": "ce"},
                    {"order": 1, "computeEnvironment": "more"},
                ]
            },
            "computeEnvironmentOrder must not repeat order.",
        ),
        (
            {"computeEnvironmentOrder": order("ce", f"{CE_ARN}/ce")},
            "computeEnvironmentOrder must not repeat computeEnvironment.",
        ),
        ({"computeEnvironmentOrder": order("gone")}, f"{CE_ARN}/gone does not exist"),
        (
            {"computeEnvironmentOrder": order("ce", "fargate")},
            "The compute environments of a job queue must all be EC2 or SPOT, all be Fargate,"
            " all be EKS, or all be ECS_MANAGED_INSTANCES.",
        ),
        (
            {"computeEnvironmentOrder": order("creating")},
            f"{CE_ARN}/creating must have status VALID, but is CREATING.",
        ),
        (
            {"schedulingPolicyArn": "arn:aws:batch:eu-central-1:123456789012:scheduling-policy/p"},
            "arn:aws:batch:eu-central-1:123456789012:scheduling-policy/p does not exist",
        ),
        ({"schedulingPolicyArn": "p"}, "p does not exist"),
        (
            {"serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": "s"}]},
            "A job queue cannot have both computeEnvironmentOrder and serviceEnvironmentOrder.",
        ),
        ({"jobStateTimeLimitActions": [a_limit(reason="because")]}, "Invalid job reason"),
        (
            {"jobStateTimeLimitActions": [a_limit(), a_limit(state="PENDING")]},
            "state PENDING is not RUNNABLE.",
        ),
        (
            {"jobStateTimeLimitActions": [a_limit(action="TERMINATE")]},
            "action TERMINATE is not CANCEL.",
        ),
        *(
            (
                {"jobStateTimeLimitActions": [a_limit(maxTimeSeconds=seconds)]},
                "maxTimeSeconds must be between 600 and 86400.",
            )
            for seconds in (599, 86_401)
        ),
        (
            {"jobQueueType": "SAGEMAKER_TRAINING"},
            "jobQueueType SAGEMAKER_TRAINING does not fit the compute environments, which need"
            " ECS.",
        ),
        (
            {"jobQueueType": "EKS"},
            "jobQueueType EKS does not fit the compute environments, which need ECS.",
        ),
        (
            {"jobQueueType": "ECS_FARGATE"},
            "jobQueueType ECS_FARGATE does not fit the compute environments, which need ECS.",
        ),
        ({"tags": {"": "b"}}, "Tag keys must be between 1 and 128 characters long."),
    ],
)
async def test_queues_that_are_refused(yard: Yard, changes, message):
    await yard.environment()
    await yard.fargate_environment()
    await yard.call(
        "CreateComputeEnvironment",
        computeEnvironmentName="creating",
        type="MANAGED",
        computeResources=EC2_RESOURCES,
    )
    request = {"jobQueueName": "jq", "priority": 1, "computeEnvironmentOrder": order("ce")}
    assert await yard.refused("CreateJobQueue", **{**request, **changes}) == message
    assert await yard.call("DescribeJobQueues") == {"jobQueues": []}


async def test_a_name_is_used_once_and_there_are_at_most_50(yard: Yard):
    await yard.environment()
    request: dict[str, Any] = {"priority": 1, "computeEnvironmentOrder": order("ce")}
    for number in range(50):
        await yard.call("CreateJobQueue", jobQueueName=f"q{number}", **request)
    assert (
        await yard.refused("CreateJobQueue", jobQueueName="q7", **request)
        == "Object already exists"
    )
    assert (
        await yard.refused("CreateJobQueue", jobQueueName="one-more", **request)
        == "An account cannot have more than 50 job queues."
    )
    first = await yard.call("DescribeJobQueues", maxResults=49)
    rest = await yard.call("DescribeJobQueues", maxResults=49, nextToken=first["nextToken"])
    found = [each["jobQueueName"] for each in [*first["jobQueues"], *rest["jobQueues"]]]
    assert found == [f"q{number}" for number in range(50)]


async def test_queues_of_other_scopes_are_out_of_sight(ready: Yard):
    assert await ready.call("DescribeJobQueues", ELSEWHERE) == {"jobQueues": []}
    answer = await ready.call("DescribeJobQueues", ELSEWHERE, jobQueues=[f"{ARN}/jq"])
    assert answer == {"jobQueues": []}
    message = await ready.refused("UpdateJobQueue", scope=ELSEWHERE, jobQueue=f"{ARN}/jq")
    assert message == f"{ARN}/jq does not exist"


async def test_an_update_is_a_wish_with_the_new_values(ready: Yard):
    await ready.environment("more")
    answer = await ready.call(
        "UpdateJobQueue",
        jobQueue="jq",
        priority=7,
        state="DISABLED",
        computeEnvironmentOrder=order("more", "ce"),
    )
    assert answer == {"jobQueueName": "jq", "jobQueueArn": f"{ARN}/jq"}
    queue = await shown(ready)
    assert (queue["state"], queue["status"], queue["priority"]) == ("DISABLED", "UPDATING", 7)
    assert [item["computeEnvironment"] for item in queue["computeEnvironmentOrder"]] == [
        f"{CE_ARN}/more",
        f"{CE_ARN}/ce",
    ]
    assert (
        await ready.refused("UpdateJobQueue", jobQueue="jq")
        == "Cannot update, resource is being modified"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jobQueue": "gone"}, f"{ARN}/gone does not exist"),
        ({"computeEnvironmentOrder": []}, "At least 1 compute environment must be provided"),
        (
            {"computeEnvironmentOrder": order("fargate")},
            "The compute environments of a job queue must all be EC2 or SPOT, all be Fargate,"
            " all be EKS, or all be ECS_MANAGED_INSTANCES.",
        ),
        ({"priority": 1001}, "priority must be between 0 and 1000."),
        ({"state": "ON"}, "state ON is not one of ENABLED, DISABLED."),
        (
            {"schedulingPolicyArn": "p"},
            "A scheduling policy cannot be added to a job queue that was created without one.",
        ),
    ],
)
async def test_updates_that_are_refused(ready: Yard, change, message):
    await ready.fargate_environment()
    before = await shown(ready)
    assert await ready.refused("UpdateJobQueue", **{"jobQueue": "jq", **change}) == message
    assert await shown(ready) == before


async def test_deleting_waits_until_the_queue_is_disabled(ready: Yard):
    async def refused() -> str:
        return await ready.refused("DeleteJobQueue", jobQueue="jq")

    assert await refused() == "Cannot delete, state must be DISABLED"
    await ready.call("UpdateJobQueue", jobQueue="jq", state="DISABLED")
    assert await refused() == "Cannot delete, resource is being modified"
    await ready.settle()
    assert await ready.call("DeleteJobQueue", jobQueue=f"{ARN}/jq") == {}
    assert (await shown(ready))["status"] == "DELETING"
    assert (
        await ready.refused(
            "CreateJobQueue", jobQueueName="jq", priority=1, computeEnvironmentOrder=order("ce")
        )
        == "Object already exists"
    )
    await ready.settle()
    assert await refused() == f"{ARN}/jq does not exist"


async def test_an_invalid_queue_can_be_updated(ready: Yard):
    await ready.call("UpdateJobQueue", jobQueue="jq")
    await ready.settle(ResourceStatus.INVALID)
    await ready.call("UpdateJobQueue", jobQueue="jq", priority=3)
    await ready.settle()
    assert (await shown(ready))["status"] == "VALID"


async def test_time_limits_are_shown_and_replaced_as_a_whole(yard: Yard):
    await yard.environment()
    limits = [a_limit(), a_limit(maxTimeSeconds=86_400)]
    await yard.call(
        "CreateJobQueue",
        jobQueueName="jq",
        priority=1,
        computeEnvironmentOrder=order("ce"),
        jobStateTimeLimitActions=limits,
    )
    await yard.settle()
    assert (await shown(yard))["jobStateTimeLimitActions"] == limits

    async def update(**changes: Any) -> Any:
        await yard.call("UpdateJobQueue", jobQueue="jq", **changes)
        await yard.settle()
        return (await shown(yard))["jobStateTimeLimitActions"]

    assert await update(priority=2) == limits
    other = a_limit(reason="CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY")
    assert await update(jobStateTimeLimitActions=[other]) == [other]
    assert await update(jobStateTimeLimitActions=[]) == []
    wrong = {"jobQueue": "jq", "jobStateTimeLimitActions": [a_limit(reason="r")]}
    assert await yard.refused("UpdateJobQueue", **wrong) == "Invalid job reason"
