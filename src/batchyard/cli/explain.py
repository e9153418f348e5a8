"""`batchyard explain`: why a job waits, and what would start it."""

import json
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings


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
    for change in answer.get("changes", []):
        click.echo(f"  > {change['text']}")


def _print_reason(reason: dict[str, Any], depth: int) -> None:
    click.echo(f"{'  ' * depth}- {reason['text']}")
    for detail in reason.get("details", []):
        _print_reason(detail, depth + 1)
