"""New job ids: random UUIDs of version 4, made many at a time."""

import os
from collections.abc import Callable

from batchyard.model.ids import JobId

#: Random bytes are drawn for this many ids at a time: one system call serves them all.
_IDS_PER_DRAW = 256
_ID_HEX_DIGITS = 32
#: The digit of a version 4 UUID that carries the variant, by the random digit in its place.
_VARIANT_BY_DIGIT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


class JobIds:
    """Makes job ids: random UUIDs of version 4."""

    def __init__(self, draw: Callable[[int], bytes] = os.urandom) -> None:
        self._draw = draw
        self._digits = ""
        self._used = 0

    def make(self) -> JobId:
        """Give an id that was never given before."""
        if self._used >= len(self._digits):
            self._digits = self._draw(_IDS_PER_DRAW * _ID_HEX_DIGITS // 2).hex()
            self._used = 0
        at = self._used
        self._used = at + _ID_HEX_DIGITS
        text = self._digits
        variant = _VARIANT_BY_DIGIT[text[at + 16]]
        return JobId(
            f"{text[at : at + 8]}-{text[at + 8 : at + 12]}-4{text[at + 13 : at + 16]}"
            f"-{variant}{text[at + 17 : at + 20]}-{text[at + 20 : at + 32]}"
        )
