"""One HTTP request as received: nothing decoded, nothing believed."""

from collections.abc import Iterable

import msgspec


class HttpRequest(msgspec.Struct):
    """What the signature covers and the decoders read."""

    method: str
    #: As sent, still percent-encoded.
    raw_path: bytes
    #: As sent, without the `?`.
    query: bytes
    #: Names in lower case; a header sent twice is joined by commas.
    headers: dict[bytes, bytes]
    body: bytes = b""


def join_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Make a dict of header pairs whose names are in lower case."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        if name in headers:
            headers[name] = headers[name].strip() + b"," + value.strip()
        else:
            headers[name] = value
    return headers
