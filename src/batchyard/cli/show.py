"""`batchyard status` and `jobs`: what is there, on one screen."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from batchyard.cli.client import client_of, pages, server_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.model.status import JobStatus

_STYLE_BY_STATUS = {"SUCCEEDED": "green", "FAILED": "red", "RUNNING": "cyan", "VALID": "green"}
_SHOWN_MAX_DEFAULT = 50


@click.command()
@data_dir_option
def status(*, data_dir: str | None) -> None:
    """Show the server, its compute environments, queues and jobs by status."""
    settings = read_settings({"data_dir": data_dir})
    server = server_of(settings)
    client = client_of(settings, "batch")
    console = Console()
    console.print(f"server   {server.endpoint}  (pid {server.pid}, region {server.region})")
    environments = Table("compute environment", "type", "maxvCpus", "state", "status", "reason")
    for each in pages(client, "describe_compute_environments", "computeEnvironments"):
        resources = each.get("computeResources", {})
        environments.add_row(
            each["computeEnvironmentName"],
            resources.get("type", ""),
            str(resources.get("maxvCpus", "")),
            each["state"],
            _coloured(each["status"]),
            each.get("statusReason", ""),
        )
    console.print(environments)
    queues = Table("job queue", "priority", "state", "status", *(each.value for each in JobStatus))
    for each in pages(client, "describe_job_queues", "jobQueues"):
        counts = Counter(job["status"] for job in _jobs_of(client, each["jobQueueArn"]))
        queues.add_row(
            each["jobQueueName"],
            str(each["priority"]),
            each["state"],
            _coloured(each["status"]),
            *(str(counts.get(status.value, "·")) for status in JobStatus),
        )
    console.print(queues)


@click.command()
@data_dir_option
@click.option("--queue", "-q", help="Only this job queue.")
@click.option(
    "--status", "-s", "wanted", type=click.Choice([each.value for each in JobStatus]), multiple=True
)
@click.option(
    "--limit", "-n", default=_SHOWN_MAX_DEFAULT, show_default=True, help="At most this many."
)
def jobs(*, data_dir: str | None, queue: str | None, wanted: tuple[str, ...], limit: int) -> None:
    """List jobs, newest first."""
    client = client_of(read_settings({"data_dir": data_dir}), "batch")
    queues = (
        [queue]
        if queue
        else [each["jobQueueArn"] for each in pages(client, "describe_job_queues", "jobQueues")]
    )
    found: list[tuple[str, dict[str, Any]]] = []
    for each in queues:
        for job in _jobs_of(client, each):
            if not wanted or job["status"] in wanted:
                found.append((each.rsplit("/", 1)[-1], job))
            if len(found) >= limit * len(queues):
                break
    found.sort(key=lambda pair: pair[1]["createdAt"], reverse=True)
    table = Table("job id", "name", "queue", "status", "created", "ran", "reason")
    for name, job in found[:limit]:
        table.add_row(
            job["jobId"],
            job["jobName"],
            name,
            _coloured(job["status"]),
            _time_of_day(job["createdAt"]),
            _duration(job),
            job.get("statusReason", ""),
        )
    Console().print(table)


def _jobs_of(client: Any, queue: str) -> Any:
    """Yield the jobs of a queue in every status, newest first."""
    everything = [{"name": "AFTER_CREATED_AT", "values": ["0"]}]
    return pages(client, "list_jobs", "jobSummaryList", jobQueue=queue, filters=everything)


def _coloured(text: str) -> str:
    style = _STYLE_BY_STATUS.get(text)
    return f"[{style}]{text}[/]" if style else text


def _time_of_day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S")


def _duration(job: dict[str, Any]) -> str:
    if "startedAt" not in job or "stoppedAt" not in job:
        return ""
    return f"{(job['stoppedAt'] - job['startedAt']) / 1000:.1f} s"
