"""Job definitions: one row per revision.

Owns the tables `definitions` and `definition_names`. Refuses to know what a definition says.
A revision number is given once: the counter of a name outlives its revisions, and its row is locked
from the increment to the COMMIT, so that two processes never draw the same number.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from batchyard.model.ids import DefinitionArn, Scope
from batchyard.model.records import DefinitionRecord, Json
from batchyard.model.status import DefinitionStatus
from batchyard.store import codec
from batchyard.store.schema import definition_names, definitions
from batchyard.store.statements import changed_rows, insert_into

_BY_ARN = select(definitions).where(definitions.c.arn == bindparam("arn"))
_LATEST = (
    select(definitions)
    .where(
        definitions.c.account == bindparam("account"),
        definitions.c.region == bindparam("region"),
        definitions.c.name == bindparam("name"),
        definitions.c.status == DefinitionStatus.ACTIVE.value,
    )
    .order_by(definitions.c.seq.desc())
    .limit(1)
)


def register_definition(
    conn: Connection, scope: Scope, name: str, detail: Json, tags: Mapping[str, str]
) -> DefinitionRecord:
    """Store the next revision of a name as ACTIVE; the first is 1."""
    revision = _next_revision(conn, scope, name)
    arn = scope.definition_arn(name, revision)
    values = {
        "account": scope.account,
        "region": scope.region,
        "name": name,
        "revision": revision,
        "arn": arn,
        "status": DefinitionStatus.ACTIVE.value,
        "detail": codec.encode_object(detail),
        "tags": codec.encode_tags(tags),
    }
    seq = conn.scalars(insert(definitions).values(values).returning(definitions.c.seq)).one()
    return DefinitionRecord(
        seq=seq,
        arn=arn,
        scope=scope,
        name=name,
        revision=revision,
        status=DefinitionStatus.ACTIVE,
        detail=detail,
        tags=dict(tags),
    )


def read_definition(conn: Connection, arn: DefinitionArn) -> DefinitionRecord | None:
    row = conn.execute(_BY_ARN, {"arn": arn}).one_or_none()
    return None if row is None else _record_of(row)


def latest_active(conn: Connection, scope: Scope, name: str) -> DefinitionRecord | None:
    """Read what a name without a revision means: the newest revision that is ACTIVE."""
    where = {"account": scope.account, "region": scope.region, "name": name}
    row = conn.execute(_LATEST, where).one_or_none()
    return None if row is None else _record_of(row)


def list_definitions(  # noqa: PLR0913 - what narrows a page, by name
    conn: Connection,
    scope: Scope,
    *,
    name: str | None = None,
    status: DefinitionStatus | None = None,
    before_seq: int | None = None,
    limit: int,
) -> list[DefinitionRecord]:
    """Read a page of a scope's definitions, newest first."""
    query = select(definitions).where(
        definitions.c.account == scope.account, definitions.c.region == scope.region
    )
    if name is not None:
        query = query.where(definitions.c.name == name)
    if status is not None:
        query = query.where(definitions.c.status == status.value)
    if before_seq is not None:
        query = query.where(definitions.c.seq < before_seq)
    return _records(conn.execute(query.order_by(definitions.c.seq.desc()).limit(limit)))


def set_definition_status(conn: Connection, arn: DefinitionArn, status: DefinitionStatus) -> bool:
    """False: there is no such revision."""
    statement = update(definitions).where(definitions.c.arn == arn).values(status=status.value)
    return changed_rows(conn, statement) > 0


def write_tags(conn: Connection, arn: DefinitionArn, tags: Mapping[str, str]) -> bool:
    """Replace the tags of a revision. False: there is no such revision."""
    statement = (
        update(definitions).where(definitions.c.arn == arn).values(tags=codec.encode_tags(tags))
    )
    return changed_rows(conn, statement) > 0


def _next_revision(conn: Connection, scope: Scope, name: str) -> int:
    key = {"account": scope.account, "region": scope.region, "name": name}
    counter = definition_names.c.last_revision
    statement = (
        insert_into(conn, definition_names)
        .values(**key, last_revision=1)
        .on_conflict_do_update(index_elements=list(key), set_={"last_revision": counter + 1})
        .returning(counter)
    )
    return int(conn.scalars(statement).one())


def _records(rows: Iterable[Row[*tuple[Any, ...]]]) -> list[DefinitionRecord]:
    return [_record_of(row) for row in rows]


def _record_of(row: Row[*tuple[Any, ...]]) -> DefinitionRecord:
    return DefinitionRecord(
        seq=row.seq,
        arn=DefinitionArn(row.arn),
        scope=Scope(row.account, row.region),
        name=row.name,
        revision=row.revision,
        status=DefinitionStatus(row.status),
        detail=codec.decode_object(row.detail),
        tags=codec.decode_tags(row.tags),
    )
