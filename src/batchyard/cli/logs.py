"""`batchyard logs`: what a job has written, and what it goes on writing."""

import time
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings

_POLL_S = 0.5
_FINISHED = ("SUCCEEDED", "FAILED")


@click.command()
@click.argument("job")
@data_dir_option
@click.option("--follow", "-f", is_flag=True, help="Go on until the job has ended.")
def logs(*, job: str, data_dir: str | None, follow: bool) -> None:
    """Print the output of JOB (an id or an ARN), every attempt after the other."""
    settings = read_settings({"data_dir": data_dir})
    batch, cloudwatch = client_of(settings, "batch"), client_of(settings, "logs")
    reader = _Reader(cloudwatch)
    told = ""
    while True:
        detail = _describe(batch, job)
        has_ended = detail["status"] in _FINISHED
        for stream in _streams(detail):
            reader.print_new(_group(detail), stream)
        if has_ended or not follow:
            break
        if detail["status"] != told:
            told = detail["status"]
            click.echo(f"({told}{_because(detail)})", err=True)
        time.sleep(_POLL_S)
    if follow or not reader.has_printed:
        click.echo(f"({detail['status']}{_because(detail)})", err=True)


class _Reader:
    """Reads streams on from where it stopped."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._token_by_stream: dict[str, str] = {}
        self.has_printed = False

    def print_new(self, group: str, stream: str) -> None:
        while True:
            request = {"logGroupName": group, "logStreamName": stream, "startFromHead": True}
            token = self._token_by_stream.get(stream)
            if token is not None:
                request["nextToken"] = token
            try:
                answer = self._client.get_log_events(**request)
            except self._client.exceptions.ResourceNotFoundException:
                return  # the container has not started yet
            for event in answer["events"]:
                click.echo(event["message"])
                self.has_printed = True
            self._token_by_stream[stream] = answer["nextForwardToken"]
            if answer["nextForwardToken"] == token:
                return


def _describe(client: Any, job: str) -> Any:
    found = client.describe_jobs(jobs=[job])["jobs"]
    if not found:
        raise click.ClickException(f"there is no job {job}")
    return found[0]


def _streams(detail: Any) -> list[str]:
    ended = [each["container"].get("logStreamName") for each in detail["attempts"]]
    live = detail.get("container", {}).get("logStreamName")
    return list(dict.fromkeys(each for each in [*ended, live] if each))


def _group(detail: Any) -> str:
    configuration = detail.get("container", {}).get("logConfiguration", {})
    return str(configuration.get("options", {}).get("awslogs-group", "/aws/batch/job"))


def _because(detail: Any) -> str:
    reason = detail.get("statusReason")
    cause = detail.get("container", {}).get("reason")
    return "".join(f": {text}" for text in (reason, cause) if text)
