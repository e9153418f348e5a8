"""What the supervisor waits for: descriptors and who handles them, all in one system call.

Owns the epoll set. Refuses to know what is read.
"""

from __future__ import annotations

import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Poller:
    """The descriptors that are watched."""

    __slots__ = ("_epoll", "_on_ready")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._on_ready: dict[int, Callable[[int, int], None]] = {}

    def watch(self, fd: int, handler: Callable[[int, int], None]) -> None:
        self._on_ready[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        if self._on_ready.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def want(self, fd: int, events: int) -> None:
        """Change what a descriptor is watched for; 0 leaves it alone until it is wanted again."""
        self._epoll.modify(fd, events)

    def wait(self, timeout_s: float | None) -> list[tuple[int, int]]:
        """Wait until something is ready; return descriptors and events."""
        return self._epoll.poll(timeout_s)

    def handler_of(self, fd: int) -> Callable[[int, int], None] | None:
        """Tell who handles a descriptor now: an earlier handler may have closed it."""
        return self._on_ready.get(fd)
