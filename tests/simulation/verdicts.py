"""What must come of each job, judged a second time from what it asked and how its attempts went.

Decides by AWS's rules alone: success is an exit code of 0 that nobody forced; a failed attempt is
tried again while attempts are left and the rules of the job say so, unless a caller, the clock or
the queue has ended it. Refuses to know nodes of multi-node jobs and training jobs, whose attempts
are those of several tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from batchyard.core import events as e
from batchyard.model.ids import JobId, QueueArn, is_node_id, whole_id_of
from batchyard.model.records import ExitAction, ExitRule, StopCause, WishKind
from tests.simulation.observer import demand

_FOR_OTHERS = (StopCause.CROSS_SHARE_PREEMPTION, StopCause.IN_SHARE_PREEMPTION)
#: Whoever was stopped for one of these is not tried again.
_FOR_GOOD = (
    StopCause.TERMINATED,
    StopCause.TIMED_OUT,
    StopCause.QUEUE_DELETED,
    StopCause.QUOTA_SHARE_DELETED,
)


@dataclass(slots=True)
class _Story:
    """The attempts of a job or child so far."""

    counted: int = 0
    #: When the live attempt started, by its machine; None: it has not.
    started_ms: int | None = None
    #: Of the live attempt, or of the last one.
    stopped_for: StopCause | None = None
    ended: e.AttemptEnded | None = None


class Verdicts:
    """Judges each end and each retry."""

    def __init__(self, accepted: Mapping[JobId, e.JobAccepted]) -> None:
        self._accepted = accepted
        self._stories: dict[JobId, _Story] = {}
        self._given_up: set[JobId] = set()
        self._draining: set[QueueArn] = set()

    def see(self, event: e.Event) -> None:
        if isinstance(event, e.QueueDraining):
            self._draining.add(event.arn)
        if isinstance(event, e.JobMarked) and event.kind is not WishKind.PRIORITIZE:
            self._given_up.add(event.job_id)
        if isinstance(event, e.JobFact) and self._is_judged(event.job_id):
            self._see_attempt(event)

    def _is_judged(self, job_id: JobId) -> bool:
        accepted = self._accepted[whole_id_of(job_id)]
        return not is_node_id(job_id) and accepted.nodes is None and not accepted.capacity_use

    def _see_attempt(self, event: e.JobFact) -> None:
        story = self._stories.setdefault(event.job_id, _Story())
        match event:
            case e.AttemptPlaced():
                story.stopped_for, story.ended, story.started_ms = None, None, None
            case e.AttemptStarted():
                story.started_ms = event.at_ms
            case e.AttemptStopping():
                self._see_timeout(event, story)
                # The first cause is why it ends; to stop it again changes nothing.
                story.stopped_for = story.stopped_for or event.cause
            case e.AttemptEnded():
                story.ended = event
                story.counted += story.stopped_for not in _FOR_OTHERS
            case e.JobRetried() if story.ended is not None:
                why_not = self._why_over(event.job_id, story)
                demand(why_not is None, f"{event.job_id} is tried again, and {why_not}")
            case e.JobSucceeded() if story.ended is not None:
                is_good = _is_good(story)
                demand(is_good, f"{event.job_id} succeeds after {story}")
            case e.JobFailed() if story.ended is not None:
                self._see_failed(event.job_id, story)

    def _see_timeout(self, event: e.AttemptStopping, story: _Story) -> None:
        if event.cause is StopCause.TIMED_OUT:
            timeout_ms = self._accepted[whole_id_of(event.job_id)].timeout_ms
            is_due = timeout_ms is not None and story.started_ms is not None
            is_due &= event.at_ms >= (story.started_ms or 0) + (timeout_ms or 0)
            demand(is_due, f"{event.job_id} is stopped before its timeout of {timeout_ms} ms")

    def _see_failed(self, job_id: JobId, story: _Story) -> None:
        demand(not _is_good(story), f"{job_id} fails after {story}")
        is_due = story.stopped_for in _FOR_OTHERS or self._why_over(job_id, story) is None
        queue = self._accepted[whole_id_of(job_id)].queue_arn
        if is_due and not self._is_given_up(job_id) and queue not in self._draining:
            demand(False, f"{job_id} is not tried again after {story}")

    def _why_over(self, job_id: JobId, story: _Story) -> str | None:
        """Say why the last attempt is the last one; None: another is due."""
        accepted, ended = self._accepted[whole_id_of(job_id)], story.ended
        assert ended is not None, job_id
        is_for_others = story.stopped_for in _FOR_OTHERS
        obstacles = {
            "it was good": _is_good(story),
            "its end was asked for": self._is_given_up(job_id),
            f"it was stopped for {story.stopped_for}": story.stopped_for in _FOR_GOOD,
            "all attempts are over": story.counted >= accepted.attempts_max and not is_for_others,
            "its rules say so": not is_for_others and not _says_retry(accepted.exit_rules, ended),
        }
        return next((why for why, holds in obstacles.items() if holds), None)

    def _is_given_up(self, job_id: JobId) -> bool:
        return bool({job_id, whole_id_of(job_id)} & self._given_up)


def _is_good(story: _Story) -> bool:
    assert story.ended is not None
    return story.ended.exit_code == 0 and story.stopped_for is None


def _says_retry(rules: Sequence[ExitRule], ended: e.AttemptEnded) -> bool:
    code = "" if ended.exit_code is None else str(ended.exit_code)
    for rule in rules:
        told = (
            (rule.on_status_reason, ended.status_reason),
            (rule.on_reason, ended.reason or ""),
            (rule.on_exit_code, code),
        )
        if all(pattern is None or fnmatchcase(text, pattern) for pattern, text in told):
            return rule.action is ExitAction.RETRY
    return True
