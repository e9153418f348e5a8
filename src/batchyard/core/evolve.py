"""How an event changes the state. The only place that writes it.

Decides nothing: what happened has happened. Refuses events that contradict the state
(`InvariantBroken` or `KeyError`), because then we were wrong. Replaying the events of a history
gives its state again. What is counted where is in `bookkeeping`; arrays and multi-node jobs, and
everything that is no job, have modules of their own.
"""

from collections.abc import Mapping

from batchyard.core import consumables
from batchyard.core import events as e
from batchyard.core.bookkeeping import (
    attempt_of,
    drop_job,
    enter_job,
    give_back_slots,
    hold_capacity,
    is_node,
    keep_attempt,
    move,
    note_idle,
    own_job,
    release_capacity,
    set_priority,
    show_reason,
    watch_time,
)
from batchyard.core.evolve_parts import array_progress_of, evolve_parts, new_array, new_nodes
from batchyard.core.evolve_resources import evolve_resource
from batchyard.core.quota_books import use_of
from batchyard.core.shares import count_use
from batchyard.core.state import NO_USE, Job, State
from batchyard.core.verdict import preemption_reason_of
from batchyard.model import wording
from batchyard.model.records import Attempt, JobProgress, WishKind
from batchyard.model.status import JobStatus

#: Events of instances on which nothing runs.
_RUNS_NOTHING = (e.InstanceLaunched, e.InstanceReady, e.InstanceTerminated)


def evolve(state: State, event: e.Event) -> Job | None:
    """Make the event true in the state; give the job, child or node whose record it changes."""
    job = None
    if isinstance(event, e.JobFact):
        job = _evolve_job(state, event)
    else:
        evolve_resource(state, event)
    state.remembered.see(event)
    if state.remembered.quota:
        _forget_quota(state, event, job)
    return job


def _forget_quota(state: State, event: e.Event, job: Job | None) -> None:
    """Let rounds find out anew what the event may have changed in quota shares."""
    if not isinstance(event, e.JobFact):
        if not isinstance(event, _RUNS_NOTHING):
            state.remembered.quota.clear()
    elif job is not None and job.quota_share is not None:
        memory = state.remembered.quota.get(job.queue_arn)
        if memory is not None:
            ids = (job.id,) if job.parent is None else (job.id, job.parent.id)
            memory.see(event, job.quota_share, ids)


def _evolve_job(  # noqa: C901, PLR0911, PLR0912 -- one branch an event
    state: State, event: e.JobEvent
) -> Job | None:
    match event:
        case e.JobAccepted():
            return _accept(state, event)
        case e.AttemptPlaced():
            return _place(state, event)
        case e.AttemptTaken():
            job = state.jobs[event.job_id]
            move(state, job, JobStatus.STARTING)
            return job
        case e.AttemptFetching():
            job = state.jobs[event.job_id]
            attempt_of(job).fetching = event.fetching
            return job
        case e.AttemptStarted():
            return _start(state, event)
        case e.AttemptEnded():
            return _end_attempt(state, event)
        case e.JobSucceeded():
            return _finish(state, event, JobStatus.SUCCEEDED)
        case e.JobFailed():
            return _finish(state, event, JobStatus.FAILED)
        case e.JobRetried() | e.JobBecameRunnable():
            return _make_runnable(state, own_job(state, event.job_id))
        case e.JobReasonChanged():
            job = own_job(state, event.job_id)
            show_reason(state, job, event.status_reason, event.since_ms)
            return job
        case e.JobMarked():
            return _mark(own_job(state, event.job_id), event)
        case e.JobPrioritized():
            job = state.jobs[event.job_id]
            set_priority(state, job, event.priority)
            return job
        case e.AttemptStopping():
            job = state.jobs[event.job_id]
            return _stop_attempt(state, job, event)
        case _:
            return evolve_parts(state, event)


def _accept(state: State, event: e.JobAccepted) -> Job:
    progress = JobProgress(status=event.status)
    array = None
    if event.array_size is not None:
        progress.array = array_progress_of(event.array_size)
        array = new_array(state, event)
    job = Job(
        id=event.job_id,
        seq=event.seq,
        queue_arn=event.queue_arn,
        demand=event.demand,
        attempts_max=event.attempts_max,
        exit_rules=event.exit_rules,
        timeout_ms=event.timeout_ms,
        needs=event.needs,
        unmet=event.unmet,
        progress=progress,
        share_identifier=event.share_identifier,
        priority=event.priority,
        quota_share=event.quota_share,
        use=_use_of(event),
        capacity_use=event.capacity_use,
        preemption_retries_max=event.preemption_retries_max,
        array=array,
        nodes=None if event.nodes is None else new_nodes(event.nodes),
    )
    enter_job(state, job)
    for partner_id in event.unmet_each:
        state.pair_dependents.setdefault(partner_id, []).append(job.id)
    return job


def _place(state: State, event: e.AttemptPlaced) -> Job:
    job = own_job(state, event.job_id, joins_line=False)
    move(state, job, JobStatus.SCHEDULED if job.is_service else JobStatus.STARTING)
    attempt = Attempt(
        number=event.number,
        task_id=event.task_id,
        environment_arn=event.environment_arn,
        host_id=event.host_id,
        placed_ms=event.at_ms,
        node_hosts=event.node_hosts,
        instance_id=event.instance_id,
        node_instances=event.node_instances,
    )
    show_reason(state, job, None, None)
    job.progress.attempt = attempt
    if job.nodes is not None:
        job.nodes.waiting = dict.fromkeys(range(len(job.nodes.demands)))
    count_use(state, job, job.demand.cpu_milli, event.at_ms)
    hold_capacity(state, job, attempt)
    state.placed_count += 1
    state.queues[job.queue_arn].last_placed = state.placed_count
    consumables.use_up(state.consumables, job.needs)
    return job


def _start(state: State, event: e.AttemptStarted) -> Job:
    job = state.jobs[event.job_id]
    move(state, job, JobStatus.RUNNING)
    attempt = attempt_of(job)
    attempt.started_ms = event.at_ms
    attempt.fetching = None
    attempt.address = event.address
    job.progress.started_ms = event.at_ms
    watch_time(state, job, attempt)
    return job


def _end_attempt(state: State, event: e.AttemptEnded) -> Job:
    job = state.jobs[event.job_id]
    attempt = attempt_of(job)
    attempt.fetching = None
    if not is_node(job):
        ended_ms = max(event.at_ms, attempt.placed_ms)  # Clocks may differ.
        count_use(state, job, -job.demand.cpu_milli, ended_ms)
    release_capacity(state, job, attempt)
    attempt.stopped_ms = event.at_ms
    attempt.exit_code = event.exit_code
    attempt.reason = event.reason
    attempt.status_reason = event.status_reason
    attempt.containers = event.containers
    keep_attempt(job.progress, attempt)
    note_idle(state, attempt, event.at_ms)
    return job


def _use_of(event: e.JobAccepted) -> Mapping[str, int]:
    return NO_USE if event.quota_share is None else use_of(event.demand, event.capacity_use)


def _stop_attempt(state: State, job: Job, event: e.AttemptStopping) -> Job:
    """Note why, and show it where the job is to go on; nodes that did not begin never will."""
    attempt = attempt_of(job)
    attempt.stop_cause = event.cause
    if job.nodes is not None and job.nodes.waiting:
        give_back_slots(state, job, attempt)
        note_idle(state, attempt, event.at_ms)
    reason = preemption_reason_of(event.cause)
    shown = None if reason is None else wording.preemption_in_progress(reason)
    job.progress.status_reason = shown
    return job


def _make_runnable(state: State, job: Job) -> Job:
    move(state, job, JobStatus.RUNNABLE)
    job.progress.status_reason = None
    return job


def _finish(state: State, event: e.JobSucceeded | e.JobFailed, status: JobStatus) -> Job:
    job = own_job(state, event.job_id, joins_line=False)
    move(state, job, status)
    show_reason(state, job, None, None)
    job.progress.status_reason = event.status_reason
    job.progress.stopped_ms = event.at_ms
    drop_job(state, job)
    return job


def _mark(job: Job, event: e.JobMarked) -> Job:
    progress = job.progress
    if event.kind is WishKind.CANCEL:
        progress.is_cancelled = True
    else:
        progress.is_terminated = True
    if progress.wish_reason is None:
        progress.wish_reason = event.reason
    return job
