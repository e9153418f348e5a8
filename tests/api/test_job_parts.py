"""DescribeJobs and ListJobs: arrays and their children, multi-node jobs and their nodes."""

from typing import Any

import pytest

from batchyard.model.ids import JobId, TaskId, child_id, node_id, task_id_of
from batchyard.model.records import ArrayProgress, Attempt, ContainerResult, JobProgress
from batchyard.model.status import CONTAINER_JOB_STATUSES, JobStatus
from tests.api.conftest import CONTAINER, ELSEWHERE, NOW_MS, Yard, an_attempt
from tests.api.test_definition_nodes import a_range, nodes
from tests.api.test_definition_pods import a_pod
from tests.api.test_definition_tasks import a_container, a_task

BATCH = "arn:aws:batch:eu-central-1:123456789012"
MISSING = "00000000-0000-4000-8000-000000000000"
ZEROS = {status.value: 0 for status in CONTAINER_JOB_STATUSES}
EMPTY: dict[str, Any] = {
    "environment": [],
    "mountPoints": [],
    "networkInterfaces": [],
    "secrets": [],
    "ulimits": [],
    "volumes": [],
}


def pending(size: int, rest: JobStatus = JobStatus.RUNNABLE, **own: int) -> JobProgress:
    """An array of which some children have a story of their own, and the rest has none."""
    count_by_status = {JobStatus(status): count for status, count in own.items()}
    return JobProgress(
        status=JobStatus.PENDING,
        array=ArrayProgress(
            size=size,
            rest=rest,
            rest_count=size - sum(count_by_status.values()),
            spawned_ms=NOW_MS + 400,
            updated_ms=NOW_MS + 900,
            own_count_by_status=count_by_status,
        ),
    )


def running(job_id: JobId, **changes: Any) -> JobProgress:
    live = an_attempt(job_id, started_ms=NOW_MS + 500, **changes)
    return JobProgress(status=JobStatus.RUNNING, started_ms=NOW_MS + 500, attempt=live)


def failed(job_id: JobId, exit_code: int = 3) -> JobProgress:
    ended = an_attempt(
        job_id,
        started_ms=NOW_MS + 500,
        stopped_ms=NOW_MS + 600,
        exit_code=exit_code,
        status_reason="Essential container in task exited",
    )
    return JobProgress(
        status=JobStatus.FAILED,
        status_reason="Essential container in task exited",
        started_ms=NOW_MS + 500,
        stopped_ms=NOW_MS + 600,
        attempts=(ended,),
    )


# ── arrays ───────────────────────────────────────────────────────────────────────────────


async def an_array(yard: Yard, size: int = 4) -> JobId:
    """An array whose child 1 runs and whose child 3 has failed."""
    first = await yard.submit()
    job_id = await yard.submit(
        jobName="array",
        arrayProperties={"size": size},
        dependsOn=[{"jobId": first}],
        retryStrategy={"attempts": 2},
        tags={"k": "v"},
    )
    await yard.progress(job_id, pending(size, RUNNING=1, FAILED=1))
    await yard.progress(child_id(job_id, 1), running(child_id(job_id, 1)))
    await yard.progress(child_id(job_id, 3), failed(child_id(job_id, 3)))
    return job_id


async def test_an_array_is_shown_with_the_counts_of_its_children(ready: Yard):
    job_id = await an_array(ready)
    job = await ready.job(job_id)
    assert job["arrayProperties"] == {
        "size": 4,
        "statusSummary": {**ZEROS, "RUNNABLE": 2, "RUNNING": 1, "FAILED": 1},
        "statusSummaryLastUpdatedAt": NOW_MS + 900,
    }
    assert job["status"] == "PENDING"
    assert job["container"] == {**CONTAINER, **EMPTY}
    assert job["attempts"] == []
    assert [set(each) for each in job["dependsOn"]] == [{"jobId"}]
    assert job["tags"] == {"k": "v"}
    assert not {"startedAt", "stoppedAt"} & set(job)


async def test_an_array_nobody_has_looked_at_yet_has_no_children(ready: Yard):
    job_id = await ready.submit(arrayProperties={"size": 2})
    job = await ready.job(job_id)
    assert job["arrayProperties"] == {"size": 2, "statusSummary": ZEROS}
    answer = await ready.call("DescribeJobs", jobs=[f"{job_id}:0"])
    assert answer == {"jobs": []}


async def test_a_child_is_shown_like_a_job_of_its_own(ready: Yard):
    job_id = await an_array(ready)
    child = child_id(job_id, 1)
    job = await ready.job(child)
    task_id = task_id_of(child, 1)
    assert job["jobId"] == f"{job_id}:1"
    assert job["jobArn"] == f"{BATCH}:job/{job_id}:1"
    assert job["jobName"] == "array"
    assert job["arrayProperties"] == {"index": 1, "statusSummary": {}}
    assert (job["status"], job["startedAt"]) == ("RUNNING", NOW_MS + 500)
    assert job["createdAt"] == NOW_MS + 400
    assert (job["dependsOn"], job["tags"]) == ([], {})
    assert job["retryStrategy"] == {"attempts": 2, "evaluateOnExit": []}
    assert job["container"]["logStreamName"] == f"jd/default/{task_id}"
    ended = await ready.job(f"{BATCH}:job/{job_id}:3")
    assert ended["container"]["exitCode"] == 3
    assert [each["container"]["exitCode"] for each in ended["attempts"]] == [3]


async def test_a_child_without_a_story_of_its_own_is_what_the_rest_is(ready: Yard):
    job_id = await an_array(ready)
    job = await ready.job(f"{job_id}:0")
    assert job["arrayProperties"] == {"index": 0, "statusSummary": {}}
    assert (job["status"], job["attempts"]) == ("RUNNABLE", [])
    answer = await ready.call("DescribeJobs", jobs=[f"{job_id}:4", f"{job_id}#0", job_id])
    assert [each["jobId"] for each in answer["jobs"]] == [job_id]


async def test_a_queue_lists_arrays_and_not_their_children(ready: Yard):
    job_id = await an_array(ready)
    [job] = (await ready.call("ListJobs", jobQueue="jq", jobStatus="PENDING"))["jobSummaryList"]
    assert job == {
        "jobArn": f"{BATCH}:job/{job_id}",
        "jobId": job_id,
        "jobName": "array",
        "createdAt": NOW_MS,
        "status": "PENDING",
        "statusReason": "Waits for its children: 2 RUNNABLE, 1 RUNNING.",
        "jobDefinition": f"{BATCH}:job-definition/jd:1",
        "arrayProperties": {
            "size": 4,
            "statusSummary": {**ZEROS, "RUNNABLE": 2, "RUNNING": 1, "FAILED": 1},
            "statusSummaryLastUpdatedAt": NOW_MS + 900,
        },
        "isCancelled": False,
        "isTerminated": False,
    }
    assert await ready.call("ListJobs", jobQueue="jq") == {"jobSummaryList": []}


async def test_running_children_are_listed_by_default(ready: Yard):
    job_id = await an_array(ready)
    answer = await ready.call("ListJobs", arrayJobId=job_id)
    assert answer == {
        "jobSummaryList": [
            {
                "jobArn": f"{BATCH}:job/{job_id}:1",
                "jobId": f"{job_id}:1",
                "jobName": "array",
                "createdAt": NOW_MS + 400,
                "startedAt": NOW_MS + 500,
                "status": "RUNNING",
                "jobDefinition": f"{BATCH}:job-definition/jd:1",
                "container": {},
                "arrayProperties": {"index": 1},
                "capacityUsage": [{"capacityUnit": "VCPU", "quantity": 1.0}],
                "isCancelled": False,
                "isTerminated": False,
            }
        ]
    }
    answer = await ready.call("ListJobs", arrayJobId=f"{BATCH}:job/{job_id}", jobStatus="FAILED")
    [ended] = answer["jobSummaryList"]
    assert (ended["arrayProperties"], ended["container"]) == ({"index": 3}, {"exitCode": 3})


async def test_children_are_listed_by_index_in_pages(ready: Yard):
    job_id = await an_array(ready, 9)
    seen: list[int] = []
    token: str | None = ""
    while token is not None:
        page = await ready.call(
            "ListJobs",
            arrayJobId=job_id,
            jobStatus="RUNNABLE",
            maxResults=3,
            nextToken=token,
            filters=[{"name": "JOB_NAME", "values": ["nobody", "counts"]}],
        )
        seen += [job["arrayProperties"]["index"] for job in page["jobSummaryList"]]
        token = page.get("nextToken")
    assert seen == [0, 2, 4, 5, 6, 7, 8]


async def test_a_page_of_children_is_continued_only_as_it_was_begun(ready: Yard):
    job_id, other = await an_array(ready), await an_array(ready)
    page = await ready.call("ListJobs", arrayJobId=job_id, jobStatus="RUNNABLE", maxResults=1)
    for request in (
        {"arrayJobId": job_id, "jobStatus": "FAILED"},
        {"arrayJobId": other, "jobStatus": "RUNNABLE"},
        {"multiNodeJobId": job_id, "jobStatus": "RUNNABLE"},
        {"jobQueue": "jq", "jobStatus": "RUNNABLE"},
    ):
        message = await ready.refused("ListJobs", **request, nextToken=page["nextToken"])
        assert message == "nextToken is not valid for this request."


async def test_what_has_no_children_lists_none(ready: Yard):
    plain, array = await ready.submit(), await an_array(ready)
    for job_id in (plain, MISSING, "nonsense", f"{array}:1"):
        for member in ("arrayJobId", "multiNodeJobId"):
            request: dict[str, Any] = {member: job_id, "jobStatus": "SUBMITTED"}
            answer = await ready.call("ListJobs", **request)
            assert answer == {"jobSummaryList": []}
    assert await ready.call("ListJobs", multiNodeJobId=array) == {"jobSummaryList": []}
    assert await ready.call("ListJobs", ELSEWHERE, arrayJobId=array) == {"jobSummaryList": []}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"maxResults": 0}, "maxResults must be between 1 and 1000."),
        (
            {"jobStatus": "DONE"},
            "Job status is not one of SUBMITTED | PENDING | RUNNABLE | STARTING | RUNNING |"
            " SUCCEEDED | FAILED",
        ),
    ],
)
async def test_lists_of_children_that_are_refused(ready: Yard, changes, message):
    job_id = await an_array(ready)
    assert await ready.refused("ListJobs", arrayJobId=job_id, **changes) == message


# ── multi-node jobs ──────────────────────────────────────────────────────────────────────


async def a_multi_node_job(yard: Yard, main: dict[str, Any] | None = None) -> JobId:
    """Two nodes; the main one is node 1."""
    await yard.define(
        "nodes",
        type="multinode",
        containerProperties={},
        nodeProperties=nodes(2, a_range("0"), a_range("1", **(main or {})), main=1),
    )
    return await yard.submit(jobName="nodes", jobDefinition="nodes", tags={"k": "v"})


def placed(job_id: JobId, **changes: Any) -> Attempt:
    return an_attempt(job_id, started_ms=NOW_MS + 500, stopped_ms=NOW_MS + 600, **changes)


async def test_a_multi_node_job_shows_its_nodes_and_no_container(ready: Yard):
    job_id = await a_multi_node_job(ready)
    job = await ready.job(job_id)
    assert not {"container", "nodeDetails", "arrayProperties"} & set(job)
    ranges = job["nodeProperties"]["nodeRangeProperties"]
    assert [each["targetNodes"] for each in ranges] == ["0", "1"]
    assert ranges[0]["container"]["image"] == "busybox"
    assert job["retryStrategy"] == {"attempts": 1, "evaluateOnExit": []}
    assert (job["attempts"], job["tags"]) == ([], {"k": "v"})


async def test_an_ended_multi_node_job_shows_the_end_of_its_main_node(ready: Yard):
    job_id = await a_multi_node_job(ready)
    reason = "Essential container in task exited"
    await ready.progress(
        job_id,
        JobProgress(
            status=JobStatus.FAILED,
            status_reason=reason,
            started_ms=NOW_MS + 500,
            stopped_ms=NOW_MS + 600,
            attempts=(placed(job_id, exit_code=7, status_reason=reason),),
        ),
    )
    job = await ready.job(job_id)
    assert job["attempts"] == [
        {
            "container": {
                "networkInterfaces": [],
                "logStreamName": f"nodes/default/{task_id_of(node_id(job_id, 1), 1)}",
                "exitCode": 7,
            },
            "startedAt": NOW_MS + 500,
            "stoppedAt": NOW_MS + 600,
            "statusReason": reason,
        }
    ]
    assert (job["statusReason"], job["stoppedAt"]) == (reason, NOW_MS + 600)
    assert "container" not in job


async def test_a_node_is_shown_with_its_container_and_its_address(ready: Yard):
    job_id = await a_multi_node_job(ready)
    for index, address in ((0, "10.88.0.2"), (1, "10.88.0.3")):
        node = node_id(job_id, index)
        await ready.progress(node, running(node, address=address))
    main, other = (await ready.call("DescribeJobs", jobs=[f"{job_id}#1", f"{job_id}#0"]))["jobs"]
    assert (main["jobId"], other["jobId"]) == (f"{job_id}#1", f"{job_id}#0")
    assert main["nodeDetails"] == {"nodeIndex": 1, "isMainNode": True}
    assert other["nodeDetails"] == {"nodeIndex": 0, "isMainNode": False}
    for node in (main, other):
        assert not {"nodeProperties", "retryStrategy", "arrayProperties"} & set(node)
        assert (node["dependsOn"], node["tags"], node["jobName"]) == ([], {}, "nodes")
    container = other["container"]
    [interface] = container.pop("networkInterfaces")
    assert set(interface) == {"attachmentId", "privateIpv4Address"}
    assert interface["privateIpv4Address"] == "10.88.0.2"
    task_id = task_id_of(node_id(job_id, 0), 1)
    assert container["logStreamName"] == f"nodes/default/{task_id}"
    assert container["taskArn"].endswith(f"/{task_id}")
    assert {member: container[member] for member in CONTAINER} == CONTAINER
    assert "containerInstanceArn" in container


async def test_an_ended_node_shows_its_own_attempts(ready: Yard):
    job_id = await a_multi_node_job(ready)
    node = node_id(job_id, 0)
    await ready.progress(node, failed(node, 9))
    job = await ready.job(node)
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 9)
    [ended] = job["attempts"]
    assert ended["container"]["taskArn"] == job["container"]["taskArn"]


async def test_nodes_that_were_not_made_yet_are_not_shown(ready: Yard):
    job_id = await a_multi_node_job(ready)
    answer = await ready.call("DescribeJobs", jobs=[f"{job_id}#0", f"{job_id}:0"])
    assert answer == {"jobs": []}


async def test_nodes_are_listed_by_their_job(ready: Yard):
    job_id = await a_multi_node_job(ready)
    await ready.progress(job_id, running(job_id))
    for index in (0, 1):
        node = node_id(job_id, index)
        await ready.progress(node, running(node))
    [whole] = (await ready.call("ListJobs", jobQueue="jq"))["jobSummaryList"]
    assert whole["jobId"] == job_id
    assert whole["nodeProperties"] == {"numNodes": 2}
    assert whole["capacityUsage"] == [{"capacityUnit": "VCPU", "quantity": 2.0}]
    page = await ready.call("ListJobs", multiNodeJobId=job_id, maxResults=1)
    rest = await ready.call(
        "ListJobs", multiNodeJobId=job_id, maxResults=1, nextToken=page["nextToken"]
    )
    assert "nextToken" not in rest
    listed = page["jobSummaryList"] + rest["jobSummaryList"]
    assert [each["nodeProperties"] for each in listed] == [
        {"nodeIndex": 0, "isMainNode": False},
        {"nodeIndex": 1, "isMainNode": True},
    ]
    assert [each["container"] for each in listed] == [{}, {}]
    assert [each["jobId"] for each in listed] == [f"{job_id}#0", f"{job_id}#1"]
    assert await ready.call("ListJobs", arrayJobId=job_id) == {"jobSummaryList": []}


# ── tasks and pods ───────────────────────────────────────────────────────────────────────


def results() -> tuple[ContainerResult, ...]:
    return (
        ContainerResult(name="main", exit_code=0),
        ContainerResult(name="side", exit_code=137, reason="OutOfMemoryError: x"),
    )


def two_containers() -> dict[str, Any]:
    quiet = {"logDriver": "json-file"}
    return a_task(a_container("main"), a_container("side", essential=False, logConfiguration=quiet))


def shown_results(task_id: TaskId, name: str = "jd") -> list[dict[str, Any]]:
    return [
        {
            "name": "main",
            "logStreamName": f"{name}/main/{task_id}",
            "networkInterfaces": [],
            "exitCode": 0,
        },
        {
            "name": "side",
            "networkInterfaces": [],
            "exitCode": 137,
            "reason": "OutOfMemoryError: x",
        },
    ]


async def test_a_task_shows_what_became_of_each_container(ready: Yard):
    await ready.define("jd", containerProperties={}, ecsProperties=two_containers())
    job_id = await ready.submit()
    waiting = await ready.job(job_id)
    [task] = waiting["ecsProperties"]["taskProperties"]
    assert "taskArn" not in task
    assert [each["networkInterfaces"] for each in task["containers"]] == [[], []]
    assert "container" not in waiting
    ended = placed(job_id, containers=results())
    await ready.progress(job_id, JobProgress(status=JobStatus.SUCCEEDED, attempts=(ended,)))
    job = await ready.job(job_id)
    [task] = job["ecsProperties"]["taskProperties"]
    expected = shown_results(ended.task_id)
    assert [
        {member: value for member, value in each.items() if member in wanted}
        for each, wanted in zip(task["containers"], expected, strict=True)
    ] == expected
    assert task["containers"][0]["command"] == CONTAINER["command"]
    assert task["taskArn"].endswith(f"/{ended.task_id}")
    assert job["attempts"] == [
        {
            "taskProperties": [
                {
                    "taskArn": task["taskArn"],
                    "containerInstanceArn": task["containerInstanceArn"],
                    "containers": expected,
                }
            ],
            "startedAt": NOW_MS + 500,
            "stoppedAt": NOW_MS + 600,
        }
    ]


async def test_a_task_of_one_container_ends_as_its_attempt_does(ready: Yard):
    await ready.define("jd", containerProperties={}, ecsProperties=a_task())
    job_id = await ready.submit()
    await ready.progress(job_id, failed(job_id, 4))
    job = await ready.job(job_id)
    [task] = job["ecsProperties"]["taskProperties"]
    assert [each["exitCode"] for each in task["containers"]] == [4]
    [attempt] = job["attempts"]
    assert attempt["taskProperties"][0]["containers"][0]["exitCode"] == 4


async def test_a_multi_node_job_of_tasks_shows_the_containers_of_its_main_node(ready: Yard):
    job_id = await a_multi_node_job(ready, {"ecsProperties": two_containers()})
    ended = placed(job_id, containers=results())
    await ready.progress(job_id, JobProgress(status=JobStatus.SUCCEEDED, attempts=(ended,)))
    main = node_id(job_id, 1)
    await ready.progress(main, running(main, address="10.88.0.3"))
    [attempt] = (await ready.job(job_id))["attempts"]
    expected = shown_results(task_id_of(main, 1), "nodes")
    assert attempt["taskProperties"] == [{"containers": expected}]
    node = await ready.job(main)
    assert "container" not in node
    [task] = node["ecsProperties"]["taskProperties"]
    addresses = [each["networkInterfaces"][0]["privateIpv4Address"] for each in task["containers"]]
    assert addresses == ["10.88.0.3", "10.88.0.3"]


async def test_a_pod_waits_without_attempts(yard: Yard):
    await yard.eks_environment()
    await yard.queue("jq", "eks")
    await yard.define(containerProperties={}, eksProperties=a_pod())
    job_id = await yard.submit()
    await yard.progress(job_id, JobProgress(status=JobStatus.RUNNABLE))
    job = await yard.job(job_id)
    assert not {"container", "ecsProperties"} & set(job)
    assert job["eksProperties"]["podProperties"]["containers"][0]["image"] == "busybox"
    assert (job["attempts"], job["eksAttempts"]) == ([], [])
    [listed] = (await yard.call("ListJobs", jobQueue="jq", jobStatus="RUNNABLE"))["jobSummaryList"]
    assert listed["capacityUsage"] == [{"capacityUnit": "cpu", "quantity": 1.0}]


@pytest.mark.parametrize("driver", ["json-file", "none"])
async def test_output_that_goes_to_no_stream_names_none(ready: Yard, driver):
    logs = {"logDriver": driver}
    await ready.define("jd", containerProperties={**CONTAINER, "logConfiguration": logs})
    job_id = await ready.submit()
    await ready.progress(job_id, failed(job_id))
    job = await ready.job(job_id)
    assert "logStreamName" not in job["container"]
    assert "logStreamName" not in job["attempts"][0]["container"]
