"""Run times of the past by their ranks, and back.

Refuses to know which attempts these are, and what they have in common.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from math import exp, log
from statistics import NormalDist, fmean, pstdev

from batchyard.sim.fate import Fate
from batchyard.store.run_times import PastAttempt

#: Of how long a job ran already: what remains, on average, of one that outlived all others, in
#: units of the spread of logarithms. A lognormal has about this two deviations from its middle.
_TAIL = 0.5
#: Even what hardly ever varied may.
SPREAD_LEAST = 0.05
#: Keeps a chance away from 1.
TINY = 1e-12

NORMAL = NormalDist()


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
        beyond = round(exp(self._mean + self._spread * NORMAL.inv_cdf(rank)))
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
        count = len(self._attempts)
        past = self._attempts[min(int(rank * count), count - 1)]
        return Fate(
            run_ms=run_ms,
            exit_code=past.exit_code,
            reason=past.reason,
            start_ms=past.starting_ms,
        )


def _run_ms(past: PastAttempt) -> int:
    return past.running_ms
