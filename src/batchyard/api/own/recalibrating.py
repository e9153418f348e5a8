"""What forecasts of the past missed by, and so by how much the ends of the next are moved.

Decides how far. Refuses to know how forecasts are made, and where those of the past come from.

The method is conformal control: after each forecast that an end missed that end moves out, and
after each that it held it moves in, by steps of which one of the first outweighs nine of the
second. So in the long run an end misses one start in ten whatever forecasts are wrong by (Gibbs and
Candes, "Adaptive conformal inference under distribution shift", 2021; Angelopoulos, Candes and
Tibshirani, "Conformal PID control for time series prediction", 2023: its quantile tracking). Steps
are of the logarithm of a stretch, so yards with waits of seconds and of days are alike.

- Each end has a stretch of its own, of what lies between it and the middle, which stays.
- Both begin at what made-up yards asked for, and a step is small: little evidence moves little. No
  stretch leaves its bounds.
- An end is judged at its moment: by then it is certain whether the job started before. Judging by
  starts would see the early ones first, and take those that still wait for nothing.
- What was said is judged, so with its stretch. Each forecast keeps the one it was made with: from
  there on the later ones are followed, and those from long ago are not needed.
- Forecasts that were made about one moment miss together, and count as one.
- A queue with too few goes by all of its account and region.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log

from msgspec.structs import replace

from batchyard.model.forecast import Interval, PastForecast, Stretch

#: How many starts may lie beyond an end.
_MISSED = 0.1
#: Ours: by what a miss moves a logarithm. More learns faster and wanders more: see decision 0027.
_STEP = 0.1
#: Both begin here: of 4,962 starts in made-up yards ends as runs had them missed 22 %, these 20 %.
_FIRST_PERMILLE = 1050
#: Ours: more than that is no matter of ends.
_STRETCH_MIN, _STRETCH_MAX = 0.4, 5.0
#: Ours: fewer moments say less of a queue than its neighbours do.
_MOMENTS_MIN = 5
#: Ours: forecasts are of one moment, if made within that part of the first one's wait.
_MOMENT = 0.5
_MOMENT_MS_MIN = 60_000
#: Ours: an end that lay nearly at the middle and missed is stretched as if it were that part of the
#: wait off.
_HALF_MIN = 0.05
#: How many forecasts of the past are looked at.
READ_MAX = 400
_PERMILLE = 1000
#: Where nothing is known of misses.
FIRST = Stretch(low_permille=_FIRST_PERMILLE, high_permille=_FIRST_PERMILLE)


def stretch_of(
    of_queue: Sequence[PastForecast], of_all: Sequence[PastForecast], now_ms: int
) -> Stretch:
    """Tell by how much to stretch what is said next of a queue, by the past, the oldest first."""
    own = _followed(of_queue, now_ms)
    if own.moment_count >= _MOMENTS_MIN:
        return replace(own, is_of_queue=True)
    return _followed(of_all, now_ms)


def stretched(start: Interval, stretch: Stretch, now_ms: int) -> Interval:
    """Move the ends of an interval. The middle stays, and nothing is before now."""
    middle_ms = start.p50_ms
    if middle_ms is None:
        return start
    least_ms = _HALF_MIN * (middle_ms - now_ms)
    low_ms, high_ms = start.p10_ms, start.p90_ms
    if low_ms is not None:
        off_ms = _off(middle_ms - low_ms, stretch.low_permille, least_ms)
        low_ms = max(min(low_ms, now_ms), middle_ms - off_ms)
    if high_ms is not None:
        high_ms = middle_ms + _off(high_ms - middle_ms, stretch.high_permille, least_ms)
    return Interval(p10_ms=low_ms, p50_ms=middle_ms, p90_ms=high_ms)


def _off(half_ms: int, permille: int, least_ms: float) -> int:
    first = min(permille, _FIRST_PERMILLE)
    return round((first * half_ms + (permille - first) * max(half_ms, least_ms)) / _PERMILLE)


@dataclass(frozen=True, slots=True)
class _End:
    """One end of a forecast whose moment is over."""

    at_ms: int
    is_missed: bool
    #: What it counts for among those of its moment.
    weight: float


def _followed(past: Sequence[PastForecast], now_ms: int) -> Stretch:
    """Follow both ends from the oldest forecast on."""
    if not past:
        return FIRST
    # Of the older half only what was open when the younger began is needed; all, if all are known.
    base = past[len(past) // 2 if len(past) >= READ_MAX else 0]
    low: list[_End] = []
    high: list[_End] = []
    for moment in _moments(past):
        weight = 1 / len(moment)
        for each in moment:
            started_ms, low_ms, high_ms = each.started_ms, each.p10_ms, each.p90_ms
            if base.made_ms <= low_ms < now_ms:
                is_early = started_ms is not None and started_ms < low_ms
                low.append(_End(low_ms, is_early, weight))
            if base.made_ms <= high_ms < now_ms:
                is_late = started_ms is None or started_ms > high_ms
                high.append(_End(high_ms, is_late, weight))
    return Stretch(
        low_permille=_tracked(base.stretch.low_permille, low),
        high_permille=_tracked(base.stretch.high_permille, high),
        moment_count=round(sum(each.weight for each in high)),
    )


def _moments(past: Sequence[PastForecast]) -> list[list[PastForecast]]:
    """Put together what was said about one moment."""
    found: list[list[PastForecast]] = []
    until_ms = 0
    for each in past:
        if not found or each.made_ms > until_ms:
            found.append([])
            until_ms = each.made_ms + max(
                _MOMENT_MS_MIN, round(_MOMENT * (each.p50_ms - each.made_ms))
            )
        found[-1].append(each)
    return found


def _tracked(permille: int, ends: Iterable[_End]) -> int:
    """Move a stretch by one end after the other, in the order in which they were over."""
    found = log(permille / _PERMILLE)
    for each in sorted(ends, key=_order):
        found += _STEP * each.weight * (each.is_missed - _MISSED)
        found = min(max(found, log(_STRETCH_MIN)), log(_STRETCH_MAX))
    return round(_PERMILLE * exp(found))


def _order(end: _End) -> int:
    return end.at_ms
