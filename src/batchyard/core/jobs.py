"""What becomes of jobs before they run: acceptance, cancel and terminate.

Decides by reference/jobs.md sections 1.1, 4.5, 5 and 8. Refuses to know attempts (see `attempts`),
what follows from an end (see `endings`) and capacity (see `scheduler`).

Rule that holds here: a cancelled PENDING job, or child, fails with the caller's reason once its
dependencies are over, however they ended, and never runs.
"""

from collections.abc import Mapping, Sequence

from batchyard.core import events as e
from batchyard.core.bookkeeping import array_of, is_node
from batchyard.core.endings import Ending, Failure, RestFailure, end, release, wish_reason_of
from batchyard.core.inputs import AcceptJob, CancelJob, PrioritizeJob, TerminateJob
from batchyard.core.quota_books import quota_share_name_of, takes_jobs
from batchyard.core.service_jobs import fitted
from batchyard.core.shares import priority_of, share_identifier_of
from batchyard.core.state import Job, Queue, State, child_status
from batchyard.core.stopping import stop_attempt
from batchyard.core.turn import Turn
from batchyard.core.verdict import verdict_of
from batchyard.model import wording
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import JobId, child_id, is_part_id, split_part_id
from batchyard.model.records import QueuedJob, StopCause, WishKind
from batchyard.model.status import JobStatus


def accept_job(turn: Turn, command: AcceptJob) -> None:
    """Take in a SUBMITTED job; one accepted before is left as it is."""
    new = fitted(turn.state, command.job)
    if new.id in turn.state.jobs:
        return
    unmet, has_failed = _sort_dependencies(turn.state, new.depends_on, command.finished)
    queue = turn.state.queues.get(new.queue_arn)
    failure = None
    if queue is None or queue.is_draining:
        failure = wording.QUEUE_DELETED
    elif not takes_jobs(queue, new):
        failure = wording.QUOTA_SHARE_DELETED
    elif has_failed:
        failure = wording.DEPENDENCY_FAILED
    if queue is not None and queue.policy is not None:
        _forget_shares(turn, queue, queue.policy, needed=share_identifier_of(queue, new))
    status = JobStatus.SUBMITTED
    if not failure:
        is_pending = bool(unmet) or new.array_size is not None
        status = JobStatus.PENDING if is_pending else JobStatus.RUNNABLE
    turn.emit(_accepted(turn.state, new, () if failure else unmet, status))
    if failure:
        fail_job(turn, new.id, failure)
    elif new.array_size is not None:
        _begin_array(turn, command)


def cancel_job(turn: Turn, command: CancelJob) -> None:
    """Cancel a job that has not started. STARTING and RUNNING jobs go on, as AWS has it."""
    job = turn.state.find(command.job_id)
    if job is None or is_node(job) or job.progress.status.has_task:
        return
    _give_up_waiting(turn, job, WishKind.CANCEL, command.reason)


def terminate_job(turn: Turn, command: TerminateJob) -> None:
    """End a job in whatever state it is; stop its attempt if one is live.

    A multi-node job whose main node is over is ending already, and ends as that did; but it is
    not tried again.
    """
    job = turn.state.find(command.job_id)
    if job is None or is_node(job):
        return
    attempt = job.progress.attempt
    if attempt is None:
        _give_up_waiting(turn, job, WishKind.TERMINATE, command.reason)
    elif attempt.stopped_ms is None:
        _terminate_running(turn, job, command.reason)
    elif not verdict_of(attempt).is_success:
        _mark_terminated(turn, job, command.reason)


def prioritize_job(turn: Turn, command: PrioritizeJob) -> None:
    """Let a live service job stand elsewhere among those of its share; without shares all is as it
    was.
    """
    job = turn.state.jobs.get(command.job_id)
    if job is None or not job.is_service or job.priority == command.priority:
        return
    if job.share_identifier is not None or job.quota_share is not None:
        turn.emit(e.JobPrioritized(job_id=job.id, priority=command.priority))


def fail_job(turn: Turn, job_id: JobId, status_reason: str) -> None:
    """End a job badly, and with it everything that needed it."""
    end(turn, [Failure(job_id=job_id, status_reason=status_reason, at_ms=turn.now_ms)])


def fail_waiting_children(turn: Turn, parent: Job, status_reason: str) -> None:
    """End every child of an array that has not started, whatever it waits for."""
    progress = parent.progress.array
    if progress is None or progress.rest is None:
        fail_job(turn, parent.id, status_reason)
        return
    waiting = array_of(parent).own_indexes(JobStatus.PENDING, JobStatus.RUNNABLE)
    end(
        turn,
        [
            *_failures(turn, parent, waiting, status_reason),
            RestFailure(array_id=parent.id, status_reason=status_reason),
        ],
    )


def _accepted(
    state: State, new: QueuedJob, unmet: tuple[JobId, ...], status: JobStatus
) -> e.JobAccepted:
    queue = state.queues.get(new.queue_arn)
    return e.JobAccepted(
        job_id=new.id,
        seq=new.seq,
        queue_arn=new.queue_arn,
        demand=new.demand,
        attempts_max=new.attempts_max,
        exit_rules=new.exit_rules,
        timeout_ms=new.timeout_ms,
        created_ms=new.created_ms,
        depends_on=new.depends_on,
        unmet=unmet,
        status=status,
        array_size=new.array_size,
        unmet_each=tuple(each for each in dict.fromkeys(new.depends_on_each) if each in state.jobs),
        is_sequential=new.is_sequential,
        nodes=new.nodes,
        needs=new.needs,
        share_identifier=share_identifier_of(queue, new),
        priority=priority_of(queue, new),
        quota_share=quota_share_name_of(queue, new),
        capacity_use=new.capacity_use,
        preemption_retries_max=new.preemption_retries_max,
    )


def _forget_shares(turn: Turn, queue: Queue, policy: FairShare, *, needed: str | None) -> None:
    """Drop the shares of a queue that are no longer active, before there is another one.

    One that comes back after that begins anew.
    """
    window_ms = policy.window_ms
    share = queue.shares.get(needed or "")
    if share is not None and share.is_active(turn.now_ms, window_ms):
        return
    for identifier in [
        identifier
        for identifier, share in queue.shares.items()
        if not share.is_active(turn.now_ms, window_ms)
    ]:
        turn.emit(e.ShareForgotten(arn=queue.arn, share_identifier=identifier))


def _sort_dependencies(
    state: State, depends_on: tuple[JobId, ...], finished: Mapping[JobId, JobStatus]
) -> tuple[tuple[JobId, ...], bool]:
    """Give the dependencies that are still live, and whether one has failed already.

    A dependency that is neither live nor known has been purged after its end: the API checked at
    submission that it existed. Only a success is worth waiting for, so it counts as failed.
    """
    unmet: dict[JobId, None] = {}
    has_failed = False
    for dependency_id in depends_on:
        ended = finished.get(dependency_id)
        if dependency_id in state.jobs:
            unmet[dependency_id] = None
            continue
        if is_part_id(dependency_id):
            parent_id, index = split_part_id(dependency_id)
            parent = state.jobs.get(parent_id)
            if parent is not None and parent.array is not None:
                ended = child_status(parent, index)
                if index < parent.array.size and (ended is None or not ended.is_terminal):
                    unmet[dependency_id] = None
                    continue
        if ended is not JobStatus.SUCCEEDED:
            has_failed = True
    return tuple(unmet), has_failed


def _begin_array(turn: Turn, command: AcceptJob) -> None:
    """Note which children can never run, and make them all if nothing holds the array up."""
    new = command.job
    parent = turn.state.jobs[new.id]
    assert new.array_size is not None, new.id
    doomed = doomed_by(new.depends_on_each, new.array_size, command.ended_arrays, turn.state)
    for partner_id, indexes in doomed.items():
        turn.emit(e.ChildrenDoomed(job_id=new.id, indexes=indexes, dependency_id=partner_id))
    if not parent.unmet:
        end(turn, release(turn, parent))


def doomed_by(
    partner_ids: Sequence[JobId],
    size: int,
    ended: Mapping[JobId, Mapping[int, JobStatus]],
    state: State,
) -> dict[JobId, tuple[int, ...]]:
    """Tell which children can never run because of arrays that have ended, by array.

    A partner that `ended` does not tell of never was (its array failed before it had children), or
    has been purged: only a success is worth waiting for.
    """
    doomed: dict[JobId, tuple[int, ...]] = {}
    for partner_id in dict.fromkeys(partner_ids):
        if partner_id in state.jobs:
            continue
        status_by_index = ended.get(partner_id, {})
        failed = tuple(
            index for index in range(size) if status_by_index.get(index) is not JobStatus.SUCCEEDED
        )
        if failed:
            doomed[partner_id] = failed
    return doomed


def _terminate_running(turn: Turn, job: Job, reason: str) -> None:
    _mark_terminated(turn, job, reason)
    stop_attempt(turn, job, StopCause.TERMINATED)


def _mark_terminated(turn: Turn, job: Job, reason: str) -> None:
    if not job.progress.is_terminated:
        turn.emit(e.JobMarked(job_id=job.id, kind=WishKind.TERMINATE, reason=reason))


def _give_up_waiting(turn: Turn, job: Job, kind: WishKind, reason: str) -> None:
    """Mark a job that holds no capacity; it fails now, or when its dependencies are over."""
    is_marked = job.progress.is_cancelled if kind is WishKind.CANCEL else job.progress.is_terminated
    if not is_marked:
        turn.emit(e.JobMarked(job_id=job.id, kind=kind, reason=reason))
        job = turn.state.jobs[job.id]
    if job.array is not None:
        _give_up_children(turn, job, kind)
    elif job.progress.status is not JobStatus.PENDING:
        fail_job(turn, job.id, wish_reason_of(job))


def _give_up_children(turn: Turn, parent: Job, kind: WishKind) -> None:
    """Forward a cancel or terminate to the children, if there are any yet.

    A child that waits for another fails once that one is over, as a job would.
    """
    array, progress = array_of(parent), parent.progress.array
    assert progress is not None, parent.id
    reason = wish_reason_of(parent)
    if kind is WishKind.TERMINATE:
        for index in array.own_indexes(JobStatus.STARTING, JobStatus.RUNNING):
            _terminate_running(turn, turn.state.jobs[child_id(parent.id, index)], reason)
    endings = _failures(turn, parent, array.own_indexes(JobStatus.RUNNABLE), reason)
    if progress.rest is JobStatus.RUNNABLE:
        endings.append(RestFailure(array_id=parent.id, status_reason=reason))
    end(turn, endings)


def _failures(turn: Turn, parent: Job, indexes: Sequence[int], status_reason: str) -> list[Ending]:
    return [
        Failure(job_id=child_id(parent.id, index), status_reason=status_reason, at_ms=turn.now_ms)
        for index in indexes
    ]
