"""What the options of `batchyard what-if` ask for, in the members of the API's request.

Decides how a change is written on a command line, and that jobs come from a CSV file. Refuses to
know the server: whether anything of it exists is found out there.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from batchyard.sim.reading import read_trace
from batchyard.sim.trace import BadTrace, TraceJob

_MILLI = 1000
_SHARING = "resourceSharingConfiguration"
_MACHINE_MEMBERS = {"vcpus": "vcpus", "memory": "memoryMib", "gpus": "gpus"}


def environments_of(given: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read `CE=N`."""
    return [
        {"computeEnvironment": name, "maxvCpus": _whole(text, number)}
        for text in given
        for name, number in [_split(text)]
    ]


def service_environments_of(given: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read `SE:UNIT=N`."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, number = _split(text)
        environment, _, unit = name.rpartition(":")
        if not environment or not unit:
            raise click.UsageError(f"{text}: expected SE:UNIT=N")
        place = {"serviceEnvironment": environment, "capacityLimits": []}
        limit = {"capacityUnit": unit, "maxCapacity": _whole(text, number)}
        found.setdefault(environment, place)["capacityLimits"].append(limit)
    return list(found.values())


def machines_of(given: tuple[str, ...]) -> list[dict[str, Any]]:
    """Read `[HOST:]WHAT=N`."""
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, number = _split(text)
        host, _, what = name.rpartition(":")
        if what not in _MACHINE_MEMBERS:
            raise click.UsageError(f"{text}: expected vcpus=N, memory=MIB or gpus=N")
        machine = found.setdefault(host, {"host": host} if host else {})
        machine[_MACHINE_MEMBERS[what]] = _whole(text, number)
    return list(found.values())


def queues_of(
    priorities: tuple[str, ...],
    weights: tuple[str, ...],
    quotas: tuple[str, ...],
    policies: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Read everything that is said of queues, and put together what is said of each."""
    found: dict[str, dict[str, Any]] = {}

    def of(name: str) -> dict[str, Any]:
        return found.setdefault(name, {"jobQueue": name})

    for text in priorities:
        name, number = _split(text)
        of(name)["priority"] = _whole(text, number)
    for text in weights:
        queue, weight = _weight(text)
        of(queue).setdefault("weights", []).append(weight)
    for text in quotas:
        queue, share, what, value = _quota(text)
        terms = of(queue).setdefault("quotaShares", {}).setdefault(share, {"quotaShareName": share})
        _add_term(terms, text, what, value)
    for text in policies:
        name, value = _split(text)
        if value in ("FIFO", "FAIR"):
            of(name)["order"] = "FIFO" if value == "FIFO" else "FAIR_SHARE"
        else:
            of(name)["fairsharePolicy"] = _policy(text, Path(value))
    for each in found.values():
        if "quotaShares" in each:
            each["quotaShares"] = list(each["quotaShares"].values())
    return list(found.values())


def jobs_of(path: Path) -> Iterator[dict[str, Any]]:
    """Read what `batchyard simulate` reads; here each job needs a queue."""
    try:
        trace = read_trace(path, "csv")
    except BadTrace as error:
        raise click.UsageError(str(error)) from error
    for job in trace.jobs:
        if not job.queue:
            raise click.UsageError(f"{path.name}: job {job.id} has no queue")
        given = {
            "name": job.id,
            "jobQueue": job.queue,
            "afterMs": job.submitted_ms,
            **_size_of(job),
            "nodes": None if job.nodes is None else job.nodes.count,
            "runMs": job.run_ms,
            "exitCode": job.exit_code,
            "attempts": job.attempts_max,
            "shareIdentifier": job.share_identifier or job.user,
            "schedulingPriority": job.scheduling_priority,
            "arraySize": job.array_size,
            "timeoutMs": job.timeout_ms,
            "dependsOn": list(job.depends_on) or None,
        }
        yield {name: each for name, each in given.items() if each is not None}


def _size_of(job: TraceJob) -> dict[str, Any]:
    """Say what a job takes, or each of its nodes."""
    if job.capacity_use:
        return {"instanceType": job.capacity_use[0].unit}
    each = job.demand if job.nodes is None else job.nodes.groups[0].demand
    return {
        "vcpus": each.cpu_milli / _MILLI,
        "memoryMib": each.memory_mib,
        "gpus": each.gpu_count,
    }


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


def _weight(text: str) -> tuple[str, dict[str, Any]]:
    name, number = _split(text)
    queue, slash, share = name.partition("/")
    if not slash or not share:
        raise click.UsageError(f"{text}: expected QUEUE/SHARE=WEIGHT")
    try:
        return queue, {"shareIdentifier": share, "weightFactor": float(number)}
    except ValueError:
        raise click.UsageError(f"{text}: {number} is not a number") from None


def _quota(text: str) -> tuple[str, str, str, str]:
    name, value = _split(text)
    queue, _, rest = name.partition("/")
    share, _, what = rest.rpartition(":")
    if not queue or not share or not what:
        raise click.UsageError(f"{text}: expected QUEUE/SHARE:WHAT=VALUE")
    return queue, share, what, value


def _add_term(terms: dict[str, Any], text: str, what: str, value: str) -> None:
    """Say one thing of a quota share in AWS's members."""
    match what:
        case "strategy":
            terms.setdefault(_SHARING, {})["strategy"] = value
        case "borrowLimit":
            terms.setdefault(_SHARING, {})["borrowLimit"] = _whole(text, value)
        case "inSharePreemption":
            terms["preemptionConfiguration"] = {"inSharePreemption": value}
        case _:
            limit = {"capacityUnit": what, "maxCapacity": _whole(text, value)}
            terms.setdefault("capacityLimits", []).append(limit)


def _policy(text: str, path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{text}: {error}") from error
    if not isinstance(read, dict):
        raise click.UsageError(f"{text}: not a JSON object")
    policy: dict[str, Any] = read.get("fairsharePolicy", read)
    return policy
