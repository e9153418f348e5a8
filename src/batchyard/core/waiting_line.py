"""The RUNNABLE jobs of one queue, in the order in which they should start.

Decides the FIFO order: jobs that are tried again go first, then by submission number
(reference/compute-and-scheduling.md section 3.1). Refuses to know priorities and capacity. Taking
a job out costs nothing at once: its ticket is void, and the entry is dropped when it comes to the
top, or when most entries are void.
"""

import heapq
from collections.abc import Iterator

from batchyard.model.ids import JobId

_Entry = tuple[int, int, int, JobId]

#: A smaller heap is not worth cleaning.
_CLEAN_SIZE_MIN = 1024


class WaitingLine:
    """A line of jobs. Joining and leaving cost O(log n); reading the first k costs O(k log k)."""

    __slots__ = ("_heap", "_ticket_by_job", "_tickets_given")

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        #: Holds all and only the jobs in line, with the ticket that is valid for each.
        self._ticket_by_job: dict[JobId, int] = {}
        self._tickets_given = 0

    def __len__(self) -> int:
        return len(self._ticket_by_job)

    def __contains__(self, job_id: JobId) -> bool:
        return job_id in self._ticket_by_job

    def join(self, job_id: JobId, seq: int, *, is_retry: bool) -> None:
        """Put the job in line; one that is tried again stands before those that never ran."""
        assert job_id not in self._ticket_by_job, job_id
        self._tickets_given += 1
        self._ticket_by_job[job_id] = self._tickets_given
        rank = 0 if is_retry else 1
        heapq.heappush(self._heap, (rank, seq, self._tickets_given, job_id))

    def leave(self, job_id: JobId) -> None:
        del self._ticket_by_job[job_id]
        if len(self._heap) >= max(_CLEAN_SIZE_MIN, 2 * len(self._ticket_by_job)):
            self._heap = [entry for entry in self._heap if self._is_valid(entry)]
            heapq.heapify(self._heap)
        while self._heap and not self._is_valid(self._heap[0]):
            heapq.heappop(self._heap)

    def __iter__(self) -> Iterator[JobId]:
        """Yield the jobs in order without taking them out; lazy, for as many as are asked for."""
        heap = self._heap
        frontier: list[tuple[_Entry, int]] = [(heap[0], 0)] if heap else []
        while frontier:
            entry, index = heapq.heappop(frontier)
            if self._is_valid(entry):
                yield entry[3]
            for child in (2 * index + 1, 2 * index + 2):
                if child < len(heap):
                    heapq.heappush(frontier, (heap[child], child))

    def _is_valid(self, entry: _Entry) -> bool:
        return self._ticket_by_job.get(entry[3]) == entry[2]
