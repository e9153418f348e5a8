"""Files of traces: what they say, and where they are wrong."""

from __future__ import annotations

import gzip

import pytest

from batchyard.model.amounts import Amount
from batchyard.model.records import NodeGroup, NodePlan
from batchyard.sim.csv_trace import parse_csv
from batchyard.sim.reading import read_trace
from batchyard.sim.swf import parse_swf
from batchyard.sim.trace import BadTrace, TraceJob

SWF = """\
; Version: 2.2
;    UnixStartTime: 1700000000
; MaxProcs: 128 (of 130)
; MaxNodes: 64

  1 0 5 60.5 4 -1 2048 8 100 -1 1 3 7 -1 2 -1 -1 -1
  2 9 -1 30 -1 -1 -1 2 -1 1024 0 -1 -1 -1 -1 -1 1 10
  3 10 -1 -1 1 -1 -1 -1 -1 -1 5 3 7 -1 2 -1 -1 -1
  4 10 -1 7 1 -1 -1 -1 -1 -1 5 3 7 -1 2 -1 -1 -1
  5 11 -1 7 1 -1 -1 -1 -1 -1 2 3 7 -1 2 -1 -1 -1
  6 12 -1 -1 1 -1 -1 -1 -1 -1 1 3 7 -1 2 -1 -1 -1
  7 13 -1 9 -1 -1 -1 -1 -1 -1 1 3 7 -1 2 -1 -1 -1
"""


def test_swf_says_all_that_it_knows() -> None:
    trace = parse_swf(SWF.splitlines(), "log.swf")
    assert (trace.name, trace.began_ms, trace.processors) == ("log.swf", 1_700_000_000_000, 128)
    assert list(trace.jobs) == [
        TraceJob(
            id="1",
            submitted_ms=0,
            run_ms=60_500,
            demand=Amount(cpu_milli=4000, memory_mib=8),
            requested_ms=100_000,
            queue="2",
            user="user3",
            group="group7",
        ),
        TraceJob(
            id="2",
            submitted_ms=9000,
            run_ms=30_000,
            demand=Amount(cpu_milli=2000, memory_mib=2),
            exit_code=1,
        ),
        TraceJob(
            id="4",
            submitted_ms=10_000,
            run_ms=7000,
            demand=Amount(cpu_milli=1000),
            exit_code=143,
            queue="2",
            user="user3",
            group="group7",
        ),
    ]
    assert trace.notes == (
        "1 jobs were left out: nobody knows how long they ran.",
        "1 jobs were left out: nobody knows their processors.",
        "1 lines were left out: they are parts of jobs that have no line as a whole, and nobody"
        " knows the rest.",
        "1 jobs were left out: they were cancelled before they ran.",
    )


def test_swf_is_put_in_order() -> None:
    rest = "-1 1 1 -1 -1 -1 -1 -1 1 -1 -1 -1 -1 -1 -1 -1"
    trace = parse_swf([f"1 9 {rest}", f"2 3 {rest}"], "x")
    assert [job.id for job in trace.jobs] == ["2", "1"]
    assert trace.notes == ("The jobs were not in the order of their submission, and are now.",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 0 5", "18 fields are expected, and there are 3"),
        ("1 0 5 60 four" + " -1" * 13, "'four' is no number"),
        ("1 0 5 nan 4" + " -1" * 13, "run_s is nan, which cannot be"),
        ("1 0 5 60 1.5" + " -1" * 13, "processors is 1.5, which is no whole number"),
        ("1 -1 5 60 1" + " -1" * 13, "a job needs a number and a submission time"),
        ("1 0 5 -60 1" + " -1" * 13, "run_s is -60, which cannot be"),
        ("7 0 5 60 1" + " -1" * 13 + "\n7 0 5 60 1" + " -1" * 13, "job 7 was on line 2 already"),
    ],
)
def test_swf_refuses_lines_that_are_none(line: str, said: str) -> None:
    with pytest.raises(BadTrace) as caught:
        parse_swf(["; a comment", *line.splitlines()], "log")
    assert str(caught.value) == f"log:{2 + line.count(chr(10))}: {said}"


CSV_HEAD = (
    "id,submit_s,run_s,vcpus,memory_mib,gpus,depends_on,array_size,share_identifier,timeout_s"
)


def test_csv_says_all_that_it_knows() -> None:
    rows = [CSV_HEAD, "a,0.5,10,0.25,512,,,,,", "b,1,2,4,8192,1,a,3,blue,60", ""]
    trace = parse_csv(rows, "t.csv")
    assert list(trace.jobs) == [
        TraceJob(
            id="a",
            submitted_ms=500,
            run_ms=10_000,
            demand=Amount(cpu_milli=250, memory_mib=512),
        ),
        TraceJob(
            id="b",
            submitted_ms=1000,
            run_ms=2000,
            demand=Amount(cpu_milli=4000, memory_mib=8192, gpu_count=1),
            depends_on=("a",),
            array_size=3,
            share_identifier="blue",
            timeout_ms=60_000,
        ),
    ]


def test_csv_says_what_each_node_takes() -> None:
    head = "id,submit_s,run_s,vcpus,memory_mib,gpus,nodes"
    wide, narrow = parse_csv([head, "a,0,1,2,512,1,4", "b,0,1,2,512,1,1"], "t.csv").jobs
    each = Amount(cpu_milli=2000, memory_mib=512, gpu_count=1)
    assert wide.nodes == NodePlan(main_index=0, groups=(NodeGroup(count=4, demand=each),))
    assert wide.demand == Amount(cpu_milli=8000, memory_mib=2048, gpu_count=4)
    assert (narrow.nodes, narrow.demand) == (None, each)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["id,submit_s,run_s,vcpus,memory"], "1: there is no column 'memory'; there are: id, "),
        (["id,submit_s"], "1: these columns are missing: run_s, vcpus, memory_mib"),
        ([CSV_HEAD + ",id"], "1: a column is there twice"),
        ([], "1: these columns are missing"),
        ([CSV_HEAD, "a,0"], "2: 10 cells are expected, and there are 2"),
        ([CSV_HEAD, "a,0,1,-1,1,,,,,"], "2: vcpus '-1' is no number with up to three decimals"),
        ([CSV_HEAD, "a,0,1,0,1,,,,,"], "2: vcpus '0' must be more than 0"),
        ([CSV_HEAD, "a,,1,1,1,,,,,"], "2: submit_s is empty"),
        ([CSV_HEAD, "a,0,1,1,1,,,1,,"], "2: array_size '1' is no whole number from 2 to 10000"),
        ([CSV_HEAD, "a,0,1,1,1,,b,,,"], "2: depends_on 'b' is no job of a line before"),
        ([CSV_HEAD, "a,5,1,1,1,,,,,", "b,0,1,1,1,,a,,,"], "3: depends_on 'a' is submitted later"),
        ([CSV_HEAD, "a,0,1,1,1,,,,,", "a,0,1,1,1,,,,,"], "3: id 'a' is there already"),
        ([CSV_HEAD, 'a,0,1,1,1,,"b'], "2: is no CSV: "),
        (
            ["id,submit_s,run_s,vcpus,memory_mib,nodes", "a,0,1,1,1,1001"],
            "2: nodes '1001' is no whole number from 1 to 1000",
        ),
        (
            ["id,submit_s,run_s,vcpus,memory_mib,nodes,array_size", "a,0,1,1,1,2,2"],
            "2: nodes and array_size: no job has both",
        ),
    ],
)
def test_csv_refuses_with_line_and_column(rows: list[str], said: str) -> None:
    with pytest.raises(BadTrace) as caught:
        parse_csv(rows, "t.csv")
    assert str(caught.value).startswith(f"t.csv:{said}")


def test_files_may_be_compressed_and_are_known_by_their_names(tmp_path) -> None:
    (tmp_path / "log.swf.gz").write_bytes(gzip.compress(SWF.encode()))
    (tmp_path / "log.txt").write_text(SWF)
    assert len(read_trace(tmp_path / "log.swf.gz").jobs) == 3
    assert len(read_trace(tmp_path / "log.txt", "swf").jobs) == 3


def test_names_may_be_in_capitals_and_files_may_begin_with_a_mark(tmp_path) -> None:
    (tmp_path / "LOG.SWF.GZ").write_bytes(gzip.compress(SWF.encode()))
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfid,submit_s,run_s,vcpus,memory_mib\na,0,1,1,1\n")
    assert len(read_trace(tmp_path / "LOG.SWF.GZ").jobs) == 3
    assert [job.id for job in read_trace(tmp_path / "t.csv").jobs] == ["a"]


def test_files_that_are_no_traces_are_refused(tmp_path) -> None:
    (tmp_path / "log.swf.gz").write_bytes(gzip.compress(SWF.encode())[:-20])
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe")
    for name, said in {
        "log.swf.gz": "log.swf.gz: cannot be read: Compressed file ended",
        "a.csv": "a.csv: is no text in UTF-8",
        "none.csv": "none.csv: cannot be read: ",
        "log.txt": "log.txt: its format is not known; say which: swf, csv",
    }.items():
        with pytest.raises(BadTrace) as caught:
            read_trace(tmp_path / name)
        assert str(caught.value).startswith(said)
