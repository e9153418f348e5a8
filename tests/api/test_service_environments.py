"""Service environments and the queues on them: create, describe, update, delete."""

from typing import Any

import pytest

from tests.api.conftest import ELSEWHERE, Yard

ARN = "arn:aws:batch:eu-central-1:123456789012:service-environment"
QUEUE_ARN = "arn:aws:batch:eu-central-1:123456789012:job-queue"
TYPE = "SAGEMAKER_TRAINING"
ANY = "NUM_INSTANCES"


def limits(**count_by_unit: int) -> list[dict[str, Any]]:
    return [{"capacityUnit": unit, "maxCapacity": count} for unit, count in count_by_unit.items()]


BY_TYPE = limits(**{"ml.m5.large": 4, "ml.g5.xlarge": 2})


async def create(yard: Yard, name: str = "se", **members: Any) -> Any:
    request = {"serviceEnvironmentType": TYPE, "capacityLimits": limits(NUM_INSTANCES=3)}
    return await yard.call(
        "CreateServiceEnvironment", serviceEnvironmentName=name, **{**request, **members}
    )


async def shown(yard: Yard, name: str = "se") -> dict[str, Any]:
    answer = await yard.call("DescribeServiceEnvironments", serviceEnvironments=[name])
    [found] = answer["serviceEnvironments"]
    return dict(found)


async def test_a_new_environment_is_creating_and_shown_in_full(yard: Yard):
    answer = await create(yard, tags={"k": "v"})
    assert answer == {"serviceEnvironmentName": "se", "serviceEnvironmentArn": f"{ARN}/se"}
    assert await shown(yard) == {
        "serviceEnvironmentName": "se",
        "serviceEnvironmentArn": f"{ARN}/se",
        "serviceEnvironmentType": TYPE,
        "state": "ENABLED",
        "status": "CREATING",
        "capacityLimits": limits(NUM_INSTANCES=3),
        "tags": {"k": "v"},
    }
    await yard.settle()
    assert (await shown(yard))["status"] == "VALID"


async def test_limits_may_be_of_instance_types(yard: Yard):
    await create(yard, capacityLimits=BY_TYPE, state="DISABLED")
    found = await shown(yard, f"{ARN}/se")
    assert (found["capacityLimits"], found["state"]) == (BY_TYPE, "DISABLED")


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"serviceEnvironmentName": "a b"},
            "serviceEnvironmentName must be 1 to 128 letters, digits, hyphens and underscores.",
        ),
        (
            {"serviceEnvironmentType": "EMR"},
            "serviceEnvironmentType EMR is not SAGEMAKER_TRAINING.",
        ),
        ({"state": "ON"}, "state ON is not one of ENABLED, DISABLED."),
        ({"capacityLimits": []}, "capacityLimits must have 1 to 5 items, but has 0."),
        (
            {"capacityLimits": limits(**{f"ml.m{size}.large": 1 for size in range(6)})},
            "capacityLimits must have 1 to 5 items, but has 6.",
        ),
        (
            {"capacityLimits": limits(NUM_INSTANCES=0)},
            "maxCapacity must be between 1 and 1000000000.",
        ),
        (
            {"capacityLimits": [{"capacityUnit": ANY}]},
            "capacityLimits must have a maxCapacity and a capacityUnit each.",
        ),
        (
            {"capacityLimits": [*limits(NUM_INSTANCES=1), *limits(NUM_INSTANCES=2)]},
            "capacityLimits must not repeat a capacityUnit.",
        ),
        (
            {"capacityLimits": [*limits(NUM_INSTANCES=1), *BY_TYPE]},
            "capacityUnit NUM_INSTANCES is not an instance type, such as ml.m5.large; NUM_INSTANCES"
            " stands alone, and not where there are quota shares.",
        ),
        (
            {"capacityLimits": limits(**{"m5.large": 1})},
            "capacityUnit m5.large is not an instance type, such as ml.m5.large; NUM_INSTANCES"
            " stands alone, and not where there are quota shares.",
        ),
        ({"tags": {"aws:k": "v"}}, "Tag keys and values may not start with aws:."),
    ],
)
async def test_what_a_service_environment_cannot_be(yard: Yard, members: Any, text: str):
    request = {
        "serviceEnvironmentName": "se",
        "serviceEnvironmentType": TYPE,
        "capacityLimits": limits(NUM_INSTANCES=3),
    }
    refused = await yard.refused("CreateServiceEnvironment", **{**request, **members})
    if "tags" not in members:
        assert refused == text
    assert (await yard.call("DescribeServiceEnvironments"))["serviceEnvironments"] == []


async def test_a_name_is_taken_once_in_each_scope(yard: Yard):
    await create(yard)
    request: dict[str, Any] = {
        "serviceEnvironmentType": TYPE,
        "capacityLimits": limits(NUM_INSTANCES=1),
    }
    refused = await yard.refused("CreateServiceEnvironment", serviceEnvironmentName="se", **request)
    assert refused == "Object already exists"
    await yard.call(
        "CreateServiceEnvironment", scope=ELSEWHERE, serviceEnvironmentName="se", **request
    )
    answer = await yard.call("DescribeServiceEnvironments", serviceEnvironments=["se", "none"])
    assert [each["serviceEnvironmentArn"] for each in answer["serviceEnvironments"]] == [
        f"{ARN}/se"
    ]


async def test_environments_come_in_pages(yard: Yard):
    for name in ("c", "a", "b"):
        await create(yard, name)
    first = await yard.call("DescribeServiceEnvironments", maxResults=2)
    assert [e["serviceEnvironmentName"] for e in first["serviceEnvironments"]] == ["c", "a"]
    rest = await yard.call(
        "DescribeServiceEnvironments", maxResults=2, nextToken=first["nextToken"]
    )
    assert [e["serviceEnvironmentName"] for e in rest["serviceEnvironments"]] == ["b"]
    assert "nextToken" not in rest


async def test_state_and_limits_can_change_once_it_is_settled(yard: Yard):
    await create(yard)
    update: dict[str, Any] = {"serviceEnvironment": "se", "state": "DISABLED"}
    refused = await yard.refused("UpdateServiceEnvironment", **update)
    assert refused == "Cannot update, resource is being modified"
    await yard.settle()
    answer = await yard.call("UpdateServiceEnvironment", **update, capacityLimits=BY_TYPE)
    assert answer == {"serviceEnvironmentName": "se", "serviceEnvironmentArn": f"{ARN}/se"}
    found = await shown(yard)
    assert (found["status"], found["state"], found["capacityLimits"]) == (
        "UPDATING",
        "DISABLED",
        BY_TYPE,
    )
    refused = await yard.refused("UpdateServiceEnvironment", serviceEnvironment="none")
    assert refused == f"{ARN}/none does not exist"


async def test_only_a_disabled_environment_without_queues_can_be_deleted(yard: Yard):
    await yard.service_environment()
    await yard.service_queue()
    delete: dict[str, Any] = {"serviceEnvironment": f"{ARN}/se"}
    refused = await yard.refused("DeleteServiceEnvironment", **delete)
    assert refused == "Cannot delete, state must be DISABLED"
    await yard.call("UpdateServiceEnvironment", serviceEnvironment="se", state="DISABLED")
    refused = await yard.refused("DeleteServiceEnvironment", **delete)
    assert refused == "Cannot delete, resource is being modified"
    await yard.settle()
    refused = await yard.refused("DeleteServiceEnvironment", **delete)
    assert refused == "Cannot delete, found existing JobQueue relationship"
    await yard.call("UpdateJobQueue", jobQueue="training", state="DISABLED")
    await yard.settle()
    await yard.call("DeleteJobQueue", jobQueue="training")
    await yard.settle()
    assert await yard.call("DeleteServiceEnvironment", **delete) == {}
    assert (await shown(yard))["status"] == "DELETING"
    await yard.settle()
    assert (await yard.call("DescribeServiceEnvironments"))["serviceEnvironments"] == []
    assert await yard.call("DeleteServiceEnvironment", **delete) == {}


async def test_tags_of_an_environment(yard: Yard):
    arn = await yard.service_environment()
    await yard.call("TagResource", resourceArn=arn, tags={"team": "a"})
    assert (await shown(yard))["tags"] == {"team": "a"}
    await yard.call("UntagResource", resourceArn=arn, tagKeys=["team"])
    assert (await yard.call("ListTagsForResource", resourceArn=arn))["tags"] == {}


# -- queues ---------------------------------------------------------------------------------------


def on(*names: str) -> list[dict[str, Any]]:
    return [{"order": at, "serviceEnvironment": name} for at, name in enumerate(names, 1)]


async def test_a_queue_on_a_service_environment_has_no_others(yard: Yard):
    await yard.service_environment()
    limit = {
        "reason": "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE",
        "state": "RUNNABLE",
        "maxTimeSeconds": 600,
        "action": "TERMINATE",
    }
    await yard.service_queue(jobStateTimeLimitActions=[limit])
    [queue] = (await yard.call("DescribeJobQueues", jobQueues=["training"]))["jobQueues"]
    assert queue == {
        "jobQueueName": "training",
        "jobQueueArn": f"{QUEUE_ARN}/training",
        "state": "ENABLED",
        "status": "VALID",
        "priority": 1,
        "computeEnvironmentOrder": [],
        "serviceEnvironmentOrder": [{"order": 1, "serviceEnvironment": f"{ARN}/se"}],
        "jobQueueType": TYPE,
        "jobStateTimeLimitActions": [limit],
        "tags": {},
    }


@pytest.mark.parametrize(
    ("members", "text"),
    [
        (
            {"computeEnvironmentOrder": [{"order": 1, "computeEnvironment": "ce"}]},
            "A job queue cannot have both computeEnvironmentOrder and serviceEnvironmentOrder.",
        ),
        (
            {"jobQueueType": None},
            "jobQueueType must be SAGEMAKER_TRAINING for a job queue with service environments.",
        ),
        (
            {"jobQueueType": "ECS"},
            "jobQueueType ECS does not fit the service environments, which need"
            " SAGEMAKER_TRAINING.",
        ),
        (
            {"serviceEnvironmentOrder": on("se", "se")},
            "A job queue cannot have more than 1 service environment.",
        ),
        (
            {"serviceEnvironmentOrder": []},
            "At least 1 service environment must be provided",
        ),
        ({"serviceEnvironmentOrder": on("none")}, f"{ARN}/none does not exist"),
        (
            {"serviceEnvironmentOrder": on("new")},
            f"{ARN}/new must have status VALID, but is CREATING.",
        ),
        (
            {
                "jobStateTimeLimitActions": [
                    {
                        "reason": "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT",
                        "state": "RUNNABLE",
                        "maxTimeSeconds": 600,
                        "action": "TERMINATE",
                    }
                ]
            },
            "Invalid job reason",
        ),
        (
            {
                "jobStateTimeLimitActions": [
                    {
                        "reason": "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY",
                        "state": "RUNNABLE",
                        "maxTimeSeconds": 600,
                        "action": "CANCEL",
                    }
                ]
            },
            "action CANCEL is not TERMINATE.",
        ),
    ],
)
async def test_what_a_queue_of_service_jobs_cannot_be(yard: Yard, members: Any, text: str):
    await yard.environment()
    await yard.service_environment()
    await create(yard, "new")
    request = {"jobQueueType": TYPE, "serviceEnvironmentOrder": on("se"), **members}
    given = {member: value for member, value in request.items() if value is not None}
    refused = await yard.refused("CreateJobQueue", jobQueueName="q", priority=1, **given)
    assert refused == text


async def test_a_queue_keeps_to_its_kind_of_environments(yard: Yard):
    await yard.environment()
    await yard.queue()
    await yard.service_environment()
    await yard.service_environment("other")
    await yard.service_queue()
    computes = [{"order": 1, "computeEnvironment": "ce"}]
    for queue, order in (
        ("training", {"computeEnvironmentOrder": computes}),
        ("jq", {"serviceEnvironmentOrder": on("se")}),
    ):
        refused = await yard.refused("UpdateJobQueue", jobQueue=queue, **order)
        assert refused == (
            "A job queue keeps to compute environments, or to a service environment."
        )
    await yard.call("UpdateJobQueue", jobQueue="training", serviceEnvironmentOrder=on("other"))
    [shown_] = (await yard.call("DescribeJobQueues", jobQueues=["training"]))["jobQueues"]
    assert shown_["serviceEnvironmentOrder"] == [{"order": 1, "serviceEnvironment": f"{ARN}/other"}]
    refused = await yard.refused("SubmitJob", jobName="j", jobQueue="training", jobDefinition="x")
    assert refused == "JobDefinition name x does not exist or is not in ACTIVE status"


async def test_container_jobs_cannot_be_submitted_to_it(ready: Yard):
    await ready.service_environment()
    await ready.service_queue()
    refused = await ready.refused("SubmitJob", jobName="j", jobQueue="training", jobDefinition="jd")
    assert refused.startswith("Job Queue is attached to Compute Environment that can not run Jobs")
    refused = await ready.refused("ListJobs", jobQueue="training")
    assert refused == f"{QUEUE_ARN}/training has service jobs alone: use ListServiceJobs."


async def a_quota_policy(yard: Yard) -> str:
    answer = await yard.call(
        "CreateSchedulingPolicy",
        name="quotas",
        quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"},
    )
    return str(answer["arn"])


def a_share(unit: str) -> dict[str, Any]:
    return {
        "quotaShareName": "a",
        "jobQueue": "training",
        "capacityLimits": limits(**{unit: 1}),
        "resourceSharingConfiguration": {"strategy": "RESERVE"},
        "preemptionConfiguration": {"inSharePreemption": "DISABLED"},
    }


async def test_quota_shares_need_limits_by_instance_type(yard: Yard):
    policy = await a_quota_policy(yard)
    await yard.service_environment("any")
    refused = await yard.refused(
        "CreateJobQueue",
        jobQueueName="training",
        jobQueueType=TYPE,
        priority=1,
        schedulingPolicyArn=policy,
        serviceEnvironmentOrder=on("any"),
    )
    assert refused.startswith("capacityUnit NUM_INSTANCES is not an instance type")
    await yard.service_environment("se", **{"ml.m5.large": 4})
    await yard.service_queue(schedulingPolicyArn=policy)
    refused = await yard.refused("CreateQuotaShare", **a_share("VCPU"))
    assert refused.startswith("capacityUnit VCPU is not an instance type")
    await yard.call("CreateQuotaShare", **a_share("ml.m5.large"))
    refused = await yard.refused(
        "UpdateServiceEnvironment", serviceEnvironment="se", capacityLimits=limits(NUM_INSTANCES=1)
    )
    assert refused.startswith("capacityUnit NUM_INSTANCES is not an instance type")
    refused = await yard.refused(
        "CreateJobQueue",
        jobQueueName="second",
        jobQueueType=TYPE,
        priority=1,
        serviceEnvironmentOrder=on("se"),
    )
    assert refused.startswith(f"{ARN}/se cannot be connected to a job queue with quota shares")
