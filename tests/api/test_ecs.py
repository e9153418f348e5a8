"""Clusters, container instances and tasks, as ECS shows and refuses them."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.model.ecs_arns import container_instance_arn_of, task_arn_of
from batchyard.model.ids import TaskId
from batchyard.model.instances import InstanceId
from batchyard.model.records import JobProgress, StopCause, TerminationCause
from batchyard.model.status import JobStatus
from tests.api.conftest import NOW_MS, SCOPE, Yard, an_attempt
from tests.api.views import Views

pytestmark = pytest.mark.aws_documented

CE = SCOPE.environment_arn("ce")
INVALID = "InvalidParameterException"


@pytest.fixture
async def views(ready: Yard) -> Views:
    return Views(ready)


async def running(views: Views, **changes: Any) -> str:
    """Let a job run; gives its task's id."""
    job_id = await views.yard.submit()
    attempt = an_attempt(job_id, started_ms=NOW_MS + 200, **changes)
    await views.yard.progress(
        job_id, JobProgress(status=JobStatus.RUNNING, started_ms=NOW_MS + 200, attempt=attempt)
    )
    return views.note(job_id, attempt)


async def ended(views: Views, **changes: Any) -> str:
    """Let a job have failed; gives its task's id."""
    job_id = await views.yard.submit()
    members = {"started_ms": NOW_MS + 200, "stopped_ms": NOW_MS + 300, **changes}
    attempt = an_attempt(job_id, **members)
    await views.yard.progress(
        job_id,
        JobProgress(status=JobStatus.FAILED, stopped_ms=NOW_MS + 300, attempts=(attempt,)),
    )
    return views.note(job_id, attempt)


LISTS = ("ListClusters", "ListTasks", "ListContainerInstances")


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize("size", [-(2**31), -1, 0, 101, 2**31 - 1])
async def test_a_page_has_between_1_and_100_names(views: Views, operation: str, size: int) -> None:
    where = {} if operation == "ListClusters" else {"cluster": await views.cluster()}
    refusal = await views.refused("ecs", operation, maxResults=size, **where)
    assert refusal == (INVALID, "maxResults must be between 1 and 100.")
    assert await views.call("ecs", operation, maxResults=100, **where)


@pytest.mark.parametrize("operation", LISTS)
@pytest.mark.parametrize("token", ["x", "%", "é" * 9, "AAAAAAAAAAAAAAAAAAAAAA", "x" * 10_000])
async def test_a_token_of_another_is_refused(views: Views, operation: str, token: str) -> None:
    where = {} if operation == "ListClusters" else {"cluster": await views.cluster()}
    refusal = await views.refused("ecs", operation, nextToken=token, **where)
    assert refusal == (INVALID, "Invalid token.")


async def test_pages_go_on_though_what_they_ended_with_is_gone(views: Views) -> None:
    cluster = await views.cluster()
    for _ in range(5):
        await running(views)
    names = sorted(task_arn_of(SCOPE, CE, each.task_id) for each in views.live[CE])
    first = await views.call("ecs", "ListTasks", cluster=cluster, maxResults=2)
    assert first["taskArns"] == names[:2]
    views.live[CE] = [each for each in views.live[CE] if each.task_id not in names[1]]
    second = await views.call(
        "ecs", "ListTasks", cluster=cluster, maxResults=2, nextToken=first["nextToken"]
    )
    last = await views.call(
        "ecs", "ListTasks", cluster=cluster, maxResults=2, nextToken=second["nextToken"]
    )
    assert (second["taskArns"], last["taskArns"]) == (names[2:4], names[4:])
    assert last["nextToken"] is None
    assert views.described == []  # Names cost no look at a job.
    refusal = await views.refused(
        "ecs", "ListTasks", cluster=cluster, family="jd", nextToken=first["nextToken"]
    )
    assert refusal == (INVALID, "Invalid token.")


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("ListTasks", {"desiredStatus": "GONE"}),
        ("ListTasks", {"desiredStatus": ""}),
        ("ListTasks", {"launchType": "LAMBDA"}),
        ("ListContainerInstances", {"status": "INACTIVE"}),
        ("DescribeClusters", {"include": ["EVERYTHING"]}),
        ("DescribeTasks", {"tasks": ["0" * 32], "include": ["SECRETS"]}),
        ("DescribeContainerInstances", {"containerInstances": ["x"], "include": ["x"]}),
        ("ListTasks", {"startedBy": "me"}),
        ("ListTasks", {"serviceName": "service"}),
        ("ListContainerInstances", {"filter": "task:group == x"}),
    ],
    ids=lambda each: each if isinstance(each, str) else "".join(each),
)
async def test_values_that_ecs_or_we_do_not_know_are_named(
    views: Views, operation: str, members: dict[str, Any]
) -> None:
    where = {} if operation == "DescribeClusters" else {"cluster": await views.cluster()}
    code, text = await views.refused("ecs", operation, **members, **where)
    assert (code, text.split(" ")[0]) == (INVALID, list(members)[-1])


@pytest.mark.parametrize(
    ("operation", "member"),
    [
        ("DescribeClusters", "clusters"),
        ("DescribeTasks", "tasks"),
        ("DescribeContainerInstances", "containerInstances"),
    ],
)
async def test_at_most_100_are_described_at_once(views: Views, operation: str, member: str) -> None:
    where = {} if operation == "DescribeClusters" else {"cluster": await views.cluster()}
    names = [f"{number:032x}" for number in range(101)]
    refusal = await views.refused("ecs", operation, **{member: names}, **where)
    assert refusal == (INVALID, f"{member} can have at most 100 items.")
    answer = await views.call("ecs", operation, **{member: names[:100]}, **where)
    assert [each["reason"] for each in answer["failures"]] == ["MISSING"] * 100


async def test_a_task_is_named_by_32_or_36_characters(views: Views) -> None:
    cluster = await views.cluster()
    for name in ("", "x", "0" * 33, f"{task_arn_of(SCOPE, CE, TaskId('0' * 32))}0"):
        refusal = await views.refused("ecs", "DescribeTasks", cluster=cluster, tasks=[name])
        assert refusal == (INVALID, "taskId length should be one of [32,36]")


async def test_tasks_are_listed_by_what_they_are_to_be(views: Views) -> None:
    cluster = await views.cluster()
    task = await running(views, instance_id="i-" + "1" * 17)
    stopping = await running(views, stop_cause=StopCause.TERMINATED)
    gone = await ended(views, instance_id="i-" + "1" * 17)
    here = container_instance_arn_of(SCOPE, CE, InstanceId("i-" + "1" * 17))
    for members, expected in (
        ({}, [task]),
        ({"desiredStatus": "RUNNING"}, [task]),
        ({"desiredStatus": "PENDING"}, []),
        ({"desiredStatus": "STOPPED"}, [stopping, gone]),
        ({"launchType": "EC2"}, [task]),
        ({"launchType": "FARGATE"}, []),
        ({"launchType": "EXTERNAL"}, []),
        ({"family": "jd"}, [task]),
        ({"family": "other"}, []),
        ({"family": "jd", "desiredStatus": "STOPPED"}, [stopping, gone]),
        ({"containerInstance": here}, [task]),
        ({"containerInstance": here.rsplit("/", 1)[-1]}, [task]),
        ({"containerInstance": f"{here}0"}, []),
        ({"containerInstance": "x"}, []),
        ({"containerInstance": here, "desiredStatus": "STOPPED"}, [gone]),
    ):
        answer = await views.call("ecs", "ListTasks", cluster=cluster, **members)
        ids = [arn.rsplit("/", 1)[-1] for arn in answer["taskArns"]]
        assert ids == sorted(expected), members
    [shown] = (await views.call("ecs", "DescribeClusters", clusters=[cluster, cluster]))["clusters"]
    assert (shown["runningTasksCount"], shown["pendingTasksCount"]) == (2, 0)


@pytest.mark.parametrize(
    ("changes", "code", "exit_code", "reason"),
    [
        ({"exit_code": 3}, "EssentialContainerExited", 3, None),
        (
            {"exit_code": 137, "reason": "OutOfMemoryError: x"},
            "EssentialContainerExited",
            137,
            "OutOfMemoryError: x",
        ),
        (
            {"started_ms": None, "reason": "CannotPullContainerError: x"},
            "TaskFailedToStart",
            None,
            "CannotPullContainerError: x",
        ),
        ({"exit_code": 143, "stop_cause": StopCause.TERMINATED}, "UserInitiated", 143, None),
        ({"exit_code": 137, "stop_cause": StopCause.TIMED_OUT}, "UserInitiated", 137, None),
        (
            {"exit_code": 143, "stop_cause": StopCause.SPOT_TASK_INTERRUPTED},
            "SpotInterruption",
            143,
            None,
        ),
        (
            {"exit_code": 143, "stop_cause": StopCause.INSTANCE_TERMINATED},
            "TerminationNotice",
            143,
            None,
        ),
    ],
    ids=str,
)
async def test_a_task_that_ended_tells_how(
    views: Views, changes: dict[str, Any], code: str, exit_code: int | None, reason: str | None
) -> None:
    task = await ended(views, status_reason="It is over", **changes)
    answer = await views.call("ecs", "DescribeTasks", cluster=await views.cluster(), tasks=[task])
    assert answer["failures"] == []
    [shown] = answer["tasks"]
    assert (shown["lastStatus"], shown["desiredStatus"]) == ("STOPPED", "STOPPED")
    assert (shown["stopCode"], shown["stoppedReason"]) == (code, "It is over")
    assert shown["stoppedAt"] == (NOW_MS + 300) / 1000
    [container] = shown["containers"]
    assert (container["lastStatus"], container["exitCode"]) == ("STOPPED", exit_code)
    assert container["reason"] == reason


async def test_instances_are_described_by_their_names_alone(views: Views) -> None:
    cluster = await views.cluster()
    there = await views.instance(1)
    gone = await views.instance(2, terminated_ms=NOW_MS, cause=TerminationCause.IDLE)
    foreign = await views.instance(3, environment_arn=SCOPE.environment_arn("other"))
    arns = [container_instance_arn_of(SCOPE, CE, each) for each in (there, gone)]
    strange = container_instance_arn_of(SCOPE, CE, foreign)
    listed = await views.call("ecs", "ListContainerInstances", cluster=cluster)
    assert listed["containerInstanceArns"] == arns[:1]
    wrong_end = f"{arns[0][:-1]}{'0' if arns[0][-1] != '0' else '1'}"
    asked = [arns[0], arns[1].rsplit("/", 1)[-1], strange, wrong_end, "", "é", there]
    answer = await views.call(
        "ecs", "DescribeContainerInstances", cluster=cluster, containerInstances=asked
    )
    shown = [(each["ec2InstanceId"], each["status"]) for each in answer["containerInstances"]]
    assert shown == [(there, "ACTIVE"), (gone, "INACTIVE")]
    assert [each["arn"] for each in answer["failures"]] == asked[2:]


async def test_pages_of_instances_and_clusters(views: Views) -> None:
    for number in range(3):
        await views.instance(number)
    await views.yard.environment("another")
    cluster = await views.cluster()
    for operation, where, member, count in (
        ("ListContainerInstances", {"cluster": cluster}, "containerInstanceArns", 3),
        ("ListClusters", {}, "clusterArns", 2),
    ):
        names: list[str] = []
        token: dict[str, str] = {}
        while True:
            page = await views.call("ecs", operation, maxResults=1, **where, **token)
            names += page[member]
            if page["nextToken"] is None:
                break
            token = {"nextToken": page["nextToken"]}
        assert (len(names), names) == (count, sorted(set(names)))
