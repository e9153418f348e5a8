"""How an attempt is shown, by what it ran: a container, or a task of several. Pure.

Everything here is of one attempt: where it was, which streams have its output, how it ended
(reference/jobs.md sections 6.4, 9.2, 10.1). What the job asked for stands in its spec.
"""

from dataclasses import dataclass

from batchyard.model.ecs_arns import attachment_id_of, container_instance_arn_of, task_arn_of
from batchyard.model.ids import DefinitionArn, Scope, TaskId, node_id, task_id_of
from batchyard.model.log_stream import has_log_stream, log_stream_of
from batchyard.model.records import Attempt, JobRecord, Json

CONTAINER = "container"
ECS = "ecsProperties"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the attempts of a job have in common."""

    scope: Scope
    definition_arn: DefinitionArn
    is_fargate: bool


def setting_of(record: JobRecord, spec: Json) -> Setting:
    return Setting(
        scope=record.job.scope,
        definition_arn=record.job.definition_arn,
        is_fargate="FARGATE" in spec["platformCapabilities"],
    )


def latest_attempt(record: JobRecord) -> Attempt | None:
    """Give the live attempt, or else the last one that ended."""
    progress = record.progress
    if progress.attempt is not None:
        return progress.attempt
    return next(reversed(ended_attempts(record)), None)


def ended_attempts(record: JobRecord) -> list[Attempt]:
    """Give the attempts that have ended, oldest first; those that were preempted are among them.

    AWS's model of container jobs has no place of its own for these.
    """
    progress = record.progress
    if not progress.preempted:
        return list(progress.attempts)
    return sorted([*progress.attempts, *progress.preempted], key=lambda each: each.number)


def end_of(attempt: Attempt) -> Json:
    """Say how the only container of an attempt ended, as far as it has."""
    return _end(attempt.exit_code, attempt.reason)


def container_view(container: Json, attempt: Attempt, setting: Setting) -> Json:
    """Show where and how the only container of an attempt ran."""
    return {
        **_place(attempt, setting),
        **_stream(container, setting, attempt.task_id),
        "networkInterfaces": _interfaces(attempt),
        **end_of(attempt),
    }


def task_detail(task: Json, attempt: Attempt | None, setting: Setting) -> Json:
    """Show a task as its job does: what was asked for, with what has become of it."""
    containers: list[Json] = task["containers"]
    if attempt is None:
        return {**task, "containers": [{**each, "networkInterfaces": []} for each in containers]}
    return {
        **task,
        **_place(attempt, setting),
        "containers": [
            {**each, **shown}
            for each, shown in zip(containers, _results(task, attempt, setting), strict=True)
        ],
    }


def attempt_detail(spec: Json, attempt: Attempt, setting: Setting) -> Json:
    """Show an ended attempt of a job that runs one container or one task."""
    if CONTAINER in spec:
        return _attempt({CONTAINER: container_view(spec[CONTAINER], attempt, setting)}, attempt)
    [task] = spec[ECS]["taskProperties"]
    shown = {**_place(attempt, setting), "containers": _results(task, attempt, setting)}
    return _attempt({"taskProperties": [shown]}, attempt)


def nodes_attempt_detail(
    record: JobRecord, main: Json, main_index: int, attempt: Attempt, setting: Setting
) -> Json:
    """Show an ended attempt of a multi-node job: the end of its main node, and where it wrote.

    `main` is the node range that the main node has.
    """
    task_id = task_id_of(node_id(record.job.id, main_index), attempt.number)
    if CONTAINER in main:
        container: Json = {
            "networkInterfaces": [],
            **_stream(main[CONTAINER], setting, task_id),
            **end_of(attempt),
        }
        return _attempt({CONTAINER: container}, attempt)
    [task] = main[ECS]["taskProperties"]
    containers = [
        {
            "name": each["name"],
            "networkInterfaces": [],
            **_stream(each, setting, task_id, each["name"]),
            **_end_in_task(task, attempt, each["name"]),
        }
        for each in task["containers"]
    ]
    return _attempt({"taskProperties": [{"containers": containers}]}, attempt)


def _attempt(what: Json, attempt: Attempt) -> Json:
    """Put an attempt together; one that never ran has its STARTING as its start."""
    started_ms = attempt.started_ms
    shown: Json = {
        **what,
        "startedAt": attempt.placed_ms if started_ms is None else started_ms,
    }
    if attempt.stopped_ms is not None:
        shown["stoppedAt"] = attempt.stopped_ms
    if attempt.status_reason is not None:
        shown["statusReason"] = attempt.status_reason
    return shown


def _place(attempt: Attempt, setting: Setting) -> Json:
    scope, environment_arn = setting.scope, attempt.environment_arn
    place: Json = {"taskArn": task_arn_of(scope, environment_arn, attempt.task_id)}
    if not setting.is_fargate:
        place["containerInstanceArn"] = container_instance_arn_of(
            scope, environment_arn, attempt.instance_id or attempt.host_id
        )
    return place


def _results(task: Json, attempt: Attempt, setting: Setting) -> list[Json]:
    """Show each container of a task, in the order of the task."""
    return [
        {
            "name": each["name"],
            **_stream(each, setting, attempt.task_id, each["name"]),
            "networkInterfaces": _interfaces(attempt),
            **_end_in_task(task, attempt, each["name"]),
        }
        for each in task["containers"]
    ]


def _end_in_task(task: Json, attempt: Attempt, name: str) -> Json:
    if len(task["containers"]) == 1 and not attempt.containers:
        return end_of(attempt)
    for result in attempt.containers:
        if result.name == name:
            return _end(result.exit_code, result.reason)
    return {}


def _stream(container: Json, setting: Setting, task_id: TaskId, name: str | None = None) -> Json:
    if not has_log_stream(container):
        return {}
    if name is None:
        stream = log_stream_of(container, setting.definition_arn, task_id)
    else:
        stream = log_stream_of(container, setting.definition_arn, task_id, name=name)
    return {"logStreamName": stream}


def _interfaces(attempt: Attempt) -> list[Json]:
    if attempt.address is None:
        return []
    return [
        {
            "attachmentId": attachment_id_of(attempt.task_id),
            "privateIpv4Address": attempt.address,
        }
    ]


def _end(exit_code: int | None, reason: str | None) -> Json:
    end: Json = {}
    if exit_code is not None:
        end["exitCode"] = exit_code
    if reason is not None:
        end["reason"] = reason
    return end
