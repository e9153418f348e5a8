"""Consumable resources and the jobs that need them; on both databases."""

import asyncio

from batchyard.model.records import ConsumableNeed
from batchyard.model.status import JobStatus
from batchyard.store import Store, consumables, live_jobs
from batchyard.store.consumable_jobs import list_jobs_by_consumable
from batchyard.store.jobs import delete_finished_before, read_specs
from tests.store.builders import SCOPE, a_job, progress

ARN = SCOPE.consumable_arn("license")


def insert(name: str = "license", total: int = 3):
    return lambda conn: consumables.insert_consumable(
        conn,
        arn=SCOPE.consumable_arn(name),
        scope=SCOPE,
        name=name,
        is_replenishable=True,
        total=total,
        created_ms=1,
        tags={},
    )


async def unseen(store: Store) -> list[tuple[int, bool]]:
    found = await store.read(lambda conn: consumables.read_unseen(conn, 10))
    return [(record.version, record.is_deleted) for record in found]


async def test_a_version_is_seen_until_the_next_one(store: Store) -> None:
    assert await store.write(insert())
    assert not await store.write(insert())
    assert await unseen(store) == [(1, False)]
    await store.write(lambda conn: consumables.give_consumable(conn, ARN, 5))
    await store.write(lambda conn: consumables.settle_consumable(conn, ARN, 1))
    assert await unseen(store) == [(2, False)], "settling an older version hides no newer one"
    await store.write(lambda conn: consumables.settle_consumable(conn, ARN, 2))
    assert await unseen(store) == []


async def test_a_resource_that_came_back_is_not_removed(store: Store) -> None:
    await store.write(insert())
    await store.write(lambda conn: consumables.write_holdings(conn, [(ARN, 2, 1)]))
    assert await store.write(lambda conn: consumables.delete_consumable(conn, ARN))
    assert not await store.write(lambda conn: consumables.delete_consumable(conn, ARN))
    assert await store.read(lambda conn: consumables.read_consumable(conn, ARN)) is None
    assert await store.read(consumables.read_all_consumables) == []
    assert await unseen(store) == [(2, True)]
    assert await store.write(insert(total=7))
    await store.write(lambda conn: consumables.remove_deleted(conn, ARN, 2))
    found = await store.read(lambda conn: consumables.read_consumable(conn, ARN))
    assert found is not None
    assert (found.version, found.total, found.held, found.used_up) == (3, 7, 2, 1)
    await store.write(lambda conn: consumables.delete_consumable(conn, ARN))
    await store.write(lambda conn: consumables.remove_deleted(conn, ARN, 4))
    assert await unseen(store) == []


async def test_a_request_is_remembered_for_its_time(store: Store) -> None:
    async def is_first(at_ms: int) -> bool:
        return await store.write(
            lambda conn: consumables.note_update(
                conn, b"digest", at_ms=at_ms, forget_before_ms=at_ms - 10
            )
        )

    assert [await is_first(at_ms) for at_ms in (0, 10, 11)] == [True, False, True]


async def test_jobs_are_found_by_what_they_need_until_they_are_deleted(store: Store) -> None:
    need = ConsumableNeed(arn=ARN, quantity=2)
    other = ConsumableNeed(arn=SCOPE.consumable_arn("seat"), quantity=1)
    jobs = [a_job(needs=(need, other), created_ms=at_ms) for at_ms in range(3)]
    plain = a_job()
    await asyncio.gather(*(store.append_job(job) for job in (*jobs, plain)))
    stored = await store.read(lambda conn: read_specs(conn, [jobs[0].id, plain.id]))
    assert stored[jobs[0].id].job.needs == (need, other)
    assert stored[plain.id].job.needs == ()
    queued = await store.read(lambda conn: live_jobs.read_submitted(conn, 10))
    assert {job.id: job.needs for job in queued if job.needs} == {
        job.id: (need, other) for job in jobs
    }

    async def found(**narrowed) -> list[str]:
        page = await store.read(
            lambda conn: list_jobs_by_consumable(
                conn, ARN, **{"before": None, "limit": 10, **narrowed}
            )
        )
        return [record.job.id for record in page]

    newest_first = [job.id for job in reversed(jobs)]
    assert await found() == newest_first
    assert await found(before=(2, jobs[2].id), limit=1) == [jobs[1].id]
    ended = progress(JobStatus.FAILED, stopped_ms=5)
    await store.write(lambda conn: live_jobs.write_progress(conn, [(jobs[2].id, ended)]))
    assert await found(status=JobStatus.FAILED) == [jobs[2].id]
    assert await store.write(lambda conn: delete_finished_before(conn, 6, 10)) == 1
    assert await found() == newest_first[1:]
    left = await store.read(
        lambda conn: conn.exec_driver_sql("SELECT count(*) FROM consumable_jobs").scalar_one()
    )
    assert left == 4
