"""A whole yard on Docker: boto3, a real server, a real dockerd, and the server killed midway."""

import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.compute.made_images import MadeImage, busybox_entries, make_layer, serve_registry
from tests.e2e.live_yard import BATCHYARD, LEDGER, MARK, QUEUE, REGION, LiveYard, live_yard, until
from tests.e2e.test_service_jobs import RING, Lab
from tests.fixtures.engines import Engine
from tests.fixtures.moto import moto_url as moto_url

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

AMOUNTS = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "16"}]
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "key"}
PASSWORD = "hush-91ce"


@pytest.fixture(scope="module")
def yard(docker: Engine, moto_url: str) -> Iterator[LiveYard]:
    environ = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto_url,
    }
    with live_yard(
        environ=environ,
        runtime="docker",
        engine_socket=docker.socket_path,
        machine_vcpus=8,
        is_endpoint_given_to_jobs="true",
    ) as made:
        made.make_queue()
        yield made
        until(lambda: docker.names() == [], "the removal of what has ended")
    assert {each["Name"] for each in docker.call("GET", "/networks")} == {"host", "none"}


def ledger_of(yard: LiveYard) -> dict[str, Any]:
    return {"name": "ledger", "host": {"sourcePath": str(yard.ledger_path)}}


def test_jobs_of_every_kind_go_on_when_the_server_is_killed(yard: LiveYard) -> None:
    """All wait for a file; the server is killed while they do, and they end while it is gone."""
    wait = f"until [ -e {LEDGER}/go ]; do sleep 0.05; done; "
    single = yard.submit(f"{wait} echo single; exit 3")
    array = yard.batch.submit_job(
        jobName="array",
        jobQueue=QUEUE,
        jobDefinition="definition",
        arrayProperties={"size": 3},
        containerOverrides={
            "command": ["sh", "-c", f"{MARK}{wait} echo child $AWS_BATCH_JOB_ARRAY_INDEX"]
        },
    )["jobId"]
    task = submit_task(yard, wait)
    children = [f"{array}:{index}" for index in range(3)]
    # The task of two is starting for as long as its essential container waits.
    yard.reach("RUNNING", single, *children)
    yard.kill()
    yard.release("go")
    yard.start()

    ended = yard.ended(single, array, task)
    assert [job["status"] for job in ended] == ["FAILED", "SUCCEEDED", "SUCCEEDED"]
    assert ended[0]["container"]["exitCode"] == 3
    assert yard.lines(single) == ["single"]
    assert [yard.lines(child) for child in children] == [[f"child {n}"] for n in range(3)]
    [properties] = ended[2]["ecsProperties"]["taskProperties"]
    assert [(each["name"], each["exitCode"]) for each in properties["containers"]] == [
        ("main", 0),
        ("first", 0),
    ]
    assert {run: count for run, count in yard.runs().items() if run[0] in (single, *children)} == {
        (job_id, 1): 1 for job_id in (single, *children)
    }


def submit_task(yard: LiveYard, wait: str) -> str:
    """Submit a job of two containers: the second one starts when the first has waited."""
    mounts = [{"sourceVolume": "ledger", "containerPath": LEDGER}]
    yard.batch.register_job_definition(
        jobDefinitionName="two",
        type="container",
        ecsProperties={
            "taskProperties": [
                {
                    "volumes": [ledger_of(yard)],
                    "containers": [
                        {
                            "name": "main",
                            "image": "busybox",
                            "command": ["sh", "-c", "echo main"],
                            "resourceRequirements": AMOUNTS,
                            "dependsOn": [{"containerName": "first", "condition": "SUCCESS"}],
                        },
                        {
                            "name": "first",
                            "image": "busybox",
                            "essential": False,
                            "command": ["sh", "-c", f"touch {LEDGER}/first; {wait}"],
                            "resourceRequirements": AMOUNTS,
                            "mountPoints": mounts,
                        },
                    ],
                }
            ]
        },
    )
    job_id: str = yard.batch.submit_job(jobName="two", jobQueue=QUEUE, jobDefinition="two")["jobId"]
    until(lambda: (yard.ledger_path / "first").exists(), "the first container")
    return job_id


def test_nodes_of_a_job_reach_each_other_and_the_server(yard: LiveYard) -> None:
    main = (
        # Its input stays open: at its end nc would close the line before it heard anything.
        "mkfifo /tmp/open; sleep 600 > /tmp/open & nc -l -p 7777 < /tmp/open > /tmp/heard;"
        " cat /tmp/heard;"
        " wget -qO- $ECS_CONTAINER_METADATA_URI_V4/task | grep -c TaskARN"
    )
    child = (
        "until echo from $AWS_BATCH_JOB_NODE_INDEX |"
        " nc $AWS_BATCH_JOB_MAIN_NODE_PRIVATE_IPV4_ADDRESS 7777; do sleep 0.1; done"
    )
    container = {"image": "busybox", "resourceRequirements": AMOUNTS}
    yard.batch.register_job_definition(
        jobDefinitionName="nodes",
        type="multinode",
        nodeProperties={
            "numNodes": 2,
            "mainNode": 0,
            "nodeRangeProperties": [
                {"targetNodes": "0", "container": container | {"command": ["sh", "-c", main]}},
                {"targetNodes": "1", "container": container | {"command": ["sh", "-c", child]}},
            ],
        },
    )
    job_id = yard.batch.submit_job(jobName="nodes", jobQueue=QUEUE, jobDefinition="nodes")["jobId"]
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED", job.get("statusReason")
    assert yard.lines(f"{job_id}#0") == ["from 1", "1"]


def test_commands_say_what_runs_containers(yard: LiveYard) -> None:
    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*BATCHYARD, *words], env=yard.environ, capture_output=True, text=True, check=False
        )

    assert command("image", "busybox", "made:1").stdout == "docker.io/library/made:1\n"
    yard.register("of-made-image", image="made:1")
    [job] = yard.ended(yard.submit(definition="of-made-image"))
    assert job["status"] == "SUCCEEDED"
    refused = command("image", "list")
    assert refused.returncode == 1
    assert refused.stderr == (
        "Error: with the setting runtime=docker its images are used: docker images\n"
    )
    doctor = command("doctor")
    assert "run through docker at" in " ".join(doctor.stdout.split())
    assert doctor.returncode == 0, doctor.stdout


def test_image_is_pulled_with_the_secret_that_the_definition_names(
    yard: LiveYard, moto_url: str
) -> None:
    client = boto3.client("secretsmanager", region_name=REGION, endpoint_url=moto_url, **KEYS)
    good = client.create_secret(
        Name="registry", SecretString=json.dumps({"username": "bob", "password": PASSWORD})
    )
    odd = client.create_secret(Name="odd", SecretString=f"bob:{PASSWORD}")
    with serve_registry() as registry:
        registry.add("private:1", MadeImage(layers=[make_layer(busybox_entries())]))
        registry.account_by_repository["private"] = f"bob:{PASSWORD}"
        jobs = []
        for name, arn in (("good", good["ARN"]), ("odd", odd["ARN"]), ("none", None)):
            credentials = {"repositoryCredentials": {"credentialsParameter": arn}} if arn else {}
            image = f"{registry.address}/private:1"
            yard.register(f"pull-{name}", image=image, **credentials)
            jobs += yard.ended(yard.submit("echo ran", definition=f"pull-{name}"))
            if name == "good":
                assert yard.lines(jobs[0]["jobId"]) == ["ran"]
                assert jobs[0]["container"]["repositoryCredentials"] == {
                    "credentialsParameter": good["ARN"]
                }
    assert [job["status"] for job in jobs] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert jobs[1]["attempts"][0]["container"]["reason"] == (
        "ResourceInitializationError: unable to pull secrets or registry auth: the secret"
        f" {odd['ARN']} is no JSON object with username and password"
    )
    assert PASSWORD not in json.dumps([job["container"] for job in jobs]) + yard.log()


def test_instances_of_a_service_job_find_each_other(yard: LiveYard, tmp_path: Path) -> None:
    lab = Lab(yard, tmp_path)
    lab.make_queue()
    alone = lab.submit('grep -c "$(hostname)" /etc/hosts')
    assert lab.ended(alone)["status"] == "SUCCEEDED", "it knows its own name"
    job_id = lab.submit(RING, count=3)
    job = lab.ended(job_id)
    assert job["status"] == "SUCCEEDED", (job["statusReason"], lab.lines(job_id))
    assert lab.lines(job_id) == {
        "algo-1": ["I am algo-2"],
        "algo-2": ["I am algo-3"],
        "algo-3": ["I am algo-1"],
    }
    kept = yard.data_path / "training-results" / lab.name_of(job_id) / "output" / "model.tar.gz"
    with tarfile.open(kept) as model:
        assert model.getnames() == ["algo-1", "algo-2", "algo-3"]
