"""Who brings the capacity: instances that an operator registers, and what the machine has left.

The machine is said to have eight vCPUs. Real containers run on its slices; the server is killed in
between.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.live_yard import BATCHYARD, DEFINITION, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

ROLE = "arn:aws:iam::000000000000:role/AWSBatchServiceRole"
PROVIDER = {
    "infrastructureRoleArn": "arn:aws:iam::000000000000:role/infrastructure",
    "instanceLaunchTemplate": {
        "ec2InstanceProfileArn": "arn:aws:iam::000000000000:instance-profile/mine",
        "networkConfiguration": {"subnets": ["subnet-1"], "securityGroups": ["sg-1"]},
        "instanceRequirements": {"allowedInstanceTypes": ["c7i.large"]},
    },
    "infrastructureOptimization": {"scaleInAfter": 0},
}
EC2 = {
    "maxvCpus": 64,
    "subnets": ["subnet-1"],
    "securityGroupIds": ["sg-1"],
    "instanceRole": "ecsInstanceRole",
}


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=8) as made:
        made.make_queue_on(QUEUE, {"type": "UNMANAGED", "serviceRole": ROLE})
        made.register()
        yield made


def hold(name: str) -> str:
    """A script that ends once the file is made; at the latest with the test."""
    return (
        "trap 'exit 143' TERM\n"
        f"while [ ! -e /ledger/end ] && [ ! -e /ledger/{name} ]; do usleep 10000; done"
    )


def instance(yard: LiveYard, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BATCHYARD, "instance", *words],
        env=yard.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def registered(yard: LiveYard, *words: str) -> list[str]:
    done = instance(yard, "register", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def deregistered(yard: LiveYard, *words: str) -> None:
    done = instance(yard, "deregister", *words)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def refused(yard: LiveYard, *words: str) -> str:
    done = instance(yard, *words)
    assert done.returncode == 1, done.stdout
    return done.stderr.strip().removeprefix("Error: ")


def where(yard: LiveYard, *job_ids: str) -> Counter[str]:
    return Counter(job["container"]["containerInstanceArn"] for job in yard.jobs(*job_ids))


def test_jobs_run_on_registered_slices_only_and_never_over_fill_them(yard: LiveYard) -> None:
    jobs = [yard.submit(hold("go")) for _ in range(6)]
    yard.reach("RUNNABLE", *jobs)

    # By the cluster's ARN, as an ECS agent would be told.
    [environment] = yard.batch.describe_compute_environments(computeEnvironments=[QUEUE])[
        "computeEnvironments"
    ]
    size = ("--vcpus", "2", "--memory", "64", "--count", "2")
    first, second = registered(yard, "--environment", environment["ecsClusterArn"], *size)
    yard.reach("RUNNING", *jobs[:4])
    assert sorted(where(yard, *jobs[:4]).values()) == [2, 2]
    assert yard.statuses(*jobs) == {"RUNNING": 4, "RUNNABLE": 2}

    yard.restart_after_kill()
    assert yard.statuses(*jobs) == {"RUNNING": 4, "RUNNABLE": 2}

    # Drained: what is on it goes on, and what waits goes to the other one.
    deregistered(yard, first)
    assert yard.statuses(*jobs) == {"RUNNING": 4, "RUNNABLE": 2}
    before = where(yard, *jobs[:4])
    yard.release("go")
    assert {job["status"] for job in yard.ended(*jobs)} == {"SUCCEEDED"}
    (left,) = where(yard, *jobs[4:])
    assert left in before
    # It ended in the same turn as its last job.
    assert refused(yard, "deregister", first) == f"Instance {first} has ended: DEREGISTERED."

    # By force: the job on it ends as on an instance of EC2 that is terminated.
    last = yard.submit(hold("never"))
    yard.reach("RUNNING", last)
    assert list(where(yard, last)) == [left]
    until(lambda: yard.runs()[last, 1], "the first line of the script")
    deregistered(yard, second, "--force")
    [job] = yard.ended(last)
    assert (job["status"], job["statusReason"]) == (
        "FAILED",
        f"Host EC2 (instance {second}) terminated.",
    )
    waiting = yard.submit()
    yard.reach("RUNNABLE", waiting)
    yard.batch.cancel_job(jobId=waiting, reason="nothing is registered")
    yard.ended(waiting)
    runs = yard.runs()
    assert [runs[job_id, 1] for job_id in (*jobs, last, waiting)] == [1] * 7 + [0]


def test_what_is_registered_is_not_there_for_others_and_the_other_way_round(
    yard: LiveYard,
) -> None:
    """EC2's own words for a machine that is full, through boto3."""
    [kept] = registered(yard, "--environment", QUEUE, "--vcpus", "6", "--memory", "64")
    assert refused(yard, "register", "--environment", QUEUE, "--type", "m6i.xlarge").startswith(
        "no room for 1 x m6i.xlarge of 4 vCPUs, 15,942 MiB each: local-"
    )
    yard.make_other_queue("ec2", instance_types=("m6i.xlarge",))
    job = yard.submit(queue="ec2")
    reason = (
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested"
        " for instance type [m6i.xlarge]"
    )
    until(lambda: yard.job(job).get("statusReason") == reason, reason)
    assert yard.job(job)["status"] == "RUNNABLE"
    assert refused(yard, "register", "--environment", "ec2", "--type", "m6i.large").endswith(
        "is MANAGED: it launches and ends its instances itself."
    )
    deregistered(yard, kept)
    yard.reach("SUCCEEDED", job)


def test_managed_instances_run_their_own_kind_of_jobs(yard: LiveYard) -> None:
    yard.make_queue_on(
        "managed",
        {
            "type": "MANAGED",
            "computeResources": {
                "type": "ECS_MANAGED_INSTANCES",
                "maxvCpus": 4,
                "managedInstancesProvider": PROVIDER,
            },
        },
    )
    [queue] = yard.batch.describe_job_queues(jobQueues=["managed"])["jobQueues"]
    assert queue["jobQueueType"] == "ECS_MANAGED_INSTANCES"
    with pytest.raises(yard.batch.exceptions.ClientException, match="capability EC2"):
        yard.submit(queue="managed")
    [definition] = yard.batch.describe_job_definitions(jobDefinitionName=DEFINITION)[
        "jobDefinitions"
    ]
    yard.batch.register_job_definition(
        jobDefinitionName="managed",
        type="container",
        containerProperties=definition["containerProperties"],
        platformCapabilities=["MANAGED_INSTANCES"],
    )
    jobs = [yard.submit(definition="managed", queue="managed") for _ in range(3)]
    assert {job["status"] for job in yard.ended(*jobs)} == {"SUCCEEDED"}


@pytest.mark.parametrize(("bid", "status"), [(30, "RUNNABLE"), (50, "SUCCEEDED")])
def test_spot_is_launched_below_the_bid_only(yard: LiveYard, bid: int, status: str) -> None:
    """Spot costs 35 percent here."""
    name = f"spot{bid}"
    resources: dict[str, Any] = {
        **EC2,
        "type": "SPOT",
        "bidPercentage": bid,
        "instanceTypes": ["m6i.large"],
        "allocationStrategy": "SPOT_PRICE_CAPACITY_OPTIMIZED",
    }
    yard.make_queue_on(name, {"type": "MANAGED", "computeResources": resources})
    job = yard.submit(queue=name)
    yard.reach(status, job)
    if status == "RUNNABLE":
        reason = (
            "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity"
            " requested for instance type [m6i.large]"
        )
        until(lambda: yard.job(job).get("statusReason") == reason, reason)
