"""Compute environments.

Owns the table `environments`. The API inserts and asks (CREATING, UPDATING, DELETING), the engine
settles and deletes. Refuses to know what a status means, and what it takes to leave it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from batchyard.model.ids import EnvironmentArn, Scope
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import codec
from batchyard.store.schema import environments
from batchyard.store.statements import changed_rows, insert_new

IN_TRANSITION = [status.value for status in ResourceStatus if status.is_in_transition]

_BY_ARN = select(environments).where(environments.c.arn == bindparam("arn"))
_TRANSITION = (
    select(environments)
    .where(environments.c.status.in_(IN_TRANSITION))
    .order_by(environments.c.seq)
)


class NewEnvironment(TypedDict):
    """A compute environment as the API asks for it; its status is CREATING."""

    arn: EnvironmentArn
    scope: Scope
    name: str
    uuid: str
    state: ResourceState
    detail: Json
    tags: Mapping[str, str]


class EnvironmentChanges(TypedDict, total=False):
    """What may change; what is missing stays."""

    state: ResourceState
    status: ResourceStatus
    status_reason: str | None
    detail: Json
    tags: Mapping[str, str]
    cpu_milli_launched: int
    launch_count: int


def insert_environment(conn: Connection, **new: Unpack[NewEnvironment]) -> bool:
    """Ask for an environment. False: the name is taken, and nothing was written."""
    values = {
        "arn": new["arn"],
        "account": new["scope"].account,
        "region": new["scope"].region,
        "name": new["name"],
        "uuid": new["uuid"],
        "state": new["state"].value,
        "status": ResourceStatus.CREATING.value,
        "detail": codec.encode_object(new["detail"]),
        "tags": codec.encode_tags(new["tags"]),
    }
    return insert_new(conn, environments, values)


def read_environment(conn: Connection, arn: EnvironmentArn) -> EnvironmentRecord | None:
    row = conn.execute(_BY_ARN, {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def list_environments(
    conn: Connection, scope: Scope, after_seq: int, limit: int
) -> list[EnvironmentRecord]:
    """Read a page of a scope's environments in the order of their creation."""
    query = (
        select(environments)
        .where(
            environments.c.account == scope.account,
            environments.c.region == scope.region,
            environments.c.seq > after_seq,
        )
        .order_by(environments.c.seq)
        .limit(limit)
    )
    return _records(conn.execute(query))


def count_environments(conn: Connection, scope: Scope) -> int:
    query = select(func.count()).where(
        environments.c.account == scope.account, environments.c.region == scope.region
    )
    return conn.scalars(query).one()


def read_environments_in_transition(conn: Connection) -> list[EnvironmentRecord]:
    """Read what the engine has to settle, of all scopes."""
    return _records(conn.execute(_TRANSITION))


def read_all_environments(conn: Connection) -> list[EnvironmentRecord]:
    """Read the environments of all scopes: the engine's start."""
    return _records(conn.execute(select(environments).order_by(environments.c.seq)))


def update_environment(
    conn: Connection, arn: EnvironmentArn, **changes: Unpack[EnvironmentChanges]
) -> bool:
    """Change the members given. False: there is no such environment."""
    values = stored_changes(changes)
    statement = update(environments).where(environments.c.arn == arn).values(values)
    return changed_rows(conn, statement) > 0


def delete_environment(conn: Connection, arn: EnvironmentArn) -> bool:
    """False: there was no such environment."""
    return changed_rows(conn, delete(environments).where(environments.c.arn == arn)) > 0


def stored_changes(changes: Mapping[str, object]) -> dict[str, object]:
    """Give changes of an environment or a queue in the form of their columns."""
    values = dict(changes)
    if "detail" in changes:
        values["detail"] = codec.encode_json(changes["detail"])
    if "tags" in changes:
        values["tags"] = codec.encode_json(changes["tags"]) if changes["tags"] else None
    for column in ("state", "status"):
        if column in changes:
            values[column] = str(changes[column])
    return values


def _records(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[EnvironmentRecord]:
    return [_record_of(row) for row in rows]


def _record_of(row: Row[*tuple[Any, ...]]) -> EnvironmentRecord:
    return EnvironmentRecord(
        seq=row.seq,
        arn=EnvironmentArn(row.arn),
        scope=Scope(row.account, row.region),
        name=row.name,
        uuid=row.uuid,
        state=ResourceState(row.state),
        status=ResourceStatus(row.status),
        status_reason=row.status_reason,
        detail=codec.decode_object(row.detail),
        tags=codec.decode_tags(row.tags),
        cpu_milli_launched=row.cpu_milli_launched,
        launch_count=row.launch_count,
    )
