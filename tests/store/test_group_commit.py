"""Group commit: what callers may rely on, whoever shares their commit."""

import asyncio

import pytest
from sqlalchemy import event, text

from batchyard.model.limits import GROUP_COMMIT_ROWS_MAX
from batchyard.model.records import WishKind
from batchyard.store import Connection, Store, StoreTrouble, jobs, wishes
from tests.fixtures.postgres import PostgresServer
from tests.store.builders import SCOPE, a_job


def add(reason: str):
    return lambda conn: wishes.add_wish(conn, WishKind.CANCEL, a_job().id, reason)


async def reasons(store: Store) -> list[str]:
    found = await store.read(lambda conn: wishes.read_wishes(conn, 10_000))
    return [wish.reason for wish in found]


@pytest.fixture
def commits(store: Store) -> list[None]:
    """Grows by one with each COMMIT."""
    seen: list[None] = []
    event.listen(store._database.writer, "commit", lambda _conn: seen.append(None))
    return seen


async def test_a_caller_gets_the_result_of_its_work(store: Store) -> None:
    assert await store.write(lambda _conn: 7) == 7


async def test_many_callers_share_a_commit_and_keep_their_order(store: Store, commits) -> None:
    names = [str(number) for number in range(2 * GROUP_COMMIT_ROWS_MAX + 10)]
    await asyncio.gather(*(store.write(add(name)) for name in names))
    assert await reasons(store) == names
    assert len(commits) == 3


async def test_who_comes_during_a_commit_waits_for_the_next_one(store: Store, commits) -> None:
    first = asyncio.ensure_future(store.write(add("first")))
    while not store._writer._draining:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.gather(*(store.write(add(str(number))) for number in range(5)), first)
    assert len(commits) == 2


async def test_a_failing_work_harms_only_itself(store: Store, commits) -> None:
    class Mine(Exception):
        pass

    def fail(conn: Connection) -> None:
        add("never seen")(conn)
        raise Mine

    done = await asyncio.gather(
        store.write(add("a")),
        store.append_job(job := a_job()),
        store.write(fail),
        store.write(lambda conn: conn.execute(text("SELECT nonsense"))),
        store.append_job(a_job(id=job.id)),
        store.write(add("b")),
        return_exceptions=True,
    )
    assert [type(each) for each in done[2:5]] == [Mine, StoreTrouble, StoreTrouble]
    assert done[0] is done[1] is done[5] is None
    assert await reasons(store) == ["a", "b"]
    assert len(await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, [job.id]))) == 1
    assert len(commits) == 1


async def test_a_cancelled_caller_stops_nobody(store: Store) -> None:
    tasks = [asyncio.ensure_future(store.write(add(name))) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert {"a", "c"} <= set(await reasons(store))
    await store.write(add("d"))


async def test_a_read_sees_what_was_acknowledged_and_cannot_write(store: Store) -> None:
    for name in "abc":
        await store.write(add(name))
        assert name in await reasons(store)
    if store._database.is_local:
        with pytest.raises(StoreTrouble, match="readonly"):
            await store.read(add("x"))


async def test_long_reads_see_the_same(store: Store) -> None:
    await store.write(add("a"))
    found = await store.read_long(lambda conn: wishes.read_wishes(conn, 10))
    assert [wish.reason for wish in found] == ["a"]


async def test_wishes_wake_after_their_commit_and_nothing_else_does(store: Store) -> None:
    woken: list[int] = []
    store._callbacks.append(lambda: woken.append(1))

    def wish(conn: Connection) -> None:
        add("a")(conn)
        store.note_wish()

    await store.write(add("silent"))
    assert woken == []
    await store.write(wish)
    assert len(woken) == 1
    await store.append_job(a_job())
    assert len(woken) == 2


async def test_close_commits_what_waits_and_refuses_what_comes(url: str) -> None:
    store = Store.open(url)
    waiting = [asyncio.ensure_future(store.write(add(name))) for name in "ab"]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*waiting)
    with pytest.raises(StoreTrouble, match="closed"):
        await store.write(add("c"))
    again = Store.open(url)
    assert await reasons(again) == ["a", "b"]
    await again.close()


async def test_a_full_disk_is_trouble_and_passes(tmp_path) -> None:
    """SQLite's own page limit stands for the disk: the error is the same."""
    store = Store.open(f"sqlite:///{tmp_path}/small.db")
    await store.write(add("before"))
    await store.write(lambda conn: conn.exec_driver_sql("PRAGMA max_page_count = 60"))
    big = b"x" * 300_000
    done = await asyncio.gather(
        store.append_job(a_job(spec=big)),
        store.write(add("with it")),
        return_exceptions=True,
    )
    assert isinstance(done[0], StoreTrouble)
    assert "full" in str(done[0])
    # The next group has a new connection, which knows nothing of the limit: there is room again.
    await store.append_job(a_job(spec=big))
    await store.write(add("after"))
    assert [name for name in await reasons(store) if name != "with it"] == ["before", "after"]
    assert ("with it" in await reasons(store)) is (done[1] is None)
    await store.close()


async def test_a_restarted_database_is_found_again(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    store = Store.open(postgres_url)
    await store.write(add("before"))
    assert await reasons(store) == ["before"]
    await asyncio.to_thread(postgres_server.restart)
    await store.write(add("after"))
    assert await reasons(store) == ["before", "after"]
    await asyncio.to_thread(postgres_server.stop)
    try:
        for attempt in (store.write(add("lost")), reasons(store)):
            with pytest.raises(StoreTrouble):
                await attempt
    finally:
        await asyncio.to_thread(postgres_server.start)
    await store.write(add("again"))
    assert await reasons(store) == ["before", "after", "again"]
    await store.close()


@pytest.mark.parametrize("is_done", [True, False])
async def test_the_fate_of_a_broken_commit_is_found_out(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, is_done: bool
) -> None:
    """The connection is cut at the COMMIT: just after it was carried out, or just before."""
    store = Store.open(postgres_url)
    await store.write(add("before"))
    dialect = store._database.writer.dialect
    carry_out = dialect.do_commit

    def broken(connection) -> None:
        monkeypatch.undo()
        if is_done:
            carry_out(connection)
        connection.driver_connection.close()
        carry_out(connection)

    monkeypatch.setattr(dialect, "do_commit", broken)
    if is_done:
        await store.write(add("kept"))
        assert await reasons(store) == ["before", "kept"]
    else:
        with pytest.raises(StoreTrouble):
            await store.write(add("lost"))
        assert await reasons(store) == ["before"]
    await store.close()


async def test_a_wish_of_another_process_wakes_this_one(postgres_url: str) -> None:
    engine, api = Store.open(postgres_url), Store.open(postgres_url)
    woken = asyncio.Event()
    engine.wake_on_wish(woken.set)
    async with asyncio.timeout(10):
        # The first one only says that the listener listens.
        await woken.wait()
        woken.clear()
        await api.append_job(a_job())
        await woken.wait()
    await api.close()
    await engine.close()
