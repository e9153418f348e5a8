"""A container of a task as the supervisor holds it in memory: its place in life, its open pipes.

Owns the way from a container's pipes into its spool, and the one exception on it: a runtime's own
complaint that the kernel would not execute the file arrives on the container's stderr, and is a
reason, not output. Refuses to know sockets, timers and how containers are made.
"""

from __future__ import annotations

import fcntl
import os
import select
import time

from batchyard.compute.local.supervisor.container import (
    EXEC_FAILED_PREFIXES,
    Container,
    exec_failure_of,
)
from batchyard.compute.local.supervisor.records import ContainerEnd
from batchyard.compute.local.supervisor.spool import LineCutter, SpoolWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import ContainerShape, UnitShape
    from batchyard.compute.local.supervisor.bundle import Bundle

_PIPE_READ_BYTES = 65536
#: A runtime's complaint is one line; more than this is output.
_COMPLAINT_BYTES_MAX = 4096


def now_ms() -> int:
    """The wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def clock_ms() -> int:
    """The monotonic clock, milliseconds."""
    return time.monotonic_ns() // 1_000_000


class Unit:
    """One container of a task: waiting, queued, launched, or ended."""

    __slots__ = (
        "bundle",
        "container",
        "end",
        "first_error_bytes",
        "image",
        "is_notified",
        "is_paused",
        "is_queued",
        "is_signalled",
        "number",
        "open_streams",
        "process_id",
        "spec",
        "spool",
        "started_at_ms",
        "started_clock_ms",
        "task_id",
        "told_size",
        "unit_id",
    )

    def __init__(
        self, spec: ContainerShape, *, task_id: str, unit_id: str, number: int, spool_path: str
    ) -> None:
        self.spec = spec
        self.task_id = task_id
        #: Names everything the container has of its own; the task's id if it is the only one.
        self.unit_id = unit_id
        #: Its place in the spec.
        self.number = number
        #: Id of its image, once that is here.
        self.image: str | None = None
        self.is_queued = False
        #: What was made ready for it.
        self.bundle: Bundle | None = None
        self.container: Container | None = None
        #: Pid of the container's first process, once the runtime has told it.
        self.process_id: int | None = None
        self.started_at_ms: int | None = None
        #: The same by the monotonic clock.
        self.started_clock_ms: int | None = None
        self.spool = SpoolWriter(spool_path) if spec["log"] else None
        #: Streams that still deliver, with the unfinished line of each.
        self.open_streams: dict[int, LineCutter] = {}
        #: What stderr began with while it may still be the runtime's own complaint; None later.
        self.first_error_bytes: bytes | None = b""
        self.is_paused = False
        #: The server was told of output, and has not answered yet.
        self.is_notified = False
        #: Up to where it was told of output: it may keep what it has read for an event that grows.
        self.told_size = 0
        #: It was sent SIGTERM.
        self.is_signalled = False
        self.end: ContainerEnd | None = None

    @property
    def is_waiting(self) -> bool:
        """It has neither been launched nor settled."""
        return self.container is None and self.end is None

    @property
    def may_be_signalled(self) -> bool:
        """Its process runs, and was not told to stop yet."""
        return self.process_id is not None and self.end is None and not self.is_signalled

    def describe(self) -> UnitShape:
        return {
            "name": self.spec["name"],
            "is_essential": self.spec["is_essential"],
            "log": self.spec["log"],
            "spool_size": self.spool.size if self.spool else 0,
        }

    def make_end(
        self, *, exit_code: int | None, reason: str | None, was_stopped: bool
    ) -> ContainerEnd:
        """Say how it ended, with what there is of output."""
        spool = self.spool
        return ContainerEnd(
            exit_code=exit_code,
            reason=reason,
            was_stopped=was_stopped,
            spool_size=spool.size if spool else 0,
            lost_bytes=spool.lost_bytes if spool else 0,
        )

    # -- output -------------------------------------------------------------------------------

    def open_pipes(self) -> tuple[int, int]:
        """Begin to take output; return the two descriptors to be watched."""
        container = self.container
        assert container is not None
        for fd in (container.stdout, container.stderr):
            self.open_streams[fd] = LineCutter()
        return container.stdout, container.stderr

    def read_pipe(self, fd: int) -> bool:
        """Move what a pipe holds now into the spool. False at its end."""
        try:
            data = os.read(fd, _PIPE_READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        if self.first_error_bytes is not None and self.container and fd == self.container.stderr:
            data = self.first_error_bytes + data
            if data.startswith(EXEC_FAILED_PREFIXES) and len(data) <= _COMPLAINT_BYTES_MAX:
                self.first_error_bytes = data
                return True
            self.first_error_bytes = None
        for payload in self.open_streams[fd].cut(data):
            self._spool(payload, fd)
        return True

    def drain_pipes(self) -> None:
        """Move everything that is left in the pipes once the container's processes are gone.

        No more than a pipe holds: a task may have handed its end of one to another task, which goes
        on writing, and we have others to look after.
        """
        for fd in self.open_streams:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            left = fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
            while left > 0 and any(event & select.POLLIN for _, event in poller.poll(0)):
                if not self.read_pipe(fd):
                    break
                left -= _PIPE_READ_BYTES

    def close_pipe(self, fd: int) -> None:
        """Close a pipe and keep its last line, also without a line break."""
        rest = self.open_streams.pop(fd).finish()
        if rest:
            self._spool(rest, fd)
        os.close(fd)

    def take_complaint(self, runtime_code: int) -> str:
        """Give the runtime's complaint that it could not execute the file; empty if there is none.

        What only looked like one becomes output.
        """
        held, self.first_error_bytes = self.first_error_bytes, None
        if not held:
            return ""
        complaint = exec_failure_of(held) if runtime_code == 1 else ""
        if not complaint:
            cutter = LineCutter()
            for payload in [*cutter.cut(held), cutter.finish()]:
                if payload:
                    self._spool(payload, None)
        return complaint

    def _spool(self, payload: bytes, fd: int | None) -> None:
        """Keep what a pipe gave; None stands for stderr."""
        if self.spool is not None:
            container = self.container
            is_error = fd is None or (container is not None and fd == container.stderr)
            self.spool.append(payload, now_ms(), is_error=is_error)
