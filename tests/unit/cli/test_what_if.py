"""What `batchyard what-if` makes of its options, and which it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from batchyard.cli import what_if as command

HEAD = "id,submit_s,run_s,vcpus,memory_mib,queue,share_identifier,depends_on\n"


class Client:
    """Answers with what it was asked."""

    class exceptions:
        ClientException = ServerException = KeyError

    def what_if(self, **request: Any) -> dict[str, Any]:
        return {"ResponseMetadata": {}, "asked": request}


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "client_of", lambda *_: Client())


def asked(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(command.what_if, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)["asked"]
    return found


def test_options_become_one_request(tmp_path: Path) -> None:
    trace = tmp_path / "tomorrow.csv"
    trace.write_text(HEAD + "a,1.5,60,0.5,128,q,team,\n")
    policy = tmp_path / "policy.json"
    policy.write_text('{"fairsharePolicy": {"computeReservation": 3}}')
    assert asked(
        *("--max-vcpus", "ce=8", "--machine", "vcpus=4", "--machine", "memory=1024"),
        *("--priority", "q=3", "--weight", "q/team=0.5", "--policy", "q=FAIR"),
        *("--policy", f"other={policy}", "--submit", str(trace), "--seed", "7"),
    ) == {
        "computeEnvironments": [{"computeEnvironment": "ce", "maxvCpus": 8}],
        "machines": [{"vcpus": 4, "memoryMib": 1024}],
        "jobQueues": [
            {
                "jobQueue": "q",
                "priority": 3,
                "weights": [{"shareIdentifier": "team", "weightFactor": 0.5}],
                "order": "FAIR_SHARE",
            },
            {"jobQueue": "other", "fairsharePolicy": {"computeReservation": 3}},
        ],
        "jobs": [
            {
                "name": "a",
                "jobQueue": "q",
                "afterMs": 1500,
                "vcpus": 0.5,
                "memoryMib": 128,
                "gpus": 0,
                "runMs": 60_000,
                "shareIdentifier": "team",
                "schedulingPriority": 0,
            }
        ],
        "seed": 7,
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--max-vcpus", "ce"), "expected NAME=VALUE"),
        (("--max-vcpus", "ce=x"), "x is not a whole number"),
        (("--machine", "disk=3"), "expected vcpus=N, memory=MIB or gpus=N"),
        (("--weight", "q=3"), "expected QUEUE/SHARE=WEIGHT"),
        (("--weight", "q/a=x"), "x is not a number"),
        (("--policy", "q=/nowhere.json"), "No such file"),
    ],
)
def test_what_means_nothing_is_refused(arguments: tuple[str, ...], text: str) -> None:
    result = CliRunner().invoke(command.what_if, arguments)
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a,0,1,1,1,,,\n", "job a has no queue"),
        ("a,0,1,1,1,q,,\nb,0,1,1,1,q,,a\n", "job b depends on others"),
        ("a,0,x,1,1,q,,\n", "tomorrow.csv:2: run_s 'x'"),
    ],
)
def test_a_file_that_cannot_be_supposed_is_refused(tmp_path: Path, line: str, text: str) -> None:
    trace = tmp_path / "tomorrow.csv"
    trace.write_text(HEAD + line)
    result = CliRunner().invoke(command.what_if, ["--submit", str(trace)])
    assert result.exit_code == 2
    assert text in result.output
