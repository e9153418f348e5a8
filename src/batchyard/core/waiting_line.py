"""The RUNNABLE jobs of one queue, or of one share of it, in the order in which they should start.

Decides that order: by priority, which is always 0 where there are no shares; then jobs that are
tried again go first, then by submission number and by index among an array's children
(reference/compute-and-scheduling.md sections 3.1, 3.3). Refuses to know shares and capacity. An
array stands in line once, for all its children that have no story of their own, and is unfolded
only as far as somebody reads. Taking a job out costs nothing at once: its ticket is void, and the
entry is dropped when it comes to the top, or when most entries are void.
"""

import heapq
from bisect import insort
from collections.abc import Iterator
from typing import Final

from batchyard.model.ids import JobId, child_id, whole_id_of

#: (rank, submission number, index, ticket, job)
_Entry = tuple[int, int, int, int, JobId]

#: (rank, submission number, index, job): what stands before another is less.
Place = tuple[int, int, int, JobId]
_JOB: Final = 3
_TICKET: Final = 3
_JOB_OF_ENTRY: Final = 4

#: A smaller heap is not worth cleaning.
_CLEAN_SIZE_MIN = 1024

#: Each step of priority goes before both.
_RETRIED = 0
_NEW = 1
_RANKS_PER_PRIORITY = 2
#: An array stands before its first child; where exactly is seen when it is unfolded.
_UNFOLDED_LATER = -1


class WaitingLine:
    """A line of jobs. Joining and leaving cost O(log n); reading the first k costs O(k).

    What was read once stays in order: `_front` goes before everything in `_heap`, and grows as far
    as somebody reads. Reading moves entries from the one to the other, and nothing else.
    """

    __slots__ = ("_first", "_front", "_heap", "_rest_by_array", "_ticket_by_job", "_tickets_given")

    def __init__(self) -> None:
        #: In order. What is before `_first` is void; what is there is not, or nothing is.
        self._front: list[_Entry] = []
        self._first = 0
        self._heap: list[_Entry] = []
        #: Holds all and only the jobs and arrays in line, with the ticket that is valid for each.
        self._ticket_by_job: dict[JobId, int] = {}
        #: The arrays among them: one byte a child, 0 for each one that the array stands for.
        self._rest_by_array: dict[JobId, bytearray] = {}
        self._tickets_given = 0

    def __len__(self) -> int:
        """Count the entries: an array is one."""
        return len(self._ticket_by_job)

    def __contains__(self, job_id: JobId) -> bool:
        return job_id in self._ticket_by_job

    def join(
        self, job_id: JobId, seq: int, index: int = 0, *, is_retry: bool, priority: int = 0
    ) -> None:
        """Put the job in line; one that is tried again stands before those that never ran."""
        rank = _RETRIED if is_retry else _NEW
        self._add(rank - _RANKS_PER_PRIORITY * priority, seq, index, job_id)

    def join_array(self, job_id: JobId, seq: int, codes: bytearray, *, priority: int = 0) -> None:
        """Put an array in line for each child whose byte in `codes` is 0, now and later."""
        self._rest_by_array[job_id] = codes
        self._add(_NEW - _RANKS_PER_PRIORITY * priority, seq, _UNFOLDED_LATER, job_id)

    def leave(self, job_id: JobId) -> None:
        del self._ticket_by_job[job_id]
        self._rest_by_array.pop(job_id, None)
        self._clean()

    def front_seq(self) -> int:
        """Give the submission number of the first job; there must be one."""
        return (self._front[self._first] if self._front else self._heap[0])[1]

    def __iter__(self) -> Iterator[JobId]:
        """Yield the jobs in order without taking them out; lazy, for as many as are asked for."""
        if not self._rest_by_array:
            return (entry[_JOB_OF_ENTRY] for entry in self._entries())
        return (place[_JOB] for place in self.places())

    def places(self) -> Iterator[Place]:
        """Yield the same jobs, each with what decides where it stands."""
        #: The next child of each array that is being unfolded.
        unfolded: list[_Entry] = []
        for entry in self._entries():
            while unfolded and unfolded[0] < entry:
                yield self._next_child(unfolded)
            if entry[_JOB_OF_ENTRY] in self._rest_by_array:
                self._unfold(unfolded, entry)
            else:
                yield entry[0], entry[1], entry[2], entry[_JOB_OF_ENTRY]
        while unfolded:
            yield self._next_child(unfolded)

    def folded(self) -> Iterator[Place]:
        """Yield what is in line, in order: an array once, before its first child, with index -1."""
        return ((rank, seq, index, job_id) for rank, seq, index, _, job_id in self._entries())

    def _entries(self) -> Iterator[_Entry]:
        """Yield what is in line, in order."""
        front, heap, tickets, at = self._front, self._heap, self._ticket_by_job, self._first
        while True:
            if at == len(front):
                if not heap:
                    return
                front.append(heapq.heappop(heap))
            entry = front[at]
            at += 1
            if tickets.get(entry[_JOB_OF_ENTRY]) == entry[_TICKET]:
                yield entry

    def _next_child(self, unfolded: list[_Entry]) -> Place:
        """Take the first of the children out, and let the next one of its array be there."""
        entry = heapq.heappop(unfolded)
        self._unfold(unfolded, entry)
        return entry[0], entry[1], entry[2], child_id(entry[_JOB_OF_ENTRY], entry[2])

    def _unfold(self, unfolded: list[_Entry], entry: _Entry) -> None:
        rank, seq, index, ticket, job_id = entry
        following = self._rest_by_array[job_id].find(0, index + 1)
        if following >= 0:
            heapq.heappush(unfolded, (rank, seq, following, ticket, job_id))

    def _add(self, rank: int, seq: int, index: int, job_id: JobId) -> None:
        assert job_id not in self._ticket_by_job, job_id
        self._tickets_given += 1
        self._ticket_by_job[job_id] = self._tickets_given
        entry = (rank, seq, index, self._tickets_given, job_id)
        if self._front and entry < self._front[-1]:
            insort(self._front, entry, lo=self._first)
        else:
            heapq.heappush(self._heap, entry)

    def _clean(self) -> None:
        """Drop what is void at the top, and everything that is once most entries are."""
        front, heap = self._front, self._heap
        if len(front) + len(heap) >= max(_CLEAN_SIZE_MIN, 2 * len(self._ticket_by_job)):
            front[:] = [entry for entry in front if self._is_valid(entry)]
            heap[:] = [entry for entry in heap if self._is_valid(entry)]
            heapq.heapify(heap)
            self._first = 0
        while self._first < len(front) and not self._is_valid(front[self._first]):
            self._first += 1
        if 2 * self._first > len(front):
            del front[: self._first]
            self._first = 0
        if not front:
            while heap and not self._is_valid(heap[0]):
                heapq.heappop(heap)

    def _is_valid(self, entry: _Entry) -> bool:
        return self._ticket_by_job.get(entry[_JOB_OF_ENTRY]) == entry[_TICKET]


class MovedLine(WaitingLine):
    """A line as it would be, had a job and what belongs to it a higher priority. For reading.

    Behind the job everything is as it was: what stands there does not matter for when it starts.
    """

    __slots__ = ("_line", "_moved")

    def __init__(self, line: WaitingLine, job_id: JobId, *, by: int) -> None:
        """Move `job_id` and the children of its array before it. Reads the line as far as that."""
        super().__init__()
        self._line = line
        whole_id = whole_id_of(job_id)
        self._moved = {
            place[_JOB]: (place[0] - _RANKS_PER_PRIORITY * by, *place[1:])
            for place in _up_to(line, job_id)
            if whole_id_of(place[_JOB]) == whole_id
        }

    def __len__(self) -> int:
        """Count what the line counts."""
        return len(self._line)

    def __iter__(self) -> Iterator[JobId]:
        """See `WaitingLine`."""
        return (place[_JOB] for place in self.places())

    def __contains__(self, job_id: JobId) -> bool:
        return job_id in self._line

    def front_seq(self) -> int:
        """Give the submission number of the first job; there must be one."""
        return next(self.places())[1]

    def places(self) -> Iterator[Place]:
        """See `WaitingLine`."""
        stay = (each for each in self._line.places() if each[_JOB] not in self._moved)
        return heapq.merge(iter(self._moved.values()), stay)


def steps_to_the_front(line: WaitingLine, job_id: JobId, priority: int) -> int | None:
    """Tell how many steps of priority put a job of a line before all others in it.

    None: nothing stands before it but the children of its own array.
    """
    whole_id = whole_id_of(job_id)
    own: Place | None = None
    first: Place | None = None
    for place in _up_to(line, job_id):
        if whole_id_of(place[_JOB]) != whole_id:
            first = first or place
        else:
            own = own or place
    if first is None or own is None:
        return None
    steps = -(first[0] // _RANKS_PER_PRIORITY) - priority
    is_enough = (own[0] - _RANKS_PER_PRIORITY * steps, *own[1:]) < first
    return steps if is_enough else steps + 1


def _up_to(line: WaitingLine, job_id: JobId) -> Iterator[Place]:
    """Yield the places of a line up to the one of a job, that included."""
    for place in line.places():
        yield place
        if place[_JOB] == job_id:
            return
