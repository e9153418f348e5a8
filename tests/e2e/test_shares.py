"""Fair share through the front door: boto3, a real server, real containers.

Children wait until they are let go one by one, so that who runs at each moment is known exactly.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.live_yard import MARK, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

VCPUS = 8
#: A child runs until there is a file of its share and index.
HOLD = """
until [ -e "/ledger/$SHARE-$AWS_BATCH_JOB_ARRAY_INDEX" ] || [ -e /ledger/end ]; do
    sleep 0.02
done
"""


def weights(**factor_by_share: float) -> dict[str, Any]:
    return {
        "shareDistribution": [
            {"shareIdentifier": share, "weightFactor": factor}
            for share, factor in factor_by_share.items()
        ]
    }


@pytest.fixture(scope="module")
def policy_arn() -> list[str]:
    """Holds the ARN of the policy, once there is one."""
    return []


@pytest.fixture(scope="module")
def yard(policy_arn: list[str]) -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=VCPUS) as made:
        answer = made.batch.create_scheduling_policy(
            name="by-weight", fairsharePolicy=weights(a=1, b=3)
        )
        policy_arn.append(answer["arn"])
        made.make_queue(policy_arn=answer["arn"])
        yield made


def switch(yard: LiveYard, state: str) -> None:
    """Let the environment take jobs, or none."""
    yard.batch.update_compute_environment(computeEnvironment=QUEUE, state=state)

    def is_settled() -> bool:
        answer = yard.batch.describe_compute_environments(computeEnvironments=[QUEUE])
        [found] = answer["computeEnvironments"]
        return bool(found["status"] == "VALID" and found["state"] == state)

    until(is_settled, f"the environment {state}")


def submit(yard: LiveYard, share: str, script: str = "", **members: Any) -> str:
    answer = yard.batch.submit_job(
        jobName=f"of-{share}",
        jobQueue=QUEUE,
        jobDefinition="definition",
        shareIdentifier=share,
        containerOverrides={
            "command": ["sh", "-c", MARK + script],
            "environment": [{"name": "SHARE", "value": share}],
        },
        **{"schedulingPriorityOverride": 1, **members},
    )
    job_id: str = answer["jobId"]
    return job_id


def running(yard: LiveYard, array_id: str) -> list[int]:
    """Name the children that run, by index."""
    answer = yard.batch.list_jobs(arrayJobId=array_id, jobStatus="RUNNING")
    return [job["arrayProperties"]["index"] for job in answer["jobSummaryList"]]


def refusal(yard: LiveYard, **request: Any) -> str:
    """Give the text with which a submission is refused."""
    whole = {"jobName": "j", "jobQueue": QUEUE, "jobDefinition": "definition", **request}
    with pytest.raises(ClientError) as refused:
        yard.batch.submit_job(**whole)
    error = refused.value.response["Error"]
    assert error["Code"] == "ClientException"
    return str(error["Message"])


def test_two_shares_get_the_machine_as_their_weights_say(
    yard: LiveYard, policy_arn: list[str]
) -> None:
    switch(yard, "DISABLED")
    a, b = (submit(yard, share, HOLD, arrayProperties={"size": 200}) for share in ("a", "b"))
    until(lambda: {"RUNNABLE"} == summary(yard, a) == summary(yard, b), "two full lines")
    switch(yard, "ENABLED")

    def become(of_a: list[int], of_b: list[int]) -> None:
        until(
            lambda: (running(yard, a), running(yard, b)) == (of_a, of_b),
            f"a running {of_a} and b {of_b}",
        )

    become([0, 1, 2, 3, 4, 5], [0, 1])
    yard.release("a-0")
    become([1, 2, 3, 4, 5, 6], [0, 1])
    yard.release("b-0")
    become([1, 2, 3, 4, 5, 6], [1, 2])

    urgent = submit(
        yard, "b", "until [ -e /ledger/urgent ]; do sleep 0.02; done", schedulingPriorityOverride=2
    )
    yard.reach("RUNNABLE", urgent)
    yard.release("a-1")
    become([2, 3, 4, 5, 6, 7], [1, 2])
    yard.release("b-1")
    yard.reach("RUNNING", urgent)
    become([2, 3, 4, 5, 6, 7], [2])
    shown = yard.job(urgent)
    assert (shown["shareIdentifier"], shown["schedulingPriority"]) == ("b", 2)
    yard.release("urgent")
    become([2, 3, 4, 5, 6, 7], [2, 3])

    yard.batch.update_scheduling_policy(arn=policy_arn[0], fairsharePolicy=weights(a=3, b=1))
    for index, of_b in ((2, [2, 3, 4]), (3, [2, 3, 4, 5]), (4, [2, 3, 4, 5, 6])):
        yard.release(f"a-{index}")
        become([each for each in range(2, 8) if each > index], of_b)
    yard.restart_after_kill()
    yard.release("a-5")
    become([6, 7], [2, 3, 4, 5, 6, 7])

    filters = [{"name": "SHARE_IDENTIFIER", "values": ["b"]}]
    found = yard.batch.list_jobs(jobQueue=QUEUE, filters=filters)["jobSummaryList"]
    assert [job["jobId"] for job in found] == [urgent, b]
    assert {job["shareIdentifier"] for job in found} == {"b"}
    yard.release("end")
    yard.ended(a, b)


def summary(yard: LiveYard, array_id: str) -> set[str]:
    counts = yard.job(array_id)["arrayProperties"]["statusSummary"]
    return {status for status, count in counts.items() if count}


def test_what_is_refused_is_refused_in_awss_words(yard: LiveYard, policy_arn: list[str]) -> None:
    assert refusal(yard) == "shareIdentifier must be specified."
    assert refusal(yard, shareIdentifier="a") == (
        "Either schedulingPriority in job definition or schedulingPriorityOverride should be"
        " specified."
    )
    yard.batch.create_job_queue(
        jobQueueName="plain",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": QUEUE}],
    )
    until(
        lambda: (
            yard.batch.describe_job_queues(jobQueues=["plain"])["jobQueues"][0]["status"] == "VALID"
        ),
        "a plain queue",
    )
    assert refusal(yard, jobQueue="plain", shareIdentifier="a") == (
        "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with"
        " fair share scheduling policy."
    )
    [arn] = policy_arn
    with pytest.raises(ClientError, match="found existing JobQueue relationship"):
        yard.batch.delete_scheduling_policy(arn=arn)
    assert yard.batch.list_scheduling_policies()["schedulingPolicies"] == [{"arn": arn}]
