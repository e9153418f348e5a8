"""`batchyard instances`: which there are, and what runs on each."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from batchyard.cli.client import client_of
from batchyard.cli.options import data_dir_option
from batchyard.cli.settings import read_settings
from batchyard.cli.tables import print_table

_JOBS_SHOWN_MAX = 3
_MILLI = 1000


@click.command()
@data_dir_option
@click.option("--environment", "-e", help="Only of this compute environment, by name or ARN.")
@click.option("--all", "-a", "has_ended", is_flag=True, help="Also those that ended of late.")
@click.option("--json", "is_json", is_flag=True, help="Print one JSON object a line.")
def instances(
    *, data_dir: str | None, environment: str | None, has_ended: bool, is_json: bool
) -> None:
    """List instances, in the order of their launch, with the jobs on each."""
    client = client_of(read_settings({"data_dir": data_dir}), "batchyard")
    request: dict[str, Any] = {"includeEnded": has_ended}
    if environment:
        request["computeEnvironment"] = environment
    try:
        found = list(_pages(client, request))
    except client.exceptions.ClientException as error:
        raise click.ClickException(error.response["Error"]["Message"]) from error
    if is_json:
        for each in found:
            click.echo(json.dumps(each))
        return
    print_table(
        ("INSTANCE", "TYPE", "ENVIRONMENT", "HOST", "CAPACITY", "STATE", "VCPUS", "MIB", "GPUS",
         "SINCE", "JOBS"),
        (_row(each) for each in found),
    )  # fmt: skip


def _pages(client: Any, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    token: dict[str, str] = {}
    while True:
        answer = client.list_instances(**request, **token)
        yield from answer["instances"]
        if "nextToken" not in answer:
            return
        token = {"nextToken": answer["nextToken"]}


def _row(each: dict[str, Any]) -> list[str]:
    used = f"{each['usedMillicpus'] / _MILLI:g}/" if "usedMillicpus" in each else ""
    memory = f"{each['usedMemoryMib']}/" if "usedMemoryMib" in each else ""
    gpus = f"{each['usedGpus']}/{each['gpus']}" if each["gpus"] else "-"
    reason = f" ({each['reason']})" if "reason" in each else ""
    since_ms = each.get("terminatedAt", each["launchedAt"])
    return [
        each["instanceId"],
        each["instanceType"],
        each["computeEnvironment"].rsplit("/", 1)[-1],
        each["host"],
        each["capacityType"],
        each["state"] + reason,
        f"{used}{each['vcpus']}",
        f"{memory}{each['memoryMib']}",
        gpus,
        datetime.fromtimestamp(since_ms / _MILLI, UTC).astimezone().strftime("%m-%d %H:%M:%S"),
        _jobs(each.get("jobs", [])),
    ]


def _jobs(ids: list[str]) -> str:
    more = len(ids) - _JOBS_SHOWN_MAX
    shown = " ".join(ids[:_JOBS_SHOWN_MAX])
    return f"{shown} and {more} more" if more > 0 else shown or "-"
