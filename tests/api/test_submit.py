"""SubmitJob: what is accepted, what is refused, and what a job is made of."""

import asyncio
from typing import Any

import msgspec
import pytest

from batchyard.api.batch.catalog import Catalog
from batchyard.model.amounts import Amount
from batchyard.model.refusal import Refusal
from batchyard.model.status import ResourceStatus
from batchyard.store import live_jobs
from tests.api.conftest import CONTAINER, ELSEWHERE, NOW_MS, SCOPE, Yard, requirements

BATCH = "arn:aws:batch:eu-central-1:123456789012"
MISSING = "00000000-0000-4000-8000-000000000000"
PLAIN_QUEUE = (
    "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue with fair"
    " share scheduling policy."
)


def wrapped(text: str) -> str:
    return f"Error executing request, Exception : {text}, RequestId: the-request-id"


async def spec(yard: Yard, job_id: Any) -> Any:
    return msgspec.json.decode((await yard.record(job_id)).job.spec)


async def test_a_submitted_job_is_stored_before_the_answer(ready: Yard):
    answer = await ready.call(
        "SubmitJob", jobName="job", jobQueue="jq", jobDefinition="jd", tags={"k": "v"}
    )
    job_id = answer["jobId"]
    assert answer == {"jobArn": f"{BATCH}:job/{job_id}", "jobName": "job", "jobId": job_id}
    [queued] = await ready.store.read(lambda conn: live_jobs.read_submitted(conn, 10))
    assert queued.id == job_id
    assert queued.demand == Amount(cpu_milli=1000, memory_mib=128)
    assert (queued.attempts_max, queued.timeout_ms, queued.depends_on) == (1, None, ())
    record = await ready.record(job_id)
    assert (record.job.created_ms, record.job.tags) == (NOW_MS, {"k": "v"})
    assert record.job.queue_arn == f"{BATCH}:job-queue/jq"
    assert record.job.definition_arn == f"{BATCH}:job-definition/jd:1"


async def test_the_engine_is_woken(ready: Yard):
    woken: list[str] = []
    ready.store.wake_on_wish(lambda: woken.append("wake"))
    await ready.submit()
    assert woken


@pytest.mark.parametrize("queue", ["jq", f"{BATCH}:job-queue/jq"])
@pytest.mark.parametrize(
    "definition",
    ["jd", "jd:1", f"{BATCH}:job-definition/jd", f"{BATCH}:job-definition/jd:1"],
)
async def test_queue_and_definition_by_name_or_arn(ready: Yard, queue, definition):
    job_id = await ready.submit(jobQueue=queue, jobDefinition=definition)
    job = await spec(ready, job_id)
    assert job["jobQueue"] == f"{BATCH}:job-queue/jq"
    assert job["jobDefinition"] == f"{BATCH}:job-definition/jd:1"


async def test_a_name_means_the_newest_active_revision(ready: Yard):
    async def used() -> str:
        return str((await spec(ready, await ready.submit()))["jobDefinition"])

    assert (await used()).endswith("jd:1")
    await ready.define("jd")
    assert (await used()).endswith("jd:2")
    await ready.call("DeregisterJobDefinition", jobDefinition="jd:2")
    assert (await used()).endswith("jd:1")
    await ready.call("DeregisterJobDefinition", jobDefinition="jd:1")
    for text in ("jd", "jd:1", f"{BATCH}:job-definition/jd:2"):
        message = await ready.refused("SubmitJob", jobName="job", jobQueue="jq", jobDefinition=text)
        assert message == "JobDefinition name jd does not exist or is not in ACTIVE status"


async def test_a_queue_that_is_changed_takes_no_jobs_at_once(ready: Yard):
    request = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "jd"}
    arn = f"{BATCH}:job-queue/jq"
    await ready.submit()
    await ready.call("UpdateJobQueue", jobQueue="jq", state="DISABLED")
    assert await ready.refused("SubmitJob", **request) == f"Job Queue {arn} is in state DISABLED"
    await ready.settle()
    assert await ready.refused("SubmitJob", **request) == f"Job Queue {arn} is in state DISABLED"
    await ready.call("UpdateJobQueue", jobQueue="jq", state="ENABLED")
    await ready.submit()
    await ready.settle()
    await ready.submit()
    await ready.call("UpdateJobQueue", jobQueue="jq", state="DISABLED")
    await ready.settle()
    await ready.call("DeleteJobQueue", jobQueue="jq")
    await ready.settle()
    assert await ready.refused("SubmitJob", **request) == "JobQueue jq not found."


@pytest.mark.parametrize("status", [ResourceStatus.UPDATING, ResourceStatus.INVALID])
async def test_a_queue_that_is_updated_or_broken_still_takes_jobs(ready: Yard, status):
    await ready.call("UpdateJobQueue", jobQueue="jq", priority=2)
    if status is ResourceStatus.INVALID:
        await ready.settle(status)
    await ready.submit()


async def test_a_new_queue_takes_no_jobs_yet(ready: Yard):
    await ready.call(
        "CreateJobQueue",
        jobQueueName="new",
        priority=1,
        computeEnvironmentOrder=[{"order": 1, "computeEnvironment": "ce"}],
    )
    message = await ready.refused("SubmitJob", jobName="job", jobQueue="new", jobDefinition="jd")
    assert message == f"Job Queue {BATCH}:job-queue/new is in status CREATING"


async def test_what_was_read_before_a_change_is_not_remembered_after_it(ready: Yard):
    """A slow read of the queue begins, the queue is disabled meanwhile, then the read ends."""
    catalog = Catalog(ready.store, is_only_writer=True)
    read = ready.store.read

    async def slow_read(work: Any) -> Any:
        found = await read(work)
        await ready.call("UpdateJobQueue", jobQueue="jq", state="DISABLED")
        catalog.drop()
        return found

    ready.store.read = slow_read  # type: ignore[method-assign]
    await catalog.open_queue(SCOPE, "jq")
    ready.store.read = read  # type: ignore[method-assign]
    with pytest.raises(Refusal, match="is in state DISABLED"):
        await catalog.open_queue(SCOPE, "jq")


async def test_where_others_write_too_nothing_is_remembered(ready: Yard):
    other = Yard(ready.store, is_only_writer=False)
    await other.submit()
    await ready.call("UpdateJobQueue", jobQueue="jq", state="DISABLED")
    message = await other.refused("SubmitJob", jobName="job", jobQueue="jq", jobDefinition="jd")
    assert message == f"Job Queue {BATCH}:job-queue/jq is in state DISABLED"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jobName": "a b"}, wrapped("Job name should match valid pattern")),
        ({"jobName": "_a"}, wrapped("Job name should match valid pattern")),
        ({"jobName": "a" * 129}, wrapped("Job name should match valid pattern")),
        ({"jobQueue": "gone"}, "JobQueue gone not found."),
        (
            {"jobDefinition": "gone"},
            "JobDefinition name gone does not exist or is not in ACTIVE status",
        ),
        (
            {"jobDefinition": "jd:7"},
            "JobDefinition name jd does not exist or is not in ACTIVE status",
        ),
        (
            {"jobDefinition": "jd:latest"},
            "Provided name jd:latest is not supported pattern[a-zA-Z_0-9-]{1,128}",
        ),
        (
            {"jobDefinition": "on-fargate"},
            "Job Queue is attached to Compute Environment that can not run Jobs with capability"
            " FARGATE",
        ),
        (
            {"jobQueue": "fargate"},
            "Job Queue is attached to Compute Environment that can not run Jobs with capability"
            " EC2",
        ),
        ({"shareIdentifier": "team"}, PLAIN_QUEUE),
        ({"schedulingPriorityOverride": 0}, PLAIN_QUEUE),
        *(
            (
                {"arrayProperties": {"size": size}},
                "Array size must be between 2 and 10000.",
            )
            for size in (-1, 0, 1, 10_001)
        ),
        (
            {"nodeOverrides": {"numNodes": 2}},
            "Node overrides should not be set for container job definitions.",
        ),
        (
            {"ecsPropertiesOverride": {"taskProperties": [{"containers": [{"name": "a"}]}]}},
            "ECS properties overrides should not be set for container job definitions.",
        ),
        (
            {"eksPropertiesOverride": {"podProperties": {"containers": [{"name": "a"}]}}},
            "EKS properties overrides should not be set for container job definitions.",
        ),
        (
            {
                "consumableResourcePropertiesOverride": {
                    "consumableResourceList": [{"consumableResource": "c", "quantity": 1}]
                }
            },
            "arn:aws:batch:eu-central-1:123456789012:consumable-resource/c does not exist",
        ),
        ({"retryStrategy": {"attempts": 11}}, "Number of attempts must be between 1 and 10."),
        (
            {"retryStrategy": {"evaluateOnExit": [{"action": "EXIT"}]}},
            "RetryAttempts must be provided with retry strategy",
        ),
        (
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "STOP"}]}},
            "retryStrategy.evaluateOnExit[0].action STOP is not one of RETRY, EXIT.",
        ),
        (
            {"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT"}] * 6}},
            "retryStrategy.evaluateOnExit can have at most 5 items.",
        ),
        (
            {
                "retryStrategy": {
                    "attempts": 2,
                    "evaluateOnExit": [{"action": "EXIT", "onReason": "Host (x)*"}],
                }
            },
            r"retryStrategy.evaluateOnExit[0].onReason does not match the pattern"
            r" ^[0-9A-Za-z.:\s]*\*?$.",
        ),
        (
            {
                "retryStrategy": {
                    "attempts": 2,
                    "evaluateOnExit": [{"action": "EXIT", "onExitCode": "1" * 513}],
                }
            },
            "retryStrategy.evaluateOnExit[0].onExitCode can have at most 512 characters.",
        ),
        (
            {"timeout": {"attemptDurationSeconds": 1}},
            "Job timeout must be at least 60 seconds.",
        ),
        ({"tags": {"aws:a": "b"}}, "Tag keys and values cannot start with aws:"),
        (
            {"containerOverrides": {"command": ["echo", ""]}},
            "Command cannot be empty",
        ),
        (
            {"containerOverrides": {"environment": [{"name": "AWS_BATCH_A", "value": "b"}]}},
            "Environment variables cannot start with AWS_BATCH.",
        ),
        (
            {"containerOverrides": {"resourceRequirements": requirements(GPU="many")}},
            "GPU value many must be a whole number greater than 0.",
        ),
        (
            {"containerOverrides": {"resourceRequirements": requirements(MEMORY="1")}},
            "MEMORY value 1 must be a whole number of MiB, at least 4.",
        ),
        (
            {"containerOverrides": {"instanceType": "c5.large"}},
            "instanceType is only applicable for multi-node parallel jobs.",
        ),
        (
            {"containerOverrides": {"command": ["Ref::gone"]}},
            "Unable to substitute value. No parameter found for reference gone",
        ),
        (
            {
                "jobQueue": "fargate",
                "jobDefinition": "on-fargate",
                "containerOverrides": {"resourceRequirements": requirements(MEMORY="3072")},
            },
            "Fargate resource requirements (0.25 vCPU, 3072 MiB) not valid.",
        ),
        (
            {
                "jobQueue": "fargate",
                "jobDefinition": "on-fargate",
                "containerOverrides": {"vcpus": 1},
            },
            "vcpus is not applicable for Fargate. Use resource requirements instead.",
        ),
        (
            {"dependsOn": [{"jobId": MISSING}]},
            f"Job {MISSING} does not exist.",
        ),
        ({"dependsOn": [{"jobId": "nonsense"}]}, "Job nonsense does not exist."),
        (
            {"dependsOn": [{"jobId": MISSING}] * 21},
            wrapped("Job cannot have more than 20 dependencies"),
        ),
        ({"dependsOn": [{}]}, "dependsOn.jobId must be provided"),
        (
            {"dependsOn": [{"jobId": f"{MISSING}#0"}]},
            f"dependsOn.jobId {MISSING}#0 is a node; a job can depend on the whole multi-node job.",
        ),
        ({"dependsOn": [{"jobId": f"{MISSING}:0"}]}, f"Job {MISSING}:0 does not exist."),
        (
            {"dependsOn": [{"jobId": MISSING, "type": "N_TO_N"}]},
            "dependsOn type N_TO_N is only applicable for array jobs.",
        ),
        (
            {"dependsOn": [{"type": "SEQUENTIAL"}]},
            "dependsOn type SEQUENTIAL is only applicable for array jobs.",
        ),
        (
            {"dependsOn": [{"jobId": MISSING, "type": "LATER"}]},
            "dependsOn type LATER is not one of N_TO_N, SEQUENTIAL.",
        ),
        (
            {"body_size": 30 * 1024 + 1},
            "The request is 30721 bytes long; at most 30720 are allowed.",
        ),
    ],
)
async def test_submissions_that_are_refused(ready: Yard, changes, message):
    await ready.fargate_environment()
    await ready.queue("fargate", "fargate")
    await ready.define(
        "on-fargate",
        platformCapabilities=["FARGATE"],
        containerProperties={
            "image": "busybox",
            "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
            "resourceRequirements": requirements(VCPU="0.25", MEMORY="512"),
        },
    )
    request = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "jd"}
    assert await ready.refused("SubmitJob", **{**request, **changes}) == message
    assert await ready.store.read(lambda conn: live_jobs.read_submitted(conn, 10)) == []


async def test_members_that_are_empty_count_as_absent(ready: Yard):
    plain = await spec(ready, await ready.submit())
    empty = await spec(
        ready,
        await ready.submit(
            arrayProperties={},
            dependsOn=[],
            parameters={},
            tags={},
            containerOverrides={},
            retryStrategy={},
            timeout={},
            nodeOverrides={},
            ecsPropertiesOverride={"taskProperties": []},
            eksPropertiesOverride={"podProperties": {}},
            consumableResourcePropertiesOverride={"consumableResourceList": []},
        ),
    )
    assert empty == plain


async def test_a_job_is_its_definition_with_what_the_submission_says(ready: Yard):
    await ready.define(
        "full",
        containerProperties={
            **CONTAINER,
            "command": ["run", "Ref::mode", "--to=Ref::to"],
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
        },
        parameters={"mode": "slow", "to": "x"},
        retryStrategy={"attempts": 2},
        timeout={"attemptDurationSeconds": 100},
        propagateTags=True,
        platformCapabilities=["EC2"],
        tags={"definition": "only"},
    )
    job_id = await ready.submit(
        jobDefinition="full",
        parameters={"mode": "fast", "extra": "kept"},
        containerOverrides={
            "environment": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
            "resourceRequirements": requirements(MEMORY="256"),
        },
        retryStrategy={"attempts": 5},
        timeout={"attemptDurationSeconds": 60},
        propagateTags=False,
    )
    assert await spec(ready, job_id) == {
        "jobQueue": f"{BATCH}:job-queue/jq",
        "jobDefinition": f"{BATCH}:job-definition/full:1",
        "parameters": {"mode": "fast", "to": "x", "extra": "kept"},
        "container": {
            "image": "busybox",
            "command": ["run", "fast", "--to=x"],
            "environment": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "3"},
                {"name": "C", "value": "4"},
            ],
            "mountPoints": [],
            "networkInterfaces": [],
            "resourceRequirements": requirements(VCPU="1", MEMORY="256"),
            "secrets": [],
            "ulimits": [],
            "volumes": [],
        },
        "retryStrategy": {"attempts": 5, "evaluateOnExit": []},
        "timeout": {"attemptDurationSeconds": 60},
        "dependsOn": [],
        "platformCapabilities": ["EC2"],
        "propagateTags": False,
    }
    record = await ready.record(job_id)
    assert record.job.demand == Amount(cpu_milli=1000, memory_mib=256)
    assert (record.job.attempts_max, record.job.timeout_ms) == (5, 60_000)
    assert record.job.tags == {}


async def test_the_definition_alone_decides_where_the_submission_says_nothing(ready: Yard):
    await ready.define(
        "full",
        containerProperties={**CONTAINER, "command": ["Ref::mode"]},
        parameters={"mode": "slow"},
        retryStrategy={"attempts": 2},
        timeout={"attemptDurationSeconds": 100},
        propagateTags=True,
    )
    first, second = [await ready.submit(jobDefinition="full") for _ in range(2)]
    job = await spec(ready, first)
    assert job["container"]["command"] == ["slow"]
    assert job["retryStrategy"] == {"attempts": 2, "evaluateOnExit": []}
    assert job["timeout"] == {"attemptDurationSeconds": 100}
    assert job["propagateTags"] is True
    assert await spec(ready, second) == job
    record = await ready.record(first)
    assert (record.job.attempts_max, record.job.timeout_ms) == (2, 100_000)


async def test_an_unresolved_parameter_is_refused_each_time(ready: Yard):
    await ready.define("open", containerProperties={**CONTAINER, "command": ["Ref::mode"]})
    request = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "open"}
    for _ in range(2):
        message = await ready.refused("SubmitJob", **request)
        assert message == "Unable to substitute value. No parameter found for reference mode"
    await ready.submit(jobDefinition="open", parameters={"mode": "fast"})


async def test_deprecated_amounts_are_carried(ready: Yard):
    await ready.define("old", containerProperties={"image": "busybox", "vcpus": 2, "memory": 64})
    job_id = await ready.submit(jobDefinition="old", containerOverrides={"memory": 128})
    assert (await ready.record(job_id)).job.demand == Amount(cpu_milli=2000, memory_mib=128)
    container = (await spec(ready, job_id))["container"]
    assert (container["vcpus"], container["memory"]) == (2, 128)


async def test_dependencies_are_kept_by_id_and_shown_as_given(ready: Yard):
    first, second = [await ready.submit() for _ in range(2)]
    given = [
        {"jobId": first},
        {"jobId": f"{BATCH}:job/{second}", "type": "SEQUENTIAL"},
        {"jobId": first},
    ]
    job_id = await ready.submit(dependsOn=given)
    record = await ready.record(job_id)
    assert record.job.depends_on == (first, second)
    assert (await ready.job(job_id))["dependsOn"] == given


async def test_a_job_of_another_account_is_no_dependency(ready: Yard):
    elsewhere = Yard(ready.store)
    request = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "jd"}
    job_id = await ready.submit()
    message = await elsewhere.refused("SubmitJob", scope=ELSEWHERE, **request)
    assert message == "JobQueue jq not found."
    message = await ready.refused(
        "SubmitJob",
        **request,
        dependsOn=[{"jobId": f"arn:aws:batch:eu-central-1:999999999999:job/{job_id}"}],
    )
    assert message == (f"Job arn:aws:batch:eu-central-1:999999999999:job/{job_id} does not exist.")


async def test_queues_by_arn_of_another_account_are_unknown(ready: Yard):
    message = await ready.refused(
        "SubmitJob",
        scope=ELSEWHERE,
        jobName="job",
        jobQueue=f"{BATCH}:job-queue/jq",
        jobDefinition="jd",
    )
    assert message == f"JobQueue {BATCH}:job-queue/jq not found."


async def test_jobs_submitted_together_are_all_stored(ready: Yard):
    ids = await asyncio.gather(*(ready.submit(jobName=f"job{n}") for n in range(50)))
    queued = await ready.store.read(lambda conn: live_jobs.read_submitted(conn, 100))
    assert sorted(job.id for job in queued) == sorted(ids)
