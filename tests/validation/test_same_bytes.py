"""The same input and seed give the same bytes, whatever surrounds the process that runs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.validation.running import simulated, swf

#: Everything that draws or orders: shares, Spot that is taken away, retries, arrays, dependencies.
CONFIG = """
[[computeEnvironments]]
computeEnvironmentName = "spot"
[computeEnvironments.computeResources]
type = "SPOT"
allocationStrategy = "SPOT_PRICE_CAPACITY_OPTIMIZED"
maxvCpus = 32
instanceTypes = ["m6i", "c6i"]
[[computeEnvironments]]
computeEnvironmentName = "fargate"
computeResources = { type = "FARGATE", maxvCpus = 4 }
[[schedulingPolicies]]
name = "fair"
[schedulingPolicies.fairsharePolicy]
shareDecaySeconds = 600
computeReservation = 10
shareDistribution = [{ shareIdentifier = "u1", weightFactor = 0.5 }]
[[jobQueues]]
jobQueueName = "fair"
priority = 10
schedulingPolicyArn = "fair"
computeEnvironmentOrder = [{ order = 1, computeEnvironment = "spot" }]
[[jobQueues]]
jobQueueName = "fifo"
priority = 1
computeEnvironmentOrder = [{ order = 1, computeEnvironment = "fargate" }]
[delays]
instance_boot_s = 40
fargate_start_s = 15
[interruptions]
per_hour = 2.0
retries = 3
"""


def a_trace() -> str:
    rng = random.Random(7)
    lines = [
        "id,submit_s,run_s,vcpus,memory_mib,queue,user,depends_on,array_size,attempts,exit_code"
    ]
    for number in range(150):
        after = f"j{rng.randrange(number)}" if number and rng.random() < 0.2 else ""
        array = rng.choice(("", "", "", "3"))
        exit_code = rng.choice(("", "", "", "", "1"))
        lines.append(
            f"j{number},{number * 20 + rng.random():.3f},{rng.expovariate(1 / 900):.3f},"
            f"{rng.choice((1, 2, 4))},{rng.choice((512, 2048))},{rng.choice(('fair', 'fifo'))},"
            f"u{rng.randrange(5)},{after},{array},{rng.randrange(1, 4)},{exit_code}"
        )
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("same")
    (folder / "trace.csv").write_text(a_trace())
    (folder / "config.toml").write_text(CONFIG)
    (folder / "elsewhere").mkdir()
    return folder


def outputs(files: Path, environ: Mapping[str, str], cwd: str = ".", seed: int = 3) -> list[bytes]:
    """Give all that the command writes: JSON, the page and the table of jobs."""
    page, jobs = files / "page.html", files / "jobs.csv"
    found = subprocess.run(
        [
            *(sys.executable, "-m", "batchyard.cli.main", "simulate", str(files / "trace.csv")),
            *("--config", str(files / "config.toml"), "--seed", str(seed), "--json"),
            *("--html", str(page), "--jobs", str(jobs)),
        ],
        cwd=files / cwd,
        env={**os.environ, **environ},
        capture_output=True,
        check=True,
    )
    return [found.stdout, page.read_bytes(), jobs.read_bytes()]


@pytest.fixture(scope="module")
def usual(files: Path) -> list[bytes]:
    return outputs(files, {"PYTHONHASHSEED": "0"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environ", "cwd"),
    [
        ({"PYTHONHASHSEED": "1"}, "."),
        ({"PYTHONHASHSEED": "4294967295"}, "."),
        ({"LC_ALL": "C"}, "."),
        ({"LC_ALL": "C.UTF-8", "LANG": "de_DE.UTF-8", "PYTHONUTF8": "0"}, "."),
        ({"TZ": "Pacific/Kiritimati"}, "."),
        ({"TZ": "America/St_Johns", "COLUMNS": "20", "TERM": "dumb"}, "."),
        ({}, "elsewhere"),
    ],
    ids=["hash seed", "another hash seed", "C", "de_DE", "far east", "half an hour", "folder"],
)
def test_the_same_bytes(
    files: Path, usual: list[bytes], environ: Mapping[str, str], cwd: str
) -> None:
    assert outputs(files, environ, cwd) == usual


def test_the_order_of_lines_does_not_matter_where_no_jobs_come_at_once(tmp_path: Path) -> None:
    rng = random.Random(8)
    jobs = [(at, rng.randrange(1, 8), rng.randrange(1, 99)) for at in range(100)]
    head, *lines = swf(jobs, 8).splitlines()
    in_order = simulated(tmp_path, "trace.swf", "\n".join([head, *lines]))
    rng.shuffle(lines)
    assert simulated(tmp_path, "trace.swf", "\n".join([head, *lines])) == in_order


@pytest.mark.slow
def test_another_seed_is_another_run(files: Path, usual: list[bytes]) -> None:
    """So the seed counts in this trace, and equal bytes say something."""
    assert b'"spot_interruption_count": 0,' not in usual[0]
    assert outputs(files, {}, seed=4) != usual
