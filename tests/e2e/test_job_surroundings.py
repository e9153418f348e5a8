"""What surrounds a job: secrets, where its output goes, what it can learn of itself and ask for.

Secrets come from moto's server, which answers for Secrets Manager and Parameter Store.
"""

import json
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from batchyard.compute.local.images.image_store import ImageStore
from tests.e2e.distribution import FOLDERS, folder_volumes, make_distribution_image
from tests.e2e.live_yard import REGION, LiveYard, live_yard
from tests.e2e.seen import EXECUTION_ROLE, FARGATE_QUEUE, fargate, see, start, why_not
from tests.fixtures.moto import moto_url as moto_url

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

JOB_ROLE = "arn:aws:iam::000000000000:role/jobs"
#: The interpreter that runs these tests, and what is installed for it: jobs may use both, too.
INTERPRETER = str(Path(sys.executable).resolve())
PACKAGES = sysconfig.get_path("purelib")
PYTHON_FOLDERS = tuple(
    path
    for path in (str(Path(sys.base_prefix).resolve()), PACKAGES)
    if not f"{path}/".startswith("/usr/")
)


@pytest.fixture(scope="module")
def yard(moto_url: str) -> Iterator[LiveYard]:
    with live_yard(
        machine_vcpus=32,
        more_host_paths=(*FOLDERS, *PYTHON_FOLDERS),
        is_endpoint_given_to_jobs=True,
        environ={
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": moto_url,
            "AWS_ENDPOINT_URL_SSM": moto_url,
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "key",
        },
    ) as made:
        made.make_queue()
        made.make_other_queue(FARGATE_QUEUE, kind="FARGATE")
        yield made


# -- secrets ----------------------------------------------------------------------------------


def test_secrets_in_every_form(yard: LiveYard, moto_url: str) -> None:
    manager, ssm = (
        boto3.client(
            name,
            region_name=REGION,
            endpoint_url=moto_url,
            aws_access_key_id="a",
            aws_secret_access_key="b",
        )
        for name in ("secretsmanager", "ssm")
    )
    first = '{"user": "old", "port": 1}'
    second = '{"user": "ann", "port": 5432}'
    made = manager.create_secret(Name="prod/db", SecretString=first)
    manager.put_secret_value(SecretId=made["ARN"], SecretString=second)
    for name in ("/prod/token", "bare"):
        ssm.put_parameter(Name=name, Value=f"value of {name}", Type="SecureString")
    arn, parameter = made["ARN"], f"arn:aws:ssm:{REGION}:123456789012:parameter"
    wanted = {
        "WHOLE": (arn, second),
        "KEY": (f"{arn}:user::", "ann"),
        "NUMBER": (f"{arn}:port::", "5432"),
        "STAGE": (f"{arn}:user:AWSPREVIOUS:", "old"),
        "VERSION": (f"{arn}:user::{made['VersionId']}", "old"),
        "NAME": ("/prod/token", "value of /prod/token"),
        "BARE": ("bare", "value of bare"),
        "ARN": (f"{parameter}/prod/token", "value of /prod/token"),
    }
    secrets = [{"name": name, "valueFrom": source} for name, (source, _) in wanted.items()]
    members: dict[str, Any] = {"secrets": secrets, "executionRoleArn": EXECUTION_ROLE}
    look = "".join(f'echo "{name}=${name}"\n' for name in wanted)
    job_id = start(yard, look, **members)
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED"
    assert yard.lines(job_id) == [f"{name}={value}" for name, (_, value) in wanted.items()]
    assert job["container"]["secrets"] == secrets
    assert see(yard, "env | grep -c ^WHOLE=", **members) == ["1"]
    # What is secret is nowhere else.
    shown = json.dumps(job, default=str) + yard.log()
    assert "5432" not in shown
    assert "value of" not in shown

    manager.create_secret(Name="words", SecretString="no JSON")
    prefix = "ResourceInitializationError: unable to pull secrets or registry auth: "
    gone = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:gone-AbCdEf"
    for value_from, text in (
        (f"{arn}:nothing::", "did not contain json key nothing"),
        (gone, "ResourceNotFoundException"),
        ("/gone", "invalid parameters: /gone"),
    ):
        secret = {"name": "S", "valueFrom": value_from}
        reason = why_not(yard, secrets=[secret], executionRoleArn=EXECUTION_ROLE)
        assert reason.startswith(prefix)
        assert text in reason


# -- output -----------------------------------------------------------------------------------


def logs(driver: str = "awslogs", **options: str) -> dict[str, Any]:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return {"logConfiguration": {"logDriver": driver, "options": named}}


def test_output_is_kept_whatever_the_mode(yard: LiveYard) -> None:
    lines = see(yard, "seq 5000", **logs(mode="non-blocking", max_buffer_size="1m"))
    assert lines == [str(number) for number in range(1, 5001)]


def test_awslogs_to_a_group_and_stream_of_its_own(yard: LiveYard) -> None:
    options = {"awslogs_group": "/mine", "awslogs_stream_prefix": "prefix"}
    reason = why_not(yard, **logs(**options))
    assert reason == (
        "CannotStartContainerError: Error response from daemon: failed to initialize logging"
        " driver: failed to create Cloudwatch log stream: ResourceNotFoundException: The specified"
        " log group does not exist."
    )
    job_id = start(yard, "echo hello", **logs(**options, awslogs_create_group="true"))
    [job] = yard.ended(job_id)
    stream = job["container"]["logStreamName"]
    assert re.fullmatch(r"prefix/default/[0-9a-f]{32}", stream)
    assert yard.lines_of(stream, "/mine") == ["hello"]
    elsewhere = {**options, "awslogs_region": "eu-west-1", "awslogs_create_group": "true"}
    [job] = yard.ended(start(yard, "echo there", **logs(**elsewhere)))
    assert job["status"] == "SUCCEEDED"
    abroad = boto3.client(
        "logs",
        region_name="eu-west-1",
        endpoint_url=yard.endpoint,
        aws_access_key_id=yard.key["access_key_id"],
        aws_secret_access_key=yard.key["secret_access_key"],
    )
    page = abroad.filter_log_events(logGroupName="/mine")
    assert [each["message"] for each in page["events"]] == ["there"]


@pytest.mark.parametrize(
    "options",
    [
        {"awslogs_multiline_pattern": "^(INFO|ERROR)"},
        {"awslogs_datetime_format": "\\[%b %d, %Y %H:%M:%S\\]"},
    ],
)
def test_events_of_several_lines(yard: LiveYard, options: dict[str, str]) -> None:
    marks = ("INFO", "ERROR")
    if "awslogs_datetime_format" in options:
        marks = ("[Nov 26, 2026 10:11:12]", "[Nov 26, 2026 10:11:13]")
    script = f"printf '%s\\n' '{marks[0]} one' ' more' '{marks[1]} two' ' at a' ' at b'"
    assert see(yard, script, **logs(**options)) == [
        f"{marks[0]} one\n more\n",
        f"{marks[1]} two\n at a\n at b\n",
    ]


def test_a_pattern_that_is_none_keeps_the_container_from_starting(yard: LiveYard) -> None:
    reason = why_not(yard, **logs(awslogs_multiline_pattern="("))
    assert reason.startswith(
        "CannotStartContainerError: Error response from daemon: failed to initialize logging"
        ' driver: awslogs could not parse multiline pattern key "("'
    )


def test_json_files(yard: LiveYard) -> None:
    """Docker's files, with its rotation, in the data folder; nothing is in a log stream."""
    script = "echo out; echo error >&2; i=0; while [ $i -lt 40 ]; do echo $i; i=$((i+1)); done"
    job_id = start(yard, script, **logs("json-file", max_size="1k", max_file="3"))
    [job] = yard.ended(job_id)
    assert job["status"] == "SUCCEEDED"
    assert "logStreamName" not in job["container"]
    folder = yard.data_path / "json-logs" / job["container"]["taskArn"].rpartition("/")[2]
    names = [f"default-json.log{end}" for end in (".2", ".1", "")]
    assert {path.name for path in folder.glob("default-json.log*")} == set(names)
    lines = [line for name in names for line in json_lines(folder / name)]
    printed = [each["log"] for each in lines if each["stream"] == "stdout"]
    assert printed[-3:] == ["37\n", "38\n", "39\n"]
    assert all((folder / name).stat().st_size < 1200 for name in names)
    plain = start(yard, "echo out; echo error >&2", **logs("json-file"))
    [job] = yard.ended(plain)
    folder = yard.data_path / "json-logs" / job["container"]["taskArn"].rpartition("/")[2]
    lines = json_lines(folder / "default-json.log")
    assert sorted((each["stream"], each["log"]) for each in lines) == [
        ("stderr", "error\n"),
        ("stdout", "out\n"),
    ]


def json_lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_output_that_nobody_keeps(yard: LiveYard) -> None:
    [job] = yard.ended(start(yard, "seq 100000", **logs("none")))
    assert job["status"] == "SUCCEEDED"
    assert "logStreamName" not in job["container"]
    assert not (
        yard.data_path / "json-logs" / job["container"]["taskArn"].rpartition("/")[2]
    ).exists()


@pytest.mark.parametrize("driver", ["syslog", "splunk", "fluentd", "awsfirelens"])
def test_drivers_that_are_not_here_are_refused(yard: LiveYard, driver: str) -> None:
    with pytest.raises(yard.batch.exceptions.ClientException, match=driver):
        start(yard, "true", **logs(driver))


# -- what a job knows -------------------------------------------------------------------------


def test_the_environment_is_what_was_asked_for_and_what_batch_tells(yard: LiveYard) -> None:
    own = [{"name": "COLOUR", "value": "blue"}, {"name": "EMPTY", "value": ""}]
    over = [{"name": "COLOUR", "value": "red green"}, {"name": "AWS_REGION", "value": "mars"}]
    job_id = start(
        yard,
        "env | grep -v -e URI -e _METADATA_ -e ^SHLVL= -e ^PWD= -e ^HOSTNAME= | sort",
        environment=own,
        submission={"containerOverrides": {"environment": over}},
    )
    yard.ended(job_id)
    assert yard.lines(job_id) == sorted(
        [
            "AWS_BATCH_CE_NAME=queue",
            "AWS_BATCH_JOB_ATTEMPT=1",
            f"AWS_BATCH_JOB_ID={job_id}",
            "AWS_BATCH_JQ_NAME=queue",
            f"AWS_DEFAULT_REGION={REGION}",
            f"AWS_ENDPOINT_URL={yard.endpoint}",
            "AWS_EXECUTION_ENV=AWS_ECS_EC2",
            "AWS_REGION=mars",
            "COLOUR=red green",
            "EMPTY=",
            "HOME=/root",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ]
    )
    on_fargate = fargate(yard, "echo $AWS_EXECUTION_ENV $AWS_BATCH_JQ_NAME $AWS_BATCH_CE_NAME")
    yard.ended(on_fargate)
    assert yard.lines(on_fargate) == ["AWS_ECS_FARGATE fargate fargate"]


def test_the_command_has_its_parameters(yard: LiveYard) -> None:
    job_id = start(
        yard,
        "",
        command=["echo", "Ref::one", "a-Ref::two/b", "Ref::one $HOME"],
        parameters={"one": "first", "two": "second"},
        submission={"parameters": {"two": "other one"}},
    )
    yard.ended(job_id)
    assert yard.lines(job_id) == ["first a-other one/b first $HOME"]
    assert yard.job(job_id)["parameters"] == {"one": "first", "two": "other one"}


def metadata(yard: LiveYard, *paths: str, **members: Any) -> list[Any]:
    """Ask from inside, once the server knows what the container knows: that it runs."""
    ask = 'wget -qO- "$ECS_CONTAINER_METADATA_URI_V4{}"'
    script = f"until {ask.format('')} | grep -q KnownStatus...RUNNING; do :; done\n"
    script += "".join(f"{ask.format(path)}; echo\n" for path in paths)
    return [json.loads(line) for line in see(yard, script, **members)]


def test_the_metadata_endpoint(yard: LiveYard) -> None:
    container, task, stats = metadata(yard, "", "/task", "/task/stats")
    assert container["Name"] == "default"
    assert container["Image"] == "busybox"
    assert container["Limits"] == {"CPU": 1024, "Memory": 32}
    assert container["KnownStatus"] == "RUNNING"
    assert container["LogDriver"] == "awslogs"
    assert (task["Family"], task["LaunchType"], task["KnownStatus"]) == ("seen", "EC2", "RUNNING")
    assert re.fullmatch(
        r"arn:aws:ecs:us-east-1:000000000000:task/\S+/[0-9a-f]{32}", task["TaskARN"]
    )
    assert [each["DockerId"] for each in task["Containers"]] == [container["DockerId"]]
    assert set(stats) == {container["DockerId"]}
    job_id = fargate(yard, 'wget -qO- "$ECS_CONTAINER_METADATA_URI_V4/task"')
    yard.ended(job_id)
    [line] = yard.lines(job_id)
    assert json.loads(line)["LaunchType"] == "FARGATE"


def test_tags_reach_the_task_if_they_are_propagated(yard: LiveYard) -> None:
    tags: dict[str, Any] = {
        "tags": {"team": "lab", "of": "definition"},
        "submission": {"tags": {"of": "job", "mine": "1"}},
    }
    [apart] = metadata(yard, "/taskWithTags", **tags)
    assert apart.get("TaskTags", {}) == {}
    [joined] = metadata(yard, "/taskWithTags", propagateTags=True, **tags)
    assert joined["TaskTags"] == {"team": "lab", "of": "job", "mine": "1"}
    over = {**tags, "submission": {**tags["submission"], "propagateTags": False}}
    [refused] = metadata(yard, "/taskWithTags", propagateTags=True, **over)
    assert refused.get("TaskTags", {}) == {}


def test_more_tags_than_a_task_can_have_fail_the_job(yard: LiveYard) -> None:
    job_id = start(
        yard,
        "echo never",
        propagateTags=True,
        tags={f"d{number}": "" for number in range(30)},
        submission={"tags": {f"j{number}": "" for number in range(21)}},
    )
    [job] = yard.ended(job_id)
    assert job["status"] == "FAILED"


ASK = """
import json, os, boto3
from urllib.request import urlopen
identity = boto3.client("sts").get_caller_identity()
batch = boto3.client("batch")
[me] = batch.describe_jobs(jobs=[os.environ["AWS_BATCH_JOB_ID"]])["jobs"]
child = batch.submit_job(
    jobName="child", jobQueue=os.environ["AWS_BATCH_JQ_NAME"], jobDefinition="definition",
    containerOverrides={"command": ["sh", "-c", "touch /ledger/child-ran"]},
)["jobId"]
task = json.load(urlopen(os.environ["ECS_CONTAINER_METADATA_URI_V4"] + "/task"))
print(json.dumps({"arn": identity["Arn"], "status": me["status"], "child": child,
    "task": task["TaskARN"], "is_same": task["TaskARN"] == me["container"]["taskArn"]}))
"""


def test_boto3_in_a_job_needs_no_configuration(yard: LiveYard) -> None:
    """The python and boto3 that run this test, in a container: it looks at itself and submits."""
    make_distribution_image(ImageStore(yard.data_path), "python")
    folders = folder_volumes(*PYTHON_FOLDERS)
    requirements = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}]
    [line] = see(
        yard,
        "",
        image="python",
        command=[INTERPRETER, "-c", ASK],
        environment=[{"name": "PYTHONPATH", "value": PACKAGES}],
        jobRoleArn=JOB_ROLE,
        resourceRequirements=requirements,
        **folders,
    )
    told = json.loads(line)
    task_id = told["task"].rpartition("/")[2]
    assert told["arn"] == f"arn:aws:sts::000000000000:assumed-role/jobs/{task_id}"
    assert (told["is_same"], told["status"]) == (True, "RUNNING")
    [child] = yard.ended(told["child"])
    assert child["status"] == "SUCCEEDED"
    assert (yard.ledger_path / "child-ran").exists()
    # Without a role there are no keys.
    assert see(yard, "env | grep -c CREDENTIALS; true") == ["0"]
