"""The end of a yard with real containers: none of them is left running.

Owns the moment after the engine has stopped and before the backend is let go: nothing is started
any more, and what runs is killed. Refuses to know jobs.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

from batchyard.compute.port import Host, Report, TaskEnded, TaskSpec
from batchyard.compute.training.backend import RunsHere
from batchyard.model.ids import TaskId
from batchyard.testing.trouble import YardTrouble

_END_S_MAX = 60.0


class EndingBackend:
    """Another backend, whose containers end with the yard."""

    def __init__(self, inner: RunsHere) -> None:
        self._inner = inner
        self._ended: set[TaskId] = set()
        self._has_news = asyncio.Condition()

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def list_hosts(self) -> Sequence[Host]:
        return await self._inner.list_hosts()

    async def list_tasks(self) -> frozenset[TaskId]:
        return await self._inner.list_tasks()

    async def start(self, tasks: Sequence[TaskSpec]) -> None:
        await self._inner.start(tasks)

    async def stop(self, task_id: TaskId, *, grace_ms: int) -> None:
        await self._inner.stop(task_id, grace_ms=grace_ms)

    async def reports(self) -> AsyncIterator[Sequence[Report]]:
        async for batch in self._inner.reports():
            async with self._has_news:
                self._ended.update(each.task_id for each in batch if isinstance(each, TaskEnded))
                self._has_news.notify_all()
            yield batch

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        await self._inner.forget(task_ids)
        self._ended.difference_update(task_ids)

    async def leave_if_idle(self) -> bool:
        """Kill what runs, and leave nothing behind. Raises `YardTrouble` if something lives on."""
        tasks = sorted(await self._inner.list_tasks())
        for task_id in tasks:
            await self._inner.stop(task_id, grace_ms=0)
        try:
            async with asyncio.timeout(_END_S_MAX), self._has_news:
                await self._has_news.wait_for(lambda: self._ended.issuperset(tasks))
        except TimeoutError:
            left = ", ".join(sorted(set(tasks) - self._ended))
            raise YardTrouble(f"containers do not end: {left}") from None
        await self.forget(tasks)
        return await self._inner.leave_if_idle()
