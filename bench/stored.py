"""A store made for an experiment: one environment, one queue, and jobs that wait in it."""

import time

import msgspec

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, Scope
from batchyard.model.records import ArrayProgress, JobProgress, NewJob
from batchyard.model.status import JobStatus, ResourceState
from batchyard.store import Connection, environments, live_jobs, queues
from batchyard.store.jobs import insert_jobs

SCOPE = Scope(account="123456789012", region="us-east-1")
QUEUE = SCOPE.queue_arn("bench")
#: What the containers of all jobs run.
IMAGE = "registry.example/team/tool:1.2.3"

_ENVIRONMENT = SCOPE.environment_arn("bench")
_SPEC = msgspec.json.encode(
    {
        "container": {
            "image": IMAGE,
            "command": ["tool", "--input", "s3://bucket/in/part-000123", "--threads", "1"],
            "environment": [{"name": f"VARIABLE_{n}", "value": "x" * 20} for n in range(5)],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "512"},
            ],
        }
    }
)


def insert_resources(conn: Connection, vcpus: int) -> None:
    """Wish for an environment that runs so many jobs at a time, and for a queue."""
    environments.insert_environment(
        conn,
        arn=_ENVIRONMENT,
        scope=SCOPE,
        name="bench",
        uuid="u",
        state=ResourceState.ENABLED,
        detail={
            "computeResources": {"type": "EC2", "maxvCpus": vcpus, "instanceTypes": ["m5.xlarge"]}
        },
        tags={},
    )
    queues.insert_queue(
        conn,
        arn=QUEUE,
        scope=SCOPE,
        name="bench",
        state=ResourceState.ENABLED,
        priority=1,
        environment_arns=[_ENVIRONMENT],
        detail={},
        tags={},
    )


def insert_runnable(conn: Connection, numbers: range, array_size: int | None) -> None:
    """Store jobs, or arrays, as the engine leaves them while they wait for capacity."""
    new = [a_job(number, array_size) for number in numbers]
    insert_jobs(conn, new)
    progress = JobProgress(status=JobStatus.RUNNABLE)
    if array_size is not None:
        array = ArrayProgress(
            size=array_size, rest=JobStatus.RUNNABLE, rest_count=array_size, spawned_ms=1
        )
        progress = JobProgress(status=JobStatus.PENDING, array=array)
    live_jobs.write_progress(conn, [(each.id, progress) for each in new])


def a_job(number: int, array_size: int | None = None) -> NewJob:
    """A job of one vCPU, as the API would store it."""
    return NewJob(
        id=JobId(f"{number:08x}-0000-4000-8000-{number:012x}"),
        scope=SCOPE,
        queue_arn=QUEUE,
        name=f"job-{number}",
        definition_arn=SCOPE.definition_arn("bench", 1),
        created_ms=time.time_ns() // 1_000_000,
        demand=Amount(cpu_milli=1000, memory_mib=512),
        attempts_max=1,
        timeout_ms=None,
        depends_on=(),
        array_size=array_size,
        spec=_SPEC,
        tags={},
    )
