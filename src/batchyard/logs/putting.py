"""Which events of a PutLogEvents are taken (reference/integrations.md section 2.2). Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from batchyard.logs.limits import (
    EVENT_BYTES_MAX,
    EVENTS_PER_PUT_MAX,
    MS_PER_DAY,
    PUT_AHEAD_MS_MAX,
    PUT_BEHIND_MS_MAX,
    PUT_BYTES_MAX,
    PUT_SPAN_MS_MAX,
)
from batchyard.logs.refusals import invalid, invalid_value
from batchyard.store.log_events import EVENT_OVERHEAD_BYTES

#: How the bytes of a character look, but its first.
_UTF8_MASK, _UTF8_FOLLOWING = 0xC0, 0x80

#: When, and the message in UTF-8.
Line = tuple[int, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What is taken of a batch, and AWS's numbers about the rest (None: none of that kind)."""

    lines: Sequence[Line]
    #: The first that is too new.
    too_new_start: int | None
    #: Beyond the last that is too old.
    too_old_end: int | None
    #: Beyond the last that is older than the group keeps.
    expired_end: int | None


def accept(lines: Sequence[Line], *, now_ms: int, retention_days: int | None) -> Accepted:
    """Take a batch. Refuses one that is out of order, too long or too large.

    Single events that are too old or too new are left out and named.
    """
    _check(lines)
    old_end = _count_before(lines, now_ms - PUT_BEHIND_MS_MAX)
    expired_end = 0
    if retention_days is not None:
        expired_end = _count_before(lines, now_ms - retention_days * MS_PER_DAY)
    new_start = _count_before(lines, now_ms + PUT_AHEAD_MS_MAX + 1)
    taken = lines[max(old_end, expired_end) : new_start]
    if taken and taken[-1][0] - taken[0][0] > PUT_SPAN_MS_MAX:
        raise invalid(
            "The batch of log events in a single PutLogEvents request cannot span more than"
            " 24 hours."
        )
    return Accepted(
        lines=taken,
        too_new_start=new_start if new_start < len(lines) else None,
        too_old_end=old_end or None,
        expired_end=expired_end or None,
    )


def split_line(message: bytes) -> Sequence[bytes]:
    """Cut a line that is longer than an event may be, never inside a character."""
    pieces = []
    while len(message) > EVENT_BYTES_MAX:
        cut = EVENT_BYTES_MAX
        while message[cut] & _UTF8_MASK == _UTF8_FOLLOWING:
            cut -= 1
        pieces.append(message[:cut])
        message = message[cut:]
    return [*pieces, message]


def _check(lines: Sequence[Line]) -> None:
    if not 0 < len(lines) <= EVENTS_PER_PUT_MAX:
        raise invalid_value(
            "logEvents",
            "logEvents",
            f"Member must have length between 1 and {EVENTS_PER_PUT_MAX}",
        )
    for _, message in lines:
        if not message:
            raise invalid_value(
                "",
                "logEvents.1.member.message",
                "Member must have length greater than or equal to 1",
            )
        if len(message) > EVENT_BYTES_MAX:
            raise invalid(
                f"Log event too large: {len(message)} bytes exceeds limit of {EVENT_BYTES_MAX}"
            )
    if any(later < earlier for (earlier, _), (later, _) in pairwise(lines)):
        raise invalid("Log events in a single PutLogEvents request must be in chronological order.")
    size = sum(len(message) + EVENT_OVERHEAD_BYTES for _, message in lines)
    if size > PUT_BYTES_MAX:
        raise invalid(f"Upload too large: {size} bytes exceeds limit of {PUT_BYTES_MAX}")


def _count_before(lines: Sequence[Line], at_ms: int) -> int:
    """Count the lines older than `at_ms`; they are in order."""
    return next((index for index, (when, _) in enumerate(lines) if when >= at_ms), len(lines))
