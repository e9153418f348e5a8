"""How attempts are preempted, and what becomes of their jobs.

Decides by reference/compute-and-scheduling.md section 3.4 and jobs.md section 13.5. Refuses to
choose whom: the plan says so.

Rules that hold here: a preempted attempt does not count, and its job goes back to the front of its
share; it fails instead once it has been preempted more often than it said it may be; a process that
ended with 0 after it was told to stop has not done its work.
"""

from batchyard.core.quota_books import quota_share_of
from batchyard.core.state import Job, State
from batchyard.core.stopping import stop_attempt
from batchyard.core.turn import Turn
from batchyard.model.records import Attempt, StopCause
from batchyard.scheduler.plan import Preemption, PreemptionCause

_STOP_CAUSE = {
    PreemptionCause.CROSS_SHARE: StopCause.CROSS_SHARE_PREEMPTION,
    PreemptionCause.IN_SHARE: StopCause.IN_SHARE_PREEMPTION,
}


def preempt(turn: Turn, proposed: Preemption) -> None:
    """Stop the live attempt of a job, if it still has one and the other job still waits."""
    job, winner = turn.state.jobs.get(proposed.job_id), turn.state.find(proposed.for_job_id)
    if job is None or winner is None or job.progress.attempt is None:
        return
    if job.queue_arn != winner.queue_arn or job.quota_share is None:
        return
    stop_attempt(turn, job, _STOP_CAUSE[proposed.cause])


def may_go_on(state: State, job: Job, ended: Attempt) -> bool:
    """Tell whether a job waits again after an attempt that was preempted."""
    if ended.stop_cause is None or not ended.stop_cause.is_preemption:
        return False
    queue, most = state.queues.get(job.queue_arn), job.preemption_retries_max
    return (
        queue is not None
        and not queue.is_draining
        and is_share_open(state, job)
        and (most is None or job.progress.preempted_count <= most)
    )


def is_share_open(state: State, job: Job) -> bool:
    """Tell whether a job may start once more, for all that its quota share says, if it has one."""
    share = quota_share_of(state, job)
    return job.quota_share is None or (share is not None and not share.is_draining)
