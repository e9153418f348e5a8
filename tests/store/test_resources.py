"""Environments, queues, definitions, wishes, events and tags; on both databases."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchyard.model.ids import DefinitionArn, JobId
from batchyard.model.records import WishKind
from batchyard.model.status import DefinitionStatus, ResourceState, ResourceStatus
from batchyard.store import Store, definitions, environments, events, queues, tags, wishes
from tests.store.builders import ELSEWHERE, SCOPE, a_job


def insert_environment(name: str = "here", scope=SCOPE):
    return lambda conn: environments.insert_environment(
        conn,
        arn=scope.environment_arn(name),
        scope=scope,
        name=name,
        uuid="u",
        state=ResourceState.ENABLED,
        detail={"type": "MANAGED"},
        tags={"a": "b"},
    )


def insert_queue(name: str = "high", scope=SCOPE, uses=("here",)):
    return lambda conn: queues.insert_queue(
        conn,
        arn=scope.queue_arn(name),
        scope=scope,
        name=name,
        state=ResourceState.ENABLED,
        priority=5,
        environment_arns=[scope.environment_arn(each) for each in uses],
        detail={},
        tags={},
    )


def register(name: str = "train", scope=SCOPE):
    return lambda conn: definitions.register_definition(conn, scope, name, {"n": 1}, {"t": "1"})


async def test_an_environment_goes_through_its_life(store: Store) -> None:
    arn = SCOPE.environment_arn("here")
    assert await store.write(insert_environment())
    assert not await store.write(insert_environment())
    [asked] = await store.read(environments.read_environments_in_transition)
    assert (asked.arn, asked.status, asked.status_reason) == (arn, ResourceStatus.CREATING, None)
    assert (asked.detail, asked.tags, asked.uuid) == ({"type": "MANAGED"}, {"a": "b"}, "u")
    assert await store.write(
        lambda conn: environments.update_environment(
            conn, arn, status=ResourceStatus.VALID, status_reason="ok", detail={"x": 1}, tags={}
        )
    )
    assert await store.read(environments.read_environments_in_transition) == []
    found = await store.read(lambda conn: environments.read_environment(conn, arn))
    assert found is not None
    assert (found.seq, found.state, found.status_reason) == (asked.seq, ResourceState.ENABLED, "ok")
    assert (found.detail, found.tags) == ({"x": 1}, {})
    assert await store.write(lambda conn: environments.delete_environment(conn, arn))
    assert not await store.write(lambda conn: environments.delete_environment(conn, arn))
    assert await store.read(lambda conn: environments.read_environment(conn, arn)) is None
    assert not await store.write(
        lambda conn: environments.update_environment(conn, arn, state=ResourceState.DISABLED)
    )


async def test_environments_are_listed_in_pages_of_their_scope(store: Store) -> None:
    for name in "cab":
        await store.write(insert_environment(name))
    await store.write(insert_environment("x", ELSEWHERE))
    first = await store.read(lambda conn: environments.list_environments(conn, SCOPE, 0, 2))
    assert [each.name for each in first] == ["c", "a"]
    rest = await store.read(
        lambda conn: environments.list_environments(conn, SCOPE, first[-1].seq, 2)
    )
    assert [each.name for each in rest] == ["b"]
    assert await store.read(lambda conn: environments.count_environments(conn, SCOPE)) == 3
    every = await store.read(environments.read_all_environments)
    assert [each.name for each in every] == ["c", "a", "b", "x"]


async def test_a_queue_goes_through_its_life(store: Store) -> None:
    arn = SCOPE.queue_arn("high")
    assert await store.write(insert_queue(uses=("here", "there")))
    assert not await store.write(insert_queue())
    await store.write(insert_queue("low", uses=("there",)))
    found = await store.read(lambda conn: queues.read_queue(conn, arn))
    assert found is not None
    assert (found.priority, found.status) == (5, ResourceStatus.CREATING)
    assert found.environment_arns == tuple(map(SCOPE.environment_arn, ("here", "there")))
    there = SCOPE.environment_arn("there")
    users = await store.read(lambda conn: queues.queues_of_environment(conn, there))
    assert users == [arn, SCOPE.queue_arn("low")]
    await store.write(
        lambda conn: queues.update_queue(
            conn, arn, status=ResourceStatus.VALID, priority=1, environment_arns=[there]
        )
    )
    changed = await store.read(lambda conn: queues.read_queue(conn, arn))
    assert changed is not None
    assert (changed.priority, changed.environment_arns) == (1, (there,))
    [waiting] = await store.read(queues.read_queues_in_transition)
    assert waiting.name == "low"
    assert await store.read(lambda conn: queues.count_queues(conn, SCOPE)) == 2
    page = await store.read(lambda conn: queues.list_queues(conn, SCOPE, found.seq, 10))
    assert [each.name for each in page] == ["low"]
    assert await store.write(lambda conn: queues.delete_queue(conn, arn))
    assert [each.name for each in await store.read(queues.read_all_queues)] == ["low"]


async def test_revisions_count_up_per_name_and_scope(store: Store) -> None:
    made = [await store.write(register()) for _ in range(3)]
    assert [each.revision for each in made] == [1, 2, 3]
    assert made[2].arn == SCOPE.definition_arn("train", 3)
    assert (await store.write(register("test"))).revision == 1
    assert (await store.write(register(scope=ELSEWHERE))).revision == 1
    found = await store.read(lambda conn: definitions.read_definition(conn, made[1].arn))
    assert found == made[1]


async def test_the_latest_active_revision_is_what_a_name_means(store: Store) -> None:
    made = [await store.write(register()) for _ in range(3)]
    off = DefinitionStatus.INACTIVE
    for record in made[1:]:
        assert await store.write(
            lambda conn: definitions.set_definition_status(conn, record.arn, off)  # noqa: B023
        )
    none = DefinitionArn(SCOPE.definition_arn("none", 1))
    assert not await store.write(lambda conn: definitions.set_definition_status(conn, none, off))
    latest = await store.read(lambda conn: definitions.latest_active(conn, SCOPE, "train"))
    assert latest == made[0]
    assert (await store.write(register())).revision == 4
    assert await store.read(lambda conn: definitions.latest_active(conn, SCOPE, "none")) is None


async def test_definitions_are_listed_newest_first(store: Store) -> None:
    made = [await store.write(register(name)) for name in ("a", "b", "a", "c")]
    await store.write(
        lambda conn: definitions.set_definition_status(conn, made[3].arn, DefinitionStatus.INACTIVE)
    )

    async def listed(**query):
        found = await store.read(
            lambda conn: definitions.list_definitions(conn, SCOPE, **({"limit": 9} | query))
        )
        return [(each.name, each.revision) for each in found]

    assert await listed() == [("c", 1), ("a", 2), ("b", 1), ("a", 1)]
    assert await listed(name="a") == [("a", 2), ("a", 1)]
    assert await listed(status=DefinitionStatus.ACTIVE, limit=2) == [("a", 2), ("b", 1)]
    assert await listed(before_seq=made[1].seq) == [("a", 1)]


async def test_two_processes_never_draw_the_same_revision(postgres_url: str) -> None:
    """Two stores on one PostgreSQL stand for two processes; each has its own writer."""
    stores = [Store.open(postgres_url) for _ in range(2)]
    made = await asyncio.gather(*(stores[n % 2].write(register()) for n in range(60)))
    assert sorted(each.revision for each in made) == list(range(1, 61))
    for store in stores:
        await store.close()


def test_two_processes_may_make_the_tables_at_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: Store.open(postgres_url), range(4)))
    for store in stores:
        asyncio.run(store.close())


async def test_wishes_wait_until_they_are_settled(store: Store) -> None:
    ids = [a_job().id for _ in range(3)]

    def add(conn):
        wishes.add_wish(conn, WishKind.CANCEL, ids[0], "no\x00pe")
        wishes.add_wish(conn, WishKind.TERMINATE, ids[1], "")
        wishes.add_wish(conn, WishKind.CANCEL, ids[2], "x")

    await store.write(add)
    found = await store.read(lambda conn: wishes.read_wishes(conn, 2))
    assert [(each.kind, each.job_id, each.reason) for each in found] == [
        (WishKind.CANCEL, ids[0], "no\x00pe"),
        (WishKind.TERMINATE, ids[1], ""),
    ]
    await store.write(lambda conn: wishes.settle_wishes(conn, [each.seq for each in found]))
    left = await store.read(lambda conn: wishes.read_wishes(conn, 9))
    assert [each.job_id for each in left] == [ids[2]]


async def test_events_are_read_by_job_and_in_pages(store: Store) -> None:
    one, two = JobId("one"), JobId("two")
    new = [
        (10, one, "JobAccepted", 1, b'{"a":1}'),
        (10, None, "QueueSettled", 1, b"{}"),
        (11, two, "JobAccepted", 2, b"{}"),
        (12, one, "JobEnded", 1, b'{"b":[]}'),
    ]
    await store.write(lambda conn: events.append_events(conn, new))
    await store.write(lambda conn: events.append_events(conn, []))
    story = await store.read(lambda conn: events.read_events(conn, one))
    assert [(each.at_ms, each.kind, each.body) for each in story] == [
        (10, "JobAccepted", {"a": 1}),
        (12, "JobEnded", {"b": []}),
    ]
    first = await store.read(lambda conn: events.read_events_after(conn, 0, 3))
    rest = await store.read(lambda conn: events.read_events_after(conn, first[-1].seq, 3))
    assert [each.job_id for each in first + rest] == [one, None, two, one]
    assert [each.version for each in first] == [1, 1, 2]


async def test_tags_are_found_by_arn(store: Store) -> None:
    job = a_job()
    await store.append_job(job)
    await store.write(insert_environment())
    await store.write(insert_queue())
    definition = await store.write(register())
    for arn in (
        SCOPE.job_arn(job.id),
        SCOPE.queue_arn("high"),
        SCOPE.environment_arn("here"),
        definition.arn,
    ):
        assert await store.write(lambda conn: tags.write_tags(conn, arn, {"k": "v"}))  # noqa: B023
        assert await store.read(lambda conn: tags.read_tags(conn, arn)) == {"k": "v"}  # noqa: B023


@pytest.mark.parametrize(
    "arn",
    ["nonsense", SCOPE.job_arn(JobId("none")), SCOPE.queue_arn("none"), SCOPE.arn("batch", "x/y")],
)
async def test_unknown_arns_have_no_tags(store: Store, arn: str) -> None:
    assert await store.read(lambda conn: tags.read_tags(conn, arn)) is None
    assert not await store.write(lambda conn: tags.write_tags(conn, arn, {}))
