"""What is thrown away, and what happens when it cannot be."""

from __future__ import annotations

import asyncio

import pytest

from batchyard.engine import housekeeping
from batchyard.engine.housekeeping import keep_house
from batchyard.store import Store, StoreTrouble
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


async def test_a_store_in_trouble_is_swept_later(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """On a full disk nothing can be deleted: the server must live on."""
    monkeypatch.setattr(housekeeping, "_PAUSE_S", 0)
    real = Store.write

    async def refuse(self, work):
        raise StoreTrouble("database or disk is full")

    monkeypatch.setattr(Store, "write", refuse)
    logs = Logs(is_in_trouble=True)
    keeping = asyncio.ensure_future(keep_house(stage.store, logs, lambda: stage.now_ms, days=7))
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
