"""Quota shares of job queues.

Owns the table `quota_shares`. The API inserts and asks (CREATING, UPDATING, DELETING), the engine
settles and deletes. Refuses to know what a share may use. Looks at whole queues: each has at most
twenty.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from batchyard.model.ids import QueueArn, QuotaShareArn
from batchyard.model.records import Json, QuotaShareRecord
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import codec
from batchyard.store.environments import IN_TRANSITION
from batchyard.store.schema import quota_shares
from batchyard.store.statements import changed_rows, insert_new

_BY_ARN = select(quota_shares).where(quota_shares.c.arn == bindparam("arn"))
_OF_QUEUE = (
    select(quota_shares)
    .where(quota_shares.c.queue_arn == bindparam("queue_arn"))
    .order_by(quota_shares.c.seq)
)
_ALL = select(quota_shares).order_by(quota_shares.c.seq)
_TRANSITION = _ALL.where(quota_shares.c.status.in_(IN_TRANSITION))


class NewQuotaShare(TypedDict):
    """A quota share as the API asks for it; its status is CREATING."""

    arn: QuotaShareArn
    queue_arn: QueueArn
    name: str
    state: ResourceState
    detail: Json
    tags: Mapping[str, str]


def insert_quota_share(conn: Connection, **new: Unpack[NewQuotaShare]) -> bool:
    """Ask for a share. False: the name is taken, and nothing was written."""
    values = {
        "arn": new["arn"],
        "queue_arn": new["queue_arn"],
        "name": new["name"],
        "state": new["state"].value,
        "status": ResourceStatus.CREATING.value,
        "detail": codec.encode_object(new["detail"]),
        "tags": codec.encode_tags(new["tags"]),
    }
    return insert_new(conn, quota_shares, values)


def read_quota_share(conn: Connection, arn: QuotaShareArn) -> QuotaShareRecord | None:
    row = conn.execute(_BY_ARN, {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def quota_shares_of_queue(conn: Connection, queue_arn: QueueArn) -> list[QuotaShareRecord]:
    """Read the shares of a queue in the order of their creation."""
    return _records(conn.execute(_OF_QUEUE, {"queue_arn": queue_arn}))


def read_quota_shares_in_transition(conn: Connection) -> list[QuotaShareRecord]:
    """Read what the engine has to settle, of all queues."""
    return _records(conn.execute(_TRANSITION))


def read_all_quota_shares(conn: Connection) -> list[QuotaShareRecord]:
    """Read the shares of all queues: the engine's start."""
    return _records(conn.execute(_ALL))


def ask_quota_share(
    conn: Connection,
    arn: QuotaShareArn,
    status: ResourceStatus,
    *,
    state: ResourceState,
    detail: Json,
) -> None:
    """Ask the engine to look at a share that is to be so."""
    conn.execute(
        update(quota_shares)
        .where(quota_shares.c.arn == arn)
        .values(status=status.value, state=state.value, detail=codec.encode_object(detail))
    )


def settle_quota_share(conn: Connection, queue_arn: QueueArn, name: str) -> None:
    """Say that the engine goes by the share as it is."""
    conn.execute(
        update(quota_shares)
        .where(quota_shares.c.queue_arn == queue_arn, quota_shares.c.name == name)
        .values(status=ResourceStatus.VALID.value)
    )


def delete_quota_share(conn: Connection, queue_arn: QueueArn, name: str) -> bool:
    """False: there was no such share."""
    statement = delete(quota_shares).where(
        quota_shares.c.queue_arn == queue_arn, quota_shares.c.name == name
    )
    return changed_rows(conn, statement) > 0


def _records(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[QuotaShareRecord]:
    return [_record_of(row) for row in rows]


def _record_of(row: Row[*tuple[Any, ...]]) -> QuotaShareRecord:
    return QuotaShareRecord(
        seq=row.seq,
        arn=QuotaShareArn(row.arn),
        queue_arn=QueueArn(row.queue_arn),
        name=row.name,
        state=ResourceState(row.state),
        status=ResourceStatus(row.status),
        detail=codec.decode_object(row.detail),
        tags=codec.decode_tags(row.tags),
    )
