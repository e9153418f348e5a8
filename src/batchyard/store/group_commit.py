"""Group commit without a timer: many callers share one commit, and none waits for a clock.

Owns the one connection that writes, and the order in which works run on it. Refuses to know what a
work writes.

While a commit is under way, what comes waits. Then everything that waits, up to
GROUP_COMMIT_ROWS_MAX works, runs in one transaction, in the order in which it came, submitted jobs
first and in one statement. A caller learns its result after the COMMIT.

Rules:
- Works run on the loop on SQLite and only the COMMIT goes to a thread: a second Python thread would
  fight the loop for the interpreter, and costs up to 60 % more. On PostgreSQL all of it goes there.
- A work may run more than once, but what it wrote counts once: it must touch nothing but its
  connection.
- A work that raises harms nobody: the group is rolled back and run again with a savepoint around
  each work, so the raiser's error is about a state that then became durable.
- If the connection breaks before the COMMIT, the group runs once more on a new one. If it breaks in
  the COMMIT, PostgreSQL is asked what became of it (`outcome`). Otherwise every work of the group
  gets `StoreTrouble`, and the next group tries anew.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from batchyard.model.limits import GROUP_COMMIT_ROWS_MAX
from batchyard.model.records import NewJob
from batchyard.store.database import Database
from batchyard.store.jobs import insert_jobs
from batchyard.store.outcome import commit_for_sure
from batchyard.store.trouble import StoreTrouble, is_lost, translated
from batchyard.store.wakeup import notify

T = TypeVar("T")
Work = Callable[[Connection], object]

#: Ours: callers that may wait for their commit. Far more than the wire serves at once; it keeps a
#: dead database from filling the memory.
WAITING_WORKS_MAX = 100_000


@dataclass(slots=True)
class _Waiting:
    """One work and who waits for it."""

    work: Work | NewJob
    done: asyncio.Future[object]
    result: object = None
    error: Exception | None = None


class GroupCommit:
    """The writer. `on_wish` is called on the loop after each group that may hold a wish."""

    def __init__(self, database: Database, on_wish: Callable[[], None]) -> None:
        self._database = database
        self._on_wish = on_wish
        #: Set by works, in whatever thread they run; one group runs at a time.
        self._has_wish = False
        self._queue: deque[_Waiting] = deque()
        self._draining: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batchyard-commit")
        self._conn: Connection | None = None
        self._is_closed = False

    async def submit(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in the next group; give its result, or raise its error, after the commit."""
        return cast("T", await self._enqueue(work))

    async def submit_job(self, job: NewJob) -> None:
        """Insert a job in the next group."""
        await self._enqueue(job)

    def note_wish(self) -> None:
        """Say that the group that is running holds a wish."""
        self._has_wish = True

    async def close(self) -> None:
        """Let everything that waits be committed, then let go of the connection."""
        self._is_closed = True
        if self._draining is not None:
            await self._draining
        self._disconnect()
        self._thread.shutdown()

    def _enqueue(self, work: Work | NewJob) -> asyncio.Future[object]:
        if self._is_closed:
            raise StoreTrouble("the store is closed")
        if len(self._queue) >= WAITING_WORKS_MAX:
            raise StoreTrouble("the store cannot keep up: too many writes wait for their commit")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(work, loop.create_future())
        self._queue.append(waiting)
        if self._draining is None:
            # Lives only while something waits; `close` awaits it.
            self._draining = loop.create_task(self._drain())
        return waiting.done

    async def _drain(self) -> None:
        try:
            while self._queue:
                size = min(len(self._queue), GROUP_COMMIT_ROWS_MAX)
                await self._commit([self._queue.popleft() for _ in range(size)])
        finally:
            self._draining = None

    async def _commit(self, group: Sequence[_Waiting]) -> None:
        in_thread = asyncio.get_running_loop().run_in_executor
        self._has_wish = any(isinstance(each.work, NewJob) for each in group)
        try:
            if self._database.is_local:
                self._execute(group)
                await in_thread(self._thread, self._finish)
            else:
                await in_thread(self._thread, self._execute_and_finish, group)
        except Exception as error:
            self._abandon()
            trouble = _as_trouble(error)
            for each in group:
                each.error = trouble
        for each in group:
            _resolve(each)
        if self._has_wish:
            self._on_wish()

    def _execute_and_finish(self, group: Sequence[_Waiting]) -> None:
        self._execute(group)
        assert self._conn is not None
        if self._has_wish:
            notify(self._conn)
        commit_for_sure(self._conn, self._database.writer)

    def _finish(self) -> None:
        assert self._conn is not None
        self._conn.commit()

    def _execute(self, group: Sequence[_Waiting]) -> None:
        """Run the works of a group; afterwards each has its result or its error."""
        try:
            _run_together(self._begin(), group)
        except Exception as error:
            if is_lost(error):
                self._disconnect()
            else:
                self._roll_back()
        else:
            return
        _run_apart(self._begin(), group)

    def _begin(self) -> Connection:
        if self._conn is None:
            self._conn = self._database.writer.connect()
        if not self._conn.in_transaction():
            self._conn.begin()
        return self._conn

    def _roll_back(self) -> None:
        if self._conn is not None:
            self._conn.rollback()

    def _abandon(self) -> None:
        """Begin the next group on a new connection: of this one nothing is known any more."""
        with suppress(SQLAlchemyError):
            self._roll_back()
        self._disconnect()

    def _disconnect(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with suppress(SQLAlchemyError):
                conn.invalidate()
                conn.close()


def _run_together(conn: Connection, group: Sequence[_Waiting]) -> None:
    """Run a group at the price of nothing but its works: the usual case."""
    jobs = [each.work for each in group if isinstance(each.work, NewJob)]
    if jobs:
        insert_jobs(conn, jobs)
    for each in group:
        if not isinstance(each.work, NewJob):
            each.result = each.work(conn)


def _run_apart(conn: Connection, group: Sequence[_Waiting]) -> None:
    """Run each work so that its failure undoes itself only. Raises if even that cannot be done."""
    for each in sorted(group, key=lambda each: not isinstance(each.work, NewJob)):
        savepoint = conn.begin_nested()
        try:
            _run(conn, each)
        except Exception as error:
            if is_lost(error):
                raise
            try:
                savepoint.rollback()
            except SQLAlchemyError:
                # The database gave up the whole transaction: a full disk does that.
                raise error from None
            each.error = translated(error)
        else:
            savepoint.commit()


def _run(conn: Connection, waiting: _Waiting) -> None:
    if isinstance(waiting.work, NewJob):
        insert_jobs(conn, [waiting.work])
    else:
        waiting.result = waiting.work(conn)


def _as_trouble(error: Exception) -> Exception:
    found = translated(error)
    if isinstance(found, StoreTrouble):
        return found
    trouble = StoreTrouble(f"the store failed: {error!r}")
    trouble.__cause__ = error
    return trouble


def _resolve(waiting: _Waiting) -> None:
    if waiting.done.done():
        return
    if waiting.error is not None:
        waiting.done.set_exception(waiting.error)
    else:
        waiting.done.set_result(waiting.result)
