"""`batchyard explain`: why a job waits, and what would start it."""

import json
from datetime import UTC, datetime
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings

_AHEAD_SHOWN_MAX = 5
#: Of these it can be said when they start.
_WAITING = ("PENDING", "RUNNABLE")
#: Such a job needs nothing but time.
_ON_ITS_WAY = frozenset(("INSTANCE_STARTING", "NOTHING"))
_TEXT_BY_RULE = {
    "QUEUE_PRIORITY": "its job queue has a higher priority",
    "QUEUES_IN_TURNS": "job queues of equal priority take turns",
    "SHARE": "its share came first: it had used less, or had capacity left",
    "SCHEDULING_PRIORITY": "it has a higher priority within the share",
    "RETRY": "it was tried again, which comes before what never ran",
    "ROOM_NOT_FOR_IT": "it took room that this job could not have used",
}


@click.command()
@click.argument("job")
@data_dir_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def explain(*, job: str, data_dir: str | None, is_json: bool) -> None:
    """Say why JOB (an id or an ARN) waits, and the smallest changes that would start it."""
    client = client_of(read_settings({"data_dir": data_dir}), "batchyard")
    try:
        answer = client.get_job_explanation(jobId=job)
    except client.exceptions.ClientException as error:
        raise click.ClickException(error.response["Error"]["Message"]) from error
    if is_json:
        del answer["ResponseMetadata"]
        click.echo(json.dumps(answer, indent=2))
        return
    click.echo(f"{answer['jobId']} is {answer['status']}: {answer['summary']}")
    for reason in answer.get("reasons", []):
        _print_reason(reason, depth=1)
    for each in answer.get("wentAhead", [])[:_AHEAD_SHOWN_MAX]:
        click.echo(f"  < {each['jobId']} went ahead: {_TEXT_BY_RULE[each['rule']]}.")
    if since_ms := answer.get("wentAheadSince"):
        since = datetime.fromtimestamp(since_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        click.echo(f"    (who went ahead is known since {since} UTC)")
    for change in answer.get("changes", []):
        click.echo(f"  > {change['text']}")
    if together := answer.get("together"):
        click.echo(f"  > {together['text']}")
    elif not answer.get("changes") and (hint := _hint_of(answer)):
        click.echo(f"  > {hint}")
    # It takes a moment: what is known already is shown before.
    if answer["status"] in _WAITING and (forecast := _forecast_of(client, job)):
        click.echo(f"  ~ {forecast}")


def _hint_of(answer: dict[str, Any]) -> str | None:
    """Say what to do where no change is told of; None: nothing, it is on its way."""
    causes = {each["cause"]: each for each in answer.get("reasons", [])}
    if answer["status"] != "RUNNABLE" or not _ON_ITS_WAY.isdisjoint(causes):
        return None
    if (turn := causes.get("TURN")) is not None:
        return f"What would start the first of them: batchyard explain {turn['subject']}"
    return "No change is known that would start it now."


def _forecast_of(client: Any, job: str) -> str | None:
    """Say when it starts; None: nobody can look ahead now, which keeps no explanation."""
    try:
        summary: str = client.get_job_forecast(jobId=job)["summary"]
    except (client.exceptions.ClientException, client.exceptions.ServerException):
        return None
    return summary


def _print_reason(reason: dict[str, Any], depth: int) -> None:
    click.echo(f"{'  ' * depth}- {reason['text']}")
    for detail in reason.get("details", []):
        _print_reason(detail, depth + 1)
