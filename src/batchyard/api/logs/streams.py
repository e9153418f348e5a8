"""Log streams: made, shown, deleted."""

from batchyard.api.logs.names import (
    STREAM_PATTERN,
    check_name,
    existing_group,
    existing_stream,
    group_arn,
    group_name,
    limit_of,
)
from batchyard.logs import LogStore
from batchyard.logs.limits import DESCRIBE_PAGE_MAX
from batchyard.logs.refusals import invalid, invalid_value, stream_exists
from batchyard.logs.tokens import read_page_token, write_page_token
from batchyard.model.records import Json
from batchyard.store import Connection
from batchyard.store import log_groups as groups
from batchyard.store.log_groups import LogStream
from batchyard.wire.call import Call

#: AWS shows a token though nothing reads it any more.
SEQUENCE_TOKEN = "49" + "0" * 54
_BY_NAME, _BY_TIME = "LogStreamName", "LastEventTime"


async def create_log_stream(logs: LogStore, call: Call, request: Json) -> Json:
    """Make an empty stream."""
    name: str = request["logStreamName"]
    check_name(name, "logStreamName", STREAM_PATTERN)

    def insert(conn: Connection) -> None:
        group = existing_group(conn, call.scope, request["logGroupName"])
        if not groups.insert_stream(conn, group.id, name, created_ms=call.now_ms):
            raise stream_exists()

    await logs.store.write(insert)
    return {}


async def delete_log_stream(logs: LogStore, call: Call, request: Json) -> Json:
    """Delete a stream with its events."""

    def delete(conn: Connection) -> None:
        group = existing_group(conn, call.scope, request["logGroupName"])
        groups.delete_stream(conn, existing_stream(conn, group, request["logStreamName"]))

    await logs.store.write(delete)
    return {}


async def describe_log_streams(logs: LogStore, call: Call, request: Json) -> Json:
    """Show a group's streams, by name or by the time of their last event."""
    scope = call.scope
    name = group_name(scope, request)
    order = request.get("orderBy") or _BY_NAME
    if order not in (_BY_NAME, _BY_TIME):
        raise invalid_value(
            order, "orderBy", f"Member must satisfy enum value set: [{_BY_NAME}, {_BY_TIME}]"
        )
    prefix = request.get("logStreamNamePrefix") or ""
    if prefix and order == _BY_TIME:
        raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    is_descending = bool(request.get("descending"))
    limit = limit_of(request, limit_max=DESCRIBE_PAGE_MAX)
    query = ("DescribeLogStreams", scope, name, order, prefix, is_descending)
    after = read_page_token(query, request.get("nextToken"))

    def read(conn: Connection) -> list[LogStream]:
        group = existing_group(conn, scope, name)
        if order == _BY_TIME:
            return groups.list_streams_by_time(
                conn,
                group.id,
                after=None if after is None else _time_place(after),
                is_descending=is_descending,
                limit=limit + 1,
            )
        return groups.list_streams_by_name(
            conn,
            group.id,
            prefix=prefix,
            after=after,
            is_descending=is_descending,
            limit=limit + 1,
        )

    found = await logs.store.read(read)
    arn = group_arn(scope, name)
    answer: Json = {"logStreams": [_shown(arn, stream) for stream in found[:limit]]}
    if len(found) > limit:
        last = found[limit - 1]
        place = f"{last.last_event_ms or 0}/{last.id}" if order == _BY_TIME else last.name
        answer["nextToken"] = write_page_token(query, place)
    return answer


def _time_place(place: str) -> tuple[int, int]:
    at_ms, _, number = place.partition("/")
    return int(at_ms), int(number)


def _shown(arn_of_group: str, stream: LogStream) -> Json:
    shown: Json = {
        "logStreamName": stream.name,
        "creationTime": stream.created_ms,
        "arn": f"{arn_of_group}:log-stream:{stream.name}",
        # AWS shows 0 for every stream since 2019.
        "storedBytes": 0,
        "uploadSequenceToken": SEQUENCE_TOKEN,
    }
    times = {
        "firstEventTimestamp": stream.first_event_ms,
        "lastEventTimestamp": stream.last_event_ms,
        "lastIngestionTime": stream.last_ingestion_ms,
    }
    shown.update((member, at_ms) for member, at_ms in times.items() if at_ms is not None)
    return shown
