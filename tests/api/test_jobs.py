"""DescribeJobs, ListJobs, CancelJob, TerminateJob, and the last two in bulk."""

from typing import Any

import pytest

from batchyard.model.ids import JobId, task_id_of
from batchyard.model.records import JobProgress, WishKind
from batchyard.model.status import JobStatus
from batchyard.store import live_jobs, wishes
from tests.api.conftest import CONTAINER, ELSEWHERE, NOW_MS, Yard, an_attempt

BATCH = "arn:aws:batch:eu-central-1:123456789012"
ECS = "arn:aws:ecs:eu-central-1:123456789012"
MISSING = "00000000-0000-4000-8000-000000000000"


async def cluster(yard: Yard) -> str:
    answer = await yard.call("DescribeComputeEnvironments", computeEnvironments=["ce"])
    return str(answer["computeEnvironments"][0]["ecsClusterArn"]).rpartition("/")[2]


async def delete_all(yard: Yard) -> None:
    requests: tuple[tuple[str, dict[str, Any]], ...] = (
        ("JobQueue", {"jobQueue": "jq"}),
        ("ComputeEnvironment", {"computeEnvironment": "ce"}),
    )
    for kind, request in requests:
        await yard.call(f"Update{kind}", **request, state="DISABLED")
        await yard.settle()
        await yard.call(f"Delete{kind}", **request)
        await yard.settle()


# ── DescribeJobs ─────────────────────────────────────────────────────────────────────────


async def test_a_submitted_job_is_shown_in_full(ready: Yard):
    job_id = await ready.submit(jobName="first", tags={"k": "v"})
    assert await ready.job(job_id) == {
        "jobArn": f"{BATCH}:job/{job_id}",
        "jobName": "first",
        "jobId": job_id,
        "jobQueue": f"{BATCH}:job-queue/jq",
        "jobDefinition": f"{BATCH}:job-definition/jd:1",
        "status": "SUBMITTED",
        "statusReason": "The scheduler has not seen it yet.",
        "attempts": [],
        "createdAt": NOW_MS,
        "retryStrategy": {"attempts": 1, "evaluateOnExit": []},
        "dependsOn": [],
        "parameters": {},
        "container": {
            **CONTAINER,
            "environment": [],
            "mountPoints": [],
            "networkInterfaces": [],
            "secrets": [],
            "ulimits": [],
            "volumes": [],
        },
        "platformCapabilities": [],
        "propagateTags": False,
        "isCancelled": False,
        "isTerminated": False,
        "tags": {"k": "v"},
    }


async def test_a_starting_job_has_its_task_and_stream_but_no_start(ready: Yard):
    job_id = await ready.submit()
    live = an_attempt(job_id)
    await ready.progress(job_id, JobProgress(status=JobStatus.STARTING, attempt=live))
    job = await ready.job(job_id)
    assert job["status"] == "STARTING"
    assert job["attempts"] == []
    assert "startedAt" not in job
    name = await cluster(ready)
    container = job["container"]
    assert container["taskArn"] == f"{ECS}:task/{name}/{live.task_id}"
    assert container["logStreamName"] == f"jd/default/{live.task_id}"
    assert container["containerInstanceArn"].startswith(f"{ECS}:container-instance/{name}/")
    assert "exitCode" not in container


async def test_a_finished_job_outlives_its_environment_and_queue(ready: Yard):
    job_id = await ready.submit()
    await ready.progress(
        job_id,
        JobProgress(
            status=JobStatus.FAILED,
            status_reason="Essential container in task exited",
            started_ms=NOW_MS + 250,
            stopped_ms=NOW_MS + 300,
            attempts=(
                an_attempt(
                    job_id,
                    1,
                    stopped_ms=NOW_MS + 150,
                    reason="CannotPullContainerError: no such image",
                    status_reason="Task failed to start",
                ),
                an_attempt(
                    job_id,
                    2,
                    started_ms=NOW_MS + 250,
                    stopped_ms=NOW_MS + 300,
                    exit_code=3,
                    status_reason="Essential container in task exited",
                ),
            ),
        ),
    )
    before = await ready.job(job_id)
    name = await cluster(ready)
    await delete_all(ready)
    job = await ready.job(job_id)
    assert job == before
    assert job["statusReason"] == "Essential container in task exited"
    assert (job["startedAt"], job["stoppedAt"]) == (NOW_MS + 250, NOW_MS + 300)
    assert job["container"]["exitCode"] == 3
    assert "reason" not in job["container"]
    first, second = job["attempts"]
    assert first["startedAt"] == NOW_MS + 100
    assert first["stoppedAt"] == NOW_MS + 150
    assert first["statusReason"] == "Task failed to start"
    assert first["container"]["reason"] == "CannotPullContainerError: no such image"
    assert "exitCode" not in first["container"]
    assert second == {
        "container": {
            "containerInstanceArn": job["container"]["containerInstanceArn"],
            "taskArn": f"{ECS}:task/{name}/{task_id_of(job_id, 2)}",
            "logStreamName": f"jd/default/{task_id_of(job_id, 2)}",
            "networkInterfaces": [],
            "exitCode": 3,
        },
        "startedAt": NOW_MS + 250,
        "stoppedAt": NOW_MS + 300,
        "statusReason": "Essential container in task exited",
    }
    assert job["container"]["taskArn"] == second["container"]["taskArn"]


async def test_a_retry_keeps_the_last_start_until_it_runs_and_shows_its_own_task(ready: Yard):
    job_id = await ready.submit()
    first = an_attempt(job_id, 1, started_ms=NOW_MS + 5, stopped_ms=NOW_MS + 9, exit_code=1)
    progress = JobProgress(status=JobStatus.RUNNABLE, started_ms=NOW_MS + 5, attempts=(first,))
    await ready.progress(job_id, progress)
    waiting_again = await ready.job(job_id)
    assert waiting_again["startedAt"] == NOW_MS + 5
    assert "stoppedAt" not in waiting_again
    assert waiting_again["container"]["exitCode"] == 1
    progress.status, progress.attempt = JobStatus.STARTING, an_attempt(job_id, 2)
    await ready.progress(job_id, progress)
    starting = await ready.job(job_id)
    assert starting["startedAt"] == NOW_MS + 5
    assert "exitCode" not in starting["container"]
    assert starting["container"]["taskArn"].endswith(task_id_of(job_id, 2))
    assert [each["container"]["exitCode"] for each in starting["attempts"]] == [1]


async def test_a_fargate_job_has_no_container_instance(yard: Yard):
    await yard.fargate_environment("ce")
    await yard.queue()
    await yard.define(
        platformCapabilities=["FARGATE"],
        containerProperties={
            "image": "busybox",
            "executionRoleArn": "arn:aws:iam::123456789012:role/execution",
            "resourceRequirements": [
                {"type": "VCPU", "value": "0.25"},
                {"type": "MEMORY", "value": "512"},
            ],
        },
    )
    job_id = await yard.submit()
    ended = an_attempt(job_id, stopped_ms=NOW_MS + 5, exit_code=0)
    await yard.progress(job_id, JobProgress(status=JobStatus.SUCCEEDED, attempts=(ended,)))
    job = await yard.job(job_id)
    assert "containerInstanceArn" not in job["container"]
    assert "containerInstanceArn" not in job["attempts"][0]["container"]
    assert job["platformCapabilities"] == ["FARGATE"]


async def test_marks_of_cancel_and_terminate(ready: Yard):
    job_id = await ready.submit()
    await ready.progress(job_id, JobProgress(is_cancelled=True, is_terminated=True))
    job = await ready.job(job_id)
    assert (job["isCancelled"], job["isTerminated"]) == (True, True)


async def test_jobs_come_in_the_order_asked_once_each_and_unknown_ones_not_at_all(ready: Yard):
    first, second = [await ready.submit() for _ in range(2)]
    answer = await ready.call(
        "DescribeJobs",
        jobs=[second, MISSING, "nonsense", f"{BATCH}:job/{first}", second, f"{first}:0"],
    )
    assert [job["jobId"] for job in answer["jobs"]] == [second, first]
    assert await ready.call("DescribeJobs", ELSEWHERE, jobs=[first]) == {"jobs": []}
    assert await ready.call("DescribeJobs", jobs=[]) == {"jobs": []}


async def test_more_than_100_ids_are_refused(ready: Yard):
    message = await ready.refused("DescribeJobs", jobs=[MISSING] * 101)
    assert message == (
        "Error executing request, Exception : Maximum number of jobs supported is  100 .,"
        " RequestId: the-request-id"
    )


# ── ListJobs ─────────────────────────────────────────────────────────────────────────────


async def listed(yard: Yard, **request: Any) -> list[str]:
    answer = await yard.call("ListJobs", jobQueue="jq", **request)
    return [job["jobName"] for job in answer["jobSummaryList"]]


async def test_running_jobs_are_listed_by_default(ready: Yard):
    await ready.submit(jobName="waiting")
    job_id = await ready.submit(jobName="running")
    live = an_attempt(job_id, started_ms=NOW_MS + 9)
    await ready.progress(
        job_id, JobProgress(status=JobStatus.RUNNING, attempt=live, started_ms=NOW_MS + 9)
    )
    assert await ready.call("ListJobs", jobQueue="jq") == {
        "jobSummaryList": [
            {
                "jobArn": f"{BATCH}:job/{job_id}",
                "jobId": job_id,
                "jobName": "running",
                "createdAt": NOW_MS,
                "startedAt": NOW_MS + 9,
                "status": "RUNNING",
                "jobDefinition": f"{BATCH}:job-definition/jd:1",
                "container": {},
                "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 1.0}],
                "isCancelled": False,
                "isTerminated": False,
            }
        ]
    }
    assert await listed(ready, jobStatus="SUBMITTED") == ["waiting"]
    assert await listed(ready, jobStatus="FAILED") == []


async def test_a_finished_job_is_listed_with_its_end(ready: Yard):
    job_id = await ready.submit()
    ended = an_attempt(job_id, stopped_ms=NOW_MS + 5, exit_code=137, reason="OutOfMemoryError: x")
    await ready.progress(
        job_id,
        JobProgress(
            status=JobStatus.FAILED,
            status_reason="why",
            stopped_ms=NOW_MS + 5,
            attempts=(ended,),
        ),
    )
    [job] = (await ready.call("ListJobs", jobQueue="jq", jobStatus="FAILED"))["jobSummaryList"]
    assert job["container"] == {"exitCode": 137, "reason": "OutOfMemoryError: x"}
    assert (job["statusReason"], job["stoppedAt"]) == ("why", NOW_MS + 5)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("JOB_NAME", "ALPHA-1", ["Alpha-1"]),
        ("JOB_NAME", "alpha*", ["Alpha-1", "alpha-2"]),
        ("JOB_NAME", "*", ["Alpha-1", "alpha-2", "beta_1"]),
        ("JOB_NAME", "alpha", []),
        ("JOB_DEFINITION", "jd", ["alpha-2", "Alpha-1"]),
        ("JOB_DEFINITION", "JD", []),
        ("JOB_DEFINITION", "j*", ["beta_1", "alpha-2", "Alpha-1"]),
        ("JOB_DEFINITION", "jd2*", ["beta_1"]),
        ("JOB_DEFINITION", f"{BATCH}:job-definition/jd:2", ["alpha-2"]),
        ("JOB_DEFINITION", f"{BATCH}:job-definition/jd:9", []),
        ("BEFORE_CREATED_AT", str(NOW_MS + 10), ["Alpha-1"]),
        ("AFTER_CREATED_AT", str(NOW_MS), ["beta_1", "alpha-2"]),
        ("AFTER_CREATED_AT", "1", ["beta_1", "alpha-2", "Alpha-1"]),
        ("BEFORE_CREATED_AT", "9" * 30, ["beta_1", "alpha-2", "Alpha-1"]),
        ("AFTER_CREATED_AT", "9" * 5000, []),
    ],
)
async def test_filters_list_jobs_of_all_states(ready: Yard, name, value, expected):
    job_id = await ready.submit(jobName="Alpha-1")
    await ready.progress(job_id, JobProgress(status=JobStatus.FAILED, stopped_ms=NOW_MS))
    ready.now_ms += 10
    await ready.define("jd")
    await ready.submit(jobName="alpha-2")
    await ready.define("jd2")
    ready.now_ms += 10
    await ready.submit(jobName="beta_1", jobDefinition="jd2")
    filters = [{"name": name, "values": [value]}]
    assert await listed(ready, filters=filters) == expected
    assert await listed(ready, filters=filters, jobStatus="RUNNING") == expected


async def test_jobs_found_by_name_come_name_by_name_and_pages_stay_stable(ready: Yard):
    for name in ("b", "a", "c", "b", "a", "b"):
        await ready.submit(jobName=name)
    everything: Any = {"filters": [{"name": "JOB_NAME", "values": ["*"]}]}
    assert await listed(ready, **everything) == ["a", "a", "b", "b", "b", "c"]
    seen: list[tuple[str, str]] = []
    token: str | None = ""
    while token is not None:
        page = await ready.call(
            "ListJobs", jobQueue="jq", **everything, maxResults=2, nextToken=token
        )
        seen += [(job["jobName"], job["jobId"]) for job in page["jobSummaryList"]]
        await ready.submit(jobName="a")
        first = JobId(page["jobSummaryList"][0]["jobId"])
        await ready.progress(first, JobProgress(status=JobStatus.FAILED, stopped_ms=NOW_MS))
        token = page.get("nextToken")
    assert [name for name, _ in seen] == ["a", "a", "b", "b", "b", "c"]
    assert len(set(seen)) == len(seen)
    other: Any = {"filters": [{"name": "JOB_NAME", "values": ["a*"]}]}
    page = await ready.call("ListJobs", jobQueue="jq", **everything, maxResults=1)
    message = await ready.refused("ListJobs", jobQueue="jq", **other, nextToken=page["nextToken"])
    assert message == "nextToken is not valid for this request."


async def test_pages_stay_stable_while_jobs_come_and_move(ready: Yard):
    names = [f"job{number}" for number in range(7)]
    for name in names:
        await ready.submit(jobName=name)
    seen: list[str] = []
    token: str | None = ""
    while token is not None:
        page = await ready.call(
            "ListJobs", jobQueue="jq", jobStatus="SUBMITTED", maxResults=3, nextToken=token
        )
        seen += [job["jobName"] for job in page["jobSummaryList"]]
        await ready.submit(jobName="late")
        first = JobId(page["jobSummaryList"][0]["jobId"])
        await ready.progress(first, JobProgress(status=JobStatus.RUNNABLE))
        token = page.get("nextToken")
    assert seen == names[::-1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jobQueue": "gone"}, "JobQueue gone not found."),
        *(
            (changes, "Exactly one of jobQueue, arrayJobId, multiNodeJobId must be provided.")
            for changes in (
                {"jobQueue": ""},
                {"arrayJobId": MISSING},
                {"multiNodeJobId": MISSING},
                {"jobQueue": "", "arrayJobId": MISSING, "multiNodeJobId": MISSING},
            )
        ),
        (
            {"jobStatus": "DONE"},
            "Job status is not one of SUBMITTED | PENDING | RUNNABLE | STARTING | RUNNING |"
            " SUCCEEDED | FAILED",
        ),
        ({"maxResults": 0}, "maxResults must be between 1 and 1000."),
        ({"nextToken": "nonsense"}, "nextToken is not valid for this request."),
        (
            {"filters": [{"name": "JOB_NAME", "values": ["a"]}] * 2},
            "filters must not have more than 1 item.",
        ),
        (
            {"filters": [{"name": "JOB_NAME", "values": ["a", "b"]}]},
            "filter JOB_NAME must have exactly one value.",
        ),
        (
            {"filters": [{"name": "SHARE_IDENTIFIER", "values": ["a", "b"]}]},
            "filter SHARE_IDENTIFIER must have exactly one value.",
        ),
        (
            {"filters": [{"name": "job_name", "values": ["a"]}]},
            "filter job_name is not one of JOB_NAME, JOB_DEFINITION, BEFORE_CREATED_AT,"
            " AFTER_CREATED_AT, SHARE_IDENTIFIER.",
        ),
        (
            {"filters": [{"name": "AFTER_CREATED_AT", "values": ["now"]}]},
            "filter AFTER_CREATED_AT must be a time in milliseconds.",
        ),
        (
            {"filters": [{"name": "JOB_DEFINITION", "values": [f"{BATCH}:job-definition/j*"]}]},
            "filter JOB_DEFINITION cannot have * in an ARN.",
        ),
    ],
)
async def test_lists_that_are_refused(ready: Yard, changes, message):
    assert await ready.refused("ListJobs", **{"jobQueue": "jq", **changes}) == message


# ── CancelJob, TerminateJob ──────────────────────────────────────────────────────────────


async def waiting(yard: Yard) -> list[tuple[WishKind, str, str]]:
    found = await yard.store.read(lambda conn: wishes.read_wishes(conn, 10))
    return [(wish.kind, wish.job_id, wish.reason) for wish in found]


async def test_cancel_and_terminate_are_durable_wishes(ready: Yard):
    job_id = await ready.submit()
    woken: list[str] = []
    ready.store.wake_on_wish(lambda: woken.append("wake"))
    assert await ready.call("CancelJob", jobId=job_id, reason="not now") == {}
    assert woken
    arn = f"{BATCH}:job/{job_id}"
    assert await ready.call("TerminateJob", jobId=arn, reason="r" * 1024) == {}
    assert await waiting(ready) == [
        (WishKind.CANCEL, job_id, "not now"),
        (WishKind.TERMINATE, job_id, "r" * 1024),
    ]
    assert (await ready.job(job_id))["status"] == "SUBMITTED"


@pytest.mark.parametrize("operation", ["CancelJob", "TerminateJob"])
async def test_what_is_unknown_or_over_is_left_alone(ready: Yard, operation):
    job_id = await ready.submit()
    await ready.progress(job_id, JobProgress(status=JobStatus.SUCCEEDED, stopped_ms=NOW_MS))
    for each in (job_id, MISSING, "nonsense", f"{job_id}:3", f"{job_id}#0"):
        assert await ready.call(operation, jobId=each, reason="clean up") == {}
    other = await ready.submit()
    assert await ready.call(operation, ELSEWHERE, jobId=other, reason="not mine") == {}
    assert await waiting(ready) == []


@pytest.mark.parametrize("operation", ["CancelJob", "TerminateJob"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reason": ""}, "reason must be provided"),
        ({"jobId": ""}, "jobId must be provided"),
        ({"reason": "r" * 1025}, "reason must be at most 1024 characters long."),
    ],
)
async def test_wishes_that_are_refused(ready: Yard, operation, changes, message):
    job_id = await ready.submit()
    request = {"jobId": job_id, "reason": "because", **changes}
    assert await ready.refused(operation, **request) == message
    assert await waiting(ready) == []


BULK = (("CancelJobs", WishKind.CANCEL), ("TerminateJobs", WishKind.TERMINATE))


@pytest.mark.parametrize(("operation", "kind"), BULK)
async def test_many_jobs_are_stopped_in_one_call(ready: Yard, operation, kind):
    first, second, over = [await ready.submit() for _ in range(3)]
    await ready.progress(over, JobProgress(status=JobStatus.FAILED, stopped_ms=NOW_MS))
    arn = f"{BATCH}:job/{second}"
    elsewhere = f"arn:aws:batch:us-east-1:123456789012:job/{first}"
    asked = [first, "nonsense", arn, over, MISSING, f"{first}#0", first, elsewhere, ""]
    assert await ready.call(operation, jobs=asked, reason="enough") == {
        "successful": [first, arn, over, MISSING],
        "errors": [
            {
                "job": text,
                "code": "ValidationException",
                "message": f"Job ID {text} is not valid.",
            }
            if text != f"{first}#0"
            else {
                "job": text,
                "code": "ClientException",
                "message": "A single node of a multi-node parallel job cannot be stopped.",
            }
            for text in ("nonsense", f"{first}#0", elsewhere, "")
        ],
    }
    assert await waiting(ready) == [(kind, first, "enough"), (kind, second, "enough")]


@pytest.mark.parametrize(("operation", "kind"), BULK)
async def test_fifty_jobs_are_stopped_at_once_and_no_more(ready: Yard, operation, kind):
    ids = [await ready.submit() for _ in range(51)]
    assert (
        await ready.refused(operation, jobs=ids, reason="r")
        == "jobs must not have more than 50 items."
    )
    assert await waiting(ready) == []
    answer = await ready.call(operation, jobs=ids[:50], reason="r")
    assert answer == {"successful": ids[:50], "errors": []}
    assert len(await ready.store.read(lambda conn: wishes.read_wishes(conn, 100))) == 50


@pytest.mark.parametrize(("operation", "kind"), BULK)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jobs": []}, "jobs must be provided"),
        ({"reason": ""}, "reason must be provided"),
        ({"reason": "r" * 1025}, "reason must be at most 1024 characters long."),
    ],
)
async def test_stopping_many_is_refused_as_a_whole(ready: Yard, operation, kind, changes, message):
    request = {"jobs": [await ready.submit()], "reason": "because", **changes}
    assert await ready.refused(operation, **request) == message
    assert await waiting(ready) == []


async def test_every_submitted_job_is_in_the_store_only_once(ready: Yard):
    ids = [await ready.submit() for _ in range(5)]
    found = await ready.store.read(lambda conn: live_jobs.read_statuses(conn, ids))
    assert found == dict.fromkeys(ids, JobStatus.SUBMITTED)
