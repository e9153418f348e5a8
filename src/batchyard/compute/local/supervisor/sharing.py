"""What the containers of one task share beyond their files: processes, IPC objects, /dev/shm.

Owns the namespaces that are nobody's container, and the small process that holds a namespace of
processes (its first process must live as long as anything in it). Refuses to know why a task
shares. All of it ends with the supervisor.
"""

from __future__ import annotations

import contextlib
import os
import signal

from batchyard.compute.local.supervisor import kernel


class SharedIpc:
    """A namespace of IPC objects, with the file system that POSIX shared memory lives in."""

    __slots__ = ("_fd", "memory_path")

    def __init__(self, *, place: str, size_mib: int) -> None:
        os.makedirs(place)
        kernel.mount("shm", place, "tmpfs", options=f"mode=1777,size={size_mib}m")
        self.memory_path = place
        with kernel.new_namespace(kernel.CLONE_NEWIPC) as self._fd:
            pass

    @property
    def path(self) -> str:
        """What a runtime opens to enter it."""
        return f"/proc/{os.getpid()}/fd/{self._fd}"

    def close(self) -> None:
        os.close(self._fd)
        with contextlib.suppress(OSError):
            kernel.unmount(self.memory_path)
        with contextlib.suppress(OSError):
            os.rmdir(self.memory_path)


class SharedProcesses:
    """A namespace of processes."""

    __slots__ = ("_holder",)

    def __init__(self) -> None:
        self._holder = _hold()

    @property
    def path(self) -> str:
        """What a runtime opens to enter it."""
        return f"/proc/{self._holder}/ns/pid"

    def close(self) -> None:
        """End every process in it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._holder, signal.SIGKILL)


def _hold() -> int:
    """Start the first process of a new namespace; give its pid here.

    It ignores the end of its children, so the kernel buries whatever is left to it.
    """
    with kernel.new_namespace(kernel.CLONE_NEWPID):
        holder = os.fork()
        if holder == 0:
            try:
                kernel.die_with_parent()
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                os.chdir("/")
                os.execv("/bin/sleep", ["sleep", "infinity"])  # noqa: S606  # no shell is meant
            finally:
                os._exit(1)
    return holder
