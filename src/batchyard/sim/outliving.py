"""What of the past has not ended yet, and what that says of how long its like take.

Decides what each attempt that has ended counts for, beside those that still run. Refuses to know
which attempts these are.

Those that have ended are the short ones: of what began an hour ago nothing that has ended took
longer. So what runs counts among all that took as long as it has done by now, and what it stands
for is shared by those that took longer (the product-limit estimate of Kaplan and Meier, 1958, with
late entries: what had run for a while when the past that is known began is counted from there on).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp


@dataclass(frozen=True, slots=True)
class Watched:
    """An attempt, from the age at which it was first seen to the age at its end, or now."""

    seen_from_ms: int
    until_ms: int


def watched(*, began_ms: int, until_ms: int, since_ms: int | None) -> Watched:
    """Give an attempt of some age, of a past that is known since then; None: it is from its start.

    What ends is seen to end.
    """
    until_ms = max(1, until_ms)
    unseen_ms = 0 if since_ms is None else max(0, since_ms - began_ms)
    return Watched(min(unseen_ms, until_ms - 1), until_ms)


def weights_of(ended: Sequence[Watched], running: Sequence[Watched]) -> tuple[list[float], float]:
    """Tell what part of all attempts those that ended stand for, each, and what lies beyond them.

    The parts are in the order of those that ended, and positive. With nothing that runs, and all
    seen from their beginning, they are equal.
    """
    entries = sorted(each.seen_from_ms for each in (*ended, *running))
    running_for = sorted(each.until_ms for each in running)
    weights = [0.0] * len(ended)
    order = sorted(range(len(ended)), key=lambda place: ended[place].until_ms)
    left = 1.0
    for number, place in enumerate(order):
        at_ms = ended[place].until_ms
        before = bisect_left(running_for, at_ms)
        at_risk = max(1, bisect_left(entries, at_ms) - before - number)
        is_last = number == len(ended) - 1
        # Of a few that were seen at that age all have ended, others took longer: not all would.
        kept = 1 - 1 / at_risk if at_risk > 1 or is_last else exp(-1)
        weights[place] = left * (1 - kept)
        left *= kept
    return weights, left
