"""`batchyard what-if`: what would come of a change, on what waits now."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.forecast import print_grounds, span_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.cli.tables import print_table
from batchyard.sim.csv_trace import parse_csv
from batchyard.sim.trace import BadTrace

_MILLI = 1000
_MACHINE_MEMBERS = {"vcpus": "vcpus", "memory": "memoryMib", "gpus": "gpus"}


@click.command("what-if")
@click.option("--max-vcpus", "maxima", metavar="CE=N", multiple=True, help="Another maxvCpus.")
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
    "--policy",
    "policies",
    metavar="QUEUE=FIFO|FAIR|FILE",
    multiple=True,
    help="Another order: first in, first out; equal shares; or a fairsharePolicy as a JSON file.",
)
@click.option(
    "--submit",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Jobs that would come in: a CSV file, as `batchyard simulate` reads it.",
)
@click.option("--seed", type=int, default=0, help="Equal seeds and states give equal answers.")
@data_dir_option
@click.option("--json", "is_json", is_flag=True, help="Print everything as JSON.")
def what_if(  # noqa: PLR0913 -- one a change
    *,
    maxima: tuple[str, ...],
    machines: tuple[str, ...],
    priorities: tuple[str, ...],
    weights: tuple[str, ...],
    policies: tuple[str, ...],
    submit: Path | None,
    seed: int,
    data_dir: str | None,
    is_json: bool,
) -> None:
    """Compare the future of all that waits with the one it would have. Changes nothing."""
    request: dict[str, Any] = {
        "computeEnvironments": [
            {"computeEnvironment": name, "maxvCpus": _whole(text, number)}
            for text in maxima
            for name, number in [_split(text)]
        ],
        "machines": _machines(machines),
        "jobQueues": _queues(priorities, weights, policies),
        "jobs": [] if submit is None else list(_jobs(submit)),
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


def _split(text: str) -> tuple[str, str]:
    name, equals, value = text.rpartition("=")
    if not equals or not name or not value:
        raise click.UsageError(f"{text}: expected NAME=VALUE")
    return name, value


def _whole(text: str, number: str) -> int:
    try:
        return int(number)
    except ValueError:
        raise click.UsageError(f"{text}: {number} is not a whole number") from None


def _machines(given: tuple[str, ...]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, number = _split(text)
        host, _, what = name.rpartition(":")
        if what not in _MACHINE_MEMBERS:
            raise click.UsageError(f"{text}: expected vcpus=N, memory=MIB or gpus=N")
        machine = found.setdefault(host, {"host": host} if host else {})
        machine[_MACHINE_MEMBERS[what]] = _whole(text, number)
    return list(found.values())


def _queues(
    priorities: tuple[str, ...], weights: tuple[str, ...], policies: tuple[str, ...]
) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        return found.setdefault(name, {"jobQueue": name})

    for text in priorities:
        name, number = _split(text)
        of(name)["priority"] = _whole(text, number)
    for text in weights:
        name, number = _split(text)
        queue, slash, share = name.partition("/")
        if not slash or not share:
            raise click.UsageError(f"{text}: expected QUEUE/SHARE=WEIGHT")
        try:
            weight = {"shareIdentifier": share, "weightFactor": float(number)}
        except ValueError:
            raise click.UsageError(f"{text}: {number} is not a number") from None
        of(queue).setdefault("weights", []).append(weight)
    for text in policies:
        name, value = _split(text)
        if value in ("FIFO", "FAIR"):
            of(name)["order"] = "FIFO" if value == "FIFO" else "FAIR_SHARE"
        else:
            of(name)["fairsharePolicy"] = _policy(text, Path(value))
    return list(found.values())


def _policy(text: str, path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{text}: {error}") from error
    if not isinstance(read, dict):
        raise click.UsageError(f"{text}: not a JSON object")
    policy: dict[str, Any] = read.get("fairsharePolicy", read)
    return policy


def _jobs(path: Path) -> Iterator[dict[str, Any]]:
    """Read what `batchyard simulate` reads; here each job needs a queue."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            trace = parse_csv(file, path.name)
    except (OSError, BadTrace) as error:
        raise click.UsageError(str(error)) from error
    for job in trace.jobs:
        if not job.queue:
            raise click.UsageError(f"{path.name}: job {job.id} has no queue")
        if job.depends_on or job.exit_code:
            raise click.UsageError(
                f"{path.name}: job {job.id} depends on others, or fails: neither can be supposed"
            )
        given = {
            "name": job.id,
            "jobQueue": job.queue,
            "afterMs": job.submitted_ms,
            "vcpus": job.demand.cpu_milli / _MILLI,
            "memoryMib": job.demand.memory_mib,
            "gpus": job.demand.gpu_count,
            "runMs": job.run_ms,
            "shareIdentifier": job.share_identifier,
            "schedulingPriority": job.scheduling_priority,
            "arraySize": job.array_size,
            "timeoutMs": job.timeout_ms,
        }
        yield {name: each for name, each in given.items() if each is not None}


def _print(answer: dict[str, Any]) -> None:
    click.echo(answer["summary"])
    print_table(
        (
            "QUEUE",
            "SHARE",
            "JOBS",
            "WAIT P50",
            "",
            "WAIT P90",
            "",
            "ALL DONE IN",
            "",
            "GAIN",
            "LOSE",
        ),
        (_row(each, answer["at"]) for each in answer["groups"]),
    )
    submitted = [each for each in answer["groups"] if each["submittedCount"]]
    for each in submitted:
        look = each["submitted"]
        click.echo(
            f"  + {each['submittedCount']} submitted to {each['jobQueue']}"
            f"{'/' + each['shareIdentifier'] if 'shareIdentifier' in each else ''}: middle wait"
            f" {span_of(look.get('waitP50Ms'))}, all done in {_done(look, answer['at'])}"
        )
    for sign, key in (("<", "gainers"), (">", "losers")):
        for job in answer[key]:
            click.echo(f"  {sign} {job['jobId']} in {job['jobQueue']}: {_change_of(job)}")
    print_grounds(answer)


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
