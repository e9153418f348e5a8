"""A server with the real `aws` command in front of it, as a user of AWS Batch sits before AWS."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live_yard import REGION, LiveYard, live_yard, until

#: Version 1 of the AWS CLI, installed beside our own program.
AWS = Path(sys.executable).with_name("aws")

ACCOUNT = "000000000000"
BATCH = f"arn:aws:batch:{REGION}:{ACCOUNT}"
ECS = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

#: AWS's example of a managed environment, from the reference of the command.
ON_DEMAND: dict[str, Any] = {
    "computeEnvironmentName": "C4OnDemand",
    "type": "MANAGED",
    "state": "ENABLED",
    "computeResources": {
        "type": "EC2",
        "minvCpus": 0,
        "maxvCpus": 128,
        "desiredvCpus": 48,
        "instanceTypes": ["c4.large", "c4.xlarge", "c4.2xlarge", "c4.4xlarge", "c4.8xlarge"],
        "subnets": ["subnet-220c0e0a", "subnet-1a95556d", "subnet-978f6dce"],
        "securityGroupIds": ["sg-cf5093b2"],
        "ec2KeyPair": "id_rsa",
        "instanceRole": "ecsInstanceRole",
        "tags": {"Name": "Batch Instance - C4OnDemand"},
    },
    "serviceRole": "arn:aws:iam::012345678910:role/AWSBatchServiceRole",
}
FARGATE: dict[str, Any] = {
    "computeEnvironmentName": "Serverless",
    "type": "MANAGED",
    "computeResources": {
        "type": "FARGATE",
        "maxvCpus": 16,
        "subnets": ["subnet-220c0e0a"],
        "securityGroupIds": ["sg-cf5093b2"],
    },
    "tags": {"team": "lab"},
}
CONTAINER: dict[str, Any] = {
    "image": "busybox",
    "resourceRequirements": [
        {"type": "VCPU", "value": "1"},
        {"type": "MEMORY", "value": "64"},
    ],
}
EXECUTION_ROLE = "arn:aws:iam::012345678910:role/ecsTaskExecutionRole"


class Like:
    """Equal to every text of a form."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and re.fullmatch(self._pattern, other) is not None

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Like({self._pattern!r})"


class Between:
    """Equal to every whole number of milliseconds in a span."""

    def __init__(self, low_ms: int, high_ms: int) -> None:
        self._low_ms, self._high_ms = low_ms, high_ms

    def __eq__(self, other: object) -> bool:
        return type(other) is int and self._low_ms <= other <= self._high_ms

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Between({self._low_ms}, {self._high_ms})"


class Lab:
    """A server, and the command line in front of it."""

    def __init__(self, yard: LiveYard) -> None:
        self.yard = yard
        self.environ = yard.environ | {
            "AWS_ENDPOINT_URL": yard.endpoint,
            "AWS_ACCESS_KEY_ID": yard.key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": yard.key["secret_access_key"],
            "AWS_DEFAULT_REGION": REGION,
            "AWS_PAGER": "",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def aws(self, *words: str) -> Any:
        """Give the answer of a command that must work; {} where it prints nothing."""
        done = self._run(*words)
        assert done.returncode == 0, (words, done.stderr)
        return json.loads(done.stdout or "{}")

    def batch(self, operation: str, request: dict[str, Any]) -> Any:
        return self.aws("batch", operation, "--cli-input-json", json.dumps(request))

    def refused(self, *words: str) -> str:
        """Give what the command says to a request that must be refused."""
        done = self._run(*words)
        assert done.returncode not in (0, None), words
        return done.stderr.strip()

    def submit(self, name: str, definition: str, *words: str, queue: str = "LowPriority") -> str:
        answer = self.aws(
            *("batch", "submit-job", "--job-name", name, "--job-queue", queue),
            *("--job-definition", definition, *words),
        )
        assert answer == {
            "jobArn": f"{BATCH}:job/{answer['jobId']}",
            "jobName": name,
            "jobId": Like(UUID),
        }
        return str(answer["jobId"])

    def job(self, job_id: str) -> Any:
        [job] = self.aws("batch", "describe-jobs", "--jobs", job_id)["jobs"]
        return job

    def summaries(self, status: str, queue: str = "LowPriority") -> dict[str, Any]:
        """Give what ListJobs shows, by job id.

        Without the marks of cancel and terminate: the command's model may be older than they are.
        """
        words = ("--job-queue", queue, "--job-status", status)
        found = self.aws("batch", "list-jobs", *words)["jobSummaryList"]
        marks = ("isCancelled", "isTerminated")
        return {
            each["jobId"]: {name: each[name] for name in each if name not in marks}
            for each in found
        }

    def reach(self, job_id: str, *statuses: str) -> Any:
        """Wait until the job is in one of the statuses, then show it with the command."""
        until(lambda: self.yard.job(job_id)["status"] in statuses, f"{job_id} {statuses}")
        return self.job(job_id)

    def settle(self, kind: str, name: str) -> Any:
        """Wait until an environment or a queue is VALID or gone; give it, or None."""
        plural = {"compute-environment": "computeEnvironments", "job-queue": "jobQueues"}[kind]
        transient = ("CREATING", "UPDATING", "DELETING")
        for _ in range(100):
            found = self.aws("batch", f"describe-{kind}s", f"--{kind}s", name)[plural]
            if not found or found[0]["status"] not in transient:
                return found[0] if found else None
        raise AssertionError(f"{kind} {name} does not settle")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(AWS), *words],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
        )


@contextmanager
def open_lab() -> Iterator[Lab]:
    """Give the state after the first pages of the tutorial: environments and queues."""
    if not AWS.exists():
        pytest.fail(f"the aws command is missing at {AWS}: awscli is one of our own dependencies")
    with live_yard(machine_vcpus=64) as yard:
        lab = Lab(yard)
        for request in (ON_DEMAND, FARGATE):
            lab.batch("create-compute-environment", request)
            lab.settle("compute-environment", request["computeEnvironmentName"])
        for name, environment in (("LowPriority", "C4OnDemand"), ("Serverless", "Serverless")):
            lab.aws(
                *("batch", "create-job-queue", "--job-queue-name", name, "--priority", "1"),
                *("--compute-environment-order", f"order=1,computeEnvironment={environment}"),
            )
            lab.settle("job-queue", name)
        yield lab


def register(lab: Lab, name: str, script: str, **request: Any) -> str:
    """Register a definition that runs `script`; give its name."""
    container = {**CONTAINER, "command": ["sh", "-c", script]}
    answer = lab.batch(
        "register-job-definition",
        {
            "jobDefinitionName": name,
            "type": "container",
            "containerProperties": container,
            **request,
        },
    )
    assert answer == {
        "jobDefinitionName": name,
        "jobDefinitionArn": f"{BATCH}:job-definition/{name}:{answer['revision']}",
        "revision": answer["revision"],
    }
    return name


def now_ms() -> int:
    return time.time_ns() // 1_000_000
