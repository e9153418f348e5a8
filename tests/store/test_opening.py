"""Opening a store: tables, versions, exclusive use, leadership, and clear words when it fails."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from batchyard.store import Store, StoreTrouble
from batchyard.store.database import open_database
from batchyard.store.leadership import LeadershipLost
from batchyard.store.migrate import REVISIONS, migrate, read_revision, upgrade
from batchyard.store.schema import metadata
from tests.fixtures.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/empty.db"
    found: str = request.getfixturevalue("postgres_url")
    return found


def tables_of(conn: Connection) -> list[tuple[object, ...]]:
    """Everything that defines the tables, in the database's own words."""
    if conn.dialect.name == "sqlite":
        query = (
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND name NOT LIKE '%alembic%'"
            " UNION ALL SELECT t.name || '.' || c.name, c.type || c.\"notnull\" ||"
            " coalesce(c.dflt_value, '') || c.pk FROM sqlite_master t, pragma_table_info(t.name) c"
            " WHERE t.type = 'table' AND t.name NOT LIKE '%alembic%'"
        )
    else:
        query = (
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            " UNION ALL SELECT table_name || '.' || column_name, concat_ws(' ', data_type,"
            " is_nullable, column_default, collation_name) FROM information_schema.columns"
            " WHERE table_schema = 'public'"
        )
    return sorted((name, " ".join(str(sql).split())) for name, sql in conn.execute(text(query)))


def test_migrations_lead_to_the_same_tables_as_the_schema(empty_url: str) -> None:
    database = open_database(empty_url, is_synchronous_full=True)
    with database.writer.begin() as conn:
        upgrade(conn)
        assert read_revision(conn) == REVISIONS[-1]
        assert compare_metadata(MigrationContext.configure(conn), metadata) == []
        migrated = tables_of(conn)
        metadata.drop_all(conn)
        conn.execute(text("DROP TABLE alembic_version"))
    migrate(database.writer)
    with database.writer.begin() as conn:
        made = tables_of(conn)
    database.close()
    assert migrated == made


def test_opening_twice_changes_nothing(empty_url: str) -> None:
    for _ in range(2):
        store = Store.open(empty_url)
        with store._database.reader.connect() as conn:
            assert "jobs" in inspect(conn).get_table_names()
        asyncio.run(store.close())


def test_a_newer_store_is_refused(empty_url: str) -> None:
    asyncio.run(Store.open(empty_url).close())
    database = open_database(empty_url, is_synchronous_full=True)
    with database.writer.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreTrouble, match=r"newer batchyard \(its revision is 9999"):
        Store.open(empty_url)


@pytest.mark.parametrize(
    ("url", "text_"),
    [
        ("sqlite://", "the store needs a file"),
        ("sqlite:////proc/none/x.db", "cannot be used"),
        ("mysql://x/y", "known are sqlite and postgresql"),
        ("nonsense", "cannot be read"),
        ("postgresql://nobody@/none?host=/nowhere", "the store failed"),
    ],
)
def test_a_store_that_cannot_be_opened_says_why(url: str, text_: str) -> None:
    with pytest.raises(StoreTrouble, match=text_):
        Store.open(url)


_OPEN = """
import sys
from batchyard.store import Store, StoreTrouble
try:
    Store.open(sys.argv[1])
except StoreTrouble as trouble:
    print(trouble)
else:
    print("opened")
"""


def test_one_server_alone_uses_an_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/batchyard.db"

    def open_in_another_process() -> str:
        return subprocess.check_output([sys.executable, "-c", _OPEN, url], text=True)

    store = Store.open(url)
    answer = open_in_another_process()
    assert f"in use by another batchyard server (pid {os.getpid()})" in answer
    asyncio.run(store.close())
    assert open_in_another_process() == "opened\n"


async def test_an_engine_leads_at_once_when_alone(store: Store) -> None:
    leadership = await store.lead()
    assert leadership.epoch == 1
    assert await store.write(leadership.guard(lambda _conn: "done")) == "done"


async def test_a_standby_takes_over_and_the_old_engine_writes_nothing(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchyard.store.store.LEADER_POLL_S", 0.01)
    old, new = Store.open(postgres_url), Store.open(postgres_url)
    first = await old.lead()
    waiting = asyncio.ensure_future(new.lead())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    assert await old.write(first.guard(lambda _conn: 1)) == 1
    # Its connection breaks, and it does not notice.
    assert old._leader_lock is not None
    old._leader_lock.release()
    second = await waiting
    assert second.epoch == first.epoch + 1
    with pytest.raises(LeadershipLost):
        await old.write(first.guard(lambda conn: conn.execute(text("DELETE FROM jobs"))))
    assert await new.write(second.guard(lambda _conn: 2)) == 2
    await old.close()
    await new.close()


async def test_the_leader_leads_on_when_the_database_was_away(
    postgres_url: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock goes with the connections; whose containers run shall have it back."""
    monkeypatch.setattr("batchyard.store.store.LEADER_POLL_S", 0.01)
    monkeypatch.setattr("batchyard.store.store.LEADER_RETURN_S", 2.0)
    old, new = Store.open(postgres_url), Store.open(postgres_url)
    first = await old.lead()
    keeping = asyncio.ensure_future(old.keep_lead())
    waiting = asyncio.ensure_future(new.lead())
    await asyncio.to_thread(postgres_server.stop)
    await asyncio.sleep(0.2)
    await asyncio.to_thread(postgres_server.start)
    await asyncio.sleep(3)
    assert not keeping.done()
    assert not waiting.done()
    assert await old.write(first.guard(lambda _conn: 1)) == 1
    for each in (keeping, waiting):
        each.cancel()
    await asyncio.wait([keeping, waiting])
    await old.close()
    await new.close()


def test_a_store_without_its_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreTrouble, match=r"install batchyard\[postgres\]"):
        Store.open("postgresql://x@/y")
