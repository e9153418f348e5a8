"""ListTasks and DescribeTasks: the tasks of live attempts.

A task that has ended is not found any more: DescribeJobs has how it ended.
"""

from batchyard.api.ecs.service import (
    Service,
    find_cluster,
    missing,
    page_of,
    refuse_too_many,
)
from batchyard.model.ids import TaskId
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal
from batchyard.model.task_facts import ContainerFacts, TaskFacts
from batchyard.wire.call import Call

_CPU_UNITS_PER_VCPU = 1024
_MILLI = 1000
#: By which ListTasks can be narrowed here.
_NARROWED_BY = ("containerInstance", "family", "launchType")
_REFUSED = ("serviceName", "startedBy", "daemonName")


async def list_tasks(service: Service, call: Call, request: Json) -> Json:
    """Name the live tasks of a cluster, in the order in which they were placed."""
    for member in _REFUSED:
        if request.get(member):
            text = f"{member} is not supported yet by batchyard."
            raise Refusal("InvalidParameterException", text)
    record = await service.store.read(lambda conn: find_cluster(conn, call.scope, request))
    ids = [] if request.get("desiredStatus") == "STOPPED" else service.list_tasks(record.arn)
    narrowed = any(request.get(member) for member in _NARROWED_BY)
    found: list[str] = []
    for task_id in ids:
        task = await service.describe_task(task_id)
        if task is not None and (not narrowed or _fits(task, request)):
            found.append(task.task_arn)
    page, token = page_of(found, request)
    return {"taskArns": page, "nextToken": token}


async def describe_tasks(service: Service, call: Call, request: Json) -> Json:
    """Show live tasks of a cluster, by ARN or by its last part."""
    asked: list[str] = request["tasks"]
    refuse_too_many(asked, "tasks")
    record = await service.store.read(lambda conn: find_cluster(conn, call.scope, request))
    live = set(service.list_tasks(record.arn))
    has_tags = "TAGS" in (request.get("include") or ())
    shown, failures = [], []
    for each in asked:
        task_id = TaskId(each.rsplit("/", 1)[-1])
        task = await service.describe_task(task_id) if task_id in live else None
        if task is None or each not in (task_id, task.task_arn):
            failures.append(missing(each))
        else:
            shown.append(_shown(task, has_tags=has_tags))
    return {"tasks": shown, "failures": failures}


def _fits(task: TaskFacts, request: Json) -> bool:
    instance: str | None = request.get("containerInstance")
    arn = task.container_instance_arn or ""
    return (
        (not instance or instance in (arn, arn.rsplit("/", 1)[-1]))
        and request.get("family") in (None, "", task.family)
        and request.get("launchType") in (None, "", _launch_type(task))
    )


def _launch_type(task: TaskFacts) -> str:
    return "FARGATE" if task.is_fargate else "EC2"


def _shown(task: TaskFacts, *, has_tags: bool) -> Json:
    cpu_milli = sum(each.limits.cpu_milli for each in task.containers)
    created_ms = next((each.created_ms for each in task.containers), None)
    shown: Json = {
        "taskArn": task.task_arn,
        "clusterArn": task.cluster,
        "taskDefinitionArn": task.scope.arn(
            "ecs", f"task-definition/{task.family}:{task.revision}"
        ),
        "containerInstanceArn": task.container_instance_arn,
        "availabilityZone": task.availability_zone,
        "launchType": _launch_type(task),
        "lastStatus": "RUNNING" if task.is_running else "PENDING",
        "desiredStatus": "STOPPED" if task.is_stopping else "RUNNING",
        "cpu": str(cpu_milli * _CPU_UNITS_PER_VCPU // _MILLI),
        "memory": str(sum(each.limits.memory_mib for each in task.containers)),
        "containers": [_container(task, each) for each in task.containers],
        "createdAt": None if created_ms is None else created_ms / _MILLI,
        "startedAt": None if task.started_ms is None else task.started_ms / _MILLI,
    }
    if has_tags:
        shown["tags"] = [{"key": key, "value": value} for key, value in task.tags.items()]
    return shown


def _container(task: TaskFacts, container: ContainerFacts) -> Json:
    below = task.task_arn.split(":task/", 1)[-1]
    addresses = [] if container.address is None else [{"privateIpv4Address": container.address}]
    return {
        "containerArn": task.scope.arn("ecs", f"container/{below}/{container.name}"),
        "taskArn": task.task_arn,
        "name": container.name,
        "image": container.image,
        "lastStatus": "RUNNING" if task.is_running else "PENDING",
        "cpu": str(container.limits.cpu_milli * _CPU_UNITS_PER_VCPU // _MILLI),
        "memory": str(container.limits.memory_mib),
        "exitCode": container.exit_code,
        "networkInterfaces": addresses,
    }
