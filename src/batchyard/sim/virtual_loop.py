"""An asyncio loop whose time is ours: it jumps to the next timer when nothing else is to be done.

Owns the order in which callbacks run, and their time. Refuses to know threads, sockets, processes
and signals: whatever is handed to a thread runs on the loop, after a delay that the owner may
draw. So the same program runs in the same order, each time and on every machine.

Rules:
- One callback at a time, in the order in which it was asked for; timers by their time, then by the
  order in which they were set.
- Time stands still while callbacks run. It moves in `step` alone, and only when none is ready.
- The owner may look at the world, or end it, between any two callbacks: that is between any two
  suspensions of any task.
"""

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")

#: Callbacks that a loop that is being ended may still need; more means that it never ends.
_LAST_STEPS_MAX = 100_000


class NothingToDo(Exception):
    """No callback is ready and no timer is set, yet somebody waits."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The part of asyncio that programs without I/O use."""

    def __init__(
        self, *, start_s: float = 0.0, thread_delay_s: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Begin at `start_s`. `thread_delay_s` gives how long the next call in a thread takes."""
        super().__init__()
        self._now_s = start_s
        self._thread_delay_s = thread_delay_s
        self._handles: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0
        self._has_ended = False
        self._tasks: dict[asyncio.Task[Any], None] = {}
        #: What went wrong in callbacks that nobody waits for.
        self.failures: list[dict[str, Any]] = []
        #: Calls in threads that have been made so far.
        self.thread_call_count = 0

    # -- for the owner ----------------------------------------------------------------------------

    def step(self) -> bool:
        """Run one callback; False: none is ready."""
        while self._handles:
            handle = self._handles.popleft()
            if handle.cancelled():
                continue
            before = events._get_running_loop()
            events._set_running_loop(self)
            try:
                handle._run()
            finally:
                events._set_running_loop(before)
            return True
        return False

    def next_timer_s(self) -> float | None:
        """Tell when the next timer is due; None: no timer is set."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def advance(self, to_s: float) -> None:
        """Move time forward, and make ready what is due by then."""
        self._now_s = max(self._now_s, to_s)
        while (next_s := self.next_timer_s()) is not None and next_s <= self._now_s:
            self._handles.append(heapq.heappop(self._timers)[2])

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a program to its end. Raises `NothingToDo` if that can never come."""
        task = self.create_task(main)
        while not task.done():
            if self.step():
                continue
            next_s = self.next_timer_s()
            if next_s is None:
                task.cancel()
                raise NothingToDo("everything waits, and nothing can happen any more")
            self.advance(next_s)
        result: T = task.result()
        return result

    def end_tasks(self) -> None:
        """Cancel every task, and again what waits anew to clean up; time stands still."""
        is_quiet = True
        for _ in range(_LAST_STEPS_MAX):
            live = [task for task in self._tasks if not task.done()]
            if not live:
                return
            if is_quiet:
                for task in live:
                    task.cancel()
            is_quiet = not self.step()
        raise NothingToDo("tasks do not end when they are cancelled")

    # -- for the program --------------------------------------------------------------------------

    def time(self) -> float:
        return self._now_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._handles.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        **_options: Any,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._drop_task)
        return task

    def run_in_executor(  # type: ignore[override]
        self, _executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self.call_later(self._thread_delay_s(), self._call_in_thread, future, func, args)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(context)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        return self._has_ended

    def close(self) -> None:
        self._has_ended = True
        self._handles.clear()
        self._timers.clear()

    def _drop_task(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def __del__(self) -> None:
        """Be given up without a word: there is nothing that had to be closed."""

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """Be told by a timer that it is not wanted any more; it is left out when its time comes."""

    def _call_in_thread(
        self, future: asyncio.Future[T], func: Callable[..., T], args: tuple[Any, ...]
    ) -> None:
        # A thread that has begun cannot be taken back, whether or not anybody waits for it.
        self.thread_call_count += 1
        try:
            result = func(*args)
        except BaseException as error:
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)
