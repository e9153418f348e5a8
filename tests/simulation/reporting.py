"""What is told of many runs, and of one that failed."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.run import Result
from tests.simulation.schedule import FAULTS
from tests.simulation.shrinking import Failure

#: Beside what is thrown: servers that gave up at their start, and what Spot's own rate took.
_COUNTED = (*(each for each in FAULTS if each != "spot_market"), "start_trouble", "interruption")


@dataclass(slots=True)
class Summary:
    """Sums over runs."""

    seeds: int = 0
    jobs: int = 0
    commits: int = 0
    restores: int = 0
    replayed_turns: int = 0
    virtual_hours: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        self.seeds += 1
        self.jobs += result.job_count
        self.commits += result.commits
        self.restores += result.restores
        self.replayed_turns += result.replayed_turns
        self.virtual_hours += result.virtual_s / 3600
        self.faults.update(result.counts)

    def add_failure(self, seed: int, text: str) -> None:
        self.seeds += 1
        self.failures[seed] = text

    def as_json(self) -> dict[str, object]:
        return {
            "commit": current_commit(),
            "seeds": self.seeds,
            "jobs": self.jobs,
            "commits_checked": self.commits,
            "restores_compared": self.restores,
            "turns_replayed": self.replayed_turns,
            "virtual_hours": round(self.virtual_hours, 1),
            "faults": {kind: self.faults[kind] for kind in _COUNTED},
            "failures": {str(seed): text for seed, text in sorted(self.failures.items())},
        }

    def lines(self) -> list[str]:
        told = self.as_json()
        faults = ", ".join(f"{kind} {self.faults[kind]}" for kind in _COUNTED)
        return [
            f"{self.seeds} seeds, {self.jobs} jobs, {told['virtual_hours']} virtual hours,"
            f" {self.commits} commits checked, {self.restores} restores compared,"
            f" {self.replayed_turns} turns replayed",
            f"faults: {faults}",
            f"failures: {len(self.failures)}",
        ]


def current_commit() -> str:
    """Name the commit that runs, as git knows it."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def command_for(seed: int) -> str:
    return f"python -m tests.simulation --seed {seed}"


def story_of(failure: Failure, *, is_shrunk: bool) -> str:
    """Tell how a run failed, and how to have it again."""
    schedule = failure.schedule
    lines = [
        f"seed {schedule.seed} at commit {current_commit()}: {failure.text[:2000]}",
        f"again: {command_for(schedule.seed)}",
        f"{'needs' if is_shrunk else 'possible'} faults: {', '.join(schedule.faults) or 'none'}",
        f"{len(schedule.items)} calls{' that it needs' if is_shrunk else ''}:",
    ]
    lines += [
        f"  {item.at_ms / 1000:8.3f} s {item.operation} {item.request}" for item in schedule.items
    ]
    return "\n".join(lines)
