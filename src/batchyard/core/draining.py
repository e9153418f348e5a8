"""How the jobs of a queue, or of a quota share, are ended when that is deleted.

Decides by reference/compute-and-scheduling.md section 2.4. Refuses to know what goes once the last
of them has ended. A part of them at a time: repeating it goes on.
"""

from collections.abc import Iterable

from batchyard.core.bookkeeping import array_of
from batchyard.core.jobs import fail_job, fail_waiting_children
from batchyard.core.state import Job
from batchyard.core.stopping import is_to_go_on, stop_attempt
from batchyard.core.turn import Turn
from batchyard.model.ids import JobId, child_id
from batchyard.model.limits import DRAINED_JOBS_PER_TURN_MAX
from batchyard.model.records import StopCause
from batchyard.model.status import JobStatus


def drain(turn: Turn, job_ids: Iterable[JobId], status_reason: str, cause: StopCause) -> None:
    """Fail those that wait, and stop those that run."""
    ending: list[Job] = []
    for job_id in job_ids:
        job = turn.state.jobs[job_id]
        if job.progress.attempt is None or is_to_go_on(job.progress.attempt):
            ending.append(job)
        if len(ending) > DRAINED_JOBS_PER_TURN_MAX:
            turn.outcome.is_partial = True
            ending.pop()
            break
    for job in ending:
        if job.id not in turn.state.jobs:  # it failed with one before it
            continue
        if job.array is not None:
            _drain_array(turn, job, status_reason, cause)
        elif job.progress.attempt is not None:
            stop_attempt(turn, job, cause)
        else:
            fail_job(turn, job.id, status_reason)


def _drain_array(turn: Turn, parent: Job, status_reason: str, cause: StopCause) -> None:
    for index in array_of(parent).own_indexes(JobStatus.STARTING, JobStatus.RUNNING):
        stop_attempt(turn, turn.state.jobs[child_id(parent.id, index)], cause)
    fail_waiting_children(turn, parent, status_reason)
