"""ListTasks and DescribeTasks: the tasks of live attempts, and those that ended lately.

How long a task that has ended is told is up to the engine (`engine.ended_tasks`). DescribeJobs has
how it ended for as long as the job is kept.
"""

from collections.abc import Sequence
from functools import partial

from batchyard.api.ecs.service import (
    Page,
    Service,
    find_cluster,
    invalid_parameter,
    missing,
    page_of,
    refuse_members,
    refuse_too_many,
    refuse_unknown,
)
from batchyard.model.ecs_arns import container_instance_arn_of, instance_id_in, task_arn_of
from batchyard.model.environment_kinds import kind_of_environment
from batchyard.model.ids import EnvironmentArn, JobId, Scope, TaskId, name_in_arn
from batchyard.model.records import EnvironmentRecord, JobRecord, Json
from batchyard.model.task_facts import ContainerFacts, TaskFacts, TaskGlance
from batchyard.store import Connection
from batchyard.store.jobs import read_specs
from batchyard.wire.call import Call

_CPU_UNITS_PER_VCPU = 1024
_MILLI = 1000
_REFUSED = ("serviceName", "startedBy", "daemonName")
_DESIRED = ("RUNNING", "PENDING", "STOPPED")
_LAUNCH_TYPES = ("EC2", "FARGATE", "EXTERNAL", "MANAGED_INSTANCES")
#: As many jobs are read at a time to learn their families.
_READ_MAX = 500
#: ECS: "taskId length should be one of [32,36]".
_ID_LENGTHS = (32, 36)


async def list_tasks(service: Service, call: Call, request: Json) -> Json:
    """Name tasks of a cluster: those that are to run, or those that are to stop and have stopped.

    No task is ever desired to be PENDING: so it is on AWS.
    """
    refuse_members(request, _REFUSED)
    desired: str = request.get("desiredStatus", "RUNNING")
    refuse_unknown([desired], "desiredStatus", _DESIRED)
    refuse_unknown([request.get("launchType")], "launchType", _LAUNCH_TYPES)
    asked = page_of("ListTasks", request)
    record = await service.store.read(lambda conn: find_cluster(conn, call.scope, request))
    glances = [
        each
        for each in _tasks_of(service, record, desired)
        if _is_on(call.scope, record.arn, each, request.get("containerInstance"))
    ]
    if request.get("launchType") not in (None, _launch_type_of(record)):
        glances = []
    by_arn = {task_arn_of(call.scope, record.arn, each.task_id): each for each in glances}
    family: str | None = request.get("family")
    if family is None:
        page, token = asked.pick(by_arn)
    else:
        page, token = await _pick_of_family(service, asked, by_arn, family)
    return {"taskArns": page, "nextToken": token}


async def describe_tasks(service: Service, call: Call, request: Json) -> Json:
    """Show tasks of a cluster, by ARN or by its last part."""
    asked: list[str] = request["tasks"]
    refuse_too_many(asked, "tasks")
    include: list[str] = request.get("include") or []
    refuse_unknown(include, "include", ["TAGS"])
    for each in asked:
        if len(each.rsplit("/", 1)[-1]) not in _ID_LENGTHS:
            raise invalid_parameter("taskId length should be one of [32,36]")
    record = await service.store.read(lambda conn: find_cluster(conn, call.scope, request))
    shown, failures = [], []
    for each in asked:
        task_id = TaskId(each.rsplit("/", 1)[-1])
        arn = task_arn_of(call.scope, record.arn, task_id)
        task = await service.describe_task(task_id) if each in (task_id, arn) else None
        if task is None or task.task_arn != arn:
            failures.append(missing(each))
        else:
            shown.append(_shown(task, has_tags="TAGS" in include))
    return {"tasks": shown, "failures": failures}


def _tasks_of(service: Service, record: EnvironmentRecord, desired: str) -> Sequence[TaskGlance]:
    live = service.list_tasks(record.arn)
    if desired == "STOPPED":
        return [*service.list_ended_tasks(record.arn), *(each for each in live if each.is_stopping)]
    return [each for each in live if desired == "RUNNING" and not each.is_stopping]


def _is_on(
    scope: Scope, environment_arn: EnvironmentArn, task: TaskGlance, container_instance: str | None
) -> bool:
    if container_instance is None:
        return True
    if task.instance_id is None or task.instance_id != instance_id_in(container_instance):
        return False
    arn = container_instance_arn_of(scope, environment_arn, task.instance_id)
    return container_instance in (arn, arn.rsplit("/", 1)[-1])


async def _pick_of_family(
    service: Service, asked: Page, by_arn: dict[str, TaskGlance], family: str
) -> tuple[list[str], str | None]:
    """Cut out a page of the tasks of one job definition; reads no more jobs than it takes."""
    found: list[str] = []
    names = sorted(arn for arn in by_arn if arn > asked.after)
    for start in range(0, len(names), _READ_MAX):
        piece = names[start : start + _READ_MAX]
        ids = [by_arn[arn].job_id for arn in piece]
        records = await service.store.read_long(partial(_read_all, ids))
        for arn in piece:
            record = records.get(by_arn[arn].job_id)
            if record is not None and _family_of(record.job.definition_arn) == family:
                found.append(arn)
        if len(found) > asked.size:
            break
    return asked.close(found)


def _read_all(ids: Sequence[JobId], conn: Connection) -> dict[JobId, JobRecord]:
    return read_specs(conn, ids)


def _family_of(definition_arn: str) -> str:
    return name_in_arn(definition_arn).partition(":")[0]


def _launch_type_of(record: EnvironmentRecord) -> str:
    return "FARGATE" if kind_of_environment(record.detail).is_fargate else "EC2"


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
        "lastStatus": _status_of(task),
        "desiredStatus": "STOPPED" if task.is_stopping or task.end else "RUNNING",
        "cpu": str(cpu_milli * _CPU_UNITS_PER_VCPU // _MILLI),
        "memory": str(sum(each.limits.memory_mib for each in task.containers)),
        "containers": [_container(task, each) for each in task.containers],
        "createdAt": None if created_ms is None else created_ms / _MILLI,
        "startedAt": None if task.started_ms is None else task.started_ms / _MILLI,
    }
    if task.end is not None:
        ended_s = task.end.at_ms / _MILLI
        shown |= {
            "stopCode": task.end.code,
            "stoppedReason": task.end.reason,
            "executionStoppedAt": ended_s,
            "stoppedAt": ended_s,
        }
    if has_tags:
        shown["tags"] = [{"key": key, "value": value} for key, value in task.tags.items()]
    return shown


def _status_of(task: TaskFacts) -> str:
    if task.end is not None:
        return "STOPPED"
    return "RUNNING" if task.is_running else "PENDING"


def _container(task: TaskFacts, container: ContainerFacts) -> Json:
    below = task.task_arn.split(":task/", 1)[-1]
    addresses = [] if container.address is None else [{"privateIpv4Address": container.address}]
    return {
        "containerArn": task.scope.arn("ecs", f"container/{below}/{container.name}"),
        "taskArn": task.task_arn,
        "name": container.name,
        "image": container.image,
        "lastStatus": _status_of(task),
        "cpu": str(container.limits.cpu_milli * _CPU_UNITS_PER_VCPU // _MILLI),
        "memory": str(container.limits.memory_mib),
        "exitCode": container.exit_code,
        "reason": container.reason,
        "networkInterfaces": addresses,
    }
