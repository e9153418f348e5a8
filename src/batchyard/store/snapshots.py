"""How queues stand: one small row each, written by the engine now and then.

Owns the table `queue_snapshots`. Refuses to know who is next, and how often one looks.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select

from batchyard.model.ids import QueueArn
from batchyard.model.queue_snapshots import QueueSnapshot
from batchyard.store import codec
from batchyard.store.schema import queue_snapshots
from batchyard.store.statements import run_many

_WRITE = (
    "INSERT INTO queue_snapshots (queue_arn, snapshot) VALUES (?, ?)"
    " ON CONFLICT (queue_arn) DO UPDATE SET snapshot = excluded.snapshot"
)


def write_snapshots(conn: Connection, snapshots: Mapping[QueueArn, QueueSnapshot]) -> None:
    """Replace what was stored of some queues."""
    run_many(conn, _WRITE, [(arn, codec.encode_snapshot(each)) for arn, each in snapshots.items()])


def read_snapshot(conn: Connection, arn: QueueArn) -> QueueSnapshot | None:
    """None: the engine has not looked at the queue yet."""
    query = select(queue_snapshots.c.snapshot).where(queue_snapshots.c.queue_arn == arn)
    stored = conn.scalars(query).one_or_none()
    return None if stored is None else codec.decode_snapshot(stored)


def read_all_snapshots(conn: Connection) -> dict[QueueArn, QueueSnapshot]:
    """Read everything: the engine's start."""
    rows = conn.execute(select(queue_snapshots.c.queue_arn, queue_snapshots.c.snapshot))
    return {QueueArn(arn): codec.decode_snapshot(stored) for arn, stored in rows}


def delete_snapshot(conn: Connection, arn: QueueArn) -> None:
    """Forget a queue that is gone."""
    conn.execute(delete(queue_snapshots).where(queue_snapshots.c.queue_arn == arn))
