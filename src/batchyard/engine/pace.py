"""How much of the loop the engine takes while callers flood it with wishes.

Owns the engine's pace: a submission is acknowledged once it is durable, and AWS's SUBMITTED says
that nobody has looked at it yet. So while submissions keep pouring in, callers go first: after a
turn that took many, the engine leaves new wishes alone for several times as long as it has just
worked. Reports of backends, timers and single wishes never wait. Refuses to know what the work
is.
"""

from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")

#: Rest for this many times the work of a turn: in a flood, one part in seven of the loop is ours.
REST_RATIO = 6
#: A turn that takes fewer wishes is no flood.
FLOOD_WISHES_MIN = 32


class Pace:
    """Measures work, and says when the next wishes may be taken."""

    def __init__(self, monotonic_s: Callable[[], float] = perf_counter) -> None:
        self._monotonic_s = monotonic_s
        self._worked_s = 0.0
        self._rest_until_s = 0.0

    def measure(self, work: Callable[[], T]) -> T:
        """Do a piece of work that holds the loop."""
        began_s = self._monotonic_s()
        try:
            return work()
        finally:
            self._worked_s += self._monotonic_s() - began_s

    def end_turn(self, *, wishes_taken: int, are_more_coming: bool) -> None:
        """Rest if the turn was part of a flood that goes on."""
        if are_more_coming and wishes_taken >= FLOOD_WISHES_MIN:
            self._rest_until_s = self._monotonic_s() + REST_RATIO * self._worked_s
        self._worked_s = 0.0

    def rest_for(self, pause_s: float) -> None:
        """Leave wishes alone for so long, whatever was measured."""
        self._rest_until_s = self._monotonic_s() + pause_s

    def rest_s(self) -> float:
        """Tell for how many seconds wishes are to be left alone; 0 if they may be taken."""
        return max(0.0, self._rest_until_s - self._monotonic_s())
