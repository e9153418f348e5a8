"""How long attempts will take: drawn from how long those of the same kind took.

Decides which history a kind of job goes by, and how a draw is made. Refuses to know where history
comes from, and what is done with a draw.

How a draw is made:
- A kind goes by its own history if that has at least SAMPLES_MIN attempts, else by its queue's,
  else by all; if none has so many, by the nearest that has any. What goes by others takes as long
  as they do but for a factor, which is drawn in each run: as wide as definitions differ, and moved
  by the few attempts that are known, and by what runs. Where nothing at all is known a time is
  drawn around a guess, for all jobs of the kind much alike.
- Each run first resamples the history with replacement, batch by batch: so what is not known of a
  kind's distribution moves all its jobs together, as it will. With few batches it moves more.
- An attempt has a rank among those times. Ranks go together for jobs that came in together, and for
  jobs of one group: of the same share, size or both, whichever tells the past best. How much, and
  what the past says of a group's level today, is in `likeness`. What is known of a batch, also that
  some of it still runs, moves the rest of it.
- The time is that of the rank, between those of the past; beyond them as if it were lognormal.
- One that has run for a while has a rank above that. Beyond all of them what remains is
  exponential, with a mean of no less than what it has outrun them by.

Rule: a draw depends on seed, run, job and attempt alone, so two futures that differ in one thing
differ for that reason alone.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import blake2b
from math import exp, log, sqrt
from random import Random
from statistics import NormalDist, fmean, pstdev
from typing import assert_never

from msgspec.structs import replace

from batchyard.model.forecast import Basis, BasisUse
from batchyard.model.ids import JobId, QueueArn, name_in_arn, whole_id_of
from batchyard.sim.fate import Fate
from batchyard.sim.likeness import (
    Batch,
    Likeness,
    batch_of,
    common_of,
    drawn,
    level_of,
    weighed,
)
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
#: Ours: how far other batches may be from the only ones that are known, if these are so few.
_SPREAD_UNKNOWN = 0.3
_BATCHES_FEW = 2
#: Ours: how far the logarithms of definitions' means are apart before any are known, and what that
#: counts for, in definitions.
_DEFINITIONS_SPREAD = 1.0
_DEFINITIONS_DOUBT = 2.0
#: Ours: how far a guess may be off, and how much of that all jobs of a kind have in common; the
#: middle of what has a timeout; into how many times a guess is spread.
_GUESS_SPREAD = 1.2
_GUESS_LIKENESS = 0.7
_OF_TIMEOUT = 3
_GUESSES = 15
#: Keeps a chance away from 1.
_TINY = 1e-12

_NORMAL = NormalDist()
_ONE = 1 << 64


class _Grouping(Enum):
    """What jobs of a group have in common."""

    SHARE = auto()
    SIZE = auto()
    SHARE_AND_SIZE = auto()


@dataclass(frozen=True, slots=True)
class _PastBatch:
    """Attempts that came in together."""

    key: Origin
    group: str
    attempts: tuple[PastAttempt, ...]


@dataclass(frozen=True, slots=True)
class _Others:
    """What is known of other definitions: logarithms of times."""

    #: The middle of their means, and how far these are from it.
    mean: float
    between: float
    #: How far attempts are from the mean of their definition.
    within: float


@dataclass(frozen=True, slots=True)
class _Source:
    """What a kind goes by."""

    basis: Basis
    grouping: "_Grouping"
    #: The latest first; of QUEUE and ALL as if their definitions took equally long, of TIMEOUT and
    #: DEFAULT made up.
    attempts: tuple[PastAttempt, ...]
    #: The oldest first.
    batches: tuple[_PastBatch, ...]
    by_group: Mapping[str, Sequence[_PastBatch]]
    #: How alike its jobs may be, and how likely that is.
    likeness: Sequence[tuple[Likeness, float]]
    #: Set exactly for QUEUE and ALL.
    others: "_Others | None" = None
    #: Of TIMEOUT.
    timeout_ms: int | None = None

    def group_of(self, origin: Origin) -> str:
        return _group_of(self.grouping, origin)


class History:
    """What is known of the past, by kind."""

    def __init__(self, attempts: Iterable[PastAttempt]) -> None:
        self._by_kind: dict[Kind, list[PastAttempt]] = {}
        self._by_queue: dict[QueueArn, list[PastAttempt]] = {}
        self._by_place: dict[str, list[PastAttempt]] = {}
        for each in attempts:
            queue_arn = each.kind.queue_arn
            for found in (
                self._by_kind.setdefault(each.kind, []),
                self._by_queue.setdefault(queue_arn, []),
                self._by_place.setdefault(_place_of(queue_arn), []),
            ):
                if len(found) < SAMPLES_MAX:
                    found.append(each)
        self._sources: dict[Kind, _Source | None] = {}
        #: Shared by all kinds that go by the same attempts.
        self._source_by_attempts: dict[int, _Source] = {}
        #: Kinds that draws were made for, in their order.
        self._used: dict[Kind, None] = {}
        #: What is guessed where nothing is known, by timeout.
        self._guesses: dict[int | None, _Source] = {}
        #: Kinds that nothing is known of and that have a timeout.
        self._timed: dict[Kind, None] = {}

    def prepare(self, kinds: Iterable[Kind]) -> None:
        """Find what kinds go by: once, before copies of this are made."""
        for each in kinds:
            self._source_of(each)

    def source_of(self, kind: Kind, timeout_ms: int | None) -> _Source:
        """Find what a kind goes by, and of which timeout if nothing is known."""
        self._used[kind] = None
        source = self._source_of(kind)
        if source is not None:
            return source
        if timeout_ms is not None:
            self._timed[kind] = None
        guess = self._guesses.get(timeout_ms)
        if guess is None:
            guess = self._guesses[timeout_ms] = _guess(kind, timeout_ms)
        return guess

    def own_logs(self, kind: Kind) -> list[float]:
        """Give the logarithms of what is known of a kind itself."""
        return [log(max(1, each.running_ms)) for each in self._by_kind.get(kind, ())]

    def bases(self) -> list[BasisUse]:
        """Say what each kind that was asked for goes by, the weakest first."""
        ranks = list(Basis)
        unknown = Basis.TIMEOUT, Basis.DEFAULT
        found: list[tuple[int, Kind, BasisUse]] = []
        for kind in self._used:
            source = self._source_of(kind)
            basis = unknown[kind not in self._timed] if source is None else source.basis
            use = BasisUse(
                definition=kind.definition,
                queue=name_in_arn(kind.queue_arn),
                basis=basis,
                sample_count=0 if source is None else len(source.attempts),
            )
            found.append((-ranks.index(basis), kind, use))
        found.sort(key=lambda each: (each[0], each[1].queue_arn, each[1].definition))
        return [use for _, _, use in found]

    def _source_of(self, kind: Kind) -> _Source | None:
        """Give what a kind goes by; None: nothing is known."""
        if kind not in self._sources:
            self._sources[kind] = self._find(kind)
        return self._sources[kind]

    def _find(self, kind: Kind) -> _Source | None:
        choices = (
            (Basis.DEFINITION, self._by_kind.get(kind, [])),
            (Basis.QUEUE, self._by_queue.get(kind.queue_arn, [])),
            (Basis.ALL, self._by_place.get(_place_of(kind.queue_arn), [])),
        )
        for samples_min in (SAMPLES_MIN, 1):
            for basis, attempts in choices:
                if len(attempts) >= samples_min:
                    source = self._source_by_attempts.get(id(attempts))
                    if source is None:
                        source = _source_of(basis, attempts)
                        self._source_by_attempts[id(attempts)] = source
                    return source
        return None


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
        #: For how long the jobs of each batch that run have done so, by kind.
        self._running_ms: dict[Kind, dict[Origin, Sequence[int]]] = {}
        for origin, times in running_ms.items():
            self._running_ms.setdefault(origin.kind, {})[origin] = times
        self._salt = f"{seed}/{run}/"
        #: The history as this run has it.
        self._versions: dict[tuple[Kind, int | None], _Version] = {}
        self._commons: dict[Origin, float] = {}
        self._levels: dict[tuple[Kind, str], float] = {}

    def fate_of(
        self, job_id: JobId, number: int, *, elapsed_ms: int | None, timeout_ms: int | None
    ) -> Fate:
        """Say how an attempt goes; `elapsed_ms` is for how long it has run, None: it has not."""
        origin = self._origins[whole_id_of(job_id)]
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
                least = _NORMAL.cdf((_NORMAL.inv_cdf(least_rank) - middle) / width)
                chance = min(least + chance * (1 - least), 1 - _TINY)
        rank = _NORMAL.cdf(middle + width * _NORMAL.inv_cdf(chance))
        return times.fate(rank, max(times.run_ms(rank), least_ms))

    def _common(self, origin: Origin, source: _Source, version: "_Version") -> float:
        """Draw what a batch has in common, given what is known of it and of its group."""
        found = self._commons.get(origin)
        if found is None:
            group = source.group_of(origin)
            level = self._level(origin.kind, group, source, version)
            own = self._known_of(origin.kind, group, source, version).get(origin)
            mean, variance = common_of(version.likeness, level, own)
            chance = self._chance(f"{_text_of(origin.kind)}/{origin.trait}/{origin.batch}")
            found = self._commons[origin] = mean + _NORMAL.inv_cdf(chance) * sqrt(variance)
        return found

    def _level(self, kind: Kind, group: str, source: _Source, version: "_Version") -> float:
        """Draw what a group has in common."""
        found = self._levels.get((kind, group))
        if found is None:
            known = self._known_of(kind, group, source, version)
            mean, variance = level_of(version.likeness, known.values())
            chance = self._chance(f"{_text_of(kind)}/{group}/level")
            found = self._levels[kind, group] = mean + _NORMAL.inv_cdf(chance) * sqrt(variance)
        return found

    def _known_of(
        self, kind: Kind, group: str, source: _Source, version: "_Version"
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
        return min((int.from_bytes(digest, "big") + 0.5) / _ONE, 1 - _TINY)

    def _version(self, kind: Kind, source: _Source) -> "_Version":
        found = self._versions.get((kind, source.timeout_ms))
        if found is None:
            text = _text_of(kind)
            chance = Random(f"{self._salt}{text}")  # noqa: S311 -- nothing is kept secret by it
            likeness = drawn(source.likeness, self._chance(f"{text}/likeness"))
            scale = 1.0 if source.others is None else self._scale(chance, kind, source.others)
            factor = scale * _factor(chance, source, likeness)
            times = Distribution(_resampled(chance, source), factor)
            found = _Version(times, likeness, scale, {})
            self._versions[kind, source.timeout_ms] = found
        return found

    def _scale(self, chance: Random, kind: Kind, others: _Others) -> float:
        """Draw by what a definition differs from others, given the little that is known of it.

        What runs counts for as much of one that took a deviation longer as it has outrun others by.
        """
        known = [(each - others.mean, 1.0) for each in self._history.own_logs(kind)]
        for times in self._running_ms.get(kind, {}).values():
            for elapsed_ms in times:
                above = log(max(1, elapsed_ms)) - others.mean
                weight = _NORMAL.cdf(above / max(others.within, _SPREAD_LEAST))
                known.append((above + others.within, weight))
        noise = max(others.within, _SPREAD_LEAST) ** 2
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


class Distribution:
    """Run times of the past, as one run has them, by rank from 0 to 1; all times a factor."""

    def __init__(self, attempts: Iterable[PastAttempt], factor: float = 1.0) -> None:
        self._attempts = sorted(attempts, key=_run_ms)
        self._times = [round(each.running_ms * factor) for each in self._attempts]
        logs = [log(max(1, each)) for each in self._times]
        self._mean = fmean(logs)
        self._spread = pstdev(logs)

    def run_ms(self, rank: float) -> int:
        """Give the time of a rank."""
        times, count = self._times, len(self._times)
        place = rank * count - 0.5
        if 0 <= place < count - 1:
            below = int(place)
            low, high = times[below], times[below + 1]
            return low + round((place - below) * (high - low))
        if not self._spread:
            return times[-1]
        beyond = round(exp(self._mean + self._spread * _NORMAL.inv_cdf(rank)))
        return min(times[0], beyond) if place < 0 else max(times[-1], beyond)

    def rank_of(self, run_ms: int) -> float:
        """Give the rank of a time: 1 if none took longer."""
        times, count = self._times, len(self._times)
        above = bisect_right(times, run_ms)
        if above in (0, count):
            return above / count
        low, high = times[above - 1], times[above]
        return (above - 0.5 + (run_ms - low) / (high - low)) / count

    def score_of(self, run_ms: int) -> float:
        """Give the normal score of a time that an attempt took; of equal ones the middle."""
        times, count = self._times, len(self._times)
        rank = self.rank_of(run_ms)
        below, above = bisect_left(times, run_ms), bisect_right(times, run_ms)
        if above > below:
            rank = (below + above) / 2 / count
        half = 0.5 / count
        return _NORMAL.inv_cdf(min(max(rank, half), 1 - half))

    def score_above(self, run_ms: int) -> float:
        """Give the normal score to expect of an attempt that takes longer."""
        least = self.score_of(run_ms)
        return _NORMAL.pdf(least) / max(1 - _NORMAL.cdf(least), _TINY)

    def rest_ms(self, elapsed_ms: int, chance: float) -> int:
        """Draw what remains of an attempt that has outrun all others."""
        mean_ms = _TAIL * elapsed_ms * max(self._spread, _SPREAD_LEAST)
        mean_ms = max(mean_ms, elapsed_ms - self._times[-1])
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
        found.extend(chance.choice(source.batches).attempts)
    return found


def _factor(chance: Random, source: _Source, likeness: Likeness) -> float:
    """Draw by how much all times are off because few batches are known.

    Resampling m of them gives a mean that varies too little: by the m-th part of its variance.
    """
    count = len(source.batches)
    spread = pstdev([log(max(1, each.running_ms)) for each in source.attempts])
    if count <= _BATCHES_FEW:
        spread = max(spread, _SPREAD_UNKNOWN)
    of_mean = likeness.level + likeness.batch + likeness.own * count / len(source.attempts)
    return exp(chance.gauss(0, spread * sqrt(of_mean) / count))


def _source_of(basis: Basis, attempts: Sequence[PastAttempt]) -> _Source:
    others = None
    if basis is not Basis.DEFINITION:
        attempts, others = _alike(attempts)
    members: dict[Origin, list[PastAttempt]] = {}
    for place, each in enumerate(reversed(attempts)):
        # What is known of nobody else stands alone.
        key = Origin(each.kind, each.batch or f" {place}", each.trait)
        members.setdefault(key, []).append(each)
    times = Distribution(attempts)
    scores = {
        key: [(times.score_of(past.running_ms), 1.0) for past in each]
        for key, each in members.items()
    }
    best = None
    for grouping in _groupings_of(members):
        summed = [batch_of(_group_of(grouping, key), each) for key, each in scores.items()]
        evidence, likeness = weighed(summed)
        if best is None or evidence > best[0]:
            best = (evidence, grouping, likeness)
    assert best is not None, "there is always one grouping"
    _, grouping, likeness = best
    batches = tuple(
        _PastBatch(key, _group_of(grouping, key), tuple(each)) for key, each in members.items()
    )
    by_group: dict[str, list[_PastBatch]] = {}
    for batch in batches:
        by_group.setdefault(batch.group, []).append(batch)
    return _Source(basis, grouping, tuple(attempts), batches, by_group, likeness, others)


def _alike(attempts: Sequence[PastAttempt]) -> tuple[list[PastAttempt], _Others]:
    """Make attempts of several kinds as if all of them took equally long; tell how they differ."""
    logs: dict[Kind, list[float]] = {}
    for each in attempts:
        logs.setdefault(each.kind, []).append(log(max(1, each.running_ms)))
    means = {kind: fmean(each) for kind, each in logs.items()}
    mean = fmean(means.values())
    squares = sum((each - mean) ** 2 for each in means.values())
    doubt = _DEFINITIONS_DOUBT
    between = (doubt * _DEFINITIONS_SPREAD**2 + squares) / (doubt + len(means) - 1)
    within = sum((one - means[kind]) ** 2 for kind, each in logs.items() for one in each)
    moved = [
        replace(each, running_ms=round(each.running_ms * exp(mean - means[each.kind])))
        for each in attempts
    ]
    return moved, _Others(
        mean=mean,
        between=sqrt(between * (1 + 1 / len(means))),
        within=sqrt(within / len(attempts)),
    )


def _guess(kind: Kind, timeout_ms: int | None) -> _Source:
    """Make up a past where nothing is known: around a guess, or up to a timeout."""
    middle_ms = DEFAULT_RUN_MS if timeout_ms is None else timeout_ms / _OF_TIMEOUT
    attempts = tuple(
        PastAttempt(
            kind=kind,
            starting_ms=0,
            running_ms=min(
                round(middle_ms * exp(_GUESS_SPREAD * _NORMAL.inv_cdf((place + 0.5) / _GUESSES))),
                DEFAULT_RUN_MS * _GUESSES if timeout_ms is None else timeout_ms,
            ),
            exit_code=0,
            reason=None,
            stopped_ms=0,
        )
        for place in range(_GUESSES)
    )
    batches = tuple(
        _PastBatch(Origin(kind, f" {place}"), "", (each,)) for place, each in enumerate(attempts)
    )
    basis = Basis.DEFAULT if timeout_ms is None else Basis.TIMEOUT
    likeness = ((Likeness(_GUESS_LIKENESS, 0.0, 1.0), 1.0),)
    return _Source(basis, _Grouping.SHARE, attempts, batches, {}, likeness, timeout_ms=timeout_ms)


def _groupings_of(origins: Iterable[Origin]) -> list[_Grouping]:
    """Name what may tell groups apart; the first does for what is not told apart otherwise."""
    traits = {each.trait for each in origins}
    found = [_Grouping.SHARE]
    shares, sizes = (len({each.partition(" ")[part] for each in traits}) for part in (0, 2))
    if sizes > 1:
        found.append(_Grouping.SIZE)
    if shares > 1 and sizes > 1:
        found.append(_Grouping.SHARE_AND_SIZE)
    return found


def _group_of(grouping: _Grouping, origin: Origin) -> str:
    """Name the group of a job, among all that go by the same attempts."""
    share, _, size = origin.trait.partition(" ")
    match grouping:
        case _Grouping.SHARE:
            return share
        case _Grouping.SIZE:
            return size
        case _Grouping.SHARE_AND_SIZE:
            return origin.trait
        case _:
            assert_never(grouping)


def _text_of(kind: Kind) -> str:
    return f"{kind.queue_arn}/{kind.definition}"


def _run_ms(past: PastAttempt) -> int:
    return past.running_ms


def _place_of(queue_arn: QueueArn) -> str:
    """Give the account and region of a queue."""
    return queue_arn.rsplit(":", 1)[0]
