"""What `batchyard what-if` makes of its options, and which it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from batchyard.cli import what_if as command

HEAD = (
    "id,submit_s,run_s,vcpus,memory_mib,queue,share_identifier,depends_on,attempts,exit_code,"
    "nodes\n"
)


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
    trace.write_text(HEAD + "a,1.5,60,0.5,128,q,team,,,,\nb,2,1,1,1,q,,a,3,7,4\n")
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
                "exitCode": 0,
                "attempts": 1,
                "shareIdentifier": "team",
                "schedulingPriority": 0,
            },
            {
                "name": "b",
                "jobQueue": "q",
                "afterMs": 2000,
                "vcpus": 1.0,
                "memoryMib": 1,
                "gpus": 0,
                "nodes": 4,
                "runMs": 1000,
                "exitCode": 7,
                "attempts": 3,
                "schedulingPriority": 0,
                "dependsOn": ["a"],
            },
        ],
        "seed": 7,
    }


def test_service_jobs_and_their_environments_are_asked_about(tmp_path: Path) -> None:
    trace = tmp_path / "tomorrow.csv"
    trace.write_text("id,submit_s,run_s,queue,instance_type,nodes\na,0,9,t,ml.m5.large,2\n")
    found = asked(
        *("--max-instances", "lab:ml.m5.large=4", "--max-instances", "lab:ml.m5.xlarge=1"),
        *("--submit", str(trace)),
    )
    assert found["serviceEnvironments"] == [
        {
            "serviceEnvironment": "lab",
            "capacityLimits": [
                {"capacityUnit": "ml.m5.large", "maxCapacity": 4},
                {"capacityUnit": "ml.m5.xlarge", "maxCapacity": 1},
            ],
        }
    ]
    (job,) = found["jobs"]
    assert (job["instanceType"], job["nodes"], "vcpus" in job) == ("ml.m5.large", 2, False)


def test_what_is_said_of_a_quota_share_becomes_one_item() -> None:
    found = asked(
        *("--quota", "q/vision:VCPU=8", "--quota", "q/vision:GPU=2", "--priority", "q=3"),
        *("--quota", "q/vision:strategy=LEND", "--quota", "q/speech:borrowLimit=50"),
        *("--quota", "q/speech:inSharePreemption=ENABLED"),
    )
    assert found["jobQueues"] == [
        {
            "jobQueue": "q",
            "priority": 3,
            "quotaShares": [
                {
                    "quotaShareName": "vision",
                    "capacityLimits": [
                        {"capacityUnit": "VCPU", "maxCapacity": 8},
                        {"capacityUnit": "GPU", "maxCapacity": 2},
                    ],
                    "resourceSharingConfiguration": {"strategy": "LEND"},
                },
                {
                    "quotaShareName": "speech",
                    "resourceSharingConfiguration": {"borrowLimit": 50},
                    "preemptionConfiguration": {"inSharePreemption": "ENABLED"},
                },
            ],
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--max-vcpus", "ce"), "expected NAME=VALUE"),
        (("--max-vcpus", "ce=x"), "x is not a whole number"),
        (("--machine", "disk=3"), "expected vcpus=N, memory=MIB or gpus=N"),
        (("--weight", "q=3"), "expected QUEUE/SHARE=WEIGHT"),
        (("--weight", "q/a=x"), "x is not a number"),
        (("--policy", "q=/nowhere.json"), "No such file"),
        (("--max-instances", "lab=4"), "expected SE:UNIT=N"),
        (("--quota", "q/vision=8"), "expected QUEUE/SHARE:WHAT=VALUE"),
        (("--quota", "vision:VCPU=8"), "expected QUEUE/SHARE:WHAT=VALUE"),
        (("--quota", "q/vision:VCPU=many"), "many is not a whole number"),
    ],
)
def test_what_means_nothing_is_refused(arguments: tuple[str, ...], text: str) -> None:
    result = CliRunner().invoke(command.what_if, arguments)
    assert result.exit_code == 2
    assert text in result.output


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("a,0,1,1,1,,,,,,\n", "job a has no queue"),
        ("a,0,x,1,1,q,,,,,\n", "tomorrow.csv:2: run_s 'x'"),
        ("a,0,1,1,1,q,,b,,,\n", "tomorrow.csv:2: depends_on 'b' is no job of a line before"),
    ],
)
def test_a_file_that_cannot_be_supposed_is_refused(tmp_path: Path, line: str, text: str) -> None:
    trace = tmp_path / "tomorrow.csv"
    trace.write_text(HEAD + line)
    result = CliRunner().invoke(command.what_if, ["--submit", str(trace)])
    assert result.exit_code == 2
    assert text in result.output


def an_answer(**members: Any) -> dict[str, Any]:
    """What a server says of one queue with nobody waiting."""
    group = {
        "jobQueue": "q",
        "waitingCount": 0,
        "submittedCount": 0,
        "before": {"allEnded": {}},
        "after": {"allEnded": {}},
        "gainingCount": 0,
        "losingCount": 0,
        "preemptedBeforeCount": 0,
        "preemptedAfterCount": 0,
        **members.pop("group", {}),
    }
    return {
        "summary": "Of 0 jobs.",
        "groups": [group],
        "gainers": [],
        "losers": [],
        "preemptions": [],
        "at": 0,
        **members,
    }


def printed(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> str:
    monkeypatch.setattr(Client, "what_if", lambda *_, **__: {"ResponseMetadata": {}, **answer})
    result = CliRunner().invoke(command.what_if, ["--priority", "q=1"])
    assert result.exit_code == 0, result.output
    return result.output


def test_who_is_preempted_is_shown_where_anybody_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PREEMPTED" not in printed(monkeypatch, an_answer())
    shown = printed(
        monkeypatch,
        an_answer(
            group={"preemptedAfterCount": 2},
            preemptions=[
                {"jobId": "one", "jobQueue": "q", "after": 180_000},
                {"jobId": "two", "jobQueue": "q", "before": 60_000},
            ],
        ),
    )
    head, row = (line.split() for line in shown.splitlines()[1:3])
    assert (head[-1], row[-3:]) == ("PREEMPTED", ["0", ">", "2"])
    assert "  ! one in q: is stopped in 3 min for another job\n" in shown
    assert "  ! two in q: is not stopped for another job, as it is otherwise in 60 s\n" in shown


def test_what_fails_of_what_is_submitted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    group = {
        "submittedCount": 5,
        "failingCount": 2,
        "submitted": {"waitP50Ms": 3000, "allEnded": {"p50": 90_000}},
    }
    assert (
        "  + 5 submitted to q: middle wait 3 s, all done in 90 s, 2 FAILED\n"
        in printed(monkeypatch, an_answer(group=group))
    )  # fmt: skip
