"""The whole engine under faults: hundreds of seeds on every change, and proof that they find bugs.

One seed is one world: see `tests.simulation.run`. A night runs a hundred thousand of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation import run as running
from tests.simulation.mutants import MUTANTS, Mutant, try_mutant
from tests.simulation.observer import Broken
from tests.simulation.reporting import Summary, story_of
from tests.simulation.run import Found, be_quiet, run
from tests.simulation.schedule import FAULTS, draw_schedule
from tests.simulation.shrinking import Failure, failure_of, shrink

#: Seeds that have found something once, in the product or in these checks.
REGRESSIONS = (100495, 200197, 300185)
_SEEDS_PER_PIECE = 10
_PIECES = 30
_FEW = 40


@pytest.fixture(autouse=True)
def _quiet() -> None:
    be_quiet()


def must_hold(seed: int) -> running.Result:
    schedule = draw_schedule(seed)
    try:
        return run(schedule)
    except Found as found:
        pytest.fail(story_of(Failure(schedule, str(found)), is_shrunk=False), pytrace=False)


@pytest.mark.slow
@pytest.mark.parametrize("piece", range(_PIECES))
def test_everything_holds_whatever_goes_wrong(piece: int) -> None:
    summary = Summary()
    for seed in range(piece * _SEEDS_PER_PIECE, (piece + 1) * _SEEDS_PER_PIECE):
        summary.add(must_hold(seed))
    assert summary.commits > 0
    assert summary.jobs > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", REGRESSIONS)
def test_what_was_found_once_holds_for_ever(seed: int) -> None:
    must_hold(seed)


@pytest.mark.slow
@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_a_seed_gives_the_same_bytes_in_every_process(hash_seed: str) -> None:
    seeds = range(1000, 1006)
    here = [must_hold(seed).digest for seed in seeds]
    program = (
        "from tests.simulation.run import be_quiet, run\n"
        "from tests.simulation.schedule import draw_schedule\n"
        "be_quiet()\n"
        f"print(*(run(draw_schedule(seed)).digest for seed in {list(seeds)}))\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here
    assert len(set(here)) == len(here)


@pytest.mark.slow
def test_every_kind_of_fault_happens() -> None:
    """A fault that never happens protects from nothing."""
    possible = {fault for seed in range(_FEW) for fault in draw_schedule(seed).faults}
    assert possible == set(FAULTS)
    operations = {item.operation for seed in range(3 * _FEW) for item in draw_schedule(seed).items}
    assert operations >= {
        "CancelJob",
        "CreateQuotaShare",
        "CreateSchedulingPolicy",
        "DeleteComputeEnvironment",
        "DeleteJobQueue",
        "RegisterInstances",
        "SubmitJob",
        "SubmitServiceJob",
        "TerminateJob",
        "TerminateServiceJob",
        "UpdateComputeEnvironment",
        "UpdateConsumableResource",
        "UpdateJobQueue",
        "UpdateQuotaShare",
        "UpdateServiceJob",
    }


@pytest.fixture
def _no_crash_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend a rule that any crash breaks."""

    def crash(_world: running.Run, why: str) -> None:
        raise Broken(f"the world ended with a {why}")

    monkeypatch.setattr(running.Run, "crash", crash)


@pytest.mark.slow
@pytest.mark.usefixtures("_no_crash_is_survived")
def test_a_failure_is_made_smaller_and_says_how_to_have_it_again() -> None:
    seed = next(each for each in range(100) if "crash" in draw_schedule(each).faults)
    schedule = draw_schedule(seed)
    failure = failure_of(schedule)
    assert failure is not None
    small = shrink(failure)
    assert small.kind == failure.kind
    assert len(small.schedule.items) < len(schedule.items)
    assert len(small.schedule.faults) < len(schedule.faults)
    assert failure_of(small.schedule) == small
    story = story_of(small, is_shrunk=True)
    assert f"python -m tests.simulation --seed {seed}\n" in story
    assert f"seed {seed} at commit " in story


def test_a_summary_tells_what_was_tried(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    count = ["--seeds", "2", "--jobs", "2"]
    command = [sys.executable, "-m", "tests.simulation", *count, f"--summary={path}"]
    found = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("2 seeds, ")
    told = json.loads(path.read_text(encoding="utf-8"))
    assert told["seeds"] == 2
    assert told["failures"] == {}
    assert set(FAULTS) - {"spot_market"} <= set(told["faults"])


@pytest.mark.nightly
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_seeds_find_what_is_planted(mutant: Mutant, tmp_path: Path) -> None:
    verdict = try_mutant(mutant, tmp_path)
    assert verdict.seeds is not None, f"nobody noticed that {mutant.name}"


@pytest.mark.slow
def test_a_planted_bug_is_found_at_once(tmp_path: Path) -> None:
    """All of them are tried at night; this one shows that the trying works."""
    verdict = try_mutant(MUTANTS[0], tmp_path, seeds=30)
    assert verdict.seeds is not None


def test_every_mutant_still_has_its_place() -> None:
    source = Path(__file__).parents[2] / "src/batchyard"
    for mutant in MUTANTS:
        assert (source / mutant.path).read_text(encoding="utf-8").count(mutant.before) == 1
