"""A day of an operator: what is full, switched off, lost, made smaller and deleted, under load.

boto3 and the command against a real server with real containers, which is killed in the middle of
each of these and started again. Containers wait until they are let go, so that who runs is known
exactly; that somebody did not start too early is read from the times that jobs show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.lab import BATCH, now_ms
from tests.e2e.live_yard import MARK, LiveYard, live_yard, until
from tests.e2e.test_explanations import asking
from tests.e2e.test_interruptions import listed, run

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

MACHINE_VCPUS = 4
LARGE = "c6i.large"  # two vCPUs: what one job of the definition asks for
FULL = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested for"
    f" instance type [{LARGE}]"
)
DISABLED = "ACTION_REQUIRED - CE(s) associated with the job queue are disabled."
CHILD_COUNT = 10_000
#: Marks the ledger, then waits for a file of its own.
HOLD = f"""{MARK}
until [ -e "/ledger/$NAME" ] || [ -e /ledger/end ]; do sleep 0.05; done
"""
#: Ends as soon as it is told to.
YIELD = f"trap 'exit 143' TERM\n{HOLD}"
#: Hears SIGTERM, but ends only when it is let go.
HEED = f"trap : TERM\n{HOLD}"


@pytest.fixture
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=MACHINE_VCPUS, instance_idle_s=600) as made:
        made.register(resourceRequirements=asking(vcpus=2))
        yield made


def make(yard: LiveYard, name: str, *, max_vcpus: int = MACHINE_VCPUS) -> None:
    yard.make_other_queue(name, max_vcpus=max_vcpus, instance_types=[LARGE])


def hold(yard: LiveYard, queue: str, name: str, script: str = HOLD, **members: Any) -> str:
    """Submit a job that runs until a file of its name is there; give its id."""
    answer = yard.batch.submit_job(
        jobName=name,
        jobQueue=queue,
        jobDefinition="definition",
        containerOverrides={
            "command": ["sh", "-c", script],
            "environment": [{"name": "NAME", "value": name}],
        },
        **members,
    )
    job_id: str = answer["jobId"]
    return job_id


def environment(yard: LiveYard, name: str) -> Mapping[str, Any] | None:
    answer = yard.batch.describe_compute_environments(computeEnvironments=[name])
    found: list[Mapping[str, Any]] = answer["computeEnvironments"]
    return found[0] if found else None


def queue(yard: LiveYard, name: str) -> Mapping[str, Any] | None:
    found: list[Mapping[str, Any]] = yard.batch.describe_job_queues(jobQueues=[name])["jobQueues"]
    return found[0] if found else None


def change(yard: LiveYard, name: str, **members: Any) -> None:
    """Update an environment, and wait until that is settled."""
    yard.batch.update_compute_environment(computeEnvironment=name, **members)

    def is_settled() -> bool:
        found = environment(yard, name)
        return found is not None and found["status"] == "VALID"

    until(is_settled, f"{name} settled")


def disable_queue(yard: LiveYard, name: str) -> None:
    yard.batch.update_job_queue(jobQueue=name, state="DISABLED")

    def is_settled() -> bool:
        found = queue(yard, name)
        return found is not None and (found["status"], found["state"]) == ("VALID", "DISABLED")

    until(is_settled, f"{name} DISABLED")


def wait_for_reason(yard: LiveYard, job_id: str, reason: str) -> None:
    until(lambda: yard.job(job_id).get("statusReason") == reason, f"{job_id}: {reason}")
    assert yard.job(job_id)["status"] == "RUNNABLE"


def refusal(operation: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as refused:
        operation(**request)
    error = refused.value.response["Error"]
    assert error["Code"] == "ClientException"
    return str(error["Message"])


def ran_once(yard: LiveYard, *job_ids: str) -> bool:
    runs = yard.runs()
    return all(runs[job_id, 1] == 1 and (job_id, 2) not in runs for job_id in job_ids)


def test_a_full_machine_says_so_and_starts_who_waits_when_there_is_room(yard: LiveYard) -> None:
    make(yard, "day")
    make(yard, "night")
    holders = [hold(yard, "day", name) for name in ("first", "second")]
    yard.reach("RUNNING", *holders)
    head, behind = (hold(yard, "night", name) for name in ("head", "behind"))
    wait_for_reason(yard, head, FULL)
    yard.restart_after_kill()
    wait_for_reason(yard, head, FULL)
    assert yard.job(behind)["status"] == "RUNNABLE"
    yard.release("first")
    yard.reach("RUNNING", head)
    assert "statusReason" not in yard.job(head)
    wait_for_reason(yard, behind, FULL)
    yard.release("end")
    everyone = [*holders, head, behind]
    assert {job["status"] for job in yard.ended(*everyone)} == {"SUCCEEDED"}
    assert ran_once(yard, *everyone)


def test_a_disabled_environment_finishes_what_runs_and_starts_nothing(yard: LiveYard) -> None:
    make(yard, "day", max_vcpus=2)
    make(yard, "other", max_vcpus=2)
    runs = hold(yard, "day", "first")
    yard.reach("RUNNING", runs)
    waits, behind = (hold(yard, "day", name) for name in ("waits", "behind"))
    change(yard, "day", state="DISABLED")
    wait_for_reason(yard, waits, DISABLED)
    assert yard.job(runs)["status"] == "RUNNING"
    yard.kill()
    yard.release("first")
    yard.start()
    assert yard.ended(runs)[0]["status"] == "SUCCEEDED"
    late = hold(yard, "day", "late")
    yard.release("elsewhere")
    assert yard.ended(hold(yard, "other", "elsewhere"))[0]["status"] == "SUCCEEDED"
    wait_for_reason(yard, waits, DISABLED)
    assert yard.statuses(waits, behind, late) == {"RUNNABLE": 3}
    enabled_ms = now_ms()
    change(yard, "day", state="ENABLED")
    yard.release("end")
    jobs = yard.ended(waits, behind, late)
    assert {job["status"] for job in jobs} == {"SUCCEEDED"}
    starts_ms = [job["startedAt"] for job in jobs]
    assert starts_ms == sorted(starts_ms)
    assert starts_ms[0] >= enabled_ms
    assert ran_once(yard, runs, waits, behind, late)


def test_what_ran_on_a_lost_instance_goes_on_elsewhere_as_its_rules_say(yard: LiveYard) -> None:
    make(yard, "day")
    yard.register("half", resourceRequirements=asking(vcpus=1))
    rules = [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]
    by_rule = {"attempts": 3, "evaluateOnExit": rules}
    never = {"attempts": 3, "evaluateOnExit": [{"onStatusReason": "Host*", "action": "EXIT"}]}

    def submit(name: str, **members: Any) -> str:
        return yard.batch.submit_job(
            jobName=name,
            jobQueue="day",
            jobDefinition="half",
            containerOverrides={
                "command": ["sh", "-c", YIELD],
                "environment": [{"name": "NAME", "value": name}],
            },
            **members,
        )["jobId"]

    once, no_more = submit("once"), submit("no-more", retryStrategy=never)
    again, still = submit("again", retryStrategy=by_rule), submit("still", retryStrategy=by_rule)
    everyone = (once, no_more, again, still)
    yard.reach("RUNNING", *everyone)
    until(lambda: len(yard.runs()) == len(everyone), "four containers")
    at = {job_id: each["instanceId"] for each in listed(yard) for job_id in each["jobs"]}
    assert len(set(at.values())) == 2
    for instance_id in sorted(set(at.values())):
        words = ("instance", "interrupt", instance_id, "--notice", "0", "--force")
        assert run(yard, *words).returncode == 0
    yard.restart_after_kill()
    until(lambda: {(again, 2), (still, 2)} <= set(yard.runs()), "the second attempts")
    for job in yard.ended(once, no_more):
        reason = f"Host EC2 (instance {at[job['jobId']]}) terminated."
        assert (job["status"], job["statusReason"]) == ("FAILED", reason)
        assert [each["statusReason"] for each in job["attempts"]] == [reason]
    yard.release("end")
    for job in yard.ended(again, still):
        assert job["status"] == "SUCCEEDED"
        first, last = job["attempts"]
        assert first["statusReason"] == f"Host EC2 (instance {at[job['jobId']]}) terminated."
        arns = [each["container"]["containerInstanceArn"] for each in (first, last)]
        assert arns[0] != arns[1]
    yard.assert_each_ran_once(*everyone)


def test_a_lower_limit_ends_nothing_and_starts_nothing_until_there_is_room(yard: LiveYard) -> None:
    make(yard, "day")
    first, second = (hold(yard, "day", name) for name in ("first", "second"))
    yard.reach("RUNNING", first, second)
    waits = hold(yard, "day", "waits")
    change(yard, "day", computeResources={"maxvCpus": 2})
    over = "day uses 4 vCPUs of maxvCpus 2 vCPUs: short by 4 vCPUs."
    wait_for_reason(yard, waits, over)
    yard.restart_after_kill()
    wait_for_reason(yard, waits, over)
    assert yard.statuses(first, second) == {"RUNNING": 2}
    yard.release("first")
    assert yard.ended(first)[0]["status"] == "SUCCEEDED"
    wait_for_reason(yard, waits, "day uses 2 vCPUs of maxvCpus 2 vCPUs: short by 2 vCPUs.")
    until(lambda: len(listed(yard)) == 1, "the end of the idle instance above the limit")
    yard.release("second")
    yard.reach("RUNNING", waits)
    yard.release("end")
    last, ended = yard.ended(waits, second)
    assert (last["status"], ended["status"]) == ("SUCCEEDED", "SUCCEEDED")
    assert last["startedAt"] >= ended["stoppedAt"]
    assert ran_once(yard, first, second, waits)


def test_a_queue_of_ten_thousand_jobs_is_deleted_while_others_work(yard: LiveYard) -> None:
    make(yard, "day", max_vcpus=2)
    make(yard, "other", max_vcpus=2)
    heeds = hold(yard, "day", "heeds", HEED)
    yard.reach("RUNNING", heeds)
    array = hold(yard, "day", "array", arrayProperties={"size": CHILD_COUNT})
    after = hold(yard, "day", "after", dependsOn=[{"jobId": array}])
    beside = hold(yard, "other", "beside", dependsOn=[{"jobId": array}])
    singles = [hold(yard, "day", f"single-{number}") for number in range(50)]
    yard.reach("RUNNABLE", *singles)
    until(lambda: ready_count(yard, array) == CHILD_COUNT, "all children")

    delete = yard.batch.delete_job_queue
    text = "Cannot delete, state must be DISABLED"
    assert refusal(delete, jobQueue="day") == text
    disable_queue(yard, "day")
    arn = f"{BATCH}:job-queue/day"
    assert refusal(
        yard.batch.submit_job, jobName="no", jobQueue="day", jobDefinition="definition"
    ) == (f"Job Queue {arn} is in state DISABLED")
    remove = yard.batch.delete_compute_environment
    assert refusal(remove, computeEnvironment="day") == text
    change(yard, "day", state="DISABLED")
    related = "Cannot delete, found existing JobQueue relationship"
    assert refusal(remove, computeEnvironment="day") == related

    assert delete(jobQueue="day")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert refusal(remove, computeEnvironment="day") == related
    busy = "Cannot delete, resource is being modified"
    assert refusal(delete, jobQueue="day") == busy
    yard.release("works")
    works = hold(yard, "other", "works")
    assert yard.ended(works)[0]["status"] == "SUCCEEDED"
    yard.restart_after_kill()
    yard.release("heeds")
    until(lambda: queue(yard, "day") is None, "the end of the queue")
    ended = yard.jobs(heeds, *singles)
    assert {(job["status"], job["statusReason"]) for job in ended} == {
        ("FAILED", "JobQueue deleted")
    }
    assert [each["statusReason"] for each in ended[0]["attempts"]] == ["JobQueue deleted"]
    parent, dependent = yard.jobs(array, after)
    assert (parent["status"], parent["statusReason"]) == ("FAILED", "Array Child Job failed")
    assert (dependent["status"], dependent["statusReason"]) == ("FAILED", "Dependent Job failed")
    for index in (0, CHILD_COUNT - 1):
        assert yard.job(f"{array}:{index}")["statusReason"] == "JobQueue deleted"
    counts = parent["arrayProperties"]["statusSummary"]
    assert {name: each for name, each in counts.items() if each} == {"FAILED": CHILD_COUNT}
    [told] = yard.ended(beside)
    assert (told["status"], told["statusReason"]) == ("FAILED", "Dependent Job failed")
    assert remove(computeEnvironment="day")["ResponseMetadata"]["HTTPStatusCode"] == 200
    until(lambda: environment(yard, "day") is None, "the end of the environment")
    assert remove(computeEnvironment="day")["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert refusal(delete, jobQueue="day") == f"{arn} does not exist"
    assert {job_id for job_id, _ in yard.runs()} == {heeds, works}


def ready_count(yard: LiveYard, array_id: str) -> int:
    count: int = yard.job(array_id)["arrayProperties"]["statusSummary"]["RUNNABLE"]
    return count
