"""Wishes about jobs that exist: cancel and terminate, until the engine has settled them.

Owns the table `wishes`. Submitted jobs, and environments and queues in transition, are wishes too,
but live in their own tables. Whoever adds one calls `Store.note_wish` in the same work. Refuses to
know what comes of a wish.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, insert, select

from batchyard.model.ids import JobId
from batchyard.model.records import Wish, WishKind
from batchyard.store import codec
from batchyard.store.schema import wishes
from batchyard.store.statements import in_lists

_READ = select(wishes).order_by(wishes.c.seq).limit(bindparam("limit"))


def add_wish(
    conn: Connection, kind: WishKind, job_id: JobId, reason: str, *, priority: int | None = None
) -> None:
    """Keep a wish until it is settled."""
    values = {
        "kind": kind.value,
        "job_id": job_id,
        "reason": codec.encode_text(reason),
        "priority": priority,
    }
    conn.execute(insert(wishes).values(values))


def read_wishes(conn: Connection, limit: int) -> list[Wish]:
    """Read what is not settled, oldest first."""
    return [
        Wish(
            seq=row.seq,
            kind=WishKind(row.kind),
            job_id=JobId(row.job_id),
            reason=codec.decode_text(row.reason),
            priority=row.priority,
        )
        for row in conn.execute(_READ, {"limit": limit})
    ]


def settle_wishes(conn: Connection, seqs: Sequence[int]) -> None:
    """Forget wishes, in the transaction that makes durable what came of them."""
    for piece in in_lists(seqs):
        conn.execute(delete(wishes).where(wishes.c.seq.in_(piece)))
