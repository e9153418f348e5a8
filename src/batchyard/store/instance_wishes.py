"""Wishes about instances: asked by the API, answered by the engine, then kept a while.

Owns the table `instance_wishes`. Whoever adds one calls `Store.note_wish` in the same work. Refuses
to know what comes of a wish.
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, insert, select, update

from batchyard.model.instance_wishes import (
    Deregistration,
    InstanceWish,
    Interruption,
    Registration,
    TaskInterruption,
)
from batchyard.model.instances import InstanceId
from batchyard.store.schema import instance_wishes
from batchyard.store.statements import changed_rows

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(InstanceWish).decode

_WAITING = (
    select(instance_wishes.c.seq, instance_wishes.c.wish)
    .where(instance_wishes.c.settled_ms.is_(None))
    .order_by(instance_wishes.c.seq)
    .limit(bindparam("limit"))
)
_BY_SEQ = select(instance_wishes.c.wish).where(instance_wishes.c.seq == bindparam("seq"))


def add_instance_wish(
    conn: Connection,
    asked: Registration | Deregistration | Interruption | TaskInterruption,
    *,
    at_ms: int,
) -> int:
    """Keep a wish until it is answered; gives its number."""
    match asked:
        case Registration():
            wish = InstanceWish(seq=0, registration=asked)
        case Deregistration():
            wish = InstanceWish(seq=0, deregistration=asked)
        case Interruption():
            wish = InstanceWish(seq=0, interruption=asked)
        case TaskInterruption():
            wish = InstanceWish(seq=0, task_interruption=asked)
    values = {"at_ms": at_ms, "wish": _encode(wish)}
    seq: int = conn.execute(
        insert(instance_wishes).values(values).returning(instance_wishes.c.seq)
    ).scalar_one()
    return seq


def read_waiting(conn: Connection, limit: int) -> list[InstanceWish]:
    """Read what is not answered, oldest first."""
    return [
        replace(_decode(row.wish), seq=row.seq) for row in conn.execute(_WAITING, {"limit": limit})
    ]


def read_instance_wish(conn: Connection, seq: int) -> InstanceWish | None:
    """Read a wish, with its answer once there is one. None: there is none, or none any more."""
    stored = conn.scalars(_BY_SEQ, {"seq": seq}).one_or_none()
    return None if stored is None else replace(_decode(stored), seq=seq)


def settle_instance_wish(
    conn: Connection,
    seq: int,
    instance_ids: Sequence[InstanceId],
    refusal: str | None,
    *,
    at_ms: int,
) -> None:
    """Answer a wish, in the transaction that makes durable what came of it."""
    wish = read_instance_wish(conn, seq)
    if wish is None:
        return
    answered = replace(wish, is_settled=True, instance_ids=tuple(instance_ids), refusal=refusal)
    conn.execute(
        update(instance_wishes)
        .where(instance_wishes.c.seq == seq)
        .values(settled_ms=at_ms, wish=_encode(answered))
    )


def delete_settled_before(conn: Connection, at_ms: int) -> int:
    """Forget wishes that were answered before; tells how many."""
    return changed_rows(
        conn,
        delete(instance_wishes).where(
            instance_wishes.c.settled_ms.is_not(None), instance_wishes.c.settled_ms < at_ms
        ),
    )
