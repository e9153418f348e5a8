"""Log events: put, read by stream, searched by group."""

from collections.abc import Sequence
from dataclasses import replace

from batchyard.api.logs.names import existing_group, existing_stream, group_name, limit_of
from batchyard.api.logs.streams import SEQUENCE_TOKEN
from batchyard.logs import LogStore, reading, tokens
from batchyard.logs.filter_pattern import parse_pattern
from batchyard.logs.limits import EVENTS_PER_PAGE_MAX, STREAM_NAMES_PER_FILTER_MAX
from batchyard.logs.putting import Accepted, accept
from batchyard.logs.refusals import invalid, invalid_token, invalid_value
from batchyard.model.records import Json
from batchyard.store import Connection
from batchyard.store.log_events import EventKey, LogEvent, Slice, append_log_events
from batchyard.store.log_groups import LogGroup, list_streams_by_name
from batchyard.wire.call import Call

#: 2024-01-01: AWS reads from the end only where the search begins later.
_BACKWARD_FROM_MS_MIN = 1_704_067_200_000


async def put_log_events(logs: LogStore, call: Call, request: Json) -> Json:
    """Store events of a caller. Some may be rejected one by one; the answer then says which."""
    lines = [
        (int(each["timestamp"]), str(each["message"]).encode(errors="replace"))
        for each in request["logEvents"]
    ]

    def write(conn: Connection) -> Accepted:
        group = existing_group(conn, call.scope, request["logGroupName"])
        stream = existing_stream(conn, group, request["logStreamName"])
        accepted = accept(lines, now_ms=call.now_ms, retention_days=group.retention_days)
        append_log_events(
            conn,
            group_id=group.id,
            stream_id=stream.id,
            lines=accepted.lines,
            ingestion_ms=call.now_ms,
        )
        return accepted

    accepted = await logs.store.write(write)
    rejected = {
        "tooNewLogEventStartIndex": accepted.too_new_start,
        "tooOldLogEventEndIndex": accepted.too_old_end,
        "expiredLogEventEndIndex": accepted.expired_end,
    }
    info = {member: index for member, index in rejected.items() if index is not None}
    answer: Json = {"nextSequenceToken": SEQUENCE_TOKEN}
    if info:
        answer["rejectedLogEventsInfo"] = info
    return answer


async def get_log_events(logs: LogStore, call: Call, request: Json) -> Json:
    """Read a stream, a page at a time, in both directions.

    At an end the token that was sent comes back: the only sign of it. It goes on being valid, and
    later gives what has arrived since.
    """
    name = group_name(call.scope, request)
    limit = limit_of(request, limit_max=EVENTS_PER_PAGE_MAX)
    is_backward = not request.get("startFromHead", False)
    from_ms, to_ms = _times(request)
    token = request.get("nextToken")

    def read(conn: Connection) -> tuple[Slice, list[LogEvent]]:
        group = existing_group(conn, call.scope, name)
        stream = existing_stream(conn, group, request["logStreamName"])
        low, high = reading.key_range(group, call.now_ms, from_ms=from_ms, to_ms=to_ms)
        part = Slice(
            group_id=group.id, stream_id=stream.id, low=low, high=high, is_descending=is_backward
        )
        if token:
            part = _beyond(part, *tokens.read_token(token, stream.id))
        page = reading.read_page(conn, part, limit)
        return part, page[::-1] if part.is_descending else page

    part, page = await logs.store.read_long(read)
    assert part.stream_id is not None
    low, high = (page[0].key, reading.after(page[-1].key)) if page else (part.low, part.low)
    forward = tokens.write_forward(part.stream_id, high)
    backward = tokens.write_backward(part.stream_id, low)
    if token and not page:
        # The token itself, and the place it names seen from the other side.
        forward, backward = tokens.both_ways(token)
    return {
        "events": [_shown(event) for event in page],
        "nextForwardToken": forward,
        "nextBackwardToken": backward,
    }


async def filter_log_events(logs: LogStore, call: Call, request: Json) -> Json:
    """Search a group, or some of its streams, by time. Done when there is no next token."""
    scope = call.scope
    group_of = group_name(scope, request)
    names: Sequence[str] = request.get("logStreamNames", [])
    prefix: str = request.get("logStreamNamePrefix") or ""
    if names and prefix:
        raise invalid("LogStreamNames and LogStreamNamePrefix are mutually exclusive parameters.")
    if len(names) > STREAM_NAMES_PER_FILTER_MAX:
        raise invalid_value(
            names,
            "logStreamNames",
            f"Member must have length less than or equal to {STREAM_NAMES_PER_FILTER_MAX}",
        )
    matches = parse_pattern(request.get("filterPattern"))
    limit = limit_of(request, limit_max=EVENTS_PER_PAGE_MAX)
    from_ms, to_ms = _times(request)
    query = ("FilterLogEvents", scope, group_of, names, prefix, request.get("filterPattern"))
    place = tokens.read_page_token(query, request.get("nextToken"))
    is_descending = _is_descending(request, from_ms)

    def read(conn: Connection) -> tuple[Slice, reading.FilterPage]:
        group = existing_group(conn, scope, group_of)
        low, high = reading.key_range(
            group, call.now_ms, from_ms=from_ms, to_ms=None if to_ms is None else to_ms + 1
        )
        whole = Slice(
            group_id=group.id, stream_id=None, low=low, high=high, is_descending=is_descending
        )
        if place is not None:
            whole = _beyond(whole, *_read_place(place))
        parts, name_prefix = _parts(conn, group, whole, names=names, prefix=prefix)
        wanted = reading.Wanted(matches=matches, name_prefix=name_prefix, limit=limit)
        return whole, reading.filter_page(conn, parts, wanted)

    whole, page = await logs.store.read_long(read)
    answer: Json = {
        "events": [
            {
                "logStreamName": found.stream_name,
                **_shown(found.event),
                "eventId": tokens.event_id(found.event.key),
            }
            for found in page.found
        ],
        # AWS leaves it empty since 2022.
        "searchedLogStreams": [],
    }
    if page.next_key is not None:
        next_place = _write_place(page.next_key, is_backward=whole.is_descending)
        answer["nextToken"] = tokens.write_page_token(query, next_place)
    return answer


def _beyond(part: Slice, is_backward: bool, key: EventKey) -> Slice:
    """Go on in the direction and from the place of a token; it never leads out of the slice."""
    if is_backward:
        return replace(part, high=min(part.high, key), is_descending=True)
    return replace(part, low=max(part.low, key), is_descending=False)


def _parts(
    conn: Connection, group: LogGroup, whole: Slice, *, names: Sequence[str], prefix: str
) -> tuple[Sequence[Slice], str]:
    """Give the slices to search, and the prefix that is left to be checked on each event.

    Few streams are searched each by itself; many, by walking through the group.
    """
    if names:
        streams = [existing_stream(conn, group, name) for name in dict.fromkeys(names)]
    elif prefix:
        streams = list_streams_by_name(
            conn, group.id, prefix=prefix, limit=STREAM_NAMES_PER_FILTER_MAX + 1
        )
        if len(streams) > STREAM_NAMES_PER_FILTER_MAX:
            return [whole], prefix
    else:
        return [whole], ""
    return [replace(whole, stream_id=stream.id) for stream in streams], ""


def _times(request: Json) -> tuple[int, int | None]:
    for member in ("startTime", "endTime"):
        if (request.get(member) or 0) < 0:
            raise invalid_value(
                request[member], member, "Member must have value greater than or equal to 0"
            )
    return request.get("startTime") or 0, request.get("endTime")


def _is_descending(request: Json, from_ms: int) -> bool:
    is_descending = not request.get("startFromHead", True)
    if is_descending and from_ms < _BACKWARD_FROM_MS_MIN:
        raise invalid(
            "startFromHead false is supported only when startTime is on or after"
            " Jan 1, 2024 00:00:00 UTC."
        )
    return is_descending


def _write_place(key: EventKey, *, is_backward: bool) -> str:
    """Name the place of the first event that was not looked at."""
    if is_backward:
        at_ms, number = reading.after(key)
        return f"b/{at_ms}/{number}"
    return f"f/{key[0]}/{key[1]}"


def _read_place(place: str) -> tuple[bool, EventKey]:
    try:
        direction, at_ms, number = place.split("/")
        return direction == "b", (int(at_ms), int(number))
    except ValueError as error:
        raise invalid_token() from error


def _shown(event: LogEvent) -> Json:
    return {
        "timestamp": event.at_ms,
        "message": event.message,
        "ingestionTime": event.ingestion_ms,
    }
