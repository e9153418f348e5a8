"""Who went ahead of a job that waits: jobs that were submitted later and started before it.

Owns the memory of the last placements, and the rule by which each of them was let ahead. Refuses to
know whether that was wise. Keeps PLACEMENTS_KEPT_MAX placements in all, so it forgets: a busy yard
remembers minutes. What went ahead in one round has one time.
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


class Placed(Struct, frozen=True, kw_only=True):
    """A placement, and what decided when it was."""

    job_id: JobId
    seq: int
    queue_arn: QueueArn
    environment_arn: EnvironmentArn
    at_ms: int
    #: Its share or quota share.
    share: str | None
    priority: int
    is_retry: bool


class Placements:
    """The last placements, oldest first."""

    def __init__(self, kept: Iterable[Placed] = (), *, is_complete: bool = True) -> None:
        """Begin with what is known; `is_complete`: nothing was placed before that."""
        self._kept: deque[Placed] = deque(kept, maxlen=PLACEMENTS_KEPT_MAX)
        self._is_complete = is_complete

    @property
    def since_ms(self) -> int | None:
        """Tell since when all are remembered; None: all there ever were."""
        return None if self._is_complete or not self._kept else self._kept[0].at_ms

    def note(self, state: State, happened: Iterable[e.Event]) -> None:
        """Remember what was placed; the state is the one after it."""
        for event in happened:
            if isinstance(event, e.AttemptPlaced):
                job = state.find(event.job_id)
                if job is not None:
                    self._is_complete &= len(self._kept) < PLACEMENTS_KEPT_MAX
                    self._kept.append(_placed(job, event))

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


def _placed(job: Job, event: e.AttemptPlaced) -> Placed:
    return Placed(
        job_id=job.id,
        seq=job.seq,
        queue_arn=job.queue_arn,
        environment_arn=event.environment_arn,
        at_ms=event.at_ms,
        share=_share_of(job),
        priority=job.priority,
        is_retry=event.number > 1,
    )


def _share_of(job: Job) -> str | None:
    return job.quota_share or job.share_identifier


def _rule_of(state: State, job: Job, other: Placed) -> AheadRule:
    """Say under which of the rules of `scheduler.round` a job went ahead of another."""
    if other.queue_arn != job.queue_arn:
        queue = state.queues.get(other.queue_arn)
        own = state.queues[job.queue_arn]
        if queue is None or queue.priority > own.priority:
            return AheadRule.QUEUE_PRIORITY
        is_equal = queue.priority == own.priority
        return AheadRule.QUEUES_IN_TURNS if is_equal else AheadRule.ROOM_NOT_FOR_IT
    if other.share != _share_of(job):
        return AheadRule.SHARE
    if other.priority > job.priority:
        return AheadRule.SCHEDULING_PRIORITY
    return AheadRule.RETRY if other.is_retry else AheadRule.ROOM_NOT_FOR_IT
