"""What is kept on disk for each task, and in which order it is written.

`<data dir>/tasks/<task id>.task` is a record of lines that only grows: first the spec, then the
image once its container may be started, at last the end. Making the file is the lock that lets a
task run at most once. `<task id>.spool` holds output, if there was any. Two files at most, because
on a busy yard the making and deleting of files is a large part of what a short container costs.

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

    from batchyard.compute.local.shapes import EndShape, SpecShape

#: How many entries may be deleted in the event loop itself; larger trees go to an `rm` process.
_INLINE_ENTRIES_MAX = 64

TASK_SUFFIX = ".task"
SPOOL_SUFFIX = ".spool"


class End:
    """How a task ended, as it is stored and reported."""

    __slots__ = (
        "at_ms",
        "exit_code",
        "is_lost",
        "lost_bytes",
        "reason",
        "spool_size",
        "started_at_ms",
    )

    def __init__(  # noqa: PLR0913  # a record: one value for each field, all by keyword
        self,
        *,
        at_ms: int,
        exit_code: int | None,
        reason: str | None,
        is_lost: bool = False,
        started_at_ms: int | None = None,
        spool_size: int = 0,
        lost_bytes: int = 0,
    ) -> None:
        self.at_ms = at_ms
        self.exit_code = exit_code
        self.reason = reason
        self.is_lost = is_lost
        self.started_at_ms = started_at_ms
        self.spool_size = spool_size
        self.lost_bytes = lost_bytes

    def to_plain(self) -> EndShape:
        return {
            "at_ms": self.at_ms,
            "exit_code": self.exit_code,
            "reason": self.reason,
            "is_lost": self.is_lost,
            "started_at_ms": self.started_at_ms,
            "spool_size": self.spool_size,
            "lost_bytes": self.lost_bytes,
        }


class Stored(Exception):
    """The task was accepted before."""


class TaskRecord:
    """The record of one task."""

    __slots__ = ("_path", "spool_path", "task_id")

    def __init__(self, tasks_path: str, task_id: str) -> None:
        self.task_id = task_id
        self._path = f"{tasks_path}/{task_id}{TASK_SUFFIX}"
        self.spool_path = f"{tasks_path}/{task_id}{SPOOL_SUFFIX}"

    def claim(self, spec: SpecShape, *, image: str | None) -> None:
        """Accept the task; `image` is set if its container is about to be started.

        Raises `Stored` if it was accepted before, `OSError` if it cannot be stored.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        try:
            fd = os.open(self._path, flags, 0o600)
        except FileExistsError as error:
            raise Stored(self.task_id) from error
        try:
            _append(fd, {"spec": spec, "image": image})
        except OSError:
            os.unlink(self._path)
            raise
        finally:
            os.close(fd)

    def write_image(self, image: str) -> None:
        """Note that the container of a task that waited for its image is about to be started."""
        self._append({"image": image})

    def write_end(self, end: End) -> None:
        self._append({"end": end.to_plain()})

    def _append(self, line: dict[str, object]) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _append(fd, line)
        finally:
            os.close(fd)

    def read(self) -> tuple[SpecShape, str | None, End | None] | None:
        """Read spec, image and end; None if a crash came before anything was acknowledged."""
        with open(self._path, "rb") as file:
            lines = file.read().split(b"\n")
        merged: dict[str, Any] = {}
        for line in lines:
            try:
                merged |= json.loads(line)
            except (ValueError, TypeError):
                continue  # The empty rest, or what a power failure left.
        if "spec" not in merged:
            return None
        end = End(**merged["end"]) if "end" in merged else None
        return merged["spec"], merged.get("image"), end

    def delete(self) -> None:
        """Delete the output, then the record."""
        for path in (self.spool_path, self._path):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


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
