"""Making a failing run smaller: fewer faults, fewer calls, the same failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tests.simulation.run import Found, run
from tests.simulation.schedule import Schedule

T = TypeVar("T")

_RUNS_MAX = 300
#: What differs from run to run in the text of one and the same failure.
_PARTICULAR = re.compile(r"[0-9a-f]{8,}|-[0-9a-f]{4}\b|\d+")


@dataclass(frozen=True, slots=True)
class Failure:
    """A schedule that breaks a rule, and how."""

    schedule: Schedule
    text: str

    @property
    def kind(self) -> str:
        return _PARTICULAR.sub("", self.text)[:60]


def failure_of(schedule: Schedule) -> Failure | None:
    """Run a schedule; None if all is well."""
    try:
        run(schedule)
    except Found as found:
        return Failure(schedule, str(found))
    return None


def shrink(failure: Failure) -> Failure:
    """Leave out whatever the failure does not need, greedily, in a bounded number of runs."""
    runs = 0

    def still_fails(smaller: Schedule) -> bool:
        nonlocal failure, runs
        if runs >= _RUNS_MAX:
            return False
        runs += 1
        found = failure_of(smaller)
        if found is None or found.kind != failure.kind:
            return False
        failure = found
        return True

    def try_faults(faults: Sequence[str]) -> bool:
        return still_fails(replace(failure.schedule, faults=tuple(faults)))

    def try_items(items: Sequence[object]) -> bool:
        return still_fails(replace(failure.schedule, items=tuple(items)))  # type: ignore[arg-type]

    _drop(failure.schedule.faults, try_faults)
    _drop(failure.schedule.items, try_items)
    return failure


def _drop(parts: Sequence[T], try_without: Callable[[Sequence[T]], bool]) -> None:
    """Try without halves, quarters, … and at last without single parts."""
    kept = list(parts)
    size = max(1, len(kept) // 2)
    while True:
        place = 0
        while place < len(kept):
            rest = kept[:place] + kept[place + size :]
            if try_without(rest):
                kept = rest
            else:
                place += size
        if size == 1:
            return
        size //= 2
