"""What the demo asks of AWS Batch's API: environments, queues, definitions, jobs, logs.

Speaks to the server only as any AWS client would.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from batchyard.cli.demo.programs import COUNT, GREET, MERGE
from batchyard.cli.demo.text import shard_name

FARGATE_QUEUE = "demo-fargate"
EC2_QUEUE = "demo-ec2"
TOP_COUNT = 15

_ENDED = ("SUCCEEDED", "FAILED")
_POLL_S = 0.15
_SETTLE_S_MAX = 30.0
#: Longer than the 30 seconds that a job is given between SIGTERM and SIGKILL.
_STOP_S_MAX = 35.0

Job = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where the text lies, and where jobs leave their results: on this machine."""

    input: Path
    output: Path


class DemoYard:
    """The demo's side of the API."""

    def __init__(self, *, batch: Any, logs: Any) -> None:
        self._batch = batch
        self._logs = logs
        #: Every job submitted, by name.
        self.job_ids: dict[str, str] = {}

    # ── what jobs run in ─────────────────────────────────────────────────────────────────

    def create_environments(self) -> None:
        """Create an environment of each kind with a queue of the same name; wait for VALID."""
        network = {"subnets": ["subnet-local"], "securityGroupIds": ["sg-local"]}
        cpu_count = os.cpu_count() or 1
        self._create_environment(
            FARGATE_QUEUE, {"type": "FARGATE", "maxvCpus": cpu_count, **network}
        )
        self._create_environment(
            EC2_QUEUE,
            {
                "type": "EC2",
                "minvCpus": 0,
                "maxvCpus": cpu_count,
                "instanceTypes": ["optimal"],
                "instanceRole": "ecsInstanceRole",
                **network,
            },
        )
        names = [FARGATE_QUEUE, EC2_QUEUE]
        self._settle(
            lambda: self._batch.describe_compute_environments(computeEnvironments=names)[
                "computeEnvironments"
            ]
        )
        for name in names:
            self._batch.create_job_queue(
                jobQueueName=name,
                priority=1,
                computeEnvironmentOrder=[{"order": 1, "computeEnvironment": name}],
            )
        self._settle(lambda: self._batch.describe_job_queues(jobQueues=names)["jobQueues"])

    def _create_environment(self, name: str, resources: Job) -> None:
        self._batch.create_compute_environment(
            computeEnvironmentName=name, type="MANAGED", computeResources=resources
        )

    def _settle(self, describe: Callable[[], list[Job]]) -> None:
        deadline = time.monotonic() + _SETTLE_S_MAX
        while any(each["status"] != "VALID" for each in describe()):
            for each in describe():
                if each["status"] == "INVALID" or time.monotonic() > deadline:
                    raise click.ClickException(f"the server did not make this VALID: {each}")
            time.sleep(_POLL_S)

    # ── what they run ────────────────────────────────────────────────────────────────────

    def register_definitions(self, image: str, folders: Folders) -> None:
        """Register what greets (FARGATE), and what counts and merges (EC2, with folders)."""
        self._batch.register_job_definition(
            jobDefinitionName="greet",
            type="container",
            platformCapabilities=["FARGATE"],
            containerProperties={
                "image": image,
                "command": ["sh", "-c", GREET],
                "executionRoleArn": "arn:aws:iam::000000000000:role/ecsTaskExecutionRole",
                "resourceRequirements": _amounts("0.25", "512"),
            },
        )
        command = ["sh", "-c", COUNT, "count-words", "/input", "Ref::shard", "/output"]
        self._register_with_folders("count-words", image, command, folders)
        command = ["sh", "-c", MERGE, "merge-counts", "/output", "Ref::parts", str(TOP_COUNT)]
        self._register_with_folders("merge-counts", image, command, folders)

    def _register_with_folders(
        self, name: str, image: str, command: list[str], folders: Folders
    ) -> None:
        self._batch.register_job_definition(
            jobDefinitionName=name,
            type="container",
            platformCapabilities=["EC2"],
            retryStrategy={"attempts": 2},
            timeout={"attemptDurationSeconds": 120},
            containerProperties={
                "image": image,
                "command": command,
                "resourceRequirements": _amounts("1", "256"),
                "volumes": [
                    {"name": "input", "host": {"sourcePath": str(folders.input)}},
                    {"name": "output", "host": {"sourcePath": str(folders.output)}},
                ],
                "mountPoints": [
                    {"sourceVolume": "input", "containerPath": "/input", "readOnly": True},
                    {"sourceVolume": "output", "containerPath": "/output"},
                ],
            },
        )

    # ── jobs ─────────────────────────────────────────────────────────────────────────────

    def submit_greeting(self) -> str:
        """Submit the first job; return its name."""
        return self._submit("greet", jobQueue=FARGATE_QUEUE, jobDefinition="greet")

    def submit_map_reduce(self, shard_count: int) -> list[str]:
        """Submit a job a shard, and one that depends on all of them; return their names."""
        names = [
            self._submit(
                f"count-{shard_name(number)}",
                jobQueue=EC2_QUEUE,
                jobDefinition="count-words",
                parameters={"shard": shard_name(number)},
            )
            for number in range(1, shard_count + 1)
        ]
        merge = self._submit(
            "merge",
            jobQueue=EC2_QUEUE,
            jobDefinition="merge-counts",
            parameters={"parts": str(shard_count)},
            dependsOn=[{"jobId": self.job_ids[name]} for name in names],
        )
        return [*names, merge]

    def _submit(self, name: str, **request: Any) -> str:
        self.job_ids[name] = self._batch.submit_job(jobName=name, **request)["jobId"]
        return name

    def describe(self, names: Sequence[str]) -> list[Job]:
        """Describe jobs of the demo, in the order of `names`."""
        found = self._batch.describe_jobs(jobs=[self.job_ids[name] for name in names])["jobs"]
        job_by_id = {job["jobId"]: job for job in found}
        return [job_by_id[self.job_ids[name]] for name in names]

    def watch(
        self, names: Sequence[str], show: Callable[[Sequence[Job]], None], *, timeout_s: float
    ) -> list[Job]:
        """Show jobs until all have ended. Raises ClickException if they take too long."""
        deadline = time.monotonic() + timeout_s
        while True:
            jobs = self.describe(names)
            show(jobs)
            if has_all_ended(jobs):
                return jobs
            if time.monotonic() > deadline:
                waiting = [job for job in jobs if job["status"] not in _ENDED]
                raise click.ClickException(
                    f"after {timeout_s:g} seconds these have not ended:\n"
                    + "\n".join(describe_outcome(job) for job in waiting)
                )
            time.sleep(_POLL_S)

    def read_log(self, job: Job) -> list[Job]:
        """Read all that a job has written (GetLogEvents): events with `timestamp` and `message`.

        Nothing, if its container never started.
        """
        request = {
            "logGroupName": "/aws/batch/job",
            "logStreamName": job["container"]["logStreamName"],
            "startFromHead": True,
        }
        events: list[Job] = []
        while True:
            try:
                page = self._logs.get_log_events(**request)
            except self._logs.exceptions.ResourceNotFoundException:
                return events
            events += page["events"]
            token = page["nextForwardToken"]
            if token == request.get("nextToken"):
                return events
            request["nextToken"] = token

    def stop_everything(self) -> None:
        """Terminate the jobs that have not ended, and wait a while for their end."""
        names = list(self.job_ids)
        for name in names:
            self._batch.terminate_job(jobId=self.job_ids[name], reason="the demo was stopped")
        deadline = time.monotonic() + _STOP_S_MAX
        while names and not has_all_ended(self.describe(names)) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def has_all_ended(jobs: Sequence[Job]) -> bool:
    return all(job["status"] in _ENDED for job in jobs)


def describe_outcome(job: Job) -> str:
    """Say in one line what became of a job, and why."""
    causes = (job.get("statusReason"), job.get("container", {}).get("reason"))
    return ": ".join([f"{job['jobName']} {job['status']}", *(text for text in causes if text)])


def _amounts(vcpus: str, memory_mib: str) -> list[Job]:
    return [{"type": "VCPU", "value": vcpus}, {"type": "MEMORY", "value": memory_mib}]
