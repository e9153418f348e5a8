"""How the demo looks: steps with their times, jobs as they move, tables at the end."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from batchyard.cli.demo.yard import Job

_STYLE_BY_STATUS = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "cyan", "STARTING": "cyan"}
_REFRESHES_PER_S = 8


class Step:
    """One line of the story, printed when the step is done."""

    text = ""


@contextmanager
def step(console: Console, name: str) -> Iterator[Step]:
    """Time a step; its text is set inside, and printed with the time it took."""
    begun_s = time.monotonic()
    current = Step()
    yield current
    took = f"[dim]({time.monotonic() - begun_s:.1f} s)[/]"
    console.print(f"[green]✓[/] [bold]{name:<8}[/] {escape(current.text)} {took}", soft_wrap=True)


class JobBoard:
    """Jobs as they move: a table kept up to date on a terminal, else a line for each that ended."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=_REFRESHES_PER_S)
        self._told: set[str] = set()

    def __enter__(self) -> "JobBoard":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def show(self, jobs: Sequence[Job]) -> None:
        """Show the jobs as they are now."""
        if self._console.is_terminal:
            self._live.update(job_table(jobs))
            return
        for job in jobs:
            if "stoppedAt" in job and job["jobId"] not in self._told:
                self._told.add(job["jobId"])
                line = f"  {job['jobName']:<16} {job['status']:<10} waited {_waited(job)}"
                self._console.print(f"{line}, ran {_ran(job)}", soft_wrap=True)


def job_table(jobs: Sequence[Job]) -> Table:
    """Lay out jobs with their status and times."""
    table = Table("job", "status", "waited", "ran", box=None, padding=(0, 3, 0, 2))
    for job in jobs:
        style = _STYLE_BY_STATUS.get(job["status"], "yellow")
        table.add_row(job["jobName"], f"[{style}]{job['status']}[/]", _waited(job), _ran(job))
    return table


def count_table(lines: Sequence[str]) -> Table:
    """Lay out what the merging job printed: a count, a tab, a word in each line."""
    table = Table("word", box=None, padding=(0, 3, 0, 2))
    table.add_column("times", justify="right")
    table.add_column("")
    counts = [(int(number), word) for number, _, word in (line.partition("\t") for line in lines)]
    most = max((count for count, _ in counts), default=1)
    for count, word in counts:
        table.add_row(word, f"{count:,}", "█" * max(1, round(40 * count / most)))
    return table


def print_log(console: Console, events: Sequence[Job]) -> None:
    """Print log events with their times, as `aws logs` would show them."""
    for event in events:
        at = datetime.fromtimestamp(event["timestamp"] / 1000, UTC).isoformat("T", "milliseconds")
        console.print(f"  [dim]{at}[/]  {escape(event['message'])}", soft_wrap=True)


def _waited(job: Job) -> str:
    return _seconds(job["createdAt"], job.get("startedAt") or job.get("stoppedAt"))


def _ran(job: Job) -> str:
    return _seconds(job.get("startedAt"), job.get("stoppedAt"))


def _seconds(from_ms: int | None, to_ms: int | None) -> str:
    if from_ms is None:
        return ""
    until_ms = time.time() * 1000 if to_ms is None else to_ms
    return f"{max(0.0, until_ms - from_ms) / 1000:.2f} s"
