"""Workflows in WfFormat: what is read of each schema, and what is refused."""

import json

import pytest

from batchyard.model.amounts import Amount
from batchyard.sim.reading import read_trace
from batchyard.sim.trace import BadTrace, TraceJob
from batchyard.sim.wfformat import WorkflowTask, read_workflow


def a_file(specified, measured, *, version="1.5", **more):
    """An instance of the split form."""
    body = {"specification": {"tasks": specified}, "execution": {"tasks": measured}, **more}
    return json.dumps({"name": "flow", "schemaVersion": version, "workflow": body}).encode()


def a_task(task_id, *, parents=(), children=()):
    return {"id": task_id, "name": task_id, "parents": parents, "children": children}


def ran(task_id, runtime_s=1.0, **more):
    return {"id": task_id, "runtimeInSeconds": runtime_s, **more}


def a_flat_file(*tasks, version="1.4"):
    body = {"makespanInSeconds": 1, "executedAt": "then", "tasks": tasks}
    return json.dumps({"name": "flow", "schemaVersion": version, "workflow": body}).encode()


def edges(text):
    return {task.id: task.parents for task in read_workflow(text).tasks}


@pytest.mark.parametrize("version", ["1.5", "1.6"])
def test_a_task_is_what_was_specified_and_measured(version):
    text = a_file(
        [a_task("first") | {"inputFiles": ["a"]}, a_task("second", parents=["first"])],
        [
            ran("first", 12.3456, coreCount=2.5, memoryInBytes=3 * 2**20 + 1, machines=["m"]),
            ran("second", 0),
        ],
        version=version,
    )

    flow = read_workflow(text)

    assert flow.name == "flow"
    assert flow.tasks == (
        WorkflowTask(
            id="first", name="first", runtime_ms=12346, cpu_milli=2500, memory_mib=4, parents=()
        ),
        WorkflowTask(
            id="second",
            name="second",
            runtime_ms=0,
            cpu_milli=None,
            memory_mib=None,
            parents=("first",),
        ),
    )


def test_an_edge_counts_whichever_end_names_it_and_once():
    text = a_file(
        [
            a_task("join", parents=["left"]),
            a_task("left", children=["join"]),
            a_task("right", children=["join"]),
        ],
        [ran("left"), ran("right"), ran("join")],
    )

    assert edges(text) == {"left": (), "right": (), "join": ("left", "right")}


def test_no_task_comes_before_its_parents():
    text = a_file(
        [a_task("c", parents=["b"]), a_task("b", parents=["a"]), a_task("a")],
        [ran("a"), ran("b"), ran("c")],
    )

    assert [task.id for task in read_workflow(text).tasks] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("version", "runtime", "cores"),
    [("1.4", "runtimeInSeconds", "cores"), ("1.3", "runtime", "cores")],
)
def test_older_tasks_know_each_other_by_name(version, runtime, cores):
    text = a_flat_file(
        {"name": "blast_1", "id": "ID1", runtime: 2, cores: 4, "memoryInBytes": 2**20},
        {"name": "cat", runtime: 1, "parents": ["blast_1"]},
        {"name": "tail", "id": "ID3", runtime: 1, "parents": ["ID1", "cat"]},
        version=version,
    )

    assert edges(text) == {"ID1": (), "cat": ("ID1",), "ID3": ("ID1", "cat")}
    first = read_workflow(text).tasks[0]
    assert (first.runtime_ms, first.cpu_milli, first.memory_mib) == (2000, 4000, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "this is not WfFormat: Input data was truncated"),
        (b'{"schemaVersion": "1.5"}', "this is not WfFormat: Object missing required field"),
        (
            a_file([a_task("a")], [ran("a")], version="1.1"),
            "schemaVersion 1.1 is not read here, but 1.3, 1.4, 1.5, 1.6 are",
        ),
        (a_file([], []), "the workflow has no tasks"),
        (a_file([a_task("a")], [ran("b")]), "task b was executed, but is not specified"),
        (a_file([a_task("a")], []), "task a was not executed: its run time is not told"),
        (a_file([a_task("a"), a_task("a")], []), "two tasks have the id a"),
        (a_file([a_task("")], []), "a task has no id"),
        (
            a_file([a_task("a", parents=["z"])], [ran("a")]),
            "task a names the parent z, which is not there",
        ),
        (
            a_file([a_task("a", children=["z"])], [ran("a")]),
            "task a names the child z, which is not there",
        ),
        (
            a_file([a_task("a", parents=["b"]), a_task("b", parents=["a"])], [ran("a"), ran("b")]),
            "tasks wait for each other in a circle: a > b > a",
        ),
        (
            a_file([a_task("a", parents=["a"])], [ran("a")]),
            "tasks wait for each other in a circle: a > a",
        ),
        (a_file([a_task("a")], [ran("a", -1)]), "task a has no run time of 0 s or more"),
        (a_file([a_task("a")], [{"id": "a"}]), "task a has no run time of 0 s or more"),
        (
            a_file([a_task("a")], [ran("a", coreCount=-1)]),
            "task a has no coreCount of 0 or more",
        ),
        (
            json.dumps(
                {
                    "schemaVersion": "1.5",
                    "workflow": {"specification": {"tasks": [a_task("a")]}},
                }
            ).encode(),
            "the workflow has no `execution`: it is a plan, and says nothing of run times",
        ),
        (a_flat_file(version="1.4"), "the workflow has no tasks"),
        (
            b'{"schemaVersion": "1.5", "workflow": {}}',
            "the workflow has no `specification`",
        ),
    ],
)
def test_what_cannot_have_run_is_refused(text, message):
    with pytest.raises(BadTrace) as refused:
        read_workflow(text)

    assert str(refused.value).startswith(message)


def test_a_workflow_is_a_trace_whose_jobs_wait_for_each_other(tmp_path):
    path = tmp_path / "flow.json"
    path.write_bytes(
        a_file(
            [a_task("b", parents=["a"]), a_task("a")],
            [ran("a", 2, coreCount=2, memoryInBytes=2**23), ran("b")],
        )
    )

    trace = read_trace(path)

    assert trace.name == "flow.json"
    assert trace.notes == ("tasks whose memory is not told take 4 MiB: 1",)
    assert trace.jobs == [
        TraceJob(id="a", submitted_ms=0, run_ms=2000, demand=Amount(cpu_milli=2000, memory_mib=8)),
        TraceJob(
            id="b",
            submitted_ms=0,
            run_ms=1000,
            demand=Amount(cpu_milli=1000, memory_mib=4),
            depends_on=("a",),
        ),
    ]


def test_what_is_refused_is_told_with_its_file(tmp_path):
    path = tmp_path / "flow.json"
    path.write_bytes(b"[]")

    with pytest.raises(BadTrace, match=r"^flow\.json: this is not WfFormat: Expected `object`"):
        read_trace(path)
