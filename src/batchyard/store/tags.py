"""Tags of anything that has an ARN of ours: jobs of both kinds, queues, environments of both kinds,
definitions, consumable resources, log groups.

Owns the way from an ARN to the row that carries its tags. Refuses to know which tags are allowed.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.sql.elements import ColumnElement

from batchyard.store import codec
from batchyard.store.schema import (
    consumables,
    definitions,
    environments,
    jobs,
    log_groups,
    policies,
    queues,
    quota_shares,
    service_environments,
)
from batchyard.store.statements import changed_rows

_ARN_PARTS = 6
_TABLE_BY_KIND = {
    "job-queue": queues,
    "compute-environment": environments,
    "service-environment": service_environments,
    "job-definition": definitions,
    "consumable-resource": consumables,
    "scheduling-policy": policies,
}


def read_tags(conn: Connection, arn: str) -> dict[str, str] | None:
    """Read the tags of a resource; None: there is no such resource."""
    found = _find(arn)
    if found is None:
        return None
    table, where = found
    row = conn.execute(select(table.c.tags).where(where)).one_or_none()
    return None if row is None else codec.decode_tags(row.tags)


def write_tags(conn: Connection, arn: str, tags: Mapping[str, str]) -> bool:
    """Replace the tags of a resource. False: there is no such resource."""
    found = _find(arn)
    if found is None:
        return False
    table, where = found
    statement = update(table).where(where).values(tags=codec.encode_tags(tags))
    return changed_rows(conn, statement) > 0


def _find(arn: str) -> tuple[Table, ColumnElement[Any]] | None:
    parts = arn.split(":", _ARN_PARTS - 1)
    if len(parts) < _ARN_PARTS:
        return None
    _, _, service, region, account, resource = parts
    if service == "logs":
        name = resource.removeprefix("log-group:").removesuffix(":*")
        return log_groups, _in_scope(log_groups, account, region) & (log_groups.c.name == name)
    kind, _, name = resource.partition("/")
    if kind == "job-queue" and "/" in name:
        return quota_shares, quota_shares.c.arn == arn
    if kind in ("job", "service-job"):
        is_service = jobs.c.service.is_not(None)
        of_kind = is_service if kind == "service-job" else ~is_service
        return jobs, _in_scope(jobs, account, region) & (jobs.c.id == name) & of_kind
    table = _TABLE_BY_KIND.get(kind)
    if table is None:
        return None
    where = table.c.arn == arn
    return table, where & consumables.c.is_deleted.is_(None) if table is consumables else where


def _in_scope(table: Table, account: str, region: str) -> ColumnElement[Any]:
    return (table.c.account == account) & (table.c.region == region)
