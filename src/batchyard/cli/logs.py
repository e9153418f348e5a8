"""`batchyard logs`: what a job has written, and what it goes on writing."""

import time
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.model.training_names import TRAINING_LOG_GROUP

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
        for group, stream in _streams(cloudwatch, detail):
            reader.print_new(group, stream)
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
    if found:
        return found[0]
    try:
        return client.describe_service_job(jobId=job)
    except client.exceptions.ClientException as error:
        raise click.ClickException(f"there is no job {job}") from error


def _streams(cloudwatch: Any, detail: Any) -> list[tuple[str, str]]:
    """Give group and stream of each container that printed, in the order of the attempts."""
    if "serviceJobType" in detail:
        return [(TRAINING_LOG_GROUP, each) for each in _streams_of_training(cloudwatch, detail)]
    ended = [each["container"].get("logStreamName") for each in detail["attempts"]]
    live = detail.get("container", {}).get("logStreamName")
    return [(_group(detail), each) for each in dict.fromkeys([*ended, live]) if each]


def _streams_of_training(cloudwatch: Any, detail: Any) -> list[str]:
    """Give the streams of the instances of each attempt of a service job."""
    attempts = [*detail["attempts"], detail.get("latestAttempt", {})]
    arns = [each["serviceResourceId"]["value"] for each in attempts if "serviceResourceId" in each]
    found: list[str] = []
    for arn in dict.fromkeys(arns):
        prefix = f"{arn.rsplit('/', 1)[-1]}/"
        try:
            answer = cloudwatch.describe_log_streams(
                logGroupName=TRAINING_LOG_GROUP, logStreamNamePrefix=prefix
            )
        except cloudwatch.exceptions.ResourceNotFoundException:
            continue  # None has printed yet.
        found += [each["logStreamName"] for each in answer["logStreams"]]
    return found


def _group(detail: Any) -> str:
    configuration = detail.get("container", {}).get("logConfiguration", {})
    return str(configuration.get("options", {}).get("awslogs-group", "/aws/batch/job"))


def _because(detail: Any) -> str:
    reason = detail.get("statusReason")
    cause = detail.get("container", {}).get("reason")
    return "".join(f": {text}" for text in (reason, cause) if text)
