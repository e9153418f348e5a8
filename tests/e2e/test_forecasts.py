"""When jobs start, and what would come of a change: a real server, real containers, boto3."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.live_yard import (
    BATCHYARD,
    DEFINITION,
    QUEUE,
    LiveYard,
    live_yard,
    own_client,
    until,
)
from tests.e2e.test_explanations import HOLD, asking
from tests.e2e.test_quota_shares import make_share

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

#: What nothing is known of is guessed to run for, more or less.
GUESS_MS = 600_000


@pytest.fixture
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=4) as made:
        made.make_other_queue(QUEUE, max_vcpus=2, instance_types=["c6i.large"])
        made.register(resourceRequirements=asking(vcpus=2))
        yield made


def told_by(yard: LiveYard, *arguments: str) -> str:
    return subprocess.run(
        [*BATCHYARD, *arguments], env=yard.environ, capture_output=True, text=True, check=True
    ).stdout


def test_a_waiting_job_is_told_when_it_starts_and_what_would_help(yard: LiveYard) -> None:
    """One job runs, two wait for it; nothing has ended yet: each takes about 10 min, so a guess."""
    client = own_client(yard)
    holder = yard.submit(HOLD)
    yard.reach("RUNNING", holder)
    first, second = yard.submit("true"), yard.submit("true")
    yard.reach("RUNNABLE", first, second)
    began_ms = yard.job(holder)["startedAt"]

    told = client.get_job_forecast(jobId=second)
    starts_ms = began_ms + 2 * GUESS_MS
    assert told["status"] == "RUNNABLE"
    assert began_ms < told["start"]["p10"] < starts_ms < told["start"]["p90"]
    assert (told["startedCount"], "gaveUp" in told) == (told["runCount"], False)
    assert [each["basis"] for each in told["bases"]] == ["DEFAULT"]
    assert told["hitRate"]["openCount"] == 1
    assert told["hitRate"]["text"].startswith("Not enough forecasts yet")
    assert told["stretch"]["text"].startswith("Ends are moved to 105 %")
    assert (told["stretch"]["lowPercent"], told["stretch"]["highPercent"]) == (105, 105)

    queue = client.get_queue_forecast(jobQueue=QUEUE)
    assert queue["waitingCount"] == 2
    assert [each["jobId"] for each in queue["jobs"]] == [first, second]
    assert queue["allStarted"] == told["start"]
    assert queue["allEnded"]["p50"] > queue["allStarted"]["p50"]
    assert json.loads(told_by(yard, "forecast", "--queue", QUEUE, "--json"))["waitingCount"] == 2
    assert second in told_by(yard, "forecast", second)

    other: dict[str, Any] = client.what_if(
        computeEnvironments=[{"computeEnvironment": QUEUE, "maxvCpus": 4}]
    )
    (group,) = other["groups"]
    assert other["summary"] == "Of 2 jobs that wait 2 would start earlier and 0 later."
    assert (group["waitingCount"], group["gainingCount"], group["losingCount"]) == (2, 2, 0)
    assert group["after"]["allEnded"]["p50"] < group["before"]["allEnded"]["p50"]
    assert "2 would start earlier" in told_by(yard, "what-if", "--max-vcpus", f"{QUEUE}=4")
    unchanged = yard.batch.describe_compute_environments(computeEnvironments=[QUEUE])
    assert unchanged["computeEnvironments"][0]["computeResources"]["maxvCpus"] == 2

    yard.release("go")
    yard.reach("SUCCEEDED", holder, first, second)
    over = client.get_job_forecast(jobId=second)
    assert (over["summary"], "start" in over) == ("It has ended: SUCCEEDED.", False)
    assert over["startedAt"] == yard.job(second)["startedAt"]
    assert (over["hitRate"]["scoredCount"], over["hitRate"]["heldCount"]) == (1, 0)


def test_of_an_array_it_is_told_when_all_of_it_is_over(yard: LiveYard) -> None:
    """One child runs at a time; in the end none waits, and the last one is still to end."""
    client = own_client(yard)
    holder = yard.submit(HOLD)
    yard.reach("RUNNING", holder)
    script = HOLD.replace("/go", "/go$AWS_BATCH_JOB_ARRAY_INDEX")
    array_id = yard.batch.submit_job(
        jobName="array",
        jobQueue=QUEUE,
        jobDefinition=DEFINITION,
        containerOverrides={"command": ["sh", "-c", script]},
        arrayProperties={"size": 2},
    )["jobId"]
    until(lambda: yard.job(array_id)["arrayProperties"]["statusSummary"]["RUNNABLE"] == 2, "both")
    before = client.get_job_forecast(jobId=array_id)
    assert before["summary"].startswith("It starts in ")
    assert before["start"]["p50"] < before["end"]["p50"]
    assert "is over" in told_by(yard, "forecast", array_id)

    yard.release("go")
    yard.reach("RUNNING", f"{array_id}:0")
    one = client.get_job_forecast(jobId=array_id)
    assert one["summary"].startswith("Its next child starts in ")
    assert ". All of it is over in " in one["summary"]
    assert one["start"]["p50"] < one["end"]["p50"]

    yard.release("go0")
    yard.reach("RUNNING", f"{array_id}:1")
    last = client.get_job_forecast(jobId=array_id)
    text = "All its children have their place. All of it is over in "
    assert last["summary"].startswith(text)
    yard.release("go1")
    yard.reach("SUCCEEDED", array_id)


def test_quota_shares_and_jobs_that_depend_and_fail_can_be_supposed(tmp_path: Path) -> None:
    """Speech fills all eight vCPUs, four of them lent by vision, whose jobs would come in."""
    trace = tmp_path / "tomorrow.csv"
    trace.write_text(
        "id,submit_s,run_s,vcpus,memory_mib,queue,share_identifier,depends_on,exit_code,attempts\n"
        f"prep,0,60,2,16,{QUEUE},vision,,,\n"
        f"bad,10,30,1,16,{QUEUE},vision,prep,1,3\n"
        f"late,10,60,1,16,{QUEUE},vision,bad,,\n"
    )
    with live_yard(machine_vcpus=8, are_container_quota_shares_allowed=True) as yard:
        policy = yard.batch.create_scheduling_policy(
            name="quota", quotaSharePolicy={"idleResourceAssignmentStrategy": "FIFO"}
        )
        yard.make_queue(policy_arn=policy["arn"])
        make_share(yard, "vision", "LEND")
        make_share(yard, "speech", "LEND_AND_BORROW")
        held = [
            yard.batch.submit_job(
                jobName="held",
                jobQueue=QUEUE,
                jobDefinition="definition",
                shareIdentifier="speech",
                containerOverrides={"command": ["sh", "-c", HOLD]},
            )["jobId"]
            for _ in range(9)
        ]
        yard.reach("RUNNING", *held[:8])
        yard.reach("RUNNABLE", held[8])

        told = json.loads(told_by(yard, "what-if", "--submit", str(trace), "--json"))
        groups = {each.get("shareIdentifier"): each for each in told["groups"]}
        assert groups["vision"]["submittedCount"] == 3
        assert groups["vision"]["failingCount"] == 2
        assert groups["speech"]["preemptedBeforeCount"] == 0
        assert groups["speech"]["preemptedAfterCount"] == 2
        assert {each["jobId"] for each in told["preemptions"]} == set(held[6:8])

        # More of its own is no use to speech on this machine: nobody waits less, or longer.
        smaller = told_by(yard, "what-if", "--quota", f"{QUEUE}/speech:VCPU=7")
        assert "Of 1 job that waits 0 would start earlier and 0 later." in smaller
        line = told_by(yard, "what-if", "--policy", f"{QUEUE}=FIFO", "--submit", str(trace))
        assert "preempted" not in line
        yard.release("go")
        yard.reach("SUCCEEDED", *held)


def test_what_cannot_be_asked_is_refused(yard: LiveYard) -> None:
    client = own_client(yard)
    for call, text in (
        (lambda: client.get_job_forecast(jobId="no"), "Job no does not exist"),
        (lambda: client.get_queue_forecast(jobQueue="no"), "job-queue/no does not exist"),
        (lambda: client.get_queue_forecast(jobQueue=QUEUE, seed=-1), "seed must be between"),
        (lambda: client.what_if(), "Nothing would be otherwise"),
        (
            lambda: client.what_if(jobQueues=[{"jobQueue": "no", "priority": 1}]),
            "Job queue no does not exist.",
        ),
    ):
        with pytest.raises(ClientError, match=text) as refused:
            call()
        assert refused.value.response["Error"]["Code"] == "ClientException"
