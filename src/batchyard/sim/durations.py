"""How long attempts will take: drawn from how long those of the same kind took.

Decides which history a kind of job goes by, and how a draw is made. Refuses to know where history
comes from, and what is done with a draw.

How a draw is made:
- A kind goes by its own history if that has at least SAMPLES_MIN attempts, else by its queue's,
  else by all; if none has so many, by the nearest that has any; then by its timeout; then by a
  default.
- Each run first resamples the history with replacement, batch by batch: so what is not known of a
  kind's distribution moves all its jobs together, as it will.
- An attempt has a rank among those times. Jobs that came in together have ranks that go together as
  much as they did in the past (a normal copula with the intraclass correlation of logarithms); what
  is known already of a batch, also that some of it still runs, moves the rest of it.
- The time is that of the rank, between those of the past; beyond them as if it were lognormal.
- One that has run for a while has a rank above that. Beyond all of them what remains is
  exponential, with a mean of no less than what it has outrun them by.

Rule: a draw depends on seed, run, job and attempt alone, so two futures that differ in one thing
differ for that reason alone.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import exp, log, sqrt
from random import Random
from statistics import NormalDist, fmean, pstdev

from batchyard.model.forecast import Basis, BasisUse
from batchyard.model.ids import JobId, QueueArn, name_in_arn, whole_id_of
from batchyard.sim.fate import Fate
from batchyard.store.run_times import Kind, Origin, PastAttempt

#: Ours: fewer attempts say less of a kind than its neighbours do.
SAMPLES_MIN = 5
#: Ours: the latest ones are what is to come like.
SAMPLES_MAX = 300
#: Ours, where nothing at all is known.
DEFAULT_RUN_MS = 600_000

#: Of how long a job ran already: what remains, on average, of one that outlived all others, in
#: units of the spread of logarithms. A lognormal has about this two deviations from its middle.
_TAIL = 0.5
#: Even what hardly ever varied may.
_SPREAD_LEAST = 0.05
#: Ours: fewer batches tell nothing of how alike their jobs are; then it is taken to be this much.
BATCHES_MIN = 5
LIKENESS_UNKNOWN = 0.2
LIKENESS_MAX = 0.95
#: Keeps a chance away from 1.
_TINY = 1e-12

_NORMAL = NormalDist()
_ONE = 1 << 64


@dataclass(frozen=True, slots=True)
class _Source:
    """What a kind goes by."""

    basis: Basis
    #: The latest first; empty for TIMEOUT and DEFAULT.
    attempts: tuple[PastAttempt, ...]
    #: By batch.
    batches: tuple[tuple[PastAttempt, ...], ...]
    #: How much of the spread is between batches, 0 to 1.
    likeness: float


class History:
    """What is known of the past, by kind."""

    def __init__(self, attempts: Iterable[PastAttempt]) -> None:
        self._by_kind: dict[Kind, list[PastAttempt]] = {}
        self._by_queue: dict[QueueArn, list[PastAttempt]] = {}
        self._by_place: dict[str, list[PastAttempt]] = {}
        self._by_origin: dict[Origin, list[PastAttempt]] = {}
        for each in attempts:
            queue_arn = each.kind.queue_arn
            for found in (
                self._by_kind.setdefault(each.kind, []),
                self._by_queue.setdefault(queue_arn, []),
                self._by_place.setdefault(_place_of(queue_arn), []),
                self._by_origin.setdefault(Origin(each.kind, each.batch), []),
            ):
                if len(found) < SAMPLES_MAX:
                    found.append(each)
        self._sources: dict[Kind, _Source] = {}
        #: Kinds that nothing is known of and that have a timeout.
        self._timed: dict[Kind, None] = {}

    def ended_of(self, origin: Origin) -> Sequence[PastAttempt]:
        """Give what is over of a batch."""
        return self._by_origin.get(origin, ())

    def guess_ms(self, kind: Kind, timeout_ms: int | None) -> int:
        """Give a run time where nothing is known."""
        if timeout_ms is None:
            return DEFAULT_RUN_MS
        self._timed[kind] = None
        return timeout_ms

    def source_of(self, kind: Kind) -> _Source:
        """Find what a kind goes by; without attempts where nothing is known."""
        source = self._sources.get(kind)
        if source is None:
            source = self._sources[kind] = self._find(kind)
        return source

    def bases(self) -> list[BasisUse]:
        """Say what each kind that was asked for goes by, the weakest first."""
        ranks = list(Basis)
        return [
            BasisUse(
                definition=kind.definition,
                queue=name_in_arn(kind.queue_arn),
                basis=Basis.TIMEOUT if kind in self._timed else source.basis,
                sample_count=len(source.attempts),
            )
            for kind, source in sorted(
                self._sources.items(),
                key=lambda item: (-ranks.index(item[1].basis), item[0].queue_arn,
                                  item[0].definition),
            )
        ]  # fmt: skip

    def _find(self, kind: Kind) -> _Source:
        choices = (
            (Basis.DEFINITION, self._by_kind.get(kind, [])),
            (Basis.QUEUE, self._by_queue.get(kind.queue_arn, [])),
            (Basis.ALL, self._by_place.get(_place_of(kind.queue_arn), [])),
        )
        for least in (SAMPLES_MIN, 1):
            for basis, attempts in choices:
                if len(attempts) >= least:
                    return _source_of(basis, attempts)
        return _Source(Basis.DEFAULT, (), (), 0.0)


class Draws:
    """How attempts go in one run into the future."""

    def __init__(
        self,
        history: History,
        origins: Mapping[JobId, Origin],
        running_ms: Mapping[Origin, Sequence[int]],
        *,
        seed: int,
        run: int,
    ) -> None:
        self._history = history
        self._origins = origins
        #: For how long the jobs of a batch that run have done so.
        self._running_ms = running_ms
        self._salt = f"{seed}/{run}/"
        #: The history as this run has it.
        self._drawn: dict[Kind, Distribution] = {}
        self._batches: dict[Origin, float] = {}

    def fate_of(
        self, job_id: JobId, number: int, *, elapsed_ms: int | None, timeout_ms: int | None
    ) -> Fate:
        """Say how an attempt goes; `elapsed_ms` is for how long it has run, None: it has not."""
        origin = self._origins[whole_id_of(job_id)]
        source = self._history.source_of(origin.kind)
        least_ms = 0 if elapsed_ms is None else elapsed_ms + 1
        if not source.attempts:
            guess_ms = self._history.guess_ms(origin.kind, timeout_ms)
            return Fate(run_ms=max(least_ms, guess_ms))
        drawn = self._distribution(origin.kind, source)
        chance = self._chance(f"{job_id}/{number}")
        middle = sqrt(source.likeness) * self._batch_score(origin, source)
        width = sqrt(1 - source.likeness)
        if elapsed_ms is not None:
            least_rank = drawn.rank_of(elapsed_ms)
            if least_rank >= 1:
                return drawn.fate(1, elapsed_ms + max(1, drawn.rest_ms(elapsed_ms, chance)))
            if least_rank > 0:
                least = _NORMAL.cdf((_NORMAL.inv_cdf(least_rank) - middle) / width)
                chance = min(least + chance * (1 - least), 1 - _TINY)
        rank = _NORMAL.cdf(middle + width * _NORMAL.inv_cdf(chance))
        return drawn.fate(rank, max(drawn.run_ms(rank), least_ms))

    def _batch_score(self, origin: Origin, source: _Source) -> float:
        """Draw what a batch has in common, given what is known of it."""
        found = self._batches.get(origin)
        if found is None:
            drawn = self._distribution(origin.kind, source)
            likeness = source.likeness
            scores = [drawn.score_of(each.running_ms) for each in self._history.ended_of(origin)]
            scores += [drawn.score_above(each) for each in self._running_ms.get(origin, ())]
            odds = likeness / (1 - likeness)
            precision = 1 + len(scores) * odds
            mean = sqrt(likeness) / (1 - likeness) * sum(scores) / precision
            chance = self._chance(
                f"{origin.kind.queue_arn}/{origin.kind.definition}/{origin.batch}"
            )
            found = self._batches[origin] = mean + _NORMAL.inv_cdf(chance) / sqrt(precision)
        return found

    def _chance(self, what: str) -> float:
        digest = blake2b(f"{self._salt}{what}".encode(), digest_size=8).digest()
        return min((int.from_bytes(digest, "big") + 0.5) / _ONE, 1 - _TINY)

    def _distribution(self, kind: Kind, source: _Source) -> "Distribution":
        found = self._drawn.get(kind)
        if found is None:
            chance = Random(f"{self._salt}{kind.definition}/{kind.queue_arn}")  # noqa: S311
            found = self._drawn[kind] = Distribution(_resampled(chance, source))
        return found


class Distribution:
    """Run times of the past, as one run has them, by rank from 0 to 1."""

    def __init__(self, attempts: Iterable[PastAttempt]) -> None:
        self._attempts = sorted(attempts, key=_run_ms)
        logs = [log(max(1, each.running_ms)) for each in self._attempts]
        self._mean = fmean(logs)
        self._spread = pstdev(logs)

    def run_ms(self, rank: float) -> int:
        """Give the time of a rank."""
        times, count = self._attempts, len(self._attempts)
        first, last = times[0].running_ms, times[-1].running_ms
        place = rank * count - 0.5
        if 0 <= place < count - 1:
            below = int(place)
            low, high = times[below].running_ms, times[below + 1].running_ms
            return low + round((place - below) * (high - low))
        if not self._spread:
            return last
        beyond = round(exp(self._mean + self._spread * _NORMAL.inv_cdf(rank)))
        return min(first, beyond) if place < 0 else max(last, beyond)

    def rank_of(self, run_ms: int) -> float:
        """Give the rank of a time: 1 if none took longer."""
        times, count = self._attempts, len(self._attempts)
        above = bisect_right(times, run_ms, key=_run_ms)
        if above in (0, count):
            return above / count
        low, high = times[above - 1].running_ms, times[above].running_ms
        return (above - 0.5 + (run_ms - low) / (high - low)) / count

    def score_of(self, run_ms: int) -> float:
        """Give the normal score of a time that an attempt took."""
        half = 0.5 / len(self._attempts)
        return _NORMAL.inv_cdf(min(max(self.rank_of(run_ms), half), 1 - half))

    def score_above(self, run_ms: int) -> float:
        """Give the normal score to expect of an attempt that takes longer."""
        least = self.score_of(run_ms)
        return _NORMAL.pdf(least) / max(1 - _NORMAL.cdf(least), _TINY)

    def rest_ms(self, elapsed_ms: int, chance: float) -> int:
        """Draw what remains of an attempt that has outrun all others."""
        mean_ms = _TAIL * elapsed_ms * max(self._spread, _SPREAD_LEAST)
        mean_ms = max(mean_ms, elapsed_ms - self._attempts[-1].running_ms)
        return round(-log(1 - chance) * mean_ms)

    def fate(self, rank: float, run_ms: int) -> Fate:
        """Let an attempt end as the one of that rank did, after its own time."""
        count = len(self._attempts)
        past = self._attempts[min(int(rank * count), count - 1)]
        return Fate(
            run_ms=run_ms,
            exit_code=past.exit_code,
            reason=past.reason,
            start_ms=past.starting_ms,
        )


def _resampled(chance: Random, source: _Source) -> list[PastAttempt]:
    found: list[PastAttempt] = []
    while len(found) < len(source.attempts):
        found.extend(chance.choice(source.batches))
    return found


def _likeness_of(batches: Sequence[Sequence[PastAttempt]]) -> float:
    """Estimate how much of the spread of logarithms lies between batches (one-way ANOVA)."""
    count, total = len(batches), sum(map(len, batches))
    if count < BATCHES_MIN or total <= count:
        return LIKENESS_UNKNOWN
    logs = [[log(max(1, each.running_ms)) for each in batch] for batch in batches]
    mean = fmean(each for batch in logs for each in batch)
    means = [fmean(batch) for batch in logs]
    between = sum(len(batch) * (own - mean) ** 2 for batch, own in zip(logs, means, strict=True))
    within = sum(
        (each - own) ** 2 for batch, own in zip(logs, means, strict=True) for each in batch
    )
    between /= count - 1
    within /= total - count
    size = (total - sum(len(batch) ** 2 for batch in batches) / total) / (count - 1)
    whole = between + (size - 1) * within
    if whole <= 0:
        return 0.0
    return min(max((between - within) / whole, 0.0), LIKENESS_MAX)


def _source_of(basis: Basis, attempts: Sequence[PastAttempt]) -> _Source:
    batches: dict[tuple[Kind, str], list[PastAttempt]] = {}
    for place, each in enumerate(attempts):
        # What is known of nobody else stands alone.
        key = each.batch or str(-place)
        batches.setdefault((each.kind, key), []).append(each)
    groups = tuple(map(tuple, batches.values()))
    return _Source(basis, tuple(attempts), groups, _likeness_of(groups))


def _run_ms(past: PastAttempt) -> int:
    return past.running_ms


def _place_of(queue_arn: QueueArn) -> str:
    """Give the account and region of a queue."""
    return queue_arn.rsplit(":", 1)[0]
