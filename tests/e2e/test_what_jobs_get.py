"""Secrets, endpoints and log drivers, with a real server, real containers and a real peer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.e2e.live_yard import REGION, LiveYard, live_yard, until
from tests.fixtures.moto import moto_url as moto_url

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

ROLES = "arn:aws:iam::000000000000:role"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "key"}


@pytest.fixture(scope="module")
def yard(moto_url: str) -> Iterator[LiveYard]:
    environ = {
        **KEYS,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto_url,
        "AWS_ENDPOINT_URL_SSM": moto_url,
    }
    with live_yard(environ=environ, is_endpoint_given_to_jobs="true") as made:
        made.make_queue()
        yield made


def run(yard: LiveYard, name: str, script: str, **container: Any) -> dict[str, Any]:
    """Register a definition, run a script with it, and describe the job's end."""
    yard.register(name, **container)
    (job,) = yard.ended(yard.submit(script, definition=name))
    return job


def with_logs(driver: str, **options: str) -> dict[str, Any]:
    return {"logConfiguration": {"logDriver": driver, "options": options}}


def json_logs(yard: LiveYard, job: dict[str, Any]) -> Path:
    return yard.data_path / "json-logs" / job["container"]["taskArn"].rsplit("/", 1)[-1]


def test_secrets_are_in_the_environment_and_nowhere_else(yard: LiveYard, moto_url: str) -> None:
    def peer(service: str) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=moto_url,
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="key",
        )

    value = "hush-7f3a"
    secret = peer("secretsmanager").create_secret(
        Name="e2e-db", SecretString=json.dumps({"password": value})
    )
    peer("ssm").put_parameter(Name="/e2e/token", Value=value, Type="SecureString")
    secrets = [
        {"name": "PASSWORD", "valueFrom": f"{secret['ARN']}:password::"},
        {"name": "TOKEN", "valueFrom": "/e2e/token"},
    ]
    job = run(
        yard,
        "with-secrets",
        f'test "$PASSWORD" = {value} && test "$TOKEN" = {value} && echo same',
        executionRoleArn=f"{ROLES}/execution",
        secrets=secrets,
    )
    assert (job["status"], yard.lines(job["jobId"])) == ("SUCCEEDED", ["same"])
    assert job["container"]["secrets"] == secrets
    shown = json.dumps(job["container"]["environment"]) + yard.log()
    assert value not in shown


def test_a_secret_that_is_not_there_fails_the_attempt(yard: LiveYard) -> None:
    job = run(
        yard,
        "no-secret",
        "true",
        executionRoleArn=f"{ROLES}/execution",
        secrets=[{"name": "TOKEN", "valueFrom": "/e2e/none"}],
    )
    assert job["status"] == "FAILED"
    assert job["statusReason"] == "Task failed to start"
    assert job["attempts"][0]["container"]["reason"] == (
        "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve"
        " secrets from ssm: invalid parameters: /e2e/none"
    )


def test_a_job_reads_its_own_metadata(yard: LiveYard) -> None:
    # The server may hear of the start a moment after the container can ask.
    script = (
        "ask() { wget -qO- $ECS_CONTAINER_METADATA_URI_V4$1; };"
        """ until ask /task | grep -q '"KnownStatus":"RUNNING"'; do sleep 0.05; done;"""
        " ask; echo; ask /task"
    )
    job = run(yard, "metadata", script)
    container, task = (json.loads(line) for line in yard.lines(job["jobId"]))
    assert task["TaskARN"] == job["container"]["taskArn"]
    assert (task["Family"], task["KnownStatus"]) == ("metadata", "RUNNING")
    assert (container["Name"], container["Image"]) == ("default", "busybox")
    assert container["Limits"] == {"CPU": 1024, "Memory": 16}
    assert container in task["Containers"]


def test_a_job_with_a_role_gets_keys_that_sign(yard: LiveYard) -> None:
    script = (
        'wget -qO- --header "Authorization: $AWS_CONTAINER_AUTHORIZATION_TOKEN"'
        ' "$AWS_CONTAINER_CREDENTIALS_FULL_URI"; echo; echo "$AWS_ENDPOINT_URL"'
    )
    job = run(yard, "with-role", script, jobRoleArn=f"{ROLES}/submitter")
    answer, endpoint = yard.lines(job["jobId"])
    keys = json.loads(answer)
    client = boto3.client(
        "sts",
        region_name=REGION,
        endpoint_url=endpoint,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    )
    task_id = job["container"]["taskArn"].rsplit("/", 1)[-1]
    assert client.get_caller_identity()["Arn"] == (
        f"arn:aws:sts::000000000000:assumed-role/submitter/{task_id}"
    )
    without = run(yard, "without-role", 'echo "[$AWS_CONTAINER_CREDENTIALS_FULL_URI]"')
    assert yard.lines(without["jobId"]) == ["[]"]


def test_lines_of_one_event_stay_together_also_over_a_kill(yard: LiveYard) -> None:
    script = (
        'echo "2026-11-26 one"; echo "  more of one"; echo "2026-11-26 two"; echo "  more";'
        " while [ ! -e /ledger/go ]; do sleep 0.05; done;"
        ' echo "  of two"; echo "2026-11-26 three"'
    )
    yard.register("events", **with_logs("awslogs", **{"awslogs-datetime-format": "%Y-%m-%d"}))
    job_id = yard.submit(script, definition="events")
    one = "2026-11-26 one\n  more of one\n"
    yard.reach("RUNNING", job_id)
    until(lambda: yard.lines(job_id), "the first event")
    assert yard.lines(job_id)[0] == one
    yard.restart_after_kill()
    yard.release("go")
    yard.ended(job_id)
    events = yard.lines(job_id)
    # The second may have been 5 seconds old by the time its last line came.
    assert events[0] == one
    assert "".join(events[1:-1]) == "2026-11-26 two\n  more\n  of two\n"
    assert events[-1] == "2026-11-26 three\n"


def test_a_pattern_that_is_none_fails_the_attempt(yard: LiveYard) -> None:
    job = run(
        yard, "bad-pattern", "true", **with_logs("awslogs", **{"awslogs-multiline-pattern": "("})
    )
    assert job["status"] == "FAILED"
    assert job["attempts"][0]["container"]["reason"].startswith(
        "CannotStartContainerError: Error response from daemon: failed to initialize logging"
        ' driver: awslogs could not parse multiline pattern key "(": error parsing regexp: '
    )


def test_json_files_are_docker_s(yard: LiveYard) -> None:
    script = "for i in 1 2 3 4 5 6 7; do echo line $i; done; echo oops >&2"
    options = {"max-size": "150", "max-file": "3"}
    job = run(yard, "json-file", script, **with_logs("json-file", **options))
    assert job["status"] == "SUCCEEDED"
    assert "logStreamName" not in job["container"]
    folder = json_logs(yard, job)
    found = [
        json.loads(line)
        for name in ("default-json.log.2", "default-json.log.1", "default-json.log")
        for line in (folder / name).read_text().splitlines()
    ]
    told = [each["log"] for each in found if each["stream"] == "stdout"]
    assert told == [f"line {number}\n" for number in range(8 - len(told), 8)]
    assert [each["log"] for each in found if each["stream"] == "stderr"] in (["oops\n"], [])
    assert set(found[0]) == {"log", "stream", "time"}


def test_nothing_is_kept_of_what_nobody_wants(yard: LiveYard) -> None:
    job = run(yard, "none", "echo secret", **with_logs("none"))
    assert job["status"] == "SUCCEEDED"
    assert "logStreamName" not in job["container"]
    assert not json_logs(yard, job).exists()
