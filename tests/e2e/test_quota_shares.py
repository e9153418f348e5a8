"""Quota shares through the front door: boto3, a real server, real containers.

Two shares of four vCPUs each. What the lender leaves idle is borrowed, taken back with a SIGTERM
that the container sees, and the job that had it goes on afterwards, although the server was killed
in the middle of it. Containers wait until they are let go, so that who runs is known exactly.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.live_yard import MARK, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

VCPUS = 8
IN_PROGRESS = (
    "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity"
)
RECLAIMED = "Cross-share preemption triggered to reclaim borrowed capacity"
#: Runs until there is a file of its name; told to end before, says so, and ends once it may.
HEED = """
NAME="$NAME$AWS_BATCH_JOB_ARRAY_INDEX"
trap 'echo "term $AWS_BATCH_JOB_ID" >> /ledger/runs
until [ -e "/ledger/may-end-$NAME" ]; do sleep 0.02; done; exit 0' TERM
echo "ready $AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ATTEMPT" >> /ledger/runs
until [ -e "/ledger/$NAME" ]; do sleep 0.02; done
"""


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=VCPUS, are_container_quota_shares_allowed=True) as made:
        policy = made.batch.create_scheduling_policy(
            name="quota", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
        )
        made.make_queue(policy_arn=policy["arn"])
        yield made


def make_share(yard: LiveYard, name: str, strategy: str, **members: Any) -> str:
    answer = yard.batch.create_quota_share(
        quotaShareName=name,
        jobQueue=QUEUE,
        capacityLimits=[{"maxCapacity": 4, "capacityUnit": "VCPU"}],
        resourceSharingConfiguration={"strategy": strategy},
        preemptionConfiguration={"inSharePreemption": "DISABLED"},
        **members,
    )
    arn: str = answer["quotaShareArn"]
    settle(yard, arn)
    return arn


def settle(yard: LiveYard, arn: str) -> None:
    def is_valid() -> bool:
        return bool(yard.batch.describe_quota_share(quotaShareArn=arn)["status"] == "VALID")

    until(is_valid, f"{arn} VALID")


def submit(yard: LiveYard, share: str, name: str, **members: Any) -> str:
    answer = yard.batch.submit_job(
        jobName=name,
        jobQueue=QUEUE,
        jobDefinition="definition",
        shareIdentifier=share,
        containerOverrides={
            "command": ["sh", "-c", MARK + HEED],
            "environment": [{"name": "NAME", "value": name}],
        },
        **members,
    )
    job_id: str = answer["jobId"]
    return job_id


def have_said(yard: LiveYard, word: str, *job_ids: str) -> bool:
    said = [line[1] for line in yard.ledger() if line[0] == word]
    return all(each in said for each in job_ids)


def snapshot(yard: LiveYard) -> Any:
    return yard.batch.get_job_queue_snapshot(jobQueue=QUEUE)


def utilization(yard: LiveYard) -> dict[str, float]:
    """Tell how many vCPUs the shares use, as far as they use any; empty before anybody looked."""
    of_shares = snapshot(yard)["queueUtilization"].get("quotaShareUtilization", {})
    return {
        each["quotaShareName"]: usage["quantity"]
        for each in of_shares.get("topCapacityUtilization", [])
        for usage in each["capacityUsage"]
    }


def test_what_was_lent_is_taken_back_and_its_job_goes_on(yard: LiveYard) -> None:
    make_share(yard, "lender", "LEND")
    make_share(yard, "borrower", "LEND_AND_BORROW")
    array = submit(yard, "borrower", "child", arrayProperties={"size": 8})
    children = [f"{array}:{index}" for index in range(8)]
    until(lambda: have_said(yard, "ready", *children), "eight children that run")
    yard.reach("RUNNING", *children)
    until(lambda: utilization(yard) == {"borrower": 8.0}, "a full machine")

    own, last = submit(yard, "lender", "own"), children[7]
    until(lambda: yard.job(last).get("statusReason") == IN_PROGRESS, "a preemption")
    until(lambda: have_said(yard, "term", last), "SIGTERM")
    yard.restart_after_kill()
    shown = yard.job(last)
    assert shown["statusReason"] == IN_PROGRESS or shown["status"] == "RUNNABLE"
    yard.release("may-end-child7")
    until(lambda: have_said(yard, "ready", own), "the lender's job")
    shown = yard.job(last)
    assert shown["status"] == "RUNNABLE"
    why = "quota share borrower uses 7 vCPUs of 4"
    until(lambda: why in yard.job(last)["statusReason"], "the reason why it waits")
    assert [each["statusReason"] for each in shown["attempts"]] == [RECLAIMED]
    assert yard.statuses(*children) == {"RUNNING": 7, "RUNNABLE": 1}
    until(lambda: utilization(yard) == {"borrower": 7.0, "lender": 1.0}, "who uses what")
    fronts = snapshot(yard)["frontOfQuotaShares"]["quotaShares"]
    assert fronts["lender"] == []
    assert [each["jobArn"] for each in fronts["borrower"]] == [shown["jobArn"]]

    yard.release("own")
    yard.reach("RUNNING", last)
    for index in range(8):
        yard.release(f"child{index}")
    assert [each["status"] for each in yard.ended(array, own)] == ["SUCCEEDED", "SUCCEEDED"]
    assert [each["statusReason"] for each in yard.job(last)["attempts"]] == [
        RECLAIMED,
        "Essential container in task exited",
    ]
    once = {*((each, 1) for each in (*children, own)), (last, 2)}
    runs = {run: count for run, count in yard.runs().items() if run[0].startswith((array, own))}
    assert runs == dict.fromkeys(once, 1), "nobody else was started again"


def test_a_share_that_is_deleted_takes_its_jobs_along(yard: LiveYard) -> None:
    arn = make_share(yard, "temporary", "RESERVE", tags={"team": "a"})
    assert yard.batch.list_tags_for_resource(resourceArn=arn)["tags"] == {"team": "a"}
    job = submit(yard, "temporary", "hold")
    until(lambda: have_said(yard, "ready", job), "a job that runs")
    yard.batch.update_quota_share(quotaShareArn=arn, state="DISABLED")
    settle(yard, arn)
    with pytest.raises(ClientError, match="Quota share temporary is in state DISABLED"):
        submit(yard, "temporary", "late")
    yard.reach("RUNNING", job)
    yard.release("may-end-hold")
    yard.batch.delete_quota_share(quotaShareArn=arn)
    [ended] = yard.ended(job)
    assert (ended["status"], ended["statusReason"]) == ("FAILED", "QuotaShare deleted")

    def is_gone() -> bool:
        listed = yard.batch.list_quota_shares(jobQueue=QUEUE)["quotaShares"]
        return "temporary" not in [each["quotaShareName"] for each in listed]

    until(is_gone, "the end of the share")
    with pytest.raises(ClientError, match="does not exist"):
        yard.batch.describe_quota_share(quotaShareArn=arn)
