"""Which engine is in charge, where several processes share a PostgreSQL.

Owns the lock that elects, and the epoch that fences: a number in the store that rises with each
change of engine. Beside it stands which machines the one in charge has, for those that wait.
Refuses to know what an engine does.

Rules:
- An advisory lock, held by a connection of its own, lets one engine at a time believe it leads.
- The lock alone is not enough: its connection may break unnoticed. So every commit of an engine
  checks that its epoch is still the last one, and holds that row until the COMMIT: the next
  engine's epoch begins after it. An engine that lost writes nothing any more.
- On SQLite the lock on the file does the electing; the epoch is kept all the same.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.store.schema import leadership
from batchyard.store.statements import insert_into
from batchyard.store.trouble import translated

#: Pause between two attempts of a standby engine, and between two looks of the leading one.
LEADER_POLL_S = 1.0
#: A standby engine's pause after the database was away: it let go of the lock, and the engine that
#: leads, whose containers run, shall have it again.
LEADER_RETURN_S = 5.0

T = TypeVar("T")

_decode_hosts = msgspec.json.Decoder(dict[HostId, Amount]).decode
_LOCK = 0x6C656164
_ROW = 1
_EPOCH = select(leadership.c.epoch).where(leadership.c.id == _ROW).with_for_update(read=True)


class LeadershipLost(Exception):
    """Another engine has taken over: this one must stop, and nothing of its work was written."""


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to write facts, until another engine takes over."""

    #: From 1, higher with each change.
    epoch: int

    def guard(self, work: Callable[[Connection], T]) -> Callable[[Connection], T]:
        """Let `work` run only while this engine is in charge; else it raises `LeadershipLost`."""

        @wraps(work)
        def guarded(conn: Connection) -> T:
            epoch = conn.scalars(_EPOCH).one()
            if epoch != self.epoch:
                raise LeadershipLost(f"epoch {self.epoch} ended; the store is in epoch {epoch}")
            return work(conn)

        return guarded


def begin_epoch(conn: Connection) -> Leadership:
    """Take over: works of earlier epochs are refused from here on."""
    following = {"epoch": leadership.c.epoch + 1, "hosts": None}
    statement = (
        insert_into(conn, leadership)
        .values(id=_ROW, epoch=1)
        .on_conflict_do_update(index_elements=["id"], set_=following)
        .returning(leadership.c.epoch)
    )
    return Leadership(int(conn.scalars(statement).one()))


def write_host(conn: Connection, host_id: HostId, capacity: Amount) -> None:
    """Note a machine of the engine in charge, with all it can give."""
    hosts = read_lead(conn) | {host_id: capacity}
    conn.execute(update(leadership).values(hosts=msgspec.json.encode(hosts)))


def read_lead(conn: Connection) -> dict[HostId, Amount]:
    """Name the machines of the engine in charge, with all they can give."""
    stored = conn.scalar(select(leadership.c.hosts).where(leadership.c.id == _ROW))
    return {} if stored is None else _decode_hosts(stored)


class LeaderLock:
    """PostgreSQL's lock, on a connection of its own. Used by one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._conn: Connection | None = None

    def take(self) -> bool:
        """Try to take the lock. False: another process has it. Raises `StoreTrouble`."""
        try:
            if self._conn is None:
                self._conn = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return bool(
                self._conn.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})").scalar_one()
            )
        except SQLAlchemyError as error:
            self.release()
            raise translated(error) from error

    def hold(self) -> bool:
        """Look whether the lock is still ours; take it again if its connection broke.

        False: another process has it. Raises `StoreTrouble`.
        """
        if self._conn is not None:
            try:
                self._conn.exec_driver_sql("SELECT 1")
            except SQLAlchemyError:
                self.release()
            else:
                return True
        return self.take()

    def release(self) -> None:
        """Let another engine take over."""
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(SQLAlchemyError):
                # Ends the session, and with it the lock.
                conn.invalidate()
                conn.close()
