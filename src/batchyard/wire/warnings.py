"""What a caller is told beside an answer: a header of ours, and a line in the log.

Decides the form of both. Refuses to know what is wrong. AWS's answer stays as it is; a client that
does not look for the header sees nothing of it.
"""

import re

import structlog

from batchyard.wire.call import Call

WARNING_HEADER = b"x-batchyard-warning"
#: Ours: proxies and clients limit all headers together to 8 KiB or more.
_LENGTH_MAX = 1000
#: Ours: the same text is logged once in this time, however many jobs are submitted.
_QUIET_MS = 60_000
_TEXTS_KEPT_MAX = 1000
_NOT_PLAIN = re.compile(r"[^ -~]+")

_log = structlog.get_logger()


class Warnings:
    """Words warnings, and remembers which were logged of late."""

    def __init__(self) -> None:
        #: By text: the value of the header, and until when it is not logged again.
        self._known: dict[str, tuple[bytes, int]] = {}

    def header_of(self, call: Call, operation: str) -> bytes:
        """Give the value of the header; logs what has not been logged of late."""
        given = " ".join(call.warnings)
        known = self._known.get(given)
        if known is not None and call.now_ms < known[1]:
            return known[0]
        text = _NOT_PLAIN.sub("?", given)[:_LENGTH_MAX]
        _log.info("request_warned", request_id=call.request_id, operation=operation, warning=text)
        if len(self._known) >= _TEXTS_KEPT_MAX:
            self._known.clear()
        header = text.encode("ascii")
        self._known[given] = header, call.now_ms + _QUIET_MS
        return header
