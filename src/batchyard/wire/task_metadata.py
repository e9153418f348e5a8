"""How a task is shown to itself: the container agent's metadata, versions 3 and 4. Pure.

Specified by Amazon ECS's "Task metadata endpoint version 4" and reference/integrations.md section
4.6. What is not known is left out, never made up: there are no image ids and no restart counts,
and of the statistics only the limits are known here. `DockerId` names the container and is
no id of docker's.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256

from batchyard.model.records import Json
from batchyard.model.task_facts import ContainerFacts, TaskFacts

_CPU_UNITS_PER_VCPU = 1024
_BYTES_PER_MIB = 1024 * 1024
_MILLI = 1000


def show_container(task: TaskFacts, container: ContainerFacts, *, is_v4: bool) -> Json:
    """Give a container's metadata."""
    limits = container.limits
    shown: Json = {
        "DockerId": docker_id_of(task, container),
        "Name": container.name,
        "DockerName": f"ecs-{task.family}-{task.revision}-{container.name}-{task.task_id}",
        "Image": container.image,
        "Labels": {
            "com.amazonaws.ecs.cluster": task.cluster,
            "com.amazonaws.ecs.container-name": container.name,
            "com.amazonaws.ecs.task-arn": task.task_arn,
            "com.amazonaws.ecs.task-definition-family": task.family,
            "com.amazonaws.ecs.task-definition-version": task.revision,
        },
        "DesiredStatus": _desired_status(task),
        "KnownStatus": _known_status(task, container),
        "Limits": {
            "CPU": limits.cpu_milli * _CPU_UNITS_PER_VCPU // _MILLI,
            "Memory": limits.memory_mib,
        },
        "Type": "NORMAL",
        "Networks": [_show_network(container)],
    }
    if container.exit_code is not None:
        shown["ExitCode"] = container.exit_code
    if container.created_ms is not None:
        shown["CreatedAt"] = show_time(container.created_ms)
    if container.started_ms is not None:
        shown["StartedAt"] = show_time(container.started_ms)
    if is_v4:
        shown["ContainerARN"] = task.scope.arn(
            "ecs", f"container/{task.task_arn.split('task/', 1)[-1]}/{container.name}"
        )
        if container.log_driver is not None:
            shown["LogDriver"] = container.log_driver
            shown["LogOptions"] = dict(container.log_options)
    return shown


def show_task(task: TaskFacts, *, is_v4: bool, has_tags: bool) -> Json:
    """Give a task's metadata."""
    cpu_milli = sum(each.limits.cpu_milli for each in task.containers)
    shown: Json = {
        "Cluster": task.cluster,
        "TaskARN": task.task_arn,
        "Family": task.family,
        "Revision": task.revision,
        "DesiredStatus": _desired_status(task),
        "KnownStatus": "RUNNING" if task.is_running else "PENDING",
        "Limits": {
            "CPU": cpu_milli / _MILLI,
            "Memory": sum(each.limits.memory_mib for each in task.containers),
        },
        "AvailabilityZone": task.availability_zone,
        "Containers": [show_container(task, each, is_v4=is_v4) for each in task.containers],
    }
    if task.started_ms is not None:
        shown["PullStoppedAt"] = show_time(task.started_ms)
    if is_v4:
        shown["LaunchType"] = "FARGATE" if task.is_fargate else "EC2"
    if has_tags:
        shown["TaskTags"] = dict(task.tags)
    return shown


def show_stats(task: TaskFacts, container: ContainerFacts, *, now_ms: int) -> Json:
    """Give what is known of a container's use of the machine, in docker's form: its limits."""
    return {
        "read": show_time(now_ms),
        "name": f"/ecs-{task.family}-{task.revision}-{container.name}-{task.task_id}",
        "id": docker_id_of(task, container),
        "memory_stats": {"limit": container.limits.memory_mib * _BYTES_PER_MIB},
    }


def show_task_stats(task: TaskFacts, *, now_ms: int) -> Json:
    """Give the statistics of every container, by its id."""
    return {
        docker_id_of(task, each): show_stats(task, each, now_ms=now_ms) for each in task.containers
    }


def docker_id_of(task: TaskFacts, container: ContainerFacts) -> str:
    """Name a container in the form of the launch type: 64 hex digits, or task id and number."""
    digits = sha256(f"{task.task_id}/{container.name}".encode()).hexdigest()
    if not task.is_fargate:
        return digits
    # On Fargate, a ten-digit number after the task's id.
    return f"{task.task_id}-{int(digits[:16], 16) % 10**10:010d}"


def find_container(containers: Iterable[ContainerFacts], name: str) -> ContainerFacts | None:
    return next((each for each in containers if each.name == name), None)


def show_time(at_ms: int) -> str:
    """Spell a time as Go's RFC3339Nano does, to the millisecond."""
    return datetime.fromtimestamp(at_ms / _MILLI, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.") + (
        f"{at_ms % _MILLI:03d}Z"
    )


def _show_network(container: ContainerFacts) -> Json:
    shown: Json = {"NetworkMode": container.network_mode}
    if container.address is not None:
        shown["IPv4Addresses"] = [container.address]
    return shown


def _desired_status(task: TaskFacts) -> str:
    return "STOPPED" if task.is_stopping else "RUNNING"


def _known_status(task: TaskFacts, container: ContainerFacts) -> str:
    if container.exit_code is not None:
        return "STOPPED"
    is_up = container.started_ms is not None or task.is_running
    return "RUNNING" if is_up else "CREATED"
