"""The loop whose time is ours keeps asyncio's promises."""

from __future__ import annotations

import asyncio

import pytest

from batchyard.sim.virtual_loop import NothingToDo, VirtualLoop


def test_time_jumps_to_the_next_timer():
    loop = VirtualLoop(start_s=100.0)
    seen: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(wait("late", 86_400.0))
            group.create_task(wait("soon", 0.5))
            group.create_task(wait("as soon", 0.5))

    loop.run(main())
    assert seen == [("soon", 100.5), ("as soon", 100.5), ("late", 86_500.0)]


def test_a_timeout_is_one_of_virtual_time():
    loop = VirtualLoop()

    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(30):
                await asyncio.Event().wait()
        return loop.time()

    assert loop.run(main()) == 30.0


def test_what_goes_to_a_thread_runs_on_the_loop_when_its_time_has_come():
    delays = iter((2.0, 0.5))
    loop = VirtualLoop(thread_delay_s=lambda: next(delays))
    done: list[tuple[str, float]] = []

    async def main() -> None:
        slow = loop.run_in_executor(None, lambda: done.append(("slow", loop.time())))
        fast = asyncio.to_thread(lambda: done.append(("fast", loop.time())))
        await asyncio.gather(slow, fast)

    loop.run(main())
    assert done == [("fast", 0.5), ("slow", 2.0)]
    assert loop.thread_call_count == 2


def test_what_a_thread_raises_reaches_who_waits():
    loop = VirtualLoop()
    with pytest.raises(ZeroDivisionError):
        loop.run(asyncio.to_thread(lambda: 1 // 0))


def test_a_wait_that_can_never_end_is_told():
    loop = VirtualLoop()

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingToDo):
        loop.run(main())
    loop.end_tasks()


def test_the_owner_goes_on_step_by_step_and_may_end_everything():
    loop = VirtualLoop()
    seen: list[str] = []

    async def work() -> None:
        try:
            seen.append("begun")
            await asyncio.sleep(10)
            seen.append("never")
        finally:
            await asyncio.sleep(0)
            seen.append("cleaned up")

    task = loop.create_task(work())
    assert loop.step()
    assert seen == ["begun"]
    assert not loop.step()
    assert loop.next_timer_s() == 10.0
    loop.end_tasks()
    assert seen == ["begun", "cleaned up"]
    assert task.cancelled()
    assert loop.time() == 0.0


def test_a_cancelled_timer_never_comes():
    loop = VirtualLoop()
    loop.call_later(5, pytest.fail).cancel()
    assert loop.next_timer_s() is None
    loop.advance(6)
    assert not loop.step()


def test_failures_that_nobody_waits_for_are_kept():
    loop = VirtualLoop()
    loop.call_soon(lambda: 1 // 0)
    assert loop.step()
    (failure,) = loop.failures
    assert isinstance(failure["exception"], ZeroDivisionError)
