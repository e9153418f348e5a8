"""Consumable resources through the live loop: wishes in, holdings out, also after a crash."""

from __future__ import annotations

import asyncio

from batchyard.compute.twin import Script
from batchyard.core.evolve import evolve
from batchyard.core.state import State
from batchyard.engine.facts import decode_event
from batchyard.model.records import ConsumableRecord
from batchyard.model.status import JobStatus
from batchyard.store import consumables, events
from tests.builders import SCOPE, consumable_arn, needs
from tests.engine.stage import Stage

RUNNABLE, RUNNING, SUCCEEDED = JobStatus.RUNNABLE, JobStatus.RUNNING, JobStatus.SUCCEEDED


async def create(stage: Stage, name: str, total: int, *, is_replenishable: bool = True) -> None:
    def work(conn) -> None:
        consumables.insert_consumable(
            conn,
            arn=consumable_arn(name),
            scope=SCOPE,
            name=name,
            is_replenishable=is_replenishable,
            total=total,
            created_ms=1,
            tags={},
        )
        stage.store.note_wish()

    await stage.store.write(work)


async def read(stage: Stage, name: str) -> ConsumableRecord | None:
    arn = consumable_arn(name)
    return await stage.store.read(lambda conn: consumables.read_consumable(conn, arn))


async def shown(stage: Stage, name: str) -> tuple[int, int, int]:
    record = await read(stage, name)
    assert record is not None
    return record.total, record.in_use, record.available


async def submit(stage: Stage, number: int, image: str = "image", **quantity: int) -> None:
    await stage.submit(number, image=image, needs=needs(**quantity))


async def test_holdings_are_written_with_the_facts_and_survive_a_crash(stage: Stage):
    await stage.create()
    await create(stage, "license", 2)
    await create(stage, "credit", 5, is_replenishable=False)
    await submit(stage, 1, license=2, credit=3)
    await submit(stage, 2, license=1)
    async with stage.engine():
        await stage.until(1, RUNNING)
        await stage.until(2, RUNNABLE)
        assert await shown(stage, "license") == (2, 2, 0)
        assert await shown(stage, "credit") == (2, 0, 2)
    async with stage.engine() as engine:
        await stage.until(2, RUNNABLE)
        held = {arn: each.held for arn, each in engine._state.consumables.items()}
        assert held == {consumable_arn("license"): 2, consumable_arn("credit"): 3}
        [task_id] = stage.machine.tasks
        stage.machine.finish(task_id)
        await stage.until(1, SUCCEEDED)
        await stage.until(2, RUNNING)
        assert await shown(stage, "license") == (2, 1, 1)
        assert await shown(stage, "credit") == (2, 0, 2)
    stored = await stage.store.read(lambda conn: events.read_events_after(conn, 0, 1000))
    again = State()
    for record in stored:
        evolve(again, decode_event(record))
    assert {arn: each.held for arn, each in again.consumables.items()} == {
        consumable_arn("license"): 1,
        consumable_arn("credit"): 0,
    }
    assert again.consumables[consumable_arn("credit")].used_up == 3


async def test_a_deleted_resource_goes_and_comes_back(stage: Stage):
    stage.machine.scripts["quick"] = Script(duration_ms=0)
    await stage.create()
    await create(stage, "license", 1)

    def delete(conn) -> None:
        consumables.delete_consumable(conn, consumable_arn("license"))
        stage.store.note_wish()

    def count(conn) -> int:
        return int(conn.exec_driver_sql("SELECT count(*) FROM consumables").scalar_one())

    async with stage.engine():
        await stage.store.write(delete)
        while await stage.store.read(count):
            await asyncio.sleep(0)
        await submit(stage, 1, image="quick", license=1)
        await stage.until(1, RUNNABLE)
        await create(stage, "license", 1)
        await stage.until(1, SUCCEEDED)
        assert await shown(stage, "license") == (1, 0, 1)
