"""The OCI configuration of a container, from a task's spec and its image's configuration.

Decides what a container looks like inside: docker's defaults (capabilities, masked paths, /dev,
/proc, /sys), less what this process could not grant; a privileged one has all of them. Refuses to
touch the machine: paths, identities, devices and namespaces arrive resolved.

Source: OCI runtime specification 1.0.2; moby's default spec (`oci/defaults.go`) for the lists.
"""

from __future__ import annotations

import json

from batchyard.compute.local.supervisor import capabilities
from batchyard.compute.local.supervisor.devices import Node
from batchyard.compute.local.supervisor.rootfs import Identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import ConfigShape, ContainerShape

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INIT_DESTINATION = "/sbin/docker-init"

_SHARED_MEMORY = "/dev/shm"  # noqa: S108  # a mount point
_MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


class NoCommand(Exception):
    """Neither the task nor the image says what to run."""


class ImageConfig:
    """What an image says about running it."""

    __slots__ = ("command", "entrypoint", "environment", "user", "volumes", "working_directory")

    def __init__(self, config: ConfigShape) -> None:
        self.entrypoint = config.get("Entrypoint") or []
        self.command = config.get("Cmd") or []
        self.environment = config.get("Env") or []
        self.user = config.get("User") or ""
        self.working_directory = config.get("WorkingDir") or "/"
        self.volumes = sorted(config.get("Volumes") or {})


class Place:
    """Everything about one container that was resolved on the machine before."""

    __slots__ = (
        "binds",
        "cgroup_path",
        "extra_environment",
        "hook",
        "host_name",
        "hosts_file",
        "identity",
        "namespaces",
        "nodes",
        "resources",
        "root",
        "shared_memory_path",
        "writable",
    )

    def __init__(self, *, root: str, identity: Identity, hosts_file: str, host_name: str) -> None:
        self.root = root
        self.host_name = host_name
        self.identity = identity
        self.hosts_file = hosts_file
        #: (source, destination, is read-only) of bind mounts.
        self.binds: list[tuple[str, str, bool]] = []
        #: Paths of the container that stay writable under a read-only root.
        self.writable: list[tuple[str, str]] = []
        #: Devices beyond docker's common ones.
        self.nodes: list[Node] = []
        #: Kinds of namespaces beyond the fixed ones; the path of one to join, "" for a new one.
        self.namespaces: dict[str, str] = {"pid": "", "ipc": ""}
        #: Where /dev/shm is, if it is not the container's own.
        self.shared_memory_path = ""
        #: Wins over what image and task say.
        self.extra_environment: dict[str, str] = {}
        #: A program that the runtime runs before the container's process, if any.
        self.hook = ""
        #: Set for a runtime that manages control groups itself.
        self.cgroup_path: str | None = None
        self.resources: dict[str, object] | None = None


class SpecTemplate:
    """Composes configurations; what never changes is turned into JSON only once."""

    __slots__ = (
        "_all_capabilities",
        "_capabilities",
        "_fixed_mounts",
        "_has_cgroup_mount",
        "_linux_tail",
    )

    def __init__(
        self, *, capability_mask: int, has_cgroup_mount: bool, has_resolv_conf: bool
    ) -> None:
        names = capabilities.granted(capabilities.COMMON, capability_mask)
        self._capabilities = dict.fromkeys(("bounding", "effective", "permitted"), names)
        every = capabilities.granted(capabilities.ALL, capability_mask)
        self._all_capabilities = dict.fromkeys(("bounding", "effective", "permitted"), every)
        self._has_cgroup_mount = has_cgroup_mount
        self._fixed_mounts = _fixed_mounts(has_cgroup_mount, has_resolv_conf)
        self._linux_tail = {"maskedPaths": _MASKED_PATHS, "readonlyPaths": _READ_ONLY_PATHS}

    def compose(self, spec: ContainerShape, image: ImageConfig, place: Place) -> bytes:
        """Give the `config.json` of a task. Raises `NoCommand`."""
        own = ("mount", "uts", "cgroup") if self._has_cgroup_mount else ("mount", "uts")
        namespaces = dict.fromkeys(own, "") | place.namespaces
        linux: dict[str, object] = {
            "namespaces": [
                {"type": kind, "path": path} if path else {"type": kind}
                for kind, path in namespaces.items()
            ]
        }
        mounts = self._fixed_mounts + _task_mounts(spec, place)
        if spec["is_privileged"]:
            mounts = [_opened(mount) for mount in mounts]
        else:
            linux |= self._linux_tail
        if place.nodes:
            linux["devices"] = [node.to_oci() for node in place.nodes]
        if place.cgroup_path is not None:
            linux["cgroupsPath"] = place.cgroup_path
            linux["resources"] = place.resources
        config: dict[str, object] = {
            "ociVersion": "1.0.2",
            "process": self._process(spec, image, place),
            "root": {"path": place.root, "readonly": spec["is_root_read_only"]},
            "hostname": place.host_name,
            "mounts": mounts,
            "linux": linux,
        }
        if place.hook:
            name = place.hook.rpartition("/")[2]
            config["hooks"] = {"prestart": [{"path": place.hook, "args": [name, "prestart"]}]}
        return json.dumps(config, separators=(",", ":")).encode()

    def _process(self, spec: ContainerShape, image: ImageConfig, place: Place) -> dict[str, object]:
        identity = place.identity
        user: dict[str, object] = {"uid": identity.uid, "gid": identity.gid}
        if identity.additional_gids:
            user["additionalGids"] = identity.additional_gids
        process: dict[str, object] = {
            "args": arguments_of(spec, image),
            "cwd": image.working_directory,
            "env": environment_of(spec, image, place),
            "user": user,
            "capabilities": self._all_capabilities if spec["is_privileged"] else self._capabilities,
        }
        if spec["ulimits"]:
            process["rlimits"] = [
                {"type": "RLIMIT_" + u["name"].upper(), "soft": u["soft"], "hard": u["hard"]}
                for u in spec["ulimits"]
            ]
        return process


def arguments_of(spec: ContainerShape, image: ImageConfig) -> list[str]:
    """Give the arguments of the first process. Raises `NoCommand`."""
    entrypoint = spec.get("entrypoint")
    if entrypoint:
        arguments = entrypoint + (spec["command"] or [])
    else:
        arguments = image.entrypoint + (spec["command"] or image.command)
    if not arguments:
        raise NoCommand("no command specified")
    return [INIT_DESTINATION, "--", *arguments] if spec["has_init"] else arguments


def environment_of(spec: ContainerShape, image: ImageConfig, place: Place) -> list[str]:
    """Give the environment; the task's values win over the image's, and those over the defaults."""
    values = {"PATH": DEFAULT_PATH, "HOSTNAME": place.host_name}
    for line in image.environment:
        name, _, value = line.partition("=")
        values[name] = value
    values.update((name, value) for name, value in spec["environment"])
    values.update(place.extra_environment)
    values.setdefault("HOME", place.identity.home)
    return [f"{name}={value}" for name, value in values.items()]


def _mount(destination: str, kind: str, *options: str, source: str = "") -> dict[str, object]:
    return {
        "destination": destination,
        "type": kind,
        "source": source or kind,
        "options": list(options),
    }


def _opened(mount: dict[str, object]) -> dict[str, object]:
    """Let a privileged container write to /sys and its control groups, as docker does."""
    if mount["type"] not in ("sysfs", "cgroup"):
        return mount
    options = mount["options"]
    assert isinstance(options, list)
    return {**mount, "options": [option for option in options if option != "ro"]}


def _fixed_mounts(has_cgroup_mount: bool, has_resolv_conf: bool) -> list[dict[str, object]]:
    safe = ("nosuid", "noexec", "nodev")
    mounts = [
        _mount("/proc", "proc", *safe),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts",
            "devpts",
            *("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
        ),
        _mount("/sys", "sysfs", *safe, "ro"),
        _mount("/dev/mqueue", "mqueue", *safe),
    ]
    if has_cgroup_mount:
        mounts.append(_mount("/sys/fs/cgroup", "cgroup", *safe, "relatime", "ro"))
    if has_resolv_conf:
        mounts.append(_bind("/etc/resolv.conf", "/etc/resolv.conf", True))
    return mounts


def _bind(source: str, destination: str, is_read_only: bool) -> dict[str, object]:
    return {
        "destination": destination,
        "type": "bind",
        "source": source,
        "options": ["rbind", "rprivate", "nodev", "ro" if is_read_only else "rw"],
    }


def _task_mounts(spec: ContainerShape, place: Place) -> list[dict[str, object]]:
    if place.shared_memory_path:
        memory = _bind(place.shared_memory_path, _SHARED_MEMORY, False)
    else:
        size = f"size={spec['shared_memory_mib']}m"
        safe = ("nosuid", "noexec", "nodev")
        memory = _mount(_SHARED_MEMORY, "tmpfs", *safe, "mode=1777", size, source="shm")
    mounts = [
        memory,
        _bind(place.hosts_file, "/etc/hosts", True),
    ]
    mounts += [_bind(source, path, False) for source, path in place.writable]
    mounts += [_bind(*bind) for bind in place.binds]
    for item in spec["tmpfs"]:
        options = [*_merged_options(item["options"]), f"size={item['size_mib']}m"]
        mounts.append(_mount(item["destination"], "tmpfs", *options))
    return mounts


def _merged_options(wanted: list[str]) -> list[str]:
    """Put a tmpfs's options after docker's own; the last of two that contradict counts, as there.

    Runtimes differ in what they make of both.
    """
    merged: dict[str, str] = {}
    for option in ("nosuid", "nodev", "noexec", *wanted):
        about = option.partition("=")[0].removeprefix("no")
        merged[about] = option
    return list(merged.values())
