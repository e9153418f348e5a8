"""What tools on top of AWS Batch rest on, without the tools: boto3, a real server, real containers.

Each test does what the named tool does, in its order, and reads what it reads (reference/jobs.md
section 15). How the tools themselves fared stands in docs/clients.md.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.live_yard import DEFINITION, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

NEEDS = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for a file system of EFS."""
    return tmp_path_factory.mktemp("efs")


@pytest.fixture(scope="module")
def yard(shared: Path) -> Iterator[LiveYard]:
    settings: dict[str, Any] = {
        "machine_vcpus": 16,
        "file_systems": f"fsap-0123456789abcdef0={shared}",
        "job_environment": "AWS_ENDPOINT_URL_S3=http://s3:9000,FROM=operator",
    }
    with live_yard(**settings) as made:
        made.make_queue()
        yield made


def register(yard: LiveYard, name: str, **members: Any) -> dict[str, Any]:
    answer: dict[str, Any] = yard.batch.register_job_definition(
        **{"jobDefinitionName": name, "type": "container"} | members
    )
    return answer


def submit(yard: LiveYard, definition: str, **members: Any) -> str:
    job_id: str = yard.batch.submit_job(
        **{"jobName": definition.split(":")[0], "jobQueue": QUEUE, "jobDefinition": definition}
        | members
    )["jobId"]
    return job_id


def container(*command: str, **members: Any) -> dict[str, Any]:
    return {"image": "busybox", "command": list(command), "resourceRequirements": NEEDS, **members}


def stream_lines(yard: LiveYard, stream: str) -> list[str]:
    events = yard.logs.get_log_events(
        logGroupName="/aws/batch/job", logStreamName=stream, startFromHead=True
    )["events"]
    return [event["message"] for event in events]


def test_torchx_finds_its_app_by_name_and_its_nodes_by_arn(yard: LiveYard) -> None:
    """TorchX knows an app by queue and name, and asks about `<jobArn>` and `<jobArn>#<rank>`."""
    script = "echo rank $AWS_BATCH_JOB_NODE_INDEX; until test -e /ledger/torchx; do sleep 0.1; done"
    ledger = {
        "volumes": [{"name": "l", "host": {"sourcePath": str(yard.ledger_path)}}],
        "mountPoints": [{"sourceVolume": "l", "containerPath": "/ledger"}],
    }
    shm = {"linuxParameters": {"sharedMemorySize": 16, "devices": []}}
    ranges = [
        {
            "targetNodes": target,
            "container": container("sh", "-c", script, **ledger, **shm)
            | {"environment": [{"name": "TORCHX_ROLE_NAME", "value": role}]},
        }
        for target, role in (("0:0", "trainer"), ("1:1", "reader"))
    ]
    register(
        yard,
        "torchx",
        type="multinode",
        nodeProperties={"numNodes": 2, "mainNode": 0, "nodeRangeProperties": ranges},
        retryStrategy={"attempts": 2, "evaluateOnExit": [{"onExitCode": "0", "action": "EXIT"}]},
        tags={"torchx.pytorch.org/version": "0"},
    )
    submit(yard, "torchx", tags={"torchx.pytorch.org/version": "0"})

    def app() -> str:
        found = yard.batch.list_jobs(
            jobQueue=QUEUE, filters=[{"name": "JOB_NAME", "values": ["torchx"]}]
        )["jobSummaryList"]
        arn: str = found[0]["jobArn"]
        return arn

    arn = app()
    node_arns = [f"{arn}#{rank}" for rank in (0, 1)]

    def running() -> list[dict[str, Any]] | None:
        """Nodes are there only once the main one runs."""
        nodes: list[dict[str, Any]] = yard.batch.describe_jobs(jobs=node_arns)["jobs"]
        statuses = [node["status"] for node in nodes]
        return nodes if statuses == ["RUNNING", "RUNNING"] else None

    nodes = until(running, "two nodes RUNNING")
    [job] = yard.batch.describe_jobs(jobs=[arn])["jobs"]
    shown = job["nodeProperties"]["nodeRangeProperties"]
    assert [each["targetNodes"] for each in shown] == ["0:0", "1:1"]
    assert [each["container"]["resourceRequirements"] for each in shown] == [NEEDS, NEEDS]
    assert [each["container"]["environment"][0]["value"] for each in shown] == ["trainer", "reader"]

    # While a node runs its stream is in its container, afterwards in its last attempt.
    streams = [node["container"]["logStreamName"] for node in nodes]
    until(lambda: [stream_lines(yard, each) for each in streams] == [["rank 0"], ["rank 1"]])
    yard.release("torchx")
    yard.reach("SUCCEEDED", job["jobId"])
    [node] = yard.batch.describe_jobs(jobs=[f"{arn}#0"])["jobs"]
    assert node["attempts"][-1]["container"]["logStreamName"] == streams[0]

    # `list` sees every state, and tells its own jobs by their tags.
    listed = yard.batch.list_jobs(
        jobQueue=QUEUE, filters=[{"name": "AFTER_CREATED_AT", "values": ["1"]}]
    )["jobSummaryList"]
    details = yard.batch.describe_jobs(jobs=[each["jobId"] for each in listed][:100])["jobs"]
    ours = [each["jobArn"] for each in details if "torchx.pytorch.org/version" in each["tags"]]
    assert ours == [arn]


@pytest.mark.parametrize("node_count", [None, 2])
def test_redun_finds_its_definition_again(yard: LiveYard, node_count: int | None) -> None:
    """redun registers anew unless all that it would register is in what is described."""
    props = container("ls", environment=[], mountPoints=[], volumes=[], ulimits=[])
    props |= {"privileged": False, "linuxParameters": {"sharedMemorySize": 64}}
    proposed: dict[str, Any] = {"type": "container", "containerProperties": props}
    if node_count is not None:
        ranges = [{"container": props, "targetNodes": target} for target in ("0", "1:")]
        nodes = {"mainNode": 0, "numNodes": node_count, "nodeRangeProperties": ranges}
        proposed = {"type": "multinode", "nodeProperties": nodes}
    name = f"redun-{node_count}"
    register(yard, name, **proposed)

    [described] = yard.batch.describe_job_definitions(jobDefinitionName=name, status="ACTIVE")[
        "jobDefinitions"
    ]
    assert _is_within(proposed, described)


def _is_within(proposed: Any, described: Any) -> bool:
    """What is proposed is in what is described; only objects may have more members there."""
    if isinstance(proposed, dict):
        return all(
            key in described and _is_within(proposed[key], described[key]) for key in proposed
        )
    if isinstance(proposed, list) and proposed and isinstance(proposed[0], dict):
        pairs = zip(proposed, described, strict=True)
        return all(_is_within(one, other) for one, other in pairs)
    return bool(proposed == described)


def test_redun_overrides_the_nodes_and_reads_the_log_of_the_main_one(yard: LiveYard) -> None:
    overrides = [
        {"targetNodes": "0", "containerOverrides": {"command": ["echo", "main"]}},
        {"targetNodes": "1:", "containerOverrides": {"command": ["echo", "worker"]}},
    ]
    ranges = [{"container": container("ls"), "targetNodes": target} for target in ("0", "1:")]
    nodes = {"mainNode": 0, "numNodes": 3, "nodeRangeProperties": ranges}
    answer = register(yard, "redun-run", type="multinode", nodeProperties=nodes)
    job_id = submit(
        yard,
        answer["jobDefinitionArn"],
        jobName="redun-job",
        nodeOverrides={"nodePropertyOverrides": overrides},
        propagateTags=True,
    )
    [job] = yard.ended(job_id)
    main = f"{job_id}#{job['nodeProperties']['mainNode']}"
    assert job["status"] == "SUCCEEDED", yard.job(main)["attempts"]
    assert yard.lines(main) == ["main"]


def test_metaflow_sees_that_a_job_has_nodes_and_how_it_ended(yard: LiveYard) -> None:
    """No container at a multi-node job; a reason, an exit code and a stop when it has ended."""
    ranges = [
        {"targetNodes": "0:0", "container": container("sh", "-c", "exit 3")},
        {"targetNodes": "1:1", "container": container("true")},
    ]
    nodes = {"mainNode": 0, "numNodes": 2, "nodeRangeProperties": ranges}
    register(yard, "metaflow", type="multinode", nodeProperties=nodes)
    [job] = yard.ended(submit(yard, "metaflow"))
    assert "container" not in job
    assert job["statusReason"] == "Essential container in task exited"
    assert job["attempts"][-1]["container"]["exitCode"] == 3
    assert job["stoppedAt"] >= job["startedAt"] > 0


def test_parallelcluster_lists_page_by_page_and_builds_the_ids_of_children(yard: LiveYard) -> None:
    """It starts with an empty token, gives plain dependencies a type, and adds ids up."""
    first = yard.submit()
    array_id = submit(
        yard,
        DEFINITION,
        jobName="awsbsub",
        arrayProperties={"size": 3},
        dependsOn=[{"jobId": first, "type": "SEQUENTIAL"}],
        retryStrategy={"attempts": 1},
    )
    plain = submit(yard, DEFINITION, arrayProperties={}, dependsOn=[])
    yard.ended(array_id, plain)

    token: str | None = ""
    listed = []
    while token is not None:
        page = yard.batch.list_jobs(
            jobQueue=QUEUE, jobStatus="SUCCEEDED", nextToken=token, maxResults=2
        )
        listed += page["jobSummaryList"]
        token = page.get("nextToken")
    [array] = [each for each in listed if each["jobId"] == array_id]
    assert array["arrayProperties"]["size"] == 3
    assert "startedAt" not in array
    assert "container" not in array
    assert plain in [each["jobId"] for each in listed]
    children = [f"{array_id}:{index}" for index in range(array["arrayProperties"]["size"])]
    assert [job["jobId"] for job in yard.jobs(*children)] == children


def test_miniwdl_mounts_its_file_system_where_it_has_it_itself(
    yard: LiveYard, shared: Path
) -> None:
    """The same path inside and outside, a user by numbers, and an exit code that is the task's."""
    access = {"accessPointId": "fsap-0123456789abcdef0"}
    efs = {
        "fileSystemId": "fs-0123456789abcdef0",
        "transitEncryption": "ENABLED",
        "authorizationConfig": access,
    }
    shared.chmod(0o777)
    script = f"cd {shared}\nexit_code=0\nid > out.txt || exit_code=$?\nexit 7"
    answer = register(
        yard,
        "miniwdl",
        containerProperties=container("sh", "-ec", script, user="1000:1001", privileged=False)
        | {
            "volumes": [{"name": "file_io_root", "efsVolumeConfiguration": efs}],
            "mountPoints": [{"containerPath": str(shared), "sourceVolume": "file_io_root"}],
        },
    )
    handle = f"{answer['jobDefinitionName']}:{answer['revision']}"
    job_id = submit(yard, handle, timeout={"attemptDurationSeconds": 86400}, tags={})
    yard.batch.deregister_job_definition(jobDefinition=handle)
    [job] = yard.ended(job_id)
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 7)
    assert (shared / "out.txt").read_text() == "uid=1000 gid=1001\n"


def test_snakemake_cleans_up_after_every_end(yard: LiveYard) -> None:
    """It terminates what has ended and deregisters what is deregistered, and nothing changes."""
    answer = register(yard, "snakemake", containerProperties=container("true"))
    job_id = submit(yard, f"snakemake:{answer['revision']}")
    [job] = yard.ended(job_id)
    for _ in range(2):
        yard.batch.terminate_job(jobId=job_id, reason="terminated by snakemake")
        yard.batch.deregister_job_definition(jobDefinition=job["jobDefinition"])
    assert yard.job(job_id) == job
    assert (job["status"], job["isTerminated"]) == ("SUCCEEDED", False)


def test_toil_waits_until_what_it_killed_has_stopped(yard: LiveYard) -> None:
    register(yard, "toil", containerProperties=container("true"), propagateTags=True)
    running = submit(
        yard,
        "toil",
        containerOverrides={
            "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"],
            "environment": [{"name": "TOIL", "value": "1"}],
            "resourceRequirements": [{"type": "MEMORY", "value": "32"}],
        },
    )
    yard.reach("RUNNING", running)
    job = yard.job(running)
    assert "startedAt" in job
    assert "stoppedAt" not in job
    assert {each["type"]: each["value"] for each in job["container"]["resourceRequirements"]} == {
        "VCPU": "1",
        "MEMORY": "32",
    }
    until(lambda: yard.job(running)["container"]["logStreamName"])
    yard.batch.terminate_job(jobId=running, reason="Killed by Toil")
    [job] = yard.ended(running)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Killed by Toil")


def test_luigi_and_cloudknot_look_at_attempts_that_never_ran(yard: LiveYard) -> None:
    """Each attempt has a start to sort by and a stream to read, even if no container started."""
    register(
        yard,
        "luigi",
        containerProperties=container("/not/there"),
        retryStrategy={"attempts": 2},
    )
    [job] = yard.ended(submit(yard, "luigi"))
    attempts = sorted(job["attempts"], key=lambda each: each["startedAt"])
    assert attempts == job["attempts"]
    streams = [each["container"]["logStreamName"] for each in attempts]
    assert len(set(streams)) == 2
    assert [stream_lines(yard, each) for each in streams] == [[], []]
    assert job["statusReason"] == "Task failed to start"
    assert job["stoppedAt"] > 0
    assert "startedAt" not in job


def test_nextflow_looks_for_its_definition_by_a_parameter(yard: LiveYard) -> None:
    """Its newest revision is on the first page, its rules end a job at its first plain exit."""
    rules = [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},
        {"onReason": "*", "action": "EXIT"},
    ]
    for token in ("old", "new"):
        register(
            yard,
            "nf-busybox",
            parameters={"nf-token": token},
            containerProperties=container("true"),
        )
    found = yard.batch.describe_job_definitions(jobDefinitionName="nf-busybox")["jobDefinitions"]
    assert [each["parameters"] for each in found] == [{"nf-token": "new"}, {"nf-token": "old"}]
    job_id = submit(
        yard,
        f"nf-busybox:{found[0]['revision']}",
        containerOverrides={"command": ["sh", "-c", "exit 4"]},
        retryStrategy={"attempts": 5, "evaluateOnExit": rules},
    )
    [job] = yard.ended(job_id)
    assert [each["container"]["exitCode"] for each in job["attempts"]] == [4]
    assert "reason" not in job["attempts"][-1]["container"]
    assert job["container"]["taskArn"].startswith("arn:aws:ecs:")


@pytest.mark.ours_only
def test_jobs_have_the_operators_variables_unless_they_set_them(yard: LiveYard) -> None:
    register(
        yard,
        "variables",
        containerProperties=container("sh", "-c", "echo $AWS_ENDPOINT_URL_S3 $FROM"),
    )
    environment = [{"name": "FROM", "value": "the job"}]
    plain = submit(yard, "variables")
    own = submit(yard, "variables", containerOverrides={"environment": environment})
    shown = yard.ended(plain, own)
    assert yard.lines(plain) == ["http://s3:9000 operator"]
    assert yard.lines(own) == ["http://s3:9000 the job"]
    assert [job["container"]["environment"] for job in shown] == [[], environment]
