"""What the tests of the kit ask of a yard, as users would."""

from __future__ import annotations

from typing import Any

from batchyard.testing import Yard

NETWORK = {"subnets": ["subnet-1"], "securityGroupIds": ["sg-1"]}


class Shop:
    """A user of one yard: an environment `ce`, a queue and a definition."""

    def __init__(
        self,
        yard: Yard,
        *,
        capacity: str = "EC2",
        vcpus: int = 16,
        queue: str = "jq",
        definition: str = "jd",
        image: str = "busybox",
        **of_queue: Any,
    ) -> None:
        self.yard = yard
        self.batch = yard.client("batch")
        self.queue = queue
        self.definition = definition
        self.image = image
        self.batch.create_compute_environment(
            computeEnvironmentName="ce",
            type="MANAGED",
            computeResources=_resources(capacity, vcpus),
        )
        self._wait_for_environment()
        self.batch.create_job_queue(
            jobQueueName=queue,
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "ce"}],
            **of_queue,
        )
        self.define()

    def _wait_for_environment(self) -> None:
        describe = self.batch.describe_compute_environments
        self.yard.advance_until(lambda: describe()["computeEnvironments"][0]["status"] == "VALID")

    def define(self, **members: Any) -> None:
        container = {
            "image": self.image,
            "command": ["work"],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "1024"},
            ],
        }
        self.batch.register_job_definition(
            jobDefinitionName=self.definition,
            type="container",
            containerProperties=container,
            **members,
        )

    def submit(self, name: str = "job", **members: Any) -> str:
        request = {
            "jobName": name,
            "jobQueue": self.queue,
            "jobDefinition": self.definition,
            **members,
        }
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


def _resources(capacity: str, vcpus: int) -> dict[str, Any]:
    strategy = "SPOT_CAPACITY_OPTIMIZED" if capacity == "SPOT" else "BEST_FIT_PROGRESSIVE"
    return {
        "type": capacity,
        "maxvCpus": vcpus,
        "minvCpus": 0,
        "instanceTypes": ["c6i"],
        "instanceRole": "ecsInstanceRole",
        "allocationStrategy": strategy,
        **NETWORK,
    }
