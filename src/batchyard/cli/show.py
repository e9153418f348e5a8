"""`batchyard status` and `jobs`: what is there, on one screen."""

from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from batchyard.cli.client import client_of, pages, server_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.cli.tables import print_table
from batchyard.model.status import CONTAINER_JOB_STATUSES, JobStatus

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
    services = list(pages(client, "describe_service_environments", "serviceEnvironments"))
    if services:
        click.echo()
        print_table(
            ("SERVICE ENVIRONMENT", "LIMITS", "STATE", "STATUS"),
            (
                (
                    each["serviceEnvironmentName"],
                    ", ".join(
                        f"{limit['maxCapacity']} {limit['capacityUnit']}"
                        for limit in each["capacityLimits"]
                    ),
                    each["state"],
                    each["status"],
                )
                for each in services
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
        *(_count(client, queue, status) for status in JobStatus),
    ]


def _count(client: Any, queue: dict[str, Any], status: JobStatus) -> str:
    """Count the jobs of a queue in a status as far as one page tells: a long queue is long."""
    if status not in CONTAINER_JOB_STATUSES and not _has_service_jobs(queue):
        return "-"
    answer = getattr(client, _operation_of(queue))(
        jobQueue=queue["jobQueueArn"], jobStatus=status.value, maxResults=_COUNTED_MAX
    )
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
    named = {"jobQueues": [queue]} if queue else {}
    queues = list(pages(client, "describe_job_queues", "jobQueues", **named))
    if queue and not queues:
        raise click.ClickException(f"there is no job queue {queue}")
    found: list[tuple[str, dict[str, Any]]] = []
    for each in queues:
        jobs_of_queue = (
            job for job in _jobs_of(client, each) if not wanted or job["status"] in wanted
        )
        found += [(each["jobQueueName"], job) for job in islice(jobs_of_queue, limit)]
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


def _jobs_of(client: Any, queue: dict[str, Any]) -> Any:
    """Yield the jobs of a queue in every status, newest first."""
    everything = [{"name": "AFTER_CREATED_AT", "values": ["0"]}]
    arn, operation = queue["jobQueueArn"], _operation_of(queue)
    return pages(client, operation, "jobSummaryList", jobQueue=arn, filters=everything)


def _has_service_jobs(queue: dict[str, Any]) -> bool:
    return bool(queue.get("jobQueueType") == "SAGEMAKER_TRAINING")


def _operation_of(queue: dict[str, Any]) -> str:
    """Name what lists the jobs of a queue."""
    return "list_service_jobs" if _has_service_jobs(queue) else "list_jobs"


def _time_of_day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime("%H:%M:%S")


def _duration(job: dict[str, Any]) -> str:
    if "startedAt" not in job or "stoppedAt" not in job:
        return ""
    return f"{(job['stoppedAt'] - job['startedAt']) / 1000:.1f} s"
