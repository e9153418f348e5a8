"""Log groups: made, shown, given a retention, deleted."""

from batchyard.api.logs.names import (
    GROUP_PATTERN,
    check_name,
    existing_group,
    group_arn,
    limit_of,
    name_of_identifier,
)
from batchyard.logs import LogStore
from batchyard.logs.limits import DESCRIBE_PAGE_MAX, RETENTION_DAYS
from batchyard.logs.refusals import group_exists, invalid, invalid_value
from batchyard.logs.tokens import read_page_token, write_page_token
from batchyard.model.ids import Scope
from batchyard.model.limits import TAGS_PER_RESOURCE_MAX
from batchyard.model.records import Json
from batchyard.store import Connection
from batchyard.store import log_groups as groups
from batchyard.store.log_groups import LogGroup
from batchyard.wire.call import Call

_CLASSES = ("STANDARD", "INFREQUENT_ACCESS", "DELIVERY")
_CLASS_DEFAULT = "STANDARD"


async def create_log_group(logs: LogStore, call: Call, request: Json) -> Json:
    """Make an empty group whose events never expire."""
    name: str = request["logGroupName"]
    check_name(name, "logGroupName", GROUP_PATTERN)
    tags = request.get("tags", {})
    if len(tags) > TAGS_PER_RESOURCE_MAX:
        raise invalid_value(
            tags, "tags", f"Member must have length less than or equal to {TAGS_PER_RESOURCE_MAX}"
        )
    group_class = request.get("logGroupClass") or _CLASS_DEFAULT
    if group_class not in _CLASSES:
        raise invalid_value(
            group_class,
            "logGroupClass",
            f"Member must satisfy enum value set: [{', '.join(_CLASSES)}]",
        )
    for member in ("kmsKeyId", "deletionProtectionEnabled"):
        if request.get(member):
            raise invalid(f"{member} is not supported by batchyard")
    new = groups.NewGroup(created_ms=call.now_ms, detail={"logGroupClass": group_class}, tags=tags)

    def insert(conn: Connection) -> None:
        if not groups.insert_group(conn, call.scope, name, new):
            raise group_exists()

    await logs.store.write(insert)
    return {}


async def delete_log_group(logs: LogStore, call: Call, request: Json) -> Json:
    """Delete a group with everything in it."""

    def delete(conn: Connection) -> None:
        groups.delete_group(conn, existing_group(conn, call.scope, request["logGroupName"]).id)

    await logs.store.write(delete)
    return {}


async def put_retention_policy(logs: LogStore, call: Call, request: Json) -> Json:
    """Let events expire. What has expired is invisible at once and swept later."""
    days = request["retentionInDays"]
    if days not in RETENTION_DAYS:
        allowed = ", ".join(map(str, RETENTION_DAYS))
        raise invalid_value(
            days, "retentionInDays", f"Member must satisfy enum value set: [{allowed}]"
        )
    return await _set_retention(logs, call.scope, request["logGroupName"], days)


async def delete_retention_policy(logs: LogStore, call: Call, request: Json) -> Json:
    """Let events never expire."""
    return await _set_retention(logs, call.scope, request["logGroupName"], None)


async def describe_log_groups(logs: LogStore, call: Call, request: Json) -> Json:
    """Show groups by name. A prefix that no group has gives an empty list."""
    scope = call.scope
    prefix, pattern = request.get("logGroupNamePrefix"), request.get("logGroupNamePattern")
    if prefix and pattern:
        raise invalid(
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters."
        )
    limit = limit_of(request, limit_max=DESCRIBE_PAGE_MAX)
    identifiers = request.get("logGroupIdentifiers", [])
    wanted_class = request.get("logGroupClass")
    query = ("DescribeLogGroups", scope, prefix, pattern, identifiers, wanted_class)
    after = read_page_token(query, request.get("nextToken")) or ""
    names = {name_of_identifier(scope, each) for each in identifiers}

    def fits(group: LogGroup) -> bool:
        return (
            (not pattern or pattern in group.name)
            and (not names or group.name in names)
            and (not wanted_class or group.detail.get("logGroupClass") == wanted_class)
        )

    def read(conn: Connection) -> list[LogGroup]:
        found: list[LogGroup] = []
        begin = after
        while len(found) <= limit:
            page = groups.list_groups(
                conn, scope, prefix=prefix or "", after_name=begin, limit=limit + 1
            )
            found += filter(fits, page)
            if len(page) <= limit:
                break
            begin = page[-1].name
        return found

    found = await logs.store.read_long(read)
    answer: Json = {"logGroups": [_shown(group) for group in found[:limit]]}
    if len(found) > limit:
        answer["nextToken"] = write_page_token(query, found[limit - 1].name)
    return answer


async def _set_retention(logs: LogStore, scope: Scope, name: str, days: int | None) -> Json:
    def write(conn: Connection) -> None:
        groups.set_retention(conn, existing_group(conn, scope, name).id, days)

    await logs.store.write(write)
    return {}


def _shown(group: LogGroup) -> Json:
    arn = group_arn(group.scope, group.name)
    shown: Json = {
        "logGroupName": group.name,
        "creationTime": group.created_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": group.stored_bytes,
        "logGroupClass": _CLASS_DEFAULT,
        **group.detail,
    }
    if group.retention_days is not None:
        shown["retentionInDays"] = group.retention_days
    return shown
