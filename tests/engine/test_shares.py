"""Queues with shares in the live loop: policies taken up, and usage that outlives a crash."""

from __future__ import annotations

import asyncio

from batchyard.model.ids import task_id_of
from batchyard.model.records import JobRecord
from batchyard.model.status import JobStatus, ResourceStatus
from batchyard.store import policies, queues, shares
from tests.builders import job_id, queue_arn
from tests.engine.stage import Stage

RUNNING, RUNNABLE, SUCCEEDED = JobStatus.RUNNING, JobStatus.RUNNABLE, JobStatus.SUCCEEDED


async def statuses(stage: Stage, *numbers: int) -> list[JobStatus]:
    return [(await stage.job(number)).progress.status for number in numbers]


async def finish(stage: Stage, number: int) -> JobRecord:
    """Let a job of an image without a script end now."""
    stage.machine.finish(task_id_of(job_id(number), 1), exit_code=0)
    return await stage.until(number, SUCCEEDED)


async def stored_shares(stage: Stage):
    found = await stage.store.read(lambda conn: list(shares.read_all_shares(conn)))
    return {identifier: record for _, identifier, record in found}


async def test_usage_is_stored_with_the_facts_and_outlives_a_crash(stage: Stage):
    await stage.create(vcpus=1, policy={}, kind="FARGATE")
    async with stage.engine():
        await stage.submit(1, share="a")
        await stage.until(1, RUNNING)
        await stage.submit(2, share="a")
        await stage.submit(3, share="b")
        await stage.until(3, RUNNABLE)
        stage.now_ms += 10_000
    before = await stored_shares(stage)
    assert {name: (each.live_count, each.cpu_milli) for name, each in before.items()} == {
        "a": (2, 1000),
        "b": (1, 0),
    }
    async with stage.engine():
        await finish(stage, 1)
        await stage.until(3, RUNNING)
        assert await statuses(stage, 2) == [RUNNABLE], "what a has used is not forgotten"
    found = (await stored_shares(stage))["a"]
    assert (found.live_count, found.cpu_milli) == (1, 0)
    assert 9_900_000 < found.usage < 10_000_000


async def test_a_changed_policy_counts_without_a_restart_and_leaves_the_queue_valid(
    stage: Stage,
):
    await stage.create(vcpus=2, policy={})
    async with stage.engine():
        await stage.submit(1, share="a")
        await stage.submit(2, share="b")
        await stage.until(1, RUNNING)
        await stage.until(2, RUNNING)
        await stage.submit(3, share="a")
        await stage.submit(4, share="b")
        await stage.until(4, RUNNABLE)
        light = [{"shareIdentifier": "b", "weightFactor": 0.001}]
        await stage.change_policy({"shareDistribution": light})
        while await stage.store.read(policies.read_unsettled_policies):
            await asyncio.sleep(0)
        queue = await stage.store.read(lambda conn: queues.read_queue(conn, queue_arn()))
        assert queue is not None
        assert queue.status is ResourceStatus.VALID
        stage.now_ms += 1000
        await finish(stage, 1)
        await stage.until(4, RUNNING)
        assert await statuses(stage, 3) == [RUNNABLE], "by equal weights it would be its turn"


async def test_the_shares_of_a_deleted_queue_go_with_it(stage: Stage):
    await stage.create(policy={})
    async with stage.engine():
        await stage.submit(1, share="a")
        await stage.until(1, RUNNING)
        assert list(await stored_shares(stage)) == ["a"]

        def delete(conn) -> None:
            queues.update_queue(conn, queue_arn(), status=ResourceStatus.DELETING)
            stage.store.note_wish()

        await stage.store.write(delete)
        while await stage.store.read(lambda conn: queues.read_queue(conn, queue_arn())):
            await asyncio.sleep(0)
        assert await stored_shares(stage) == {}
