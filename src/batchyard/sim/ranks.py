"""Run times of the past by their ranks, and back.

Refuses to know which attempts these are, and what they have in common.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from math import exp, log, sqrt
from statistics import NormalDist, fmean

from batchyard.sim.fate import Fate
from batchyard.store.run_times import PastAttempt

#: Of how long a job ran already: what remains, on average, of one that outlived all others, in
#: units of the spread of logarithms. A lognormal has about this two deviations from its middle.
_TAIL = 0.5
#: Even what hardly ever varied may.
SPREAD_LEAST = 0.05
#: Ours: nothing takes more than so many times as long as the longest that is known.
_LONGER_MAX = 10
#: Keeps a chance away from 1.
TINY = 1e-12

NORMAL = NormalDist()


class Distribution:
    """Run times of the past, as one run has them, by rank from 0 to 1; all times a factor.

    `weights` are positive: what each attempt counts for. None: all for the same. `breadth` is by
    how much logarithms are further apart than they were.
    """

    def __init__(
        self,
        attempts: Iterable[PastAttempt],
        factor: float = 1.0,
        weights: Sequence[float] | None = None,
        *,
        breadth: float = 1.0,
    ) -> None:
        given = list(attempts)
        order = sorted(range(len(given)), key=lambda place: given[place].running_ms)
        self._attempts = [given[place] for place in order]
        counts = [1.0] * len(given) if weights is None else [weights[place] for place in order]
        #: The rank at which each attempt begins, and at last 1; and the one in its middle.
        self._bounds = [each / sum(counts) for each in accumulate(counts, initial=0.0)]
        self._ranks = [(low + high) / 2 for low, high in pairwise(self._bounds)]
        parts = [high - low for low, high in pairwise(self._bounds)]
        logs = [log(max(1, each.running_ms)) for each in self._attempts]
        middle = fmean(logs, parts)
        squares = [(each - middle) ** 2 for each in logs]
        self._mean = middle + log(factor)
        self._spread = breadth * sqrt(fmean(squares, parts))
        #: What each time is multiplied by, to be as far from the middle as it is here.
        factors = [factor * exp((breadth - 1) * (each - middle)) for each in logs]
        self._times = [
            round(each.running_ms * by) for each, by in zip(self._attempts, factors, strict=True)
        ]

    def run_ms(self, rank: float) -> int:
        """Give the time of a rank."""
        times, ranks = self._times, self._ranks
        above = bisect_right(ranks, rank)
        if 0 < above < len(times):
            low, high = times[above - 1], times[above]
            part = (rank - ranks[above - 1]) / (ranks[above] - ranks[above - 1])
            return low + round(part * (high - low))
        if not self._spread:
            return times[-1]
        beyond = round(exp(self._mean + self._spread * NORMAL.inv_cdf(rank)))
        return (
            min(max(times[-1], beyond), _LONGER_MAX * times[-1]) if above else min(times[0], beyond)
        )

    def rank_of(self, run_ms: int) -> float:
        """Give the rank of a time: 1 if none took longer."""
        times, ranks = self._times, self._ranks
        above = bisect_right(times, run_ms)
        if above in (0, len(times)):
            return float(above > 0)
        low, high = times[above - 1], times[above]
        part = (run_ms - low) / (high - low)
        return ranks[above - 1] + part * (ranks[above] - ranks[above - 1])

    def score_of(self, run_ms: int) -> float:
        """Give the normal score of a time that an attempt took; of equal ones the middle."""
        rank = self.rank_of(run_ms)
        below, above = bisect_left(self._times, run_ms), bisect_right(self._times, run_ms)
        if above > below:
            rank = (self._bounds[below] + self._bounds[above]) / 2
        half = 0.5 / len(self._times)
        return NORMAL.inv_cdf(min(max(rank, half), 1 - half))

    def score_above(self, run_ms: int) -> float:
        """Give the normal score to expect of an attempt that takes longer."""
        least = self.score_of(run_ms)
        return NORMAL.pdf(least) / max(1 - NORMAL.cdf(least), TINY)

    def rest_ms(self, elapsed_ms: int, chance: float) -> int:
        """Draw what remains of an attempt that has outrun all others."""
        mean_ms = _TAIL * elapsed_ms * max(self._spread, SPREAD_LEAST)
        mean_ms = max(mean_ms, elapsed_ms - self._times[-1])
        return round(-log(1 - chance) * mean_ms)

    def fate(self, rank: float, run_ms: int) -> Fate:
        """Let an attempt end as the one of that rank did, after its own time."""
        place = bisect_right(self._bounds, rank) - 1
        past = self._attempts[min(place, len(self._attempts) - 1)]
        return Fate(
            run_ms=run_ms,
            exit_code=past.exit_code,
            reason=past.reason,
            start_ms=past.starting_ms,
        )
