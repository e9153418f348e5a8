"""What becomes of jobs: acceptance, dependencies, cancel and terminate, and how a job ends.

Decides by reference/jobs.md sections 1.1, 5 and 8. Refuses to know attempts (see `attempts`) and
capacity (see `scheduler`).

Rules that hold here: a dependency counts only when SUCCEEDED; the failure of one fails the
dependants, and theirs, without recursion; a cancelled PENDING job fails with the caller's reason
once its dependencies are over, however they ended, and never runs.
"""

from collections.abc import Mapping

from batchyard.core import events as e
from batchyard.core.effects import StopTask
from batchyard.core.inputs import AcceptJob, CancelJob, TerminateJob
from batchyard.core.state import Job
from batchyard.core.turn import Turn
from batchyard.model import wording
from batchyard.model.ids import JobId
from batchyard.model.limits import STOP_GRACE_MS
from batchyard.model.records import StopCause, WishKind
from batchyard.model.status import JobStatus


def accept_job(turn: Turn, command: AcceptJob) -> None:
    """Take in a SUBMITTED job; one accepted before is left as it is."""
    new = command.job
    if new.id in turn.state.jobs:
        return
    unmet, has_failed = _sort_dependencies(turn, new.depends_on, command.finished)
    queue = turn.state.queues.get(new.queue_arn)
    failure = None
    if queue is None or queue.is_draining:
        failure = wording.QUEUE_DELETED
    elif has_failed:
        failure = wording.DEPENDENCY_FAILED
    status = JobStatus.PENDING if unmet else JobStatus.RUNNABLE
    turn.emit(
        e.JobAccepted(
            job_id=new.id,
            seq=new.seq,
            queue_arn=new.queue_arn,
            demand=new.demand,
            attempts_max=new.attempts_max,
            exit_rules=new.exit_rules,
            timeout_ms=new.timeout_ms,
            created_ms=new.created_ms,
            depends_on=new.depends_on,
            unmet=() if failure else unmet,
            status=JobStatus.SUBMITTED if failure else status,
        )
    )
    if failure:
        fail_job(turn, new.id, failure)


def cancel_job(turn: Turn, command: CancelJob) -> None:
    """Cancel a job that has not started. STARTING and RUNNING jobs go on, as AWS has it."""
    job = turn.state.jobs.get(command.job_id)
    if job is None or job.progress.status.has_task:
        return
    _give_up_waiting(turn, job, WishKind.CANCEL, command.reason)


def terminate_job(turn: Turn, command: TerminateJob) -> None:
    """End a job in whatever state it is; stop its attempt if one is live."""
    job = turn.state.jobs.get(command.job_id)
    if job is None:
        return
    if not job.progress.status.has_task:
        _give_up_waiting(turn, job, WishKind.TERMINATE, command.reason)
        return
    if not job.progress.is_terminated:
        turn.emit(e.JobMarked(job_id=job.id, kind=WishKind.TERMINATE, reason=command.reason))
    stop_attempt(turn, job, StopCause.TERMINATED)


def stop_attempt(turn: Turn, job: Job, cause: StopCause) -> None:
    """Ask the backend to stop the live attempt; the first cause decides how the job ends."""
    attempt = job.progress.attempt
    assert attempt is not None, job.id
    if attempt.stop_cause is not None:
        return
    turn.emit(e.AttemptStopping(job_id=job.id, cause=cause))
    turn.ask(StopTask(task_id=attempt.task_id, host_id=attempt.host_id, grace_ms=STOP_GRACE_MS))


def succeed_job(turn: Turn, job_id: JobId, status_reason: str, *, at_ms: int) -> None:
    """End the job well, and release those that waited for it."""
    dependents = turn.state.dependents.get(job_id, [])
    turn.emit(e.JobSucceeded(job_id=job_id, at_ms=at_ms, status_reason=status_reason))
    for dependent_id in dependents:
        _end_dependency(turn, dependent_id, job_id)


def fail_job(turn: Turn, job_id: JobId, status_reason: str, *, at_ms: int | None = None) -> None:
    """End the job badly, and with it, one after the other, everything that needed it.

    `at_ms` is when its process stopped, if one did; everything else fails now.
    """
    pending = [(job_id, status_reason)]
    when_ms = turn.now_ms if at_ms is None else at_ms
    while pending:
        failing_id, reason = pending.pop()
        if failing_id not in turn.state.jobs:
            continue
        dependents = turn.state.dependents.get(failing_id, [])
        turn.emit(e.JobFailed(job_id=failing_id, at_ms=when_ms, status_reason=reason))
        when_ms = turn.now_ms
        for dependent_id in dependents:
            dependent = turn.state.jobs.get(dependent_id)
            if dependent is None:
                continue
            if _is_given_up(dependent):
                turn.emit(e.DependencyEnded(job_id=dependent_id, dependency_id=failing_id))
                if not dependent.unmet:
                    pending.append((dependent_id, _wish_reason(dependent)))
            else:
                pending.append((dependent_id, wording.DEPENDENCY_FAILED))


def _sort_dependencies(
    turn: Turn, depends_on: tuple[JobId, ...], finished: Mapping[JobId, JobStatus]
) -> tuple[tuple[JobId, ...], bool]:
    """Give the dependencies that are still live, and whether one has failed already.

    A dependency that is neither live nor known has been purged after its end: the API checked at
    submission that it existed. Only a success is worth waiting for, so it counts as failed.
    """
    unmet: dict[JobId, None] = {}
    has_failed = False
    for dependency_id in depends_on:
        if dependency_id in turn.state.jobs:
            unmet[dependency_id] = None
        elif finished.get(dependency_id) is not JobStatus.SUCCEEDED:
            has_failed = True
    return tuple(unmet), has_failed


def _end_dependency(turn: Turn, job_id: JobId, dependency_id: JobId) -> None:
    job = turn.state.jobs.get(job_id)
    if job is None:
        return
    turn.emit(e.DependencyEnded(job_id=job_id, dependency_id=dependency_id))
    if job.unmet:
        return
    if _is_given_up(job):
        fail_job(turn, job_id, _wish_reason(job))
    else:
        turn.emit(e.JobBecameRunnable(job_id=job_id))


def _give_up_waiting(turn: Turn, job: Job, kind: WishKind, reason: str) -> None:
    """Mark a job that holds no capacity; it fails now, or when its dependencies are over."""
    is_marked = job.progress.is_cancelled if kind is WishKind.CANCEL else job.progress.is_terminated
    if not is_marked:
        turn.emit(e.JobMarked(job_id=job.id, kind=kind, reason=reason))
    if job.progress.status is not JobStatus.PENDING:
        fail_job(turn, job.id, _wish_reason(job))


def _is_given_up(job: Job) -> bool:
    return job.progress.is_cancelled or job.progress.is_terminated


def _wish_reason(job: Job) -> str:
    assert job.progress.wish_reason is not None, job.id
    return job.progress.wish_reason
