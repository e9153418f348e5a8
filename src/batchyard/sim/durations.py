"""How long attempts will take: drawn from how long those of the same kind took.

Decides how a draw is made. Refuses to know which history a kind goes by (`past_runs`), and what is
done with a draw.

How a draw is made:
- What goes by other definitions takes as long as they do but for a factor, which is drawn in each
  run: as wide as definitions differ, and moved by the few attempts that are known, and by what
  runs.
- Each run first resamples the history with replacement, batch by batch: so what is not known of a
  kind's distribution moves all its jobs together, as it will. With few batches it moves more.
- What runs counts there too, as longer than it has run (`outliving`): else a past that is short
  would hold the short ones alone.
- The past that is known is taken to be narrower than all of it, by as much as chance would have it.
- An attempt has a rank among those times. Ranks go together for jobs that came in together, and for
  jobs of one group: of the same share, size or both, whichever tells the past best. How much, and
  what the past says of a group's level today, is in `likeness`. What is known of a batch, also that
  some of it still runs, moves the rest of it.
- Where times have grown of late they go on doing so, by as much as jobs wait.
- The time is that of the rank, between those of the past; beyond them as if it were lognormal.
- One that has run for a while has a rank above that. Beyond all of them what remains is
  exponential, with a mean of no less than what it has outrun them by.

Rule: a draw depends on seed, run, job and attempt alone, so two futures that differ in one thing
differ for that reason alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import exp, log, sqrt
from random import Random
from statistics import pstdev

from msgspec.structs import replace

from batchyard.model.forecast import Basis
from batchyard.model.ids import JobId, whole_id_of
from batchyard.sim.fate import Fate
from batchyard.sim.likeness import Batch, Likeness, batch_of, common_of, drawn, level_of
from batchyard.sim.outliving import watched, weights_of
from batchyard.sim.past_runs import History, Others, Source
from batchyard.sim.ranks import NORMAL, SPREAD_LEAST, TINY, Distribution
from batchyard.store.run_times import Kind, Origin, PastAttempt

#: Ours: how far other batches may be from the only ones that are known, if these are so few.
_SPREAD_UNKNOWN = 0.3
_BATCHES_FEW = 2

#: Ours: with fewer a variance may be anything; and no draw of a deviation is larger by more.
_DEGREES_MIN = 3.0
_BREADTH_MAX = 1.5

_ONE = 1 << 64


class Draws:
    """How attempts go in one run into the future."""

    def __init__(  # noqa: PLR0913 -- all that is known, and which run it is
        self,
        history: History,
        origins: Mapping[JobId, Origin],
        running_ms: Mapping[Origin, Sequence[int]],
        *,
        seed: int,
        run: int,
        now_ms: int,
    ) -> None:
        self._now_ms = now_ms
        self._history = history
        self._origins = origins
        #: For how long the jobs of each batch that run have done so, by kind.
        self._running_ms: dict[Kind, dict[Origin, list[int]]] = {}
        for origin, times in running_ms.items():
            for number, each in enumerate(times):
                own = history.narrowed(origin, f" {number}")
                self._running_ms.setdefault(own.kind, {}).setdefault(own, []).append(each)
        self._salt = f"{seed}/{run}/"
        #: The history as this run has it.
        self._versions: dict[tuple[Kind, int | None], _Version] = {}
        self._commons: dict[Origin, float] = {}
        self._levels: dict[tuple[Kind, str], float] = {}

    def fate_of(
        self, job_id: JobId, number: int, *, elapsed_ms: int | None, timeout_ms: int | None
    ) -> Fate:
        """Say how an attempt goes; `elapsed_ms` is for how long it has run, None: it has not."""
        origin = self._history.narrowed(self._origins[whole_id_of(job_id)], job_id)
        source = self._history.source_of(origin.kind, timeout_ms)
        least_ms = 0 if elapsed_ms is None else elapsed_ms + 1
        version = self._version(origin.kind, source)
        times = version.times
        chance = self._chance(f"{job_id}/{number}")
        middle = self._common(origin, source, version)
        width = sqrt(version.likeness.own)
        if elapsed_ms is not None:
            least_rank = times.rank_of(elapsed_ms)
            if least_rank >= 1:
                return times.fate(1, elapsed_ms + max(1, times.rest_ms(elapsed_ms, chance)))
            if least_rank > 0:
                least = NORMAL.cdf((NORMAL.inv_cdf(least_rank) - middle) / width)
                chance = min(least + chance * (1 - least), 1 - TINY)
        rank = min(NORMAL.cdf(middle + width * NORMAL.inv_cdf(chance)), 1 - TINY)
        return times.fate(rank, max(times.run_ms(rank), least_ms))

    def _common(self, origin: Origin, source: Source, version: "_Version") -> float:
        """Draw what a batch has in common, given what is known of it and of its group."""
        found = self._commons.get(origin)
        if found is None:
            group = source.group_of(origin)
            level = self._level(origin.kind, group, source, version)
            own = self._known_of(origin.kind, group, source, version).get(origin)
            mean, variance = common_of(version.likeness, level, own)
            chance = self._chance(f"{_text_of(origin.kind)}/{origin.trait}/{origin.batch}")
            found = self._commons[origin] = mean + NORMAL.inv_cdf(chance) * sqrt(variance)
        return found

    def _level(self, kind: Kind, group: str, source: Source, version: "_Version") -> float:
        """Draw what a group has in common."""
        found = self._levels.get((kind, group))
        if found is None:
            known = self._known_of(kind, group, source, version)
            mean, variance = level_of(version.likeness, known.values())
            chance = self._chance(f"{_text_of(kind)}/{group}/level")
            found = self._levels[kind, group] = mean + NORMAL.inv_cdf(chance) * sqrt(variance)
        return found

    def _known_of(
        self, kind: Kind, group: str, source: Source, version: "_Version"
    ) -> dict[Origin, Batch]:
        """Sum up what is known of a group, by batch, the oldest first: what ended, and what runs.

        What runs counts for as much as it has outrun.
        """
        found = version.known.get(group)
        if found is not None:
            return found
        times = version.times
        scores: dict[Origin, list[tuple[float, float]]] = {
            batch.key: [
                (times.score_of(round(each.running_ms * version.scale)), 1.0)
                for each in batch.attempts
            ]
            for batch in source.by_group.get(group, ())
        }
        for origin, running_ms in self._running_ms.get(kind, {}).items():
            if source.group_of(origin) == group:
                above = [(times.score_above(each), times.rank_of(each)) for each in running_ms]
                scores.setdefault(origin, []).extend(each for each in above if each[1] > 0)
        found = version.known[group] = {
            origin: batch_of(group, each) for origin, each in scores.items() if each
        }
        return found

    def _chance(self, what: str) -> float:
        digest = blake2b(f"{self._salt}{what}".encode(), digest_size=8).digest()
        return min((int.from_bytes(digest, "big") + 0.5) / _ONE, 1 - TINY)

    def _version(self, kind: Kind, source: Source) -> "_Version":
        found = self._versions.get((kind, source.timeout_ms))
        if found is None:
            text = _text_of(kind)
            chance = Random(f"{self._salt}{text}")  # noqa: S311 -- nothing is kept secret by it
            likeness = drawn(source.likeness, self._chance(f"{text}/likeness"))
            scale = 1.0 if source.others is None else self._scale(chance, kind, source.others)
            factor = scale * _factor(chance, source, likeness)
            if source.growth is not None:
                ahead = self._history.ahead_of(kind, source)
                # The line is surest in the middle of the past.
                error = source.growth.error * chance.gauss(0, 1)
                factor *= exp(source.growth.slope * ahead)
                factor *= exp(error * (len(source.attempts) / 2 + ahead))
            running_ms = {} if source.others else self._running_ms.get(kind, {})
            breadth = _breadth(chance, source, likeness)
            times = self._times(chance, source, running_ms, factor, breadth)
            found = _Version(times, likeness, scale, {})
            self._versions[kind, source.timeout_ms] = found
        return found

    def _times(
        self,
        chance: Random,
        source: Source,
        running_ms: Mapping[Origin, Sequence[int]],
        factor: float,
        breadth: float,
    ) -> Distribution:
        """Draw which attempts the past was made of, and count those that run among them."""
        attempts, running = _resampled(chance, source, running_ms)
        if not running:
            return Distribution(attempts, factor, breadth=breadth)
        since_ms = source.since_ms
        ended = [
            watched(
                began_ms=each.stopped_ms - each.running_ms,
                until_ms=each.running_ms,
                since_ms=since_ms,
            )
            for each in attempts
        ]
        going_on = [
            watched(began_ms=self._now_ms - each, until_ms=each, since_ms=since_ms)
            for each in running
        ]
        weights, beyond = weights_of(ended, going_on)
        longest = max(attempts, key=_running_ms)
        outlived = [each for each in running if each >= longest.running_ms]
        if beyond and outlived:
            # These show how long the longest take.
            breadth = 1.0
            times = Distribution(attempts)
            for elapsed_ms in outlived:
                rest_ms = times.rest_ms(elapsed_ms, chance.random())
                attempts.append(replace(longest, running_ms=elapsed_ms + rest_ms))
                weights.append(beyond / len(outlived))
        return Distribution(attempts, factor, weights, breadth=breadth)

    def _scale(self, chance: Random, kind: Kind, others: Others) -> float:
        """Draw by what a definition differs from others, given the little that is known of it.

        What runs counts for as much of one that took a deviation longer as it has outrun others by.
        """
        known = [(each - others.mean, 1.0) for each in self._history.own_logs(kind)]
        for times in self._running_ms.get(kind, {}).values():
            for elapsed_ms in times:
                above = log(max(1, elapsed_ms)) - others.mean
                weight = NORMAL.cdf(above / max(others.within, SPREAD_LEAST))
                known.append((above + others.within, weight))
        noise = max(others.within, SPREAD_LEAST) ** 2
        precision = 1 / others.between**2 + sum(weight for _, weight in known) / noise
        mean = sum(off * weight for off, weight in known) / noise / precision
        return exp(mean + chance.gauss(0, 1) / sqrt(precision))


@dataclass(frozen=True, slots=True)
class _Version:
    """What a kind goes by, as one run has it."""

    times: "Distribution"
    likeness: Likeness
    #: By what its times differ from those of others; 1: it goes by its own.
    scale: float
    #: By group, then by batch.
    known: dict[str, dict[Origin, Batch]]


def _resampled(
    chance: Random, source: Source, running_ms: Mapping[Origin, Sequence[int]]
) -> tuple[list[PastAttempt], list[int]]:
    """Draw batches of the past, with what runs of them, until there are as many attempts again."""
    known = {each.key: each.attempts for each in source.batches}
    batches = [(each, running_ms.get(key, ())) for key, each in known.items()]
    batches += [((), each) for key, each in running_ms.items() if key not in known]
    attempts: list[PastAttempt] = []
    running: list[int] = []
    while len(attempts) < len(source.attempts):
        ended, going_on = chance.choice(batches)
        attempts.extend(ended)
        running.extend(going_on)
    return attempts, running


def _running_ms(past: PastAttempt) -> int:
    return past.running_ms


def _factor(chance: Random, source: Source, likeness: Likeness) -> float:
    """Draw by how much all times are off because few batches are known.

    Resampling m of them gives a mean that varies too little: by the m-th part of its variance.
    """
    count = len(source.batches)
    spread = pstdev([log(max(1, each.running_ms)) for each in source.attempts])
    if count <= _BATCHES_FEW:
        spread = max(spread, _SPREAD_UNKNOWN)
    return exp(chance.gauss(0, spread * sqrt(_of_mean(source, likeness)) / count))


def _breadth(chance: Random, source: Source, likeness: Likeness) -> float:
    """Draw by how much further apart times are than the few that are known.

    As if they were lognormal: then the variance goes by an inverse chi-square distribution, of as
    many degrees as attempts count for. Few of them hardly ever show how long the longest take.
    """
    if source.basis in (Basis.TIMEOUT, Basis.DEFAULT):
        return 1.0
    degrees = max(_DEGREES_MIN, len(source.batches) / _of_mean(source, likeness) - 1)
    return min(_BREADTH_MAX, sqrt(degrees / (2 * chance.gammavariate(degrees / 2, 1.0))))


def _of_mean(source: Source, likeness: Likeness) -> float:
    """Tell the variance of the mean of a batch, in parts of that of one attempt."""
    own = likeness.own * len(source.batches) / len(source.attempts)
    return likeness.level + likeness.batch + own


def _text_of(kind: Kind) -> str:
    return f"{kind.queue_arn}/{kind.definition}"
