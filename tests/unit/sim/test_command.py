"""`batchyard simulate`, as its user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from batchyard.cli.main import main
from batchyard.sim.csv_trace import parse_csv
from batchyard.sim.trace import BadTrace

TRACE = """\
id,submit_s,run_s,vcpus,memory_mib,user
a,0,100,1,512,ann
b,10,50,1,512,bob
c,20,40,2,512,bob
"""
CONFIG = """
[[computeEnvironments]]
computeEnvironmentName = "ce"
computeResources = { type = "FARGATE", maxvCpus = %d }
[[jobQueues]]
jobQueueName = "jq"
priority = 1
computeEnvironmentOrder = [{ order = 1, computeEnvironment = "ce" }]
"""


@pytest.fixture
def files(tmp_path):
    (tmp_path / "t.csv").write_text(TRACE)
    (tmp_path / "small.toml").write_text(CONFIG % 2)
    (tmp_path / "large.toml").write_text(CONFIG % 4)
    return tmp_path


def run(*arguments: object):
    return CliRunner().invoke(main, ["simulate", *map(str, arguments)])


def test_configurations_stand_side_by_side(files) -> None:
    result = run(
        files / "t.csv", "--config", files / "small.toml", "--config", files / "large.toml"
    )
    assert result.exit_code == 0
    rows = {line[:24].strip(): line[24:].split("  ") for line in result.stdout.splitlines()}
    assert [each.strip() for each in rows["t.csv"] if each.strip()] == ["small", "large"]
    assert [each.strip() for each in rows["makespan"] if each.strip()] == [
        "2 min 20 s",
        "1 min 40 s",
    ]


def test_json_has_everything(files) -> None:
    result = run(files / "t.csv", "--config", files / "small.toml", "--json")
    found = json.loads(result.stdout)
    assert found["version"] == 1
    (report,) = found["runs"]
    assert report["config"] == "small"
    assert report["wait_ms"]["max"] == 80_000
    assert [share["share_identifier"] for share in report["fairness"]["shares"]] == ["ann", "bob"]


def test_without_a_configuration_there_is_a_default(files) -> None:
    result = run(files / "t.csv", "--json")
    assert json.loads(result.stdout)["runs"][0]["config"] == "default"


def test_the_jobs_stand_one_by_one(files) -> None:
    (files / "more.csv").write_text(
        "id,submit_s,run_s,vcpus,memory_mib,user,array_size,attempts,exit_code,depends_on\n"
        "a,0,10,1,512,ann,2,,,\n"
        "b,1.5,20,1,512,bob,,3,7,\n"
        "c,2,1,1,512,,,,,b\n"
        "d,3,1,9,512,bob,,,,\n"
    )
    configs = ("--config", files / "small.toml", "--config", files / "large.toml")
    result = run(files / "more.csv", *configs, "--jobs", files / "jobs.csv")
    assert result.exit_code == 0
    assert (files / "jobs.csv").read_text().splitlines() == [
        "config,id,array_index,queue,share_identifier,vcpus,memory_mib,gpus,"
        "submit_s,ready_s,start_s,end_s,wait_s,run_s,attempt_count,status",
        "small,a,0,,ann,1,512,0,0,0,0,10,0,10,1,SUCCEEDED",
        "small,a,1,,ann,1,512,0,0,0,0,10,0,10,1,SUCCEEDED",
        "small,b,,,bob,1,512,0,1.500,1.500,10,70,8.500,60,3,FAILED",
        "small,c,,,default,1,512,0,2,,,70,,0,0,FAILED",
        "small,d,,,bob,9,512,0,3,3,,,,0,0,RUNNABLE",
        "large,a,0,,ann,1,512,0,0,0,0,10,0,10,1,SUCCEEDED",
        "large,a,1,,ann,1,512,0,0,0,0,10,0,10,1,SUCCEEDED",
        "large,b,,,bob,1,512,0,1.500,1.500,1.500,61.500,0,60,3,FAILED",
        "large,c,,,default,1,512,0,2,,,61.500,,0,0,FAILED",
        "large,d,,,bob,9,512,0,3,3,,,,0,0,RUNNABLE",
    ]


def test_jobs_that_cannot_be_written_are_an_error_before_anything_runs(files) -> None:
    result = run(files / "t.csv", "--jobs", files / "missing" / "jobs.csv")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(
        f"Error: cannot write {files / 'missing' / 'jobs.csv'}: No such"
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("bad.csv", "id\n", "bad.csv:1: these columns are missing"),
        ("empty.csv", TRACE.splitlines()[0], "empty.csv has no jobs"),
    ],
)
def test_bad_input_is_an_error_of_one_line(files, name: str, text: str, said: str) -> None:
    (files / name).write_text(text)
    result = run(files / name)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {said}")


def test_the_same_bytes_in_any_process(files) -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-m", "batchyard.cli.main", "simulate", "t.csv", "--json"],
            cwd=files,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_help_names_every_column_of_a_csv_trace() -> None:
    shown = " ".join(run("--help").stdout.split())
    said = parse_error_of("none")
    for column in said.partition("there are: ")[2].split(", "):
        assert column in shown


def parse_error_of(column: str) -> str:
    with pytest.raises(BadTrace) as caught:
        parse_csv([column], "t.csv")
    return str(caught.value)
