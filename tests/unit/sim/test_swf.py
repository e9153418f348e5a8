"""What logs of the Parallel Workloads Archive have in them, down to the report."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from batchyard.cli.main import main
from batchyard.sim.config import default_config
from batchyard.sim.simulation import simulate
from batchyard.sim.swf import parse_swf
from batchyard.sim.trace import Trace, TraceJob

#: Nothing is known of the fields that are not told.
FIELDS = (
    *("job", "submit", "wait", "run", "procs", "cpu", "memory", "asked_procs", "asked_s"),
    *("asked_memory", "status", "user", "group", "executable", "queue", "partition", "before"),
    "think",
)


def a_line(job: int, submit: float, run: float, procs: int = 1, status: int = 1, **more) -> str:
    told = {"job": job, "submit": submit, "run": run, "procs": procs, "status": status, **more}
    return " ".join(str(told.get(field, -1)) for field in FIELDS)


def parsed(*lines: str) -> Trace:
    return parse_swf(lines, "log.swf")


def only(*lines: str) -> TraceJob:
    (job,) = parsed(*lines).jobs
    return job


def test_comments_are_passed_over_wherever_they_are() -> None:
    trace = parsed(
        ";MaxProcs: 8", ";", "; Note: ; odd: one", a_line(1, 0, 5), "  ; Job 2 was lost", "",
        a_line(3, 1, 5), "; MaxProcs: 99",
    )  # fmt: skip
    assert ([job.id for job in trace.jobs], trace.processors, trace.notes) == (["1", "3"], 8, ())


@pytest.mark.parametrize(
    ("header", "processors"),
    [
        (("; MaxProcs: 128",), 128),
        (("; MaxProcs:\t128\t(of 130)",), 128),
        (("; MaxProcs: -1", "; MaxNodes: 64"), 64),
        (("; MaxNodes: 64 nodes",), 64),
        (("; MaxProcs: unknown",), None),
        ((), None),
    ],
)
def test_the_machine_is_as_the_header_has_it(
    header: tuple[str, ...], processors: int | None
) -> None:
    trace = parsed(*header, a_line(1, 0, 10, 4), a_line(2, 10, 10, 4))
    assert (trace.processors, trace.began_ms) == (processors, 0)
    # Where nobody knows it, it is as large as the work at an even pace.
    most = default_config(trace).environments[0].cpu_milli_max
    assert most == 1000 * (processors or 8)


def test_what_is_not_known_is_taken_from_what_was_asked_for() -> None:
    job = only(a_line(1, 0, 5, -1, asked_procs=4, asked_memory=2048, asked_s=60))
    assert (job.demand.cpu_milli, job.demand.memory_mib, job.requested_ms) == (4000, 8, 60_000)
    bare = only(a_line(1, 0, 5))
    assert (bare.demand.memory_mib, bare.requested_ms, bare.user, bare.queue) == (0, None, None, "")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (a_line(1, 0, -1), "nobody knows how long they ran"),
        (a_line(1, 0, -1, status=0), "nobody knows how long they ran"),
        (a_line(1, 0, 5, -1), "nobody knows their processors"),
        (a_line(1, 0, 5, 0, asked_procs=0), "nobody knows their processors"),
        (a_line(1, 0, -1, status=5), "they were cancelled before they ran"),
        (a_line(1, 0, 0, status=5), "they were cancelled before they ran"),
    ],
)
def test_jobs_that_could_not_run_here_are_counted(line: str, why: str) -> None:
    trace = parsed(line, a_line(2, 0, 5))
    assert [job.id for job in trace.jobs] == ["2"]
    assert trace.notes == (f"1 jobs were left out: {why}.",)


@pytest.mark.parametrize(("status", "exit_code"), [(1, 0), (0, 1), (5, 143), (-1, 0)])
def test_a_status_tells_how_a_job_ended(status: int, exit_code: int) -> None:
    assert only(a_line(1, 0, 5, status=status)).exit_code == exit_code


def test_a_job_of_no_time_starts_and_ends_in_its_turn() -> None:
    trace = parsed("; MaxProcs: 1", a_line(1, 0, 5), a_line(2, 1, 0), a_line(3, 1, 0, status=0))
    report = simulate(trace, default_config(trace))
    assert report.job_count_by_status == {"FAILED": 1, "SUCCEEDED": 2}
    assert (report.makespan_ms, report.wait_ms.max) == (5000, 4000)


def test_parts_of_a_job_that_was_checkpointed_are_in_its_whole() -> None:
    trace = parsed(
        a_line(1, 0, 30),
        *(a_line(1, 0, 10, status=status) for status in (2, 2, 3)),
        a_line(2, 5, 20, status=0),
        a_line(2, 5, 20, status=4),
    )
    assert [(job.id, job.run_ms, job.exit_code) for job in trace.jobs] == [
        ("1", 30_000, 0),
        ("2", 20_000, 1),
    ]
    assert trace.notes == (
        "4 lines were left out: they are parts of jobs that have a line as a whole.",
    )


def test_parts_without_a_whole_are_told_apart() -> None:
    trace = parsed(a_line(1, 0, 10, status=2), a_line(1, 0, 10, status=3), a_line(2, 0, 5))
    assert [job.id for job in trace.jobs] == ["2"]
    (note,) = trace.notes
    assert note.startswith("2 lines were left out: they are parts of jobs that have no line")


def test_a_job_wider_than_the_machine_never_runs_and_keeps_nobody() -> None:
    trace = parsed("; MaxProcs: 4", a_line(1, 0, 10, 8), a_line(2, 1, 10, 4))
    report = simulate(trace, default_config(trace))
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 1, "RUNNABLE": 1}
    (left,) = report.never_runs
    assert (left.examples, report.wait_ms.max) == (("1",), 0)
    assert "Asked 8 vCPUs" in left.reason


def test_fields_that_decide_nothing_may_hold_anything() -> None:
    job = only(a_line(1, 0, 5, wait=-17, cpu=-3.5, executable=2.5, partition=1e300, think=-9))
    assert job.run_ms == 5000


def test_a_log_of_the_archive_runs_as_its_user_finds_it(tmp_path: Path) -> None:
    """Packed, with CRLF, tabs, names in Latin-1, jobs out of order: into the report."""
    lines = [
        "; Acknowledge: Universit\u00e4t, J. M\u00fcller",
        ";\tUnixStartTime:\t1700000000",
        ";\tMaxProcs:\t4",
        a_line(2, 30, 10, 2),
        a_line(1, 0, 20, 4),
        a_line(3, 31, 0, 1),
        a_line(4, 40, -1, 1, status=5),
        a_line(5, 41, 10, 64),
    ]
    text = "\r\n".join(lines).replace(" ", "\t") + "\r\n"
    path = tmp_path / "UNI-2023-1.swf.gz"
    path.write_bytes(gzip.compress(text.encode("latin-1")))
    shown = CliRunner().invoke(main, ["simulate", str(path)])
    found = json.loads(CliRunner().invoke(main, ["simulate", str(path), "--json"]).stdout)

    assert shown.exit_code == 0, shown.output
    assert found["began_ms"] == 1_700_000_000_000
    assert found["notes"] == [
        "1 jobs were left out: they were cancelled before they ran.",
        "The jobs were not in the order of their submission, and are now.",
    ]
    (run,) = found["runs"]
    assert run["job_count_by_status"] == {"FAILED": 0, "SUCCEEDED": 3, "RUNNABLE": 1}
    assert (run["makespan_ms"], run["wait_ms"]["max"]) == (40_000, 0)
    assert "default: 1 of the jobs never run: Asked 64 vCPUs" in shown.stdout
    assert "(for example 5)" in shown.stdout


def test_a_line_that_is_none_is_refused_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "log.swf"
    path.write_text("; comment\r\n" + a_line(1, 0, 5) + "\r\n1 2 3\r\n", newline="")
    shown = CliRunner().invoke(main, ["simulate", str(path)])
    assert shown.exit_code == 1
    assert shown.stderr == "Error: log.swf:3: 18 fields are expected, and there are 3\n"
