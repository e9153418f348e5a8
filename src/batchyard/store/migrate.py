"""Leads a store to the schema of this code.

Owns the question which revision a store has. Refuses to know what a revision changes: that is in
`migrations/versions`. A new store is made from `schema.py` at once; alembic, which takes a second
to import, is needed only for one that is older. A test checks that both ways lead to the same
tables.

Rule: a store that newer code has written is refused, never touched.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, inspect

from batchyard.store.schema import metadata
from batchyard.store.trouble import StoreTrouble

#: Every revision there ever was, oldest first; the numbers alone say nothing of the order.
REVISIONS: Sequence[str] = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0010",
    "0012",
    "0011",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
)

_VERSION_TABLE = "alembic_version"
_READ_REVISION = "SELECT version_num FROM alembic_version"
#: Any number: one at a time may look at the revision and change it.
_MIGRATION_LOCK = 0x6261746368


def migrate(engine: Engine) -> None:
    """Make the tables, or change them to what this code knows. Raises `StoreTrouble`."""
    with engine.begin() as conn:
        if conn.dialect.name == "postgresql":
            conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        found = read_revision(conn)
        if found is None:
            _create(conn)
        elif found not in REVISIONS:
            raise StoreTrouble(
                f"the store was written by a newer batchyard (its revision is {found}, this one"
                f" knows up to {REVISIONS[-1]}): start the newer one, or restore an older backup"
            )
        elif found != REVISIONS[-1]:
            upgrade(conn)


def read_revision(conn: Connection) -> str | None:
    """Tell a store's revision; None for an empty one."""
    if not inspect(conn).has_table(_VERSION_TABLE):
        return None
    row = conn.exec_driver_sql(_READ_REVISION).one_or_none()
    return None if row is None else str(row[0])


def upgrade(conn: Connection) -> None:
    """Run every migration that the store lacks, inside the transaction of `conn`."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "batchyard.store:migrations")
    config.attributes["connection"] = conn
    command.upgrade(config, "head")


def _create(conn: Connection) -> None:
    metadata.create_all(conn)
    conn.exec_driver_sql(
        f"CREATE TABLE {_VERSION_TABLE} (version_num VARCHAR(32) NOT NULL,"
        f" CONSTRAINT {_VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
    )
    conn.exec_driver_sql(f"INSERT INTO {_VERSION_TABLE} VALUES ('{REVISIONS[-1]}')")  # noqa: S608
