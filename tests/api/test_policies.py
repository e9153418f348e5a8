"""Scheduling policies: what is accepted, refused and shown, and which queues may have one."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.model.fair_share import FairShare, ShareWeight, fair_share_of
from batchyard.model.ids import PolicyArn
from batchyard.store import policies
from tests.api.conftest import ELSEWHERE, Yard

ARN = "arn:aws:batch:eu-central-1:123456789012:scheduling-policy"
QUEUE_ARN = "arn:aws:batch:eu-central-1:123456789012:job-queue"

FAIR: dict[str, Any] = {
    "shareDecaySeconds": 3600,
    "computeReservation": 25,
    "shareDistribution": [
        {"shareIdentifier": "research*", "weightFactor": 0.5},
        {"shareIdentifier": "sales"},
    ],
}


async def shown(yard: Yard, *names: str) -> list[dict[str, Any]]:
    arns = [f"{ARN}/{name}" for name in names]
    answer = await yard.call("DescribeSchedulingPolicies", arns=arns)
    return list(answer["schedulingPolicies"])


async def queue_with(yard: Yard, policy: str = "p", name: str = "fair") -> None:
    await yard.call(
        "CreateJobQueue",
        jobQueueName=name,
        priority=1,
        schedulingPolicyArn=f"{ARN}/{policy}",
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "ce"}],
    )
    await yard.settle()


async def test_a_policy_is_made_shown_changed_and_deleted(yard: Yard) -> None:
    answer = await yard.call(
        "CreateSchedulingPolicy", name="p", fairsharePolicy=FAIR, tags={"k": "v"}
    )
    assert answer == {"name": "p", "arn": f"{ARN}/p"}
    made = {"name": "p", "arn": f"{ARN}/p", "fairsharePolicy": FAIR, "tags": {"k": "v"}}
    assert await shown(yard, "p", "gone", "p") == [made]
    changed = {"shareDecaySeconds": 0}
    update: dict[str, Any] = {"arn": f"{ARN}/p", "fairsharePolicy": changed}
    assert await yard.call("UpdateSchedulingPolicy", **update) == {}
    assert await shown(yard, "p") == [{**made, "fairsharePolicy": changed}]
    assert await yard.call("UpdateSchedulingPolicy", arn=f"{ARN}/p") == {}
    assert await shown(yard, "p") == [{**made, "fairsharePolicy": changed}]
    assert await yard.call("DeleteSchedulingPolicy", arn=f"{ARN}/p") == {}
    assert await shown(yard, "p") == []
    message = await yard.refused("DeleteSchedulingPolicy", arn=f"{ARN}/p")
    assert message == f"{ARN}/p does not exist"
    assert await yard.refused("UpdateSchedulingPolicy", **update) == message
    assert await yard.refused("UpdateSchedulingPolicy", arn=f"{ARN}/p") == message


async def test_each_change_waits_for_the_engine(yard: Yard) -> None:
    await yard.call("CreateSchedulingPolicy", name="p", fairsharePolicy=FAIR)
    assert await yard.store.read(policies.read_unsettled_policies) == []
    await yard.call("UpdateSchedulingPolicy", arn=f"{ARN}/p", fairsharePolicy={})
    [waiting] = await yard.store.read(policies.read_unsettled_policies)
    assert (waiting.name, waiting.revision) == ("p", 2)
    await yard.store.write(lambda conn: policies.settle_policy(conn, PolicyArn(f"{ARN}/p"), 2))
    assert await yard.store.read(policies.read_unsettled_policies) == []


def test_a_policy_is_read_with_its_defaults() -> None:
    assert fair_share_of({}) == FairShare(window_ms=600_000)
    assert fair_share_of({"fairsharePolicy": {"shareDecaySeconds": 599}}).window_ms == 600_000
    weights = (
        ShareWeight(text="research", is_prefix=True, weight_e4=5000),
        ShareWeight(text="sales", is_prefix=False, weight_e4=10_000),
    )
    read = fair_share_of({"fairsharePolicy": FAIR})
    assert read == FairShare(window_ms=3_600_000, reservation_percent=25, weights=weights)
    found = [read.weight_of(each) for each in ("research", "researchA", "sales", "salesB", "r")]
    assert found == [weights[0], weights[0], weights[1], None, None]


def distribution(*identifiers: str) -> dict[str, Any]:
    return {"shareDistribution": [{"shareIdentifier": each} for each in identifiers]}


def weighted(factor: float) -> dict[str, Any]:
    return {"shareDistribution": [{"shareIdentifier": "a", "weightFactor": factor}]}


IDENTIFIER = (
    "shareIdentifier must be 1 to 255 letters and digits, and may end with an asterisk (*)."
)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"shareDecaySeconds": -1}, "shareDecaySeconds must be between 0 and 604800."),
        ({"shareDecaySeconds": 604_801}, "shareDecaySeconds must be between 0 and 604800."),
        ({"computeReservation": -1}, "computeReservation must be between 0 and 99."),
        ({"computeReservation": 100}, "computeReservation must be between 0 and 99."),
        (weighted(0), "weightFactor must be between 0.0001 and 999.9999."),
        (weighted(0.00009), "weightFactor must be between 0.0001 and 999.9999."),
        (weighted(1000), "weightFactor must be between 0.0001 and 999.9999."),
        (distribution(""), IDENTIFIER),
        (distribution("*"), IDENTIFIER),
        (distribution("a-b"), IDENTIFIER),
        (distribution("a*b"), IDENTIFIER),
        (distribution("a" * 256), IDENTIFIER),
        *(
            (
                distribution(*identifiers),
                "shareDistribution must not overlap: UserA and"
                f" {other} fit the same share identifiers.",
            )
            for identifiers, other in (
                (("UserA*", "UserA1"), "UserA1"),
                (("UserA1", "B", "UserA*"), "UserA1"),
                (("UserA*", "UserAB*"), "UserAB"),
                (("UserA", "UserA"), "UserA"),
                (("UserA", "UserA*"), "UserA"),
            )
        ),
        (
            distribution(*(f"a{number}" for number in range(501))),
            "shareDistribution must not have more than 500 items.",
        ),
    ],
)
async def test_policies_that_are_refused(yard: Yard, policy: Any, message: str) -> None:
    await yard.call("CreateSchedulingPolicy", name="p", fairsharePolicy=FAIR)
    assert (
        await yard.refused("CreateSchedulingPolicy", name="other", fairsharePolicy=policy)
        == message
    )
    assert (
        await yard.refused("UpdateSchedulingPolicy", arn=f"{ARN}/p", fairsharePolicy=policy)
        == message
    )
    [kept] = await shown(yard, "p", "other")
    assert kept["fairsharePolicy"] == FAIR


@pytest.mark.parametrize(
    "policy",
    [
        {"shareDecaySeconds": 604_800, "computeReservation": 99},
        weighted(0.0001),
        weighted(999.9999),
        distribution("UserA1", "UserA2", "UserB*", "UserC", "UserAA"),
        distribution("a" * 255 + "*"),
    ],
)
async def test_what_is_just_within_the_limits(yard: Yard, policy: Any) -> None:
    await yard.call("CreateSchedulingPolicy", name="p", fairsharePolicy=policy)
    [found] = await shown(yard, "p")
    assert found["fairsharePolicy"] == policy


async def test_names_are_used_once_and_kinds_are_for_life(yard: Yard) -> None:
    await yard.call("CreateSchedulingPolicy", name="p")
    [plain] = await shown(yard, "p")
    assert plain == {"name": "p", "arn": f"{ARN}/p", "tags": {}}
    assert await yard.refused("CreateSchedulingPolicy", name="p") == "Object already exists"
    assert (
        await yard.refused("CreateSchedulingPolicy", name="a b")
        == "name must be 1 to 128 letters, digits, hyphens and underscores."
    )
    quota: dict[str, Any] = {"quotaSharePolicy": {"idleResourceAssignmentStrategy": "FIFO"}}
    message = "A scheduling policy is either a fairsharePolicy or a quotaSharePolicy for life."
    assert await yard.refused("UpdateSchedulingPolicy", arn=f"{ARN}/p", **quota) == message
    await yard.call("CreateSchedulingPolicy", name="quota", **quota)
    assert await shown(yard, "quota") == [
        {"name": "quota", "arn": f"{ARN}/quota", **quota, "tags": {}}
    ]
    await yard.call("UpdateSchedulingPolicy", arn=f"{ARN}/quota", **quota)
    fair: dict[str, Any] = {"fairsharePolicy": {"shareDecaySeconds": 60}}
    assert await yard.refused("UpdateSchedulingPolicy", arn=f"{ARN}/quota", **fair) == message
    assert (
        await yard.refused("CreateSchedulingPolicy", name="q", **quota, **fair)
        == "Only one of fairsharePolicy and quotaSharePolicy can be specified."
    )
    other: dict[str, Any] = {"quotaSharePolicy": {"idleResourceAssignmentStrategy": "LIFO"}}
    assert (
        await yard.refused("CreateSchedulingPolicy", name="q", **other)
        == "idleResourceAssignmentStrategy LIFO is not FIFO."
    )
    assert (
        await yard.refused("CreateSchedulingPolicy", name="q", tags={"": "b"})
        == "Tag keys must be between 1 and 128 characters long."
    )


async def test_policies_are_listed_in_pages_and_out_of_sight_elsewhere(yard: Yard) -> None:
    for number in range(3):
        await yard.call("CreateSchedulingPolicy", name=f"p{number}")
    first = await yard.call("ListSchedulingPolicies", maxResults=2)
    rest = await yard.call("ListSchedulingPolicies", nextToken=first["nextToken"])
    found = [each["arn"] for each in [*first["schedulingPolicies"], *rest["schedulingPolicies"]]]
    assert found == [f"{ARN}/p{number}" for number in range(3)]
    assert "nextToken" not in rest
    nothing: dict[str, list[str]] = {"schedulingPolicies": []}
    assert await yard.call("ListSchedulingPolicies", ELSEWHERE) == nothing
    assert await yard.call("DescribeSchedulingPolicies", ELSEWHERE, arns=[f"{ARN}/p0"]) == nothing
    message = f"{ARN}/p0 does not exist"
    for operation in ("DeleteSchedulingPolicy", "UpdateSchedulingPolicy"):
        assert await yard.refused(operation, scope=ELSEWHERE, arn=f"{ARN}/p0") == message
    assert (
        await yard.refused("DescribeSchedulingPolicies", arns=["a"] * 101)
        == "arns must not have more than 100 items."
    )


async def test_a_queue_keeps_to_having_a_policy_or_none(ready: Yard) -> None:
    for name in ("p", "other"):
        await ready.call("CreateSchedulingPolicy", name=name)
    await queue_with(ready)
    [queue] = (await ready.call("DescribeJobQueues", jobQueues=["fair"]))["jobQueues"]
    assert queue["schedulingPolicyArn"] == f"{ARN}/p"
    [plain] = (await ready.call("DescribeJobQueues", jobQueues=["jq"]))["jobQueues"]
    assert "schedulingPolicyArn" not in plain

    used = "Cannot delete, found existing JobQueue relationship"
    assert await ready.refused("DeleteSchedulingPolicy", arn=f"{ARN}/p") == used
    await ready.call("UpdateJobQueue", jobQueue="fair", schedulingPolicyArn=f"{ARN}/other")
    await ready.settle()
    [queue] = (await ready.call("DescribeJobQueues", jobQueues=["fair"]))["jobQueues"]
    assert queue["schedulingPolicyArn"] == f"{ARN}/other"
    await ready.call("DeleteSchedulingPolicy", arn=f"{ARN}/p")

    async def refused(name: str, arn: str) -> str:
        return await ready.refused("UpdateJobQueue", jobQueue=name, schedulingPolicyArn=arn)

    assert await refused("fair", f"{ARN}/p") == f"{ARN}/p does not exist"
    assert await refused("fair", f"{QUEUE_ARN}/jq") == f"{QUEUE_ARN}/jq does not exist"
    assert await refused("fair", "") == "The scheduling policy of a job queue cannot be removed."
    assert await refused("jq", f"{ARN}/other") == (
        "A scheduling policy cannot be added to a job queue that was created without one."
    )
    await ready.call("UpdateJobQueue", jobQueue="jq", schedulingPolicyArn="")
    await ready.settle()
    assert await ready.refused("DeleteSchedulingPolicy", arn=f"{ARN}/other") == used
    await ready.call("UpdateJobQueue", jobQueue="fair", state="DISABLED")
    await ready.settle()
    await ready.call("DeleteJobQueue", jobQueue="fair")
    assert await ready.refused("DeleteSchedulingPolicy", arn=f"{ARN}/other") == used
    await ready.settle()
    await ready.call("DeleteSchedulingPolicy", arn=f"{ARN}/other")
