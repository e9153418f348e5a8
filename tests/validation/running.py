"""Simulations as their user has them: a trace in, the table of its jobs and the report out."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from batchyard.cli.main import main

#: SWF fields that nobody knows.
_UNKNOWN = "-1"


@dataclass(frozen=True)
class Row:
    """A line of the table of jobs. Milliseconds since the beginning of the trace."""

    id: str
    share: str
    cpu_milli: int
    memory_mib: int
    submit_ms: int
    ready_ms: int
    #: None: it never started.
    start_ms: int | None
    end_ms: int | None
    wait_ms: int | None
    run_ms: int
    attempt_count: int
    status: str


@dataclass(frozen=True)
class Result:
    """What the command wrote."""

    rows: list[Row]
    #: The report of the one configuration, as JSON has it.
    report: dict[str, Any]

    def starts_ms(self) -> list[int | None]:
        return [row.start_ms for row in self.rows]


def swf(jobs: Iterable[Sequence[object]], processors: int) -> str:
    """Write (submit, processors, run) in seconds as SWF, for a machine of so many processors."""
    lines = [f"; MaxProcs: {processors}"]
    for number, (submit, width, run) in enumerate(jobs, start=1):
        known = [str(number), str(submit), _UNKNOWN, str(run), str(width)]
        lines.append(" ".join([*known, *[_UNKNOWN] * 5, "1", *[_UNKNOWN] * 7]))
    return "\n".join(lines) + "\n"


def simulated(folder: Path, name: str, text: str, config: str | None = None) -> Result:
    """Call `batchyard simulate` with a trace of this name and text."""
    (folder / name).write_text(text)
    more = []
    if config is not None:
        (folder / "config.toml").write_text(config)
        more = ["--config", str(folder / "config.toml")]
    jobs = folder / "jobs.csv"
    arguments = ["simulate", str(folder / name), "--json", "--jobs", str(jobs), *more]
    found = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    (report,) = json.loads(found.stdout)["runs"]
    with jobs.open(newline="") as file:
        rows = [_row_of(each) for each in csv.DictReader(file)]
    return Result(rows=rows, report=report)


def _row_of(cells: dict[str, str]) -> Row:
    return Row(
        id=cells["id"],
        share=cells["share_identifier"],
        cpu_milli=_thousandths(cells["vcpus"]),
        memory_mib=int(cells["memory_mib"]),
        submit_ms=_thousandths(cells["submit_s"]),
        ready_ms=_thousandths(cells["ready_s"]),
        start_ms=_or_none(cells["start_s"]),
        end_ms=_or_none(cells["end_s"]),
        wait_ms=_or_none(cells["wait_s"]),
        run_ms=_thousandths(cells["run_s"]),
        attempt_count=int(cells["attempt_count"]),
        status=cells["status"],
    )


def _or_none(cell: str) -> int | None:
    return _thousandths(cell) if cell else None


def _thousandths(cell: str) -> int:
    count = Decimal(cell) * 1000
    assert count == int(count), cell
    return int(count)


def fargate(vcpus: int, queues: str = "", more: str = "") -> str:
    """Configure one environment of so many vCPUs, and a queue unless others are given."""
    queues = queues or _QUEUE.format(name="jq", priority=1, more="")
    return _ENVIRONMENT.format(vcpus=vcpus) + queues + more


def queue(name: str, priority: int, more: str = "") -> str:
    return _QUEUE.format(name=name, priority=priority, more=more)


_ENVIRONMENT = """
[[computeEnvironments]]
computeEnvironmentName = "ce"
computeResources = {{ type = "FARGATE", maxvCpus = {vcpus} }}
"""
_QUEUE = """
[[jobQueues]]
jobQueueName = "{name}"
priority = {priority}
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "ce" }}]
{more}
"""
