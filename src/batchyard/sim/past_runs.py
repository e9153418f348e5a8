"""What a kind of job goes by: which attempts of the past, how alike they are, and where they stand.

Decides which history is taken, how it is made as if it were of one definition and of today, and
which of its jobs are a group. Refuses to know where history comes from, and how draws are made.

- A batch of which BATCH_MIN attempts have ended goes by these alone: what it has in common is in
  them, and what others took says no more.
- A kind goes by its own history if that has at least SAMPLES_MIN attempts, else by its queue's,
  else by all; if none has so many, by the nearest that has any.
- Definitions that are taken together are made as if they took equally long (`Others` says how far
  they are apart), and a past that grew as if it were at its latest height.
- Where nothing at all is known a past is made up around a guess, or below the timeout.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from math import exp, log, sqrt
from statistics import fmean
from typing import assert_never

from msgspec.structs import replace

from batchyard.model.forecast import Basis, BasisUse
from batchyard.model.ids import QueueArn, name_in_arn
from batchyard.sim.likeness import Likeness, batch_of, weighed
from batchyard.sim.ranks import NORMAL, Distribution
from batchyard.store.run_times import CHILDREN_MAX, JOBS_MAX, Kind, Origin, PastAttempt

#: Ours: fewer attempts say less of a kind than its neighbours do.
SAMPLES_MIN = 5
#: Ours: so many show how long the others of their batch take.
BATCH_MIN = 30
#: Ours: the latest ones are what is to come like.
SAMPLES_MAX = 300
#: Ours, where nothing at all is known.
DEFAULT_RUN_MS = 600_000

#: Ours: fewer batches show no trend, nor does a slope within so many of its standard errors.
_TREND_BATCHES_MIN = 8
_TREND_ERRORS = 2.0
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


class Grouping(Enum):
    """What jobs of a group have in common."""

    SHARE = auto()
    SIZE = auto()
    SHARE_AND_SIZE = auto()


@dataclass(frozen=True, slots=True)
class PastBatch:
    """Attempts that came in together."""

    key: Origin
    group: str
    attempts: tuple[PastAttempt, ...]


@dataclass(frozen=True, slots=True)
class Others:
    """What is known of other definitions: logarithms of times."""

    #: The middle of their means, and how far these are from it.
    mean: float
    between: float
    #: How far attempts are from the mean of their definition.
    within: float


@dataclass(frozen=True, slots=True)
class Growth:
    """By how much the logarithms of times grow from one attempt to the next."""

    slope: float
    #: The standard error of the slope.
    error: float


@dataclass(frozen=True, slots=True)
class Source:
    """What a kind goes by."""

    basis: Basis
    grouping: "Grouping"
    #: The latest first; of QUEUE and ALL as if their definitions took equally long, of TIMEOUT and
    #: DEFAULT made up.
    attempts: tuple[PastAttempt, ...]
    #: The oldest first.
    batches: tuple[PastBatch, ...]
    by_group: Mapping[str, Sequence[PastBatch]]
    #: How alike its jobs may be, and how likely that is.
    likeness: Sequence[tuple[Likeness, float]]
    #: Set exactly for QUEUE and ALL.
    others: "Others | None" = None
    #: By how much the logarithms of times grow from one attempt to the next.
    growth: "Growth | None" = None
    #: Of TIMEOUT.
    timeout_ms: int | None = None
    #: Of BATCH and DEFINITION: what ended before is not known. None: all that ever ended is.
    since_ms: int | None = None

    def group_of(self, origin: Origin) -> str:
        return _group_of(self.grouping, origin)


class History:
    """What is known of the past, by kind."""

    def __init__(self, attempts: Sequence[PastAttempt]) -> None:
        #: What ended before is not known; None: all that ever ended is.
        is_cut = len(attempts) >= JOBS_MAX
        self._since_ms = min((each.stopped_ms for each in attempts), default=0) if is_cut else None
        self._by_kind: dict[Kind, list[PastAttempt]] = {}
        self._by_batch: dict[Origin, list[PastAttempt]] = {}
        #: The kinds that batches are, and what they are of.
        self._kind_of_batch: dict[Kind, Kind] = {}
        self._by_queue: dict[QueueArn, list[PastAttempt]] = {}
        self._by_place: dict[str, list[PastAttempt]] = {}
        for each in attempts:
            queue_arn = each.kind.queue_arn
            if each.batch:
                origin = Origin(each.kind, each.batch, each.trait)
                self._by_batch.setdefault(origin, []).append(each)
            for found in (
                self._by_kind.setdefault(each.kind, []),
                self._by_queue.setdefault(queue_arn, []),
                self._by_place.setdefault(_place_of(queue_arn), []),
            ):
                if len(found) < SAMPLES_MAX:
                    found.append(each)
        self._sources: dict[Kind, Source | None] = {}
        #: Shared by all kinds that go by the same attempts.
        self._source_by_attempts: dict[int, Source] = {}
        #: Kinds that draws were made for, in their order.
        self._used: dict[Kind, None] = {}
        #: How many jobs of each kind live.
        self._live: Mapping[Kind, int] = {}
        #: What is guessed where nothing is known, by timeout.
        self._guesses: dict[int | None, Source] = {}
        #: Kinds that nothing is known of and that have a timeout.
        self._timed: dict[Kind, None] = {}

    def narrowed(self, origin: Origin, job_id: str) -> Origin:
        """Give what a job is drawn by: alone in the kind that its batch is, if that is known well.

        Else as it comes.
        """
        known = self._by_batch.get(origin, ())
        if len(known) < BATCH_MIN:
            return origin
        definition, queue_arn = origin.kind.definition, origin.kind.queue_arn
        kind = Kind(f"{definition} {origin.batch} {origin.trait}", queue_arn)
        if kind not in self._kind_of_batch:
            self._kind_of_batch[kind] = origin.kind
            self._by_kind[kind] = [replace(each, batch="") for each in known[:SAMPLES_MAX]]
        return Origin(kind, job_id, origin.trait)

    def prepare(self, live: Mapping[Kind, int]) -> None:
        """Find what kinds go by, of which so many jobs live: once, before copies are made."""
        self._live = live
        for each in live:
            self._source_of(each)

    def ahead_of(self, kind: Kind, source: Source) -> int:
        """Tell how many attempts after the latest known ones those to come are, on average."""
        return min(self._live.get(kind, 0) // 2, len(source.attempts))

    def source_of(self, kind: Kind, timeout_ms: int | None) -> Source:
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
                definition=self._kind_of_batch.get(kind, kind).definition,
                queue=name_in_arn(kind.queue_arn),
                basis=basis,
                sample_count=0 if source is None else len(source.attempts),
            )
            found.append((-ranks.index(basis), kind, use))
        found.sort(key=lambda each: (each[0], each[1].queue_arn, each[1].definition))
        return [use for _, _, use in found]

    def _source_of(self, kind: Kind) -> Source | None:
        """Give what a kind goes by; None: nothing is known."""
        if kind not in self._sources:
            self._sources[kind] = self._find(kind)
        return self._sources[kind]

    def _find(self, kind: Kind) -> Source | None:
        own = Basis.BATCH if kind in self._kind_of_batch else Basis.DEFINITION
        choices = (
            (own, self._by_kind.get(kind, [])),
            (Basis.QUEUE, self._by_queue.get(kind.queue_arn, [])),
            (Basis.ALL, self._by_place.get(_place_of(kind.queue_arn), [])),
        )
        for samples_min in (SAMPLES_MIN, 1):
            for basis, attempts in choices:
                if len(attempts) >= samples_min:
                    source = self._source_by_attempts.get(id(attempts))
                    if source is None:
                        source = _source_of(basis, attempts, self._since_of(basis, attempts))
                        self._source_by_attempts[id(attempts)] = source
                    return source
        return None

    def _since_of(self, basis: Basis, attempts: Sequence[PastAttempt]) -> int | None:
        if len(attempts) < (CHILDREN_MAX if basis is Basis.BATCH else SAMPLES_MAX):
            return self._since_ms
        return min(each.stopped_ms for each in attempts)


def _source_of(basis: Basis, attempts: Sequence[PastAttempt], since_ms: int | None) -> Source:
    others = None
    if basis not in (Basis.BATCH, Basis.DEFINITION):
        attempts, others = _alike(attempts)
    attempts, growth = _at_present(attempts)
    members = _by_batch(attempts)
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
        PastBatch(key, _group_of(grouping, key), tuple(each)) for key, each in members.items()
    )
    by_group: dict[str, list[PastBatch]] = {}
    for batch in batches:
        by_group.setdefault(batch.group, []).append(batch)
    return Source(
        basis=basis,
        grouping=grouping,
        attempts=tuple(attempts),
        batches=batches,
        by_group=by_group,
        likeness=likeness,
        others=others,
        growth=growth,
        since_ms=since_ms if others is None else None,
    )


def _alike(attempts: Sequence[PastAttempt]) -> tuple[list[PastAttempt], Others]:
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
    return moved, Others(
        mean=mean,
        between=sqrt(between * (1 + 1 / len(means))),
        within=sqrt(within / len(attempts)),
    )


def _guess(kind: Kind, timeout_ms: int | None) -> Source:
    """Make up a past where nothing is known: around a guess, or up to a timeout."""
    middle_ms = DEFAULT_RUN_MS if timeout_ms is None else timeout_ms / _OF_TIMEOUT
    attempts = tuple(
        PastAttempt(
            kind=kind,
            starting_ms=0,
            running_ms=min(
                round(middle_ms * exp(_GUESS_SPREAD * NORMAL.inv_cdf((place + 0.5) / _GUESSES))),
                DEFAULT_RUN_MS * _GUESSES if timeout_ms is None else timeout_ms,
            ),
            exit_code=0,
            reason=None,
            stopped_ms=0,
        )
        for place in range(_GUESSES)
    )
    batches = tuple(
        PastBatch(Origin(kind, f" {place}"), "", (each,)) for place, each in enumerate(attempts)
    )
    basis = Basis.DEFAULT if timeout_ms is None else Basis.TIMEOUT
    likeness = ((Likeness(_GUESS_LIKENESS, 0.0, 1.0), 1.0),)
    return Source(basis, Grouping.SHARE, attempts, batches, {}, likeness, timeout_ms=timeout_ms)


def _by_batch(attempts: Sequence[PastAttempt]) -> dict[Origin, list[PastAttempt]]:
    """Put together what came in together, the oldest first."""
    found: dict[Origin, list[PastAttempt]] = {}
    for place, each in enumerate(reversed(attempts)):
        # What is known of nobody else stands alone.
        key = Origin(each.kind, each.batch or f" {place}", each.trait)
        found.setdefault(key, []).append(each)
    return found


def _at_present(attempts: Sequence[PastAttempt]) -> tuple[Sequence[PastAttempt], Growth | None]:
    """Make the past as if it had not grown, or shrunk, since: at its latest height.

    Gives the growth, too; None: none stands out.
    """
    place_by_id = {id(each): float(-place) for place, each in enumerate(attempts)}
    growth = _growth_of(
        [
            (
                fmean(place_by_id[id(each)] for each in batch),
                fmean(log(max(1, each.running_ms)) for each in batch),
            )
            for batch in _by_batch(attempts).values()
        ]
    )
    if growth is None:
        return attempts, None
    moved = [
        _of_time(each, round(each.running_ms * exp(growth.slope * place)))
        for place, each in enumerate(attempts)
    ]
    return moved, growth


def _of_time(past: PastAttempt, running_ms: int) -> PastAttempt:
    """Let an attempt have taken another time since it began."""
    stopped_ms = past.stopped_ms + running_ms - past.running_ms
    return replace(past, running_ms=running_ms, stopped_ms=stopped_ms)


def _growth_of(points: Sequence[tuple[float, float]]) -> Growth | None:
    """Fit a line; what may be chance of its slope is taken off it (James and Stein)."""
    count = len(points)
    if count < _TREND_BATCHES_MIN:
        return None
    middle, height = fmean(x for x, _ in points), fmean(y for _, y in points)
    breadth = sum((x - middle) ** 2 for x, _ in points)
    slope = sum((x - middle) * (y - height) for x, y in points) / breadth
    rest = sum((y - height - slope * (x - middle)) ** 2 for x, y in points)
    square = rest / (count - 2) / breadth
    if not slope or slope**2 <= _TREND_ERRORS**2 * square:
        return None
    return Growth(slope * (1 - square / slope**2), sqrt(square))


def _groupings_of(origins: Iterable[Origin]) -> list[Grouping]:
    """Name what may tell groups apart; the first does for what is not told apart otherwise."""
    traits = {each.trait for each in origins}
    found = [Grouping.SHARE]
    shares, sizes = (len({each.partition(" ")[part] for each in traits}) for part in (0, 2))
    if sizes > 1:
        found.append(Grouping.SIZE)
    if shares > 1 and sizes > 1:
        found.append(Grouping.SHARE_AND_SIZE)
    return found


def _group_of(grouping: Grouping, origin: Origin) -> str:
    """Name the group of a job, among all that go by the same attempts."""
    share, _, size = origin.trait.partition(" ")
    match grouping:
        case Grouping.SHARE:
            return share
        case Grouping.SIZE:
            return size
        case Grouping.SHARE_AND_SIZE:
            return origin.trait
        case _:
            assert_never(grouping)


def _place_of(queue_arn: QueueArn) -> str:
    """Give the account and region of a queue."""
    return queue_arn.rsplit(":", 1)[0]
