"""The dice of a run: whether a fault happens now, and how bad it is.

Each kind of fault has dice of its own, so that leaving one kind out changes the others least.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from random import Random

#: The chance of each kind, each time that it could happen; each seed scales it.
_CHANCES = {
    "crash": 0.003,
    "slow_commit": 0.15,
    "commit_trouble": 0.04,
    "read_trouble": 0.02,
    "backend_trouble": 0.1,
    "slow_backend": 0.2,
    "slow_secret": 0.6,
    "missing_secret": 0.3,
    "slow_pull": 0.4,
    "late_report": 0.4,
    "double_report": 0.4,
    "lost_report": 0.15,
}
#: A crash is likelier right after a thread has worked: there commits begin to be true.
CRASH_AFTER_COMMIT = 0.1
CRASHES_MAX = 6


class Faults:
    """What may go wrong in one run, and how often it did."""

    def __init__(self, seed: int, possible: Iterable[str]) -> None:
        self._dice = {kind: Random(f"{seed}/fault/{kind}") for kind in possible}
        self._scale = {kind: dice.choice((0.3, 1.0, 2.0)) for kind, dice in self._dice.items()}
        #: Faults have come to their end: from here on everything works.
        self.are_over = False
        self.counts: Counter[str] = Counter()

    def may(self, kind: str) -> bool:
        """Tell whether a kind of fault is possible at all."""
        return kind in self._dice and not self.are_over

    def happens(self, kind: str, chance: float | None = None) -> bool:
        """Throw the dice of a kind."""
        if not self.may(kind):
            return False
        chance = _CHANCES[kind] if chance is None else chance
        if self._dice[kind].random() >= chance * self._scale[kind]:
            return False
        self.counts[kind] += 1
        return True

    def dice(self, kind: str) -> Random:
        """Give the dice of a kind, for how bad it is."""
        return self._dice[kind]
