"""What `containerProperties` may say, and how it looks when shown again. Pure.

Decides which members a container on EC2 or on Fargate may have (reference/jobs.md sections 0.4,
3.2, 3.3, 11.5 to 11.8). What AWS has and we cannot run yet is refused by name, never dropped.
"""

import re
from collections.abc import Sequence

from batchyard.api.batch.refusals import refuse_given, unsupported
from batchyard.api.batch.rules.fargate import check_fargate_pair
from batchyard.api.batch.rules.requirements import check_requirements, demand_of
from batchyard.model.limits import IMAGE_LENGTH_MAX
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_IMAGE = re.compile(r"[A-Za-z0-9_:./#@-]+")
_USER = re.compile(r"[a-z0-9_][a-z0-9_-]{0,30}(?::[a-z0-9_][a-z0-9_-]{0,30})?")
_LOG_GROUP = re.compile(r"[A-Za-z0-9_./#-]{1,512}")
_STREAM_PREFIX = re.compile(r"[^:*]{1,256}")
_VOLUME_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")

_LISTS = (
    "command",
    "environment",
    "mountPoints",
    "resourceRequirements",
    "secrets",
    "ulimits",
    "volumes",
)
_UNSUPPORTED = ("instanceType", "secrets", "repositoryCredentials")
_UNSUPPORTED_VOLUMES = ("efsVolumeConfiguration", "s3filesVolumeConfiguration")
_FARGATE_ONLY = (
    "networkConfiguration",
    "fargatePlatformConfiguration",
    "ephemeralStorage",
    "runtimePlatform",
)
_DEPRECATED = ("vcpus", "memory")
_LOG_OPTIONS = (
    "awslogs-group",
    "awslogs-region",
    "awslogs-stream-prefix",
    "awslogs-create-group",
)
_ULIMITS = (
    *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice"),
    *("nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack"),
)
_TMPFS_OPTIONS = (
    *("defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async"),
    *("dirsync", "remount", "mand", "nomand", "atime", "noatime", "diratime", "nodiratime"),
    *("bind", "rbind", "unbindable", "runbindable", "private", "rprivate", "shared", "rshared"),
    *("slave", "rslave", "relatime", "norelatime", "strictatime", "nostrictatime"),
    *("mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol"),
)
_PLATFORM_VERSIONS = ("1.3.0", "1.4.0", "LATEST")
_EPHEMERAL_GIB_MIN = 21
_EPHEMERAL_GIB_MAX = 200
_RESERVED_ENVIRONMENT_PREFIX = "AWS_BATCH"


def check_container(container: Json, *, is_fargate: bool, request_id: str) -> None:
    """Refuse a container that AWS would refuse, or that we cannot run yet."""
    _check_image(container.get("image"))
    refuse_given(container, _UNSUPPORTED, within="containerProperties")
    if container.get("enableExecuteCommand"):
        raise unsupported("containerProperties.enableExecuteCommand")
    check_environment(container.get("environment", ()))
    check_requirements(container.get("resourceRequirements", ()))
    user = container.get("user")
    if user and not _USER.fullmatch(user):
        raise client_exception(f"User '{user}' does not match regex")
    if is_fargate:
        _check_on_fargate(container)
    else:
        _check_on_ec2(container)
    _check_ulimits(container.get("ulimits", ()))
    _check_volumes(container)
    _check_linux(container.get("linuxParameters", {}))
    if "logConfiguration" in container:
        _check_logs(container["logConfiguration"])
    demand = demand_of(container, is_fargate=is_fargate, request_id=request_id)
    if is_fargate:
        check_fargate_pair(demand)


def check_environment(environment: Sequence[Json]) -> None:
    """Refuse variables without a name, and names that belong to the service."""
    for variable in environment:
        name = variable.get("name")
        if not name:
            raise client_exception("Environment variables must have a name.")
        if name.startswith(_RESERVED_ENVIRONMENT_PREFIX):
            raise client_exception(
                f"Environment variables cannot start with {_RESERVED_ENVIRONMENT_PREFIX}."
            )


def normalised(container: Json, *, is_fargate: bool) -> Json:
    """Give the container as Describe shows it: lists that were not set are there, and empty."""
    shown: Json = {**container}
    for member in _LISTS:
        shown.setdefault(member, [])
    if "linuxParameters" in shown:
        shown["linuxParameters"] = {"devices": [], "tmpfs": [], **shown["linuxParameters"]}
    if "logConfiguration" in shown:
        shown["logConfiguration"] = {
            "options": {},
            "secretOptions": [],
            **shown["logConfiguration"],
        }
    if is_fargate and not shown.get("fargatePlatformConfiguration"):
        shown["fargatePlatformConfiguration"] = {"platformVersion": "LATEST"}
    return shown


def _check_image(image: str | None) -> None:
    if not image:
        raise client_exception("containerProperties.image must be provided.")
    if len(image) > IMAGE_LENGTH_MAX or not _IMAGE.fullmatch(image):
        raise client_exception(
            f"containerProperties.image must be 1 to {IMAGE_LENGTH_MAX} letters, digits,"
            " and the characters - _ : . / # @"
        )


def _check_on_ec2(container: Json) -> None:
    for member in _FARGATE_ONLY:
        if container.get(member):
            raise client_exception(f"{member} not applicable for EC2.")
    if container.get("privileged"):
        raise unsupported("containerProperties.privileged")


def _check_on_fargate(container: Json) -> None:
    for member in _DEPRECATED:
        if member in container:
            raise client_exception(
                f"{member} is not applicable for Fargate. Use resource requirements instead."
            )
    if container.get("privileged"):
        raise client_exception(
            "Fargate requires that the 'privileged' setting be 'false' at the container level."
        )
    if container.get("ulimits"):
        raise _not_on_fargate("ulimits")
    for member, value in container.get("linuxParameters", {}).items():
        if member != "initProcessEnabled" and value != []:
            raise _not_on_fargate(member)
    for volume in container.get("volumes", ()):
        if "host" in volume:
            raise _not_on_fargate("host")
    if not container.get("executionRoleArn"):
        raise client_exception("executionRoleArn must be provided for Fargate.")
    _check_fargate_members(container)


def _check_fargate_members(container: Json) -> None:
    network = container.get("networkConfiguration", {})
    _check_choice(network, "assignPublicIp", ("ENABLED", "DISABLED"))
    _check_choice(
        container.get("fargatePlatformConfiguration", {}), "platformVersion", _PLATFORM_VERSIONS
    )
    storage = container.get("ephemeralStorage")
    if storage and not _EPHEMERAL_GIB_MIN <= storage["sizeInGiB"] <= _EPHEMERAL_GIB_MAX:
        raise client_exception(
            f"ephemeralStorage.sizeInGiB must be between {_EPHEMERAL_GIB_MIN} and"
            f" {_EPHEMERAL_GIB_MAX}."
        )
    platform = container.get("runtimePlatform", {})
    if platform.get("operatingSystemFamily", "").startswith("WINDOWS"):
        raise unsupported(f"operatingSystemFamily {platform['operatingSystemFamily']}")
    _check_choice(platform, "operatingSystemFamily", ("LINUX",))
    _check_choice(platform, "cpuArchitecture", ("X86_64", "ARM64"))


def _check_ulimits(ulimits: Sequence[Json]) -> None:
    for ulimit in ulimits:
        name = ulimit["name"]
        if name not in _ULIMITS:
            raise client_exception(f"ulimits name {name} is not one of {', '.join(_ULIMITS)}.")
        if ulimit["softLimit"] > ulimit["hardLimit"] != -1:
            raise client_exception(f"ulimits {name}: softLimit must not be above hardLimit.")


def _check_volumes(container: Json) -> None:
    names: list[str] = []
    for volume in container.get("volumes", ()):
        refuse_given(volume, _UNSUPPORTED_VOLUMES, within="volumes")
        name = volume.get("name", "")
        if not _VOLUME_NAME.fullmatch(name):
            raise client_exception(
                "volumes.name must be 1 to 255 letters, digits, hyphens and underscores."
            )
        if name in names:
            raise client_exception(f"volumes.name {name} is given more than once.")
        names.append(name)
        source = volume.get("host", {}).get("sourcePath")
        if source and not source.startswith("/"):
            raise client_exception(f"volumes.host.sourcePath {source} must be an absolute path.")
    for mount in container.get("mountPoints", ()):
        if mount.get("sourceVolume") not in names:
            raise client_exception(
                f"mountPoints.sourceVolume {mount.get('sourceVolume', '')} is not a volume."
            )
        _check_path(mount.get("containerPath"), "mountPoints.containerPath")


def _check_linux(linux: Json) -> None:
    refuse_given(linux, ("devices", "maxSwap", "swappiness"), within="linuxParameters")
    if linux.get("sharedMemorySize", 1) < 1:
        raise client_exception("linuxParameters.sharedMemorySize must be at least 1 MiB.")
    for mount in linux.get("tmpfs", ()):
        _check_path(mount.get("containerPath"), "tmpfs.containerPath")
        if mount["size"] < 1:
            raise client_exception("tmpfs.size must be at least 1 MiB.")
        for option in mount.get("mountOptions", ()):
            if option.partition("=")[0] not in _TMPFS_OPTIONS:
                raise client_exception(f"tmpfs.mountOptions {option} is not a mount option.")


def _check_logs(logs: Json) -> None:
    driver = logs["logDriver"]
    if driver != "awslogs":
        raise unsupported(f"logDriver {driver}")
    refuse_given(logs, ("secretOptions",), within="logConfiguration")
    options = logs.get("options", {})
    for option in options:
        if option not in _LOG_OPTIONS:
            raise unsupported(f"logConfiguration option {option}")
    group = options.get("awslogs-group")
    if group is not None and not _LOG_GROUP.fullmatch(group):
        raise client_exception(f"awslogs-group {group} is not a valid log group name.")
    prefix = options.get("awslogs-stream-prefix")
    if prefix is not None and not _STREAM_PREFIX.fullmatch(prefix):
        raise client_exception(f"awslogs-stream-prefix {prefix} is not valid in a log stream name.")


def _check_path(path: str | None, member: str) -> None:
    if not path or not path.startswith("/"):
        raise client_exception(f"{member} must be an absolute path.")


def _check_choice(members: Json, member: str, choices: Sequence[str]) -> None:
    value = members.get(member)
    if value is not None and value not in choices:
        raise client_exception(f"{member} {value} is not one of {', '.join(choices)}.")


def _not_on_fargate(member: str) -> Exception:
    return client_exception(f"{member} is not applicable for Fargate.")
