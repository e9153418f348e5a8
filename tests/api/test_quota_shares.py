"""Quota shares: their life, what is refused, and how jobs name them."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.model.ids import JobId
from batchyard.model.queue_snapshots import FrontJob, QueueSnapshot, QuotaShareSnapshot
from batchyard.model.records import JobProgress
from batchyard.model.status import JobStatus
from batchyard.store import Store
from batchyard.store.snapshots import write_snapshots
from tests.api.conftest import CONTAINER, ELSEWHERE, NOW_MS, SCOPE, Yard, an_attempt

ARN = "arn:aws:batch:eu-central-1:123456789012:job-queue/quota/quota-share"
FIFO: dict[str, Any] = {"quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}}
SHARE: dict[str, Any] = {
    "jobQueue": "quota",
    "capacityLimits": [{"maxCapacity": 4, "capacityUnit": "VCPU"}],
    "resourceSharingConfiguration": {"strategy": "LEND"},
    "preemptionConfiguration": {"inSharePreemption": "DISABLED"},
}


@pytest.fixture
async def quota(store: Store) -> Yard:
    """A queue that has quota shares, in a yard whose operator allows them; and a plain one."""
    yard = Yard(store, are_container_quota_shares_allowed=True)
    policy = await yard.call("CreateSchedulingPolicy", name="quota", **FIFO)
    await yard.environment()
    await yard.environment("other")
    await yard.define()
    await yard.queue("quota", schedulingPolicyArn=policy["arn"])
    await yard.queue("plain", "other")
    return yard


async def share(yard: Yard, name: str = "team", **members: Any) -> str:
    answer = await yard.call("CreateQuotaShare", quotaShareName=name, **{**SHARE, **members})
    assert answer == {"quotaShareName": name, "quotaShareArn": f"{ARN}/{name}"}
    return f"{ARN}/{name}"


async def test_a_share_lives_by_wishes(quota: Yard) -> None:
    arn = await share(quota, tags={"cost": "center"})
    described = await quota.call("DescribeQuotaShare", quotaShareArn=arn)
    values = {each: SHARE[each] for each in SHARE if each != "jobQueue"}
    shown = {
        "quotaShareName": "team",
        "quotaShareArn": arn,
        "jobQueueArn": SCOPE.queue_arn("quota"),
        **values,
        "state": "ENABLED",
    }
    assert described == {**shown, "status": "CREATING", "tags": {"cost": "center"}}
    assert await quota.refused("UpdateQuotaShare", quotaShareArn=arn) == (
        "Cannot update, resource is being modified"
    )
    await quota.settle()
    change: dict[str, Any] = {"resourceSharingConfiguration": {"strategy": "LEND_AND_BORROW"}}
    answer = await quota.call("UpdateQuotaShare", quotaShareArn=arn, **change)
    assert answer == {"quotaShareName": "team", "quotaShareArn": arn}
    listed = await quota.call("ListQuotaShares", jobQueue=SCOPE.queue_arn("quota"))
    sharing = {"strategy": "LEND_AND_BORROW", "borrowLimit": -1}
    expected = {**shown, "status": "UPDATING", "resourceSharingConfiguration": sharing}
    assert listed == {"quotaShares": [expected]}
    await quota.settle()
    assert await quota.refused("DeleteQuotaShare", quotaShareArn=arn) == (
        "Cannot delete, state must be DISABLED"
    )
    await quota.call("UpdateQuotaShare", quotaShareArn=arn, state="DISABLED")
    await quota.settle()
    assert await quota.call("DeleteQuotaShare", quotaShareArn=arn) == {}
    described = await quota.call("DescribeQuotaShare", quotaShareArn=arn)
    assert (described["state"], described["status"]) == ("DISABLED", "DELETING")
    await quota.settle()
    for operation in ("DescribeQuotaShare", "UpdateQuotaShare", "DeleteQuotaShare"):
        assert await quota.refused(operation, quotaShareArn=arn) == f"{arn} does not exist"


async def test_what_a_share_may_not_say(quota: Yard) -> None:
    async def refused(**members: Any) -> str:
        whole = {"quotaShareName": "team", **SHARE, **members}
        return await quota.refused("CreateQuotaShare", **whole)

    def limits(*pairs: tuple[int, str]) -> list[dict[str, Any]]:
        return [{"maxCapacity": most, "capacityUnit": unit} for most, unit in pairs]

    def sharing(strategy: str, percent: int | None = None) -> dict[str, Any]:
        given = {} if percent is None else {"borrowLimit": percent}
        return {"strategy": strategy, **given}

    assert [
        await refused(quotaShareName="a/b"),
        await refused(jobQueue="missing"),
        await refused(jobQueue="plain"),
        await refused(capacityLimits=[]),
        await refused(capacityLimits=limits(*[(1, "VCPU")] * 6)),
        await refused(capacityLimits=limits((1, "VCPU"), (2, "VCPU"))),
        await refused(capacityLimits=limits((0, "VCPU"))),
        await refused(capacityLimits=limits((1, "ml.m5.large"))),
        await refused(resourceSharingConfiguration=sharing("GIVE")),
        await refused(resourceSharingConfiguration=sharing("LEND", 5)),
        await refused(resourceSharingConfiguration=sharing("LEND_AND_BORROW", -2)),
        await refused(preemptionConfiguration={"inSharePreemption": "SOMETIMES"}),
        await refused(state="ASLEEP"),
    ] == [
        "quotaShareName must be 1 to 128 letters, digits, hyphens and underscores.",
        f"{SCOPE.queue_arn('missing')} does not exist",
        f"{SCOPE.queue_arn('plain')} has no scheduling policy with a quotaSharePolicy.",
        "capacityLimits must have 1 to 5 items, but has 0.",
        "capacityLimits must have 1 to 5 items, but has 6.",
        "capacityLimits must not repeat a capacityUnit.",
        "maxCapacity must be between 1 and 1000000000.",
        "capacityUnit ml.m5.large is not one of VCPU, MEMORY_MIB, GPU.",
        "strategy GIVE is not one of RESERVE, LEND, LEND_AND_BORROW.",
        "borrowLimit is only applicable for strategy LEND_AND_BORROW.",
        "borrowLimit must be between -1 and 1000000000.",
        "inSharePreemption SOMETIMES is not one of ENABLED, DISABLED.",
        "state ASLEEP is not one of ENABLED, DISABLED.",
    ]
    await share(quota)
    assert await refused() == "Object already exists"
    for text in ("team", SCOPE.queue_arn("quota"), f"{ARN}/none", f"{ARN}/a".replace("123", "9")):
        assert await quota.refused("DescribeQuotaShare", quotaShareArn=text) == (
            f"{text} does not exist"
        )


async def test_a_queue_has_twenty_shares_and_shows_them_in_pages(quota: Yard) -> None:
    for number in range(20):
        await share(quota, f"s{number}")
    whole = {"quotaShareName": "one-more", **SHARE}
    assert await quota.refused("CreateQuotaShare", **whole) == (
        "A job queue cannot have more than 20 quota shares."
    )
    first = await quota.call("ListQuotaShares", jobQueue="quota", maxResults=15)
    rest = await quota.call("ListQuotaShares", jobQueue="quota", nextToken=first["nextToken"])
    names = [each["quotaShareName"] for each in first["quotaShares"] + rest["quotaShares"]]
    assert names == [f"s{number}" for number in range(20)]
    assert "nextToken" not in rest
    unknown = SCOPE.queue_arn("quota")
    with pytest.raises(Exception, match=f"{unknown} does not exist"):
        await quota.call("ListQuotaShares", ELSEWHERE, jobQueue=unknown)


async def test_a_share_has_tags_of_its_own(quota: Yard) -> None:
    arn = await share(quota, tags={"a": "1"})
    await quota.call("TagResource", resourceArn=arn, tags={"b": "2"})
    await quota.call("UntagResource", resourceArn=arn, tagKeys=["a"])
    assert await quota.call("ListTagsForResource", resourceArn=arn) == {"tags": {"b": "2"}}
    queue_tags = await quota.call("ListTagsForResource", resourceArn=SCOPE.queue_arn("quota"))
    assert queue_tags == {"tags": {}}
    assert await quota.refused("ListTagsForResource", resourceArn=f"{ARN}/none") == (
        f"{ARN}/none does not exist"
    )


async def test_an_environment_is_connected_to_one_queue_with_shares_only(quota: Yard) -> None:
    def order(name: str) -> list[dict[str, Any]]:
        return [{"order": 1, "computeEnvironment": name}]

    policy = SCOPE.policy_arn("quota")
    new: dict[str, Any] = {"jobQueueName": "new", "priority": 1}

    def text(environment: str, queue: str) -> str:
        return (
            f"{SCOPE.environment_arn(environment)} cannot be connected to a job queue with quota"
            f" shares and to another one: {SCOPE.queue_arn(queue)} is connected to it."
        )

    assert await quota.refused(
        "CreateJobQueue", **new, computeEnvironmentOrder=order("ce")
    ) == text("ce", "quota")
    assert await quota.refused(
        "CreateJobQueue",
        **new,
        computeEnvironmentOrder=order("other"),
        schedulingPolicyArn=policy,
    ) == text("other", "plain")
    for queue, environment, owner in (("plain", "ce", "quota"), ("quota", "other", "plain")):
        assert await quota.refused(
            "UpdateJobQueue", jobQueue=queue, computeEnvironmentOrder=order(environment)
        ) == text(environment, owner)


async def test_a_queue_keeps_its_kind_and_goes_after_its_shares(quota: Yard) -> None:
    arn = await share(quota)
    fair = await quota.call("CreateSchedulingPolicy", name="fair")
    assert await quota.refused(
        "UpdateJobQueue", jobQueue="quota", schedulingPolicyArn=fair["arn"]
    ) == ("A job queue has quota shares, or shares of a fairsharePolicy, for life.")
    await quota.settle()
    await quota.call("UpdateJobQueue", jobQueue="quota", state="DISABLED")
    await quota.call("UpdateQuotaShare", quotaShareArn=arn, state="DISABLED")
    await quota.settle()
    assert await quota.refused("DeleteJobQueue", jobQueue="quota") == (
        "Cannot delete, found existing QuotaShare relationship"
    )
    await quota.call("DeleteQuotaShare", quotaShareArn=arn)
    await quota.settle()
    await quota.call("DeleteJobQueue", jobQueue="quota")


async def test_an_operator_has_to_allow_shares_of_containers(store: Store) -> None:
    yard = Yard(store)
    policy = await yard.call("CreateSchedulingPolicy", name="quota", **FIFO)
    await yard.environment()
    refusal = await yard.refused(
        "CreateJobQueue",
        jobQueueName="quota",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "ce"}],
        schedulingPolicyArn=policy["arn"],
    )
    assert "not allowed by its operator (setting are_container_quota_shares_allowed)" in refusal


async def test_jobs_name_an_open_share_of_their_queue(quota: Yard) -> None:
    arn = await share(quota, "team-a")
    job: dict[str, Any] = {"jobName": "j", "jobQueue": "quota", "jobDefinition": "jd"}

    async def refused(**members: Any) -> str:
        return await quota.refused("SubmitJob", **job, **members)

    assert await refused() == "shareIdentifier must name a quota share of the job queue."
    assert await refused(shareIdentifier="none") == (
        "Quota share none does not exist in the job queue."
    )
    closed = "Quota share team-a is in status CREATING"
    assert await refused(shareIdentifier="team-a") == closed
    await quota.settle()
    assert await refused(shareIdentifier="team-a", schedulingPriorityOverride=10_000) == (
        "schedulingPriorityOverride must be between 0 and 9999."
    )
    plain = await quota.submit(jobQueue="quota", shareIdentifier="team-a")
    assert (await quota.job(plain))["schedulingPriority"] == 0
    urgent = await quota.submit(
        jobQueue="quota", shareIdentifier="team-a", schedulingPriorityOverride=7
    )
    shown = await quota.job(urgent)
    assert (shown["shareIdentifier"], shown["schedulingPriority"]) == ("team-a", 7)
    await quota.call("UpdateQuotaShare", quotaShareArn=arn, state="DISABLED")
    assert await refused(shareIdentifier="team-a") == "Quota share team-a is in state DISABLED"
    assert CONTAINER


async def test_preempted_attempts_are_shown_among_the_others(quota: Yard) -> None:
    await share(quota)
    await quota.settle()
    job_id = await quota.submit(jobQueue="quota", shareIdentifier="team")

    def ended(number: int, why: str) -> Any:
        return an_attempt(
            job_id, number, started_ms=NOW_MS, stopped_ms=NOW_MS + number, status_reason=why
        )

    progress = JobProgress(
        status=JobStatus.RUNNABLE,
        attempts=(ended(2, "failed"),),
        preempted_count=2,
        preempted=(ended(1, "preempted"), ended(3, "preempted")),
    )
    await quota.progress(job_id, progress)
    shown = (await quota.job(job_id))["attempts"]
    assert [each["statusReason"] for each in shown] == ["preempted", "failed", "preempted"]


async def test_a_snapshot_shows_the_shares(quota: Yard) -> None:
    def front(job_id: JobId) -> FrontJob:
        return FrontJob(job_id=job_id, since_ms=3)

    arn, job_id = SCOPE.queue_arn("quota"), JobId("00000000-0000-4000-8000-000000000000")
    snapshot = QueueSnapshot(
        front_ms=1,
        used_ms=2,
        quota_shares=(
            QuotaShareSnapshot(name="a", front=front(job_id), used={"VCPU": 500}),
            QuotaShareSnapshot(name="b", front=None, used={"VCPU": 2500, "GPU": 1000}),
        ),
        quota_front_ms=4,
    )
    await quota.store.write(lambda conn: write_snapshots(conn, {arn: snapshot}))
    answer = await quota.call("GetJobQueueSnapshot", jobQueue="quota")
    job = {"jobArn": SCOPE.job_arn(job_id), "earliestTimeAtPosition": 3}
    assert answer["frontOfQuotaShares"] == {
        "quotaShares": {"a": [job], "b": []},
        "lastUpdatedAt": 4,
    }

    def usage(**quantities: float) -> list[dict[str, Any]]:
        return [
            {"capacityUnit": unit, "quantity": quantity} for unit, quantity in quantities.items()
        ]

    assert answer["queueUtilization"]["quotaShareUtilization"]["topCapacityUtilization"] == [
        {"quotaShareName": "b", "capacityUsage": usage(GPU=1.0, VCPU=2.5)},
        {"quotaShareName": "a", "capacityUsage": usage(VCPU=0.5)},
    ]
