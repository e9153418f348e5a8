"""Sentences that say why a job waits, alike in one line and at the head of the whole tree.

Decides the words for what both places know; what only one of them knows comes after. Refuses to
find anything out: see `explaining`, and `api.batch.waiting`, which has no more than the records.
"""

from collections.abc import Mapping

from batchyard.model.ids import JobId
from batchyard.model.instances import InstanceId
from batchyard.model.records import Attempt, JobProgress, StopCause
from batchyard.model.status import JobStatus

_MS_PER_S = 1000

_TEXT_BY_STOP_CAUSE: Mapping[StopCause, str] = {
    StopCause.TERMINATED: "a caller has terminated it",
    StopCause.TIMED_OUT: "its attempt has run for longer than its timeout",
    StopCause.QUEUE_DELETED: "its job queue is being deleted",
    StopCause.MAIN_NODE_ENDED: "the main node of its job has ended",
    StopCause.INSTANCE_TERMINATED: "its instance is being terminated",
    StopCause.SPOT_TASK_INTERRUPTED: "its Fargate Spot capacity was reclaimed",
    StopCause.QUOTA_SHARE_DELETED: "its quota share is being deleted",
    StopCause.CROSS_SHARE_PREEMPTION: "what its quota share has borrowed is taken back",
    StopCause.IN_SHARE_PREEMPTION: "a job of higher priority takes its place in its quota share",
}


def waits_for(job_id: JobId, status: JobStatus | None, *, more: int) -> str:
    """Say which job one waits for first, and for how many more."""
    how = "is over" if status is None else f"is {status}"
    others = f", and for {more} more" if more else ""
    return f"Waits for job {job_id}, which {how}{others}."


def has_just_ended() -> str:
    """Say it of what a PENDING job waited for, until the scheduler looks at it again."""
    return "What it waited for has just ended."


def waits_for_children(counts: Mapping[JobStatus, int]) -> str:
    """Say how the children of an array stand that have not ended."""
    live = ", ".join(
        f"{count} {status.value}"
        for status, count in counts.items()
        if count and not status.is_terminal
    )
    return f"Waits for its children: {live or 'none is left'}."


def given_up(progress: JobProgress) -> str | None:
    """Say that a job which waits for others will not run once they are over; None: it may."""
    if not (progress.is_terminated or progress.is_cancelled):
        return None
    what = "terminated" if progress.is_terminated else "cancelled"
    return f"It was {what} ({progress.wish_reason}), and fails once what it waits for is over."


def stopping(progress: JobProgress) -> str | None:
    """Say why a live attempt is being stopped; None: it is not."""
    attempt = progress.attempt
    if attempt is None or attempt.stop_cause is None:
        return None
    why = _TEXT_BY_STOP_CAUSE[attempt.stop_cause]
    if attempt.stop_cause is StopCause.TERMINATED and progress.wish_reason:
        why = f"{why}: {progress.wish_reason}"
    return f"It has been told to stop: {why}."


def starting(attempt: Attempt | None, status: JobStatus, now_ms: int) -> str:
    """Say of a job that has its place what becomes of it there."""
    on = _on(None if attempt is None else attempt.instance_id)
    if attempt is not None and (fetching := attempt.fetching) is not None:
        since = seconds(max(0, now_ms - fetching.since_ms))
        if fetching.image is None:
            return f"It waits for its secrets{on}, for {since} now."
        return f"Its image {fetching.image} is being pulled{on}, for {since} now."
    if status is JobStatus.SCHEDULED:
        return f"It has its place{on}; it is about to be started."
    return f"Its containers are being started{on}."


def seconds(ms: int) -> str:
    """Say how long something takes, in whole seconds that are not too few."""
    count = -(-ms // _MS_PER_S)
    return "1 second" if count == 1 else f"{count:,} seconds"


def running(attempt: Attempt | None) -> str:
    """Say where a job runs."""
    return f"It runs{_on(None if attempt is None else attempt.instance_id)}."


def just_runnable(before: int, quota_share: str | None, first_waits_for: str | None) -> str:
    """Say of a job whose place is not written down yet who waited when the others' places were."""
    whose = _line_of(quota_share)
    if not before:
        return f"It has just become RUNNABLE, the first of {whose}: the next round looks for room."
    count = "1 job" if before == 1 else f"{before:,} jobs"
    text = f"It has just become RUNNABLE; {count} of {whose} waited already."
    return f"{text} The first waits: {first_waits_for}" if first_waits_for else text


def turn(
    ahead: int, *, are_more: bool, quota_share: str | None, first_waits_for: str | None
) -> str:
    """Say that others come first, and what keeps the first of them."""
    whose = _line_of(quota_share)
    if are_more:
        count, verb = f"More than {ahead:,} jobs", "stand"
    else:
        count, verb = ("1 job", "stands") if ahead == 1 else (f"{ahead:,} jobs", "stand")
    text = f"{count} of {whose} {verb} before it."
    return f"{text} The first waits: {first_waits_for}" if first_waits_for else text


def _line_of(quota_share: str | None) -> str:
    return "its job queue" if quota_share is None else f"its quota share {quota_share}"


def _on(instance_id: InstanceId | None) -> str:
    return "" if instance_id is None else f" on {instance_id}"
