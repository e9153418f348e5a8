"""Who went ahead of a job that waits: jobs that were submitted later and started before it.

Owns the memory of the last placements, and the rule by which each of them was let ahead. Refuses to
know whether that was wise. Keeps PLACEMENTS_KEPT_MAX placements in all, so it forgets: a restart
begins anew, and a busy yard remembers minutes.
"""

from collections import deque
from collections.abc import Iterable

from msgspec import Struct

from batchyard.core import events as e
from batchyard.core.state import Job, State
from batchyard.model.explanation import AheadRule, WentAhead
from batchyard.model.ids import EnvironmentArn, JobId, QueueArn

#: Ours.
PLACEMENTS_KEPT_MAX = 2000
#: Ours: as many are told, the latest first.
TOLD_MAX = 20


class _Placement(Struct, frozen=True, kw_only=True):
    job_id: JobId
    seq: int
    queue_arn: QueueArn
    environment_arn: EnvironmentArn
    at_ms: int
    share_identifier: str | None
    priority: int
    is_retry: bool


class Placements:
    """The last placements, oldest first."""

    def __init__(self) -> None:
        self._kept: deque[_Placement] = deque(maxlen=PLACEMENTS_KEPT_MAX)

    def note(self, state: State, happened: Iterable[e.Event]) -> None:
        """Remember what was placed; the state is the one after it."""
        for event in happened:
            if isinstance(event, e.AttemptPlaced):
                job = state.find(event.job_id)
                if job is not None:
                    self._kept.append(_placement(job, event))

    def ahead_of(self, state: State, job: Job) -> tuple[WentAhead, ...]:
        """Name those that went ahead of a RUNNABLE job, the latest first."""
        queue = state.queues.get(job.queue_arn)
        if queue is None:
            return ()
        found: list[WentAhead] = []
        for each in reversed(self._kept):
            if len(found) == TOLD_MAX:
                break
            if each.seq > job.seq and each.environment_arn in queue.environment_arns:
                rule = _rule_of(state, job, each)
                found.append(WentAhead(job_id=each.job_id, at_ms=each.at_ms, rule=rule))
        return tuple(found)


def _placement(job: Job, event: e.AttemptPlaced) -> _Placement:
    return _Placement(
        job_id=job.id,
        seq=job.seq,
        queue_arn=job.queue_arn,
        environment_arn=event.environment_arn,
        at_ms=event.at_ms,
        share_identifier=job.share_identifier,
        priority=job.priority,
        is_retry=bool(job.progress.attempts),
    )


def _rule_of(state: State, job: Job, other: _Placement) -> AheadRule:
    """Say under which of the rules of `scheduler.round` a job went ahead of another."""
    if other.queue_arn != job.queue_arn:
        queue = state.queues.get(other.queue_arn)
        own = state.queues[job.queue_arn]
        if queue is None or queue.priority > own.priority:
            return AheadRule.QUEUE_PRIORITY
        is_equal = queue.priority == own.priority
        return AheadRule.QUEUES_IN_TURNS if is_equal else AheadRule.ROOM_NOT_FOR_IT
    if other.share_identifier != job.share_identifier:
        return AheadRule.SHARE
    if other.priority > job.priority:
        return AheadRule.SCHEDULING_PRIORITY
    return AheadRule.RETRY if other.is_retry else AheadRule.ROOM_NOT_FOR_IT
