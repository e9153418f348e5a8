"""Devices of the host in containers: which may be given, as what, and who has which GPU.

Owns the operator's allow-list of devices, the rules for the v1 devices controller, and the book of
GPUs. Refuses to know containers. A device is given by a node of its own in the container's `/dev`;
no container may make nodes (there is no CAP_MKNOD), so `m` in permissions changes nothing.

Permissions are enforced by the v1 devices controller, and by runc on both layouts. crun on the
unified layout runs without a manager of control groups: there a node can be used as its file mode
says, by root in full.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import GpuShape

#: (kind, major, minor, access): docker's rules for every container. Nodes may be made by the
#: runtime, which is in the group already when it does.
_COMMON_RULES: list[tuple[str, int | None, int | None, str]] = [
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),
    ("c", 1, 5, "rwm"),
    ("c", 1, 7, "rwm"),
    ("c", 1, 8, "rwm"),
    ("c", 1, 9, "rwm"),
    ("c", 5, 0, "rwm"),
    ("c", 5, 2, "rwm"),
    ("c", 136, None, "rwm"),
]
#: Everything, for privileged containers.
ANY_RULES: list[tuple[str, int | None, int | None, str]] = [
    ("c", None, None, "rwm"),
    ("b", None, None, "rwm"),
]
#: What containers have of their own below /dev.
_OWN = frozenset(("pts", "shm", "mqueue", "fd", "core", "console", "ptmx"))


class NotGiven(Exception):
    """The device cannot be given; the text says why."""


class Node:
    """A device as a container gets it."""

    __slots__ = ("gid", "kind", "major", "minor", "mode", "path", "permissions", "uid")

    def __init__(self, *, path: str, status: os.stat_result, permissions: str) -> None:
        self.path = path
        self.kind = "b" if stat.S_ISBLK(status.st_mode) else "c"
        self.major = os.major(status.st_rdev)
        self.minor = os.minor(status.st_rdev)
        self.mode = stat.S_IMODE(status.st_mode)
        self.uid = status.st_uid
        self.gid = status.st_gid
        self.permissions = permissions

    def to_oci(self) -> dict[str, object]:
        return {
            "path": self.path,
            "type": self.kind,
            "major": self.major,
            "minor": self.minor,
            "fileMode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
        }


def node_of(source: str, destination: str, permissions: str) -> Node:
    """Look at a device of the host. Raises `NotGiven`."""
    try:
        status = os.stat(source)
    except OSError as error:
        raise NotGiven(
            f'error gathering device information while adding custom device "{source}":'
            f" {(error.strerror or '').lower()}"
        ) from error
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise NotGiven(f'error gathering device information: "{source}" is not a device node')
    return Node(path=destination, status=status, permissions=permissions)


def check_allowed(source: str, allowed: list[str]) -> str:
    """Give what a device's path really is, if it or a folder above it is allowed. Raises
    `NotGiven`."""
    real = os.path.realpath(source)
    for path in (os.path.realpath(each) for each in allowed):
        if real == path or real.startswith(path.rstrip("/") + "/"):
            return real
    text = ", ".join(allowed) or "none"
    raise NotGiven(f"device {source} is not allowed; allowed are: {text}")


def every_node(directory: str = "/dev") -> list[Node]:
    """List the devices of the host, for a privileged container."""
    nodes = []
    for parent, names, files in os.walk(directory):
        if parent == directory:
            names[:] = [name for name in names if name not in _OWN]
        for name in sorted(files):
            path = f"{parent}/{name}"
            try:
                status = os.lstat(path)
            except OSError:
                continue  # Unplugged meanwhile.
            is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)
            if is_device and not (parent == directory and name in _OWN):
                nodes.append(Node(path=path, status=status, permissions="rwm"))
    return nodes


def rules_for(nodes: list[Node]) -> list[tuple[str, int | None, int | None, str]]:
    """Give the rules that let a container use docker's common devices and these, and no other."""
    own: list[tuple[str, int | None, int | None, str]] = [
        (node.kind, node.major, node.minor, node.permissions.replace("m", ""))
        for node in nodes
        if node.permissions.replace("m", "")
    ]
    return [*_COMMON_RULES, *own]


class GpuBook:
    """Which task has which GPU. Lives as long as the containers do."""

    __slots__ = ("_task_by_gpu",)

    def __init__(self) -> None:
        self._task_by_gpu: dict[str, str] = {}

    def take(self, task_id: str, gpus: list[GpuShape], count: int) -> list[GpuShape]:
        """Give the task `count` more GPUs that nobody has. Raises `NotGiven`, with none taken."""
        free = [gpu for gpu in gpus if gpu["id"] not in self._task_by_gpu][:count]
        if len(free) < count:
            raise NotGiven(f"{count} GPUs were asked for and {len(free)} are free on this host")
        for gpu in free:
            self._task_by_gpu[gpu["id"]] = task_id
        return free

    def give_back(self, task_id: str) -> None:
        """Free the GPUs of a task."""
        for gpu in [gpu for gpu, holder in self._task_by_gpu.items() if holder == task_id]:
            del self._task_by_gpu[gpu]
