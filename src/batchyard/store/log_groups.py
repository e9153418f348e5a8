"""Log groups and log streams: what holds the output of jobs.

Owns the tables `log_groups` and `log_streams`, and `log_trash`, where deleted ones wait for their
events to be swept: deleting a group must not hold up a commit for millions of lines. Ids are never
used twice, so a group made anew under the same name begins empty at once. Refuses to know events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, tuple_, update

from batchyard.model.ids import Scope
from batchyard.model.records import Json
from batchyard.store import codec
from batchyard.store.schema import log_groups, log_streams, log_trash
from batchyard.store.statements import in_lists, insert_new

#: No name has a greater code point: the end of everything that begins with a prefix.
_LAST = "\U0010ffff"

_GROUP = select(log_groups).where(
    log_groups.c.account == bindparam("account"),
    log_groups.c.region == bindparam("region"),
    log_groups.c.name == bindparam("name"),
)
_STREAM = select(log_streams).where(
    log_streams.c.group_id == bindparam("group_id"), log_streams.c.name == bindparam("name")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogGroup:
    """A stored log group."""

    id: int
    scope: Scope
    name: str
    created_ms: int
    #: None: its events never expire.
    retention_days: int | None
    stored_bytes: int
    #: What it was created with besides: kmsKeyId, logGroupClass.
    detail: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGroup:
    """What a log group begins with."""

    created_ms: int
    detail: Json
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStream:
    """A stored log stream. The times are None while it never had an event."""

    id: int
    group_id: int
    name: str
    created_ms: int
    first_event_ms: int | None
    last_event_ms: int | None
    last_ingestion_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trash:
    """What was deleted: a stream, or a whole group."""

    id: int
    group_id: int
    stream_id: int | None


def insert_group(conn: Connection, scope: Scope, name: str, new: NewGroup) -> bool:
    """False: the name is taken, and nothing was written."""
    values = {
        "account": scope.account,
        "region": scope.region,
        "name": name,
        "created_ms": new.created_ms,
        "stored_bytes": 0,
        "detail": codec.encode_object(new.detail),
        "tags": codec.encode_tags(new.tags),
    }
    return insert_new(conn, log_groups, values)


def read_group(conn: Connection, scope: Scope, name: str) -> LogGroup | None:
    where = {"account": scope.account, "region": scope.region, "name": name}
    row = conn.execute(_GROUP, where).one_or_none()
    return None if row is None else _group_of(row)


def list_groups(
    conn: Connection, scope: Scope, *, prefix: str = "", after_name: str = "", limit: int
) -> list[LogGroup]:
    """Read a page of a scope's groups by name."""
    query = (
        select(log_groups)
        .where(
            log_groups.c.account == scope.account,
            log_groups.c.region == scope.region,
            log_groups.c.name > after_name,
            log_groups.c.name >= prefix,
            log_groups.c.name < prefix + _LAST,
        )
        .order_by(log_groups.c.name)
        .limit(limit)
    )
    return [_group_of(row) for row in conn.execute(query)]


def list_expiring_groups(conn: Connection) -> list[LogGroup]:
    """Read the groups, of all scopes, whose events expire."""
    query = select(log_groups).where(log_groups.c.retention_days.is_not(None))
    return [_group_of(row) for row in conn.execute(query.order_by(log_groups.c.id))]


def set_retention(conn: Connection, group_id: int, days: int | None) -> None:
    """None: events never expire."""
    conn.execute(update(log_groups).where(log_groups.c.id == group_id).values(retention_days=days))


def delete_group(conn: Connection, group_id: int) -> None:
    """Make a group vanish at once; what was in it is swept later."""
    conn.execute(delete(log_groups).where(log_groups.c.id == group_id))
    conn.execute(insert(log_trash).values(group_id=group_id, stream_id=None))


def insert_stream(conn: Connection, group_id: int, name: str, *, created_ms: int) -> bool:
    """False: the group has one of this name, and nothing was written."""
    values = {
        "group_id": group_id,
        "name": name,
        "created_ms": created_ms,
        "first_event_ms": 0,
        "last_event_ms": 0,
        "last_ingestion_ms": 0,
    }
    return insert_new(conn, log_streams, values)


def read_stream(conn: Connection, group_id: int, name: str) -> LogStream | None:
    row = conn.execute(_STREAM, {"group_id": group_id, "name": name}).one_or_none()
    return None if row is None else _stream_of(row)


def list_streams_by_name(  # noqa: PLR0913 - what narrows a page, by name
    conn: Connection,
    group_id: int,
    *,
    prefix: str = "",
    after: str | None = None,
    is_descending: bool = False,
    limit: int,
) -> list[LogStream]:
    """Read a page of a group's streams by name; `after` is the last name of the page before."""
    name = log_streams.c.name
    query = select(log_streams).where(
        log_streams.c.group_id == group_id, name >= prefix, name < prefix + _LAST
    )
    if after is not None:
        query = query.where(name < after if is_descending else name > after)
    query = query.order_by(name.desc() if is_descending else name).limit(limit)
    return [_stream_of(row) for row in conn.execute(query)]


def list_streams_by_time(
    conn: Connection,
    group_id: int,
    *,
    after: tuple[int, int] | None = None,
    is_descending: bool = False,
    limit: int,
) -> list[LogStream]:
    """Read a page of a group's streams by their last event; those without one are the oldest.

    `after` is the last event's time (0 for none) and the id of the last stream of the page before.
    """
    time, number = log_streams.c.last_event_ms, log_streams.c.id
    query = select(log_streams).where(log_streams.c.group_id == group_id)
    if after is not None:
        here = tuple_(time, number)
        there = tuple_(*after)
        query = query.where(here < there if is_descending else here > there)
    order = (time.desc(), number.desc()) if is_descending else (time, number)
    return [_stream_of(row) for row in conn.execute(query.order_by(*order).limit(limit))]


def read_stream_names(conn: Connection, ids: list[int]) -> dict[int, str]:
    """Name streams by id."""
    return {
        row.id: row.name
        for piece in in_lists(ids)
        for row in conn.execute(
            select(log_streams.c.id, log_streams.c.name).where(log_streams.c.id.in_(piece))
        )
    }


def delete_stream(conn: Connection, stream: LogStream) -> None:
    """Make a stream vanish at once; its events are swept later."""
    conn.execute(delete(log_streams).where(log_streams.c.id == stream.id))
    conn.execute(insert(log_trash).values(group_id=stream.group_id, stream_id=stream.id))


def read_trash(conn: Connection) -> Trash | None:
    """Read what was deleted longest ago and is not swept yet."""
    row = conn.execute(select(log_trash).order_by(log_trash.c.id).limit(1)).one_or_none()
    if row is None:
        return None
    return Trash(id=row.id, group_id=row.group_id, stream_id=row.stream_id)


def delete_streams_of_group(conn: Connection, group_id: int, limit: int) -> int:
    """Delete up to `limit` streams of a group that is itself gone."""
    ids = conn.scalars(
        select(log_streams.c.id).where(log_streams.c.group_id == group_id).limit(limit)
    ).all()
    for piece in in_lists(ids):
        conn.execute(delete(log_streams).where(log_streams.c.id.in_(piece)))
    return len(ids)


def settle_trash(conn: Connection, trash: Trash) -> None:
    """Say that nothing is left of it."""
    conn.execute(delete(log_trash).where(log_trash.c.id == trash.id))


def _group_of(row: Row[*tuple[Any, ...]]) -> LogGroup:
    return LogGroup(
        id=row.id,
        scope=Scope(row.account, row.region),
        name=row.name,
        created_ms=row.created_ms,
        retention_days=row.retention_days,
        stored_bytes=row.stored_bytes,
        detail=codec.decode_object(row.detail),
    )


def _stream_of(row: Row[*tuple[Any, ...]]) -> LogStream:
    return LogStream(
        id=row.id,
        group_id=row.group_id,
        name=row.name,
        created_ms=row.created_ms,
        first_event_ms=row.first_event_ms or None,
        last_event_ms=row.last_event_ms or None,
        last_ingestion_ms=row.last_ingestion_ms or None,
    )
