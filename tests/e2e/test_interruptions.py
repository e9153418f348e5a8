"""Spot capacity that is reclaimed: the notice, the end, the next attempt. Real containers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.live_yard import BATCHYARD, DEFINITION, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

SPOT = {
    "type": "SPOT",
    "maxvCpus": 4,
    "instanceTypes": ["c6i.large"],
    "allocationStrategy": "SPOT_CAPACITY_OPTIMIZED",
    "subnets": ["subnet-1"],
    "securityGroupIds": ["sg-1"],
    "instanceRole": "ecsInstanceRole",
}
#: Writes down the notice as soon as there is one, and SIGTERM when it comes.
WATCH = """
trap 'echo "$AWS_BATCH_JOB_ATTEMPT term" >> /ledger/seen; exit 143' TERM
[ "$AWS_BATCH_JOB_ATTEMPT" = 1 ] || exit 0
data="${AWS_EC2_METADATA_SERVICE_ENDPOINT}latest/meta-data"
echo "1 $(wget -qO- "$data/instance-id") $(wget -qO- "$data/instance-life-cycle")" >> /ledger/seen
wget -qO- "$data/spot/instance-action" 2>/dev/null && echo early >> /ledger/seen
echo 1 up >> /ledger/seen
until notice=$(wget -qO- "$data/spot/instance-action" 2>/dev/null); do usleep 20000; done
echo "1 $notice" >> /ledger/seen
sleep 600 & wait
"""


@pytest.fixture
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=4, instance_idle_s=600) as made:
        made.make_queue_on(QUEUE, {"type": "MANAGED", "computeResources": SPOT})
        made.register()
        yield made


def run(yard: LiveYard, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BATCHYARD, *words],
        env=yard.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def listed(yard: LiveYard, *words: str) -> list[dict[str, Any]]:
    done = run(yard, "instances", "--json", *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def seen(yard: LiveYard) -> list[str]:
    path = yard.ledger_path / "seen"
    return path.read_text().splitlines() if path.exists() else []


def test_a_reclaimed_instance_gives_notice_and_its_job_goes_on_elsewhere(yard: LiveYard) -> None:
    rules = [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]
    job_id = yard.batch.submit_job(
        jobName="watch",
        jobQueue=QUEUE,
        jobDefinition=DEFINITION,
        containerOverrides={"command": ["sh", "-c", WATCH]},
        retryStrategy={"attempts": 2, "evaluateOnExit": rules},
    )["jobId"]
    until(lambda: "1 up" in seen(yard), "the job up")
    [first] = listed(yard)
    assert (first["state"], first["capacityType"], first["jobs"]) == ("running", "SPOT", [job_id])
    assert (first["usedMillicpus"], first["vcpus"]) == (1000, 2)
    instance_id = first["instanceId"]
    assert seen(yard) == [f"1 {instance_id} spot", "1 up"]
    done = run(yard, "instance", "interrupt", instance_id, "--notice", "3600")
    assert (done.returncode, done.stderr) == (0, "")
    until(lambda: len(seen(yard)) == 3, "the notice in the job")
    [draining] = listed(yard)
    assert (draining["state"], draining["reason"]) == ("draining", "INTERRUPTED")
    notice = json.loads(seen(yard)[2].removeprefix("1 "))
    assert notice["action"] == "terminate"
    yard.restart_after_kill()
    [again] = listed(yard)
    assert again["stopsAt"] == draining["stopsAt"]
    assert yard.job(job_id)["status"] == "RUNNING"
    done = run(yard, "instance", "interrupt", instance_id, "--notice", "0")
    assert (done.returncode, done.stderr) == (0, "")
    yard.reach("SUCCEEDED", job_id)
    assert seen(yard)[3:] == ["1 term"]
    [attempt, last] = yard.job(job_id)["attempts"]
    assert attempt["statusReason"] == f"Host EC2 (instance {instance_id}) terminated."
    arns = [each["container"]["containerInstanceArn"] for each in (attempt, last)]
    assert arns[0] != arns[1]
    ended, _ = listed(yard, "--all")
    assert (ended["instanceId"], ended["state"]) == (instance_id, "terminated")
    assert ended["reason"] == "INTERRUPTED"
    done = run(yard, "instance", "interrupt", instance_id)
    assert done.stderr == f"Error: Instance {instance_id} has ended: INTERRUPTED.\n"


def test_what_cannot_be_reclaimed_is_said(yard: LiveYard) -> None:
    done = run(yard, "instance", "interrupt", "i-0123")
    assert (done.returncode, done.stderr) == (1, "Error: There is no instance i-0123.\n")
    yard.make_other_queue("on-demand", max_vcpus=2, instance_types=["c6i.large"])
    job_id = yard.batch.submit_job(
        jobName="hold",
        jobQueue="on-demand",
        jobDefinition=DEFINITION,
        containerOverrides={"command": ["sleep", "600"]},
    )["jobId"]
    yard.reach("RUNNING", job_id)
    [found] = listed(yard, "-e", "on-demand")
    instance_id = found["instanceId"]
    done = run(yard, "instance", "interrupt", instance_id, "--notice", "0")
    assert done.stderr == (
        f"Error: {instance_id} is not Spot capacity: AWS never reclaims it. Use force to do so.\n"
    )
    printed = run(yard, "instances").stdout.splitlines()
    assert printed[0].split() == [
        *("INSTANCE", "TYPE", "ENVIRONMENT", "HOST", "CAPACITY", "STATE", "VCPUS", "MIB", "GPUS"),
        *("SINCE", "JOBS"),
    ]
    assert printed[1].split()[:7] == [
        *(instance_id, "c6i.large", "on-demand", found["host"], "ON_DEMAND", "running", "1/2"),
    ]
    assert (
        run(yard, "instance", "interrupt", instance_id, "--notice", "0", "--force").returncode == 0
    )
    yard.reach("FAILED", job_id)
    assert yard.job(job_id)["statusReason"] == f"Host EC2 (instance {instance_id}) terminated."


def test_a_task_of_fargate_spot_gets_sigterm_and_its_job_goes_on(yard: LiveYard) -> None:
    yard.make_other_queue("fargate", kind="FARGATE_SPOT", max_vcpus=2)
    wait = (
        "trap 'echo term; exit 0' TERM; [ $AWS_BATCH_JOB_ATTEMPT = 2 ] && exit 0;"
        " echo up; sleep 600 & wait"
    )
    yard.batch.register_job_definition(
        jobDefinitionName="fargate",
        type="container",
        platformCapabilities=["FARGATE"],
        containerProperties={
            "image": "busybox",
            "command": ["sh", "-c", wait],
            "executionRoleArn": "arn:aws:iam::000000000000:role/execution",
            "resourceRequirements": [
                {"type": "VCPU", "value": "0.25"},
                {"type": "MEMORY", "value": "512"},
            ],
        },
    )
    job_id = yard.batch.submit_job(
        jobName="spot",
        jobQueue="fargate",
        jobDefinition="fargate",
        retryStrategy={"attempts": 2},
    )["jobId"]
    yard.reach("RUNNING", job_id)
    until(lambda: "up" in yard.lines(job_id), "the job up")
    done = run(yard, "job", "interrupt", job_id)
    assert (done.returncode, done.stderr) == (0, "")
    yard.reach("SUCCEEDED", job_id)
    first, _ = yard.job(job_id)["attempts"]
    assert first["statusReason"] == "Your Spot Task was interrupted."
    stream = first["container"]["logStreamName"]
    assert yard.lines_of(stream) == ["up", "term"]
    done = run(yard, "job", "interrupt", job_id)
    assert done.stderr == f"Error: Job {job_id} is SUCCEEDED: it does not run.\n"
