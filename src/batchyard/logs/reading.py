"""Pages of events: GetLogEvents and FilterLogEvents (reference/integrations.md section 2.2, 2.3).

Owns how much goes into a page and where the next one begins. Refuses to know requests and answers.
Functions of a connection, to be run by `Store.read_long`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import merge

from batchyard.logs.limits import MS_PER_DAY, PAGE_BYTES_MAX, SCAN_EVENTS_MAX
from batchyard.store import Connection
from batchyard.store.log_events import END_KEY, EventKey, LogEvent, Slice, read_slice
from batchyard.store.log_groups import LogGroup, read_stream_names

#: Rows read at a time. At 256 KiB a message the smaller one is still only 25 MiB.
_FIRST_BATCH = 100
_NEXT_BATCH = 1000


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """An event, and the name of its stream."""

    event: LogEvent
    stream_name: str


@dataclass(frozen=True, slots=True)
class FilterPage:
    found: Sequence[FoundEvent]
    #: The first event that was not looked at; None: there is none.
    next_key: EventKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which events of the slices go into a page."""

    matches: Callable[[str], bool]
    #: Of the stream.
    name_prefix: str = ""
    limit: int


def key_range(
    group: LogGroup, now_ms: int, *, from_ms: int, to_ms: int | None
) -> tuple[EventKey, EventKey]:
    """Give the events from `from_ms` (inclusive) to `to_ms` (exclusive) that have not expired."""
    if group.retention_days is not None:
        from_ms = max(from_ms, now_ms - group.retention_days * MS_PER_DAY)
    high = END_KEY if to_ms is None else min((to_ms, 0), END_KEY)
    return min((from_ms, 0), END_KEY), high


def after(key: EventKey) -> EventKey:
    """Give the place right behind an event."""
    return key[0], key[1] + 1


def read_page(conn: Connection, part: Slice, limit: int) -> list[LogEvent]:
    """Read the next page of a slice, in the slice's direction: up to `limit` events or 1 MiB."""
    page: list[LogEvent] = []
    byte_count = 0
    for event in walk(conn, part, batch=min(limit, _FIRST_BATCH)):
        byte_count += event.size
        if page and byte_count > PAGE_BYTES_MAX:
            break
        page.append(event)
        if len(page) == limit:
            break
    return page


def filter_page(conn: Connection, parts: Sequence[Slice], wanted: Wanted) -> FilterPage:
    """Search slices, merged by time, for events that match: up to a page, or as far as one call
    goes.

    A page may be empty although more may follow: then `next_key` says where to go on.
    """
    found: list[FoundEvent] = []
    byte_count = 0
    names: dict[int, str] = {}
    for examined, event in enumerate(_merged(conn, parts)):
        if examined == SCAN_EVENTS_MAX:
            return FilterPage(found, event.key)
        if not wanted.matches(event.message):
            continue
        if event.stream_id not in names:
            names.update(read_stream_names(conn, [event.stream_id]))
        # A stream that was just deleted has no name any more: its events are gone too.
        name = names.get(event.stream_id)
        if name is None or not name.startswith(wanted.name_prefix):
            continue
        byte_count += event.size
        if len(found) == wanted.limit or (found and byte_count > PAGE_BYTES_MAX):
            return FilterPage(found, event.key)
        found.append(FoundEvent(event, name))
    return FilterPage(found, None)


def walk(conn: Connection, part: Slice, *, batch: int) -> Iterator[LogEvent]:
    """Go through a slice in its direction, some rows at a time."""
    while rows := read_slice(conn, part, batch):
        yield from rows
        if len(rows) < batch:
            return
        last = rows[-1].key
        part = replace(part, high=last) if part.is_descending else replace(part, low=after(last))
        batch = max(batch, _next_batch(rows))


def _merged(conn: Connection, parts: Sequence[Slice]) -> Iterator[LogEvent]:
    if not parts:
        return iter(())
    batch = max(1, _FIRST_BATCH // len(parts))
    walks = [walk(conn, part, batch=batch) for part in parts]
    return merge(*walks, key=lambda event: event.key, reverse=parts[0].is_descending)


def _next_batch(rows: Sequence[LogEvent]) -> int:
    """Read as many rows as fill a page, if the next are as long as these."""
    size_mean = sum(row.size for row in rows) // len(rows)
    return min(_NEXT_BATCH, max(1, PAGE_BYTES_MAX // size_mean))
