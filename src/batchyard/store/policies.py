"""Scheduling policies.

Owns the table `policies`. The API writes it at once; the engine takes up the revisions that it has
not seen. Refuses to know what a policy means, and which queues have one.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from batchyard.model.ids import PolicyArn, Scope
from batchyard.model.records import Json, PolicyRecord
from batchyard.store import codec
from batchyard.store.schema import policies
from batchyard.store.statements import changed_rows, insert_new

_BY_ARN = select(policies).where(policies.c.arn == bindparam("arn"))
_UNSETTLED = (
    select(policies)
    .where(policies.c.revision != policies.c.settled_revision)
    .order_by(policies.c.seq)
)


class NewPolicy(TypedDict):
    """A scheduling policy as the API makes it."""

    arn: PolicyArn
    scope: Scope
    name: str
    detail: Json
    tags: Mapping[str, str]


def insert_policy(conn: Connection, **new: Unpack[NewPolicy]) -> bool:
    """Make a policy. False: the name is taken, and nothing was written."""
    values = {
        "arn": new["arn"],
        "account": new["scope"].account,
        "region": new["scope"].region,
        "name": new["name"],
        "revision": 1,
        "settled_revision": 1,
        "detail": codec.encode_object(new["detail"]),
        "tags": codec.encode_tags(new["tags"]),
    }
    return insert_new(conn, policies, values)


def read_policy(conn: Connection, arn: PolicyArn) -> PolicyRecord | None:
    row = conn.execute(_BY_ARN, {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def hold_policy(conn: Connection, arn: PolicyArn) -> PolicyRecord | None:
    """Read a policy that nobody else changes or deletes before the end of the transaction."""
    row = conn.execute(_BY_ARN.with_for_update(), {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def list_policies(conn: Connection, scope: Scope, after_seq: int, limit: int) -> list[PolicyRecord]:
    """Read a page of a scope's policies in the order of their creation."""
    query = (
        select(policies)
        .where(
            policies.c.account == scope.account,
            policies.c.region == scope.region,
            policies.c.seq > after_seq,
        )
        .order_by(policies.c.seq)
        .limit(limit)
    )
    return _records(conn.execute(query))


def read_unsettled_policies(conn: Connection) -> list[PolicyRecord]:
    """Read what the engine has to take up, of all scopes."""
    return _records(conn.execute(_UNSETTLED))


def update_policy(conn: Connection, arn: PolicyArn, detail: Json) -> bool:
    """Give a policy other values, which the engine then takes up. False: there is no such one."""
    statement = (
        update(policies)
        .where(policies.c.arn == arn)
        .values(detail=codec.encode_object(detail), revision=policies.c.revision + 1)
    )
    return changed_rows(conn, statement) > 0


def settle_policy(conn: Connection, arn: PolicyArn, revision: int) -> None:
    """Note that the engine goes by this revision."""
    conn.execute(update(policies).where(policies.c.arn == arn).values(settled_revision=revision))


def delete_policy(conn: Connection, arn: PolicyArn) -> bool:
    """False: there was no such policy."""
    return changed_rows(conn, delete(policies).where(policies.c.arn == arn)) > 0


def _records(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[PolicyRecord]:
    return [_record_of(row) for row in rows]


def _record_of(row: Row[*tuple[Any, ...]]) -> PolicyRecord:
    return PolicyRecord(
        seq=row.seq,
        arn=PolicyArn(row.arn),
        scope=Scope(row.account, row.region),
        name=row.name,
        revision=row.revision,
        detail=codec.decode_object(row.detail),
        tags=codec.decode_tags(row.tags),
    )
