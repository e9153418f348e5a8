"""Time that the test owns: it stands still until it is moved, and then everything due happens.

Owns the timers. Refuses to move by itself, and to know what is waited for. All of it on one loop.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from batchyard.engine.clock import Timer


class _Timer:
    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class VirtualClock:
    """See the module's head. Equal times fire in the order in which they were asked for."""

    def __init__(self, start_ms: int) -> None:
        self._now_ms = start_ms
        self._timers: list[tuple[int, int, _Timer]] = []
        self._numbers = count()

    def now_ms(self) -> int:
        return self._now_ms

    def call_at(self, at_ms: int, callback: Callable[[], object]) -> Timer:
        """Call `callback` once the time has been moved there; soon, if it is there already."""
        if at_ms <= self._now_ms:
            return asyncio.get_running_loop().call_soon(callback)
        timer = _Timer(callback)
        heapq.heappush(self._timers, (at_ms, next(self._numbers), timer))
        return timer

    def next_ms(self) -> int | None:
        """Tell when the next timer fires; None: none waits."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def move_to(self, at_ms: int) -> None:
        """Let it be that time, and fire what is due. Never backwards."""
        self._now_ms = max(self._now_ms, at_ms)
        while (due_ms := self.next_ms()) is not None and due_ms <= self._now_ms:
            callback = heapq.heappop(self._timers)[2].callback
            assert callback is not None, "taken back ones are dropped by `next_ms`"
            callback()
