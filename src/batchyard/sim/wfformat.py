"""Workflows in WfCommons' WfFormat: one recorded run becomes tasks that wait for each other.

Decides how its JSON is read: schema 1.5 and 1.6 (tasks specified in one place and measured in
another) and 1.3 and 1.4 (one list, tasks that may know each other by name). An edge counts
whichever end names it. Refuses what no run can be: tasks that wait for themselves in the end, that
name tasks nobody knows, or whose run time is not told. Files, machines and commands are not looked
at.

Where it is specified: https://github.com/wfcommons/WfFormat, `wfcommons-schema.json`.
"""

import math
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

import msgspec
from msgspec import Struct

from batchyard.model.amounts import Amount
from batchyard.sim.trace import BadTrace, Trace, TraceJob

#: Written with `specification` and `execution` apart.
_SPLIT_VERSIONS = ("1.5", "1.6")
#: One list of tasks, with units in the names since 1.4.
_FLAT_VERSIONS = ("1.3", "1.4")
_BYTES_PER_MIB = 2**20
#: Of a task that does not say how much it takes: nothing starts on AWS with less.
_CPU_MILLI_DEFAULT = 1000
_MEMORY_MIB_DEFAULT = 4
#: How many tasks of a cycle an error names.
_NAMED_MAX = 8


class WorkflowTask(Struct, frozen=True, kw_only=True):
    """One task of a workflow that ran."""

    id: str
    name: str
    runtime_ms: int
    #: None: not told.
    cpu_milli: int | None
    #: What its process took at most, rounded up; None: not told.
    memory_mib: int | None
    #: In the order in which the file names them; each once.
    parents: tuple[str, ...]


class Workflow(Struct, frozen=True, kw_only=True):
    """One run of a workflow. No task comes before one of its parents."""

    name: str
    tasks: tuple[WorkflowTask, ...]


class _Task(Struct, kw_only=True):
    """What the schemas say of a task, in either place, under the names of then and now."""

    name: str = ""
    id: str = ""
    parents: list[str] = []
    children: list[str] = []
    runtime_s: float | None = msgspec.field(default=None, name="runtimeInSeconds")
    runtime_s_before: float | None = msgspec.field(default=None, name="runtime")
    core_count: float | None = msgspec.field(default=None, name="coreCount")
    core_count_before: float | None = msgspec.field(default=None, name="cores")
    memory_bytes: float | None = msgspec.field(default=None, name="memoryInBytes")


class _Tasks(Struct, kw_only=True):
    tasks: list[_Task] = []


class _Body(Struct, kw_only=True):
    specification: _Tasks | None = None
    execution: _Tasks | None = None
    tasks: list[_Task] = []


class _File(Struct, kw_only=True):
    name: str = ""
    version: str = msgspec.field(name="schemaVersion")
    workflow: _Body


def parse_wfformat(lines: Iterable[str], name: str) -> Trace:
    """Read an instance as a trace: everything is submitted at once, and waits for its parents.

    Raises `BadTrace`.
    """
    try:
        flow = read_workflow("".join(lines).encode())
    except BadTrace as error:
        raise BadTrace(f"{name}: {error}") from error
    untold = sum(task.memory_mib is None for task in flow.tasks)
    return Trace(
        name=name,
        jobs=[_job_of(task) for task in flow.tasks],
        notes=(f"tasks whose memory is not told take {_MEMORY_MIB_DEFAULT} MiB: {untold}",)
        if untold
        else (),
    )


def _job_of(task: WorkflowTask) -> TraceJob:
    return TraceJob(
        id=task.id,
        submitted_ms=0,
        run_ms=task.runtime_ms,
        demand=Amount(
            cpu_milli=task.cpu_milli or _CPU_MILLI_DEFAULT,
            memory_mib=task.memory_mib or _MEMORY_MIB_DEFAULT,
        ),
        depends_on=task.parents,
    )


def read_workflow(text: bytes) -> Workflow:
    """Read one instance file.

    Raises `BadTrace`.
    """
    try:
        file = msgspec.json.decode(text, type=_File)
    except msgspec.DecodeError as error:
        raise BadTrace(f"this is not WfFormat: {error}") from error
    if file.version in _SPLIT_VERSIONS:
        specified, measured = _split_tasks(file.workflow)
        id_by_name: dict[str, str] = {}
    elif file.version in _FLAT_VERSIONS:
        specified = _with_ids(file.workflow.tasks)
        measured = specified
        id_by_name = {task.name: task_id for task_id, task in reversed(specified.items())}
    else:
        known = ", ".join((*_FLAT_VERSIONS, *_SPLIT_VERSIONS))
        raise BadTrace(f"schemaVersion {file.version} is not read here, but {known} are")
    if not specified:
        raise BadTrace("the workflow has no tasks")
    parents = _parents_of(specified, id_by_name)
    tasks = {
        task_id: _task_of(task_id, task, measured.get(task_id), parents[task_id])
        for task_id, task in specified.items()
    }
    return Workflow(name=file.name, tasks=tuple(tasks[each] for each in _in_order(parents)))


def _split_tasks(body: _Body) -> tuple[dict[str, _Task], dict[str, _Task]]:
    if body.specification is None:
        raise BadTrace("the workflow has no `specification`")
    if body.execution is None:
        raise BadTrace(
            "the workflow has no `execution`: it is a plan, and says nothing of run times"
        )
    specified = _by_id((task.id, task) for task in body.specification.tasks)
    measured = _by_id((task.id, task) for task in body.execution.tasks)
    for task_id in measured:
        if task_id not in specified:
            raise BadTrace(f"task {task_id} was executed, but is not specified")
    return specified, measured


def _with_ids(tasks: Iterable[_Task]) -> dict[str, _Task]:
    """Name tasks of the older form by their id, or by their name where they have none."""
    return _by_id((task.id or task.name, task) for task in tasks)


def _by_id(tasks: Iterable[tuple[str, _Task]]) -> dict[str, _Task]:
    found: dict[str, _Task] = {}
    for task_id, task in tasks:
        if not task_id:
            raise BadTrace("a task has no id")
        if task_id in found:
            raise BadTrace(f"two tasks have the id {task_id}")
        found[task_id] = task
    return found


def _parents_of(
    tasks: Mapping[str, _Task], id_by_name: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """Collect the edges, from whichever end they are named."""
    edges: dict[str, dict[str, None]] = {task_id: {} for task_id in tasks}

    def resolve(reference: str, task_id: str, what: str) -> str:
        found = reference if reference in tasks else id_by_name.get(reference)
        if found is None:
            raise BadTrace(f"task {task_id} names the {what} {reference}, which is not there")
        return found

    for task_id, task in tasks.items():
        for reference in task.parents:
            edges[task_id][resolve(reference, task_id, "parent")] = None
    for task_id, task in tasks.items():
        for reference in task.children:
            edges[resolve(reference, task_id, "child")][task_id] = None
    return {task_id: tuple(parents) for task_id, parents in edges.items()}


def _in_order(parents: Mapping[str, tuple[str, ...]]) -> list[str]:
    try:
        return list(TopologicalSorter(parents).static_order())
    except CycleError as error:
        cycle: list[str] = error.args[1]
        named = " > ".join(cycle[:_NAMED_MAX]) + (" > …" if len(cycle) > _NAMED_MAX else "")
        raise BadTrace(f"tasks wait for each other in a circle: {named}") from error


def _task_of(
    task_id: str, task: _Task, measured: _Task | None, parents: tuple[str, ...]
) -> WorkflowTask:
    if measured is None:
        raise BadTrace(f"task {task_id} was not executed: its run time is not told")
    runtime_s = _first(measured.runtime_s, measured.runtime_s_before)
    if runtime_s is None or not math.isfinite(runtime_s) or runtime_s < 0:
        raise BadTrace(f"task {task_id} has no run time of 0 s or more")
    cores = _first(measured.core_count, measured.core_count_before)
    return WorkflowTask(
        id=task_id,
        name=task.name or task_id,
        runtime_ms=round(runtime_s * 1000),
        cpu_milli=_whole(task_id, "coreCount", cores, 1000),
        memory_mib=_whole(task_id, "memoryInBytes", measured.memory_bytes, 1 / _BYTES_PER_MIB),
        parents=parents,
    )


def _first(*values: float | None) -> float | None:
    return next((each for each in values if each is not None), None)


def _whole(task_id: str, what: str, value: float | None, factor: float) -> int | None:
    """Scale and round up; None, or nothing at all, was not told."""
    if value is None or value == 0:
        return None
    if not math.isfinite(value) or value < 0:
        raise BadTrace(f"task {task_id} has no {what} of 0 or more")
    return max(1, math.ceil(value * factor))
