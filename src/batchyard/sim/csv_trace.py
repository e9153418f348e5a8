"""Traces in a table of our own: CSV with a head, one job a row.

Decides which columns there are, and what may stand in them. Refuses everything else: with the line
and the column. An empty cell is a value that is not given.

Where it is specified: docs/simulate.md.
"""

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batchyard.engine.catalogue import capacity_of_training
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.limits import (
    ARRAY_SIZE_MAX,
    ARRAY_SIZE_MIN,
    ATTEMPTS_MAX,
    NODE_COUNT_MAX,
    SCHEDULING_PRIORITY_MAX,
)
from batchyard.model.node_plans import equal_nodes, whole_demand
from batchyard.sim.trace import BadTrace, Trace, TraceJob

_NUMBER = re.compile(r"[0-9]{1,12}(?:\.([0-9]{1,3}))?")
_WHOLE = re.compile(r"[0-9]{1,12}")
_MILLI = 1000
_EXIT_CODE_MAX = 255

_NEEDED = ("id", "submit_s", "run_s")
#: Needed where no instance type says it.
_SIZES = ("vcpus", "memory_mib")
_INSTANCE_TYPE = "instance_type"


class _BadCell(Exception):
    """What is wrong with a cell."""


def _milli(text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise _BadCell("is no number with up to three decimals")
    whole, _, rest = text.partition(".")
    return int(whole) * _MILLI + int(rest.ljust(3, "0") or 0)


def _whole(low: int = 0, high: int = 10**12) -> Callable[[str], int]:
    def read(text: str) -> int:
        if _WHOLE.fullmatch(text) is None or not low <= int(text) <= high:
            raise _BadCell(f"is no whole number from {low} to {high}")
        return int(text)

    return read


def _some_milli(text: str) -> int:
    if (found := _milli(text)) == 0:
        raise _BadCell("must be more than 0")
    return found


def _training_type(text: str) -> str:
    if capacity_of_training(text) is None:
        raise _BadCell("is no instance type of SageMaker that is known, such as ml.m5.large")
    return text


#: How each column is read. Times and vCPUs are in thousandths from then on.
_COLUMNS: Mapping[str, Callable[[str], Any]] = {
    "id": str,
    "submit_s": _milli,
    "run_s": _milli,
    "vcpus": _some_milli,
    "memory_mib": _whole(),
    "gpus": _whole(),
    "nodes": _whole(1, NODE_COUNT_MAX),
    _INSTANCE_TYPE: _training_type,
    "queue": str,
    "share_identifier": str,
    "scheduling_priority": _whole(0, SCHEDULING_PRIORITY_MAX),
    "depends_on": lambda text: tuple(text.split()),
    "array_size": _whole(ARRAY_SIZE_MIN, ARRAY_SIZE_MAX),
    "attempts": _whole(1, ATTEMPTS_MAX),
    "exit_code": _whole(0, _EXIT_CODE_MAX),
    "timeout_s": _some_milli,
    "requested_s": _some_milli,
    "user": str,
    "group": str,
}


#: The columns that a trace must have, as a sentence for people, and all the others.
NEEDED_TEXT = f"{', '.join(_NEEDED)}, and {' and '.join(_SIZES)}, or {_INSTANCE_TYPE}"
OTHER_COLUMNS = tuple(each for each in _COLUMNS if each not in (*_NEEDED, *_SIZES, _INSTANCE_TYPE))


def parse_csv(lines: Iterable[str], name: str) -> Trace:
    """Read a trace. Raises `BadTrace` at the first cell that is wrong."""
    reader = csv.reader(lines, strict=True)
    jobs: list[TraceJob] = []
    came: dict[str, int] = {}
    try:
        head = next(reader, [])
        _check_head(head, name)
        for row in reader:
            if not row:
                continue
            cells = _cells_of(head, row, f"{name}:{reader.line_num}")
            job = _job_of(cells, f"{name}:{reader.line_num}")
            _check_order(job, came, f"{name}:{reader.line_num}")
            came[job.id] = job.submitted_ms
            jobs.append(job)
    except csv.Error as error:
        raise BadTrace(f"{name}:{reader.line_num}: is no CSV: {error}") from error
    jobs.sort(key=lambda job: job.submitted_ms)
    return Trace(name=name, jobs=jobs)


def _check_head(head: list[str], name: str) -> None:
    for column in head:
        if column not in _COLUMNS:
            raise BadTrace(
                f"{name}:1: there is no column {column!r}; there are: {', '.join(_COLUMNS)}"
            )
    if len(set(head)) < len(head):
        raise BadTrace(f"{name}:1: a column is there twice")
    needed = _NEEDED if _INSTANCE_TYPE in head else (*_NEEDED, *_SIZES)
    missing = [column for column in needed if column not in head]
    if missing:
        raise BadTrace(f"{name}:1: these columns are missing: {', '.join(missing)}")


def _cells_of(head: list[str], row: list[str], where: str) -> dict[str, Any]:
    if len(row) != len(head):
        raise BadTrace(f"{where}: {len(head)} cells are expected, and there are {len(row)}")
    cells: dict[str, Any] = {}
    for column, text in zip(head, row, strict=True):
        if not text:
            if column in _NEEDED:
                raise BadTrace(f"{where}: {column} is empty")
            continue
        try:
            cells[column] = _COLUMNS[column](text)
        except _BadCell as error:
            raise BadTrace(f"{where}: {column} {text!r} {error}") from None
    return cells


def _check_order(job: TraceJob, came: Mapping[str, int], where: str) -> None:
    if job.id in came:
        raise BadTrace(f"{where}: id {job.id!r} is there already")
    for each in job.depends_on:
        if each not in came:
            raise BadTrace(f"{where}: depends_on {each!r} is no job of a line before")
        if came[each] > job.submitted_ms:
            raise BadTrace(f"{where}: depends_on {each!r} is submitted later")


def _job_of(cells: Mapping[str, Any], where: str) -> TraceJob:
    each, count = _size_of(cells, where), cells.get("nodes", 1)
    nodes = equal_nodes(count, each)
    if nodes is not None and "array_size" in cells:
        raise BadTrace(f"{where}: nodes and array_size: no job has both")
    return TraceJob(
        id=cells["id"],
        submitted_ms=cells["submit_s"],
        run_ms=cells["run_s"],
        demand=whole_demand(each, nodes),
        nodes=nodes,
        capacity_use=(UnitQuantity(unit=cells[_INSTANCE_TYPE], quantity=count),)
        if _INSTANCE_TYPE in cells
        else (),
        exit_code=cells.get("exit_code", 0),
        attempts_max=cells.get("attempts", 1),
        timeout_ms=cells.get("timeout_s"),
        requested_ms=cells.get("requested_s"),
        queue=cells.get("queue", ""),
        share_identifier=cells.get("share_identifier"),
        scheduling_priority=cells.get("scheduling_priority", 0),
        depends_on=cells.get("depends_on", ()),
        array_size=cells.get("array_size"),
        user=cells.get("user"),
        group=cells.get("group"),
    )


def _size_of(cells: Mapping[str, Any], where: str) -> Amount:
    """Give what a node takes, or a job without nodes: what it says, or what its type has."""
    if _INSTANCE_TYPE not in cells:
        for column in _SIZES:
            if column not in cells:
                raise BadTrace(f"{where}: {column} is empty")
        return Amount(
            cpu_milli=cells["vcpus"],
            memory_mib=cells["memory_mib"],
            gpu_count=cells.get("gpus", 0),
        )
    for column in (*_SIZES, "gpus"):
        if column in cells:
            raise BadTrace(f"{where}: {column} must be empty where {_INSTANCE_TYPE} says it")
    capacity = capacity_of_training(cells[_INSTANCE_TYPE])
    assert capacity is not None, "it was read"
    return capacity
