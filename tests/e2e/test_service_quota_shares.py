"""Quota shares of service jobs through the front door: boto3, a real server, real containers.

Two shares of two instances each. What is lent is borrowed and taken back, also while the server is
killed; a higher priority, given after submission, stops a lower one of the same share; who may not
be preempted again fails. Training programs run until there is a file of their name.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.live_yard import BATCHYARD, live_yard, own_client, until
from tests.e2e.test_service_jobs import BUCKET, Lab

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

QUEUE = "quota"
TYPE = "ml.m5.large"
CROSS_SHARE = "Cross-share preemption triggered to reclaim borrowed capacity"
IN_SHARE = "In-share preemption triggered by a job of higher priority"
ABOVE_LIMIT = (
    "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share"
    " capacity limits."
)
DATA = [
    {
        "ChannelName": "go",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{BUCKET}/go"}},
    }
]


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    data = tmp_path_factory.mktemp("s3")
    (data / "go").mkdir()
    with live_yard(machine_vcpus=64, training_folders=f"{BUCKET}={data}") as yard:
        made = Lab(yard, data)
        make_queue(made)
        yield made


def make_queue(lab: Lab) -> None:
    """Create a queue of four instances whose policy is one of quota shares."""
    batch = lab.batch
    batch.create_service_environment(
        serviceEnvironmentName=QUEUE,
        serviceEnvironmentType="SAGEMAKER_TRAINING",
        capacityLimits=[{"capacityUnit": TYPE, "maxCapacity": 4}],
    )

    def environment() -> Any:
        found = batch.describe_service_environments(serviceEnvironments=[QUEUE])
        return found["serviceEnvironments"][0]

    until(lambda: environment()["status"] == "VALID", "a service environment")
    policy = batch.create_scheduling_policy(
        name=QUEUE, quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
    )
    batch.create_job_queue(
        jobQueueName=QUEUE,
        jobQueueType="SAGEMAKER_TRAINING",
        priority=1,
        schedulingPolicyArn=policy["arn"],
        serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": QUEUE}],
    )
    until(
        lambda: batch.describe_job_queues(jobQueues=[QUEUE])["jobQueues"][0]["status"] == "VALID",
        "a queue",
    )
    with pytest.raises(ClientError, match="is not an instance type"):
        batch.update_service_environment(
            serviceEnvironment=QUEUE,
            capacityLimits=[{"capacityUnit": "NUM_INSTANCES", "maxCapacity": 4}],
        )
    for name, strategy in (("lender", "LEND"), ("borrower", "LEND_AND_BORROW")):
        batch.create_quota_share(
            quotaShareName=name,
            jobQueue=QUEUE,
            capacityLimits=[{"maxCapacity": 2, "capacityUnit": TYPE}],
            resourceSharingConfiguration={"strategy": strategy},
            preemptionConfiguration={"inSharePreemption": "ENABLED"},
        )

    def are_valid() -> bool:
        shares = batch.list_quota_shares(jobQueue=QUEUE)["quotaShares"]
        return [each["status"] for each in shares] == ["VALID"] * 2

    until(are_valid, "quota shares")


def submit(lab: Lab, share: str, name: str, *, count: int = 1, **more: Any) -> str:
    """Submit a training job that runs until a file of its name, or `end`, is there."""
    script = f"""
cd /opt/ml/input/data/go
until [ -e {name} ] || [ -e end ]; do sleep 0.05; done
"""
    members = {"quotaShareName": share, **more}
    return lab.submit(script, queue=QUEUE, count=count, more=members, InputDataConfig=DATA)


def release(lab: Lab, name: str) -> None:
    (lab.data / "go" / Path(name).name).touch()


def utilization(lab: Lab) -> dict[str, float]:
    used = lab.batch.get_job_queue_snapshot(jobQueue=QUEUE)["queueUtilization"]
    return {
        each["quotaShareName"]: usage["quantity"]
        for each in used.get("quotaShareUtilization", {}).get("topCapacityUtilization", [])
        for usage in each["capacityUsage"]
    }


def test_what_was_lent_is_taken_back_and_who_may_not_come_back_fails(lab: Lab) -> None:
    never = {"preemptionRetriesBeforeTermination": 0}
    own = [submit(lab, "borrower", f"own-{number}") for number in range(2)]
    back = submit(lab, "borrower", "back")
    once = submit(lab, "borrower", "once", preemptionConfiguration=never)
    for job_id in (*own, back, once):
        lab.reach("RUNNING", job_id)
    until(lambda: utilization(lab) == {"borrower": 4.0}, "what is borrowed")
    assert "preemptionSummary" not in lab.job(back)

    first = submit(lab, "lender", "first")
    lab.yard.restart_after_kill()
    lab.reach("RUNNING", first)
    ended = lab.ended(once)
    assert (ended["status"], ended["statusReason"]) == ("FAILED", CROSS_SHARE)
    assert ended["preemptionSummary"]["preemptedAttemptCount"] == 1
    assert lab.job(back)["status"] == "RUNNING"

    second = submit(lab, "lender", "second")
    lab.reach("RUNNING", second)
    waits = lab.reach("RUNNABLE", back)
    assert waits["attempts"] == []
    summary = waits["preemptionSummary"]
    assert summary["preemptedAttemptCount"] == 1
    [preempted] = summary["recentPreemptedAttempts"]
    assert preempted["statusReason"] == CROSS_SHARE
    assert preempted["startedAt"] <= preempted["stoppedAt"]
    told = own_client(lab.yard).get_job_explanation(jobId=back)
    assert "quota share borrower uses 2 ml.m5.large of 2" in told["summary"]
    until(lambda: utilization(lab) == {"borrower": 2.0, "lender": 2.0}, "who uses what")
    fronts = lab.batch.get_job_queue_snapshot(jobQueue=QUEUE)["frontOfQuotaShares"]["quotaShares"]
    assert [each["jobArn"] for each in fronts["borrower"]] == [waits["jobArn"]]
    assert {lab.job(job_id)["status"] for job_id in own} == {"RUNNING"}

    release(lab, "second")
    lab.reach("RUNNING", back)
    release(lab, "end")
    for job_id in (*own, back, first, second):
        job = lab.ended(job_id)
        assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 1)


def test_a_priority_that_is_raised_stops_a_lower_one_of_the_same_share(lab: Lab) -> None:
    low, high = (
        submit(lab, "lender", name, schedulingPriority=priority)
        for name, priority in (("low", 1), ("high", 3))
    )
    for job_id in (low, high):
        lab.reach("RUNNING", job_id)
    urgent = submit(lab, "lender", "urgent", schedulingPriority=0)
    behind = submit(lab, "lender", "behind", schedulingPriority=1)
    too_much = submit(lab, "lender", "too-much", count=3, schedulingPriority=9)
    until(lambda: lab.job(too_much).get("statusReason") == ABOVE_LIMIT, "what can never start")
    assert lab.job(urgent)["status"] == lab.job(behind)["status"] == "RUNNABLE"
    answer = lab.batch.update_service_job(jobId=urgent, schedulingPriority=2)
    assert answer["jobId"] == urgent
    assert lab.reach("RUNNING", urgent)["schedulingPriority"] == 2
    stopped = lab.job(low)
    assert stopped["status"] == "RUNNABLE"
    [preempted] = stopped["preemptionSummary"]["recentPreemptedAttempts"]
    assert preempted["statusReason"] == IN_SHARE
    assert lab.job(high)["status"] == "RUNNING"
    lab.batch.terminate_service_jobs(jobs=[too_much, behind], reason="not needed")
    for job_id in (too_much, behind):
        job = lab.ended(job_id)
        assert (job["status"], job["statusReason"], job["isTerminated"]) == (
            "FAILED",
            "not needed",
            True,
        )
    release(lab, "end")
    assert {lab.ended(job_id)["status"] for job_id in (low, high, urgent)} == {"SUCCEEDED"}


def test_what_would_help_a_service_job_is_called_by_its_name(lab: Lab) -> None:
    lab.batch.update_service_environment(serviceEnvironment=QUEUE, state="DISABLED")

    def environment() -> Any:
        found = lab.batch.describe_service_environments(serviceEnvironments=[QUEUE])
        return found["serviceEnvironments"][0]

    until(lambda: environment()["status"] == "VALID", "a DISABLED environment")
    job_id = submit(lab, "lender", "waits")
    lab.reach("RUNNABLE", job_id)
    told = own_client(lab.yard).get_job_explanation(jobId=job_id)
    assert told["summary"] == f"Service environment {QUEUE} is DISABLED."
    assert [each["text"] for each in told["changes"]] == [
        f"It would start now if service environment {QUEUE} were ENABLED."
    ]
    lab.batch.update_service_environment(serviceEnvironment=QUEUE, state="ENABLED")
    release(lab, "end")
    assert lab.ended(job_id)["status"] == "SUCCEEDED"


def told_by(lab: Lab, *arguments: str) -> Any:
    """Run `batchyard` as its user does, and read the JSON that it prints."""
    run = subprocess.run(
        [*BATCHYARD, *arguments, "--json"],
        env=lab.yard.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout)


def test_training_can_be_supposed_and_simulated_again(lab: Lab, tmp_path: Path) -> None:
    """Six jobs on four instances, two of them borrowed; the lender's job would stop one."""
    held = [submit(lab, "borrower", f"held-{number}") for number in range(6)]
    for job_id in held[:4]:
        lab.reach("RUNNING", job_id)
    trace = tmp_path / "tomorrow.csv"
    trace.write_text(
        "id,submit_s,run_s,queue,instance_type,nodes,share_identifier\n"
        f"new,60,300,{QUEUE},{TYPE},1,lender\n"
    )

    told = told_by(lab, "what-if", "--submit", str(trace))
    groups = {each.get("shareIdentifier"): each for each in told["groups"]}
    assert groups["borrower"]["preemptedAfterCount"] == 1
    assert (groups["lender"]["submittedCount"], groups["lender"]["failingCount"]) == (1, 0)
    assert groups["lender"]["submitted"]["waitP50Ms"] == 0
    [stopped] = told["preemptions"]
    assert stopped["jobId"] in held[:4]

    larger = ("--max-instances", f"{QUEUE}:{TYPE}=6", "--quota", f"{QUEUE}/borrower:{TYPE}=4")
    told = told_by(lab, "what-if", *larger)
    assert {each["jobId"] for each in told["gainers"]} == set(held[4:])
    assert told["losers"] == []

    release(lab, "end")
    for job_id in held:
        lab.reach("SUCCEEDED", job_id)
    history = told_by(lab, "simulate", "--history")
    [run] = history["runs"]
    assert run["job_count_by_status"] == {"FAILED": 0, "SUCCEEDED": 6}
    # As it was: two of the six wait for the first that ends.
    assert sum(point["waiting"] > 0 for point in run["over_time"]) > 0
    [line] = run["cost"]
    assert (line["instance_type"], line["count"]) == (TYPE, 6)
