"""What one container on EC2 or Fargate may say, and how it looks when shown again. Pure.

Decides which members `containerProperties` may have, alone or as a node's `container`, and the part
that a container of `ecsProperties` shares with it (reference/jobs.md sections 0.4, 3.2, 3.3, 11.4
to 11.8). What AWS has and we cannot run is refused by name, never dropped.
"""

import re
from collections.abc import Sequence

from batchyard.api.batch.refusals import unsupported
from batchyard.api.batch.rules.choices import (
    check_choice,
    check_environment,
    check_image,
)
from batchyard.api.batch.rules.fargate import check_fargate_pair
from batchyard.api.batch.rules.ground import Ground
from batchyard.api.batch.rules.linux import check_linux, check_ulimits
from batchyard.api.batch.rules.logs import check_logs
from batchyard.api.batch.rules.requirements import check_requirements, demand_of
from batchyard.api.batch.rules.secrets import check_repository_credentials, check_secrets
from batchyard.api.batch.rules.volumes import check_mounts, check_volumes
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_USER = re.compile(r"[a-z0-9_][a-z0-9_-]{0,30}(?::[a-z0-9_][a-z0-9_-]{0,30})?")

_LISTS = (
    "command",
    "environment",
    "mountPoints",
    "resourceRequirements",
    "secrets",
    "ulimits",
    "volumes",
)
_FARGATE_ONLY = (
    "networkConfiguration",
    "fargatePlatformConfiguration",
    "ephemeralStorage",
    "runtimePlatform",
)
_DEPRECATED = ("vcpus", "memory")
_PLATFORM_VERSIONS = ("1.3.0", "1.4.0", "LATEST")
_EPHEMERAL_GIB_MIN = 21
_EPHEMERAL_GIB_MAX = 200


def check_container(container: Json, ground: Ground, *, where: str = "containerProperties") -> None:
    """Refuse a container that AWS would refuse, or that we cannot run."""
    check_shared_members(
        container, ground, where=where, execution_role=container.get("executionRoleArn")
    )
    if container.get("enableExecuteCommand"):
        raise unsupported(f"{where}.enableExecuteCommand")
    if container.get("instanceType") and not ground.is_multinode:
        raise client_exception("instanceType is only applicable for multi-node parallel jobs.")
    platform = container.get("fargatePlatformConfiguration") or {}
    if ground.is_fargate:
        for member in _DEPRECATED:
            if member in container:
                raise not_deprecated_on_fargate(member)
        check_platform_version(platform)
        check_fargate_task(container)
    else:
        refuse_on_ec2(container, _FARGATE_ONLY)
    check_volumes(
        container.get("volumes", ()),
        ground,
        job_role=container.get("jobRoleArn"),
        platform_version=platform.get("platformVersion"),
    )
    check_mounts(container.get("mountPoints", ()), container.get("volumes", ()))
    demand = demand_of(container, ground)
    if ground.is_fargate:
        check_fargate_pair(demand)


def check_shared_members(
    container: Json, ground: Ground, *, where: str, execution_role: str | None
) -> None:
    """Refuse what no container may have, of `containerProperties` or of a task."""
    check_image(container.get("image"), where)
    check_repository_credentials(container, where)
    check_environment(container.get("environment", ()))
    check_secrets(
        container.get("secrets", ()),
        environment=container.get("environment", ()),
        execution_role=execution_role,
    )
    check_requirements(container.get("resourceRequirements", ()), ground)
    user = container.get("user")
    if user and not _USER.fullmatch(user):
        raise client_exception(f"User '{user}' does not match regex")
    if container.get("privileged") and ground.is_fargate:
        raise client_exception(
            "Fargate requires that the 'privileged' setting be 'false' at the container level."
        )
    check_ulimits(container.get("ulimits", ()), ground)
    check_linux(container.get("linuxParameters", {}), ground)
    if logs := container.get("logConfiguration"):
        check_logs(logs, ground)


def check_fargate_task(task: Json) -> None:
    """Refuse what Fargate demands of a container or a task and does not get."""
    if not task.get("executionRoleArn"):
        raise client_exception("executionRoleArn must be provided for Fargate.")
    check_choice(task.get("networkConfiguration", {}), "assignPublicIp", ("ENABLED", "DISABLED"))
    storage = task.get("ephemeralStorage")
    if storage and not _EPHEMERAL_GIB_MIN <= storage["sizeInGiB"] <= _EPHEMERAL_GIB_MAX:
        raise client_exception(
            f"ephemeralStorage.sizeInGiB must be between {_EPHEMERAL_GIB_MIN} and"
            f" {_EPHEMERAL_GIB_MAX}."
        )
    platform = task.get("runtimePlatform", {})
    if platform.get("operatingSystemFamily", "").startswith("WINDOWS"):
        raise unsupported(f"operatingSystemFamily {platform['operatingSystemFamily']}")
    check_choice(platform, "operatingSystemFamily", ("LINUX",))
    check_choice(platform, "cpuArchitecture", ("X86_64", "ARM64"))


def check_platform_version(members: Json) -> None:
    """Refuse a version of Fargate's platform that AWS does not have."""
    check_choice(members, "platformVersion", _PLATFORM_VERSIONS)


def refuse_on_ec2(members: Json, fargate_only: Sequence[str]) -> None:
    """Refuse members that only Fargate has, in AWS's words."""
    for member in fargate_only:
        if members.get(member):
            raise client_exception(f"{member} not applicable for EC2.")


def not_deprecated_on_fargate(member: str) -> Exception:
    """Word AWS's refusal of `vcpus` and `memory` on Fargate."""
    return client_exception(
        f"{member} is not applicable for Fargate. Use resource requirements instead."
    )


def normalised(container: Json, ground: Ground) -> Json:
    """Give the container as Describe shows it: lists that were not set are there, and empty."""
    shown: Json = {**container}
    for member in _LISTS:
        shown.setdefault(member, [])
    fill_nested(shown)
    if ground.is_fargate and not shown.get("fargatePlatformConfiguration"):
        shown["fargatePlatformConfiguration"] = {"platformVersion": "LATEST"}
    return shown


def fill_nested(shown: Json) -> None:
    """Put the lists that were not set into `linuxParameters` and `logConfiguration`, if given."""
    if "linuxParameters" in shown:
        shown["linuxParameters"] = {"devices": [], "tmpfs": [], **shown["linuxParameters"]}
    if "logConfiguration" in shown:
        shown["logConfiguration"] = {
            "options": {},
            "secretOptions": [],
            **shown["logConfiguration"],
        }
