"""Which group and stream a request names (reference/integrations.md section 2.2)."""

import re

from batchyard.logs.limits import NAME_LENGTH_MAX
from batchyard.logs.refusals import invalid, invalid_value, no_group, no_stream
from batchyard.model.ids import Scope
from batchyard.model.records import Json
from batchyard.store import Connection
from batchyard.store.log_groups import LogGroup, LogStream, read_group, read_stream

GROUP_PATTERN = r"[\.\-_/#A-Za-z0-9]+"
STREAM_PATTERN = "[^:*]*"

_GROUP_ARN = re.compile(
    r"arn:[^:]+:logs:(?P<region>[^:]*):(?P<account>[^:]*):log-group:(?P<name>[^:]+)(?::\*)?"
)


def check_name(name: str, member: str, pattern: str) -> None:
    """Refuse a name that the service model does not allow."""
    if not name:
        raise invalid_value(name, member, "Member must have length greater than or equal to 1")
    if len(name) > NAME_LENGTH_MAX:
        raise invalid_value(
            name, member, f"Member must have length less than or equal to {NAME_LENGTH_MAX}"
        )
    if re.fullmatch(pattern, name) is None:
        raise invalid_value(
            name, member, f"Member must satisfy regular expression pattern: {pattern}"
        )


def group_arn(scope: Scope, name: str) -> str:
    """Spell the ARN of a group, without the `:*` that policies want."""
    return scope.arn("logs", f"log-group:{name}")


def group_name(scope: Scope, request: Json) -> str:
    """Give the group of a request that takes a name or an identifier: one of them, not both."""
    name, identifier = request.get("logGroupName"), request.get("logGroupIdentifier")
    if name and identifier:
        raise invalid("logGroupName and logGroupIdentifier cannot both be specified.")
    if name:
        return str(name)
    if not identifier:
        raise invalid("Either logGroupName or logGroupIdentifier must be specified.")
    return name_of_identifier(scope, identifier)


def name_of_identifier(scope: Scope, identifier: str) -> str:
    """Give the name in a group's name or ARN. Nothing is visible across accounts and regions."""
    if not identifier.startswith("arn:"):
        return identifier
    found = _GROUP_ARN.fullmatch(identifier)
    if found is None:
        raise invalid(f"Invalid log group identifier: {identifier}")
    if (found["account"], found["region"]) != (scope.account, scope.region):
        raise no_group()
    return found["name"]


def existing_group(conn: Connection, scope: Scope, name: str) -> LogGroup:
    """Read a group. Refuses one that does not exist."""
    group = read_group(conn, scope, name)
    if group is None:
        raise no_group()
    return group


def existing_stream(conn: Connection, group: LogGroup, name: str) -> LogStream:
    """Read a stream. Refuses one that does not exist."""
    stream = read_stream(conn, group.id, name)
    if stream is None:
        raise no_stream()
    return stream


def limit_of(request: Json, *, limit_max: int) -> int:
    """Give the page size asked for, or the largest. Refuses one outside."""
    limit = request.get("limit")
    if limit is None:
        return limit_max
    if limit < 1:
        raise invalid_value(limit, "limit", "Member must have value greater than or equal to 1")
    if limit > limit_max:
        raise invalid_value(
            limit, "limit", f"Member must have value less than or equal to {limit_max}"
        )
    return int(limit)
