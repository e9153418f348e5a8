"""What `linuxParameters` and `ulimits` may say (reference/jobs.md section 11.7). Pure."""

from collections.abc import Sequence

from batchyard.api.batch.rules.choices import check_path, not_on_fargate
from batchyard.api.batch.rules.ground import Ground
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

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
_DEVICE_PERMISSIONS = ("READ", "WRITE", "MKNOD")
_SWAPPINESS_MAX = 100


def check_ulimits(ulimits: Sequence[Json], ground: Ground) -> None:
    """Refuse limits that Linux does not have, soft ones above hard ones, and all on Fargate."""
    if ulimits and ground.is_fargate:
        raise not_on_fargate("ulimits")
    for ulimit in ulimits:
        name = ulimit["name"]
        if name not in _ULIMITS:
            raise client_exception(f"ulimits name {name} is not one of {', '.join(_ULIMITS)}.")
        if ulimit["softLimit"] > ulimit["hardLimit"] != -1:
            raise client_exception(f"ulimits {name}: softLimit must not be above hardLimit.")


def check_linux(linux: Json, ground: Ground) -> None:
    """Refuse parameters that are out of range; on Fargate only `initProcessEnabled` may be set."""
    if ground.is_fargate:
        for member, value in linux.items():
            if member != "initProcessEnabled" and value != []:
                raise not_on_fargate(member)
    if linux.get("sharedMemorySize", 1) < 1:
        raise client_exception("linuxParameters.sharedMemorySize must be at least 1 MiB.")
    if linux.get("maxSwap", 0) < 0:
        raise client_exception("linuxParameters.maxSwap must not be below 0.")
    if not 0 <= linux.get("swappiness", 0) <= _SWAPPINESS_MAX:
        raise client_exception(
            f"linuxParameters.swappiness must be between 0 and {_SWAPPINESS_MAX}."
        )
    for device in linux.get("devices") or ():
        _check_device(device)
    for mount in linux.get("tmpfs") or ():
        _check_tmpfs(mount)


def _check_device(device: Json) -> None:
    check_path(device["hostPath"], "devices.hostPath")
    if device.get("containerPath"):
        check_path(device["containerPath"], "devices.containerPath")
    for permission in device.get("permissions") or ():
        if permission not in _DEVICE_PERMISSIONS:
            raise client_exception(
                f"devices.permissions {permission} is not one of {', '.join(_DEVICE_PERMISSIONS)}."
            )


def _check_tmpfs(mount: Json) -> None:
    check_path(mount["containerPath"], "tmpfs.containerPath")
    if mount["size"] < 1:
        raise client_exception("tmpfs.size must be at least 1 MiB.")
    for option in mount.get("mountOptions") or ():
        if option.partition("=")[0] not in _TMPFS_OPTIONS:
            raise client_exception(f"tmpfs.mountOptions {option} is not a mount option.")
