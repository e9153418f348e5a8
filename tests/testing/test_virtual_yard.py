"""A yard with virtual time, used as its users would: through boto3, and by its commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from batchyard.testing import START, Container, Jobs, Yard, YardTrouble, yard
from tests.testing.shop import Shop

START_MS = round(START.timestamp() * 1000)
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE


@pytest.fixture
def virtual() -> Iterator[Yard]:
    with yard() as made:
        yield made


@pytest.fixture
def shop(virtual: Yard) -> Shop:
    return Shop(virtual)


def test_what_a_call_leads_to_has_happened_when_it_returns(shop: Shop):
    environment = shop.batch.describe_compute_environments()["computeEnvironments"][0]
    assert environment["status"] == "VALID"
    job = shop.job(shop.submit())
    assert job["status"] == "RUNNING"
    assert (job["createdAt"], job["startedAt"]) == (START_MS, START_MS)


def test_time_moves_only_when_it_is_moved(shop: Shop):
    job_id = shop.submit()
    shop.yard.advance(seconds=59, by=timedelta(milliseconds=999))
    assert shop.job(job_id)["status"] == "RUNNING"
    shop.yard.advance(by=timedelta(milliseconds=1))
    job = shop.job(job_id)
    assert (job["status"], job["stoppedAt"]) == ("SUCCEEDED", START_MS + MINUTE)
    assert shop.yard.now == START + timedelta(minutes=1)


def test_everything_due_happens_at_its_own_time(shop: Shop):
    """One after another, though time is moved at once."""
    shop.yard.jobs.behave(run=timedelta(hours=1))
    first = shop.submit()
    second = shop.submit(dependsOn=[{"jobId": first}])
    shop.yard.advance(days=1)
    job = shop.job(second)
    assert (job["startedAt"], job["stoppedAt"]) == (START_MS + HOUR, START_MS + 2 * HOUR)


def test_a_timeout_of_hours(shop: Shop):
    shop.yard.jobs.behave(run=None)
    job_id = shop.submit(timeout={"attemptDurationSeconds": 3 * 3600})
    shop.yard.advance(hours=2, minutes=59)
    assert shop.job(job_id)["status"] == "RUNNING"
    shop.yard.advance(minutes=1)
    job = shop.job(job_id)
    assert (job["status"], job["statusReason"]) == (
        "FAILED",
        "Job attempt duration exceeded timeout",
    )
    assert job["stoppedAt"] == START_MS + 3 * HOUR
    assert job["container"]["exitCode"] == 143


def test_who_ignores_sigterm_is_killed_after_its_grace(shop: Shop):
    shop.yard.jobs.behave(run=None, ignores_sigterm=True)
    job_id = shop.submit(timeout={"attemptDurationSeconds": 60})
    shop.yard.advance(hours=1)
    job = shop.job(job_id)
    assert (job["container"]["exitCode"], job["stoppedAt"]) == (137, START_MS + 90 * SECOND)


def test_output_is_in_cloudwatch_logs_at_its_own_time(shop: Shop):
    shop.yard.jobs.behave(
        job_name="train-*",
        run=timedelta(hours=2),
        output=["begins", (timedelta(hours=1), "half"), (timedelta(hours=2), "done")],
        exit_code=3,
    )
    job_id, other = shop.submit("train-7"), shop.submit("other")
    shop.yard.advance(hours=1, minutes=30)
    assert shop.lines(job_id) == [(START_MS, "begins"), (START_MS + HOUR, "half")]
    shop.yard.advance(hours=1)
    assert shop.lines(job_id)[2:] == [(START_MS + 2 * HOUR, "done")]
    assert shop.job(job_id)["container"]["exitCode"] == 3
    assert shop.lines(other) == []


def test_rules_see_the_job_and_the_newest_that_fits_wins(shop: Shop):
    seen: list[Container] = []
    shop.yard.jobs.behave(definition="jd", exit_code=1)
    shop.yard.jobs.behave(definition="jd:2", exit_code=2)

    def is_second(each: Container) -> bool:
        seen.append(each)
        return each.array_index == 1

    shop.yard.jobs.behave(is_second, exit_code=4)
    shop.yard.jobs.behave(queue="elsewhere", exit_code=5)
    parent = shop.submit("many", arrayProperties={"size": 2})
    shop.yard.advance(hours=1)
    codes = [shop.job(f"{parent}:{index}")["container"]["exitCode"] for index in (0, 1)]
    assert codes == [1, 4]
    first = seen[0]
    assert (first.job_id, first.job_name, first.definition) == (f"{parent}:0", "many", "jd:1")
    assert (first.queue, first.attempt, first.image, first.command) == (
        "jq",
        1,
        "busybox",
        ("work",),
    )


def test_retries_until_an_attempt_succeeds(shop: Shop):
    shop.yard.jobs.behave(exit_code=1)
    shop.yard.jobs.behave(attempt=3)
    job_id = shop.submit(retryStrategy={"attempts": 5})
    shop.yard.advance(hours=1)
    job = shop.job(job_id)
    assert [each["container"].get("exitCode") for each in job["attempts"]] == [1, 1, 0]
    assert job["status"] == "SUCCEEDED"


def test_an_exit_that_is_set_while_the_job_runs(shop: Shop):
    shop.yard.jobs.behave(run=None)
    job_id, other = shop.submit("doomed"), shop.submit("other")
    shop.yard.advance(minutes=10)
    shop.yard.set_exit("doomed", code=7, after=timedelta(minutes=30))
    shop.yard.advance(hours=1)
    job = shop.job(job_id)
    assert (job["container"]["exitCode"], job["stoppedAt"]) == (7, START_MS + 30 * MINUTE)
    shop.yard.set_exit(lambda each: each.job_id == other, code=0)
    assert shop.job(other)["stoppedAt"] == START_MS + 70 * MINUTE


def test_a_spot_interruption_and_the_retry_after_it(virtual: Yard):
    shop = Shop(virtual, capacity="SPOT")
    virtual.jobs.behave(run=timedelta(hours=5))
    job_id = shop.submit(
        retryStrategy={
            "attempts": 3,
            "evaluateOnExit": [
                {"onStatusReason": "Host EC2*", "action": "RETRY"},
                {"onReason": "*", "action": "EXIT"},
            ],
        }
    )
    virtual.advance(hours=1)
    (instance_id,) = virtual.interrupt_spot()
    virtual.advance(seconds=119)
    assert shop.job(job_id)["attempts"] == []
    virtual.advance(hours=6)
    job = shop.job(job_id)
    reasons = [each["statusReason"] for each in job["attempts"]]
    assert reasons[0] == f"Host EC2 (instance {instance_id}) terminated."
    assert job["attempts"][0]["stoppedAt"] == START_MS + HOUR + 2 * MINUTE
    assert job["status"] == "SUCCEEDED"
    assert job["stoppedAt"] == START_MS + 6 * HOUR + 2 * MINUTE


def test_an_instance_that_dies(shop: Shop):
    job_id = shop.submit(retryStrategy={"attempts": 2})
    (instance,) = shop.yard.instances("ce")
    shop.yard.kill_instance(instance["instanceId"])
    assert instance["instanceId"] not in [each["instanceId"] for each in shop.yard.instances()]
    (attempt,) = shop.job(job_id)["attempts"]
    assert attempt["statusReason"] == f"Host EC2 (instance {instance['instanceId']}) terminated."
    assert shop.job(job_id)["status"] == "RUNNING"


def test_what_cannot_be_killed_is_named(shop: Shop):
    with pytest.raises(YardTrouble, match="i-1234"):
        shop.yard.kill_instance("i-1234")
    shop.submit()
    (instance,) = shop.yard.instances()
    with pytest.raises(YardTrouble, match="is not Spot capacity"):
        shop.yard.interrupt_spot(instance["instanceId"])
    assert shop.yard.interrupt_spot() == []


def test_images_that_cannot_be_pulled(shop: Shop):
    shop.yard.fail_pulls("busy*")
    job_id = shop.submit()
    shop.yard.advance(minutes=1)
    job = shop.job(job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert job["container"]["reason"].startswith("CannotPullContainerError: ")
    shop.yard.allow_pulls()
    again = shop.submit()
    shop.yard.advance(minutes=1)
    assert shop.job(again)["status"] == "SUCCEEDED"


def test_instances_boot_and_are_let_go():
    with yard(instance_boot_s=90, instance_idle_s=300) as made:
        shop = Shop(made)
        job_id = shop.submit()
        assert shop.job(job_id)["status"] == "RUNNABLE"
        made.advance(seconds=90)
        assert shop.job(job_id)["startedAt"] == START_MS + 90 * SECOND
        made.advance(minutes=1, seconds=299)
        assert len(made.instances()) == 1
        made.advance(seconds=1)
        assert made.instances() == []


def test_fair_share_over_a_week(virtual: Yard):
    """Two teams of equal weight and one machine: the one that comes a day late catches up."""
    batch = virtual.client("batch")
    policy = batch.create_scheduling_policy(
        name="fair", fairsharePolicy={"shareDecaySeconds": 604_800, "computeReservation": 0}
    )["arn"]
    shop = Shop(virtual, vcpus=2, schedulingPolicyArn=policy)
    virtual.jobs.behave(run=timedelta(hours=6))
    for _ in range(60):
        shop.submit("early", shareIdentifier="early", schedulingPriorityOverride=1)
    virtual.advance(days=1)
    for _ in range(60):
        shop.submit("late", shareIdentifier="late", schedulingPriorityOverride=1)
    virtual.advance(days=6)
    pages = batch.get_paginator("list_jobs").paginate(jobQueue="jq", jobStatus="SUCCEEDED")
    names = [job["jobName"] for page in pages for job in page["jobSummaryList"]]
    assert Counter(names) == {"early": 28, "late": 28}


def test_an_array_of_a_thousand(virtual: Yard):
    shop = Shop(virtual, vcpus=64)
    virtual.jobs.behave(lambda each: each.array_index == 500, exit_code=9)
    parent = shop.submit(arrayProperties={"size": 1000})
    virtual.advance(hours=1)
    job = shop.job(parent)
    summary = job["arrayProperties"]["statusSummary"]
    assert (summary["SUCCEEDED"], summary["FAILED"], job["status"]) == (999, 1, "FAILED")
    assert job["stoppedAt"] == START_MS + 16 * MINUTE


def test_finished_jobs_are_forgotten_after_a_week(shop: Shop):
    job_id = shop.submit()
    shop.yard.advance(days=6)
    assert shop.job(job_id)["status"] == "SUCCEEDED"
    shop.yard.advance(days=2)
    assert shop.batch.describe_jobs(jobs=[job_id])["jobs"] == []


def test_a_clock_may_begin_anywhere():
    start = datetime(2040, 2, 29, 12, tzinfo=UTC)
    with yard(start=start) as made:
        shop = Shop(made)
        job = shop.job(shop.submit())
        assert job["createdAt"] == round(start.timestamp() * 1000)
        assert made.client("sts").get_caller_identity()["Account"] == "000000000000"


def test_yards_do_not_disturb_each_other():
    with yard() as one, yard(seed=1, account_id="123456789012") as other:
        first, second = Shop(one), Shop(other)
        one_id, other_id = first.submit(), second.submit()
        one.advance(hours=1)
        assert first.job(one_id)["status"] == "SUCCEEDED"
        assert second.job(other_id)["status"] == "RUNNING"
        assert other.now == START
        assert second.batch.describe_jobs(jobs=[one_id])["jobs"] == []
        account = other.client("sts").get_caller_identity()["Account"]
        assert account == "123456789012"


def test_spot_capacity_that_has_ended(virtual: Yard):
    shop = Shop(virtual, capacity="SPOT")
    first = shop.submit()
    virtual.set_spot_capacity(0)
    assert shop.job(first)["status"] == "RUNNING"
    second = shop.submit("big", arrayProperties={"size": 4})
    virtual.advance(hours=1)
    assert shop.job(first)["status"] == "SUCCEEDED"
    third = shop.submit()
    virtual.advance(hours=1)
    job = shop.job(third)
    assert job["status"] == "RUNNABLE"
    assert job["statusReason"].startswith("CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY")
    virtual.set_spot_capacity(None)
    assert [job["status"] for job in virtual.finish(second, third)] == ["SUCCEEDED"] * 2
    with pytest.raises(ValueError, match="Spot capacity is 0"):
        virtual.set_spot_capacity(3)


def test_the_same_calls_give_the_same_answers():
    """To the byte: ids of jobs and instances, times, reasons, output."""

    def story() -> list[Any]:
        with yard(
            spot_interruptions_per_hour=0.5, spot_interruptions_seed=7, instance_boot_s=60
        ) as made:
            shop = Shop(made, capacity="SPOT", vcpus=8)
            made.jobs.behave(
                run=timedelta(hours=2), output=["begins", (timedelta(hours=1), "half")]
            )
            parent = shop.submit(arrayProperties={"size": 12}, retryStrategy={"attempts": 10})
            made.advance(hours=1)
            after = shop.submit("after", dependsOn=[{"jobId": parent}])
            made.finish(after)
            told: list[Any] = [shop.job(f"{parent}:{index}") for index in range(12)]
            told += [shop.job(after), shop.lines(after)]
            found = made.client("batchyard").list_instances(includeEnded=True)["instances"]
            return [*told, *found, made.now]

    first = story()
    assert first == story()
    assert sum(len(job["attempts"]) for job in first[:12]) > 12


def test_time_passes_until_a_condition_holds(shop: Shop):
    shop.yard.jobs.behave(run=timedelta(hours=2), output=[(timedelta(hours=1), "half")])
    job_id = shop.submit()
    shop.yard.advance_until(lambda: shop.lines(job_id))
    assert shop.yard.now == START + timedelta(hours=1)
    with pytest.raises(YardTrouble, match="makes the condition true"):
        shop.yard.advance_until(lambda: False, limit=timedelta(minutes=10))
    shop.yard.set_exit("job", code=0)
    shop.yard.jobs.behave(run=None)
    with pytest.raises(YardTrouble, match="no such jobs: nobody"):
        shop.yard.finish(job_id, "nobody")


def test_clients_of_this_process_and_of_others(shop: Shop):
    before = dict(os.environ)
    with shop.yard.in_environ():
        queues = boto3.client("batch").describe_job_queues()["jobQueues"]
    assert [each["jobQueueName"] for each in queues] == ["jq"]
    assert dict(os.environ) == before
    program = "import boto3; print(boto3.client('sts').get_caller_identity()['Account'])"
    made = subprocess.run(
        [sys.executable, "-c", program], env=shop.yard.environ, capture_output=True, check=True
    )
    assert made.stdout.split() == [b"000000000000"]


def test_a_server_that_fails_says_so(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(YardTrouble, match="server of the yard has failed"), yard() as made:  # noqa: PT012
        shop = Shop(made)
        monkeypatch.setattr(Jobs, "script_of", fail)
        shop.submit()
        made.advance(hours=1)


def test_a_predicate_that_fails_is_told_at_the_latest_at_the_end():
    def fail(_: Container) -> bool:
        raise KeyError("lane")

    with pytest.raises(YardTrouble, match="a rule for jobs has failed"), yard() as made:  # noqa: PT012
        shop = Shop(made)
        made.jobs.behave(fail)
        job_id = shop.submit()
        assert "KeyError('lane')" in shop.job(job_id)["container"]["reason"]
        with pytest.raises(YardTrouble, match=r"KeyError\('lane'\)"):
            made.advance(hours=1)


def test_a_yard_that_is_closed(virtual: Yard):
    with yard() as made:
        pass
    with pytest.raises(YardTrouble, match="is closed"):
        made.advance(hours=1)


def test_jobs_of_all_kinds(shop: Shop):
    """Nodes, containers that wait for others, and training jobs."""
    container = {
        "image": "mpi",
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "512"},
        ],
    }
    shop.batch.register_job_definition(
        jobDefinitionName="nodes",
        type="multinode",
        nodeProperties={
            "numNodes": 3,
            "mainNode": 0,
            "nodeRangeProperties": [{"targetNodes": "0:", "container": container}],
        },
    )
    first = {"name": "init", "essential": False, **container}
    then = {"name": "main", "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]}
    shop.batch.register_job_definition(
        jobDefinitionName="group",
        type="container",
        ecsProperties={"taskProperties": [{"containers": [first, {**then, **container}]}]},
    )
    shop.yard.jobs.behave(lambda each: each.node_index == 0, run=timedelta(hours=2))
    shop.yard.jobs.behave(lambda each: each.name == "init", run=timedelta(minutes=5))
    ids = [shop.submit(jobDefinition="nodes"), shop.submit(jobDefinition="group")]
    jobs = shop.yard.finish(*ids)
    assert [job["stoppedAt"] - START_MS for job in jobs] == [2 * HOUR, 6 * MINUTE]
    assert [job["status"] for job in jobs] == ["SUCCEEDED"] * 2


def test_a_training_job(shop: Shop):
    shop.batch.create_service_environment(
        serviceEnvironmentName="se",
        serviceEnvironmentType="SAGEMAKER_TRAINING",
        capacityLimits=[{"capacityUnit": "NUM_INSTANCES", "maxCapacity": 4}],
    )
    shop.batch.create_job_queue(
        jobQueueName="training",
        jobQueueType="SAGEMAKER_TRAINING",
        priority=1,
        serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": "se"}],
    )
    request = {
        "TrainingJobName": "ignored",
        "RoleArn": "arn:aws:iam::000000000000:role/training",
        "AlgorithmSpecification": {"TrainingImage": "trainer", "TrainingInputMode": "File"},
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/models"},
        "ResourceConfig": {
            "InstanceType": "ml.m5.large",
            "InstanceCount": 1,
            "VolumeSizeInGB": 1,
        },
        "StoppingCondition": {"MaxRuntimeInSeconds": 86_400},
    }
    shop.yard.jobs.behave(job_name="fine-*", queue="training", run=timedelta(hours=7))
    job_id = shop.batch.submit_service_job(
        jobName="fine-tuning",
        jobQueue="training",
        serviceJobType="SAGEMAKER_TRAINING",
        serviceRequestPayload=json.dumps(request),
    )["jobId"]
    shop.yard.advance(days=1)
    job = shop.batch.describe_service_job(jobId=job_id)
    assert (job["status"], job["stoppedAt"]) == ("SUCCEEDED", START_MS + 7 * HOUR)


def test_errors_are_aws_own(shop: Shop):
    with pytest.raises(ClientError) as caught:
        shop.submit(jobQueue="nowhere")
    assert caught.value.response["Error"]["Code"] == "ClientException"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"clock": "fast"}, "clock is 'virtual' or 'real'"),
        ({"start": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"instance_boot_s": -1}, "settings of the yard"),
        ({"no_such_setting": 1}, "no_such_setting"),
        ({"exit_code": 256}, "an exit code is 0..255: 256"),
        ({"run": timedelta(seconds=-1)}, "time does not go backwards"),
    ],
)
def test_what_makes_no_yard(wrong: Any, text: str):
    with pytest.raises(ValueError, match=text), yard(**wrong):
        pass


def test_time_does_not_go_backwards(shop: Shop):
    with pytest.raises(ValueError, match="backwards"):
        shop.yard.advance(hours=-1)
