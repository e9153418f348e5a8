"""`batchyard job`: what an operator does to a job that AWS would do."""

import click

from batchyard.cli.instance import settle
from batchyard.cli.options import data_dir_option


@click.group()
def job() -> None:
    """Do to a job what AWS would do."""


@job.command()
@click.argument("job_id", metavar="JOB")
@data_dir_option
def interrupt(*, job_id: str, data_dir: str | None) -> None:
    """Reclaim the FARGATE_SPOT capacity under JOB (an id or an ARN): it gets SIGTERM at once.

    Its attempt fails with `Your Spot Task was interrupted.`; it is tried again by its retry rules.
    """
    settle(data_dir, lambda client: client.interrupt_job(jobId=job_id))
