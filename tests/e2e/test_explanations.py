"""Why jobs wait, through the front door: boto3, the command, a real server, real containers."""

import platform
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.live_yard import (
    BATCHYARD,
    DEFINITION,
    QUEUE,
    REGION,
    LiveYard,
    live_yard,
    own_client,
    until,
)

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

#: A job of it holds its vCPUs until the file is there.
HOLD = "trap 'exit 143' TERM; until [ -e /ledger/go ]; do sleep 0.05; done"


def asking(*, vcpus: int) -> list[dict[str, str]]:
    return [{"type": "VCPU", "value": str(vcpus)}, {"type": "MEMORY", "value": "16"}]


@pytest.fixture
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=4) as made:
        made.make_other_queue(QUEUE, max_vcpus=2, instance_types=["c6i.large"])
        made.register(resourceRequirements=asking(vcpus=2))
        yield made


def test_who_waits_is_told_why_and_starts_with_the_change_that_is_named(yard: LiveYard) -> None:
    client = own_client(yard)
    holder = yard.submit(HOLD)
    yard.reach("RUNNING", holder)
    head = yard.submit("true")
    last = yard.submit("true", after=[head])
    yard.reach("RUNNABLE", head)
    told = client.get_job_explanation(jobId=head)
    text = "queue uses 2 vCPUs of maxvCpus 2 vCPUs: short by 2 vCPUs."
    assert (told["status"], told["summary"], told["aheadCount"]) == ("RUNNABLE", text, 0)
    assert [(each["kind"], each["by"]) for each in told["changes"]] == [("RAISE_MAX_VCPUS", 2)]
    assert told["wentAhead"] == []
    until(lambda: yard.job(head).get("statusReason") == text, "the line in DescribeJobs")
    pending = client.get_job_explanation(jobId=yard.job(last)["jobArn"])
    assert pending["summary"] == f"Waits for job {head}, which is RUNNABLE."
    assert yard.job(last)["statusReason"] == pending["summary"]
    printed = subprocess.run(
        [*BATCHYARD, "explain", head], env=yard.environ, capture_output=True, text=True, check=True
    ).stdout
    *lines, forecast = printed.splitlines()
    assert forecast.startswith("  ~ It starts in ")
    assert lines == [
        f"{head} is RUNNABLE: {text}",
        f"  - {text}",
        f"  > It would start now if maxvCpus of {QUEUE} were 2 higher.",
    ]
    yard.batch.update_compute_environment(
        computeEnvironment=QUEUE, computeResources={"maxvCpus": 4}
    )
    yard.reach("SUCCEEDED", head, last)
    yard.release("go")
    yard.reach("SUCCEEDED", holder)
    over = client.get_job_explanation(jobId=head)
    assert (over["status"], over["reasons"]) == ("SUCCEEDED", [])


def test_what_can_never_be_is_said_in_numbers(yard: LiveYard) -> None:
    client = own_client(yard)
    yard.register("large", resourceRequirements=asking(vcpus=8))
    job_id = yard.submit("true", definition="large")
    yard.reach("RUNNABLE", job_id)
    told = client.get_job_explanation(jobId=job_id)
    [reason] = told["reasons"]
    assert reason["cause"] == "NEVER_FITS"
    asked, short = reason["numbers"]["asked_cpu_milli"], reason["numbers"]["short_cpu_milli"]
    assert (asked, asked - short) == (8000, reason["numbers"]["max_cpu_milli"])
    yard.batch.cancel_job(jobId=job_id, reason="seen")
    yard.reach("FAILED", job_id)


def warning_of(answer: dict[str, Any]) -> str | None:
    headers: dict[str, str] = answer["ResponseMetadata"]["HTTPHeaders"]
    return headers.get("x-batchyard-warning")


def test_what_will_come_to_nothing_is_told_with_the_answer(yard: LiveYard) -> None:
    """AWS's answer stays AWS's; what is wrong stands in a header, and once in the server's log."""
    yard.register("large", resourceRequirements=asking(vcpus=8))
    large = {"jobName": "large", "jobQueue": QUEUE, "jobDefinition": "large"}
    answers = [yard.batch.submit_job(**large) for _ in range(2)]
    text = (
        f"The job can never start in job queue {QUEUE}: Asked 8 vCPUs; {QUEUE} has maxvCpus 2"
        " vCPUs: short by 6 vCPUs."
    )
    assert [warning_of(each) for each in answers] == [text, text]
    assert yard.log().count(text) == 1
    fits = yard.batch.submit_job(jobName="fits", jobQueue=QUEUE, jobDefinition=DEFINITION)
    assert warning_of(fits) is None
    eks = yard.batch.create_compute_environment(
        computeEnvironmentName="eks",
        type="MANAGED",
        eksConfiguration={
            "eksClusterArn": f"arn:aws:eks:{REGION}:123456789012:cluster/cluster",
            "kubernetesNamespace": "jobs",
        },
        computeResources={
            "type": "EC2",
            "allocationStrategy": "BEST_FIT_PROGRESSIVE",
            "minvCpus": 0,
            "maxvCpus": 4,
            "instanceTypes": ["c6i.large"],
            "subnets": ["subnet-1"],
            "securityGroupIds": ["sg-1"],
            "instanceRole": "ecsInstanceRole",
        },
    )
    assert (warning_of(eks) or "").startswith("Compute environment eks will be INVALID: ")
    yard.batch.update_compute_environment(computeEnvironment=QUEUE, state="DISABLED")
    until(
        lambda: (
            yard.batch.describe_compute_environments(computeEnvironments=[QUEUE])[
                "computeEnvironments"
            ][0]["status"]
            == "VALID"
        ),
        "the update",
    )
    off = yard.batch.submit_job(jobName="off", jobQueue=QUEUE, jobDefinition=DEFINITION)
    assert warning_of(off) == (
        f"No environment of job queue {QUEUE} can be used now: Compute environment {QUEUE} is"
        " DISABLED."
    )
    queue = yard.batch.create_job_queue(
        jobQueueName="idle",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": QUEUE}],
    )
    assert warning_of(queue) == (
        f"No environment of job queue idle can be used now: {QUEUE} is DISABLED."
    )
    for each in (*answers, off):
        yard.batch.terminate_job(jobId=each["jobId"], reason="seen")
    yard.ended(*(each["jobId"] for each in (*answers, fits, off)))


def test_unknown_jobs_are_refused(yard: LiveYard) -> None:
    client = own_client(yard)
    for job_id in ("nonsense", "00000000-0000-4000-8000-000000000000"):
        with pytest.raises(ClientError) as refused:
            client.get_job_explanation(jobId=job_id)
        assert refused.value.response["Error"] == {
            "Code": "ClientException",
            "Message": f"Job {job_id} does not exist",
        }
    failed = subprocess.run(
        [*BATCHYARD, "explain", "nonsense"], env=yard.environ, capture_output=True, text=True
    )
    assert (failed.returncode, failed.stderr) == (1, "Error: Job nonsense does not exist\n")


def test_who_went_ahead_is_told_with_the_rule(yard: LiveYard) -> None:
    order = [{"order": 1, "computeEnvironment": QUEUE}]
    yard.batch.create_job_queue(jobQueueName="first", priority=9, computeEnvironmentOrder=order)
    until(
        lambda: (
            yard.batch.describe_job_queues(jobQueues=["first"])["jobQueues"][0]["status"] == "VALID"
        ),
        "VALID queue",
    )
    hold = HOLD.replace("/go", "/second")
    holder = yard.submit(hold)
    yard.reach("RUNNING", holder)
    waiting = yard.submit("true")
    yard.reach("RUNNABLE", waiting)
    late = yard.batch.submit_job(
        jobName="late",
        jobQueue="first",
        jobDefinition=DEFINITION,
        containerOverrides={"command": ["sh", "-c", HOLD.replace("/go", "/third")]},
    )["jobId"]
    yard.reach("RUNNABLE", late)
    yard.batch.terminate_job(jobId=holder, reason="make room")
    yard.reach("RUNNING", late)
    told = own_client(yard).get_job_explanation(jobId=waiting)
    assert [(each["jobId"], each["rule"]) for each in told["wentAhead"]] == [
        (late, "QUEUE_PRIORITY")
    ]
    printed = subprocess.run(
        [*BATCHYARD, "explain", waiting],
        env=yard.environ,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"  < {late} went ahead: its job queue has a higher priority.\n" in printed
    for name in ("second", "third"):
        yard.release(name)
    yard.reach("SUCCEEDED", waiting, late)


def test_another_architecture_is_warned_of(yard: LiveYard) -> None:
    """Containers run all the same, as the machine's own."""
    other = "X86_64" if platform.machine() == "aarch64" else "ARM64"
    asked = [{"type": "VCPU", "value": "0.25"}, {"type": "MEMORY", "value": "512"}]

    def warned(architecture: str) -> str:
        answer = yard.batch.register_job_definition(
            jobDefinitionName="elsewhere",
            type="container",
            platformCapabilities=["FARGATE"],
            containerProperties={
                "image": "busybox",
                "executionRoleArn": "arn:aws:iam::000000000000:role/ecsTaskExecutionRole",
                "resourceRequirements": asked,
                "runtimePlatform": {"cpuArchitecture": architecture},
            },
        )
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        warning: str = headers.get("x-batchyard-warning", "")
        return warning

    assert f"jobs are for {other.lower()}, and this machine is" in warned(other)
    assert "jobs are for" not in warned("ARM64" if other == "X86_64" else "X86_64")
