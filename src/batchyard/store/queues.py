"""Job queues.

Owns the table `queues`. The API inserts and asks (CREATING, UPDATING, DELETING), the engine settles
and deletes. Refuses to know what a status means, and which environments a queue may have.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from batchyard.model.ids import EnvironmentArn, PolicyArn, QueueArn, Scope
from batchyard.model.records import Json, QueueRecord
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import codec
from batchyard.store.environments import IN_TRANSITION, stored_changes
from batchyard.store.schema import queues
from batchyard.store.statements import changed_rows, insert_new

_BY_ARN = select(queues).where(queues.c.arn == bindparam("arn"))
_TRANSITION = select(queues).where(queues.c.status.in_(IN_TRANSITION)).order_by(queues.c.seq)
_DETAILS = select(queues.c.arn, queues.c.detail).order_by(queues.c.seq)
_ENVIRONMENTS = select(queues.c.arn, queues.c.environment_arns).order_by(queues.c.seq)


class NewQueue(TypedDict):
    """A job queue as the API asks for it; its status is CREATING."""

    arn: QueueArn
    scope: Scope
    name: str
    state: ResourceState
    priority: int
    environment_arns: Sequence[EnvironmentArn]
    detail: Json
    tags: Mapping[str, str]


class QueueChanges(TypedDict, total=False):
    """What may change; what is missing stays."""

    state: ResourceState
    status: ResourceStatus
    status_reason: str | None
    priority: int
    environment_arns: Sequence[EnvironmentArn]
    detail: Json
    tags: Mapping[str, str]


def insert_queue(conn: Connection, **new: Unpack[NewQueue]) -> bool:
    """Ask for a queue. False: the name is taken, and nothing was written."""
    values = {
        "arn": new["arn"],
        "account": new["scope"].account,
        "region": new["scope"].region,
        "name": new["name"],
        "state": new["state"].value,
        "status": ResourceStatus.CREATING.value,
        "priority": new["priority"],
        "environment_arns": codec.encode_texts(new["environment_arns"]),
        "detail": codec.encode_object(new["detail"]),
        "tags": codec.encode_tags(new["tags"]),
    }
    return insert_new(conn, queues, values)


def read_queue(conn: Connection, arn: QueueArn) -> QueueRecord | None:
    row = conn.execute(_BY_ARN, {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def list_queues(conn: Connection, scope: Scope, after_seq: int, limit: int) -> list[QueueRecord]:
    """Read a page of a scope's queues in the order of their creation."""
    query = (
        select(queues)
        .where(
            queues.c.account == scope.account,
            queues.c.region == scope.region,
            queues.c.seq > after_seq,
        )
        .order_by(queues.c.seq)
        .limit(limit)
    )
    return _records(conn.execute(query))


def count_queues(conn: Connection, scope: Scope) -> int:
    query = select(func.count()).where(
        queues.c.account == scope.account, queues.c.region == scope.region
    )
    return conn.scalars(query).one()


def read_queues_in_transition(conn: Connection) -> list[QueueRecord]:
    """Read what the engine has to settle, of all scopes."""
    return _records(conn.execute(_TRANSITION))


def read_all_queues(conn: Connection) -> list[QueueRecord]:
    """Read the queues of all scopes: the engine's start."""
    return _records(conn.execute(select(queues).order_by(queues.c.seq)))


def queues_of_environment(conn: Connection, environment_arn: EnvironmentArn) -> list[QueueArn]:
    """Name the queues that refer to an environment. Looks at every queue: there are few."""
    return [
        QueueArn(row.arn)
        for row in conn.execute(_ENVIRONMENTS)
        if environment_arn in codec.decode_texts(row.environment_arns)
    ]


def queues_of_policy(conn: Connection, policy_arn: PolicyArn) -> list[QueueArn]:
    """Name the queues that have a scheduling policy. Looks at every queue: there are few."""
    return [
        QueueArn(row.arn)
        for row in conn.execute(_DETAILS)
        if codec.decode_object(row.detail).get("schedulingPolicyArn") == policy_arn
    ]


def update_queue(conn: Connection, arn: QueueArn, **changes: Unpack[QueueChanges]) -> bool:
    """Change the members given. False: there is no such queue."""
    values = stored_changes(changes)
    if "environment_arns" in changes:
        values["environment_arns"] = codec.encode_texts(changes["environment_arns"])
    statement = update(queues).where(queues.c.arn == arn).values(values)
    return changed_rows(conn, statement) > 0


def delete_queue(conn: Connection, arn: QueueArn) -> bool:
    """False: there was no such queue. Its jobs stay describable."""
    return changed_rows(conn, delete(queues).where(queues.c.arn == arn)) > 0


def _records(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[QueueRecord]:
    return [_record_of(row) for row in rows]


def _record_of(row: Row[*tuple[Any, ...]]) -> QueueRecord:
    return QueueRecord(
        seq=row.seq,
        arn=QueueArn(row.arn),
        scope=Scope(row.account, row.region),
        name=row.name,
        state=ResourceState(row.state),
        status=ResourceStatus(row.status),
        status_reason=row.status_reason,
        priority=row.priority,
        environment_arns=tuple(map(EnvironmentArn, codec.decode_texts(row.environment_arns))),
        detail=codec.decode_object(row.detail),
        tags=codec.decode_tags(row.tags),
    )
