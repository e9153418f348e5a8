"""A task asks the server about itself, as it would ask the container agent."""

import json
import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from batchyard.access.keys import KeyRing
from batchyard.access.sessions import SessionKeys
from batchyard.access.task_tokens import INSTANCE_METADATA_PATH, TaskTokens
from batchyard.api import sts
from batchyard.model.amounts import Amount
from batchyard.model.ids import Scope, TaskId
from batchyard.model.instances import InstanceId
from batchyard.model.task_facts import ContainerFacts, InstanceFacts, TaskFacts
from batchyard.store import StoreTrouble
from batchyard.wire.app import read_wall_clock_ms
from batchyard.wire.instance_metadata import InstanceMetadata
from batchyard.wire.task_endpoint import ROLE_KEYS_LIFE_MS, TaskEndpoint, is_on_this_machine

from .conftest import ACCOUNT, KEY, REGION
from .raw import send_plain

SECRET = b"s" * 32
SESSIONS = SessionKeys(SECRET)
TOKENS = TaskTokens(SECRET)
TASK = TaskId("0123456789abcdef" * 2)
OTHER = TaskId("f" * 32)
NO_ROLE = TaskId("e" * 32)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
CLUSTER = "ce_Batch_0"
ARN = f"arn:aws:ecs:{REGION}:{ACCOUNT}"
NOW_MS = 1_750_000_000_123


def facts(task_id: TaskId = TASK, **members) -> TaskFacts:
    given: dict[str, Any] = {
        "task_id": task_id,
        "scope": Scope(ACCOUNT, REGION),
        "task_arn": f"{ARN}:task/{CLUSTER}/{task_id}",
        "cluster": CLUSTER,
        "family": "render",
        "revision": "7",
        "is_fargate": False,
        "availability_zone": f"{REGION}a",
        "is_running": True,
        "role_arn": ROLE,
        "started_ms": NOW_MS,
        "tags": {"team": "a"},
        "containers": (
            ContainerFacts(
                name="default",
                image="busybox",
                limits=Amount(cpu_milli=1500, memory_mib=512),
                log_driver="awslogs",
                log_options={"awslogs-group": "/aws/batch/job"},
                created_ms=NOW_MS - 1000,
                started_ms=NOW_MS,
            ),
            ContainerFacts(
                name="side",
                image="logs:1",
                limits=Amount(cpu_milli=500, memory_mib=64),
                network_mode="awsvpc",
                address="10.0.0.7",
                exit_code=3,
            ),
        ),
    }
    return TaskFacts(**(given | members))


class Yard:
    """A server with two tasks that run; what is told of them can be changed."""

    def __init__(
        self, serve, sessions: SessionKeys | None = SESSIONS, now_ms=lambda: NOW_MS
    ) -> None:
        self.trouble: Exception | None = None
        self.tasks = {TASK: facts(), OTHER: facts(OTHER), NO_ROLE: facts(NO_ROLE, role_arn=None)}
        endpoint = TaskEndpoint(
            describe_task=self._describe, tokens=TOKENS, sessions=sessions, now_ms=now_ms
        )
        instances = InstanceMetadata(describe_task=self._describe, tokens=TOKENS)
        routes = {**endpoint.routes(), INSTANCE_METADATA_PATH: instances}
        self.server = serve(sts.handlers(), keys=KeyRing([KEY], SESSIONS), extra_routes=routes)

    async def _describe(self, task_id: TaskId) -> TaskFacts | None:
        if self.trouble is not None:
            raise self.trouble
        return self.tasks.get(task_id)

    def metadata(self, rest="", *, container="default", version="_V4", task_id=TASK):
        variables = TOKENS.metadata_variables(self.server.url, task_id, container)
        path = urlsplit(variables[f"ECS_CONTAINER_METADATA_URI{version}"]).path
        return send_plain(self.server, "GET", path + rest)

    def instance(self, path="meta-data/", *, method="GET", token_of=TASK, headers=None):
        """Ask as an SDK would that goes by the variable."""
        variables = TOKENS.instance_variables(self.server.url, token_of, "default")
        base = urlsplit(variables["AWS_EC2_METADATA_SERVICE_ENDPOINT"]).path
        path = base.replace(token_of, TASK) + "latest/" + path
        return send_plain(self.server, method, path, headers=headers or {})

    def credentials(self, task_id=TASK, token_of=TASK, method="GET"):
        path = f"/batchyard/v1/credentials/{task_id}"
        variables = TOKENS.credentials_variables(self.server.url, token_of)
        token = variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
        return send_plain(self.server, method, path, headers={"Authorization": token})


@pytest.fixture
def yard(serve) -> Yard:
    return Yard(serve)


@pytest.mark.aws_documented
def test_a_container_s_own_metadata(yard):
    answer = yard.metadata()
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    shown = answer.json
    assert len(shown.pop("DockerId")) == 64
    assert shown == {
        "Name": "default",
        "DockerName": f"ecs-render-7-default-{TASK}",
        "Image": "busybox",
        "Labels": {
            "com.amazonaws.ecs.cluster": CLUSTER,
            "com.amazonaws.ecs.container-name": "default",
            "com.amazonaws.ecs.task-arn": f"{ARN}:task/{CLUSTER}/{TASK}",
            "com.amazonaws.ecs.task-definition-family": "render",
            "com.amazonaws.ecs.task-definition-version": "7",
        },
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 1536, "Memory": 512},
        "CreatedAt": "2025-06-15T15:06:39.123Z",
        "StartedAt": "2025-06-15T15:06:40.123Z",
        "Type": "NORMAL",
        "LogDriver": "awslogs",
        "LogOptions": {"awslogs-group": "/aws/batch/job"},
        "ContainerARN": f"{ARN}:container/{CLUSTER}/{TASK}/default",
        "Networks": [{"NetworkMode": "host"}],
    }


@pytest.mark.aws_documented
def test_a_task_s_metadata(yard):
    shown = yard.metadata("/task").json
    containers = shown.pop("Containers")
    assert shown == {
        "Cluster": CLUSTER,
        "TaskARN": f"{ARN}:task/{CLUSTER}/{TASK}",
        "Family": "render",
        "Revision": "7",
        "DesiredStatus": "RUNNING",
        "KnownStatus": "RUNNING",
        "Limits": {"CPU": 2.0, "Memory": 576},
        "AvailabilityZone": f"{REGION}a",
        "PullStoppedAt": "2025-06-15T15:06:40.123Z",
        "LaunchType": "EC2",
    }
    assert [each["Name"] for each in containers] == ["default", "side"]
    side = containers[1]
    assert side["Networks"] == [{"NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.0.7"]}]
    assert (side["KnownStatus"], side["ExitCode"]) == ("STOPPED", 3)
    assert "LogDriver" not in side
    assert yard.metadata("/taskWithTags").json["TaskTags"] == {"team": "a"}
    assert yard.metadata("/task", container="side").json == yard.metadata("/task").json


@pytest.mark.aws_documented
def test_version_3_lacks_what_came_with_4(yard):
    shown = yard.metadata(version="").json
    assert "ContainerARN" not in shown
    assert "LogDriver" not in shown
    assert "LaunchType" not in yard.metadata("/task", version="").json


@pytest.mark.ours_only
def test_statistics_hold_what_is_known(yard):
    shown = yard.metadata("/stats").json
    assert shown == {
        "read": "2025-06-15T15:06:40.123Z",
        "name": f"/ecs-render-7-default-{TASK}",
        "id": yard.metadata().json["DockerId"],
        "memory_stats": {"limit": 512 * 1024 * 1024},
    }
    assert yard.metadata("/task/stats").json[shown["id"]] == shown
    assert len(yard.metadata("/task/stats").json) == 2


@pytest.mark.aws_documented
def test_states_and_ids_on_fargate(yard):
    yard.tasks[TASK] = facts(
        is_fargate=True,
        is_running=False,
        is_stopping=True,
        containers=(ContainerFacts(name="default", image="i", limits=Amount()),),
    )
    shown = yard.metadata("/task").json
    assert (shown["DesiredStatus"], shown["KnownStatus"]) == ("STOPPED", "PENDING")
    assert shown["LaunchType"] == "FARGATE"
    [container] = shown["Containers"]
    assert container["KnownStatus"] == "CREATED"
    assert container["DockerId"].startswith(f"{TASK}-")


@pytest.mark.ours_only
def test_only_the_container_s_own_token_is_let_in(yard):
    path = urlsplit(
        TOKENS.metadata_variables("http://x", TASK, "default")["ECS_CONTAINER_METADATA_URI_V4"]
    ).path
    for other in (
        path.replace(TASK, OTHER),
        path.replace("default", "side"),
        path[:-1] + ("0" if path[-1] != "0" else "1"),
    ):
        answer = send_plain(yard.server, "GET", other)
        assert (answer.status, answer.json["code"]) == (403, "AccessDenied")
    for nothing in (path + "/tasks", path.replace("/v4/", "/v2/"), "/batchyard/v1/metadata/"):
        assert send_plain(yard.server, "GET", nothing).status == 404
    assert send_plain(yard.server, "POST", path).status == 405
    del yard.tasks[TASK]
    assert yard.metadata().status == 404


@pytest.mark.aws_documented
def test_a_task_is_given_the_keys_of_its_role(yard):
    answer = yard.credentials()
    assert answer.status == 200
    shown = answer.json
    session = SESSIONS.find(shown["Token"])
    assert session is not None
    assert session.key.principal_arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/{TASK}"
    assert session.expires_ms == NOW_MS + ROLE_KEYS_LIFE_MS
    assert shown == {
        "RoleArn": ROLE,
        "AccessKeyId": session.key.id,
        "SecretAccessKey": session.key.secret,
        "Token": shown["Token"],
        "Expiration": "2025-06-15T16:06:40.123Z",
    }


@pytest.mark.ours_only
def test_keys_are_for_the_task_s_own_token_while_it_runs(yard, serve):
    assert yard.credentials(token_of=OTHER).status == 403
    assert yard.credentials(task_id=OTHER).status == 403
    assert yard.credentials(NO_ROLE, token_of=NO_ROLE).status == 404
    assert yard.credentials(method="POST").status == 405
    path = f"/batchyard/v1/credentials/{TASK}"
    assert send_plain(yard.server, "GET", path).json["code"] == "AccessDenied"
    del yard.tasks[TASK]
    assert (yard.credentials().status, yard.credentials().json["code"]) == (
        404,
        "InvalidIdInRequest",
    )
    assert Yard(serve, sessions=None).credentials().status == 403


@pytest.mark.ours_only
def test_trouble_of_the_store_is_told(yard):
    yard.trouble = StoreTrouble("the disk is full")
    for answer in (yard.metadata(), yard.credentials()):
        assert (answer.status, answer.json) == (
            503,
            {"code": "ServiceUnavailable", "message": "the disk is full"},
        )


@pytest.mark.ours_only
@pytest.mark.parametrize(
    ("peer", "ours", "is_here"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.3.2.1", "192.0.2.7", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.2.8", "192.0.2.7", False),
        ("::ffff:192.0.2.8", "::ffff:192.0.2.7", False),
        ("2001:db8::1", "2001:db8::2", False),
    ],
)
def test_who_is_on_this_machine(peer, ours, is_here):
    assert is_on_this_machine(peer, ours) is is_here


_PROGRAM = """
import boto3, json
who = boto3.client("sts").get_caller_identity()
print(json.dumps({"arn": who["Arn"], "account": who["Account"]}))
"""


@pytest.mark.slow
@pytest.mark.aws_documented
def test_boto3_in_a_job_needs_no_configuration(serve, tmp_path):
    server = Yard(serve, now_ms=read_wall_clock_ms).server
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": server.url,
        **TOKENS.credentials_variables(server.url, TASK),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/reader/{TASK}",
        "account": ACCOUNT,
    }


def spot(interrupted_ms: int | None = None) -> InstanceFacts:
    return InstanceFacts(
        id=InstanceId("i-0"), type="m6i.large", is_spot=True, interrupted_ms=interrupted_ms
    )


@pytest.mark.aws_documented
def test_a_task_sees_its_instance_and_the_notice_once_there_is_one(yard):
    yard.tasks[TASK] = facts(instance=spot())
    assert yard.instance().body.decode().splitlines() == [
        *("instance-id", "instance-life-cycle", "instance-type", "placement/"),
    ]
    assert yard.instance("meta-data/instance-life-cycle").body == b"spot"
    assert yard.instance("meta-data/placement/region").body == REGION.encode()
    for nothing in ("meta-data/spot/instance-action", "meta-data/iam/", "user-data", ""):
        assert yard.instance(nothing).status == 404, nothing
    yard.tasks[TASK] = facts(instance=spot(interrupted_ms=NOW_MS))
    assert yard.instance("meta-data/spot/instance-action").json == {
        "action": "terminate",
        "time": "2025-06-15T15:06:40Z",
    }
    assert yard.instance("meta-data/spot/termination-time").body == b"2025-06-15T15:06:40Z"


@pytest.mark.aws_documented
def test_both_versions_of_instance_metadata_are_spoken(yard):
    yard.tasks[TASK] = facts(instance=spot())
    asked = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    given = yard.instance("api/token", method="PUT", headers=asked)
    assert given.status == 200
    assert given.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "60"
    shown = {"X-aws-ec2-metadata-token": given.body.decode()}
    assert yard.instance("meta-data/instance-id", headers=shown).body == b"i-0"
    assert yard.instance("meta-data/instance-id", method="PUT").status == 404
    assert yard.instance("meta-data/instance-id", method="POST").status == 405


@pytest.mark.ours_only
def test_instance_metadata_are_for_the_container_s_own_token_alone(yard):
    yard.tasks[TASK] = facts(instance=spot())
    assert yard.instance("meta-data/instance-id", token_of=OTHER).status == 403
    yard.tasks[TASK] = facts()
    assert yard.instance("meta-data/instance-id").status == 404
    yard.trouble = StoreTrouble("disk full")
    assert yard.instance("meta-data/instance-id").status == 503
