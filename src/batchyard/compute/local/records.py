"""What is kept on disk for each task, and in which order it is written.

`<data dir>/tasks/<task id>/` holds `task.json` (the spec, and whether its container may ever have
been started), `end.json` (how it ended; absent until then), `spool` (output) and `up`, `work`
(overlay). Making the directory is the lock that lets a task run at most once.

Everything is in its place before it is acknowledged or reported, by `rename` or by making a new
name, so killing any process at any time leaves the truth readable. Nothing is synced to the
platter: after a power failure a task that was acknowledged may be missing or lack its end; it is
then reported as lost (or the engine, whose own records are synced, starts it again).
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import EndShape, SpecShape

#: How many entries may be deleted in the event loop itself; larger trees go to an `rm` process.
_INLINE_ENTRIES_MAX = 64

TASK_FILE = "task.json"
END_FILE = "end.json"


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


class TaskDirectory:
    """The directory of one task."""

    __slots__ = ("path", "task_id")

    def __init__(self, tasks_path: str, task_id: str) -> None:
        self.task_id = task_id
        self.path = f"{tasks_path}/{task_id}"

    def claim(self) -> None:
        """Make the directory. Raises `FileExistsError` if the task was already accepted."""
        os.mkdir(self.path, 0o700)

    def write_task(self, spec: SpecShape, *, image: str | None) -> None:
        """Store the spec; `image` is set exactly when its container is about to be started."""
        self._write(TASK_FILE, {"spec": spec, "image": image})

    def read_task(self) -> tuple[SpecShape, str | None] | None:
        """Read what `write_task` stored; None if a crash came between `claim` and it."""
        data = self._read(TASK_FILE)
        if data is None:
            return None
        try:
            record = json.loads(data)
            return record["spec"], record["image"]
        except (ValueError, KeyError, TypeError):
            return None

    def write_end(self, end: End) -> None:
        self._write(END_FILE, end.to_plain())

    def read_end(self) -> End | None:
        data = self._read(END_FILE)
        if data is None:
            return None
        try:
            return End(**json.loads(data))
        except (ValueError, TypeError):
            return None

    def delete(self) -> list[str]:
        """Delete everything, the spec last but one; return what `rm` should delete instead."""
        return delete_tree(self.path)

    def delete_root(self) -> list[str]:
        """Delete the container's writable layer; return what `rm` should delete instead."""
        return delete_tree(f"{self.path}/up") + delete_tree(f"{self.path}/work")

    def _write(self, name: str, record: object) -> None:
        path = f"{self.path}/{name}"
        draft = path + ".new"
        data = json.dumps(record, separators=(",", ":")).encode()
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.write(fd, data) != len(data):
                raise OSError(28, os.strerror(28), draft)
        except OSError:
            os.unlink(draft)
            raise
        finally:
            os.close(fd)
        os.rename(draft, path)

    def _read(self, name: str) -> bytes | None:
        try:
            with open(f"{self.path}/{name}", "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


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
    """Rename a tree out of the way, so that its name is free at once."""
    data_dir, _, name = path.rpartition("/tasks/")
    target = f"{data_dir}/trash/{name.replace('/', '.')}"
    os.rename(path, target)
    return target
