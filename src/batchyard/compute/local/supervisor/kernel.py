"""The few system calls that Python does not offer: mounts, namespaces, holes in files, inotify.

Owns the constants and the translation of a failed call into `OSError`. Refuses to know what is
mounted or watched, and why. It works on Linux only; imported by the supervisor, so nothing heavy
may be imported here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
_NAME_BY_FLAG = {CLONE_NEWIPC: "ipc", CLONE_NEWPID: "pid_for_children", CLONE_NEWNET: "net"}
_PR_SET_PDEATHSIG = 1
MS_RDONLY = 0x1
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 2

IN_CLOSE_WRITE = 0x8
IN_MOVED_TO = 0x80
_INOTIFY_EVENT = struct.Struct("iIII")

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2

_libc = ctypes.CDLL(None, use_errno=True)
with contextlib.suppress(AttributeError):  # elsewhere this is loaded, and never called
    _libc.mount.argtypes = (
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_ulong,
        ctypes.c_char_p,
    )
    _libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    _libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def _check(result: int, path: str = "") -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result


def unshare_mounts() -> None:
    """Give this process a mount namespace of its own (a copy of the present one)."""
    _check(_libc.unshare(CLONE_NEWNS))


@contextlib.contextmanager
def new_namespace(flag: int) -> Iterator[int]:
    """Be in a new namespace (for processes: the next child is) while the context lasts.

    Gives a descriptor of it that stays open afterwards, but for processes: there is nothing to open
    before its first one; -1 then. Only for a process of one thread. Raises `OSError`.
    """
    name = _NAME_BY_FLAG[flag]
    own = os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(flag))
        try:
            is_empty = flag == CLONE_NEWPID
            yield -1 if is_empty else os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _check(_libc.setns(own, flag))
    finally:
        os.close(own)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))


def mount(source: str, target: str, kind: str = "", *, flags: int = 0, options: str = "") -> None:
    """Mount. Raises `OSError` with the target as its file name."""
    _check(
        _libc.mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            flags,
            os.fsencode(options) or None,
        ),
        target,
    )


def unmount(target: str) -> None:
    """Detach the mount at `target` from the tree at once; the kernel frees it when it is unused."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def punch_hole(fd: int, start: int, end: int) -> None:
    """Give the disk space of the bytes from `start` to `end` back; they read as zeros from then
    on."""
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    _check(_libc.fallocate(fd, mode, start, end - start))


def watch_directory(path: str) -> int:
    """Open an inotify descriptor that tells of files finished (closed or moved) in `path`."""
    fd = _check(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    _check(_libc.inotify_add_watch(fd, os.fsencode(path), IN_CLOSE_WRITE | IN_MOVED_TO), path)
    return fd


def read_finished_names(fd: int) -> list[str]:
    """Read the names that a descriptor of `watch_directory` has to tell; may name one twice."""
    try:
        data = os.read(fd, 65536)
    except BlockingIOError:
        return []
    names = []
    offset = 0
    while offset < len(data):
        _, _, _, length = _INOTIFY_EVENT.unpack_from(data, offset)
        offset += _INOTIFY_EVENT.size
        names.append(os.fsdecode(data[offset : offset + length].rstrip(b"\0")))
        offset += length
    return names
