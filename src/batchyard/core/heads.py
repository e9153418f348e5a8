"""The heads of queues that are blocked: what they show, and how long they may be.

Decides by reference/jobs.md section 1.5 and compute-and-scheduling.md section 2.5. Refuses to know
why a job cannot start: the plan says so.

Rules that hold here: only the head of a queue, or of a quota share, shows a reason, and it loses it
as soon as another job is the head, or an instance for it is on its way; the clock runs for as long
as the code of the reason stays the same; a head is given up only right after a round has found it
blocked once more, so time that passed while nobody looked never ends a job that could start now;
who is given up is not tried again.
"""

from collections.abc import Iterable, Sequence, Set

from batchyard.core import events as e
from batchyard.core.jobs import fail_job
from batchyard.core.quota_books import head_of
from batchyard.core.state import Job, heads_of
from batchyard.core.turn import Turn
from batchyard.model import wording
from batchyard.model.ids import JobId
from batchyard.model.status import JobStatus
from batchyard.scheduler.plan import BlockedHead, Obstacle


def explain_heads(turn: Turn, heads: Sequence[BlockedHead]) -> None:
    """Show the reasons of blocked heads in AWS's words; transient waiting has none there.

    A queue, or a quota share, has one of them: whoever was its head before is none now.
    """
    _clear_others(turn, {head.job_id for head in heads})
    for head in heads:
        job = turn.state.find(head.job_id)
        if job is None or job.progress.status is not JobStatus.RUNNABLE:
            continue
        reason = _text_of(head, job)
        since_ms = None if reason is None else _since_ms(job, reason, turn.now_ms)
        if (job.progress.status_reason, job.progress.blocked_ms) != (reason, since_ms):
            turn.emit(e.JobReasonChanged(job_id=job.id, status_reason=reason, since_ms=since_ms))


def give_up_heads(turn: Turn, heads: Iterable[BlockedHead]) -> None:
    """Fail those of the heads that have been blocked for too long.

    Others may start once they are gone: another round is needed.
    """
    for head in heads:
        queue = turn.state.queues.get(head.queue_arn)
        if queue is None or not queue.time_limits:
            continue
        job = turn.state.find(head.job_id)
        found = None if job is None else head_of(turn.state, job)
        if found is None or found.blocked_id != head.job_id:
            continue
        limit_ms = turn.state.head_limit_ms(queue, found)
        if limit_ms is not None and limit_ms <= turn.now_ms:
            reason = turn.state.jobs[head.job_id].progress.status_reason
            assert reason is not None, head.job_id
            code = wording.reason_code_of(reason)
            is_service = turn.state.jobs[head.job_id].is_service
            worded = (
                wording.terminated_by_time_limit if is_service else wording.canceled_by_time_limit
            )
            fail_job(turn, head.job_id, worded(code))
            turn.outcome.is_partial = True


def _text_of(head: BlockedHead, job: Job) -> str | None:
    if job.is_service and (text := _TEXT_FOR_SERVICE_JOBS.get(head.obstacle)) is not None:
        return text
    if head.obstacle is Obstacle.INSUFFICIENT_INSTANCE_CAPACITY:
        return wording.insufficient_instance_capacity(head.instance_type or "")
    return _TEXT_BY_OBSTACLE.get(head.obstacle)


def _clear_others(turn: Turn, blocked: Set[JobId]) -> None:
    """Take back the reasons of heads that wait for what is on its way: nothing blocks them."""
    for queue in turn.state.queues.values():
        for found in heads_of(queue):
            if found.blocked_id is not None and found.blocked_id not in blocked:
                turn.emit(e.JobReasonChanged(job_id=found.blocked_id, status_reason=None))


def _since_ms(job: Job, reason: str, now_ms: int) -> int:
    before = job.progress
    if before.status_reason is None or before.blocked_ms is None:
        return now_ms
    is_same = wording.reason_code_of(before.status_reason) == wording.reason_code_of(reason)
    return before.blocked_ms if is_same else now_ms


_TEXT_FOR_SERVICE_JOBS = {
    Obstacle.NO_VALID_ENVIRONMENT: wording.NO_VALID_SERVICE_ENVIRONMENT,
    Obstacle.NO_ENABLED_ENVIRONMENT: wording.NO_ENABLED_SERVICE_ENVIRONMENT,
    Obstacle.ABOVE_HOST_CAPACITY: wording.NO_ROOM_FOR_SERVICE_JOB,
    Obstacle.INSUFFICIENT_INSTANCE_CAPACITY: wording.NO_ROOM_FOR_SERVICE_JOB,
}
_TEXT_BY_OBSTACLE = {
    Obstacle.NO_VALID_ENVIRONMENT: wording.NO_VALID_ENVIRONMENT,
    Obstacle.NO_ENABLED_ENVIRONMENT: wording.NO_ENABLED_ENVIRONMENT,
    Obstacle.ABOVE_ENVIRONMENT_MAX: wording.ENVIRONMENT_TOO_SMALL,
    Obstacle.ABOVE_HOST_CAPACITY: wording.JOB_TOO_LARGE,
    Obstacle.ABOVE_SERVICE_ENVIRONMENT_MAX: wording.SERVICE_ENVIRONMENT_TOO_SMALL,
    Obstacle.ABOVE_QUOTA: wording.ABOVE_QUOTA,
    Obstacle.ABOVE_BORROW_LIMIT: wording.ABOVE_BORROW_LIMIT,
    Obstacle.ABOVE_BORROWABLE: wording.ABOVE_BORROWABLE,
}
