"""Many seeds, one after the other or in several processes.

Apart from the command, because processes that are made anew cannot import a module that is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context

from tests.simulation.run import Found, Result, be_quiet, run
from tests.simulation.schedule import draw_schedule

#: What came of a seed; a text: which rule was broken.
Outcome = Result | str


def run_seeds(
    seeds: Iterable[int], *, processes: int, piece_size: int
) -> Iterator[list[tuple[int, Outcome]]]:
    """Run each seed, and give the outcomes in their order, so many at a time."""
    left = iter(seeds)
    pieces = iter(lambda: list(islice(left, piece_size)), [])
    if processes == 1:
        yield from map(_run_piece, pieces)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield from pool.map(_run_piece, pieces)


def _run_piece(seeds: list[int]) -> list[tuple[int, Outcome]]:
    be_quiet()
    return [(seed, _outcome_of(seed)) for seed in seeds]


def _outcome_of(seed: int) -> Outcome:
    try:
        return run(draw_schedule(seed))
    except Found as found:
        return str(found)
