"""The store: where the API and the engine meet.

Owns who runs works on which connection, and the wake-up after a wish. Refuses to know tables: the
modules per thing do.

Rules:
- `write` and `append_job` return after the commit is durable, never before.
- A read sees everything that any `write` of this process has acknowledged.
- Works touch nothing but their connection; a work of `write` may run more than once and counts
  once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from batchyard.model.records import NewJob
from batchyard.store.database import READERS_MAX, Database, open_database
from batchyard.store.group_commit import GroupCommit
from batchyard.store.leadership import (
    LEADER_POLL_S,
    LEADER_RETURN_S,
    LeaderLock,
    Leadership,
    LeadershipLost,
    begin_epoch,
)
from batchyard.store.migrate import migrate
from batchyard.store.trouble import StoreTrouble, is_lost, translated
from batchyard.store.wakeup import Listener

__all__ = ["Connection", "Store", "StoreTrouble"]

T = TypeVar("T")


class Store:
    """One process's way to the store. All methods are called on one asyncio loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = GroupCommit(database, self._wake)
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="batchyard-read")
        self._callbacks: list[Callable[[], None]] = []
        #: SQLite: the connection that reads on the loop.
        self._reader: Connection | None = None
        #: PostgreSQL: hears of wishes that other processes commit.
        self._listener: Listener | None = None
        #: PostgreSQL: held while this process's engine is in charge.
        self._leader_lock: LeaderLock | None = None

    @classmethod
    def open(cls, url: str, *, is_synchronous_full: bool = True) -> Self:
        """Open `sqlite:///path` or `postgresql://…`, and bring its tables up to date.

        Raises `StoreTrouble` if it cannot be reached, is used by another server (SQLite), or was
        written by a newer batchyard. `is_synchronous_full` False trades the last moments before a
        power cut (not before a crash of ours) for speed.
        """
        database = open_database(url, is_synchronous_full=is_synchronous_full)
        try:
            migrate(database.writer)
        except SQLAlchemyError as error:
            database.close()
            raise translated(error) from error
        except StoreTrouble:
            database.close()
            raise
        return cls(database)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` inside the next group commit; give its result once that is durable.

        What `work` raises reaches the caller alone, and leaves nothing written. Raises
        `StoreTrouble` if the database failed: see there what that says about the outcome.
        """
        return await self._writer.submit(work)

    async def append_job(self, job: NewJob) -> None:
        """Store a submitted job; the jobs of a group go in one statement. Wakes the engine."""
        await self._writer.submit_job(job)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a short read: one snapshot, after everything acknowledged.

        On SQLite it runs at once and without a suspension, so it must not take long: see
        `read_long`.
        """
        if self._database.is_local:
            return self._read_here(work)
        return await self.read_long(work)

    async def read_long(self, work: Callable[[Connection], T]) -> T:
        """Run a read that may take more than a millisecond, in a thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read_in_thread, work)

    def wake_on_wish(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the loop after each commit that may hold a new wish.

        On PostgreSQL that includes the commits of other processes.
        """
        self._callbacks.append(callback)
        if not self._database.is_local and self._listener is None:
            loop = asyncio.get_running_loop()
            self._listener = Listener(
                self._database.reader, lambda: loop.call_soon_threadsafe(self._wake)
            )

    def note_wish(self) -> None:
        """Say, inside a `work`, that it writes a wish. A wake-up too many does no harm."""
        self._writer.note_wish()

    async def lead(self, on_wait: Callable[[], Awaitable[None]] | None = None) -> Leadership:
        """Take charge as the engine, once no other engine of this store is in charge.

        On SQLite that is at once. Wrap every work of the engine in `Leadership.guard`. `on_wait` is
        called each time the lock was found taken, or could not be asked for.
        """
        if self._database.is_local:
            return await self.write(begin_epoch)
        loop = asyncio.get_running_loop()
        if self._leader_lock is None:
            self._leader_lock = LeaderLock(self._database.reader)
        while True:
            pause_s = LEADER_POLL_S
            try:
                if await loop.run_in_executor(self._threads, self._leader_lock.take):
                    return await self.write(begin_epoch)
            except StoreTrouble:
                pause_s = LEADER_RETURN_S
            if on_wait is not None:
                await on_wait()
            # Another process gives the lock free: nothing in this one could wake us.
            await asyncio.sleep(pause_s)

    async def keep_lead(self) -> None:
        """Hold on to the lock until cancelled, also when the database was away for a while.

        Raises `LeadershipLost` once another engine has it. On SQLite there is nothing to do.
        """
        if self._leader_lock is None:
            return
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LEADER_POLL_S)
            try:
                is_held = await loop.run_in_executor(self._threads, self._leader_lock.hold)
            except StoreTrouble:
                continue
            if not is_held:
                raise LeadershipLost("another engine took the lock while the database was away")

    async def close(self) -> None:
        """Finish what waits, and let go of the database. The store cannot be used afterwards."""
        await self._writer.close()
        if self._listener is not None:
            await asyncio.to_thread(self._listener.close)
        if self._leader_lock is not None:
            self._leader_lock.release()
        if self._reader is not None:
            self._reader.close()
        self._threads.shutdown()
        self._database.close()

    def _wake(self) -> None:
        for callback in self._callbacks:
            callback()

    def _read_here(self, work: Callable[[Connection], T]) -> T:
        try:
            if self._reader is None:
                self._reader = self._database.reader.connect()
            with self._reader.begin():
                return work(self._reader)
        except SQLAlchemyError as error:
            if self._reader is not None:
                self._reader.invalidate()
                self._reader.close()
                self._reader = None
            raise translated(error) from error

    def _read_in_thread(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._read_once(work)
        except SQLAlchemyError as error:
            if not is_lost(error):
                raise translated(error) from error
        try:
            # The connection had been idle while the database went away and came back.
            return self._read_once(work)
        except SQLAlchemyError as error:
            raise translated(error) from error

    def _read_once(self, work: Callable[[Connection], T]) -> T:
        with self._database.reader.connect() as conn, conn.begin():
            return work(conn)
