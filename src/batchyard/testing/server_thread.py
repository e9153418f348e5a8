"""The server of a yard, in a thread of its own with a loop of its own.

Owns the thread, from start to a clean end. Refuses to know what world the server is in.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from threading import Thread
from typing import Any, TypeVar

from batchyard.cli import serving
from batchyard.cli.settings import Settings
from batchyard.testing.log_lines import THREAD_NAME
from batchyard.testing.trouble import YardTrouble

T = TypeVar("T")


class ServerThread:
    """A server that is up between `start` and `stop`. Methods are for the test's thread."""

    def __init__(
        self, settings: Settings, world: serving.World, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._settings = settings
        self._world = world
        self._loop = loop
        self._stop = asyncio.Event()
        self._up: Future[serving.Yard] = Future()
        self._ended: Future[None] = Future()
        self._thread = Thread(target=self._run, name=THREAD_NAME, daemon=True)

    def start(self) -> serving.Yard:
        """Bring the server up. Raises what kept it from that."""
        self._thread.start()
        return self._up.result()

    def stop(self) -> None:
        """Take the server down. Raises `YardTrouble` if it had failed."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._raise_failure()

    def call(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run something on the server's loop, and give its result."""
        if not self._thread.is_alive():
            self._raise_failure()
            raise YardTrouble("the yard is closed")
        try:
            return asyncio.run_coroutine_threadsafe(self._watched(make()), self._loop).result()
        except CancelledError:  # with everything else on the loop
            self._thread.join()
            self._raise_failure()
            raise

    async def _watched(self, work: Coroutine[Any, Any, T]) -> T:
        failed = self._up.result().failed
        result = await work
        if failed.done():
            raise YardTrouble("the server of the yard has failed") from failed.exception()
        return result

    def _raise_failure(self) -> None:
        error = self._ended.exception() if self._ended.done() else None
        if error is not None:
            raise YardTrouble("the server of the yard has failed") from error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if not self._up.done():
                self._up.set_exception(error)
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        async with serving.open_yard(self._settings, self._world) as up:
            self._up.set_result(up)
            stopping = asyncio.ensure_future(self._stop.wait())
            waited: list[asyncio.Future[Any]] = [stopping, up.failed]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if up.failed.done():
                await up.failed
