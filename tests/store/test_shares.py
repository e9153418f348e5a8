"""Scheduling policies and shares; on both databases."""

from functools import partial

from batchyard.model.ids import PolicyArn
from batchyard.model.records import ShareRecord
from batchyard.store import Store, jobs, live_jobs, policies, queues, shares
from tests.store.builders import ELSEWHERE, QUEUE_ARN, SCOPE, a_job
from tests.store.test_resources import insert_queue

ARN = SCOPE.policy_arn("p")


def insert_policy(name: str = "p", scope=SCOPE):
    return lambda conn: policies.insert_policy(
        conn,
        arn=scope.policy_arn(name),
        scope=scope,
        name=name,
        detail={"fairsharePolicy": {"computeReservation": 7}},
        tags={"a": "b"},
    )


def a_share(**fields) -> ShareRecord:
    return ShareRecord(**{"live_count": 0, "usage": 0, "counted_ms": 0, "cpu_milli": 0, **fields})


async def test_a_policy_goes_through_its_life(store: Store) -> None:
    assert await store.write(insert_policy())
    assert not await store.write(insert_policy())
    found = await store.read(lambda conn: policies.read_policy(conn, ARN))
    assert found is not None
    assert (found.arn, found.scope, found.name, found.revision) == (ARN, SCOPE, "p", 1)
    assert found.detail == {"fairsharePolicy": {"computeReservation": 7}}
    assert found.tags == {"a": "b"}
    assert await store.read(policies.read_unsettled_policies) == []
    assert await store.write(lambda conn: policies.update_policy(conn, ARN, {"x": 1}))
    [waiting] = await store.read(policies.read_unsettled_policies)
    assert (waiting.revision, waiting.detail) == (2, {"x": 1})
    await store.write(lambda conn: policies.update_policy(conn, ARN, {"x": 2}))
    await store.write(lambda conn: policies.settle_policy(conn, ARN, 2))
    [waiting] = await store.read(policies.read_unsettled_policies)
    assert waiting.revision == 3, "a change that came meanwhile is not lost"
    held = await store.write(lambda conn: policies.hold_policy(conn, ARN))
    assert held == waiting
    assert await store.write(lambda conn: policies.delete_policy(conn, ARN))
    assert not await store.write(lambda conn: policies.delete_policy(conn, ARN))
    assert not await store.write(lambda conn: policies.update_policy(conn, ARN, {}))
    assert await store.read(lambda conn: policies.read_policy(conn, ARN)) is None


async def test_policies_are_listed_in_pages_of_their_scope(store: Store) -> None:
    for name in "cab":
        await store.write(insert_policy(name))
    await store.write(insert_policy("x", ELSEWHERE))
    first = await store.read(lambda conn: policies.list_policies(conn, SCOPE, 0, 2))
    assert [each.name for each in first] == ["c", "a"]
    rest = await store.read(lambda conn: policies.list_policies(conn, SCOPE, first[-1].seq, 2))
    assert [each.name for each in rest] == ["b"]


async def test_the_queues_of_a_policy_are_found(store: Store) -> None:
    for name in ("high", "low", "other"):
        await store.write(insert_queue(name))
    for name in ("high", "other"):
        arn = SCOPE.queue_arn(name)
        change = partial(queues.update_queue, arn=arn, detail={"schedulingPolicyArn": ARN})
        await store.write(change)
    found = await store.read(lambda conn: queues.queues_of_policy(conn, ARN))
    assert found == [SCOPE.queue_arn("high"), SCOPE.queue_arn("other")]
    none = await store.read(lambda conn: queues.queues_of_policy(conn, PolicyArn("gone")))
    assert none == []


async def test_shares_are_replaced_forgotten_and_found_while_active(store: Store) -> None:
    low = SCOPE.queue_arn("low")
    large = 2**62
    await store.write(
        lambda conn: shares.write_shares(
            conn,
            {
                (QUEUE_ARN, "live"): a_share(live_count=1),
                (QUEUE_ARN, "used"): a_share(usage=large, counted_ms=1000, cpu_milli=500),
                (QUEUE_ARN, "never"): a_share(counted_ms=2000),
                (QUEUE_ARN, "gone"): a_share(live_count=1),
                (low, "live"): a_share(usage=3),
            },
        )
    )
    await store.write(
        lambda conn: shares.write_shares(
            conn, {(QUEUE_ARN, "gone"): None, (low, "live"): a_share(usage=4)}
        )
    )
    found = await store.read(lambda conn: list(shares.read_all_shares(conn)))
    assert found == [
        (QUEUE_ARN, "live", a_share(live_count=1)),
        (QUEUE_ARN, "never", a_share(counted_ms=2000)),
        (QUEUE_ARN, "used", a_share(usage=large, counted_ms=1000, cpu_milli=500)),
        (low, "live", a_share(usage=4)),
    ]
    for share in ("submitted", "submitted", None):
        await store.append_job(a_job(share_identifier=share))

    async def active(used_after_ms: int) -> set[str]:
        return await store.read(
            lambda conn: shares.read_active_shares(conn, QUEUE_ARN, used_after_ms=used_after_ms)
        )

    assert await active(999) == {"live", "used", "submitted"}
    assert await active(1000) == {"live", "submitted"}
    await store.write(lambda conn: shares.delete_shares(conn, QUEUE_ARN))
    left = await store.read(lambda conn: list(shares.read_all_shares(conn)))
    assert left == [(low, "live", a_share(usage=4))]


async def test_a_job_keeps_its_share_and_is_found_by_it(store: Store) -> None:
    await store.append_job(a_job(share_identifier="a", scheduling_priority=9))
    await store.append_job(a_job(share_identifier="A", scheduling_priority=0))
    await store.append_job(a_job())
    queued = await store.read(lambda conn: live_jobs.read_submitted(conn, 10))
    kept = [(each.share_identifier, each.scheduling_priority) for each in queued]
    assert kept == [("a", 9), ("A", 0), (None, None)]
    found = await store.read(
        lambda conn: jobs.list_jobs(
            conn,
            QUEUE_ARN,
            statuses=None,
            before_seq=None,
            limit=10,
            narrowed=jobs.JobFilter(share_identifier="a"),
        )
    )
    assert [(each.job.share_identifier, each.job.scheduling_priority) for each in found] == [
        ("a", 9)
    ]
