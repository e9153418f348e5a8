"""How a live attempt is asked to stop.

Decides which tasks that concerns: those of all nodes, for a multi-node job. Refuses to know why.
Rule: the first cause decides how the job ends, but a preemption, after which it would go on, gives
way to a cause for its end.
"""

from batchyard.core import events as e
from batchyard.core.bookkeeping import attempt_of
from batchyard.core.effects import StopTask
from batchyard.core.state import Job
from batchyard.core.turn import Turn
from batchyard.model.ids import node_id
from batchyard.model.limits import STOP_GRACE_MS, TRAINING_STOP_GRACE_MS
from batchyard.model.records import Attempt, StopCause

#: After these a job ends.
_FOR_GOOD = (StopCause.TERMINATED, StopCause.QUEUE_DELETED, StopCause.QUOTA_SHARE_DELETED)


def stop_attempt(turn: Turn, job: Job, cause: StopCause) -> None:
    """Ask the backend to stop the live attempt, on all its nodes; repeating it changes nothing."""
    attempt = attempt_of(job)
    if attempt.stopped_ms is not None or not is_to_go_on(attempt, cause):
        return
    is_asked = attempt.stop_cause is not None
    turn.emit(e.AttemptStopping(job_id=job.id, at_ms=turn.now_ms, cause=cause))
    if job.nodes is None and is_asked:
        return
    if job.nodes is None:
        turn.ask(stop_of(job, attempt))
    else:
        stop_nodes(turn, job, cause)


def stop_of(job: Job, attempt: Attempt) -> StopTask:
    """Say what stops the task of a live attempt."""
    grace_ms = TRAINING_STOP_GRACE_MS if job.is_service else STOP_GRACE_MS
    return StopTask(task_id=attempt.task_id, host_id=attempt.host_id, grace_ms=grace_ms)


def is_to_go_on(attempt: Attempt, cause: StopCause | None = None) -> bool:
    """Tell whether nothing has been decided yet about a live attempt that `cause` could change."""
    before = attempt.stop_cause
    if before is None:
        return True
    return before.is_preemption and (cause is None or cause in _FOR_GOOD)


def stop_nodes(turn: Turn, parent: Job, cause: StopCause) -> None:
    """Ask the backend to stop every live node of a multi-node job."""
    assert parent.nodes is not None, parent.id
    for index in list(parent.nodes.live):
        stop_attempt(turn, turn.state.jobs[node_id(parent.id, index)], cause)
