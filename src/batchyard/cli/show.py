"""`batchyard status` and `jobs`: what is there, on one screen."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from batchyard.cli.client import client_of, pages, server_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.cli.tables import print_table
from batchyard.model.status import JobStatus

_SHOWN_MAX_DEFAULT = 50
#: One page of ListJobs.
_COUNTED_MAX = 1000


@click.command()
@data_dir_option
def status(*, data_dir: str | None) -> None:
    """Show the server, its compute environments, queues and jobs by status."""
    settings = read_settings({"data_dir": data_dir})
    server = server_of(settings)
    client = client_of(settings, "batch")
    click.echo(f"server {server.endpoint} (pid {server.pid}, region {server.region})\n")
    environments = pages(client, "describe_compute_environments", "computeEnvironments")
    print_table(
        ("COMPUTE ENVIRONMENT", "TYPE", "MAXVCPUS", "STATE", "STATUS", "REASON"),
        (
            (
                each["computeEnvironmentName"],
                each.get("computeResources", {}).get("type", each["type"]),
                str(each.get("computeResources", {}).get("maxvCpus", "-")),
                each["state"],
                each["status"],
                each.get("statusReason", ""),
            )
            for each in environments
        ),
    )
    click.echo()
    queues = pages(client, "describe_job_queues", "jobQueues")
    print_table(
        ("JOB QUEUE", "PRIORITY", "STATE", "STATUS", *(each.value for each in JobStatus)),
        (_queue_row(client, each) for each in queues),
    )


def _queue_row(client: Any, queue: dict[str, Any]) -> list[str]:
    return [
        queue["jobQueueName"],
        str(queue["priority"]),
        queue["state"],
        queue["status"],
        *(_count(client, queue["jobQueueArn"], status) for status in JobStatus),
    ]


def _count(client: Any, queue: str, status: JobStatus) -> str:
    """Count the jobs of a queue in a status as far as one page tells: a long queue is long."""
    answer = client.list_jobs(jobQueue=queue, jobStatus=status.value, maxResults=_COUNTED_MAX)
    count = len(answer["jobSummaryList"])
    if "nextToken" in answer:
        return f"{count}+"
    return str(count or "-")


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
        jobs_of_queue = (
            job for job in _jobs_of(client, each) if not wanted or job["status"] in wanted
        )
        found += [(each.rsplit("/", 1)[-1], job) for job in islice(jobs_of_queue, limit)]
    found.sort(key=lambda pair: pair[1]["createdAt"], reverse=True)
    print_table(
        ("JOB ID", "NAME", "QUEUE", "STATUS", "CREATED", "RAN", "REASON"),
        (
            (
                job["jobId"],
                job["jobName"],
                name,
                job["status"],
                _time_of_day(job["createdAt"]),
                _duration(job),
                job.get("statusReason", ""),
            )
            for name, job in found[:limit]
        ),
    )


def _jobs_of(client: Any, queue: str) -> Any:
    """Yield the jobs of a queue in every status, newest first."""
    everything = [{"name": "AFTER_CREATED_AT", "values": ["0"]}]
    return pages(client, "list_jobs", "jobSummaryList", jobQueue=queue, filters=everything)


def _time_of_day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S")


def _duration(job: dict[str, Any]) -> str:
    if "startedAt" not in job or "stoppedAt" not in job:
        return ""
    return f"{(job['stoppedAt'] - job['startedAt']) / 1000:.1f} s"
