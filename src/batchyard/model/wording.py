"""Texts that clients of AWS Batch compare, word for word (reference/jobs.md section 1.4 to 1.6)."""

ESSENTIAL_CONTAINER_EXITED = "Essential container in task exited"
TASK_FAILED_TO_START = "Task failed to start"
TIMEOUT_EXCEEDED = "Job attempt duration exceeded timeout"
SPOT_TASK_INTERRUPTED = "Your Spot Task was interrupted."
DEPENDENCY_FAILED = "Dependent Job failed"
ARRAY_CHILD_FAILED = "Array Child Job failed"
QUEUE_DELETED = "JobQueue deleted"
#: Ours, in the form of the one before.
QUOTA_SHARE_DELETED = "QuotaShare deleted"
CROSS_SHARE_PREEMPTION = "Cross-share preemption triggered to reclaim borrowed capacity"
#: Ours, in AWS's form: its own text is not known.
IN_SHARE_PREEMPTION = "In-share preemption triggered by a job of higher priority"
#: The driver's own words, as ECS passes them on.
_NO_LOG_GROUP = (
    "failed to create Cloudwatch log stream: ResourceNotFoundException: The specified log group"
    " does not exist."
)
NO_LOG_GROUP_ON_EC2 = (
    "CannotStartContainerError: Error response from daemon: failed to initialize logging driver: "
    + _NO_LOG_GROUP
)
NO_LOG_GROUP_ON_FARGATE = (
    "ResourceInitializationError: failed to validate logger args: create stream has been retried 1"
    f" times: {_NO_LOG_GROUP} : exit status 1"
)
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"

ENVIRONMENT_HEALTHY = "ComputeEnvironment Healthy"
QUEUE_HEALTHY = "JobQueue Healthy"
#: Ours, in AWS's form: its own words are not known.
ACTIVE_JOBS_ON_FARGATE = (
    "CLIENT_ERROR - Active jobs on the compute environment must end before it can be deleted"
)

NO_VALID_ENVIRONMENT = "ACTION_REQUIRED - CE(s) associated with the job queue are invalid."
#: Ours, in AWS's form: AWS shows no reason in this case.
NO_ENABLED_ENVIRONMENT = "ACTION_REQUIRED - CE(s) associated with the job queue are disabled."
ENVIRONMENT_TOO_SMALL = (
    "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE - CE(s) associated with the job queue"
    " cannot meet the CPU requirement of the job."
)
JOB_TOO_LARGE = (
    "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job resource requirement (vCPU/memory/GPU)"
    " is higher than that can be met by the CE(s) attached to the job queue."
)
ABOVE_QUOTA = (
    "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share"
    " capacity limits."
)
ABOVE_BORROW_LIMIT = (
    "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requirements exceed quota share"
    " capacity limits and borrow limits."
)
ABOVE_BORROWABLE = (
    "MISCONFIGURATION:QUOTA_MANAGEMENT_LIMIT_EXCEEDED - Job requires borrowing that exceeds all"
    " configured borrowable capacity."
)


SERVICE_ENVIRONMENT_TOO_SMALL = (
    "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE - Service environment(s) associated with the"
    " job queue cannot meet the capacity requirement of the job."
)
NO_ROOM_FOR_SERVICE_JOB = (
    "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Unable to provision requested compute resources"
)
#: Ours, in the form of those of compute environments.
NO_VALID_SERVICE_ENVIRONMENT = (
    "ACTION_REQUIRED - Service environment(s) associated with the job queue are invalid."
)
NO_ENABLED_SERVICE_ENVIRONMENT = (
    "ACTION_REQUIRED - Service environment(s) associated with the job queue are disabled."
)
FROM_SAGEMAKER = "Received status from SageMaker:"
TRAINING_COMPLETED = f"{FROM_SAGEMAKER} Training job completed"
#: Clients compare it with and without the blank behind the colon: see `retrying`.
TRAINING_HOST_LOST = (
    f"{FROM_SAGEMAKER} InternalServerError: We encountered an internal error. Please try again."
)


_SAGEMAKER_ERRORS = ("ClientError: ", "InternalServerError: ", "ValidationException: ")


def training_failed(text: str, exit_code: int | None) -> str:
    """Say how a training job ended, in SageMaker's words; `text` is what its program left.

    What never ran is the caller's fault, unless the text says itself whose it is.
    """
    if exit_code is None and text.startswith(_SAGEMAKER_ERRORS):
        return f"{FROM_SAGEMAKER} {text}"
    if exit_code is None:
        return f"{FROM_SAGEMAKER} ClientError: {text}"
    return f"{FROM_SAGEMAKER} AlgorithmError: {text}, exit code: {exit_code}"


def preemption_in_progress(reason: str) -> str:
    """Say of a job that is being stopped that it will wait again."""
    return f"PREEMPTION_IN_PROGRESS: {reason}"


def reason_code_of(status_reason: str) -> str:
    """Give the part of a blocked job's reason that AWS's clients and time limits compare."""
    return status_reason.split(" - ", 1)[0]


def canceled_by_time_limit(code: str) -> str:
    """Say that the job was at the head of its queue, blocked for one reason, for too long."""
    return f"Canceled by JobStateTimeLimit action due to reason: {code}"


def terminated_by_time_limit(code: str) -> str:
    """Say the same of a service job."""
    return f"Terminated by JobStateTimeLimit action due to reason: {code}"


def insufficient_instance_capacity(instance_type: str) -> str:
    """Say that no machine has room for another instance."""
    return (
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested"
        f" for instance type [{instance_type}]"
    )


def host_terminated(instance_id: str) -> str:
    """Say that the host vanished under the attempt."""
    return f"Host EC2 (instance {instance_id}) terminated."


def too_many_task_tags(count: int, most: int) -> str:
    """Say that job and definition propagate too many tags. AWS's own words are not known."""
    return (
        f"ResourceInitializationError: job and job definition propagate {count} tags to the task,"
        f" which can have {most}"
    )
