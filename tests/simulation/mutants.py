"""Planted bugs: a copy of batchyard with one mistake in it, and the seeds that find it.

A test that finds nothing may be a good program or a bad test; these say which.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_SEEDS_MAX = 400


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mistake: in `path`, `before` became `after`."""

    name: str
    path: str
    before: str
    after: str


MUTANTS = (
    Mutant(
        "what changes while an inventory is taken is not taken down again",
        "core/inventory.py",
        "            yield event.job_id\n",
        "            pass\n",
    ),
    Mutant(
        "capacity of an instance that is gone stays taken",
        "core/bookkeeping.py",
        "    state.hosts[record.host_id].used -= record.capacity\n",
        "",
    ),
    Mutant(
        "an attempt that was never handed over is not handed over after a crash",
        "core/restore.py",
        "            turn.ask(_start_of(job))\n",
        "            pass\n",
    ),
    Mutant(
        "a task that runs on over a crash counts as lost",
        "core/restore.py",
        "        if attempt.task_id in known_tasks:\n",
        "        if attempt.task_id in known_tasks and attempt.started_ms is None:\n",
    ),
    Mutant(
        "effects are sent before they are durable",
        "engine/loop.py",
        "        await self._commit(outcome, harvest.settled, now_ms, records)\n"
        "        self._dispatch.send(outcome.effects)\n",
        "        self._dispatch.send(outcome.effects)\n"
        "        await self._commit(outcome, harvest.settled, now_ms, records)\n",
    ),
    Mutant(
        "a commit that failed is not tried again",
        "engine/loop.py",
        "                pause_s = min(2 * pause_s, _COMMIT_PAUSE_S_MAX)\n",
        "                break\n",
    ),
    Mutant(
        "an attempt that ended begins again under its number",
        "model/records.py",
        "        return len(self.attempts) + self.preempted_count + 1\n",
        "        return max(1, len(self.attempts) + self.preempted_count)\n",
    ),
    Mutant(
        "a dependency counts twice",
        "core/evolve_parts.py",
        "    job.unmet = tuple(each for each in job.unmet if each != event.dependency_id)\n",
        "    job.unmet = tuple(each for each in job.unmet if each != event.dependency_id)[1:]\n",
    ),
    Mutant(
        "there is one attempt more than was asked for",
        "core/attempts.py",
        "        len(job.progress.attempts) < job.attempts_max\n",
        "        len(job.progress.attempts) <= job.attempts_max\n",
    ),
    Mutant(
        "a job that was given up is tried again",
        "core/attempts.py",
        "    elif is_given_up(job):\n",
        "    elif False:\n",
    ),
    Mutant(
        "a rule about an exit code holds for every exit code",
        "core/retrying.py",
        "            and _matches(rule.on_exit_code, exit_code)\n",
        "",
    ),
    Mutant(
        "an attempt that was stopped may still succeed",
        "core/attempts.py",
        "    if verdict.is_success and attempt.stop_cause is None:\n",
        "    if verdict.is_success:\n",
    ),
    Mutant(
        "queues of low priority are served first",
        "scheduler/round.py",
        "    return (-queue.priority, queue.last_placed, queue.seq)\n",
        "    return (queue.priority, queue.last_placed, queue.seq)\n",
    ),
    Mutant(
        "what is tried again stands where it stood",
        "core/bookkeeping.py",
        "        is_retry = job.progress.was_tried\n",
        "        is_retry = False\n",
    ),
    Mutant(
        "a timeout counts from the placement",
        "core/bookkeeping.py",
        "        state.deadlines.add(attempt.started_ms + job.timeout_ms, attempt.task_id)\n",
        "        state.deadlines.add(attempt.placed_ms + job.timeout_ms, attempt.task_id)\n",
    ),
    Mutant(
        "an attempt uses up twice what it needs",
        "core/consumables.py",
        "            found.used_up += need.quantity\n",
        "            found.used_up += 2 * need.quantity\n",
    ),
    Mutant(
        "nodes begin in an attempt that is to stop",
        "core/evolve.py",
        "    if job.nodes is not None and job.nodes.waiting:\n        give",
        "    if False:\n        give",
    ),
    Mutant(
        "the last in line is the first",
        "core/viewing.py",
        "        return InOrder(waiting_jobs(state, queue.line))\n",
        "        return InOrder(reversed(list(waiting_jobs(state, queue.line))))\n",
    ),
    Mutant(
        "a quota share takes what it likes",
        "scheduler/quota.py",
        "            if not self._may_use(terms, unit, held.get(unit, 0), quantity):\n",
        "            if False:\n",
    ),
    Mutant(
        "a task without its secret is judged again with its batch",
        "engine/dispatch.py",
        "            self._refuse(effect, trouble.reason)\n",
        "            self._end_unstarted(effect.task_id, trouble.reason)\n",
    ),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many seeds it took, and what they saw; no seeds: it was not found."""

    seeds: int | None
    text: str


def try_mutant(mutant: Mutant, folder: Path, *, first: int = 0, seeds: int = _SEEDS_MAX) -> Verdict:
    """Plant a bug in a copy of batchyard, and run seeds until one finds it."""
    source = folder / "src"
    if not source.exists():
        shutil.copytree(
            _ROOT / "src", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    path = source / "batchyard" / mutant.path
    sound = path.read_text(encoding="utf-8")
    if sound.count(mutant.before) != 1:
        raise LookupError(f"{mutant.path} has no place for: {mutant.name}")
    path.write_text(sound.replace(mutant.before, mutant.after), encoding="utf-8")
    summary = folder / "summary.json"
    try:
        _run(source, f"--first={first}", f"--seeds={seeds}", "--stop", f"--summary={summary}")
    finally:
        path.write_text(sound, encoding="utf-8")
    told = json.loads(summary.read_text(encoding="utf-8"))
    found = list(told["failures"].values())
    return Verdict(told["seeds"], found[0]) if found else Verdict(None, "")


def _run(source: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, cwd=_ROOT, env=environment, check=False, capture_output=True)
