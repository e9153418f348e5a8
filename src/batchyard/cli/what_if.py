"""`batchyard what-if`: what would come of a change, on what waits now."""

import json
from pathlib import Path
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.forecast import print_grounds, span_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.cli.tables import print_table
from batchyard.cli.what_if_changes import (
    environments_of,
    jobs_of,
    machines_of,
    queues_of,
    service_environments_of,
)


@click.command("what-if")
@click.option("--max-vcpus", "maxima", metavar="CE=N", multiple=True, help="Another maxvCpus.")
@click.option(
    "--max-instances",
    "instance_limits",
    metavar="SE:UNIT=N",
    multiple=True,
    help="Another maxCapacity of a service environment: of an instance type, or NUM_INSTANCES.",
)
@click.option(
    "--machine",
    "machines",
    metavar="[HOST:]WHAT=N",
    multiple=True,
    help="Another machine: vcpus, memory (MiB) or gpus.",
)
@click.option(
    "--priority", "priorities", metavar="QUEUE=N", multiple=True, help="Another queue priority."
)
@click.option(
    "--weight",
    "weights",
    metavar="QUEUE/SHARE=W",
    multiple=True,
    help="Another weight factor of a share; less is more, as on AWS.",
)
@click.option(
    "--quota",
    "quotas",
    metavar="QUEUE/SHARE:WHAT=VALUE",
    multiple=True,
    help="Other terms of a quota share. WHAT is a capacity unit (VCPU, MEMORY_MIB, GPU, or an"
    " instance type such as ml.m5.large), strategy (RESERVE, LEND, LEND_AND_BORROW), borrowLimit"
    " (percent; -1 for any) or inSharePreemption (ENABLED, DISABLED).",
)
@click.option(
    "--policy",
    "policies",
    metavar="QUEUE=FIFO|FAIR|FILE",
    multiple=True,
    help="Another order: first in, first out; equal shares; or a fairsharePolicy as a JSON file."
    " A queue with quota shares has none then.",
)
@click.option(
    "--submit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Jobs that would come in: a CSV file, as `batchyard simulate` reads it. Each needs a"
    " queue; submit_s counts from now.",
)
@click.option("--seed", type=int, default=0, help="Equal seeds and states give equal answers.")
@data_dir_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def what_if(  # noqa: PLR0913 -- one a change
    *,
    maxima: tuple[str, ...],
    instance_limits: tuple[str, ...],
    machines: tuple[str, ...],
    priorities: tuple[str, ...],
    weights: tuple[str, ...],
    quotas: tuple[str, ...],
    policies: tuple[str, ...],
    submit: Path | None,
    seed: int,
    data_dir: str | None,
    is_json: bool,
) -> None:
    """Compare the future of all that waits with the one it would have. Changes nothing.

    Every change can be given again, and all that are given count together.
    """
    request: dict[str, Any] = {
        "computeEnvironments": environments_of(maxima),
        "serviceEnvironments": service_environments_of(instance_limits),
        "machines": machines_of(machines),
        "jobQueues": queues_of(priorities, weights, quotas, policies),
        "jobs": [] if submit is None else list(jobs_of(submit)),
    }
    client = client_of(read_settings({"data_dir": data_dir}), "batchyard")
    try:
        answer = client.what_if(**{name: each for name, each in request.items() if each}, seed=seed)
    except (client.exceptions.ClientException, client.exceptions.ServerException) as error:
        raise click.ClickException(error.response["Error"]["Message"]) from error
    del answer["ResponseMetadata"]
    if is_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        _print(answer)


def _print(answer: dict[str, Any]) -> None:
    groups, at_ms = answer["groups"], answer["at"]
    is_any_preempted = any(_preempted(each) for each in groups)
    columns = ["QUEUE", "SHARE", "JOBS"]
    columns += ["WAIT P50", "", "WAIT P90", "", "ALL DONE IN", "", "GAIN", "LOSE"]
    click.echo(answer["summary"])
    print_table(
        [*columns, "PREEMPTED", ""] if is_any_preempted else columns,
        (
            [*_row(each, at_ms), *(_preempted(each) or ("0", "> 0") if is_any_preempted else ())]
            for each in groups
        ),
    )
    for each in groups:
        if each["submittedCount"]:
            click.echo(f"  + {_submitted(each, at_ms)}")
    for sign, key in (("<", "gainers"), (">", "losers")):
        for job in answer[key]:
            click.echo(f"  {sign} {job['jobId']} in {job['jobQueue']}: {_change_of(job)}")
    for job in answer["preemptions"]:
        click.echo(f"  ! {job['jobId']} in {job['jobQueue']}: {_preemption_of(job, at_ms)}")
    print_grounds(answer)


def _preempted(each: dict[str, Any]) -> tuple[str, str] | None:
    """Tell how many of a group are stopped for others; None: nobody in either future."""
    before, after = each["preemptedBeforeCount"], each["preemptedAfterCount"]
    return (str(before), f"> {after}") if before or after else None


def _submitted(each: dict[str, Any], at_ms: int) -> str:
    look = each["submitted"]
    place = "/".join(each[key] for key in ("jobQueue", "shareIdentifier") if key in each)
    text = (
        f"{each['submittedCount']} submitted to {place}: middle wait"
        f" {span_of(look.get('waitP50Ms'))}, all done in {_done(look, at_ms)}"
    )
    return f"{text}, {each['failingCount']} FAILED" if each["failingCount"] else text


def _preemption_of(job: dict[str, Any], at_ms: int) -> str:
    if "after" in job:
        return f"is stopped in {span_of(job['after'] - at_ms)} for another job"
    return f"is not stopped for another job, as it is otherwise in {span_of(job['before'] - at_ms)}"


def _change_of(job: dict[str, Any]) -> str:
    later_ms: int | None = job.get("laterMs")
    if later_ms is not None:
        return f"{span_of(abs(later_ms))} {'earlier' if later_ms < 0 else 'later'}"
    if "after" in job:
        return "starts, and would not as things are"
    return "does not start any more, as far as was looked"


def _row(each: dict[str, Any], at_ms: int) -> list[str]:
    before, after = each["before"], each["after"]
    return [
        each["jobQueue"],
        each.get("shareIdentifier", ""),
        str(each["waitingCount"]),
        span_of(before.get("waitP50Ms")),
        f"> {span_of(after.get('waitP50Ms'))}",
        span_of(before.get("waitP90Ms")),
        f"> {span_of(after.get('waitP90Ms'))}",
        _done(before, at_ms),
        f"> {_done(after, at_ms)}",
        str(each["gainingCount"]),
        str(each["losingCount"]),
    ]


def _done(look: dict[str, Any], at_ms: int) -> str:
    p50 = look["allEnded"].get("p50")
    return span_of(None if p50 is None else p50 - at_ms)
