"""One line of waiting jobs, read from its front to its end at a pace that is given.

Decides when each of them starts: in the order of the line, one after the other, each as long after
the one before as that one's work takes. Refuses to know where a pace comes from (see `pacing`).

Who waits for other jobs stands in line by its submission number as if it were RUNNABLE; if what it
waits for is not over when its turn comes, it goes first as soon as it is, for nobody else has an
earlier number. That they succeed is taken for granted.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchyard.core.state import Job, State
from batchyard.core.viewing_shares import waiting_job
from batchyard.core.waiting_line import Place as LinePlace
from batchyard.model.ids import JobId, child_id, is_part_id, split_part_id, whole_id_of
from batchyard.scheduler.outlook import LastingOutlook
from batchyard.scheduler.view import is_plain
from batchyard.sim.fate import Fate
from batchyard.store.run_times import Kind, Origin

#: Ours: so many draws say how long those of a batch take, and of how many it is asked in a run;
#: the others go by their definition.
_DRAWN_MAX = 200
_DRAWN_IN_RUN_MAX = 4000
#: Ours: of so many it is asked when the last of an array end.
_LAST = 20
#: Ours: of more jobs than that ends are told by how long their batch takes.
_DRAWN_EACH_MAX = 2000

#: What stands before another is less: priority backwards, submission number, index.
Place = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Expected:
    """When a job starts and ends that a run did not come to; of an array: the first, the last."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Left:
    """What a run has left behind."""

    state: State
    now_ms: int
    origins: Mapping[JobId, Origin]
    #: Draws the fate of a first attempt of a job or child.
    draw: Callable[[Job, JobId], Fate]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a line is served."""

    #: When its turn comes.
    begins_ms: float
    ms_per_work: float
    #: What stands before this is passed over by others; None: nothing is known to be.
    passed: Place | None = None


@dataclass(slots=True)
class _Mean:
    sum: int = 0
    count: int = 0

    def add(self, value: int) -> None:
        self.sum += value
        self.count += 1

    @property
    def value(self) -> float:
        return self.sum / self.count if self.count else 0.0


class RunTimes:
    """How long jobs take that a run has not come to, as it would have drawn it."""

    def __init__(self, left: Left) -> None:
        self._left = left
        self._mean_by: dict[Origin | Kind, _Mean] = {}
        self._drawn_count = 0

    def draw(self, job: Job, job_id: JobId) -> int:
        """Draw how long the first attempt of a job or child holds its place."""
        return held_ms(job, self._left.draw(job, job_id))

    def mean(self, job: Job, job_id: JobId) -> float:
        """Tell how long jobs of a batch take, or of a definition where too many were drawn."""
        origin = self._left.origins[whole_id_of(job_id)]
        found = self._mean_by.get(origin)
        if (found is None or found.count < _DRAWN_MAX) and self._drawn_count < _DRAWN_IN_RUN_MAX:
            found = self._draw_some(job, job_id, origin)
        if found is None:
            found = self._mean_by.get(origin.kind)
        return 0.0 if found is None else found.value

    def _draw_some(self, job: Job, job_id: JobId, origin: Origin) -> _Mean:
        """Draw for a job, or for some children of an array, and count it for all like it."""
        ids = [job_id]
        if job.array is not None:
            size = len(job.array.codes)
            ids = [child_id(job_id, each) for each in range(0, size, -(-size // _DRAWN_MAX))]
        of_batch = self._mean_by.setdefault(origin, _Mean())
        of_kind = self._mean_by.setdefault(origin.kind, _Mean())
        for run_ms in (self.draw(job, each) for each in ids):
            of_batch.add(run_ms)
            of_kind.add(run_ms)
        self._drawn_count += len(ids)
        return of_batch

    def work(self, job: Job, job_id: JobId) -> float:
        """Tell how much work a job is, or one child of an array."""
        return job.demand.cpu_milli * self.mean(job, job_id)


@dataclass(slots=True, kw_only=True)
class LineReading:
    """A line as it is read; `ends_ms` is shared by all lines of a run, and grows."""

    left: Left
    times: RunTimes
    outlook: LastingOutlook
    pace: Pace
    #: What is asked of it, jobs and children. It is read until all of that is known; if nothing is
    #: asked, to its end, but for those who are late then: others do not wait for them.
    asked: Sequence[JobId]
    #: When what has begun ends, by whole job.
    running_ends_ms: Mapping[JobId, int]
    #: When jobs are over that others wait for, as far as it is known.
    ends_ms: dict[JobId, int]
    #: When the next of the line starts.
    clock_ms: float = 0.0
    found: dict[JobId, Expected] = field(default_factory=dict)
    _parts: dict[JobId, list[int]] = field(default_factory=dict)
    #: Whose turn has come before what they wait for is over: when it is.
    _late: list[tuple[int, Place, JobId]] = field(default_factory=list)
    #: The same, where that is not known yet: by what is to be known first.
    _blocked: dict[JobId, list[tuple[Place, JobId]]] = field(default_factory=dict)

    @property
    def may_go_on(self) -> bool:
        """Tell whether more would be found now: what somebody waits for has become known."""
        return any(each in self.ends_ms for each in self._blocked)

    def read(self, standing: Iterable[LinePlace], coming: Sequence[Job]) -> None:
        """Say when those asked of start and end; `coming` are those who wait for others."""
        wanted = dict.fromkeys(self.asked)
        for part_id in filter(is_part_id, wanted):
            whole_id, index = split_part_id(part_id)
            self._parts.setdefault(whole_id, []).append(index)
        self.clock_ms = self.pace.begins_ms
        for place, job_id in heapq.merge(self._not_passed(standing), _places_of(coming)):
            while self._late and self._late[0][0] <= self.clock_ms:
                self._serve(heapq.heappop(self._late)[2], wanted)
            if self.left.state.jobs[job_id].unmet:
                self._let_in(place, job_id)
            else:
                self._serve(job_id, wanted)
            if wanted and len(self.found) == len(wanted):
                return
        while self._late and wanted:
            ready_ms, _, job_id = heapq.heappop(self._late)
            self.clock_ms = max(self.clock_ms, ready_ms)
            self._serve(job_id, wanted)

    def _not_passed(self, standing: Iterable[LinePlace]) -> Iterator[tuple[Place, JobId]]:
        """Yield who stands in line, but those whom others have passed over."""
        passed = self.pace.passed
        for rank, seq, index, job_id in standing:
            is_retry, place = not rank % 2, (rank // 2, seq, index)
            is_array = self.left.state.jobs[job_id].array is not None
            if passed is None or is_retry:
                is_passed = False
            else:
                is_passed = place[:2] < passed[:2] if is_array else place < passed
            if not is_passed:
                yield place, job_id

    def _let_in(self, place: Place, job_id: JobId) -> None:
        """Let a job go on whose turn has come, once what it waits for is over."""
        ready_ms = 0
        for each in self.left.state.jobs[job_id].unmet:
            end_ms = self.ends_ms.get(each)
            if end_ms is None:
                self._blocked.setdefault(each, []).append((place, job_id))
                return
            ready_ms = max(ready_ms, end_ms)
        heapq.heappush(self._late, (ready_ms, place, job_id))

    def _serve(self, job_id: JobId, wanted: Mapping[JobId, None]) -> None:
        """Let a job, or all children of an array that wait, start and take their time."""
        job = self.left.state.jobs[job_id]
        if self._can_never_start(job, job_id, is_wanted=job_id in wanted):
            return
        each_ms = self.times.work(job, job_id) * self.pace.ms_per_work
        if job.array is not None:
            self._tell_array(job, job.array.codes, each_ms, is_wanted=job_id in wanted)
            self.clock_ms += each_ms * job.array.codes.count(0)
            return
        if job_id in wanted:
            self._tell(job, job_id, self.clock_ms)
        self.clock_ms += each_ms

    def _can_never_start(self, job: Job, job_id: JobId, *, is_wanted: bool) -> bool:
        """Tell whether nothing that runs keeps a job out; of those that are not wanted, cheaply."""
        shown = waiting_job(job, job_id)
        return (is_wanted or is_plain(shown)) and self.outlook.lasting(shown) is not None

    def _tell(self, job: Job, job_id: JobId, start_ms: float) -> None:
        is_drawn = len(self.asked) <= _DRAWN_EACH_MAX
        run_ms = self.times.draw(job, job_id) if is_drawn else self.times.mean(job, job_id)
        self._note(job_id, Expected(round(start_ms), round(start_ms) + round(run_ms)))

    def _tell_array(self, job: Job, codes: bytearray, each_ms: float, *, is_wanted: bool) -> None:
        """Say it of those that are wanted: the array, and single children."""
        for index in self._parts.get(job.id, ()):
            if codes[index] == 0:
                start_ms = self.clock_ms + codes.count(0, 0, index) * each_ms
                self._tell(job, child_id(job.id, index), start_ms)
        if is_wanted:
            count, end_ms, index = codes.count(0), 0.0, len(codes)
            for number in range(min(count, _LAST)):
                index = codes.rfind(0, 0, index)
                start_ms = self.clock_ms + (count - 1 - number) * each_ms
                end_ms = max(end_ms, start_ms + self.times.draw(job, child_id(job.id, index)))
            self._note(job.id, Expected(round(self.clock_ms), round(end_ms)))

    def _note(self, job_id: JobId, expected: Expected) -> None:
        self.found[job_id] = expected
        self.ends_ms[job_id] = max(expected.end_ms, self.running_ends_ms.get(job_id, 0))
        for place, waiting_id in self._blocked.pop(job_id, ()):
            self._let_in(place, waiting_id)


def held_ms(job: Job, fate: Fate) -> int:
    """Tell how long an attempt holds its place; one without an end holds it until its timeout."""
    times = [each for each in (fate.run_ms, job.timeout_ms) if each is not None]
    return min(times, default=0)


def _places_of(coming: Iterable[Job]) -> list[tuple[Place, JobId]]:
    return sorted(
        ((-each.priority, each.seq, 0 if each.array is None else -1), each.id) for each in coming
    )
