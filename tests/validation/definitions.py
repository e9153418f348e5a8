"""What first come, first served is, and what each figure of a report is: by their definitions.

Knows nothing of how it is done in `batchyard.sim`. It is as slow as it is plain.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from math import ceil

from tests.validation.running import Row

#: (submit, processors, run)
Job = tuple[int, int, int]


def first_come(jobs: Sequence[Job], processors: int) -> list[int | None]:
    """Tell when each job starts: in the order of submission, as soon as there is room for it.

    Nobody starts before one that came earlier, unless that one is wider than the machine: it never
    starts, and nobody waits for it.
    """
    ends: list[tuple[int, int]] = []
    free, now = processors, 0
    starts: list[int | None] = []
    for submit, width, run in jobs:
        if width > processors:
            starts.append(None)
            continue
        now = max(now, submit)
        while ends and (ends[0][0] <= now or free < width):
            end, given_back = heapq.heappop(ends)
            free += given_back
            now = max(now, end)
        free -= width
        heapq.heappush(ends, (now + run, width))
        starts.append(now)
    return starts


def listed(jobs: Sequence[Job], after: Sequence[Sequence[int]], processors: int) -> list[int]:
    """Tell when each job starts if some wait for the end of others, by their places in the list.

    At each moment those that may start stand in the order of the list, and nobody goes ahead.
    Every job runs for a while and fits the machine.
    """
    ends: dict[int, int] = {}
    starts: dict[int, int] = {}
    now = 0
    while len(starts) < len(jobs):
        running = [each for each, end in ends.items() if end > now]
        free = processors - sum(jobs[each][1] for each in running)
        for number, (submit, width, run) in enumerate(jobs):
            is_ready = submit <= now and all(
                ends.get(each, now + 1) <= now for each in after[number]
            )
            if number in starts or not is_ready:
                continue
            if width > free:
                break
            free -= width
            starts[number], ends[number] = now, now + run
        now += 1
    return [starts[number] for number in range(len(jobs))]


def waits_of(rows: Iterable[Row]) -> list[int]:
    return [row.start_ms - row.ready_ms for row in rows if row.start_ms is not None]


def bounded_slowdowns_of(rows: Iterable[Row]) -> list[Fraction]:
    """(wait + run) / max(run, 10 s), at least 1."""
    return [
        max(
            Fraction(1), Fraction(row.start_ms - row.ready_ms + row.run_ms, max(row.run_ms, 10_000))
        )
        for row in rows
        if row.start_ms is not None
    ]


def spread(values: Sequence[int | Fraction]) -> dict[str, float]:
    """Count, mean and percentiles by the nearest rank: the least that so many do not exceed."""
    ordered = sorted(values)

    def rank(percent: int) -> float:
        return float(ordered[ceil(Fraction(len(ordered) * percent, 100)) - 1])

    return {
        "count": len(ordered),
        "mean": float(Fraction(sum(ordered)) / len(ordered)),
        "median": rank(50),
        "p90": rank(90),
        "p99": rank(99),
        "max": float(ordered[-1]),
    }


def makespan_ms(rows: Sequence[Row]) -> int:
    ends = [row.end_ms for row in rows if row.end_ms is not None]
    first = min(row.submit_ms for row in rows)
    return max(ends, default=first) - first


def overlap(a: tuple[int, int], b: tuple[int, int]) -> int:
    return max(0, min(a[1], b[1]) - max(a[0], b[0]))


def waited_between(rows: Iterable[Row], begin: int, end: int) -> int:
    """Give the job-milliseconds of waiting; who never starts waits for ever."""
    return sum(
        overlap((row.ready_ms, end if row.start_ms is None else row.start_ms), (begin, end))
        for row in rows
    )


def used_between(rows: Iterable[Row], begin: int, end: int) -> int:
    """Give the milli-vCPU-milliseconds that jobs held, each in one attempt without a delay."""
    return sum(
        row.cpu_milli * overlap((row.start_ms, row.end_ms), (begin, end))
        for row in rows
        if row.start_ms is not None and row.end_ms is not None
    )


def fargate_usd(rows: Iterable[Row]) -> float:
    """AWS's list price in us-east-1: by the second, rounded up, at least a minute."""
    usd = Fraction(0)
    for row in rows:
        if row.start_ms is None or row.end_ms is None:
            continue
        seconds = max(60, ceil(Fraction(row.end_ms - row.start_ms, 1000)))
        an_hour = Fraction(row.cpu_milli, 1000) * Fraction("0.04048")
        an_hour += Fraction(row.memory_mib, 1024) * Fraction("0.004445")
        usd += an_hour * seconds / 3600
    return float(usd)


def fairness(
    rows: Sequence[Row], weights: dict[str, Fraction]
) -> tuple[dict[str, Fraction], dict[str, Fraction], float]:
    """Give what each share used while its jobs waited, what was due to it then, and Jain's index.

    At each moment what the shares with waiting jobs use is due to them in proportion to 1 / weight.
    """
    moments = sorted(
        {at for row in rows for at in (row.ready_ms, row.start_ms, row.end_ms) if at is not None}
    )
    used = dict.fromkeys(weights, Fraction(0))
    due = dict.fromkeys(weights, Fraction(0))
    of_share = {share: [row for row in rows if row.share == share] for share in weights}
    for begin, end in pairwise(moments):
        waiting = [share for share in weights if waited_between(of_share[share], begin, end)]
        held = {share: used_between(of_share[share], begin, end) for share in waiting}
        parts = sum((1 / weights[share] for share in waiting), Fraction(0))
        for share in waiting:
            used[share] += held[share]
            due[share] += sum(held.values()) / (weights[share] * parts)
    ratios = [used[share] / due[share] for share in weights if due[share]]
    squares = sum(ratio * ratio for ratio in ratios)
    jain = float(sum(ratios) ** 2 / (len(ratios) * squares)) if squares else 1.0
    return used, due, jain
