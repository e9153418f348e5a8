"""Paths of the host that jobs may mount: checked against the allow-list, then pinned.

Owns the step from a name to a directory that can no longer become another one. A job that may write
below an allowed path can exchange a directory there for a symbolic link at any moment, also between
our look at it and the runtime's mount, and would get the rest of the machine. So the path is opened
component by component without following a link, what is open is mounted in a place of ours, and the
runtime is given that place. Refuses to know containers. Runs in the supervisor's mount namespace.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from batchyard.compute.local.supervisor import kernel


class NotAllowed(Exception):
    """The path is outside the allow-list; the text says what is inside."""


class HostPaths:
    """The host's paths that are pinned for tasks now."""

    __slots__ = ("_count", "_pins_by_task", "_place")

    def __init__(self, run_path: str) -> None:
        self._place = f"{run_path}/binds"
        self._count = 0
        self._pins_by_task: dict[str, list[str]] = {}
        os.makedirs(self._place, mode=0o700, exist_ok=True)

    def pin(self, task_id: str, source: str, allowed: list[str]) -> str:
        """Give a path that is `source` until `release`; make the directory if it is missing.

        Raises `NotAllowed`, and `OSError` where it cannot be made or mounted.
        """
        real = os.path.realpath(source)
        folders = [os.path.realpath(path) for path in allowed]
        if not any(real == path or real.startswith(path.rstrip("/") + "/") for path in folders):
            text = ", ".join(folders) or "none"
            raise NotAllowed(f"host path {source} is not allowed; allowed are: {text}")
        return self._pin_and_close(task_id, open_without_links(real))

    def pin_in_root(self, task_id: str, path: str) -> str:
        """Give a path that is the directory `path` of a container's root until `release`, whatever
        other containers that share a part of that root do to the name. Raises `OSError`.

        To be called before any of them runs.
        """
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._pin_and_close(task_id, fd)

    def _pin_and_close(self, task_id: str, fd: int) -> str:
        try:
            return self._mount(task_id, fd)
        finally:
            os.close(fd)

    def _mount(self, task_id: str, fd: int) -> str:
        self._count += 1
        pin = f"{self._place}/{self._count}"
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            os.mkdir(pin, 0o700)
        else:
            os.close(os.open(pin, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        self._pins_by_task.setdefault(task_id, []).append(pin)
        kernel.mount(f"/proc/self/fd/{fd}", pin, flags=kernel.MS_BIND | kernel.MS_REC)
        return pin

    def release(self, task_id: str) -> None:
        """Undo all pins of a task. Never deletes what a pin shows: an empty place is removed, not
        a tree."""
        for pin in self._pins_by_task.pop(task_id, ()):
            with contextlib.suppress(OSError):
                kernel.unmount(pin)
            with contextlib.suppress(OSError):
                if stat.S_ISDIR(os.lstat(pin).st_mode):
                    os.rmdir(pin)
                else:
                    os.unlink(pin)


def open_without_links(path: str) -> int:
    """Open an absolute path (`O_PATH`) of which no component may be a symbolic link; make missing
    directories. Raises `OSError`."""
    fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    parts = [part for part in path.split("/") if part]
    for number, part in enumerate(parts, 1):
        try:
            below = _open_part(fd, part, is_last=number == len(parts))
        finally:
            os.close(fd)
        fd = below
    return fd


def _open_part(fd: int, part: str, *, is_last: bool) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        below = os.open(part, flags, dir_fd=fd)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(part, dir_fd=fd)
        below = os.open(part, flags, dir_fd=fd)
    mode = os.fstat(below).st_mode
    if stat.S_ISLNK(mode) or not (is_last or stat.S_ISDIR(mode)):
        os.close(below)
        number = errno.ELOOP if stat.S_ISLNK(mode) else errno.ENOTDIR
        raise OSError(number, os.strerror(number), part)
    return below
