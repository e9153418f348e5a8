"""Filter patterns: which messages a caller wants to see (reference/integrations.md section 2.4).
Pure.

Decides the pattern's kind; terms are read here, `{ … }` by `json_pattern`. What we do not support
(regular expressions, space-delimited fields) is refused with its name, never passed over.

Terms: a message must hold all plain ones and none with `-`. If there are only terms with `?`, one
of them suffices; beside other terms those with `?` count for nothing, as AWS says. Case counts.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from batchyard.logs.json_pattern import parse_json_pattern
from batchyard.logs.limits import FILTER_PATTERN_LENGTH_MAX
from batchyard.logs.refusals import invalid, invalid_value

Matches = Callable[[str], bool]

_TERM = re.compile(r'\s*(?P<sign>[?-]?)(?:"(?P<phrase>(?:[^"\\]|\\.)*)"|(?P<word>[^\s"]+))')
_WORD = re.compile(r"\w+")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class _Terms:
    needed: tuple[str, ...]
    unwanted: tuple[str, ...]
    #: One of these, where nothing else is said.
    optional: tuple[str, ...]

    def matches(self, message: str) -> bool:
        if any(term in message for term in self.unwanted):
            return False
        if self.needed or self.unwanted:
            return all(term in message for term in self.needed)
        return any(term in message for term in self.optional)


def parse_pattern(text: str | None) -> Matches:
    """Read a filter pattern; nothing and blanks match everything. Refuses what cannot be read."""
    if text is None or not text.strip():
        return _everything
    if len(text) > FILTER_PATTERN_LENGTH_MAX:
        raise invalid_value(
            text,
            "filterPattern",
            f"Member must have length less than or equal to {FILTER_PATTERN_LENGTH_MAX}",
        )
    pattern = text.strip()
    if pattern.startswith("{"):
        return parse_json_pattern(pattern)
    if pattern.startswith("["):
        raise invalid(
            "Invalid filter pattern: patterns for space-delimited fields ([a, b, …]) are not"
            " supported by batchyard"
        )
    return _parse_terms(pattern).matches


def _everything(_message: str) -> bool:
    return True


def _parse_terms(pattern: str) -> _Terms:
    terms: dict[str, list[str]] = {"": [], "-": [], "?": []}
    at = 0
    while at < len(pattern):
        found = _TERM.match(pattern, at)
        if found is None:
            raise invalid("Invalid filter pattern")
        terms[found["sign"]].append(_term_of(found))
        at = found.end()
    return _Terms(tuple(terms[""]), tuple(terms["-"]), tuple(terms["?"]))


def _term_of(found: re.Match[str]) -> str:
    if (phrase := found["phrase"]) is not None:
        return _ESCAPED.sub(r"\1", phrase)
    word = found["word"]
    if word.startswith("%"):
        raise invalid(
            "Invalid filter pattern: regular expressions (%…%) are not supported by batchyard"
        )
    if _WORD.fullmatch(word) is None:
        raise invalid(f"Invalid character(s) in term '{word}'")
    return str(word)
