"""Which tags a resource may carry. Pure (reference/compute-and-scheduling.md section 6)."""

import re
from collections.abc import Mapping

from batchyard.model.limits import (
    TAG_KEY_LENGTH_MAX,
    TAG_VALUE_LENGTH_MAX,
    TAGS_PER_RESOURCE_MAX,
)
from batchyard.model.refusal import client_exception

#: Letters, digits, separators (but no line breaks and tabs, which are control characters).
_TEXT = re.compile(r"[\w \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000.:/=+\-@]*")
_RESERVED_PREFIX = "aws:"


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse tags that break AWS's rules for number, length, alphabet and reserved prefix."""
    if len(tags) > TAGS_PER_RESOURCE_MAX:
        raise client_exception(f"A resource cannot have more than {TAGS_PER_RESOURCE_MAX} tags.")
    for key, value in tags.items():
        if not 1 <= len(key) <= TAG_KEY_LENGTH_MAX:
            raise client_exception(
                f"Tag keys must be between 1 and {TAG_KEY_LENGTH_MAX} characters long."
            )
        if len(value) > TAG_VALUE_LENGTH_MAX:
            raise client_exception(
                f"Tag values must be at most {TAG_VALUE_LENGTH_MAX} characters long."
            )
        if key.lower().startswith(_RESERVED_PREFIX) or value.lower().startswith(_RESERVED_PREFIX):
            raise client_exception(f"Tag keys and values cannot start with {_RESERVED_PREFIX}")
        if not _TEXT.fullmatch(key) or not _TEXT.fullmatch(value):
            raise client_exception(
                "Tags may contain letters, digits, spaces and the characters _ . : / = + - @ only."
            )
