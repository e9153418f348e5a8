"""What the tests of the kit ask of a yard, as users would."""

from __future__ import annotations

from typing import Any

from batchyard.testing import Yard

NETWORK = {"subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}


class Shop:
    """A user of one yard: environment `ce`, queue `jq` and definition `jd`."""

    def __init__(self, yard: Yard, *, capacity: str = "EC2", vcpus: int = 16, **queue: Any) -> None:
        self.yard = yard
        self.batch = yard.client("batch")
        resources = {"type": capacity, "maxvCpus": vcpus, **NETWORK}
        if "FARGATE" not in capacity:
            resources |= {
                "minvCpus": 0,
                "instanceTypes": ["c6i"],
                "instanceRole": "ecsInstanceRole",
                "allocationStrategy": "BEST_FIT_PROGRESSIVE",
            }
        if capacity == "SPOT":
            resources["allocationStrategy"] = "SPOT_CAPACITY_OPTIMIZED"
        self.batch.create_compute_environment(
            computeEnvironmentName="ce", type="MANAGED", computeResources=resources
        )
        self.batch.create_job_queue(
            jobQueueName="jq",
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "ce"}],
            **queue,
        )
        self.define()

    def define(self, name: str = "jd", **members: Any) -> None:
        container = {
            "image": "busybox",
            "command": ["work"],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "1024"},
            ],
        }
        self.batch.register_job_definition(
            jobDefinitionName=name, type="container", containerProperties=container, **members
        )

    def submit(self, name: str = "job", **members: Any) -> str:
        request = {"jobName": name, "jobQueue": "jq", "jobDefinition": "jd", **members}
        job_id: str = self.batch.submit_job(**request)["jobId"]
        return job_id

    def job(self, job_id: str) -> Any:
        return self.batch.describe_jobs(jobs=[job_id])["jobs"][0]

    def lines(self, job_id: str) -> list[tuple[int, str]]:
        stream = self.job(job_id)["container"]["logStreamName"]
        events = self.yard.client("logs").get_log_events(
            logGroupName="/aws/batch/job", logStreamName=stream, startFromHead=True
        )["events"]
        return [(each["timestamp"], each["message"]) for each in events]
