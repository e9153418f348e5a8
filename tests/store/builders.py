"""Builds what tests put into a store: name only what matters."""

from uuid import uuid4

from msgspec.structs import replace

from batchyard.model.amounts import Amount
from batchyard.model.ids import DefinitionArn, EnvironmentArn, HostId, JobId, Scope, TaskId
from batchyard.model.records import Attempt, JobProgress, NewJob
from batchyard.model.status import JobStatus

SCOPE = Scope("111122223333", "eu-west-1")
ELSEWHERE = Scope("111122223333", "us-east-1")
QUEUE_ARN = SCOPE.queue_arn("high")


def a_job(**fields) -> NewJob:
    job = NewJob(
        id=JobId(str(uuid4())),
        scope=SCOPE,
        queue_arn=QUEUE_ARN,
        name="train",
        definition_arn=DefinitionArn(SCOPE.definition_arn("train", 1)),
        created_ms=1_700_000_000_000,
        demand=Amount(cpu_milli=500, memory_mib=256, gpu_count=1),
        attempts_max=2,
        timeout_ms=None,
        depends_on=(),
        spec=b'{"container":{"image":"busybox"}}',
        tags={},
    )
    return replace(job, **fields)


def progress(status: JobStatus, **fields) -> JobProgress:
    if status.is_terminal:
        fields.setdefault("stopped_ms", 1_700_000_100_000)
    return JobProgress(status=status, **fields)


def an_attempt(**fields) -> Attempt:
    defaults = {
        "number": 1,
        "task_id": TaskId("0" * 32),
        "environment_arn": EnvironmentArn(SCOPE.environment_arn("here")),
        "host_id": HostId("i-1"),
        "placed_ms": 1_700_000_000_500,
    }
    return Attempt(**{**defaults, **fields})
