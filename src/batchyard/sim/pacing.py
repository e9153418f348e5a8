"""What a run into the future says of jobs that it did not come to.

Decides when they start: the line that they stand in goes on at the pace at which it was served in
the latter half of the run. Refuses to know why a run was given up, and who needs to know.

Work counts, in milli-vCPUs times milliseconds, so wide and long jobs ahead hold up more than small
ones do. It is that of first attempts alone, in the time that all attempts took: what is tried again
makes a line slow, and no longer. How long those ahead take is drawn as it would have been in the
run, for a few of each batch.

A job that others of its line have passed over in that half has no start here: nothing says that
the next one is its. Neither has a job that can never start as things are, one that is not in line,
or in one that was hardly served.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from batchyard.core.bookkeeping import is_node, line_of
from batchyard.core.state import Job, State
from batchyard.core.viewing import view_of
from batchyard.core.viewing_shares import waiting_job
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.ids import JobId, QueueArn, child_id, is_part_id, split_part_id, whole_id_of
from batchyard.scheduler.outlook import LastingOutlook
from batchyard.scheduler.view import is_plain
from batchyard.sim.fate import Fate
from batchyard.store.run_times import Kind, Origin

#: Ours: fewer starts of a line say little of its pace.
STARTS_MIN = 20
#: Ours: so many draws say how long those of a batch take, and of how many it is asked in a line;
#: the others go by their definition.
_DRAWN_MAX = 200
_DRAWN_IN_LINE_MAX = 4000
#: Ours: of so many it is asked when the last of an array end.
_LAST = 20
#: Ours: of more jobs than that ends are told by how long their batch takes.
_DRAWN_EACH_MAX = 2000

#: Ours: what only one in ten went ahead of has not had its turn yet: it may wait for much room.
_NOT_PASSED = 0.9

#: Of one queue, or of one of its shares.
_LineKey = tuple[QueueArn, str | None, str | None]
#: What stands before another is less: priority backwards, submission number, index.
_Place = tuple[int, int, int]


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


class Paces:
    """At which pace the lines of a run are served."""

    def __init__(self) -> None:
        self._served: dict[_LineKey, _Served] = {}
        #: When what began would end, by whole job: the last of its children.
        self.end_ms: dict[JobId, int] = {}

    def note(self, job: Job, number: int, fate: Fate, now_ms: int) -> None:
        """Take down that an attempt begins now."""
        whole = job if job.parent is None else job.parent
        run_ms = _run_ms(job, fate)
        end_ms = now_ms + fate.start_ms + run_ms
        self.end_ms[whole.id] = max(end_ms, self.end_ms.get(whole.id, 0))
        if is_node(job):
            if whole.nodes is None or job.index != whole.nodes.main_index:
                return
            job = whole
        if number == 1:
            served = self._served.setdefault(_key_of(job), _Served())
            served.at_ms.append(now_ms)
            served.work.append(job.demand.cpu_milli * run_ms)
            served.places.append((-job.priority, job.seq, job.index))

    def expect(self, left: Left, wanted: Iterable[JobId]) -> dict[JobId, Expected]:
        """Say when those wanted that stand in line start and end, as far as that can be said."""
        lines: dict[_LineKey, tuple[WaitingLine | None, list[JobId]]] = {}
        for each in wanted:
            job = left.state.find(each)
            if job is not None:
                key = _key_of(job)
                if key not in lines:
                    lines[key] = (line_of(left.state, job), [])
                lines[key][1].append(each)
        view = view_of(left.state, left.now_ms)
        outlooks = {
            queue.arn: LastingOutlook(queue.environments, view.hosts) for queue in view.queues
        }
        found: dict[JobId, Expected] = {}
        for key, (line, of_line) in lines.items():
            served, outlook = self._served.get(key), outlooks.get(key[0])
            if served is not None and line is not None and outlook is not None:
                found |= _Reading(left, served, outlook, of_line).read(line)
        return found


@dataclass(slots=True)
class _Served:
    """What of a line began, in the order of time."""

    at_ms: list[int] = field(default_factory=list)
    work: list[int] = field(default_factory=list)
    places: list[_Place] = field(default_factory=list)

    def ms_per_work(self, now_ms: int) -> float | None:
        """Tell how long a line takes for a unit of work; None: it was hardly served."""
        if len(self.at_ms) < STARTS_MIN:
            return None
        half = len(self.at_ms) // 2
        work, took_ms = sum(self.work[half + 1 :]), now_ms - self.at_ms[half]
        return took_ms / work if work and took_ms else None

    def passed(self) -> _Place:
        """Give the place that one in ten of the latter half stood behind, or none did."""
        latter = sorted(self.places[len(self.places) // 2 :])
        return latter[round(_NOT_PASSED * (len(latter) - 1))]


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


class _Reading:
    """One line, read from its front to its end."""

    def __init__(
        self, left: Left, served: _Served, outlook: LastingOutlook, wanted: Sequence[JobId]
    ) -> None:
        self._left = left
        self._served = served
        self._outlook = outlook
        self._wanted = dict.fromkeys(wanted)
        self._parts: dict[JobId, list[int]] = {}
        for each in wanted:
            if is_part_id(each):
                whole_id, index = split_part_id(each)
                self._parts.setdefault(whole_id, []).append(index)
        self._mean_by: dict[Origin | Kind, _Mean] = {}
        self._drawn_count = 0

    def read(self, line: WaitingLine) -> dict[JobId, Expected]:
        left, found = self._left, dict[JobId, Expected]()
        ms_per_work = self._served.ms_per_work(left.now_ms)
        if ms_per_work is None:
            return found
        passed, ahead_ms = self._served.passed(), 0.0
        for rank, seq, index, job_id in line.folded():
            job = left.state.jobs[job_id]
            is_retry, place = not rank % 2, (rank // 2, seq, index)
            if not is_retry and (place[:2] < passed[:2] if job.array else place < passed):
                continue
            if self._can_never_start(job, job_id):
                continue
            each_ms = job.demand.cpu_milli * self._run_ms(job, job_id) * ms_per_work
            codes = None if job.array is None else job.array.codes
            if codes is not None:
                found.update(self._of_array(job, codes, left.now_ms + ahead_ms, each_ms))
            elif job_id in self._wanted:
                found[job_id] = self._of_one(job, job_id, round(left.now_ms + ahead_ms))
            ahead_ms += each_ms * (1 if codes is None else codes.count(0))
            if len(found) == len(self._wanted):
                break
        return found

    def _can_never_start(self, job: Job, job_id: JobId) -> bool:
        """Tell whether nothing that runs keeps a job out; of those that are not wanted, cheaply."""
        shown = waiting_job(job, job_id)
        is_asked = is_plain(shown) or job_id in self._wanted
        return is_asked and self._outlook.lasting(shown) is not None

    def _of_one(self, job: Job, job_id: JobId, start_ms: int) -> Expected:
        is_drawn = len(self._wanted) <= _DRAWN_EACH_MAX
        run_ms = self._draw(job, job_id) if is_drawn else self._run_ms(job, job_id)
        return Expected(start_ms, start_ms + round(run_ms))

    def _of_array(
        self, job: Job, codes: bytearray, begin_ms: float, each_ms: float
    ) -> Iterator[tuple[JobId, Expected]]:
        """Say it of those that are wanted: the array, and single children."""
        for index in self._parts.get(job.id, ()):
            if codes[index] == 0:
                part_id = child_id(job.id, index)
                at_ms = round(begin_ms + codes.count(0, 0, index) * each_ms)
                yield part_id, self._of_one(job, part_id, at_ms)
        if job.id in self._wanted:
            count, end_ms, index = codes.count(0), 0.0, len(codes)
            for number in range(min(count, _LAST)):
                index = codes.rfind(0, 0, index)
                start_ms = begin_ms + (count - 1 - number) * each_ms
                end_ms = max(end_ms, start_ms + self._draw(job, child_id(job.id, index)))
            yield job.id, Expected(round(begin_ms), round(end_ms))

    def _run_ms(self, job: Job, job_id: JobId) -> float:
        """Tell how long jobs of a batch take, or of a definition where too many were drawn."""
        origin = self._left.origins[whole_id_of(job_id)]
        of_batch = self._mean_by.setdefault(origin, _Mean())
        if of_batch.count < _DRAWN_MAX and self._drawn_count < _DRAWN_IN_LINE_MAX:
            ids = [job_id]
            if job.array is not None:
                size = len(job.array.codes)
                ids = [child_id(job_id, each) for each in range(0, size, -(-size // _DRAWN_MAX))]
            of_kind = self._mean_by.setdefault(origin.kind, _Mean())
            for run_ms in (self._draw(job, each) for each in ids):
                of_batch.add(run_ms)
                of_kind.add(run_ms)
            self._drawn_count += len(ids)
        if not of_batch.count:
            of_batch = self._mean_by.get(origin.kind) or of_batch
        return of_batch.value

    def _draw(self, job: Job, job_id: JobId) -> int:
        return _run_ms(job, self._left.draw(job, job_id))


def _key_of(job: Job) -> _LineKey:
    return job.queue_arn, job.share_identifier, job.quota_share


def _run_ms(job: Job, fate: Fate) -> int:
    """Tell how long an attempt holds its place; one without an end holds it until its timeout."""
    times = [each for each in (fate.run_ms, job.timeout_ms) if each is not None]
    return min(times, default=0)
