"""How a job is shown: DescribeJobs' detail and ListJobs' summary. Pure.

Everything static comes from the job's spec, everything else from its progress (reference/jobs.md
sections 1.2, 1.3, 6.4, 12.1, 12.4). The job's own times and reasons are those of its latest
attempt.
"""

import msgspec

from batchyard.api.batch.arns import container_instance_arn_of, task_arn_of
from batchyard.model.ids import DefinitionArn, Scope
from batchyard.model.log_stream import log_stream_of
from batchyard.model.records import Attempt, JobProgress, JobRecord, Json

_decode = msgspec.json.Decoder(Json).decode


def job_detail(record: JobRecord) -> Json:
    """Give a job as DescribeJobs shows it."""
    job, progress = record.job, record.progress
    shown: Json = {
        "jobArn": job.scope.job_arn(job.id),
        "jobName": job.name,
        "jobId": job.id,
        **_decode(job.spec),
        "status": progress.status.value,
        "createdAt": job.created_ms,
        "isCancelled": progress.is_cancelled,
        "isTerminated": progress.is_terminated,
        "tags": dict(job.tags),
    }
    container: Json = shown["container"]
    is_fargate = "FARGATE" in shown["platformCapabilities"]
    shown["attempts"] = [
        _attempt_detail(
            attempt,
            _container_of(attempt, job.scope, job.definition_arn, container, is_fargate=is_fargate),
        )
        for attempt in progress.attempts
    ]
    latest = _latest(progress)
    if latest is not None:
        container.update(
            _container_of(latest, job.scope, job.definition_arn, container, is_fargate=is_fargate)
        )
    _add_times(shown, progress)
    return shown


def job_summary(record: JobRecord) -> Json:
    """Give a job as ListJobs shows it."""
    job, progress = record.job, record.progress
    shown: Json = {
        "jobArn": job.scope.job_arn(job.id),
        "jobId": job.id,
        "jobName": job.name,
        "createdAt": job.created_ms,
        "status": progress.status.value,
        "jobDefinition": job.definition_arn,
        "isCancelled": progress.is_cancelled,
        "isTerminated": progress.is_terminated,
    }
    latest = _latest(progress)
    if latest is not None and (progress.status.has_task or progress.status.is_terminal):
        shown["container"] = _end_of(latest)
    _add_times(shown, progress)
    return shown


def _latest(progress: JobProgress) -> Attempt | None:
    if progress.attempt is not None:
        return progress.attempt
    return progress.attempts[-1] if progress.attempts else None


def _add_times(shown: Json, progress: JobProgress) -> None:
    if progress.status_reason is not None:
        shown["statusReason"] = progress.status_reason
    if progress.started_ms is not None:
        shown["startedAt"] = progress.started_ms
    if progress.stopped_ms is not None:
        shown["stoppedAt"] = progress.stopped_ms


def _container_of(
    attempt: Attempt,
    scope: Scope,
    definition_arn: DefinitionArn,
    container: Json,
    *,
    is_fargate: bool,
) -> Json:
    shown: Json = {
        "taskArn": task_arn_of(scope, attempt.environment_arn, attempt.task_id),
        "logStreamName": log_stream_of(container, definition_arn, attempt.task_id),
        "networkInterfaces": [],
        **_end_of(attempt),
    }
    if not is_fargate:
        shown["containerInstanceArn"] = container_instance_arn_of(
            scope, attempt.environment_arn, attempt.host_id
        )
    return shown


def _end_of(attempt: Attempt) -> Json:
    end: Json = {}
    if attempt.exit_code is not None:
        end["exitCode"] = attempt.exit_code
    if attempt.reason is not None:
        end["reason"] = attempt.reason
    return end


def _attempt_detail(attempt: Attempt, container: Json) -> Json:
    """Show an ended attempt; one that never ran has its STARTING as its start."""
    started_ms = attempt.started_ms
    shown: Json = {
        "container": container,
        "startedAt": attempt.placed_ms if started_ms is None else started_ms,
    }
    if attempt.stopped_ms is not None:
        shown["stoppedAt"] = attempt.stopped_ms
    if attempt.status_reason is not None:
        shown["statusReason"] = attempt.status_reason
    return shown
