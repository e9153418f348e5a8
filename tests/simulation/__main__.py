"""Run seeds by hand: one with its whole story, or a night of them with a summary."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tests.simulation.reporting import Summary, command_for, story_of
from tests.simulation.run import Found, be_quiet, run
from tests.simulation.schedule import draw_schedule
from tests.simulation.seeds import run_seeds
from tests.simulation.shrinking import failure_of, shrink

#: Seeds that a process takes at a time.
_SEEDS_PER_PIECE = 50
_LINE_LENGTH_MAX = 400


def main() -> int:
    """Return 1 if a rule was broken."""
    asked = _arguments()
    be_quiet()
    if asked.seed is not None:
        return _run_one(asked.seed, asked.trace)
    summary = Summary()
    seeds = range(asked.first, asked.first + asked.seeds)
    piece_size = 1 if asked.stop else _SEEDS_PER_PIECE
    for piece in run_seeds(seeds, processes=asked.jobs, piece_size=piece_size):
        for seed, outcome in piece:
            if isinstance(outcome, str):
                summary.add_failure(seed, outcome)
                print(f"seed {seed}: {outcome[:300]}\nagain: {command_for(seed)}", flush=True)
            else:
                summary.add(outcome)
        _write(summary, asked.summary)
        if summary.failures and asked.stop:
            break
    print("\n".join(summary.lines()))
    return 1 if summary.failures else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one; if it fails, make it smaller")
    parser.add_argument("--trace", action="store_true", help="print everything that happened")
    parser.add_argument("--seeds", type=int, default=200, help="how many to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--stop", action="store_true", help="end with the first failure")
    parser.add_argument(
        "--summary", type=Path, default=Path("build/simulation.json"), help="where it is written"
    )
    return parser.parse_args()


def _run_one(seed: int, is_traced: bool) -> int:
    schedule = draw_schedule(seed)
    log: list[str] = []
    try:
        result = run(schedule, log=log)
    except Found as found:
        print("\n".join(line[:_LINE_LENGTH_MAX] for line in log[0 if is_traced else -30 :]))
        print(f"seed {seed} fails: {found}\nmaking it smaller…", flush=True)
        failure = failure_of(schedule)
        assert failure is not None, "a seed that fails once and not twice"
        print(story_of(shrink(failure), is_shrunk=True))
        return 1
    if is_traced:
        print("\n".join(log))
    print(f"seed {seed}: all is well after {result.virtual_s:.0f} virtual seconds")
    print(f"faults: {result.counts}\ntrace: {result.digest}")
    return 0


def _write(summary: Summary, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary.as_json(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
