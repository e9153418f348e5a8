"""How a service job is shown: DescribeServiceJob's detail and ListServiceJobs' summary. Pure.

What was asked for comes from the job's spec, everything else from its progress (reference/jobs.md
section 13.4). Its attempts are training jobs.
"""

import msgspec

from batchyard.model.records import Attempt, JobRecord, Json
from batchyard.model.training_names import training_job_arn_of, training_job_name_of

_decode = msgspec.json.Decoder(Json).decode


def service_job_detail(record: JobRecord) -> Json:
    """Give a service job as DescribeServiceJob shows it."""
    job, progress = record.job, record.progress
    shown: Json = {
        **_alike(record),
        **_decode(job.spec),
        "jobQueue": job.queue_arn,
        "attempts": [_ended(record, attempt) for attempt in progress.attempts],
        "isTerminated": progress.is_terminated,
        "tags": dict(job.tags),
    }
    if job.scheduling_priority is not None:
        shown["schedulingPriority"] = job.scheduling_priority
    if progress.preempted_count:
        shown["preemptionSummary"] = {
            "preemptedAttemptCount": progress.preempted_count,
            "recentPreemptedAttempts": [_ended(record, each) for each in progress.preempted],
        }
    return shown


def service_job_summary(record: JobRecord) -> Json:
    """Give a service job as ListServiceJobs shows it."""
    shown = {**_alike(record), "serviceJobType": _decode(record.job.spec)["serviceJobType"]}
    if record.progress.is_terminated:
        shown["isTerminated"] = True
    return shown


def latest_attempt(record: JobRecord) -> Attempt | None:
    """Give the live attempt, or else the last one that ended, whether it counts or not."""
    progress = record.progress
    if progress.attempt is not None:
        return progress.attempt
    ended = (*progress.attempts[-1:], *progress.preempted[-1:])
    return max(ended, key=lambda each: each.number, default=None)


def training_job_name(record: JobRecord, attempt: Attempt) -> str:
    """Name the training job of an attempt."""
    return training_job_name_of(record.job.name, attempt.task_id)


def _alike(record: JobRecord) -> Json:
    """Give what both show."""
    job, progress = record.job, record.progress
    shown: Json = {
        "jobArn": job.scope.service_job_arn(job.id),
        "jobId": job.id,
        "jobName": job.name,
        "status": progress.status.value,
        "createdAt": job.created_ms,
        "capacityUsage": [
            {"capacityUnit": each.unit, "quantity": float(each.quantity)}
            for each in job.capacity_use
        ],
    }
    if job.share_identifier is not None:
        shown["shareIdentifier"] = job.share_identifier
    if job.quota_share is not None:
        shown["quotaShareName"] = job.quota_share
    latest = latest_attempt(record)
    if latest is not None:
        shown["latestAttempt"] = {"serviceResourceId": _resource_id(record, latest)}
        shown["scheduledAt"] = latest.placed_ms
    if progress.started_ms is not None:
        shown["startedAt"] = progress.started_ms
    if progress.stopped_ms is not None:
        shown["stoppedAt"] = progress.stopped_ms
    if progress.status_reason is not None:
        shown["statusReason"] = progress.status_reason
    return shown


def _ended(record: JobRecord, attempt: Attempt) -> Json:
    shown: Json = {"serviceResourceId": _resource_id(record, attempt)}
    if attempt.started_ms is not None:
        shown["startedAt"] = attempt.started_ms
    if attempt.stopped_ms is not None:
        shown["stoppedAt"] = attempt.stopped_ms
    if attempt.status_reason is not None:
        shown["statusReason"] = attempt.status_reason
    return shown


def _resource_id(record: JobRecord, attempt: Attempt) -> Json:
    name = training_job_name(record, attempt)
    return {"name": "TrainingJobArn", "value": training_job_arn_of(record.job.scope, name)}
