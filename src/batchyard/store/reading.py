"""A look into a store that somebody else may be using.

Owns how a store is opened by those that never write, beside a running server or without one.
Refuses to change anything, the form of the tables included: a store of another revision is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from batchyard.store.migrate import REVISIONS, read_revision
from batchyard.store.trouble import StoreTrouble, translated


@contextmanager
def open_for_reading(url: str) -> Iterator[Connection]:
    """Give a connection that reads one snapshot of a store, and cannot write.

    Raises `StoreTrouble` if there is none, or one of another revision.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreTrouble(
            "the store's URL cannot be read: sqlite:///… or postgresql://…"
        ) from error
    is_local = parsed.get_backend_name() == "sqlite"
    if is_local and not Path(parsed.database or "").is_file():
        raise StoreTrouble(f"there is no store at {parsed.database}")
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        engine = create_engine(parsed, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise StoreTrouble(
            "PostgreSQL needs the driver psycopg: install batchyard[postgres]"
        ) from error
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql(
                "PRAGMA query_only = ON"
                if is_local
                else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            )
            _check_revision(read_revision(conn))
            yield conn
    except SQLAlchemyError as error:
        raise translated(error) from error
    finally:
        engine.dispose()


def _check_revision(found: str | None) -> None:
    if found != REVISIONS[-1]:
        raise StoreTrouble(
            f"the store has revision {found or 'none'}, and this batchyard reads {REVISIONS[-1]}:"
            " start its server once, which brings it up to date"
        )
