"""The legal moves of a job (reference/jobs.md section 1.1).

The state diagram is drawn from this table.

Decides which status may follow which; refuses to know why a job moves.
"""

from collections.abc import Mapping

from batchyard.model.status import JobStatus

LEGAL_MOVES: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.SUBMITTED: frozenset({JobStatus.PENDING, JobStatus.RUNNABLE, JobStatus.FAILED}),
    JobStatus.PENDING: frozenset({JobStatus.RUNNABLE, JobStatus.FAILED}),
    JobStatus.RUNNABLE: frozenset({JobStatus.STARTING, JobStatus.SCHEDULED, JobStatus.FAILED}),
    JobStatus.SCHEDULED: frozenset({JobStatus.STARTING, JobStatus.RUNNABLE, JobStatus.FAILED}),
    JobStatus.STARTING: frozenset({JobStatus.RUNNING, JobStatus.RUNNABLE, JobStatus.FAILED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.RUNNABLE, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset(),
}

#: An array's parent never runs itself: it is PENDING for as long as its children live
#: (reference/jobs.md section 4.3).
LEGAL_MOVES_OF_ARRAYS: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.SUBMITTED: frozenset({JobStatus.PENDING, JobStatus.FAILED}),
    JobStatus.PENDING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED}),
}


class InvariantBroken(Exception):
    """We were wrong. The process stops, and the store brings it back."""


def check_move(job_id: str, before: JobStatus, after: JobStatus, *, is_array: bool) -> None:
    """Raise `InvariantBroken` unless a job may go from `before` to `after`."""
    moves = LEGAL_MOVES_OF_ARRAYS if is_array else LEGAL_MOVES
    if after not in moves.get(before, ()):
        raise InvariantBroken(f"job {job_id} may not go from {before} to {after}")
