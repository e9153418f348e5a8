"""Two things that SQLAlchemy's common language leaves to us.

Owns the choice of the dialect's INSERT .. ON CONFLICT, and statements handed to the driver as text:
where thousands of rows go through one statement, SQLAlchemy's work per row costs more than the
database's. Refuses to know any table.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import Connection, Executable, Table, literal_column
from sqlalchemy.dialects import postgresql, sqlite

#: Values in one IN list: both databases take ten times as many.
_IN_LIST_MAX = 1000

_Value = str | bytes | int | None
_T = TypeVar("_T")


def insert_into(conn: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Begin an INSERT that may say ON CONFLICT."""
    if conn.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def insert_new(conn: Connection, table: Table, values: Mapping[str, object]) -> bool:
    """Insert a row unless its unique key is taken: False then."""
    statement = insert_into(conn, table).values(dict(values)).on_conflict_do_nothing()
    # Not the row count: where a key is generated the driver does not keep it.
    return conn.execute(statement.returning(literal_column("1"))).one_or_none() is not None


def run_one(conn: Connection, sql: str, row: tuple[_Value, ...]) -> int:
    """Run a statement written as for `run_many` once; tell how many rows it met."""
    if conn.dialect.name == "postgresql":
        sql = sql.replace("?", "%s")
    return conn.exec_driver_sql(sql, row).rowcount


def run_many(conn: Connection, sql: str, rows: Sequence[tuple[_Value, ...]]) -> None:
    """Run a statement, written with `?` and no other question mark, once for each row."""
    if rows:
        if conn.dialect.name == "postgresql":
            sql = sql.replace("?", "%s")
        conn.exec_driver_sql(sql, list(rows))


def insert_sql(table: Table, columns: Sequence[str]) -> str:
    """Write the INSERT of `run_many`."""
    assert all(column in table.c for column in columns)
    names = ", ".join(columns)
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table.name} ({names}) VALUES ({marks})"  # noqa: S608 - our own names


def changed_rows(conn: Connection, statement: Executable) -> int:
    """Run an UPDATE or DELETE and tell how many rows it met."""
    return conn.execute(statement).rowcount


def in_lists(values: Sequence[_T]) -> Iterator[list[_T]]:
    """Cut a list into pieces that fit an IN."""
    rest = iter(values)
    while piece := list(islice(rest, _IN_LIST_MAX)):
        yield piece
