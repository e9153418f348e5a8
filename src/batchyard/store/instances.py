"""Instances: slices of hosts, launched and ended by the engine.

Owns the table `instances`. The engine alone writes it. Refuses to know why one is launched.
"""

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from batchyard.model.ids import EnvironmentArn
from batchyard.model.instances import InstanceId
from batchyard.model.records import InstanceRecord, TerminationCause
from batchyard.store.schema import instances
from batchyard.store.statements import changed_rows

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(InstanceRecord).decode

_IS_LIVE = instances.c.terminated_ms.is_(None)
_READ_LIVE = select(instances.c.record).where(_IS_LIVE).order_by(instances.c.seq)
_BY_ID = select(instances.c.record).where(instances.c.id == bindparam("id"))
_OF_ENVIRONMENT = (
    select(instances.c.record)
    .where(_IS_LIVE, instances.c.environment_arn == bindparam("environment_arn"))
    .order_by(instances.c.seq)
)


def insert_instance(conn: Connection, record: InstanceRecord) -> None:
    """Keep a new instance."""
    values = {
        "id": record.id,
        "environment_arn": record.environment_arn,
        "record": _encode(record),
    }
    conn.execute(insert(instances).values(values))


def drain_instance(
    conn: Connection, instance_id: InstanceId, *, cause: TerminationCause, stop_ms: int | None
) -> None:
    """Note that nothing new is placed on an instance, and why."""
    _change(conn, instance_id, draining_for=cause, stop_ms=stop_ms)


def end_instance(
    conn: Connection, instance_id: InstanceId, *, at_ms: int, cause: TerminationCause
) -> None:
    """Note that an instance is gone, and why."""
    _change(conn, instance_id, terminated_ms=at_ms, cause=cause)


def _change(conn: Connection, instance_id: InstanceId, **changes: object) -> None:
    record = read_instance(conn, instance_id)
    if record is None:
        return
    changed = replace(record, **changes)
    conn.execute(
        update(instances)
        .where(instances.c.id == instance_id)
        .values(terminated_ms=changed.terminated_ms, record=_encode(changed))
    )


def read_instance(conn: Connection, instance_id: InstanceId) -> InstanceRecord | None:
    """Read one instance, also one that is gone."""
    stored = conn.scalars(_BY_ID, {"id": instance_id}).one_or_none()
    return None if stored is None else _decode(stored)


def read_live_instances(conn: Connection) -> list[InstanceRecord]:
    """Read all instances that are there, in the order of their launch."""
    return [_decode(stored) for stored in conn.scalars(_READ_LIVE)]


def page_instances(
    conn: Connection,
    arn_prefix: str,
    *,
    after_seq: int,
    limit: int,
    ended_after_ms: int | None,
) -> list[tuple[int, InstanceRecord]]:
    """Read instances with their numbers, in the order of their launch.

    Of environments whose ARN begins with `arn_prefix`: those that are there, and those that went
    after `ended_after_ms`; None: none of these.
    """
    query = (
        select(instances.c.seq, instances.c.record)
        .where(
            instances.c.seq > after_seq,
            instances.c.environment_arn.startswith(arn_prefix, autoescape=True),
        )
        .order_by(instances.c.seq)
        .limit(limit)
    )
    if ended_after_ms is None:
        query = query.where(_IS_LIVE)
    else:
        query = query.where(or_(_IS_LIVE, instances.c.terminated_ms > ended_after_ms))
    return [(row.seq, _decode(row.record)) for row in conn.execute(query)]


def list_instances(conn: Connection, environment_arn: EnvironmentArn) -> list[InstanceRecord]:
    """Read the instances of an environment, in the order of their launch."""
    found = conn.scalars(_OF_ENVIRONMENT, {"environment_arn": environment_arn})
    return [_decode(stored) for stored in found]


def delete_terminated_before(conn: Connection, at_ms: int) -> int:
    """Forget instances that ended before; tells how many."""
    return changed_rows(
        conn,
        delete(instances).where(
            instances.c.terminated_ms.is_not(None), instances.c.terminated_ms < at_ms
        ),
    )
