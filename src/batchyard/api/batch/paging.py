"""Pages of long answers: how many entries, and where the next page begins. Pure.

A token is opaque, names a position (a sequence number, so that pages stay stable while things come
and go) and is bound to the query it was given for: with another query it is refused.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import blake2b

from batchyard.model.refusal import client_exception

_DIGEST_BYTES = 8
_POSITION_BYTES = 8
#: The largest number that every database has room for.
_POSITION_MAX = 2**63 - 1


def page_size(asked: int | None, *, size_max: int) -> int:
    """Give the number of entries of a page, at most the limit. Refuses less than 1."""
    if asked is None:
        return size_max
    if asked < 1:
        raise client_exception(f"maxResults must be between 1 and {size_max}.")
    return min(asked, size_max)


def write_token(query: Sequence[object], position: int) -> str:
    """Make the token for the page that begins after `position` of the answer to `query`."""
    raw = _digest(query) + position.to_bytes(_POSITION_BYTES, "big")
    return urlsafe_b64encode(raw).decode().rstrip("=")


def write_named_token(query: Sequence[object], name: str, position: int) -> str:
    """Make the token for the page of an answer in order of names, after one name's `position`."""
    raw = _digest(query) + position.to_bytes(_POSITION_BYTES, "big") + name.encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


def read_named_token(query: Sequence[object], token: str | None) -> tuple[str, int] | None:
    """Give name and position in `token`, None for the first page. Refuses like `read_token`."""
    if not token:
        return None
    position, rest = _read(query, token)
    try:
        return rest.decode(), position
    except UnicodeDecodeError as error:
        raise _invalid() from error


def read_token(query: Sequence[object], token: str | None) -> int | None:
    """Give the position in `token`, None for the first page. Refuses a token of another query."""
    if not token:
        return None
    position, rest = _read(query, token)
    if rest:
        raise _invalid()
    return position


def _read(query: Sequence[object], token: str) -> tuple[int, bytes]:
    """Give the position in `token` and what follows it."""
    try:
        raw = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
    except (ValueError, Base64Error) as error:
        raise _invalid() from error
    end = _DIGEST_BYTES + _POSITION_BYTES
    position = int.from_bytes(raw[_DIGEST_BYTES:end], "big")
    if len(raw) < end or raw[:_DIGEST_BYTES] != _digest(query) or position > _POSITION_MAX:
        raise _invalid()
    return position, raw[end:]


def _digest(query: Sequence[object]) -> bytes:
    return blake2b(repr(tuple(query)).encode(), digest_size=_DIGEST_BYTES).digest()


def _invalid() -> Exception:
    return client_exception("nextToken is not valid for this request.")
