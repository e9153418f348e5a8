"""`evaluateOnExit` through the front door, as workflow tools register it."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.live_yard import QUEUE, LiveYard, live_yard

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

#: What Nextflow puts into every job definition: again after a lost host, never after a plain exit.
NEXTFLOW = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
]
#: Only this exit code is worth another attempt.
ON_SEVEN = [{"onExitCode": "7", "action": "retry"}, {"onReason": "*", "action": "exit"}]


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard() as made:
        made.make_queue()
        yield made


@pytest.mark.parametrize(
    ("rules", "script", "exit_codes"),
    [
        (NEXTFLOW, "exit 1", [1]),
        (ON_SEVEN, "exit 7", [7, 7, 7]),
        (ON_SEVEN, 'test "$AWS_BATCH_JOB_ATTEMPT" = 1 && exit 7; exit 8', [7, 8]),
        ([{"onExitCode": "9", "action": "EXIT"}], "exit 1", [1, 1, 1]),
    ],
)
def test_the_rules_of_the_definition_decide(
    yard: LiveYard, rules: list[dict[str, str]], script: str, exit_codes: list[int]
) -> None:
    job = submit(yard, rules, script)
    assert [each["container"]["exitCode"] for each in job["attempts"]] == exit_codes
    assert job["status"] == "FAILED"
    assert job["retryStrategy"] == {"attempts": 3, "evaluateOnExit": rules}


def submit(yard: LiveYard, rules: list[dict[str, str]], script: str) -> dict[str, Any]:
    """Register the rules with a definition, run a job of it, and describe its end."""
    definition = yard.batch.register_job_definition(
        jobDefinitionName="exit-rules",
        type="container",
        retryStrategy={"attempts": 3, "evaluateOnExit": rules},
        containerProperties={
            "image": "busybox",
            "command": ["sh", "-c", script],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "16"},
            ],
        },
    )["jobDefinitionArn"]
    answer = yard.batch.submit_job(jobName="rules", jobQueue=QUEUE, jobDefinition=definition)
    (job,) = yard.ended(answer["jobId"])
    return job
