"""How long attempts will take: drawn from how long those of the same kind took.

Decides which history a kind of job goes by, and how a draw is made. Refuses to know where history
comes from, and what is done with a draw.

How a draw is made:
- A kind goes by its own history if that has at least SAMPLES_MIN attempts, else by its queue's,
  else by all; if none has so many, by the nearest that has any; then by its timeout; then by a
  default.
- Each run first resamples the history with replacement, one history for the whole run: so what is
  not known of a kind's distribution moves all its jobs together, as it will.
- An attempt takes the time of one of these, spread a little (on the scale of logarithms) so that
  the future may be what the past never quite was; what never varied is not spread.
- One that has run for a while takes the time of one that took longer. Beyond all of them what
  remains is exponential, with a mean of no less than what it has outrun them by.

Rule: a draw depends on seed, run, job and attempt alone, so two futures that differ in one thing
differ for that reason alone.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from math import exp, log
from random import Random
from statistics import NormalDist, pstdev

from batchyard.model.forecast import Basis, BasisUse
from batchyard.model.ids import JobId, QueueArn, name_in_arn, whole_id_of
from batchyard.sim.fate import Fate
from batchyard.store.run_times import Kind, PastAttempt

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
#: As Silverman has it.
_BANDWIDTH = 0.9
_BANDWIDTH_POWER = -0.2

_NORMAL = NormalDist()
_ONE = 1 << 64


@dataclass(frozen=True, slots=True)
class _Source:
    """What a kind goes by."""

    basis: Basis
    #: The latest first; empty for TIMEOUT and DEFAULT.
    attempts: tuple[PastAttempt, ...]
    #: Deviation of the logarithms of their run times.
    spread: float


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
        self._sources: dict[Kind, _Source] = {}
        #: Kinds that nothing is known of and that have a timeout.
        self._timed: dict[Kind, None] = {}

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
                    return _Source(basis, tuple(attempts), _spread_of(attempts))
        return _Source(Basis.DEFAULT, (), 0.0)


class Draws:
    """How attempts go in one run into the future."""

    def __init__(
        self, history: History, kinds: Mapping[JobId, Kind], *, seed: int, run: int
    ) -> None:
        self._history = history
        self._kinds = kinds
        self._salt = f"{seed}/{run}/"
        #: The history as this run has it: by run time.
        self._drawn: dict[Kind, list[PastAttempt]] = {}

    def fate_of(
        self, job_id: JobId, number: int, *, elapsed_ms: int | None, timeout_ms: int | None
    ) -> Fate:
        """Say how an attempt goes; `elapsed_ms` is for how long it has run, None: it has not."""
        kind = self._kinds[whole_id_of(job_id)]
        source = self._history.source_of(kind)
        least_ms = 0 if elapsed_ms is None else elapsed_ms + 1
        if not source.attempts:
            return Fate(run_ms=max(least_ms, self._history.guess_ms(kind, timeout_ms)))
        drawn = self._resampled(kind, source)
        digest = blake2b(f"{self._salt}{job_id}/{number}".encode(), digest_size=16).digest()
        which = int.from_bytes(digest[:8], "big")
        chance = (int.from_bytes(digest[8:], "big") + 0.5) / _ONE
        first = 0
        if elapsed_ms is not None:
            first = bisect_right(drawn, elapsed_ms, key=_run_ms)
            if first == len(drawn):
                longest = drawn[-1]
                mean_ms = _TAIL * elapsed_ms * max(source.spread, _SPREAD_LEAST)
                mean_ms = max(mean_ms, elapsed_ms - longest.running_ms)
                return _fate(longest, elapsed_ms + max(1, round(-log(chance) * mean_ms)))
        past = drawn[first + which * (len(drawn) - first) // _ONE]
        width = _BANDWIDTH * source.spread * len(drawn) ** _BANDWIDTH_POWER
        run_ms = round(past.running_ms * exp(width * _NORMAL.inv_cdf(chance))) if width else (
            past.running_ms
        )  # fmt: skip
        return _fate(past, max(run_ms, least_ms))

    def _resampled(self, kind: Kind, source: _Source) -> list[PastAttempt]:
        found = self._drawn.get(kind)
        if found is None:
            chance = Random(f"{self._salt}{kind.definition}/{kind.queue_arn}")  # noqa: S311
            found = chance.choices(source.attempts, k=len(source.attempts))
            found.sort(key=_run_ms)
            self._drawn[kind] = found
        return found


def _fate(past: PastAttempt, run_ms: int) -> Fate:
    return Fate(
        run_ms=run_ms, exit_code=past.exit_code, reason=past.reason, start_ms=past.starting_ms
    )


def _run_ms(past: PastAttempt) -> int:
    return past.running_ms


def _spread_of(attempts: list[PastAttempt]) -> float:
    return pstdev(log(max(1, each.running_ms)) for each in attempts)


def _place_of(queue_arn: QueueArn) -> str:
    """Give the account and region of a queue."""
    return queue_arn.rsplit(":", 1)[0]
