"""What is true of a task: for its metadata endpoint while it runs, and for ECS.

Owns the way from a task's id to the records of its job. Refuses to know who asks, and never tells
what is secret: no variables, no values. Source of the member names: reference/integrations.md
section 4.6; `model.task_facts` says what each one is.
"""

from collections.abc import Awaitable, Callable, Mapping

from msgspec.structs import replace

from batchyard.engine.launch.tags import read_task_tags
from batchyard.engine.launch.workload import Workload, name_of, workload_of
from batchyard.model.ecs_arns import cluster_arn_of, container_instance_arn_of, task_arn_of
from batchyard.model.environment_kinds import kind_of_environment
from batchyard.model.ids import JobId, TaskId, name_in_arn
from batchyard.model.log_stream import STREAM_DRIVER
from batchyard.model.records import (
    Attempt,
    InstanceRecord,
    JobProgress,
    JobRecord,
    Json,
    StopCause,
    TerminationCause,
)
from batchyard.model.roles import explain_role
from batchyard.model.status import EnvironmentKind
from batchyard.model.task_facts import ContainerFacts, InstanceFacts, TaskEnd, TaskFacts
from batchyard.store import Connection, Store, environments
from batchyard.store.instances import read_instance
from batchyard.store.jobs import read_specs


def task_describer(
    store: Store, find_task: Callable[[TaskId], JobId | None]
) -> Callable[[TaskId], Awaitable[TaskFacts | None]]:
    """Make what tells the facts of a task; `find_task` names the job that it runs, or ran."""

    async def describe(task_id: TaskId) -> TaskFacts | None:
        job_id = find_task(task_id)
        if job_id is None:
            return None
        return await store.read(lambda conn: _read_facts(conn, task_id, job_id))

    return describe


def live_task_describer(
    store: Store, find_task: Callable[[TaskId], JobId | None]
) -> Callable[[TaskId], Awaitable[TaskFacts | None]]:
    """Make what tells the facts of a task for as long as it is live."""
    describe_any = task_describer(store, find_task)

    async def describe(task_id: TaskId) -> TaskFacts | None:
        found = await describe_any(task_id)
        return None if found is None or found.end is not None else found

    return describe


def _read_facts(conn: Connection, task_id: TaskId, job_id: JobId) -> TaskFacts | None:
    record = read_specs(conn, [job_id]).get(job_id)
    attempt = None if record is None else _attempt_of(record.progress, task_id)
    if record is None or attempt is None:
        return None
    environment = environments.read_environment(conn, attempt.environment_arn)
    kind = EnvironmentKind.EC2
    if environment is not None:
        kind = kind_of_environment(environment.detail)
    facts = facts_of(record, attempt, kind, read_task_tags(conn, record))
    if attempt.instance_id is None:
        return facts
    instance = read_instance(conn, attempt.instance_id)
    return facts if instance is None else replace(facts, instance=_instance(instance))


def _attempt_of(progress: JobProgress, task_id: TaskId) -> Attempt | None:
    ended = (*progress.attempts, *progress.preempted)
    every = ended if progress.attempt is None else (progress.attempt, *ended)
    return next((each for each in every if each.task_id == task_id), None)


def facts_of(
    record: JobRecord, attempt: Attempt, kind: EnvironmentKind, tags: Mapping[str, str]
) -> TaskFacts:
    """Put the facts of an attempt together; `tags` are the task's."""
    scope, work = record.job.scope, workload_of(record)
    family, _, revision = name_in_arn(record.job.definition_arn).partition(":")
    role_arn = work.job_role_arn
    return TaskFacts(
        task_id=attempt.task_id,
        scope=scope,
        task_arn=task_arn_of(scope, attempt.environment_arn, attempt.task_id),
        cluster=cluster_arn_of(scope, attempt.environment_arn),
        family=family,
        revision=revision,
        is_fargate=kind.is_fargate,
        availability_zone=f"{scope.region}a",
        is_running=attempt.started_ms is not None,
        is_stopping=attempt.stop_cause is not None,
        role_arn=role_arn if role_arn and not explain_role(role_arn, scope.account) else None,
        started_ms=attempt.started_ms,
        tags=tags,
        container_instance_arn=None
        if kind.is_fargate
        else container_instance_arn_of(
            scope, attempt.environment_arn, attempt.instance_id or attempt.host_id
        ),
        containers=_containers(work, record, attempt),
        end=_end_of(attempt),
    )


def _instance(record: InstanceRecord) -> InstanceFacts:
    is_reclaimed = record.draining_for is TerminationCause.INTERRUPTED
    return InstanceFacts(
        id=record.id,
        type=record.instance_type,
        is_spot=record.is_spot,
        interrupted_ms=record.stop_ms if is_reclaimed else None,
    )


def _end_of(attempt: Attempt) -> TaskEnd | None:
    """Say how a task ended in ECS's terms; which code AWS gives a lost host is not known."""
    if attempt.stopped_ms is None:
        return None
    code = "EssentialContainerExited"
    if attempt.stop_cause is StopCause.SPOT_TASK_INTERRUPTED:
        code = "SpotInterruption"
    elif attempt.stop_cause is StopCause.INSTANCE_TERMINATED:
        code = "TerminationNotice"
    elif attempt.stop_cause is not None:
        code = "UserInitiated"  # AWS Batch is that user.
    elif attempt.started_ms is None:
        code = "TaskFailedToStart"
    return TaskEnd(at_ms=attempt.stopped_ms, code=code, reason=attempt.status_reason)


def _result_of(attempt: Attempt, name: str) -> tuple[int | None, str | None]:
    """Give exit code and reason of a container."""
    if not attempt.containers:
        return attempt.exit_code, attempt.reason
    found = ((each.exit_code, each.reason) for each in attempt.containers if each.name == name)
    return next(found, (None, None))


def _containers(work: Workload, record: JobRecord, attempt: Attempt) -> tuple[ContainerFacts, ...]:
    return tuple(
        ContainerFacts(
            name=name_of(container),
            image=container["image"],
            limits=amount,
            log_driver=_logs_of(container).get("logDriver", STREAM_DRIVER),
            log_options=_logs_of(container).get("options") or {},
            network_mode="host" if record.job.nodes is None else "awsvpc",
            address=attempt.address,
            created_ms=attempt.placed_ms,
            started_ms=attempt.started_ms,
            exit_code=_result_of(attempt, name_of(container))[0],
            reason=_result_of(attempt, name_of(container))[1],
        )
        for container, amount in zip(work.containers, work.amounts, strict=True)
    )


def _logs_of(container: Json) -> Json:
    logs: Json = container.get("logConfiguration") or {}
    return logs
