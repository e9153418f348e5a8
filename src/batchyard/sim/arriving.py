"""Jobs that will come in: drawn as whole stretches of what came in of late.

Decides whose submissions matter to whom, and how a stretch of the past is laid into the future.
Refuses to know how long these jobs run.

Rules: each run first draws, with replacement, the stretches that its past is made of: so what is
not known of how much comes in moves all of its future. From these stretch after stretch is drawn;
if nothing came in in any of them, nothing comes.
Bursts and batches stay what they were, and jobs that waited for others of their stretch do so
again. If two days are known a stretch is a day, from this time of day on, and if two weeks are, one
of the same day of the week; else a tenth of what is known. Too few submissions say nothing: then
none are expected.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.state import Queue, State
from batchyard.model.forecast import ArrivalUse
from batchyard.model.ids import JobId, QueueArn
from batchyard.model.records import JobProgress
from batchyard.store.run_times import Origin, PastArrival

#: Ours: fewer batches in the past say nothing of what is to come. Few say more than none: where
#: nobody was expected before 20 were known, half of the starts came later than foretold.
BATCHES_MIN = 5
_DAY_MS = 86_400_000
_WEEK_DAYS = 7
#: Ours: from so many on a day of the week goes by its like.
_WEEKS_MIN = 2
#: Ours: into how many stretches a past of less than two days is cut.
_BLOCKS = 10


def whose_matter(state: State, own: Iterable[QueueArn]) -> list[QueueArn]:
    """Name the queues whose later jobs may go ahead of those that wait in some queues now.

    Those that share an environment with them; their own if its order is not that of submission.
    """
    found: dict[QueueArn, None] = {}
    for queue in [state.queues[each] for each in own if each in state.queues]:
        for other in state.queues.values():
            is_own = other.arn == queue.arn
            may_pass = _has_shares(other) if is_own else bool(
                set(other.environment_arns) & set(queue.environment_arns)
            )  # fmt: skip
            if may_pass:
                found[other.arn] = None
    return list(found)


def _has_shares(queue: Queue) -> bool:
    return queue.policy is not None or queue.quota_shares is not None


@dataclass(frozen=True, slots=True)
class Past:
    """What came in of late in the queues that matter, the oldest first."""

    arrivals: Sequence[PastArrival]
    now_ms: int
    first_seq: int

    @property
    def use(self) -> ArrivalUse | None:
        """Tell what is drawn from; None: nothing is expected to come in."""
        batches = {each.origin for each in self.arrivals}
        if len(batches) < BATCHES_MIN:
            return None
        window_ms = self.now_ms - self.arrivals[0].job.created_ms
        return ArrivalUse(job_count=len(self.arrivals), window_ms=max(1, window_ms))

    def laid_ahead(
        self, origins: dict[JobId, Origin], *, seed: int, run: int
    ) -> Iterator[tuple[int, i.AcceptJob]]:
        """Give what comes in, without end if anything does; origins are entered before."""
        use = self.use
        if use is None:
            return
        chance = Random(f"{seed}/{run}/arrivals")  # noqa: S311
        block_ms = _block_ms(use.window_ms)
        version = self._version(chance, use.window_ms, block_ms)
        every = {offset_ms for offsets in version for offset_ms in offsets}
        if not any(any(self._block(each, use.window_ms, block_ms)) for each in sorted(every)):
            return
        seq, began_ms, number = self.first_seq, self.now_ms, 0
        while True:
            offsets = version[number % len(version)]
            new_ids: dict[JobId, JobId] = {}
            offset_ms = chance.choice(offsets)
            for after_ms, past in self._block(offset_ms, use.window_ms, block_ms):
                job_id = new_ids[past.job.id] = _id_of(f"{seed}/{run}/{seq}")
                origin = past.origin
                origins[job_id] = replace(origin, batch=f"{origin.batch} again {began_ms}")
                depends_on = tuple(new_ids[each] for each in past.job.depends_on if each in new_ids)
                at_ms = began_ms + after_ms
                yield at_ms, _come_again(past, job_id, seq, at_ms, depends_on)
                seq += 1
            began_ms += block_ms
            number += 1

    def _version(self, chance: Random, window_ms: int, block_ms: int) -> list[list[int]]:
        """Draw which stretches there were, by where they begin in the past.

        One list, or one for each day of the week, today's first.
        """
        if block_ms < _DAY_MS:
            return [[chance.randrange(window_ms) for _ in range(_BLOCKS)]]
        days = window_ms // _DAY_MS
        weeks = days // _WEEK_DAYS
        if weeks < _WEEKS_MIN:
            ago = [range(1, days + 1)]
        else:
            ago = [range(_WEEK_DAYS - day, days + 1, _WEEK_DAYS) for day in range(_WEEK_DAYS)]
        return [[window_ms - chance.choice(each) * _DAY_MS for _ in each] for each in ago]

    def _block(
        self, offset_ms: int, window_ms: int, block_ms: int
    ) -> Iterator[tuple[int, PastArrival]]:
        """Give a stretch of the past, which goes round, with times from its beginning."""
        since_ms = self.now_ms - window_ms
        for turn_ms in (0, window_ms):
            low_ms, high_ms = offset_ms - turn_ms, offset_ms - turn_ms + block_ms
            first = bisect_left(self.arrivals, since_ms + low_ms, key=_created_ms)
            last = bisect_left(self.arrivals, since_ms + high_ms, key=_created_ms)
            for past in self.arrivals[first:last]:
                yield past.job.created_ms - since_ms - low_ms, past


def past_of(
    arrivals: Iterable[PastArrival],
    queues: Iterable[QueueArn],
    *,
    now_ms: int,
    first_seq: int,
) -> Past:
    """Take what came in in some queues."""
    wanted = dict.fromkeys(queues)
    return Past([each for each in arrivals if each.job.queue_arn in wanted], now_ms, first_seq)


def running_of(
    state: State, origins: Mapping[JobId, Origin], now_ms: int
) -> dict[Origin, list[int]]:
    """Tell for how long what runs of each batch has done so."""
    found: dict[Origin, list[int]] = {}
    for job_id in state.job_by_task.values():
        job = state.jobs[job_id]
        attempt = job.progress.attempt
        origin = origins.get(job.id if job.parent is None else job.parent.id)
        if origin is not None and attempt is not None and attempt.started_ms is not None:
            found.setdefault(origin, []).append(max(0, now_ms - attempt.started_ms))
    return found


def _block_ms(window_ms: int) -> int:
    """Say how long a stretch is: a day, if the past has two of them."""
    return _DAY_MS if window_ms >= 2 * _DAY_MS else max(1, window_ms // _BLOCKS)


def _created_ms(past: PastArrival) -> int:
    return past.job.created_ms


def _come_again(
    past: PastArrival, job_id: JobId, seq: int, at_ms: int, depends_on: tuple[JobId, ...]
) -> i.AcceptJob:
    again = replace(
        past.job,
        id=job_id,
        seq=seq,
        depends_on=depends_on,
        depends_on_each=(),
        created_ms=at_ms,
        progress=JobProgress(),
    )
    return i.AcceptJob(job=again, finished={})


def _id_of(text: str) -> JobId:
    """Make up an id in the form of a job's."""
    digits = blake2b(text.encode(), digest_size=16).hexdigest()
    parts = (digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])
    return JobId("-".join(parts))
