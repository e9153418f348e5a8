"""The database behind a URL: how we talk to SQLite and to PostgreSQL.

Owns engines, pragmas, and the lock by which one server alone uses an SQLite file. Refuses to know
tables. Specified in the reference on libraries ("Store"): WAL, synchronous=FULL, BEGIN IMMEDIATE.

Rules:
- A commit that returned is on the disk (unless the operator chose otherwise).
- On SQLite the connections that read cannot write.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from batchyard.store.trouble import StoreTrouble, translated

#: Threads, and connections, for reads that must not run on the loop.
READERS_MAX = 4

#: Only a foreign process (an operator's shell) can make us wait for SQLite's write lock.
_BUSY_TIMEOUT_MS = 5_000
#: The writer's cache holds the upper pages of every index; a reader's, of the few it looks at.
_WRITER_CACHE_KIB = 32 * 1024
_READER_CACHE_KIB = 4 * 1024
#: 16 MiB of log between checkpoints: each checkpoint costs two more fsyncs.
_CHECKPOINT_PAGES = 4_000
_CONNECT_TIMEOUT_S = 10
_SQLITE_COMMON = (f"busy_timeout = {_BUSY_TIMEOUT_MS}", "temp_store = MEMORY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """Two ways into one database."""

    writer: Engine
    reader: Engine
    #: Statements run on the loop: a thread hop would cost more than they do.
    is_local: bool
    #: Held while the database is in use; None on PostgreSQL.
    lock: IO[str] | None

    def close(self) -> None:
        self.writer.dispose()
        self.reader.dispose()
        if self.lock is not None:
            self.lock.close()


def open_database(url: str, *, is_synchronous_full: bool) -> Database:
    """Open `sqlite:///path` or `postgresql://…`. Raises `StoreTrouble` with the remedy."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        # Without the URL: it may hold a password.
        raise StoreTrouble(
            "the store's URL cannot be read: sqlite:///… or postgresql://…"
        ) from error
    match parsed.get_backend_name():
        case "sqlite":
            return _open_sqlite(parsed, is_synchronous_full=is_synchronous_full)
        case "postgresql":
            return _open_postgresql(parsed, is_synchronous_full=is_synchronous_full)
        case name:
            raise StoreTrouble(f"the store's URL names {name!r}; known are sqlite and postgresql")


@contextmanager
def reading_beside(url: str) -> Iterator[Connection]:
    """Read a store that a server uses, from another process: one snapshot, nothing is written.

    Raises `StoreTrouble` if it is not there.
    """
    parsed = make_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            reader = _sqlite_reader(parsed, connections=1)
            if not Path(parsed.database or "").exists():
                raise StoreTrouble("the store is not there")
        else:
            reader = _open_postgresql(parsed, is_synchronous_full=True).reader
        try:
            with reader.connect() as conn, conn.begin():
                yield conn
        finally:
            reader.dispose()
    except SQLAlchemyError as error:
        raise translated(error) from error


def _open_sqlite(url: URL, *, is_synchronous_full: bool) -> Database:
    if not url.database or url.database == ":memory:":
        raise StoreTrouble("the store needs a file: sqlite:///path/to/batchyard.db")
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
        # Jobs' environments are in it: nobody else's to read. What SQLite puts beside it follows.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreTrouble(f"the store at {path} cannot be used: {error}") from error
    level = "FULL" if is_synchronous_full else "NORMAL"
    writer = create_engine(url, pool_size=1, max_overflow=0, hide_parameters=True)
    _on_connect(
        writer,
        "journal_mode = WAL",
        f"synchronous = {level}",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
        f"cache_size = {-_WRITER_CACHE_KIB}",
        *_SQLITE_COMMON,
        begin="BEGIN IMMEDIATE",
    )
    reader = _sqlite_reader(url, connections=READERS_MAX + 1)
    return Database(writer=writer, reader=reader, is_local=True, lock=lock)


def _sqlite_reader(url: URL, *, connections: int) -> Engine:
    reader = create_engine(url, pool_size=connections, max_overflow=0, hide_parameters=True)
    cache = f"cache_size = {-_READER_CACHE_KIB}"
    _on_connect(reader, "query_only = ON", cache, *_SQLITE_COMMON, begin="BEGIN")
    return reader


def _on_connect(engine: Engine, *pragmas: str, begin: str) -> None:
    """Set a new connection up, and take over the driver's own idea of when to begin."""

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "begin", lambda conn: conn.exec_driver_sql(begin) and None)


def _lock(path: Path) -> IO[str]:
    """Keep other servers from the file. The kernel frees the lock when a process dies."""
    lock_path = path.with_name(f"{path.name}.lock")
    # Whoever can open it can hold it, and keep us out.
    descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    lock = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StoreTrouble(
            f"the store at {path} is in use by another batchyard server (pid {holder});"
            " stop that one, or give this one a data directory of its own"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _open_postgresql(url: URL, *, is_synchronous_full: bool) -> Database:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    arguments = {
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "application_name": "batchyard",
        "options": f"-c synchronous_commit={'on' if is_synchronous_full else 'off'}",
    }
    # Errors go to the log, and parameters hold jobs' environments.
    make: Callable[..., Engine] = partial(create_engine, hide_parameters=True)
    try:
        writer = make(url, pool_size=1, max_overflow=1, connect_args=arguments)
        # One snapshot for all statements of a read.
        reader = make(
            url,
            # Besides readers: the listener, and the engine's lock.
            pool_size=READERS_MAX + 2,
            max_overflow=0,
            connect_args=arguments,
            isolation_level="REPEATABLE READ",
        )
    except ModuleNotFoundError as error:
        raise StoreTrouble(
            "PostgreSQL needs the driver psycopg: install batchyard[postgres]"
        ) from error
    return Database(writer=writer, reader=reader, is_local=False, lock=None)
