"""What SageMaker calls the things behind a service job: training jobs, hosts, log streams. Pure.

Decides by reference/jobs.md section 13.1. All of it follows from the job's name and its tasks, so
that the API shows the same names as the engine gives.
"""

import re

from batchyard.model.ids import Scope, TaskId

#: Where SageMaker keeps the output of training jobs.
TRAINING_LOG_GROUP = "/aws/sagemaker/TrainingJobs"

_NAME_LENGTH_MAX = 63
_NAME_PREFIX = "AWSBatch"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9-]")
_TASK_ID = re.compile(r"[0-9a-f]{32}")
_TASK_ID_LENGTH = 32
_STREAM_DIGITS = 10
_DIGITS_FROM = 16


def training_job_name_of(job_name: str, task_id: TaskId) -> str:
    """Name the training job of an attempt, in AWS Batch's form: `AWSBatch<job name><32 digits>`.

    The task is that of the first instance. SageMaker's names have 63 characters at most, and no
    underscores.
    """
    room = _NAME_LENGTH_MAX - len(_NAME_PREFIX) - len(task_id)
    return f"{_NAME_PREFIX}{_NOT_IN_NAMES.sub('-', job_name)[:room]}{task_id}"


def training_job_arn_of(scope: Scope, name: str) -> str:
    """Give `TrainingJobArn` of a training job."""
    return scope.arn("sagemaker", f"training-job/{name}")


def task_id_in(training_job_name: str) -> TaskId | None:
    """Give the task behind a training job's name; None: it has not the form of ours."""
    digits = training_job_name[-_TASK_ID_LENGTH:]
    is_ours = training_job_name.startswith(_NAME_PREFIX) and _TASK_ID.fullmatch(digits)
    return TaskId(digits) if is_ours else None


def host_name_of(index: int) -> str:
    """Name an instance of a job, as its containers know it; indexes are from 0."""
    return f"algo-{index + 1}"


def training_stream_of(training_job_name: str, index: int, task_id: TaskId) -> str:
    """Name the log stream of an instance: `<training job>/algo-1-<ten digits>`, as SageMaker."""
    digits = str(int(task_id[:_DIGITS_FROM], 16)).zfill(_STREAM_DIGITS)[:_STREAM_DIGITS]
    return f"{training_job_name}/{host_name_of(index)}-{digits}"
