"""Wake-ups between processes: PostgreSQL's NOTIFY and LISTEN.

Owns the channel and the thread that listens on it. Refuses to know what the wish is: whoever is
woken reads the store. A notification goes out with the commit that holds the wish; after a broken
connection the listener wakes once, because it may have missed one.
"""

from collections.abc import Callable
from threading import Event, Thread

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

_CHANNEL = "batchyard_wish"
#: How long a stop may wait for the listener.
_TURN_S = 0.5
_RETRY_PAUSE_S = 1.0


def notify(conn: Connection) -> None:
    """Wake every process once the transaction commits."""
    conn.exec_driver_sql(f"NOTIFY {_CHANNEL}")


class Listener:
    """Calls `on_wish`, in a thread of its own, for each notification."""

    def __init__(self, engine: Engine, on_wish: Callable[[], object]) -> None:
        self._engine = engine
        self._on_wish = on_wish
        self._stop = Event()
        self._thread = Thread(target=self._run, name="batchyard-listen", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg  # optional: only who uses PostgreSQL has it

        while not self._stop.is_set():
            try:
                self._listen()
            except (SQLAlchemyError, psycopg.Error):
                self._stop.wait(_RETRY_PAUSE_S)

    def _listen(self) -> None:
        import psycopg  # see `_run`

        with self._engine.connect() as conn:
            try:
                driver = conn.connection.driver_connection
                assert isinstance(driver, psycopg.Connection)
                driver.autocommit = True
                driver.execute(f"LISTEN {_CHANNEL}".encode())
                self._on_wish()
                while not self._stop.is_set():
                    for _ in driver.notifies(timeout=_TURN_S, stop_after=1):
                        self._on_wish()
            finally:
                # Not for the pool: it listens.
                conn.invalidate()
