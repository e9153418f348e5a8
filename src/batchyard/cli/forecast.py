"""`batchyard forecast`: when a job, or what waits in a queue, will start."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.cli.tables import print_table

_MILLI = 1000
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86_400


@click.command()
@click.argument("job", required=False)
@click.option("--queue", "-q", metavar="QUEUE", help="All that waits in this job queue.")
@click.option("--seed", type=int, default=0, help="Equal seeds and states give equal answers.")
@data_dir_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def forecast(
    *, job: str | None, queue: str | None, seed: int, data_dir: str | None, is_json: bool
) -> None:
    """Say when JOB (an id or an ARN) will start, or what waits in a queue.

    The real scheduler is run forward many times, over run times drawn from the past.
    """
    if (job is None) is (queue is None):
        raise click.UsageError("give a job, or a queue with --queue")
    client = client_of(read_settings({"data_dir": data_dir}), "batchyard")
    try:
        if job is not None:
            answer = client.get_job_forecast(jobId=job, seed=seed)
        else:
            name = (queue or "").rsplit("/", 1)[-1]
            answer = client.get_queue_forecast(jobQueue=name, seed=seed)
    except (client.exceptions.ClientException, client.exceptions.ServerException) as error:
        raise click.ClickException(error.response["Error"]["Message"]) from error
    if is_json:
        del answer["ResponseMetadata"]
        click.echo(json.dumps(answer, indent=2))
        return
    if job is not None:
        click.echo(f"{answer['jobId']} is {answer['status']}: {answer['summary']}")
        if "start" in answer:
            rows = [("starts", answer["start"])]
            _print_intervals([*rows, ("is over", answer["end"])] if "end" in answer else rows)
    else:
        click.echo(f"{name}: {answer['summary']}")
        if answer["waitingCount"]:
            named = [(each["jobId"], each["start"]) for each in answer["jobs"]]
            ends = [("all started", answer["allStarted"]), ("all ended", answer["allEnded"])]
            _print_intervals([*named, *ends])
    print_grounds(answer)
    if answer.get("stretch", {}).get("momentCount"):
        click.echo(f"  - {answer['stretch']['text']}")
    click.echo(f"  {answer['hitRate']['text']}")


def print_grounds(answer: dict[str, Any]) -> None:
    """Say what a look ahead rests on."""
    for each in answer.get("bases", []):
        click.echo(f"  - {each['text']}")
    if answer.get("runCount"):
        click.echo(f"  - {answer['runCount']} runs. {' '.join(answer['assumptions'])}")


def _print_intervals(rows: Iterable[tuple[str, dict[str, int]]]) -> None:
    print_table(
        ("WHAT", "P10", "P50", "P90"),
        (
            (what, *(time_of(each.get(name)) for name in ("p10", "p50", "p90")))
            for what, each in rows
        ),
    )


def time_of(at_ms: int | None) -> str:
    """Give a moment as people here read it; `-`: not known."""
    if at_ms is None:
        return "-"
    return datetime.fromtimestamp(at_ms / _MILLI, UTC).astimezone().strftime("%m-%d %H:%M:%S")


def span_of(ms: int | None) -> str:
    """Give a duration in two figures or so; `-`: not known."""
    if ms is None:
        return "-"
    seconds = ms / _MILLI
    if seconds < 2 * _MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds / _MINUTE_S:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / _HOUR_S:.1f} h"
    return f"{seconds / _DAY_S:.1f} d"
