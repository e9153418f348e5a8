"""How an event changes the state. The only place that writes it.

Decides nothing: what happened has happened. Refuses events that contradict the state
(`InvariantBroken` or `KeyError`), because then we were wrong. Replaying the events of a history
gives its state again.
"""

from typing import assert_never

from batchyard.core import events as e
from batchyard.core.state import Environment, Host, Job, Queue, State
from batchyard.core.transitions import check_move
from batchyard.model.records import Attempt, JobProgress, WishKind
from batchyard.model.status import JobStatus


def evolve(state: State, event: e.Event) -> None:  # noqa: C901 -- one branch an event
    """Make the event true in the state."""
    match event:
        case e.JobAccepted():
            _accept(state, event)
        case e.AttemptPlaced():
            _place(state, event)
        case e.AttemptStarted():
            _start(state, event)
        case e.AttemptEnded():
            _end_attempt(state, event)
        case e.JobSucceeded():
            _finish(state, event, JobStatus.SUCCEEDED)
        case e.JobFailed():
            _finish(state, event, JobStatus.FAILED)
        case e.JobRetried() | e.JobBecameRunnable():
            _make_runnable(state, state.jobs[event.job_id])
        case e.DependencyEnded():
            state.jobs[event.job_id].unmet.remove(event.dependency_id)
        case e.JobReasonChanged():
            state.jobs[event.job_id].progress.status_reason = event.status_reason
        case e.JobMarked():
            _mark(state.jobs[event.job_id].progress, event)
        case e.AttemptStopping():
            _attempt_of(state.jobs[event.job_id]).stop_cause = event.cause
        case _:
            _evolve_resource(state, event)


def _evolve_resource(state: State, event: e.ResourceEvent) -> None:
    match event:
        case e.EnvironmentSettled():
            _settle_environment(state, event)
        case e.EnvironmentDraining():
            state.environments[event.arn].is_draining = True
        case e.EnvironmentDeleted():
            del state.environments[event.arn]
        case e.QueueSettled():
            _settle_queue(state, event)
        case e.QueueDraining():
            state.queues[event.arn].is_draining = True
        case e.QueueDeleted():
            del state.queues[event.arn]
        case e.HostChanged():
            host = state.hosts.get(event.host_id)
            if host is None:
                state.hosts[event.host_id] = Host(id=event.host_id, capacity=event.capacity)
            else:
                host.capacity = event.capacity
        case _:
            assert_never(event)


def add_job(state: State, job: Job) -> None:
    """Enter a live job into every collection that holds it. For `evolve` and `restore`."""
    state.jobs[job.id] = job
    queue = state.queues.get(job.queue_arn)
    if queue is not None:
        queue.jobs[job.id] = None
        if job.progress.status is JobStatus.RUNNABLE:
            queue.line.join(job.id, job.seq, is_retry=bool(job.progress.attempts))
    for dependency_id in job.unmet:
        state.dependents.setdefault(dependency_id, []).append(job.id)
    attempt = job.progress.attempt
    if attempt is not None:
        hold_capacity(state, job, attempt)


def hold_capacity(state: State, job: Job, attempt: Attempt) -> None:
    """Count a live attempt in its environment and on its host."""
    state.job_by_task[attempt.task_id] = job.id
    environment = state.environments[attempt.environment_arn]
    environment.used += job.demand
    environment.attempt_count += 1
    state.hosts[attempt.host_id].used += job.demand
    if attempt.started_ms is not None and job.timeout_ms is not None:
        state.deadlines.add(attempt.started_ms + job.timeout_ms, attempt.task_id)


def _accept(state: State, event: e.JobAccepted) -> None:
    job = Job(
        id=event.job_id,
        seq=event.seq,
        queue_arn=event.queue_arn,
        demand=event.demand,
        attempts_max=event.attempts_max,
        exit_rules=event.exit_rules,
        timeout_ms=event.timeout_ms,
        unmet=list(event.unmet),
        progress=JobProgress(status=event.status),
    )
    add_job(state, job)


def _place(state: State, event: e.AttemptPlaced) -> None:
    job = state.jobs[event.job_id]
    _move(job, JobStatus.STARTING)
    state.queues[job.queue_arn].line.leave(job.id)
    progress = job.progress
    progress.status_reason = None
    progress.attempt = Attempt(
        number=event.number,
        task_id=event.task_id,
        environment_arn=event.environment_arn,
        host_id=event.host_id,
        placed_ms=event.at_ms,
    )
    hold_capacity(state, job, progress.attempt)


def _start(state: State, event: e.AttemptStarted) -> None:
    job = state.jobs[event.job_id]
    _move(job, JobStatus.RUNNING)
    attempt = _attempt_of(job)
    attempt.started_ms = event.at_ms
    job.progress.started_ms = event.at_ms
    if job.timeout_ms is not None:
        state.deadlines.add(event.at_ms + job.timeout_ms, attempt.task_id)


def _end_attempt(state: State, event: e.AttemptEnded) -> None:
    job = state.jobs[event.job_id]
    attempt = _attempt_of(job)
    attempt.stopped_ms = event.at_ms
    attempt.exit_code = event.exit_code
    attempt.reason = event.reason
    attempt.status_reason = event.status_reason
    job.progress.attempts.append(attempt)
    job.progress.attempt = None
    del state.job_by_task[attempt.task_id]
    environment = state.environments[attempt.environment_arn]
    environment.used -= job.demand
    environment.attempt_count -= 1
    state.hosts[attempt.host_id].used -= job.demand


def _make_runnable(state: State, job: Job) -> None:
    _move(job, JobStatus.RUNNABLE)
    job.unmet.clear()
    job.progress.status_reason = None
    queue = state.queues.get(job.queue_arn)
    if queue is not None:
        queue.line.join(job.id, job.seq, is_retry=bool(job.progress.attempts))


def _finish(state: State, event: e.JobSucceeded | e.JobFailed, status: JobStatus) -> None:
    job = state.jobs.pop(event.job_id)
    was = job.progress.status
    _move(job, status)
    job.progress.status_reason = event.status_reason
    job.progress.stopped_ms = event.at_ms
    queue = state.queues.get(job.queue_arn)
    if queue is not None:
        del queue.jobs[job.id]
        if was is JobStatus.RUNNABLE:
            queue.line.leave(job.id)
    state.dependents.pop(job.id, None)


def _mark(progress: JobProgress, event: e.JobMarked) -> None:
    if event.kind is WishKind.CANCEL:
        progress.is_cancelled = True
    else:
        progress.is_terminated = True
    if progress.wish_reason is None:
        progress.wish_reason = event.reason


def _settle_environment(state: State, event: e.EnvironmentSettled) -> None:
    environment = state.environments.get(event.arn)
    if environment is None:
        state.environments[event.arn] = Environment(
            arn=event.arn,
            kind=event.kind,
            state=event.state,
            cpu_milli_max=event.cpu_milli_max,
            fault=event.fault,
        )
        return
    environment.kind = event.kind
    environment.state = event.state
    environment.cpu_milli_max = event.cpu_milli_max
    environment.fault = event.fault


def _settle_queue(state: State, event: e.QueueSettled) -> None:
    queue = state.queues.get(event.arn)
    if queue is None:
        state.queues[event.arn] = Queue(
            arn=event.arn,
            seq=event.seq,
            state=event.state,
            priority=event.priority,
            environment_arns=event.environment_arns,
        )
        return
    queue.state = event.state
    queue.priority = event.priority
    queue.environment_arns = event.environment_arns


def _move(job: Job, status: JobStatus) -> None:
    check_move(job.id, job.progress.status, status)
    job.progress.status = status


def _attempt_of(job: Job) -> Attempt:
    attempt = job.progress.attempt
    assert attempt is not None, job.id
    return attempt
