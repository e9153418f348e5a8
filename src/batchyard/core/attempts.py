"""What becomes of attempts: placement, start, end, retry, timeout.

Decides by reference/jobs.md sections 1.4, 6 and 7. Refuses to know how a container runs.

Rules that hold here: an attempt is placed only where it fits at this moment; a job is SUCCEEDED
only if its process exited with 0 by itself; a job that was terminated, timed out, or whose queue
is going is never tried again.
"""

from hashlib import blake2b

from batchyard.core import events as e
from batchyard.core.effects import ForgetTask, StartTask
from batchyard.core.inputs import TaskEnded, TaskStarted
from batchyard.core.jobs import fail_job, stop_attempt, succeed_job
from batchyard.core.resources import settle_drained
from batchyard.core.retrying import is_worth_retrying
from batchyard.core.state import Job, State
from batchyard.core.turn import Turn
from batchyard.model import wording
from batchyard.model.ids import HostId, task_id_of
from batchyard.model.records import Attempt, StopCause
from batchyard.model.status import JobStatus, ResourceState
from batchyard.scheduler.plan import BlockedHead, Obstacle, Placement, Plan


def carry_out_plan(turn: Turn, plan: Plan) -> None:
    """Make events of what the scheduler proposed, as far as it still holds."""
    for placement in plan.placements:
        if may_place(turn.state, placement):
            _place(turn, placement)
    for head in plan.blocked:
        _explain_head(turn, head)


def may_place(state: State, placement: Placement) -> bool:
    """Check a placement against the state itself, whatever view it was made from."""
    job = state.jobs.get(placement.job_id)
    environment = state.environments.get(placement.environment_arn)
    host = state.hosts.get(placement.host_id)
    if job is None or environment is None or host is None:
        return False
    queue = state.queues.get(job.queue_arn)
    return (
        job.progress.status is JobStatus.RUNNABLE
        and queue is not None
        and not queue.is_draining
        and environment.arn in queue.environment_arns
        and environment.state is ResourceState.ENABLED
        and environment.fault is None
        and not environment.is_draining
        and environment.used.cpu_milli + job.demand.cpu_milli <= environment.cpu_milli_max
        and job.demand.fits_in(host.capacity - host.used)
    )


def record_start(turn: Turn, report: TaskStarted) -> None:
    """STARTING -> RUNNING; a repeated or late report changes nothing."""
    job = turn.state.job_of_task(report.task_id)
    if job is not None and job.progress.status is JobStatus.STARTING:
        turn.emit(e.AttemptStarted(job_id=job.id, at_ms=report.at_ms))


def record_end(turn: Turn, report: TaskEnded) -> None:
    """End the live attempt, and decide whether the job succeeds, fails or is tried again."""
    job = turn.state.job_of_task(report.task_id)
    turn.ask(ForgetTask(task_id=report.task_id))
    if job is None:
        return
    attempt = job.progress.attempt
    assert attempt is not None, job.id
    if report.exit_code is not None and attempt.started_ms is None:
        turn.emit(e.AttemptStarted(job_id=job.id, at_ms=report.at_ms))
    status_reason = _why_ended(job, attempt, report)
    turn.emit(
        e.AttemptEnded(
            job_id=job.id,
            at_ms=report.at_ms,
            exit_code=report.exit_code,
            reason=report.reason,
            status_reason=status_reason,
        )
    )
    if report.exit_code == 0 and attempt.stop_cause is None:
        succeed_job(turn, job.id, status_reason, at_ms=report.at_ms)
    elif _may_retry(turn.state, job, attempt):
        turn.emit(e.JobRetried(job_id=job.id))
    else:
        fail_job(turn, job.id, status_reason, at_ms=report.at_ms)
    settle_drained(turn, job.queue_arn, attempt.environment_arn)


def stop_overdue(turn: Turn) -> None:
    """Stop every attempt whose time is up."""
    for task_id in turn.state.deadlines.pop_due(turn.now_ms):
        job = turn.state.job_of_task(task_id)
        if job is not None:
            stop_attempt(turn, job, StopCause.TIMED_OUT)


def _place(turn: Turn, placement: Placement) -> None:
    job = turn.state.jobs[placement.job_id]
    number = len(job.progress.attempts) + 1
    task_id = task_id_of(job.id, number)
    turn.emit(
        e.AttemptPlaced(
            job_id=job.id,
            number=number,
            task_id=task_id,
            environment_arn=placement.environment_arn,
            host_id=placement.host_id,
            at_ms=turn.now_ms,
        )
    )
    turn.ask(
        StartTask(
            task_id=task_id,
            job_id=job.id,
            attempt_number=number,
            environment_arn=placement.environment_arn,
            host_id=placement.host_id,
        )
    )


def _explain_head(turn: Turn, head: BlockedHead) -> None:
    """Show the reason of a blocked head in AWS's words; transient waiting has none there."""
    job = turn.state.jobs.get(head.job_id)
    if job is None or job.progress.status is not JobStatus.RUNNABLE:
        return
    reason = _TEXT_BY_OBSTACLE.get(head.obstacle)
    if job.progress.status_reason != reason:
        turn.emit(e.JobReasonChanged(job_id=job.id, status_reason=reason))


def _why_ended(job: Job, attempt: Attempt, report: TaskEnded) -> str:
    match attempt.stop_cause:
        case StopCause.TIMED_OUT:
            return wording.TIMEOUT_EXCEEDED
        case StopCause.QUEUE_DELETED:
            return wording.QUEUE_DELETED
        case StopCause.TERMINATED:
            assert job.progress.wish_reason is not None, job.id
            return job.progress.wish_reason
        case None:
            pass
    if report.is_lost:
        return wording.host_terminated(instance_id_of(attempt.host_id))
    if _failed_to_start(attempt, report):
        return wording.TASK_FAILED_TO_START
    return wording.ESSENTIAL_CONTAINER_EXITED


def _failed_to_start(attempt: Attempt, report: TaskEnded) -> bool:
    """Tell it from a container that ran and whose exit code nobody learned.

    A process may exist for a moment before the runtime finds that it cannot execute the file, so
    `CannotStartContainerError` and its kin say it also of a task that was reported as started.
    """
    if report.exit_code is not None:
        return False
    return attempt.started_ms is None or (report.reason or "").startswith("Cannot")


def instance_id_of(host_id: HostId) -> str:
    """Spell a host in the form of an EC2 instance id, which clients parse."""
    return f"i-{blake2b(host_id.encode(), digest_size=9).hexdigest()[:17]}"


def _may_retry(state: State, job: Job, attempt: Attempt) -> bool:
    queue = state.queues.get(job.queue_arn)
    return (
        attempt.number < job.attempts_max
        and attempt.stop_cause is None
        and queue is not None
        and not queue.is_draining
        and is_worth_retrying(job.exit_rules, attempt)
    )


_TEXT_BY_OBSTACLE = {
    Obstacle.NO_VALID_ENVIRONMENT: wording.NO_VALID_ENVIRONMENT,
    Obstacle.NO_ENABLED_ENVIRONMENT: wording.NO_ENABLED_ENVIRONMENT,
    Obstacle.ABOVE_ENVIRONMENT_MAX: wording.ENVIRONMENT_TOO_SMALL,
    Obstacle.ABOVE_HOST_CAPACITY: wording.JOB_TOO_LARGE,
}
