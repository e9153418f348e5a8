"""What is kept on disk for each task: what the engine cannot know, or could tell no more.

`<folder>/<task id>.task` is a record of lines that only grows: the spec first, then each fact in
the order in which it became true. Making the file is the lock that lets a task run at most once.
What an engine keeps itself (does it run, how did it exit, what did it print) is asked of it, and is
here only once it has been acted on. Credentials never are.

A line is written before what it tells is done or reported. Nothing is synced to the platter: after
a power failure a task may be missing, which the engine of ours then starts again, or the end of
one, which the container engine still knows.
"""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from batchyard.compute.local.shapes import SpecShape

_SUFFIX: Final = ".task"


class UnitEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a container ended; as `port.ContainerEnded`."""

    exit_code: int | None = None
    reason: str | None = None
    was_stopped: bool = False
    #: By the engine's clock; None if it never ran.
    finished_at_ms: int | None = None


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """All images are here: containers may start."""

    at_ms: int


class Launched(msgspec.Struct, frozen=True, kw_only=True, tag="launched"):
    """The engine is about to be told to start this container, by its id there."""

    unit: int
    container_id: str
    gpus: tuple[str, ...] = ()


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """All essential containers run."""

    at_ms: int
    address: str | None = None


class StopAsked(msgspec.Struct, frozen=True, kw_only=True, tag="stop"):
    """The task shall end."""

    grace_ms: int


class Signalled(msgspec.Struct, frozen=True, kw_only=True, tag="signalled"):
    """The container is about to be sent SIGTERM."""

    unit: int
    at_ms: int


class UnitEnded(msgspec.Struct, frozen=True, kw_only=True, tag="unit_ended"):
    """The container is settled."""

    unit: int
    end: UnitEnd


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended"):
    """The task is over, and its output stored."""

    at_ms: int
    is_lost: bool = False


Fact = Opened | Launched | Started | StopAsked | Signalled | UnitEnded | Ended

_decode: Callable[[bytes], Fact] = msgspec.json.Decoder(Fact).decode
_encode = msgspec.json.Encoder().encode


class Stored(Exception):
    """The task was accepted before."""


class TaskRecord:
    """The record of one task."""

    __slots__ = ("_path", "task_id")

    def __init__(self, folder: Path, task_id: str) -> None:
        self.task_id = task_id
        self._path = folder / f"{task_id}{_SUFFIX}"

    def claim(self, spec: SpecShape) -> None:
        """Accept the task. Raises `Stored` if it was before, `OSError` if it cannot be kept."""
        try:
            self._append(_encode(spec), os.O_EXCL | os.O_CREAT)
        except FileExistsError:
            raise Stored(self.task_id) from None
        except OSError:
            self._path.unlink(missing_ok=True)
            raise

    def write(self, fact: Fact) -> None:
        """Note a fact. Raises `OSError`."""
        self._append(_encode(fact), 0)

    def read(self) -> tuple[SpecShape, list[Fact]] | None:
        """Read everything; None if a crash came before the spec was whole."""
        first, *rest = self._path.read_bytes().split(b"\n")
        try:
            spec: SpecShape = msgspec.json.decode(first)
        except msgspec.DecodeError:
            return None
        return spec, [fact for line in rest if (fact := _fact_of(line)) is not None]

    def delete(self) -> None:
        self._path.unlink(missing_ok=True)

    def _append(self, data: bytes, flags: int) -> None:
        """Write one whole line or nothing."""
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        try:
            size = os.fstat(fd).st_size
            if os.write(fd, data + b"\n") != len(data) + 1:
                os.ftruncate(fd, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)


def list_records(folder: Path) -> Iterator[TaskRecord]:
    """List the records that are kept."""
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        yield TaskRecord(folder, path.name.removesuffix(_SUFFIX))


def _fact_of(line: bytes) -> Fact | None:
    """Read a line; None for what a power failure left of one."""
    try:
        return _decode(line)
    except msgspec.DecodeError:
        return None
