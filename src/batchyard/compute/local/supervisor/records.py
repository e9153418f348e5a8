"""What is kept on disk for each task, and in which order it is written.

`<data dir>/tasks/<task id>.task` is a record of lines that only grows: first the spec, then the
images once containers may be started, of several containers each one's beginning and end, at last
the end. Making the file is the lock that lets a task run at most once. `<unit id>.spool` holds a
container's output, if there was any. Two files at most for one container, because on a busy yard
the making and deleting of files is a large part of what a short container costs.

Everything is in its place before it is acknowledged or reported, each line by one `write`, so
killing any process at any time leaves the truth readable. Nothing is synced to the platter: after a
power failure a task that was acknowledged may be missing or lack its end; it is then reported as
lost (or the engine, whose own records are synced, starts it again). The end mostly fits the block
that the spec occupies, so it can be written on a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from batchyard.compute.local.shapes import ContainerEndShape, EndShape, SpecShape

#: How many entries may be deleted in the event loop itself; larger trees go to an `rm` process.
_INLINE_ENTRIES_MAX = 64

TASK_SUFFIX = ".task"
SPOOL_SUFFIX = ".spool"


class ContainerEnd:
    """How a container of a task ended, as it is stored and reported."""

    __slots__ = ("exit_code", "lost_bytes", "reason", "spool_size", "was_stopped")

    def __init__(
        self,
        *,
        exit_code: int | None,
        reason: str | None,
        was_stopped: bool = False,
        spool_size: int = 0,
        lost_bytes: int = 0,
    ) -> None:
        self.exit_code = exit_code
        self.reason = reason
        self.was_stopped = was_stopped
        self.spool_size = spool_size
        self.lost_bytes = lost_bytes

    def to_plain(self) -> ContainerEndShape:
        return {
            "exit_code": self.exit_code,
            "reason": self.reason,
            "was_stopped": self.was_stopped,
            "spool_size": self.spool_size,
            "lost_bytes": self.lost_bytes,
        }


class End:
    """How a task ended, as it is stored and reported."""

    __slots__ = ("address", "at_ms", "containers", "is_lost", "started_at_ms")

    def __init__(
        self,
        *,
        at_ms: int,
        containers: list[ContainerEnd],
        is_lost: bool = False,
        started_at_ms: int | None = None,
        address: str | None = None,
    ) -> None:
        self.at_ms = at_ms
        self.containers = containers
        self.is_lost = is_lost
        self.started_at_ms = started_at_ms
        self.address = address

    def to_plain(self) -> EndShape:
        return {
            "at_ms": self.at_ms,
            "is_lost": self.is_lost,
            "started_at_ms": self.started_at_ms,
            "address": self.address,
            "containers": [each.to_plain() for each in self.containers],
        }


class Kept:
    """What a record tells of a task."""

    __slots__ = ("end", "end_by_unit", "images", "launched", "spec")

    def __init__(self, spec: SpecShape) -> None:
        self.spec = spec
        #: Set as soon as containers may be started.
        self.images: list[str] | None = None
        self.end: End | None = None
        #: Of a task of several containers: which of them (by place) were begun, and have ended.
        self.launched: set[int] = set()
        self.end_by_unit: dict[int, ContainerEnd] = {}


class Stored(Exception):
    """The task was accepted before."""


def unit_ids_for(task_id: str, count: int) -> list[str]:
    """Name the containers of a task: as the task if it is the only one, else `<task id>-<place>`.

    These names key everything a container has of its own: control group, spool, position.
    """
    return [task_id] if count == 1 else [f"{task_id}-{number}" for number in range(count)]


class TaskRecord:
    """The record of one task."""

    __slots__ = ("_path", "_tasks_path", "task_id")

    def __init__(self, tasks_path: str, task_id: str) -> None:
        self.task_id = task_id
        self._tasks_path = tasks_path
        self._path = f"{tasks_path}/{task_id}{TASK_SUFFIX}"

    def spool_path(self, unit_id: str) -> str:
        return f"{self._tasks_path}/{unit_id}{SPOOL_SUFFIX}"

    def claim(self, spec: SpecShape, *, images: list[str] | None) -> None:
        """Accept the task; `images` is set if its containers are about to be started.

        Raises `Stored` if it was accepted before, `OSError` if it cannot be stored.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o600)
        except FileExistsError as error:
            raise Stored(self.task_id) from error
        try:
            _append(fd, {"spec": spec, "images": images})
        except OSError:
            os.unlink(self._path)
            raise
        finally:
            os.close(fd)

    def write_images(self, images: list[str]) -> None:
        """Note that containers of a task that waited for images are about to be started."""
        self._append({"images": images})

    def write_launch(self, number: int) -> None:
        """Note that one of several containers is about to be started."""
        self._append({"unit": number})

    def write_unit_end(self, number: int, end: ContainerEnd) -> None:
        """Note how one of several containers ended."""
        self._append({"unit": number, "ended": end.to_plain()})

    def write_end(self, end: End) -> None:
        self._append({"end": end.to_plain()})

    def _append(self, line: dict[str, object]) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _append(fd, line)
        finally:
            os.close(fd)

    def read(self) -> Kept | None:
        """Read what was written; None if a crash came before anything was acknowledged."""
        with open(self._path, "rb") as file:
            lines = file.read().split(b"\n")
        kept: Kept | None = None
        for data in lines:
            try:
                line: dict[str, Any] = dict(json.loads(data))
            except (ValueError, TypeError):
                continue  # The empty rest, or what a power failure left.
            if "spec" in line:
                kept = Kept(_spec_of(line["spec"]))
            if kept is not None:
                _merge(kept, line)
        return kept

    def delete(self, unit_ids: list[str]) -> None:
        """Delete the output, then the record."""
        for path in [*(self.spool_path(unit_id) for unit_id in unit_ids), self._path]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _merge(kept: Kept, line: dict[str, Any]) -> None:
    kept.images = line.get("images", kept.images)
    if line.get("image"):  # As the first version wrote it.
        kept.images = [line["image"]]
    if "unit" in line:
        kept.launched.add(line["unit"])
        if "ended" in line:
            kept.end_by_unit[line["unit"]] = ContainerEnd(**line["ended"])
    if "end" in line:
        kept.end = _end_of(line["end"])


def _spec_of(plain: dict[str, Any]) -> SpecShape:
    """Read a spec; the first version had one container, and its members beside the task's."""
    if "containers" in plain:
        return plain  # type: ignore[return-value]  # JSON that was written from the same shape
    container = {
        "name": "default",
        "is_privileged": False,
        "devices": [],
        "swap_mib": None,
        "swappiness": None,
        "is_essential": True,
        "starts_after": [],
        "start_timeout_ms": None,
        "stop_timeout_ms": None,
        **plain,
        "mounts": [{"volume": "", **mount} for mount in plain["mounts"]],
    }
    return {
        "task_id": plain["task_id"],
        "containers": [container],  # type: ignore[list-item]  # members of JSON read back
        "is_cpu_capped": plain["is_cpu_capped"],
        "network": "HOST",
        "processes": "NONE",
        "ipc": "NONE",
    }


def _end_of(plain: dict[str, Any]) -> End:
    """Read an end, also one of the first version."""
    containers = plain.pop("containers", None)
    if containers is None:
        names = ("exit_code", "reason", "spool_size", "lost_bytes")
        containers = [{name: plain.pop(name) for name in names}]
    return End(**plain, containers=[ContainerEnd(**each) for each in containers])


def _append(fd: int, line: object) -> None:
    """Write one whole line or nothing."""
    data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
    size = os.fstat(fd).st_size
    if os.write(fd, data) != len(data):
        os.ftruncate(fd, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def delete_tree(path: str) -> list[str]:
    """Delete a small tree at once; rename a large one aside and return it for `rm`."""
    count = 0
    directories = [path]
    try:
        for directory in directories:
            with os.scandir(directory) as entries:
                for entry in entries:
                    count += 1
                    if count > _INLINE_ENTRIES_MAX:
                        return [_set_aside(path)]
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
                    else:
                        os.unlink(entry.path)
        for directory in reversed(directories):
            os.rmdir(directory)
    except FileNotFoundError:
        return []
    except OSError:
        return [_set_aside(path)]
    return []


def _set_aside(path: str) -> str:
    """Rename a tree `<data dir>/roots/<name>` out of the way, so that its name is free at once."""
    parent, _, name = path.rpartition("/")
    target = f"{os.path.dirname(parent)}/trash/{name}.{time.monotonic_ns()}"
    try:
        os.rename(path, target)
    except OSError:
        return path
    return target
