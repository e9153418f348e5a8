"""An asyncio loop that knows when nothing more happens without time passing or somebody calling.

Owns that moment: no callback is ready and no socket has anything to read. Timers of asyncio do not
count: what counts waits on a `VirtualClock`. Work for other threads is done at once, on the loop's
own: so nothing goes on unseen, and the same calls lead to the same order of events.
"""

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    """Tells the loop when it is about to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.on_quiet: Callable[[], bool] = lambda: False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        found = super().select(0)
        if not found and not self.on_quiet():
            found = super().select(timeout)
        return found


class QuietLoop(asyncio.SelectorEventLoop):
    """See the module's head."""

    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        selector.on_quiet = self._end_waits
        self._waits: list[asyncio.Future[None]] = []

    async def quiet(self) -> None:
        """Wait until nothing more happens by itself."""
        wait = self.create_future()
        self._waits.append(wait)
        await wait

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Do the work here and now."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    def _end_waits(self) -> bool:
        waits, self._waits = self._waits, []
        for wait in waits:
            if not wait.done():
                wait.set_result(None)
        return bool(waits)
