"""A Batch API over a real SQLite store, and a hand in the engine's place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from batchyard.api.batch import handlers
from batchyard.model.ids import (
    EnvironmentArn,
    HostId,
    JobId,
    QueueArn,
    Scope,
    is_part_id,
    task_id_of,
)
from batchyard.model.records import Attempt, JobProgress, JobRecord
from batchyard.model.refusal import Refusal
from batchyard.model.status import ResourceStatus
from batchyard.store import (
    Store,
    environments,
    jobs,
    live_jobs,
    queues,
    quota_shares,
    service_environments,
)
from batchyard.store.children import write_children
from batchyard.wire.call import Call

SCOPE = Scope("123456789012", "eu-central-1")
ELSEWHERE = Scope("999999999999", "eu-central-1")
NOW_MS = 1_800_000_000_000

EC2_RESOURCES = {
    "type": "EC2",
    "maxvCpus": 16,
    "instanceTypes": ["optimal"],
    "subnets": ["subnet-1"],
    "securityGroupIds": ["sg-1"],
    "instanceRole": "ecsInstanceRole",
}
FARGATE_RESOURCES = {
    "type": "FARGATE",
    "maxvCpus": 16,
    "subnets": ["subnet-1"],
    "securityGroupIds": ["sg-1"],
}
EKS_CONFIGURATION = {
    "eksClusterArn": "arn:aws:eks:eu-central-1:123456789012:cluster/cluster",
    "kubernetesNamespace": "jobs",
}
CONTAINER = {
    "image": "busybox",
    "command": ["echo", "hello"],
    "resourceRequirements": [
        {"type": "VCPU", "value": "1"},
        {"type": "MEMORY", "value": "128"},
    ],
}
ROLE = "arn:aws:iam::123456789012:role/execution"
FARGATE_CONTAINER = {
    "image": "busybox",
    "executionRoleArn": ROLE,
    "resourceRequirements": [
        {"type": "VCPU", "value": "0.25"},
        {"type": "MEMORY", "value": "512"},
    ],
}


def an_attempt(job_id: JobId, number: int = 1, **changes: Any) -> Attempt:
    """An attempt of a job, a child or a node, placed 100 ms after its submission or the last."""
    return Attempt(
        number=number,
        task_id=task_id_of(job_id, number),
        environment_arn=SCOPE.environment_arn("ce"),
        host_id=HostId("this-machine"),
        placed_ms=NOW_MS + 100 * number,
        **changes,
    )


def requirements(**value_by_type: str) -> list[dict[str, str]]:
    return [{"type": kind, "value": value} for kind, value in value_by_type.items()]


_MODEL = botocore.session.get_session().get_service_model("batch")


def strangers(value: Any, shape: Any, at: str = "") -> list[str]:
    """Name the members of an answer that the service's model does not have."""
    if shape.type_name == "structure":
        unknown = [f"{at}.{member}" for member in value if member not in shape.members]
        return unknown + [
            found
            for member in set(value) & set(shape.members)
            for found in strangers(value[member], shape.members[member], f"{at}.{member}")
        ]
    if shape.type_name == "list":
        return [found for each in value for found in strangers(each, shape.member, at)]
    return []


class Yard:
    """Calls operations as the wire does; `settle` does what the engine would."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.store = store
        self.now_ms = NOW_MS
        self._handlers = handlers(store, **settings)

    async def call(
        self, operation: str, /, scope: Scope = SCOPE, body_size: int | None = None, **request: Any
    ) -> Any:
        call = Call(
            scope=scope,
            principal_arn=f"arn:aws:iam::{scope.account}:root",
            user_id=scope.account,
            access_key_id="AKIDEXAMPLE",
            request_id="the-request-id",
            now_ms=self.now_ms,
            body_size=len(json.dumps(request)) if body_size is None else body_size,
        )
        answer = await self._handlers["batch", operation](call, request)
        assert strangers(answer, _MODEL.operation_model(operation).output_shape) == []
        return answer

    async def refused(self, operation: str, /, **request: Any) -> str:
        """Give the text of the refusal that the call must meet."""
        with pytest.raises(Refusal) as refused:
            await self.call(operation, **request)
        assert (refused.value.code, refused.value.http_status) == ("ClientException", 400)
        return refused.value.message

    async def settle(self, status: ResourceStatus = ResourceStatus.VALID) -> None:
        """Bring every environment and queue that is in transition to `status`, or to its end."""

        def work(conn: Any) -> None:
            for environment in environments.read_environments_in_transition(conn):
                if environment.status is ResourceStatus.DELETING:
                    environments.delete_environment(conn, environment.arn)
                else:
                    # As the engine does: what was asked for has been launched.
                    resources = environment.detail.get("computeResources", {})
                    launched = 1000 * resources.get("desiredvCpus", 0)
                    environments.update_environment(
                        conn, environment.arn, status=status, cpu_milli_launched=launched
                    )
            for queue in queues.read_queues_in_transition(conn):
                if queue.status is ResourceStatus.DELETING:
                    queues.delete_queue(conn, queue.arn)
                else:
                    queues.update_queue(conn, queue.arn, status=status)
            for share in quota_shares.read_quota_shares_in_transition(conn):
                if share.status is ResourceStatus.DELETING:
                    quota_shares.delete_quota_share(conn, share.queue_arn, share.name)
                else:
                    quota_shares.settle_quota_share(conn, share.queue_arn, share.name)

            for place in service_environments.read_service_environments_in_transition(conn):
                if place.status is ResourceStatus.DELETING:
                    service_environments.delete_service_environment(conn, place.arn)
                else:
                    service_environments.settle_service_environment(conn, place.arn)

        await self.store.write(work)

    async def environment(self, name: str = "ce", **resources: Any) -> EnvironmentArn:
        answer = await self.call(
            "CreateComputeEnvironment",
            computeEnvironmentName=name,
            type="MANAGED",
            computeResources={**EC2_RESOURCES, **resources},
        )
        await self.settle()
        return EnvironmentArn(answer["computeEnvironmentArn"])

    async def fargate_environment(self, name: str = "fargate") -> EnvironmentArn:
        answer = await self.call(
            "CreateComputeEnvironment",
            computeEnvironmentName=name,
            type="MANAGED",
            computeResources=FARGATE_RESOURCES,
        )
        await self.settle()
        return EnvironmentArn(answer["computeEnvironmentArn"])

    async def eks_environment(self, name: str = "eks", **members: Any) -> EnvironmentArn:
        """Make an environment of EKS, and settle it as one that has no cluster."""
        answer = await self.call(
            "CreateComputeEnvironment",
            computeEnvironmentName=name,
            type="MANAGED",
            eksConfiguration=EKS_CONFIGURATION,
            computeResources={**EC2_RESOURCES, "allocationStrategy": "BEST_FIT_PROGRESSIVE"},
            **members,
        )
        await self.settle(ResourceStatus.INVALID)
        return EnvironmentArn(answer["computeEnvironmentArn"])

    async def service_environment(self, name: str = "se", **limits: int) -> EnvironmentArn:
        """Make an environment for 8 instances of any type, unless something else is said."""
        answer = await self.call(
            "CreateServiceEnvironment",
            serviceEnvironmentName=name,
            serviceEnvironmentType="SAGEMAKER_TRAINING",
            capacityLimits=[
                {"capacityUnit": unit, "maxCapacity": count}
                for unit, count in (limits or {"NUM_INSTANCES": 8}).items()
            ],
        )
        await self.settle()
        return EnvironmentArn(answer["serviceEnvironmentArn"])

    async def service_queue(
        self, name: str = "training", environment: str = "se", **members: Any
    ) -> QueueArn:
        answer = await self.call(
            "CreateJobQueue",
            jobQueueName=name,
            jobQueueType="SAGEMAKER_TRAINING",
            priority=1,
            serviceEnvironmentOrder=[{"order": 1, "serviceEnvironment": environment}],
            **members,
        )
        await self.settle()
        return QueueArn(answer["jobQueueArn"])

    async def queue(self, name: str = "jq", environment: str = "ce", **members: Any) -> QueueArn:
        answer = await self.call(
            "CreateJobQueue",
            jobQueueName=name,
            priority=1,
            computeEnvironmentOrder=[{"order": 1, "computeEnvironment": environment}],
            **members,
        )
        await self.settle()
        return QueueArn(answer["jobQueueArn"])

    async def define(self, name: str = "jd", **request: Any) -> str:
        request = {"type": "container", "containerProperties": CONTAINER, **request}
        answer = await self.call("RegisterJobDefinition", jobDefinitionName=name, **request)
        return str(answer["jobDefinitionArn"])

    async def submit(self, **request: Any) -> JobId:
        request = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "jd", **request}
        answer = await self.call("SubmitJob", **request)
        return JobId(answer["jobId"])

    async def job(self, job_id: str) -> Any:
        answer = await self.call("DescribeJobs", jobs=[job_id])
        return answer["jobs"][0]

    async def record(self, job_id: JobId) -> JobRecord:
        return (await self.store.read(lambda conn: jobs.read_specs(conn, [job_id])))[job_id]

    async def progress(self, job_id: JobId, progress: JobProgress) -> None:
        """Write what the engine would have made of a job, a child or a node."""
        write = write_children if is_part_id(job_id) else live_jobs.write_progress
        await self.store.write(lambda conn: write(conn, [(job_id, progress)]))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path}/yard.db", is_synchronous_full=False)
    yield store
    await store.close()


@pytest.fixture
async def yard(store: Store) -> Yard:
    """An account without anything."""
    return Yard(store)


@pytest.fixture
async def ready(yard: Yard) -> Yard:
    """An account with environment `ce`, queue `jq` and job definition `jd`."""
    await yard.environment()
    await yard.queue()
    await yard.define()
    return yard
