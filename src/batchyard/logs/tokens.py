"""Where the next page begins. Pure.

A token of GetLogEvents has CloudWatch's form: `f/…/s` for what comes after a place in the stream,
`b/…/s` for what comes before it. It names the place by time and event id, not by a count, so lines
that arrive in between shift nothing: the token at the end of a stream later gives the new lines and
only those.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import blake2b

from batchyard.logs.refusals import invalid_token
from batchyard.store.log_events import EventKey

_ID_BITS = 63
_TIME_BITS = 43
#: As many digits as CloudWatch's own tokens and event ids have.
_DIGITS = 56
_TOKEN = re.compile(rf"([fb])/([0-9]{{{_DIGITS}}})/s")

_DIGEST_BYTES = 8


def write_forward(stream_id: int, low: EventKey) -> str:
    """Make the token for the events of a stream from `low` on."""
    return f"f/{_number(stream_id, low)}/s"


def write_backward(stream_id: int, high: EventKey) -> str:
    """Make the token for the events of a stream before `high`."""
    return f"b/{_number(stream_id, high)}/s"


def read_token(text: str, stream_id: int) -> tuple[bool, EventKey]:
    """Give whether a token leads backward, and its place. Refuses one of another stream."""
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise invalid_token()
    number = int(found[2])
    if number >> (_ID_BITS + _TIME_BITS) != stream_id:
        raise invalid_token()
    at_ms = (number >> _ID_BITS) & (2**_TIME_BITS - 1)
    return found[1] == "b", (at_ms, number & (2**_ID_BITS - 1))


def both_ways(token: str) -> tuple[str, str]:
    """Give the tokens forward and backward from the place of a token: one of them is itself."""
    return f"f{token[1:]}", f"b{token[1:]}"


def event_id(key: EventKey) -> str:
    """Name an event: unique in its group, the same on every reading, in the order of events."""
    return _number(0, key)


def write_page_token(query: Sequence[object], place: str) -> str:
    """Make the token for the page of a list that begins beyond `place`."""
    raw = _digest(query) + place.encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


def read_page_token(query: Sequence[object], token: str | None) -> str | None:
    """Give the place in `token`, None for the first page. Refuses a token of another query."""
    if not token:
        return None
    try:
        raw = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
        place = raw[_DIGEST_BYTES:].decode()
    except (ValueError, Base64Error) as error:
        raise invalid_token() from error
    if raw[:_DIGEST_BYTES] != _digest(query):
        raise invalid_token()
    return place


def _number(stream_id: int, key: EventKey) -> str:
    number = (stream_id << (_ID_BITS + _TIME_BITS)) | (key[0] << _ID_BITS) | key[1]
    return f"{number:0{_DIGITS}d}"


def _digest(query: Sequence[object]) -> bytes:
    return blake2b(repr(tuple(query)).encode(), digest_size=_DIGEST_BYTES).digest()
