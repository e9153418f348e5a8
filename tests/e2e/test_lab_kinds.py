"""Arrays, nodes and tasks with the `aws` command, as its reference and the user guide show them.

The command takes a second to start: what is not about it is asked with boto3.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.lab import CONTAINER, Lab, register
from tests.e2e.live_yard import DEFINITION, QUEUE, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

HOLD = "trap 'exit 143' TERM; while :; do sleep 0.05; done"
SMALL: dict[str, Any] = {
    **CONTAINER,
    "resourceRequirements": [
        {"type": "VCPU", "value": "1"},
        {"type": "MEMORY", "value": "16"},
    ],
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with live_yard(machine_vcpus=8) as yard:
        yard.make_queue()
        yield Lab(yard)


def submit(lab: Lab, name: str, definition: str, *words: str) -> str:
    return lab.submit(name, definition, *words, queue=QUEUE)


def listed(lab: Lab, selector: str, job_id: str, status: str, *words: str) -> list[str]:
    answer = lab.aws("batch", "list-jobs", selector, job_id, "--job-status", status, *words)
    return [each["jobId"] for each in answer["jobSummaryList"]]


def test_an_array_with_the_command(lab: Lab) -> None:
    register(
        lab,
        "array",
        "echo index $AWS_BATCH_JOB_ARRAY_INDEX; exit $((AWS_BATCH_JOB_ARRAY_INDEX == 3))",
    )
    job_id = submit(lab, "colours", "array", "--array-properties", "size=7")
    parent = lab.reach(job_id, "FAILED")
    counts = parent["arrayProperties"]["statusSummary"]
    assert {status: count for status, count in counts.items() if count} == {
        "SUCCEEDED": 6,
        "FAILED": 1,
    }
    assert parent["arrayProperties"]["size"] == 7

    # All pages by itself, and page by page.
    good = [f"{job_id}:{index}" for index in range(7) if index != 3]
    assert listed(lab, "--array-job-id", job_id, "SUCCEEDED", "--page-size", "2") == good
    assert listed(lab, "--array-job-id", job_id, "SUCCEEDED", "--max-items", "4") == good[:4]
    found: list[str] = []
    token: list[str] = []
    while True:
        page = lab.aws(
            *("batch", "list-jobs", "--array-job-id", job_id, "--job-status", "SUCCEEDED"),
            *("--no-paginate", "--max-results", "4", *token),
        )
        found += [each["jobId"] for each in page["jobSummaryList"]]
        if "nextToken" not in page:
            break
        token = ["--next-token", page["nextToken"]]
    assert found == good

    answer = lab.aws("batch", "describe-jobs", "--jobs", f"{job_id}:3", f"{job_id}:0", job_id)
    bad, first, again = answer["jobs"]
    assert [each["jobId"] for each in (bad, first, again)] == [f"{job_id}:3", f"{job_id}:0", job_id]
    assert (bad["status"], bad["container"]["exitCode"]) == ("FAILED", 1)
    assert first["arrayProperties"]["index"] == 0
    assert lab.yard.lines(f"{job_id}:3") == ["index 3"]


def test_arrays_that_depend_on_each_other_with_the_command(lab: Lab) -> None:
    first = submit(lab, "first", DEFINITION, "--array-properties", "size=3")
    second = submit(
        lab,
        *("second", DEFINITION, "--array-properties", "size=3"),
        *("--depends-on", f"jobId={first},type=N_TO_N", "type=SEQUENTIAL"),
    )
    last = submit(lab, "last", DEFINITION, "--depends-on", f"jobId={second}")
    lab.yard.reach("SUCCEEDED", last)
    shown = lab.job(second)
    assert shown["dependsOn"] == [{"jobId": first, "type": "N_TO_N"}, {"type": "SEQUENTIAL"}]
    assert "between 2 and 10000" in lab.refused(
        *("batch", "submit-job", "--job-name", "x", "--job-queue", QUEUE),
        *("--job-definition", DEFINITION, "--array-properties", "size=10001"),
    )


def test_a_child_is_cancelled_or_terminated_with_the_command(lab: Lab) -> None:
    """The machine has eight vCPUs: of ten children two wait."""
    lab.yard.register("hold", command=["sh", "-c", HOLD])
    job_id = submit(lab, "held", "hold", "--array-properties", "size=10")
    until(
        lambda: (
            (
                lab.yard.job(job_id)["arrayProperties"]["statusSummary"]["RUNNING"],
                lab.yard.job(job_id)["arrayProperties"]["statusSummary"]["RUNNABLE"],
            )
            == (8, 2)
        ),
        "a full machine",
    )
    assert listed(lab, "--array-job-id", job_id, "RUNNABLE") == [f"{job_id}:8", f"{job_id}:9"]
    answer = lab.aws("batch", "cancel-job", "--job-id", f"{job_id}:9", "--reason", "not this one")
    assert answer == {}
    [cancelled] = lab.yard.ended(f"{job_id}:9")
    assert (cancelled["statusReason"], cancelled["attempts"]) == ("not this one", [])
    # One that runs cannot be cancelled, but terminated.
    lab.aws("batch", "cancel-job", "--job-id", f"{job_id}:0", "--reason", "too late")
    lab.aws("batch", "terminate-job", "--job-id", f"{job_id}:1", "--reason", "this one")
    [ended] = lab.yard.ended(f"{job_id}:1")
    assert (ended["statusReason"], ended["container"]["exitCode"]) == ("this one", 143)
    lab.yard.reach("RUNNING", f"{job_id}:8", f"{job_id}:0")
    lab.aws("batch", "terminate-job", "--job-id", job_id, "--reason", "all")
    [parent] = lab.yard.ended(job_id)
    assert parent["statusReason"] == "all"
    assert parent["arrayProperties"]["statusSummary"]["FAILED"] == 10


def test_a_multi_node_job_with_the_command(lab: Lab) -> None:
    main = {
        **SMALL,
        "command": ["sh", "-c", "until [ $(ls /v | grep -c up) = 3 ]; do sleep 0.05; done"],
    }
    other = {**SMALL, "command": ["sh", "-c", f"touch /v/up$AWS_BATCH_JOB_NODE_INDEX; {HOLD}"]}
    folder = lab.yard.ledger_path / "nodes"
    for each in (main, other):
        each["volumes"] = [{"name": "v", "host": {"sourcePath": str(folder)}}]
        each["mountPoints"] = [{"sourceVolume": "v", "containerPath": "/v"}]
    properties = {
        "numNodes": 2,
        "mainNode": 0,
        "nodeRangeProperties": [
            {"targetNodes": "0:0", "container": main},
            {"targetNodes": "1:", "container": other},
        ],
    }
    lab.aws(
        *("batch", "register-job-definition", "--job-definition-name", "nodes"),
        *("--type", "multinode", "--node-properties", json.dumps(properties)),
    )
    overrides = {
        "numNodes": 4,
        "nodePropertyOverrides": [
            {
                "targetNodes": "1:",
                "containerOverrides": {"environment": [{"name": "COLOUR", "value": "blue"}]},
            }
        ],
    }
    job_id = submit(lab, "nodes", "nodes", "--node-overrides", json.dumps(overrides))
    [job] = lab.yard.ended(job_id)
    assert job["status"] == "SUCCEEDED"
    assert job["nodeProperties"]["numNodes"] == 4
    others = [f"{job_id}#{index}" for index in (1, 2, 3)]
    assert listed(lab, "--multi-node-job-id", job_id, "SUCCEEDED") == [f"{job_id}#0"]
    assert listed(lab, "--multi-node-job-id", job_id, "FAILED", "--page-size", "2") == others
    answer = lab.aws("batch", "describe-jobs", "--jobs", f"{job_id}#0", f"{job_id}#3")
    first, last = answer["jobs"]
    assert first["nodeDetails"] == {"nodeIndex": 0, "isMainNode": True}
    assert {"name": "COLOUR", "value": "blue"} in last["container"]["environment"]
    assert last["container"]["networkInterfaces"][0]["privateIpv4Address"]


def test_a_task_of_two_containers_with_the_command(lab: Lab) -> None:
    """Secondly with an override of one of them by its name."""
    containers = [
        {
            **SMALL,
            "name": "main",
            "command": ["sh", "-c", "echo main $COLOUR"],
            "dependsOn": [{"containerName": "prepare", "condition": "SUCCESS"}],
        },
        {**SMALL, "name": "prepare", "essential": False, "command": ["echo", "ready"]},
    ]
    lab.aws(
        *("batch", "register-job-definition", "--job-definition-name", "task"),
        *("--type", "container", "--ecs-properties"),
        json.dumps({"taskProperties": [{"containers": containers}]}),
    )
    over = {"name": "main", "environment": [{"name": "COLOUR", "value": "red"}]}
    job_id = submit(
        lab,
        *("task", "task", "--ecs-properties-override"),
        json.dumps({"taskProperties": [{"containers": [over]}]}),
    )
    job = lab.reach(job_id, "SUCCEEDED", "FAILED")
    assert job["status"] == "SUCCEEDED"
    [task] = job["ecsProperties"]["taskProperties"]
    printed = {
        each["name"]: lab.yard.lines_of(each["logStreamName"]) for each in task["containers"]
    }
    assert printed == {"main": ["main red"], "prepare": ["ready"]}
    assert [each["exitCode"] for each in task["containers"]] == [0, 0]
    [attempt] = job["attempts"]
    names = [each["name"] for each in attempt["taskProperties"][0]["containers"]]
    assert names == ["main", "prepare"]
