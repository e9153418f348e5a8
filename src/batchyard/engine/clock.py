"""The engine's clock: what time it is, and how to be told when it is later.

Owns the port through which the engine waits, so that whoever puts the parts together may own the
time (a test kit does). Refuses to know what is waited for. Measured work and rests between pieces
of it are no time in this sense: see `pace`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that may be taken back."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Unix time in milliseconds, on the asyncio loop that runs the engine."""

    def now_ms(self) -> int: ...

    def call_at(self, at_ms: int, callback: Callable[[], object]) -> Timer:
        """Call `callback` on the loop once that time has come; soon, if it has already."""
        ...


class LoopClock:
    """A clock that the running asyncio loop waits for; the wall clock unless told otherwise."""

    def __init__(self, read_ms: Callable[[], int] | None = None) -> None:
        self.now_ms = read_ms or read_wall_clock_ms

    def call_at(self, at_ms: int, callback: Callable[[], object]) -> Timer:
        wait_s = max(0, at_ms - self.now_ms()) / 1000
        return asyncio.get_running_loop().call_later(wait_s, callback)


def read_wall_clock_ms() -> int:
    """Read the Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


async def wait_until(clock: Clock, at_ms: int) -> None:
    """Wait until that time has come."""
    has_come = asyncio.Event()
    timer = clock.call_at(at_ms, has_come.set)
    try:
        await has_come.wait()
    finally:
        timer.cancel()
