"""How queues stand, written down by the live loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from batchyard.engine import snapshots
from batchyard.model.ids import JobId
from batchyard.model.queue_snapshots import QueueSnapshot
from batchyard.model.status import JobStatus, ResourceState, ResourceStatus
from batchyard.store import queues
from batchyard.store.snapshots import read_all_snapshots
from tests.builders import (
    a_host,
    a_job,
    a_policy,
    a_queue,
    an_environment,
    job_id,
    queue_arn,
)
from tests.engine.stage import Stage
from tests.unit.core.yard import Yard

RUNNABLE, RUNNING = JobStatus.RUNNABLE, JobStatus.RUNNING


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "PAUSE_MS", 0)


async def until(stage: Stage, holds: Callable[[QueueSnapshot], bool]) -> QueueSnapshot:
    while True:
        found = (await stage.store.read(read_all_snapshots)).get(queue_arn())
        if found is not None and holds(found):
            return found
        await asyncio.sleep(0)


def ids(snapshot: QueueSnapshot) -> list[JobId]:
    return [each.job_id for each in snapshot.jobs]


async def test_a_snapshot_follows_what_happens_and_outlives_the_engine(stage: Stage):
    await stage.create(vcpus=2)
    await stage.submit(1, 2, 3, 4)
    async with stage.engine():
        await stage.until(2, RUNNING)
        found = await until(stage, lambda each: each.cpu_milli == 2000)
        assert ids(found) == [job_id(3), job_id(4)]
    stage.now_ms += 5_000
    async with stage.engine():
        await stage.submit(5)
        again = await until(stage, lambda each: len(each.jobs) == 3)
        assert [each.since_ms for each in again.jobs] == [1_000_000, 1_000_000, 1_005_000]
        assert (again.front_ms, again.used_ms) == (1_005_000, found.used_ms)


async def test_the_snapshot_of_a_queue_goes_with_it(stage: Stage):
    def delete(conn) -> None:
        queues.update_queue(
            conn, queue_arn(), state=ResourceState.DISABLED, status=ResourceStatus.DELETING
        )
        stage.store.note_wish()

    await stage.create()
    async with stage.engine():
        while await stage.store.read(queues.read_queues_in_transition):
            await asyncio.sleep(0)  # callers cannot delete it before
        await until(stage, lambda _: True)
        await stage.store.write(delete)
        while await stage.store.read(read_all_snapshots):
            await asyncio.sleep(0)


async def test_what_comes_within_the_pause_is_written_after_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(snapshots, "PAUSE_MS", 50)
    await stage.create(vcpus=0)
    async with stage.engine():
        for number in (1, 2, 3):
            await stage.submit(number)
            await stage.until(number, RUNNABLE)
        stage.now_ms += 50
        found = await until(stage, lambda each: len(each.jobs) == 3)
        assert ids(found) == [job_id(1), job_id(2), job_id(3)]


async def test_who_begins_to_wait_is_seen_within_the_pause(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(snapshots, "PAUSE_MS", 1_000_000)
    await stage.create(vcpus=0)
    async with stage.engine():
        await until(stage, lambda _: True)
        await stage.submit(1)
        found = await until(stage, lambda each: bool(each.jobs))
        assert ids(found) == [job_id(1)]
        assert found.head_waits_for is not None
        assert found.head_waits_for.startswith("Asked 1 vCPU; ")


def test_where_shares_take_turns_it_is_looked_again() -> None:
    taken = snapshots.Snapshots({})
    yard = Yard(a_host(cpu_milli=1000), an_environment(vcpus=1), a_queue(policy=a_policy()))
    yard.feed(a_job(1, share_identifier="a", cpu_milli=1000))
    yard.round()
    yard.feed(a_job(2, share_identifier="a"))
    taken.take(yard.state, 1_000)
    assert taken.next_ms(1_000) is None
    yard.feed(a_job(3, share_identifier="b"))
    taken.note_change()
    taken.take(yard.state, 2_000)
    assert taken.next_ms(2_000) == 2_000 + snapshots.AGAIN_MS
