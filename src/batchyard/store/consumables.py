"""Consumable resources.

Owns the tables `consumables` and `consumable_updates`. The API writes what callers give and raises
`version`; the engine writes what is held and used up, and says which version it has settled. A
deleted row is nobody's any more but the engine's, which takes it away, unless a resource of the
same name came back meanwhile. Refuses to know which changes are allowed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from batchyard.model.ids import ConsumableArn, Scope
from batchyard.model.records import ConsumableRecord
from batchyard.store import codec
from batchyard.store.schema import consumable_updates, consumables
from batchyard.store.statements import changed_rows, in_lists, insert_new, run_many

_IS_THERE = consumables.c.is_deleted.is_(None)
_BY_ARN = select(consumables).where(consumables.c.arn == bindparam("arn"))
_UNSEEN = (
    select(consumables)
    .where(consumables.c.version > consumables.c.seen_version)
    .order_by(consumables.c.seq)
    .limit(bindparam("limit"))
)
_WRITE_FACTS = "UPDATE consumables SET held = ?, used_up = ? WHERE arn = ?"


def insert_consumable(  # noqa: PLR0913 - what makes one, by name
    conn: Connection,
    *,
    arn: ConsumableArn,
    scope: Scope,
    name: str,
    is_replenishable: bool,
    total: int,
    created_ms: int,
    tags: Mapping[str, str],
) -> bool:
    """Make a resource. False: the name is taken, and nothing was written.

    One that was deleted a moment ago comes back with what is still held of it.
    """
    values = {
        "is_replenishable": int(is_replenishable),
        "created_ms": created_ms,
        "tags": codec.encode_tags(tags),
    }
    is_new = insert_new(
        conn,
        consumables,
        {
            **values,
            "arn": arn,
            "account": scope.account,
            "region": scope.region,
            "name": name,
            "given": total,
            "version": 1,
            "held": 0,
            "used_up": 0,
            "seen_version": 0,
        },
    )
    if is_new:
        return True
    revived = (
        update(consumables)
        .where(consumables.c.arn == arn, consumables.c.is_deleted.is_not(None))
        .values(
            **values,
            given=consumables.c.used_up + total,
            version=consumables.c.version + 1,
            is_deleted=None,
        )
    )
    return changed_rows(conn, revived) > 0


def read_consumable(conn: Connection, arn: ConsumableArn) -> ConsumableRecord | None:
    """Read one that is there."""
    row = conn.execute(_BY_ARN.where(_IS_THERE), {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def lock_consumable(conn: Connection, arn: ConsumableArn) -> ConsumableRecord | None:
    """Read one that is there, and let nobody change it before the COMMIT."""
    query = _BY_ARN.where(_IS_THERE).with_for_update()
    row = conn.execute(query, {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def find_consumables(conn: Connection, arns: Sequence[ConsumableArn]) -> set[ConsumableArn]:
    """Tell which of them are there."""
    return {
        ConsumableArn(arn)
        for piece in in_lists(arns)
        for arn in conn.scalars(
            select(consumables.c.arn).where(consumables.c.arn.in_(piece), _IS_THERE)
        )
    }


def list_consumables(  # noqa: PLR0913 - what narrows a page, by name
    conn: Connection,
    scope: Scope,
    *,
    name: str | None = None,
    name_prefix: str | None = None,
    after_seq: int,
    limit: int,
) -> list[ConsumableRecord]:
    """Read a page in the order of creation. Names ignore case, as AWS does."""
    query = select(consumables).where(
        consumables.c.account == scope.account,
        consumables.c.region == scope.region,
        consumables.c.seq > after_seq,
        _IS_THERE,
    )
    lower = func.lower(consumables.c.name)
    if name is not None:
        query = query.where(lower == name.lower())
    if name_prefix is not None:
        query = query.where(lower.startswith(name_prefix.lower(), autoescape=True))
    return _records(conn.execute(query.order_by(consumables.c.seq).limit(limit)))


def count_consumables(conn: Connection, scope: Scope) -> int:
    query = select(func.count()).where(
        consumables.c.account == scope.account, consumables.c.region == scope.region, _IS_THERE
    )
    return conn.scalars(query).one()


def give_consumable(conn: Connection, arn: ConsumableArn, given: int) -> None:
    """Let `given` be all that callers have put in."""
    conn.execute(
        update(consumables)
        .where(consumables.c.arn == arn)
        .values(given=given, version=consumables.c.version + 1)
    )


def delete_consumable(conn: Connection, arn: ConsumableArn) -> bool:
    """False: there was none."""
    statement = (
        update(consumables)
        .where(consumables.c.arn == arn, _IS_THERE)
        .values(is_deleted=1, version=consumables.c.version + 1)
    )
    return changed_rows(conn, statement) > 0


def note_update(conn: Connection, digest: bytes, *, at_ms: int, forget_before_ms: int) -> bool:
    """Remember a request. False: it was made before, and not before `forget_before_ms`."""
    conn.execute(delete(consumable_updates).where(consumable_updates.c.at_ms < forget_before_ms))
    return insert_new(conn, consumable_updates, {"digest": digest, "at_ms": at_ms})


def read_unseen(conn: Connection, limit: int) -> list[ConsumableRecord]:
    """Read what the engine has to look at, of all scopes."""
    return _records(conn.execute(_UNSEEN, {"limit": limit}))


def read_all_consumables(conn: Connection) -> list[ConsumableRecord]:
    """Read what is there, of all scopes: the engine's start."""
    return _records(conn.execute(select(consumables).where(_IS_THERE).order_by(consumables.c.seq)))


def settle_consumable(conn: Connection, arn: ConsumableArn, version: int) -> None:
    """Say that the engine has settled a version. A later one is left to be seen."""
    conn.execute(update(consumables).where(consumables.c.arn == arn).values(seen_version=version))


def remove_deleted(conn: Connection, arn: ConsumableArn, version: int) -> None:
    """Take a deleted row away, unless it has changed since `version`."""
    conn.execute(
        delete(consumables).where(
            consumables.c.arn == arn,
            consumables.c.version == version,
            consumables.c.is_deleted.is_not(None),
        )
    )


def write_holdings(conn: Connection, changed: Sequence[tuple[ConsumableArn, int, int]]) -> None:
    """Write what is held and used up: (which, held, used up)."""
    run_many(conn, _WRITE_FACTS, [(held, used_up, arn) for arn, held, used_up in changed])


def _records(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[ConsumableRecord]:
    return [_record_of(row) for row in rows]


def _record_of(row: Row[*tuple[Any, ...]]) -> ConsumableRecord:
    return ConsumableRecord(
        seq=row.seq,
        arn=ConsumableArn(row.arn),
        scope=Scope(row.account, row.region),
        name=row.name,
        is_replenishable=bool(row.is_replenishable),
        created_ms=row.created_ms,
        given=row.given,
        held=row.held,
        used_up=row.used_up,
        version=row.version,
        is_deleted=bool(row.is_deleted),
        tags=codec.decode_tags(row.tags),
    )
