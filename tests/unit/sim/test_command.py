"""`batchyard simulate`, as its user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from batchyard.cli.main import main

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
