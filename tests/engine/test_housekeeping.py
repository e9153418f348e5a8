"""What is thrown away, and what happens when it cannot be."""

from __future__ import annotations

import asyncio

import pytest

from batchyard.engine import housekeeping
from batchyard.engine.clock import LoopClock
from batchyard.engine.housekeeping import keep_house
from batchyard.model.records import JobProgress
from batchyard.model.status import JobStatus
from batchyard.store import Store, StoreTrouble, live_jobs
from tests.builders import job_id
from tests.engine.stage import Stage


class Logs:
    def __init__(self, *, is_in_trouble: bool = False) -> None:
        self.is_in_trouble = is_in_trouble
        self.sweeps = 0

    async def sweep(self) -> int:
        self.sweeps += 1
        if self.is_in_trouble:
            raise StoreTrouble("database or disk is full")
        return 0


class Files:
    def __init__(self) -> None:
        self.asked: list[tuple[int, set[str]]] = []

    async def sweep(self, before_ms: int, live) -> int:
        self.asked.append((before_ms, set(live)))
        return 0


async def test_files_of_what_runs_are_kept(stage: Stage) -> None:
    await stage.create()
    files = Files()
    async with stage.engine():
        await stage.submit(1)
        record = await stage.until(1, JobStatus.RUNNING)
        keeping = asyncio.ensure_future(
            keep_house(stage.store, Logs(), files, LoopClock(lambda: stage.now_ms), days=7)
        )
        while not files.asked:
            await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait([keeping])
    assert record.progress.attempt is not None
    before_ms = stage.now_ms - 7 * 86_400_000
    assert files.asked == [(before_ms, {record.progress.attempt.task_id})]


async def test_a_store_in_trouble_is_swept_later(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """On a full disk nothing can be deleted: the server must live on."""
    monkeypatch.setattr(housekeeping, "_PAUSE_MS", 0)
    real = Store.write

    async def refuse(self, work):
        raise StoreTrouble("database or disk is full")

    monkeypatch.setattr(Store, "write", refuse)
    logs = Logs(is_in_trouble=True)
    keeping = asyncio.ensure_future(
        keep_house(stage.store, logs, Files(), LoopClock(lambda: stage.now_ms), days=7)
    )
    for _ in range(5):
        await asyncio.sleep(0)
    assert not keeping.done()
    monkeypatch.setattr(Store, "write", real)
    while logs.sweeps < 2:
        await asyncio.sleep(0)
    logs.is_in_trouble = False
    while logs.sweeps < 4:
        await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert keeping.cancelled()


async def test_callers_have_the_store_between_two_steps(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """A million expired jobs must not hold up submissions for a minute."""
    monkeypatch.setattr(housekeeping, "_ROWS_PER_STEP", 2)
    await stage.create()
    await stage.submit(1, 2, 3, 4, 5)
    ended = JobProgress(status=JobStatus.SUCCEEDED, stopped_ms=1)
    changed = [(job_id(number), ended) for number in range(1, 6)]
    await stage.store.write(lambda conn: live_jobs.write_progress(conn, changed))
    left: list[int] = []
    real = asyncio.sleep

    async def count() -> int:
        ids = [job_id(number) for number in range(1, 6)]
        return len(await stage.store.read(lambda conn: live_jobs.read_statuses(conn, ids)))

    async def rest(_pause_s: float) -> None:
        left.append(await count())
        await real(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    keeping = asyncio.ensure_future(
        keep_house(stage.store, Logs(), Files(), LoopClock(lambda: 10**12), days=7)
    )
    while await count():
        await real(0)
    keeping.cancel()
    await asyncio.wait([keeping])
    assert left == [3, 1]
