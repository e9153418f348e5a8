"""`batchyard replay`: the server's recorded decisions, made again and compared."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from batchyard.cli.options import data_dir_option
from batchyard.cli.replay_gains import show_gains
from batchyard.cli.settings import read_settings
from batchyard.cli.simulate_source import read_server
from batchyard.cli.tables import print_table
from batchyard.engine.recording import VERSION
from batchyard.sim.config import BadConfig, read_config
from batchyard.sim.gains import compare_schedules
from batchyard.sim.replay import Decision, Difference, SpanReplay, replay_span
from batchyard.sim.trace import BadTrace
from batchyard.store import Connection, StoreTrouble
from batchyard.store.reading import open_for_reading
from batchyard.store.recordings import Span, read_spans


@click.command()
@data_dir_option
@click.option("--db", metavar="URL", help="sqlite:///… or postgresql://… [BATCHYARD_DB].")
@click.option(
    "--config",
    "other_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Show also who would gain and lose under this configuration; see `batchyard simulate`.",
)
@click.option(
    "--span", "chosen", metavar="N", help="Only this recording, such as 3.2, or all of server 3."
)
@click.option("--decisions", is_flag=True, help="Show which job started when, and where.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(  # noqa: PLR0913 -- one parameter an option
    *,
    data_dir: str | None,
    db: str | None,
    other_path: Path | None,
    chosen: str | None,
    decisions: bool,
    as_json: bool,
) -> None:
    """Decide again what the server decided, from what it recorded, and compare.

    Works beside a running server, and without one. Ends with status 1 if anything differs, or
    cannot be read.
    """
    settings = read_settings({"data_dir": data_dir, "db": db})
    gains = None
    try:
        with open_for_reading(settings.db_url) as conn:
            found = [replay_span(conn, span) for span in _spans(conn, chosen)]
        if other_path is not None:
            other = read_config(other_path)
            gains = compare_schedules(*read_server(data_dir, db), other)
    except (StoreTrouble, BadConfig, BadTrace) as trouble:
        raise click.ClickException(str(trouble)) from trouble
    if as_json:
        click.echo(msgspec.json.encode({"recordings": found, "gains": gains}))
    else:
        _show(found, with_decisions=decisions)
        if gains is not None:
            show_gains(gains, with_all=decisions)
    if _is_bad(found):
        raise SystemExit(1)


def _is_bad(found: Sequence[SpanReplay]) -> bool:
    """Tell whether anything went wrong: what was recorded before an update may be passed over."""
    read = [each for each in found if each.other_version is None]
    return not read or any(not each.is_identical for each in read)


def _spans(conn: Connection, chosen: str | None) -> Sequence[Span]:
    spans = read_spans(conn)
    if not spans:
        raise click.ClickException(
            "nothing is recorded: see the setting recording_days; a recording begins when the"
            " server starts"
        )
    wanted = [span for span in spans if chosen in (None, str(span.epoch), _number(span))]
    if not wanted:
        known = ", ".join(map(_number, spans))
        raise click.UsageError(f"there is no recording {chosen}, but {known}")
    return wanted


def _number(span: Span | SpanReplay) -> str:
    """Name a recording: which time a server was in charge, and which of that time's."""
    return f"{span.epoch}.{span.part}"


def _show(found: Iterable[SpanReplay], *, with_decisions: bool) -> None:
    for each in found:
        click.echo(f"recording {_number(each)}: {_summary(each)}")
        if each.was_cut:
            click.echo(
                "  it reached recording_mib_max then, and so much was live that no other one began"
            )
        if with_decisions and each.decisions:
            print_table(
                ("STARTED", "JOB", "ATTEMPT", "ENVIRONMENT", "PLACE"),
                [_row(decision) for decision in each.decisions],
            )
        if each.difference is not None:
            _show_difference(each.difference)


def _summary(found: SpanReplay) -> str:
    if found.other_version is not None:
        return (
            f"NOT REPLAYED: it has version {found.other_version}, and this batchyard reads"
            f" {VERSION}; the batchyard that recorded it can replay it"
        )
    verdict = "identical" if found.is_identical else "DIFFERENT"
    if found.damage is not None:
        verdict = f"identical, then DAMAGED: {found.damage}"
    return (
        f"{_time(found.began_ms)} to {_time(found.ended_ms)},"
        f" {found.turn_count} turns, {found.event_count} events,"
        f" {len(found.decisions)} attempts started: {verdict}"
    )


def _row(decision: Decision) -> tuple[Any, ...]:
    return (
        _time(decision.at_ms),
        decision.job_id,
        str(decision.attempt_number),
        decision.environment_arn.rpartition("/")[2],
        decision.instance_id or decision.host_id,
    )


def _show_difference(difference: Difference) -> None:
    click.echo(f"  first difference at {_time(difference.at_ms)}")
    if difference.broken is not None:
        click.echo(f"  the core refuses what happened: {difference.broken}")
        return
    click.echo(f"  after {difference.equal_count} equal events of that turn")
    click.echo(f"  recorded: {difference.recorded or 'nothing more'}")
    click.echo(f"  replayed: {difference.replayed or 'nothing more'}")


def _time(at_ms: int) -> str:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%d %H:%M:%S.") + f"{at_ms % 1000:03}Z"
