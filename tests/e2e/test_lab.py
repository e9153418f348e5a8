"""The hands-on lab of AWS Batch, with the real `aws` command: answers compared field by field.

Goal: what a user of AWS Batch sees on the terminal is what AWS shows. Method: AWS's own tutorials,
step by step; whole answers are compared, so that a member too many is a failure like one too few.
Every command is a process of its own, as it is for a user.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.lab import (
    ACCOUNT,
    BATCH,
    CONTAINER,
    ECS,
    EXECUTION_ROLE,
    FARGATE,
    ON_DEMAND,
    UUID,
    Between,
    Lab,
    Like,
    now_ms,
    open_lab,
    register,
)
from tests.e2e.live_yard import LEDGER, REGION, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with open_lab() as lab:
        yield lab


# ── environments, queues, definitions ────────────────────────────────────────────────────


def test_environments_and_queues_are_shown_as_aws_shows_them(lab: Lab):
    cluster = f"{ECS}:cluster/"
    role = f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/batch.amazonaws.com/"
    shown = lab.aws("batch", "describe-compute-environments")["computeEnvironments"]
    healthy = {
        "state": "ENABLED",
        "status": "VALID",
        "statusReason": "ComputeEnvironment Healthy",
        "containerOrchestrationType": "ECS",
        "uuid": Like(UUID),
    }
    assert shown[:2] == [
        {
            **ON_DEMAND,
            **healthy,
            # What is there now: the scheduler lets go what was idle.
            "computeResources": ON_DEMAND["computeResources"] | {"desiredvCpus": Between(0, 48)},
            "computeEnvironmentArn": f"{BATCH}:compute-environment/C4OnDemand",
            "ecsClusterArn": Like(f"{cluster}C4OnDemand_Batch_{UUID}"),
            "tags": {},
        },
        {
            **FARGATE,
            **healthy,
            "computeEnvironmentArn": f"{BATCH}:compute-environment/Serverless",
            "ecsClusterArn": Like(f"{cluster}Serverless_Batch_{UUID}"),
            "serviceRole": f"{role}AWSServiceRoleForBatch",
        },
    ]
    shown = lab.aws("batch", "describe-job-queues", "--job-queues", "Serverless", "nothing")
    assert shown == {
        "jobQueues": [
            {
                "jobQueueName": "Serverless",
                "jobQueueArn": f"{BATCH}:job-queue/Serverless",
                "state": "ENABLED",
                "status": "VALID",
                "statusReason": "JobQueue Healthy",
                "priority": 1,
                "computeEnvironmentOrder": [
                    {
                        "order": 1,
                        "computeEnvironment": f"{BATCH}:compute-environment/Serverless",
                    }
                ],
                "jobQueueType": "ECS_FARGATE",
                "jobStateTimeLimitActions": [],
                "tags": {},
            }
        ]
    }


def test_a_definition_has_revisions_and_comes_back_normalised(lab: Lab):
    for _ in range(3):
        register(
            lab,
            "revised",
            "echo Ref::what",
            parameters={"what": "nothing"},
            retryStrategy={"attempts": 2},
            timeout={"attemptDurationSeconds": 60},
            tags={"a": "b"},
        )
    lab.aws("batch", "deregister-job-definition", "--job-definition", "revised:2")
    named = ("--job-definition-name", "revised")
    shown = lab.aws("batch", "describe-job-definitions", *named, "--page-size", "1")
    found = shown["jobDefinitions"]
    assert [(each["revision"], each["status"]) for each in found] == [
        (3, "ACTIVE"),
        (2, "INACTIVE"),
        (1, "ACTIVE"),
    ]
    assert found[0] == {
        "jobDefinitionName": "revised",
        "jobDefinitionArn": f"{BATCH}:job-definition/revised:3",
        "revision": 3,
        "status": "ACTIVE",
        "type": "container",
        "parameters": {"what": "nothing"},
        "retryStrategy": {"attempts": 2},
        "timeout": {"attemptDurationSeconds": 60},
        "containerProperties": {
            "image": "busybox",
            "command": ["sh", "-c", "echo Ref::what"],
            "resourceRequirements": [
                {"type": "VCPU", "value": "1"},
                {"type": "MEMORY", "value": "64"},
            ],
            **{member: [] for member in ("environment", "mountPoints", "secrets", "ulimits")},
            "volumes": [],
        },
        "containerOrchestrationType": "ECS",
        "tags": {"a": "b"},
    }
    active = lab.aws("batch", "describe-job-definitions", *named, "--status", "ACTIVE")
    assert [each["revision"] for each in active["jobDefinitions"]] == [3, 1]


# ── one job, from its submission to its end ──────────────────────────────────────────────


TASK = Like(f"{ECS}:task/C4OnDemand_Batch_{UUID}/[0-9a-f]{{32}}")
INSTANCE = Like(f"{ECS}:container-instance/C4OnDemand_Batch_{UUID}/[0-9a-f]{{32}}")
SCRIPT = "while [ ! -e /ledger/go ]; do usleep 10000; done; exit 3"


def submit_two_attempts(lab: Lab) -> str:
    ledger: dict[str, Any] = {
        "volumes": [{"name": "ledger", "host": {"sourcePath": str(lab.yard.ledger_path)}}],
        "mountPoints": [{"sourceVolume": "ledger", "containerPath": LEDGER, "readOnly": False}],
    }
    container = {**CONTAINER, **ledger, "command": ["sh", "-c", f"echo Ref::what; {SCRIPT}"]}
    register(lab, "twice", "", containerProperties=container)
    return lab.submit(
        *("two-attempts", "twice", "--parameters", "what=hello", "--tags", "k=v"),
        *("--retry-strategy", "attempts=2", "--timeout", "attemptDurationSeconds=90"),
        *("--container-overrides", '{"environment": [{"name": "FOO", "value": "bar"}]}'),
    )


def running_job(lab: Lab, job_id: str, span: Between, stream: str) -> dict[str, Any]:
    """What AWS shows of the job while its first attempt runs."""
    return {
        "jobArn": f"{BATCH}:job/{job_id}",
        "jobName": "two-attempts",
        "jobId": job_id,
        "jobQueue": f"{BATCH}:job-queue/LowPriority",
        "jobDefinition": f"{BATCH}:job-definition/twice:1",
        "status": "RUNNING",
        "attempts": [],
        "createdAt": span,
        "startedAt": span,
        "retryStrategy": {"attempts": 2, "evaluateOnExit": []},
        "timeout": {"attemptDurationSeconds": 90},
        "dependsOn": [],
        "parameters": {"what": "hello"},
        "container": {
            **CONTAINER,
            "command": ["sh", "-c", f"echo hello; {SCRIPT}"],
            "environment": [{"name": "FOO", "value": "bar"}],
            "volumes": [{"name": "ledger", "host": {"sourcePath": str(lab.yard.ledger_path)}}],
            "mountPoints": [{"sourceVolume": "ledger", "containerPath": LEDGER, "readOnly": False}],
            "secrets": [],
            "ulimits": [],
            "networkInterfaces": [],
            "taskArn": TASK,
            "containerInstanceArn": INSTANCE,
            "logStreamName": stream,
        },
        "tags": {"k": "v"},
        "propagateTags": False,
        "platformCapabilities": [],
        "isCancelled": False,
        "isTerminated": False,
    }


def ended_attempt(span: Between, stream: str) -> dict[str, Any]:
    return {
        "container": {
            "taskArn": TASK,
            "containerInstanceArn": INSTANCE,
            "exitCode": 3,
            "logStreamName": stream,
            "networkInterfaces": [],
        },
        "startedAt": span,
        "stoppedAt": span,
        "statusReason": "Essential container in task exited",
    }


def test_a_job_on_ec2_from_its_submission_to_its_end(lab: Lab):
    before_ms = now_ms()
    job_id = submit_two_attempts(lab)
    running = lab.reach(job_id, "RUNNING")
    started_ms = running["startedAt"]
    stream = f"twice/default/{running['container']['taskArn'].rpartition('/')[2]}"
    assert running == running_job(lab, job_id, Between(before_ms, now_ms()), stream)
    assert running["createdAt"] <= started_ms
    summary = {
        "jobArn": f"{BATCH}:job/{job_id}",
        "jobId": job_id,
        "jobName": "two-attempts",
        "jobDefinition": f"{BATCH}:job-definition/twice:1",
        "createdAt": running["createdAt"],
        "startedAt": started_ms,
        "status": "RUNNING",
        "container": {},
        "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 1.0}],
    }
    assert lab.summaries("RUNNING")[job_id] == summary

    (lab.yard.ledger_path / "go").touch()
    failed = lab.reach(job_id, "FAILED")
    span = Between(before_ms, now_ms())
    streams = [each["container"]["logStreamName"] for each in failed["attempts"]]
    ends = {
        "startedAt": span,
        "stoppedAt": span,
        "status": "FAILED",
        "statusReason": "Essential container in task exited",
    }
    assert failed == {
        **running,
        **ends,
        "container": {
            **running["container"],
            "taskArn": TASK,
            "containerInstanceArn": INSTANCE,
            "exitCode": 3,
            "logStreamName": streams[1],
        },
        "attempts": [ended_attempt(span, each) for each in streams],
    }
    first, second = failed["attempts"]
    assert streams[0] == stream != streams[1]
    assert first["startedAt"] == started_ms <= first["stoppedAt"] <= second["startedAt"]
    assert (failed["startedAt"], failed["stoppedAt"]) == (second["startedAt"], second["stoppedAt"])
    assert lab.summaries("FAILED")[job_id] == {**summary, **ends, "container": {"exitCode": 3}}
    assert_output(lab, stream, "hello", first)


def assert_output(lab: Lab, stream: str, text: str, attempt: dict[str, Any]) -> None:
    """The one line of an attempt, read in every way there is."""
    group = ("--log-group-name", "/aws/batch/job")
    span = Between(attempt["startedAt"], attempt["stoppedAt"])
    event = {"timestamp": span, "message": text, "ingestionTime": Between(0, now_ms())}
    shown = lab.aws("logs", "get-log-events", *group, "--log-stream-name", stream)
    assert shown == {
        "events": [event],
        "nextForwardToken": Like(r"f/\d+/s"),
        "nextBackwardToken": Like(r"b/\d+/s"),
    }
    again = lab.aws(
        *("logs", "get-log-events", *group, "--log-stream-name", stream),
        *("--next-token", shown["nextForwardToken"]),
    )
    assert again["events"] == []
    assert again["nextForwardToken"] == shown["nextForwardToken"]
    words = ("--log-stream-names", stream, "--filter-pattern", text)
    assert lab.aws("logs", "filter-log-events", *group, *words) == {
        "events": [{**event, "logStreamName": stream, "eventId": Like(r"\d+")}],
        "searchedLogStreams": [],
    }
    by_prefix = ("--log-stream-name-prefix", stream)
    at_ms = shown["events"][0]["timestamp"]
    assert lab.aws("logs", "describe-log-streams", *group, *by_prefix)["logStreams"] == [
        {
            "logStreamName": stream,
            "creationTime": Between(0, now_ms()),
            "firstEventTimestamp": at_ms,
            "lastEventTimestamp": at_ms,
            "lastIngestionTime": shown["events"][0]["ingestionTime"],
            "uploadSequenceToken": Like(r"\d+"),
            "arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/batch/job:log-stream:{stream}",
            "storedBytes": 0,
        }
    ]


def test_a_job_on_fargate_and_what_its_process_sees(lab: Lab):
    container = {
        "image": "busybox",
        "command": ["env"],
        "executionRoleArn": EXECUTION_ROLE,
        "resourceRequirements": [
            {"type": "VCPU", "value": "0.25"},
            {"type": "MEMORY", "value": "512"},
        ],
        "networkConfiguration": {"assignPublicIp": "ENABLED"},
        "environment": [{"name": "MINE", "value": "æ ø"}],
    }
    register(lab, "serverless", "", platformCapabilities=["FARGATE"], containerProperties=container)
    job_id = lab.submit("on-fargate", "serverless", queue="Serverless")
    job = lab.reach(job_id, "SUCCEEDED", "FAILED")
    task = Like(f"{ECS}:task/Serverless_Batch_{UUID}/[0-9a-f]{{32}}")
    ran = {
        "taskArn": task,
        "logStreamName": Like("serverless/default/[0-9a-f]{32}"),
        "exitCode": 0,
        "networkInterfaces": [],
    }
    assert job["status"] == "SUCCEEDED"
    assert job["statusReason"] == "Essential container in task exited"
    assert job["platformCapabilities"] == ["FARGATE"]
    assert "timeout" not in job
    assert job["container"] == {
        **container,
        **ran,
        **{member: [] for member in ("mountPoints", "secrets", "ulimits", "volumes")},
        "fargatePlatformConfiguration": {"platformVersion": "LATEST"},
    }
    assert [each["container"] for each in job["attempts"]] == [ran]
    lines = lab.yard.lines(job_id)
    # Nothing of the server's own environment is among it.
    shown = dict(line.split("=", 1) for line in lines)
    for version in ("v3", "v4"):
        name = "ECS_CONTAINER_METADATA_URI" + ("_V4" if version == "v4" else "")
        assert f"/metadata/{version}/" in shown.pop(name)
    assert shown == {
        "AWS_BATCH_CE_NAME": "Serverless",
        "AWS_BATCH_JOB_ATTEMPT": "1",
        "AWS_BATCH_JOB_ID": job_id,
        "AWS_BATCH_JQ_NAME": "Serverless",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": REGION,
        "HOME": "/root",
        "HOSTNAME": Like("[0-9a-f]{12}"),
        "MINE": "æ ø",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    }


# ── what goes wrong ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("container", "reason"),
    [
        ({"image": "127.0.0.1:9/none"}, "CannotPullContainerError: .*connection refused.*"),
        ({"command": ["no-such-program"]}, "CannotStartContainerError: .*no-such-program.*"),
        (
            {
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {"awslogs-group": "/nobody/made/it"},
                }
            },
            "CannotStartContainerError: Error response from daemon: failed to initialize logging"
            " driver: failed to create Cloudwatch log stream: ResourceNotFoundException: The"
            r" specified log group does not exist\.",
        ),
    ],
    ids=["image", "program", "log group"],
)
def test_a_container_that_cannot_start_fails_the_job(lab: Lab, container, reason):
    properties = {"image": "busybox", "vcpus": 1, "memory": 16, "command": ["true"]}
    register(lab, "broken", "", containerProperties=properties | container)
    job = lab.reach(lab.submit("broken", "broken"), "SUCCEEDED", "FAILED")
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert job["container"]["reason"] == Like(reason)
    assert len(job["container"]["reason"]) <= 255
    assert "exitCode" not in job["container"]
    assert "startedAt" not in job
    [attempt] = job["attempts"]
    assert attempt["container"]["reason"] == job["container"]["reason"]
    assert attempt["startedAt"] <= attempt["stoppedAt"] == job["stoppedAt"]
    assert lab.summaries("FAILED")[job["jobId"]]["container"] == {
        "reason": job["container"]["reason"]
    }


def test_cancel_and_terminate_in_every_state(lab: Lab):
    """One vCPU: the first job runs, the second waits for it, the others depend on these."""
    one_vcpu = {
        **ON_DEMAND["computeResources"],
        "instanceTypes": ["m7a.medium"],
        "maxvCpus": 1,
        "desiredvCpus": 0,
    }
    environment = {**ON_DEMAND, "computeEnvironmentName": "Narrow", "computeResources": one_vcpu}
    lab.batch("create-compute-environment", environment)
    lab.settle("compute-environment", "Narrow")
    lab.aws(
        *("batch", "create-job-queue", "--job-queue-name", "Narrow", "--priority", "1"),
        *("--compute-environment-order", "order=1,computeEnvironment=Narrow"),
    )
    lab.settle("job-queue", "Narrow")
    register(lab, "polite", "trap 'echo bye; exit 7' TERM; echo up; sleep 600 & wait")

    def submit(name: str, *depends_on: str) -> str:
        words = [f"jobId={each}" for each in depends_on]
        flag = ["--depends-on", *words] if words else []
        return lab.submit(name, "polite", *flag, queue="Narrow")

    def end(verb: str, job_id: str, reason: str) -> None:
        assert lab.aws("batch", f"{verb}-job", "--job-id", job_id, "--reason", reason) == {}

    running, waiting = submit("running"), submit("waiting")
    lab.reach(running, "RUNNING")
    pending, dependent = submit("pending", running), submit("dependent", waiting)
    until(lambda: lab.yard.lines(running) == ["up"])
    assert lab.job(waiting)["status"] == "RUNNABLE"
    for job_id in (pending, dependent):
        assert lab.job(job_id)["status"] == "PENDING"

    end("cancel", running, "too late")
    end("cancel", pending, "not needed, ever")
    end("terminate", waiting, "Terminated by the user")
    job = lab.reach(waiting, "FAILED")
    assert (job["statusReason"], job["attempts"]) == ("Terminated by the user", [])
    assert (job["isCancelled"], job["isTerminated"]) == (False, True)
    assert "startedAt" not in job
    assert "taskArn" not in job["container"]
    assert job["stoppedAt"] >= job["createdAt"]
    job = lab.reach(dependent, "FAILED")
    assert (job["statusReason"], job["attempts"]) == ("Dependent Job failed", [])
    assert job["dependsOn"] == [{"jobId": waiting}]
    job = lab.job(pending)
    assert (job["status"], job["isCancelled"]) == ("PENDING", True)
    assert job["statusReason"] == (
        "It was cancelled (not needed, ever), and fails once what it waits for is over."
    )
    assert lab.job(running)["status"] == "RUNNING"

    end("terminate", running, "enough")
    job = lab.reach(running, "FAILED")
    assert (job["statusReason"], job["isTerminated"]) == ("enough", True)
    assert job["container"]["exitCode"] == 7
    [attempt] = job["attempts"]
    assert attempt["statusReason"] == "enough"
    assert lab.yard.lines(running) == ["up", "bye"]
    job = lab.reach(pending, "FAILED")
    assert (job["statusReason"], job["attempts"]) == ("not needed, ever", [])
    assert "container" not in lab.summaries("FAILED", "Narrow")[pending]
    for job_id in (pending, "0b8a5d8e-1c1c-4a3a-9f0d-0123456789ab"):
        end("terminate", job_id, "over, or never there")
    assert lab.job(pending)["statusReason"] == "not needed, ever"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            "submit-job --job-name no/good --job-queue LowPriority --job-definition x",
            f"Error executing request, Exception : Job name should match valid pattern,"
            f" RequestId: {UUID}",
        ),
        (
            "submit-job --job-name a --job-queue none --job-definition x",
            r"JobQueue none not found\.",
        ),
        (
            "submit-job --job-name a --job-queue LowPriority --job-definition none:3",
            "JobDefinition name none does not exist or is not in ACTIVE status",
        ),
        (
            "submit-job --job-name a --job-queue LowPriority --job-definition a:latest",
            r"Provided name a:latest is not supported pattern\[a-zA-Z_0-9-\]\{1,128\}",
        ),
        (
            "delete-compute-environment --compute-environment C4OnDemand",
            "Cannot delete, state must be DISABLED",
        ),
        (
            "delete-job-queue --job-queue none",
            f"{BATCH}:job-queue/none does not exist",
        ),
        (
            "create-job-queue --job-queue-name LowPriority --priority 1"
            " --compute-environment-order order=1,computeEnvironment=C4OnDemand",
            "Object already exists",
        ),
        (
            "register-job-definition --job-definition-name a --type container",
            "Error executing request, Exception : Container properties should not be empty,"
            f" RequestId: {UUID}",
        ),
        (
            f"describe-jobs --jobs {' '.join(map(str, range(101)))}",
            "Error executing request, Exception : Maximum number of jobs supported is  100"
            f" ., RequestId: {UUID}",
        ),
    ],
)
def test_refusals_are_worded_as_aws_words_them(lab: Lab, command, message):
    operation = "".join(word.capitalize() for word in command.split()[0].split("-"))
    assert lab.refused("batch", *command.split()) == Like(
        rf"An error occurred \(ClientException\) when calling the {operation} operation: {message}"
    )


# ── listing ──────────────────────────────────────────────────────────────────────────────


def test_lists_go_on_where_the_command_was_told_to_stop(lab: Lab):
    register(lab, "short", "true")
    ids = [lab.submit(f"page-{number}", "short") for number in range(5)]
    for job_id in ids:
        lab.reach(job_id, "SUCCEEDED")
    found = ("--job-queue", "LowPriority", "--filters", "name=JOB_DEFINITION,values=short")
    every = lab.aws("batch", "list-jobs", *found, "--page-size", "2")
    assert [each["jobId"] for each in every["jobSummaryList"]] == ids[::-1]
    seen: list[str] = []
    words: tuple[str, ...] = ()
    while True:
        page = lab.aws("batch", "list-jobs", *found, "--max-items", "2", *words)
        seen += [each["jobId"] for each in page["jobSummaryList"]]
        if "NextToken" not in page:
            break
        words = ("--starting-token", page["NextToken"])
    assert seen == ids[::-1]
    by_name = ("--job-queue", "LowPriority", "--filters", "name=JOB_NAME,values=PAGE-*")
    names = lab.aws("batch", "list-jobs", *by_name, "--page-size", "2")["jobSummaryList"]
    assert [each["jobName"] for each in names] == [f"page-{number}" for number in range(5)]


# ── the end ──────────────────────────────────────────────────────────────────────────────


def test_tags_updates_and_the_way_to_take_everything_down(lab: Lab):
    environment = {**FARGATE, "computeEnvironmentName": "Short"}
    arn = lab.batch("create-compute-environment", environment)["computeEnvironmentArn"]
    lab.settle("compute-environment", "Short")
    order = ("--compute-environment-order", "order=1,computeEnvironment=Short")
    lab.aws(*("batch", "create-job-queue", "--job-queue-name", "Short", "--priority", "1"), *order)
    lab.settle("job-queue", "Short")

    tags = ("--resource-arn", arn)
    assert lab.aws("batch", "tag-resource", *tags, "--tags", '{"a b": "c/d", "team": "x"}') == {}
    assert lab.aws("batch", "untag-resource", *tags, "--tag-keys", "team", "never") == {}
    assert lab.aws("batch", "list-tags-for-resource", *tags) == {"tags": {"a b": "c/d"}}

    queue, environment_name = ("--job-queue", "Short"), ("--compute-environment", "Short")
    change = ("--compute-resources", "maxvCpus=4", "--state", "DISABLED")
    update = lab.aws("batch", "update-compute-environment", *environment_name, *change)
    assert update == {"computeEnvironmentName": "Short", "computeEnvironmentArn": arn}
    shown = lab.settle("compute-environment", "Short")
    assert (shown["state"], shown["status"]) == ("DISABLED", "VALID")
    assert shown["computeResources"] == {**FARGATE["computeResources"], "maxvCpus": 4}
    assert lab.refused("batch", "delete-compute-environment", *environment_name).endswith(
        "Cannot delete, found existing JobQueue relationship"
    )
    assert lab.refused("batch", "delete-job-queue", *queue).endswith(
        "Cannot delete, state must be DISABLED"
    )
    words = ("--priority", "5", "--state", "DISABLED")
    assert lab.aws("batch", "update-job-queue", *queue, *words) == {
        "jobQueueName": "Short",
        "jobQueueArn": f"{BATCH}:job-queue/Short",
    }
    shown = lab.settle("job-queue", "Short")
    assert (shown["priority"], shown["state"], shown["status"]) == (5, "DISABLED", "VALID")
    assert lab.aws("batch", "delete-job-queue", *queue) == {}
    assert lab.settle("job-queue", "Short") is None
    assert lab.aws("batch", "delete-compute-environment", *environment_name) == {}
    assert lab.settle("compute-environment", "Short") is None
    assert "does not exist" in lab.refused("batch", "list-tags-for-resource", *tags)
