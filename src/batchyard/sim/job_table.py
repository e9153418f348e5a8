"""What is kept of each job of a trace while it is run, and after: five numbers and a letter.

Owns the rows: one for each job that runs by itself, so one for each child of an array. And the
names: a job of the trace has the job id that its place in the trace makes. Refuses to know what is
counted with it.
"""

from array import array
from collections.abc import Iterator, Sequence
from enum import IntEnum

from batchyard.model.ids import JobId, is_part_id, split_part_id
from batchyard.model.status import JobStatus
from batchyard.sim.trace import TraceJob

_NEVER = -1


class Phase(IntEnum):
    """Where a job stands, as a byte."""

    #: Not submitted, or PENDING.
    BEFORE = 0
    WAITING = 1
    ON = 2
    SUCCEEDED = 3
    FAILED = 4


STATUS_BY_PHASE = {
    Phase.BEFORE: JobStatus.PENDING,
    Phase.WAITING: JobStatus.RUNNABLE,
    Phase.ON: JobStatus.RUNNING,
    Phase.SUCCEEDED: JobStatus.SUCCEEDED,
    Phase.FAILED: JobStatus.FAILED,
}


def job_id_of(number: int) -> JobId:
    """Name the job at a place of a trace, from 0."""
    return JobId(f"{number:08x}-0000-4000-8000-{number:012x}")


def number_of(job_id: JobId) -> int:
    """Tell the place in the trace of a job, or of the array that a child is of."""
    return int(job_id[:8], 16)


def index_of(job_id: JobId) -> int | None:
    """Tell a child's index; None: it is no child."""
    return split_part_id(job_id)[1] if is_part_id(job_id) else None


class JobTable:
    """The rows of the jobs of a trace."""

    def __init__(self, jobs: Sequence[TraceJob]) -> None:
        self.jobs = jobs
        #: The first row of each job, if there are arrays; else a job's row is its number.
        self._first: array[int] | None = None
        count = len(jobs)
        if any(job.array_size for job in jobs):
            self._first = array("q", [0])
            for job in jobs:
                self._first.append(self._first[-1] + (job.array_size or 1))
            count = self._first[-1]
        self.count = count
        self.phases = bytearray(count)
        #: When it could first have started; -1: not yet.
        self.ready_ms = array("q", [_NEVER]) * count
        #: When its first attempt did.
        self.started_ms = array("q", [_NEVER]) * count
        #: How long its attempts ran, together.
        self.ran_ms = array("q", [0]) * count
        #: How many there were.
        self.attempt_counts = array("I", [0]) * count
        #: When it was over; -1: not yet.
        self.ended_ms = array("q", [_NEVER]) * count
        #: How each whole job ended, arrays too.
        self.ends = bytearray(len(jobs))

    def row_of(self, job_id: JobId) -> int:
        """Find the row of a job or child; of an array, that of its first child."""
        first = self.first_row(number_of(job_id))
        return first if len(job_id) == _WHOLE_LENGTH else first + (index_of(job_id) or 0)

    def first_row(self, number: int) -> int:
        return number if self._first is None else self._first[number]

    def rows_of(self, number: int) -> range:
        """Give the rows of a job: one, or one for each child."""
        first = self.first_row(number)
        return range(first, first + (self.jobs[number].array_size or 1))

    def numbers(self) -> Iterator[int]:
        """Give the number of the job of each row."""
        for number, job in enumerate(self.jobs):
            for _ in range(job.array_size or 1):
                yield number


_WHOLE_LENGTH = len(job_id_of(0))
