"""The supervisor's private mount namespace: a short mount table of its own.

Decides which of the host's mounts stay visible to containers' runtimes. Starting a container copies
the whole mount table of whoever starts it, so on a busy Docker host with a thousand mounts a start
would cost ten times as much; and crun (before 1.9) refuses to work while the hybrid layout's v2
mount is visible. Refuses to know containers.
"""

from __future__ import annotations

import hashlib
import os

from batchyard.compute.local.supervisor import kernel

#: Kinds of mounts that others make in numbers and no job can need.
_UNWANTED_KINDS = frozenset(
    ("overlay", "nsfs", "squashfs", "fuse.snapfuse", "autofs", "binfmt_misc")
)
_HYBRID_V2 = "/sys/fs/cgroup/unified"


def base_name_of(data_dir: str) -> str:
    """Name the control groups of a data directory."""
    return "batchyard-" + hashlib.blake2b(data_dir.encode(), digest_size=6).hexdigest()


def unwanted_mounts(mountinfo: str, needed: list[str]) -> list[str]:
    """List mount points to detach, the deepest first; never one that leads to a needed path."""
    points = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        point = _unescape(left.split()[4])
        kind = right.split(" ", 1)[0]
        is_unwanted = kind in _UNWANTED_KINDS or point == _HYBRID_V2
        leads = any(path == point or path.startswith(point.rstrip("/") + "/") for path in needed)
        if is_unwanted and not leads:
            points.append(point)
    return points[::-1]


def enter_private_namespace(data_dir: str) -> None:
    """Leave the host's mount namespace for one with a short table and a `run` directory in memory.

    Everything mounted from now on vanishes with this process and its containers, whatever kills it.
    Mounts that the host makes later below an existing mount point still arrive (for network drives
    among the allowed host paths), because the copy is a slave; ours never reach the host.
    """
    kernel.unshare_mounts()
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    needed = [data_dir, "/bin", "/etc", "/usr", "/sbin", "/run"]
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mountinfo = file.read()
    for point in unwanted_mounts(mountinfo, needed):
        try:
            kernel.unmount(point)
        except OSError:
            continue  # Covered by, or gone with, another one.
    kernel.mount("tmpfs", f"{data_dir}/run", "tmpfs", options="mode=0700")
    os.makedirs(f"{data_dir}/run", exist_ok=True)


def _unescape(text: str) -> str:
    """Undo the octal escapes of `/proc/self/mountinfo`."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
