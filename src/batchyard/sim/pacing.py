"""What a run into the future says of jobs that it did not come to.

Decides when they start: the line that they stand in goes on at the pace at which it was served in
the latter half of the run (`paced_line` reads it). Refuses to know why a run was given up, and who
needs to know.

Work counts, in milli-vCPUs times milliseconds, so wide and long jobs ahead hold up more than small
ones do. It is that of first attempts alone, in the time that all attempts took: what is tried again
makes a line slow, and no longer. How long those ahead take is drawn as it would have been in the
run, for a few of each batch.

A line that was hardly served waits for queues of higher priority in the same environments. It has
its turn when those have nothing left: at the pace at which they were served together, less what
comes in to them; and from then on it has that pace. Where they have other environments besides, or
as much comes in as is served, nothing is said.

A job that others of its line have passed over in that half has no start here: nothing says that
the next one is its. Neither has a job that can never start as things are, or a child that waits for
a child.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain

from batchyard.core import events as e
from batchyard.core.bookkeeping import is_node, line_of
from batchyard.core.state import Job, Queue, State
from batchyard.core.viewing import view_of
from batchyard.model.ids import JobId, QueueArn, whole_id_of
from batchyard.model.status import JobStatus
from batchyard.scheduler.outlook import LastingOutlook
from batchyard.sim.fate import Fate
from batchyard.sim.paced_line import Expected, Left, LineReading, Pace, Place, RunTimes, held_ms

#: Ours: fewer starts of a line say little of its pace.
STARTS_MIN = 20
#: Ours: what only one in ten went ahead of has not had its turn yet: it may wait for much room.
_NOT_PASSED = 0.9
#: Ours: where more than this part of what is served comes in anew, a line hardly ever ends.
_COMING_MAX = 0.9

#: Of one queue, or of one of its shares.
_LineKey = tuple[QueueArn, str | None, str | None]


class Paces:
    """At which pace the lines of a run are served."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._served: dict[_LineKey, _Served] = {}
        #: Who came in, and when.
        self._came: list[tuple[int, Job]] = []
        #: When what began would end, by whole job: the last of its children.
        self.end_ms: dict[JobId, int] = {}

    def note_events(self, events: Sequence[e.Event], now_ms: int) -> None:
        """Take down who comes in."""
        for event in events:
            if isinstance(event, e.JobAccepted) and event.job_id in self._state.jobs:
                self._came.append((now_ms, self._state.jobs[event.job_id]))

    def note_end(self, job: Job, end_ms: int) -> None:
        """Take down when an attempt that has begun would end."""
        whole_id = whole_id_of(job.id)
        self.end_ms[whole_id] = max(end_ms, self.end_ms.get(whole_id, 0))

    def note_start(self, job: Job, number: int, fate: Fate, now_ms: int) -> None:
        """Take down that an attempt begins now."""
        run_ms = held_ms(job, fate)
        self.note_end(job, now_ms + fate.start_ms + run_ms)
        if is_node(job):
            whole = job.parent
            if whole is None or whole.nodes is None or job.index != whole.nodes.main_index:
                return
            job = whole
        if number == 1:
            served = self._served.setdefault(_key_of(job), _Served())
            served.at_ms.append(now_ms)
            served.work.append(job.demand.cpu_milli * run_ms)
            served.places.append((-job.priority, job.seq, job.index))

    def expect(self, left: Left, wanted: Iterable[JobId]) -> dict[JobId, Expected]:
        """Say when those wanted start and end, as far as that can be said."""
        return _Reading(left, self._served, self._came, self.end_ms).read(wanted)


@dataclass(slots=True)
class _Served:
    """What of a line began, in the order of time."""

    at_ms: list[int] = field(default_factory=list)
    work: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    @classmethod
    def together(cls, lines: Iterable["_Served"]) -> "_Served":
        """Put lines together as one."""
        each = sorted(
            chain.from_iterable(
                zip(line.at_ms, line.work, line.places, strict=True) for line in lines
            )
        )
        return cls([at for at, _, _ in each], [work for _, work, _ in each])

    @property
    def since_ms(self) -> int:
        """When the latter half begins."""
        return self.at_ms[len(self.at_ms) // 2]

    @property
    def latter_work(self) -> int:
        return sum(self.work[len(self.work) // 2 + 1 :])

    def ms_per_work(self, now_ms: int) -> float | None:
        """Tell how long a line takes for a unit of work; None: it was hardly served."""
        if len(self.at_ms) < STARTS_MIN:
            return None
        work, took_ms = self.latter_work, now_ms - self.since_ms
        return took_ms / work if work and took_ms else None

    def passed(self) -> Place:
        """Give the place that one in ten of the latter half stood behind, or none did."""
        latter = sorted(self.places[len(self.places) // 2 :])
        return latter[round(_NOT_PASSED * (len(latter) - 1))]


class _Reading:
    """What is left after one run, read line by line."""

    def __init__(
        self,
        left: Left,
        served: dict[_LineKey, _Served],
        came: Sequence[tuple[int, Job]],
        running_ends_ms: Mapping[JobId, int],
    ) -> None:
        self._left = left
        self._served = served
        self._came = came
        self._running_ends_ms = running_ends_ms
        self._times = RunTimes(left)
        self._ends_ms: dict[JobId, int] = {}
        view = view_of(left.state, left.now_ms)
        environments = {each.arn: each for each in view.environments}
        self._outlooks = {
            queue.arn: LastingOutlook(
                [environments[arn] for arn in queue.environment_arns if arn in environments],
                view.hosts,
            )
            for queue in left.state.queues.values()
        }
        #: A job of each line, and those of it that wait for others.
        self._first: dict[_LineKey, Job] = {}
        self._coming: dict[_LineKey, list[Job]] = {}
        self._note_lines()
        #: Of queues of which a line was hardly served.
        self._behind_others: dict[QueueArn, Pace | None] = {}

    def read(self, wanted: Iterable[JobId]) -> dict[JobId, Expected]:
        asked = self._asked_of(wanted)
        in_order = sorted(asked, key=self._order_of)
        paces = {key: pace for key in in_order if (pace := self._pace_of(key)) is not None}
        readings: dict[_LineKey, LineReading] = {}
        left_over = list(paces)
        while left_over:
            for key in left_over:
                readings[key] = self._reading_of(key, paces[key], asked[key])
            # Jobs of one line may wait for those of another that was read after it.
            left_over = [key for key, reading in readings.items() if reading.may_go_on]
        found: dict[JobId, Expected] = {}
        for reading in readings.values():
            found |= reading.found
        return found

    def _note_lines(self) -> None:
        state = self._left.state
        in_pairs = {each for waiting in state.pair_dependents.values() for each in waiting}
        for job in state.jobs.values():
            if job.parent is not None or job.queue_arn not in state.queues:
                continue
            key = _key_of(job)
            self._first.setdefault(key, job)
            if job.unmet and job.id not in in_pairs:
                self._coming.setdefault(key, []).append(job)

    def _asked_of(self, wanted: Iterable[JobId]) -> dict[_LineKey, list[JobId]]:
        """Name what is to be known of each line: what is wanted, and what they wait for."""
        asked: dict[_LineKey, dict[JobId, None]] = {}
        left_over = list(wanted)
        seen = set(left_over)
        while left_over:
            job_id = left_over.pop()
            job = self._left.state.find(job_id)
            if job is None:
                continue
            if not waits(job):
                self._note_running_end(job_id)
            elif _key_of(job) in self._first:
                asked.setdefault(_key_of(job), {})[job_id] = None
            more = [each for each in job.unmet if each not in seen]
            seen.update(more)
            left_over += more
        self._ask_for_others(asked)
        return {key: list(ids) for key, ids in asked.items()}

    def _ask_for_others(self, asked: dict[_LineKey, dict[JobId, None]]) -> None:
        """Ask too of what others wait for who come into these lines: they hold up who is asked."""
        for each in chain.from_iterable(self._coming.get(key, ()) for key in list(asked)):
            for needed in each.unmet:
                job = self._left.state.find(needed)
                if job is None:
                    continue
                if not waits(job):
                    self._note_running_end(needed)
                elif _key_of(job) in asked:
                    asked[_key_of(job)][needed] = None

    def _note_running_end(self, job_id: JobId) -> None:
        """Note when a job ends that waits no more."""
        end_ms = self._running_ends_ms.get(whole_id_of(job_id), 0)
        self._ends_ms[job_id] = max(self._left.now_ms, end_ms)

    def _order_of(self, key: _LineKey) -> tuple[int, int, str]:
        """Read queues of higher priority first: their jobs are waited for more often."""
        queue = self._left.state.queues[key[0]]
        return -queue.priority, queue.seq, key[1] or key[2] or ""

    def _pace_of(self, key: _LineKey) -> Pace | None:
        """Tell how a line is served; None: nobody can say."""
        now_ms, served = self._left.now_ms, self._served.get(key, _Served())
        ms_per_work = served.ms_per_work(now_ms)
        if ms_per_work is not None:
            return Pace(now_ms, ms_per_work, served.passed())
        if key[0] not in self._behind_others:
            self._behind_others[key[0]] = self._pace_behind_others(key[0])
        return self._behind_others[key[0]]

    def _pace_behind_others(self, queue_arn: QueueArn) -> Pace | None:
        """Tell when a queue has its turn that waits for those of higher priority, and how."""
        others = self._before(self._left.state.queues[queue_arn])
        together = _Served.together(
            served for (arn, *_), served in self._served.items() if arn in others
        )
        ms_per_work = together.ms_per_work(self._left.now_ms)
        if ms_per_work is None:
            return None
        coming = self._work_that_came(others, together.since_ms) / together.latter_work
        if coming > _COMING_MAX:
            return None
        ms_per_work /= 1 - coming
        begins_ms = float(self._left.now_ms)
        for key in sorted((each for each in self._first if each[0] in others), key=self._order_of):
            begins_ms = self._reading_of(key, Pace(begins_ms, ms_per_work), ()).clock_ms
        return Pace(begins_ms, ms_per_work)

    def _before(self, queue: Queue) -> Set[QueueArn]:
        """Name the queues that go before one, if all that they have is its, too."""
        own = set(queue.environment_arns)
        others = [
            each
            for each in self._left.state.queues.values()
            if each.priority > queue.priority and own.intersection(each.environment_arns)
        ]
        is_all = all(own.issuperset(each.environment_arns) for each in others)
        return {each.arn for each in others} if is_all else set()

    def _work_that_came(self, others: Set[QueueArn], since_ms: int) -> float:
        return sum(
            self._times.work(job, job.id) * (1 if job.array is None else job.array.size)
            for at_ms, job in self._came
            if at_ms >= since_ms and job.queue_arn in others
        )

    def _reading_of(self, key: _LineKey, pace: Pace, asked: Sequence[JobId]) -> LineReading:
        """Read a line as far as is asked, or to its end if nothing is."""
        state = self._left.state
        reading = LineReading(
            left=self._left,
            times=self._times,
            outlook=self._outlooks[key[0]],
            pace=pace,
            asked=asked,
            running_ends_ms=self._running_ends_ms,
            ends_ms=self._ends_ms,
        )
        line = line_of(state, self._first[key])
        reading.read(() if line is None else line.folded(), self._coming.get(key, ()))
        return reading


def _key_of(job: Job) -> _LineKey:
    return job.queue_arn, job.share_identifier, job.quota_share


def waits(job: Job) -> bool:
    """Tell whether a job, or a child of it, has no place yet."""
    statuses = (JobStatus.PENDING, JobStatus.RUNNABLE)
    array = job.progress.array
    if array is None or array.rest is None:  # It is no array, or its children wait for others.
        return job.progress.status in statuses
    counts = array.count_by_status()
    return any(counts[each] for each in statuses)
