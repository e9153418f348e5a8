"""What became of a COMMIT whose answer never came.

Owns one question to PostgreSQL: if the connection breaks while it commits, the work may be durable
or not, and whoever asked must not repeat it by mistake. The server remembers the fate of each
transaction by its number; we note the number before the COMMIT and ask on a new connection.

(SQLite commits inside our process: an error there means that it was not done.)
"""

import time

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from batchyard.store.trouble import is_lost

_NUMBER = text("SELECT CAST(pg_current_xact_id_if_assigned() AS TEXT)")
_STATUS = text("SELECT pg_xact_status(CAST(CAST(:number AS TEXT) AS xid8))")

#: A server that restarts is back within seconds; callers wait that long for an answer.
_ATTEMPTS_MAX = 20
_PAUSE_S = 0.25


def commit_for_sure(conn: Connection, engine: Engine) -> None:
    """Commit. Returns once the work is durable; raises if it is not, or nobody can tell."""
    number: str | None = conn.execute(_NUMBER).scalar_one()
    try:
        conn.commit()
    except SQLAlchemyError as error:
        if number is None or not is_lost(error) or not _was_committed(engine, number):
            raise


def _was_committed(engine: Engine, number: str) -> bool:
    for _ in range(_ATTEMPTS_MAX):
        time.sleep(_PAUSE_S)
        try:
            with engine.connect() as conn:
                status = conn.execute(_STATUS, {"number": number}).scalar_one_or_none()
        except SQLAlchemyError:
            continue
        if status != "in progress":
            return bool(status == "committed")
    return False
