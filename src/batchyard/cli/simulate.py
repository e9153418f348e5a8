"""`batchyard simulate`: a trace of jobs under one configuration or several, side by side."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic

import click
import msgspec

from batchyard.cli.options import data_dir_option
from batchyard.cli.simulate_source import read_file, read_server
from batchyard.cli.tables import print_table
from batchyard.sim.config import BadConfig, Config, read_config
from batchyard.sim.csv_trace import NEEDED_TEXT, OTHER_COLUMNS
from batchyard.sim.job_list import JobList
from batchyard.sim.reading import READERS
from batchyard.sim.report import Comparison, Failures, NeverRuns, RunReport
from batchyard.sim.simulation import Progress, simulate
from batchyard.sim.trace import BadTrace, Trace

_MS_PER_S = 1000
_S_PER_MINUTE = 60
_S_PER_HOUR = 3600
_S_PER_DAY = 86_400
#: Between two lines of progress; short runs show none.
_PROGRESS_S = 2.0
_SHARES_SHOWN_MAX = 20


@click.command(
    "simulate",
    epilog=f"A CSV trace has a head. Its columns are {NEEDED_TEXT}; and if need be"
    f" {', '.join(OTHER_COLUMNS)}. What they mean, and what a configuration looks like, is in"
    " docs/simulate.md.",
)
@click.argument(
    "trace_path",
    metavar="[TRACE]",
    required=False,
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option("--history", "is_history", is_flag=True, help="Take the jobs of a server of ours.")
@data_dir_option
@click.option("--db", metavar="URL", help="The server's: sqlite:///… or postgresql://….")
@click.option(
    "--config",
    "config_paths",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Environments, instances, queues, policies and quota shares in TOML; give it again for"
    " each one to compare.",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(sorted(READERS)),
    help="Of TRACE, where its name does not end with it.",
)
@click.option(
    "--seed", type=int, default=0, help="Of Spot interruptions: equal seeds give equal bytes."
)
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
@click.option(
    "--html",
    "html_path",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write a page with tables and charts as well.",
)
@click.option(
    "--jobs",
    "jobs_path",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write when each job came, started and ended, as CSV.",
)
def simulate_command(  # noqa: PLR0913 -- one parameter an option
    *,
    trace_path: Path | None,
    is_history: bool,
    data_dir: str | None,
    db: str | None,
    config_paths: Sequence[Path],
    kind: str | None,
    seed: int,
    is_json: bool,
    html_path: Path | None,
    jobs_path: Path | None,
) -> None:
    """Run the jobs of TRACE through the real scheduler in virtual time.

    TRACE is SWF, CSV or WfFormat, gzip too; with --history it is what a server has kept.
    """
    if (trace_path is None) is not is_history:
        raise click.UsageError("give either TRACE or --history")
    try:
        configs = [read_config(path) for path in config_paths]
        trace, default = (
            read_server(data_dir, db) if trace_path is None else read_file(trace_path, kind)
        )
        # How a server is set up is what others are compared with.
        chosen = [default, *configs] if is_history or not configs else configs
        with _job_list(jobs_path) as jobs:
            found = _compare(trace, chosen, seed, jobs)
    except (BadConfig, BadTrace) as error:
        raise click.ClickException(str(error)) from error
    if html_path is not None:
        _write_page(html_path, found)
    if is_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        show(found)


def _write_page(path: Path, found: Comparison) -> None:
    from batchyard.sim.page import page_of  # drawing takes longer to import than all else

    try:
        path.write_text(page_of(found, rows_of(found)), encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _job_list(path: Path | None) -> Iterator[JobList | None]:
    """Open the file before anything runs: where none can be written, nobody waits for it."""
    if path is None:
        yield None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            yield JobList(file)
    except OSError as error:
        raise click.ClickException(f"cannot write {path}: {error.strerror}") from error


def _compare(
    trace: Trace, configs: Sequence[Config], seed: int, jobs: JobList | None
) -> Comparison:
    runs = tuple(
        simulate(
            trace,
            config,
            seed=seed,
            progress=_progress_of(config.name),
            keep=None if jobs is None else partial(jobs.add, config.name),
        )
        for config in configs
    )
    about = (f"{config.name}: {note}" for config in configs for note in config.notes)
    notes = (*trace.notes, *about)
    return Comparison(trace=trace.name, began_ms=trace.began_ms, notes=notes, runs=runs)


def _progress_of(name: str) -> Progress:
    """Tell on stderr now and then how far a long run is."""
    told_s = monotonic()

    def tell(over: int, count: int, now_ms: int) -> None:
        nonlocal told_s
        if monotonic() - told_s < _PROGRESS_S:
            return
        told_s = monotonic()
        text = f"{name}: {over:,} of {count:,} jobs are over after {duration(now_ms)}"
        print(text, file=sys.stderr, flush=True)

    return tell


def show(found: Comparison) -> None:
    """Print the tables."""
    for note in found.notes:
        click.echo(f"{found.trace}: {note}")
    rows = [(label, *figures) for label, figures in rows_of(found)]
    print_table((found.trace, *(run.config for run in found.runs)), rows)
    for run in found.runs:
        _show_cost(run)
        _show_shares(run)
        for failed in run.failures:
            _tell(f"\n{run.config}: {failed.job_count:,} FAILED", failed)
        for left in run.never_runs:
            _tell(f"\n{run.config}: {left.job_count:,} of the jobs never run", left)


def _tell(what: str, why: Failures | NeverRuns) -> None:
    click.echo(f"{what}: {why.reason} (for example {', '.join(why.examples)})")


def rows_of(found: Comparison) -> list[tuple[str, list[str]]]:
    """Spell the figures of every configuration, by figure."""
    return [(label, [figure(run) for run in found.runs]) for label, figure in _FIGURES]


def _show_cost(run: RunReport) -> None:
    if not run.cost:
        return
    click.echo(f"\n{run.config}: cost")
    print_table(
        ("environment", "purchase", "type", "count", "hours", "USD"),
        [
            (
                line.compute_environment,
                line.purchase,
                line.instance_type,
                f"{line.count:,}",
                f"{line.hours:,.1f}",
                "unknown" if line.usd is None else f"{line.usd:,.2f}",
            )
            for line in run.cost
        ],
    )


def _show_shares(run: RunReport) -> None:
    shares = run.fairness.shares
    if len(shares) <= 1:
        return
    click.echo(f"\n{run.config}: shares, by use")
    ordered = sorted(shares, key=lambda share: -share.used_vcpu_seconds)
    print_table(
        ("share", "weight", "jobs", "vCPU h", "vCPU h contended", "due", "mean wait"),
        [
            (
                share.share_identifier,
                f"{share.weight_factor:g}",
                f"{share.job_count:,}",
                f"{share.used_vcpu_seconds / _S_PER_HOUR:,.1f}",
                f"{share.contended_vcpu_seconds / _S_PER_HOUR:,.1f}",
                f"{share.due_vcpu_seconds / _S_PER_HOUR:,.1f}",
                duration(share.wait_ms.mean),
            )
            for share in ordered[:_SHARES_SHOWN_MAX]
        ],
    )
    if len(ordered) > _SHARES_SHOWN_MAX:
        click.echo(f"… and {len(ordered) - _SHARES_SHOWN_MAX} more (--json has all)")


def duration(ms: float) -> str:
    """Spell a duration: two figures of it."""
    seconds = ms / _MS_PER_S
    if seconds < _S_PER_MINUTE:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < _S_PER_HOUR:
        return f"{whole // _S_PER_MINUTE} min {whole % _S_PER_MINUTE} s"
    if whole < _S_PER_DAY:
        return f"{whole // _S_PER_HOUR} h {whole % _S_PER_HOUR // _S_PER_MINUTE} min"
    return f"{whole // _S_PER_DAY} d {whole % _S_PER_DAY // _S_PER_HOUR} h"


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _cost(run: RunReport) -> str:
    is_unknown = any(line.usd is None for line in run.cost)
    return f"{run.cost_usd:,.2f}{' + unknown' if is_unknown else ''}"


def _statuses(run: RunReport) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in run.job_count_by_status.items())


_FIGURES: Sequence[tuple[str, Callable[[RunReport], str]]] = (
    ("jobs", lambda run: f"{run.job_count:,}"),
    ("by status", _statuses),
    ("attempts", lambda run: f"{run.attempt_count:,}"),
    ("makespan", lambda run: duration(run.makespan_ms)),
    ("wait, mean", lambda run: duration(run.wait_ms.mean)),
    ("wait, median", lambda run: duration(run.wait_ms.median)),
    ("wait, p90", lambda run: duration(run.wait_ms.p90)),
    ("wait, p99", lambda run: duration(run.wait_ms.p99)),
    ("wait, max", lambda run: duration(run.wait_ms.max)),
    ("bounded slowdown, mean", lambda run: f"{run.bounded_slowdown.mean:,.2f}"),
    ("bounded slowdown, p90", lambda run: f"{run.bounded_slowdown.p90:,.2f}"),
    ("utilisation of maximum", lambda run: _percent(run.utilisation.of_max)),
    ("utilisation of launched", lambda run: _percent(run.utilisation.of_launched)),
    ("fairness (Jain)", lambda run: f"{run.fairness.jain_index:.3f}"),
    ("most waiting", lambda run: f"{max((p.waiting for p in run.over_time), default=0):,.0f}"),
    ("Spot interruptions", lambda run: f"{run.spot_interruption_count:,}"),
    ("preemptions", lambda run: f"{run.preemption_count:,}"),
    ("cost, USD", _cost),
)
