"""A container's configuration in the words of the Engine API, from its spec.

Decides what each member of a spec is there, and refuses what the operator has not allowed, before
the engine sees it. Pure, but for looking at the host's paths and devices. Refuses to know calls.

Source: Docker Engine API 1.41, ContainerCreate.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from batchyard.compute.local.shapes import ContainerShape, GpuShape, MountShape
from batchyard.compute.local.supervisor.cgroups import Limits, pids_max
from batchyard.compute.local.supervisor.devices import NotGiven, check_allowed
from batchyard.compute.local.supervisor.refusals import clip

_MEBIBYTE: Final = 1 << 20
_CPU_PERIOD_US: Final = 100_000
_HOST_NAME_LENGTH: Final = 12
#: The engine's own options must not throw output away: one file, never full.
_LOG_CONFIG: Final = {
    "Type": "json-file",
    "Config": {"max-size": "1000t", "max-file": "1"},
}
_NO_LOG_CONFIG: Final = {"Type": "none", "Config": {}}
_NO_GPUS: Final = "void"

Json = dict[str, Any]


class Refused(Exception):
    """The container is not made; the text is the reason in AWS's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the operator lets jobs have of the host."""

    host_paths: Sequence[str] = ()
    #: What mounts of the server's own may show.
    own_paths: Sequence[str] = ()
    devices: Sequence[str] = ()
    is_privileged_allowed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What an engine told of itself."""

    is_podman: bool
    version: str
    #: As Go spells it: `amd64`, `arm64`.
    architecture: str
    cpu_count: int
    memory_bytes: int
    has_swappiness: bool
    #: NVIDIA's runtime is set up: GPUs are asked for by id.
    has_nvidia: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a container stands: everything that its own spec does not say."""

    task_id: str
    image: str
    labels: Mapping[str, str]
    is_cpu_capped: bool
    network_mode: str
    process_mode: str
    ipc_mode: str
    #: What the task's volumes are called.
    name_by_volume: Mapping[str, str]
    #: None: it is named by its id.
    host_name: str | None = None
    #: What is `/etc/hosts` there; None: what the engine makes.
    hosts_path: str | None = None
    gpus: Sequence[GpuShape] = ()
    #: The yard has GPUs: who was given none must not see any.
    has_gpus: bool = False
    gpu_control_paths: Sequence[str] = ()
    rules: Rules = field(default_factory=Rules)


def host_name_of(task_id: str) -> str:
    return task_id[:_HOST_NAME_LENGTH]


def config_of(spec: ContainerShape, place: Place, facts: EngineFacts) -> Json:
    """Give the configuration of a container. Raises `Refused`."""
    if spec["is_privileged"] and not place.rules.is_privileged_allowed:
        text = "privileged containers are not allowed on this host"
        raise Refused(clip("CannotCreateContainerError", text))
    config: Json = {
        "Image": place.image,
        "Env": _environment_of(spec, place),
        "Labels": dict(place.labels),
        "HostConfig": _host_config_of(spec, place, facts),
    }
    # Docker names a container as the one whose network it is in; podman has to be told.
    is_named_by_other = place.network_mode.startswith("container:")
    if not is_named_by_other or (facts.is_podman and place.host_name is not None):
        config["Hostname"] = place.host_name or host_name_of(place.task_id)
    if spec["command"] is not None:
        config["Cmd"] = spec["command"]
    if entrypoint := spec.get("entrypoint"):
        config["Entrypoint"] = entrypoint
        config.setdefault("Cmd", [])
    if spec["user"] is not None:
        config["User"] = spec["user"]
    return config


def _host_config_of(spec: ContainerShape, place: Place, facts: EngineFacts) -> Json:
    host: Json = {
        **_limits_of(spec, is_cpu_capped=place.is_cpu_capped),
        "NetworkMode": place.network_mode,
        "PidMode": place.process_mode,
        "IpcMode": place.ipc_mode,
        "LogConfig": _NO_LOG_CONFIG if spec["log"] is None else _LOG_CONFIG,
        "RestartPolicy": {"Name": "no"},
        "Privileged": spec["is_privileged"],
        "ReadonlyRootfs": spec["is_root_read_only"],
        "Mounts": [_mount_of(mount, place) for mount in (*spec["mounts"], *_hosts_of(place))],
        "Devices": _devices_of(spec, place, facts),
        "Ulimits": [
            {"Name": each["name"], "Soft": each["soft"], "Hard": each["hard"]}
            for each in spec["ulimits"]
        ],
        "Tmpfs": {
            each["destination"]: ",".join([*each["options"], f"size={each['size_mib']}m"])
            for each in spec["tmpfs"]
        },
    }
    if not spec["is_privileged"]:
        # As containers of the direct runtime: they are given devices, and make none.
        host["CapDrop"] = ["MKNOD"]
    if spec["has_init"]:
        host["Init"] = True
    if place.host_name is not None and place.network_mode == "host":
        host["ExtraHosts"] = [f"{place.host_name}:127.0.0.1"]
    if place.ipc_mode == "private":
        host["ShmSize"] = spec["shared_memory_mib"] * _MEBIBYTE
    if place.gpus and facts.has_nvidia:
        ids = [gpu["id"] for gpu in place.gpus]
        host["DeviceRequests"] = [{"DeviceIDs": ids, "Capabilities": [["gpu"]]}]
    if spec["swappiness"] is not None and facts.has_swappiness:
        host["MemorySwappiness"] = spec["swappiness"]
    return host


def _limits_of(spec: ContainerShape, *, is_cpu_capped: bool) -> Json:
    amount = spec["limits"]
    limits = Limits(
        cpu_milli=amount["cpu_milli"],
        memory_mib=amount["memory_mib"],
        is_cpu_capped=is_cpu_capped,
        swap_mib=spec["swap_mib"] or 0,
    )
    plain: Json = {
        "Memory": limits.memory_bytes,
        # The engine's word for both together.
        "MemorySwap": limits.memory_bytes + limits.swap_bytes,
        "CpuShares": limits.cpu_shares,
        "PidsLimit": pids_max(),
    }
    if is_cpu_capped:
        # Not NanoCpus: that would be refused where there are fewer CPUs than the operator says.
        plain |= {"CpuPeriod": _CPU_PERIOD_US, "CpuQuota": limits.cpu_quota_us}
    return plain


def _environment_of(spec: ContainerShape, place: Place) -> list[str]:
    values = dict(spec["environment"])
    if place.has_gpus:
        values["NVIDIA_VISIBLE_DEVICES"] = ",".join(gpu["id"] for gpu in place.gpus) or _NO_GPUS
    return [f"{name}={value}" for name, value in values.items()]


def _mount_of(mount: MountShape, place: Place) -> Json:
    plain: Json = {"Target": mount["destination"], "ReadOnly": mount["is_read_only"]}
    if mount["source"] is not None:
        is_own = mount.get("is_own", False)
        allowed = place.rules.own_paths if is_own else place.rules.host_paths
        source = _allowed_path(mount["source"], allowed)
        return plain | {
            "Type": "bind",
            "Source": source,
            "BindOptions": {"Propagation": "rprivate"},
        }
    plain["Type"] = "volume"
    if mount["volume"]:
        plain["Source"] = place.name_by_volume[mount["volume"]]
    return plain


def _hosts_of(place: Place) -> list[MountShape]:
    if place.hosts_path is None:
        return []
    return [
        {
            "source": place.hosts_path,
            "volume": "",
            "destination": "/etc/hosts",
            "is_read_only": True,
            "is_own": True,
        }
    ]


def _allowed_path(source: str, allowed: Sequence[str]) -> str:
    """Give what a host path really is, and make the folder if it is missing. Raises `Refused`.

    Unlike with the direct runtime a job that may write beside the path can still exchange it for a
    link between this look and the engine's mount; the engine takes names alone.
    """
    real = os.path.realpath(source)
    folders = [os.path.realpath(path) for path in allowed]
    if not any(real == path or real.startswith(path.rstrip("/") + "/") for path in folders):
        text = f"host path {source} is not allowed; allowed are: {', '.join(folders) or 'none'}"
        raise Refused(clip("CannotCreateVolumeError", text))
    try:
        if not os.path.lexists(real):
            os.makedirs(real, exist_ok=True)
    except OSError as error:
        raise Refused(clip("CannotCreateVolumeError", str(error))) from error
    return real


def _devices_of(spec: ContainerShape, place: Place, facts: EngineFacts) -> list[Json]:
    devices = []
    for device in spec["devices"]:
        try:
            source = check_allowed(device["source"], list(place.rules.devices))
        except NotGiven as error:
            raise Refused(clip("CannotCreateContainerError", str(error))) from error
        devices.append(_device(source, device["destination"], device["permissions"]))
    if place.gpus and not facts.has_nvidia:
        paths = [path for gpu in place.gpus for path in gpu["paths"]]
        devices += [_device(path, path, "rw") for path in [*paths, *place.gpu_control_paths]]
    return devices


def _device(source: str, destination: str, permissions: str) -> Json:
    return {
        "PathOnHost": source,
        "PathInContainer": destination,
        "CgroupPermissions": permissions,
    }


def facts_of(info: Json, version: Json) -> EngineFacts:
    """Read what an engine tells of itself (`/info`, `/version`)."""
    components = [str(each.get("Name", "")) for each in version.get("Components") or ()]
    return EngineFacts(
        is_podman=any("podman" in name.lower() for name in components),
        version=str(version.get("Version", "")),
        architecture=str(version.get("Arch", "")),
        cpu_count=int(info.get("NCPU") or 1),
        memory_bytes=int(info.get("MemTotal") or 0),
        has_swappiness=str(info.get("CgroupVersion", "1")) == "1",
        has_nvidia="nvidia" in (info.get("Runtimes") or {}),
    )
