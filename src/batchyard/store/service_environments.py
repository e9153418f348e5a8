"""Service environments.

Owns the table `service_environments`. The API inserts and asks (CREATING, UPDATING, DELETING), the
engine settles and deletes. Refuses to know what a status means, and what an environment may use.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypedDict, Unpack

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update

from batchyard.model.ids import EnvironmentArn, Scope
from batchyard.model.records import Json
from batchyard.model.service_records import ServiceEnvironmentRecord
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import codec
from batchyard.store.environments import IN_TRANSITION
from batchyard.store.schema import service_environments
from batchyard.store.statements import changed_rows, insert_new

_ALL = select(service_environments).order_by(service_environments.c.seq)
_BY_ARN = select(service_environments).where(service_environments.c.arn == bindparam("arn"))
_TRANSITION = _ALL.where(service_environments.c.status.in_(IN_TRANSITION))


class NewServiceEnvironment(TypedDict):
    """A service environment as the API asks for it; its status is CREATING."""

    arn: EnvironmentArn
    scope: Scope
    name: str
    state: ResourceState
    detail: Json
    tags: Mapping[str, str]


def insert_service_environment(conn: Connection, **new: Unpack[NewServiceEnvironment]) -> bool:
    """Ask for an environment. False: the name is taken, and nothing was written."""
    values = {
        "arn": new["arn"],
        "account": new["scope"].account,
        "region": new["scope"].region,
        "name": new["name"],
        "state": new["state"].value,
        "status": ResourceStatus.CREATING.value,
        "detail": codec.encode_object(new["detail"]),
        "tags": codec.encode_tags(new["tags"]),
    }
    return insert_new(conn, service_environments, values)


def read_service_environment(
    conn: Connection, arn: EnvironmentArn
) -> ServiceEnvironmentRecord | None:
    row = conn.execute(_BY_ARN, {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def list_service_environments(
    conn: Connection, scope: Scope, after_seq: int, limit: int
) -> list[ServiceEnvironmentRecord]:
    """Read a page of a scope's environments in the order of their creation."""
    query = (
        _ALL.where(
            service_environments.c.account == scope.account,
            service_environments.c.region == scope.region,
            service_environments.c.seq > after_seq,
        )
    ).limit(limit)
    return _records(conn.execute(query))


def count_service_environments(conn: Connection, scope: Scope) -> int:
    query = select(func.count()).where(
        service_environments.c.account == scope.account,
        service_environments.c.region == scope.region,
    )
    return conn.scalars(query).one()


def read_service_environments_in_transition(conn: Connection) -> list[ServiceEnvironmentRecord]:
    """Read what the engine has to settle, of all scopes."""
    return _records(conn.execute(_TRANSITION))


def read_all_service_environments(conn: Connection) -> list[ServiceEnvironmentRecord]:
    """Read the environments of all scopes: the engine's start."""
    return _records(conn.execute(_ALL))


def ask_service_environment(
    conn: Connection,
    arn: EnvironmentArn,
    status: ResourceStatus,
    *,
    state: ResourceState,
    detail: Json,
) -> None:
    """Ask the engine to look at an environment that is to be so."""
    conn.execute(
        update(service_environments)
        .where(service_environments.c.arn == arn)
        .values(status=status.value, state=state.value, detail=codec.encode_object(detail))
    )


def settle_service_environment(conn: Connection, arn: EnvironmentArn) -> None:
    """Say that the engine goes by the environment as it is."""
    conn.execute(
        update(service_environments)
        .where(service_environments.c.arn == arn)
        .values(status=ResourceStatus.VALID.value)
    )


def delete_service_environment(conn: Connection, arn: EnvironmentArn) -> bool:
    """False: there was no such environment."""
    statement = delete(service_environments).where(service_environments.c.arn == arn)
    return changed_rows(conn, statement) > 0


def _records(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[ServiceEnvironmentRecord]:
    return [_record_of(row) for row in rows]


def _record_of(row: Row[*tuple[Any, ...]]) -> ServiceEnvironmentRecord:
    return ServiceEnvironmentRecord(
        seq=row.seq,
        arn=EnvironmentArn(row.arn),
        scope=Scope(row.account, row.region),
        name=row.name,
        state=ResourceState(row.state),
        status=ResourceStatus(row.status),
        detail=codec.decode_object(row.detail),
        tags=codec.decode_tags(row.tags),
    )
