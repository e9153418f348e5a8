"""What `ecsProperties` may say: one task of up to ten containers (reference/jobs.md 10.1). Pure.

Decides members, defaults, the order in which containers wait for each other, the size of the job,
and how `ecsPropertiesOverride` is merged. The members that these containers share with
`containerProperties` are checked there.
"""

import re
from collections.abc import Mapping, Sequence

from batchyard.api.batch.refusals import refuse_given, unsupported
from batchyard.api.batch.rules.choices import check_choice, check_count, not_on_fargate
from batchyard.api.batch.rules.container import (
    check_fargate_task,
    check_platform_version,
    check_shared_members,
    fill_nested,
    refuse_on_ec2,
)
from batchyard.api.batch.rules.fargate import check_fargate_pair
from batchyard.api.batch.rules.ground import Ground
from batchyard.api.batch.rules.overrides import check_overrides, merge_container
from batchyard.api.batch.rules.requirements import demand_of
from batchyard.api.batch.rules.substitution import has_reference, substitute
from batchyard.api.batch.rules.volumes import check_mounts, check_volumes
from batchyard.model.amounts import Amount
from batchyard.model.limits import (
    CONTAINER_TIMEOUT_SECONDS_MIN,
    FARGATE_CONTAINER_TIMEOUT_SECONDS_MAX,
    TASK_CONTAINERS_MAX,
)
from batchyard.model.log_stream import CONTAINER_NAME
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TASK_FARGATE_ONLY = (
    "networkConfiguration",
    "platformVersion",
    "ephemeralStorage",
    "runtimePlatform",
)
_CONTAINER_LISTS = (
    "command",
    "dependsOn",
    "environment",
    "mountPoints",
    "resourceRequirements",
    "secrets",
    "ulimits",
)
START = "START"
_CONDITIONS = (START, "COMPLETE", "SUCCESS")
_TIMEOUTS = ("startTimeout", "stopTimeout")


def check_task_properties(properties: Json, ground: Ground) -> None:
    """Refuse a task that AWS would refuse, or that we cannot run."""
    check_count(properties["taskProperties"], "ecsProperties.taskProperties", least=1, most=1)
    task: Json = properties["taskProperties"][0]
    containers: Sequence[Json] = task["containers"]
    check_count(containers, "taskProperties.containers", least=1, most=TASK_CONTAINERS_MAX)
    _check_task(task, ground)
    check_volumes(
        task.get("volumes", ()),
        ground,
        job_role=task.get("taskRoleArn"),
        platform_version=task.get("platformVersion"),
    )
    _check_names(containers)
    for index, container in enumerate(containers):
        _check_container(container, task, ground, where=f"containers[{index}]")
    if not any(_is_essential(container) for container in containers):
        raise client_exception("A task must have at least one essential container.")
    _check_dependencies(containers)
    demand_of_task(properties, ground)


def normalised_task(properties: Json, ground: Ground) -> Json:
    """Give the task as Describe shows it: defaults filled in, and lists that were not set."""
    [task] = properties["taskProperties"]
    shown: Json = {**task, "containers": [_normalised(each) for each in task["containers"]]}
    shown.setdefault("volumes", [])
    if ground.is_fargate and not shown.get("platformVersion"):
        shown["platformVersion"] = "LATEST"
    return {"taskProperties": [shown]}


def demand_of_task(properties: Json, ground: Ground) -> Amount:
    """Sum what the containers need. On Fargate the sum must be a pair that Fargate offers."""
    [task] = properties["taskProperties"]
    demand = Amount()
    for container in task["containers"]:
        demand += demand_of(container, ground)
    if ground.is_fargate:
        check_fargate_pair(demand)
    return demand


def merge_task(properties: Json, override: Json, ground: Ground) -> Json:
    """Give the task with an `ecsPropertiesOverride` applied; neither argument is changed.

    Containers are found by their names; the only container of a task needs none. Refuses what AWS
    would refuse.
    """
    tasks = override.get("taskProperties", ())
    check_count(tasks, "ecsPropertiesOverride.taskProperties", most=1)
    if not tasks:
        return properties
    [task] = properties["taskProperties"]
    over_by_name = _named_overrides(task["containers"], tasks[0].get("containers", ()))
    for over in over_by_name.values():
        check_overrides(over, ground)
    containers = [
        merge_container(container, over_by_name.get(container["name"], {}))
        for container in task["containers"]
    ]
    return {"taskProperties": [{**task, "containers": containers}]}


def task_has_reference(properties: Json) -> bool:
    """Tell whether the command of any container names a parameter."""
    [task] = properties["taskProperties"]
    return any(has_reference(each["command"]) for each in task["containers"])


def substitute_task(properties: Json, parameters: Mapping[str, str]) -> Json:
    """Give the task with the parameters put into its commands."""
    [task] = properties["taskProperties"]
    containers = [
        {**each, "command": substitute(each["command"], parameters)} for each in task["containers"]
    ]
    return {"taskProperties": [{**task, "containers": containers}]}


def _check_task(task: Json, ground: Ground) -> None:
    if task.get("enableExecuteCommand"):
        raise unsupported("taskProperties.enableExecuteCommand")
    if task.get("networkMode"):
        raise client_exception(f"networkMode is not applicable for {ground.platform}.")
    check_choice(task, "ipcMode", ("host", "task", "none"))
    check_choice(task, "pidMode", ("host", "task"))
    if not ground.is_fargate:
        refuse_on_ec2(task, _TASK_FARGATE_ONLY)
        return
    if task.get("ipcMode"):
        raise not_on_fargate("ipcMode")
    if task.get("pidMode") == "host":
        raise not_on_fargate("pidMode host")
    check_platform_version(task)
    check_fargate_task(task)


def _check_names(containers: Sequence[Json]) -> None:
    names: list[str] = []
    for container in containers:
        name = container.get("name") or ""
        if not name and len(containers) == 1:
            return
        if not _NAME.fullmatch(name):
            raise client_exception(
                "containers.name must be 1 to 255 letters, digits, hyphens and underscores."
            )
        if name in names:
            raise client_exception(f"containers.name {name} is given more than once.")
        names.append(name)


def _check_container(container: Json, task: Json, ground: Ground, *, where: str) -> None:
    refuse_given(container, ("firelensConfiguration",), within=where)
    check_shared_members(
        container, ground, where=where, execution_role=task.get("executionRoleArn")
    )
    check_mounts(container.get("mountPoints", ()), task.get("volumes", ()))
    for member in _TIMEOUTS:
        seconds = container.get(member)
        if seconds is None:
            continue
        if seconds < CONTAINER_TIMEOUT_SECONDS_MIN:
            raise client_exception(
                f"{where}.{member} must be at least {CONTAINER_TIMEOUT_SECONDS_MIN} seconds."
            )
        if ground.is_fargate and seconds > FARGATE_CONTAINER_TIMEOUT_SECONDS_MAX:
            raise client_exception(
                f"{where}.{member} must be at most {FARGATE_CONTAINER_TIMEOUT_SECONDS_MAX} seconds"
                " for Fargate."
            )


def _check_dependencies(containers: Sequence[Json]) -> None:
    """Refuse waiting for a container that is not there, that ends the task, or in a circle."""
    by_name = {container.get("name") or CONTAINER_NAME: container for container in containers}
    awaited: dict[str, list[str]] = {}
    for name, container in by_name.items():
        for dependency in container.get("dependsOn", ()):
            target = dependency.get("containerName") or ""
            condition = dependency.get("condition") or ""
            if target not in by_name:
                raise client_exception(
                    f"containers.dependsOn.containerName {target} is not a container of the task."
                )
            if condition not in _CONDITIONS:
                raise client_exception(
                    f"containers.dependsOn.condition {condition} is not one of"
                    f" {', '.join(_CONDITIONS)}."
                )
            if condition != START and _is_essential(by_name[target]):
                raise client_exception(
                    f"containers.dependsOn: condition {condition} cannot be set on the essential"
                    f" container {target}."
                )
            awaited.setdefault(name, []).append(target)
    _refuse_circles(awaited)


def _refuse_circles(awaited: Mapping[str, Sequence[str]]) -> None:
    """Take away containers whose dependencies are all gone; what is left waits for itself."""
    left = dict(awaited)
    while left:
        free = [name for name, targets in left.items() if not any(each in left for each in targets)]
        if not free:
            names = ", ".join(left)
            raise client_exception(f"containers.dependsOn must not be a circle: {names}.")
        for name in free:
            del left[name]


def _is_essential(container: Json) -> bool:
    return container.get("essential") is not False


def _normalised(container: Json) -> Json:
    shown: Json = {"essential": True, **container}
    shown["name"] = container.get("name") or CONTAINER_NAME
    for member in _CONTAINER_LISTS:
        shown.setdefault(member, [])
    fill_nested(shown)
    return shown


def _named_overrides(containers: Sequence[Json], given: Sequence[Json]) -> dict[str, Json]:
    names = [container["name"] for container in containers]
    found: dict[str, Json] = {}
    for over in given:
        name = over.get("name") or (names[0] if len(names) == 1 else "")
        if name not in names:
            raise client_exception(
                f"ecsPropertiesOverride: container {name} is not in the job definition."
            )
        if name in found:
            raise client_exception(
                f"ecsPropertiesOverride: container {name} is given more than once."
            )
        found[name] = over
    return found
