"""Filter patterns for messages that are JSON: `{ $.level = "ERROR" && $.took_ms > 100 }`. Pure.

Reads the pattern once into nested functions (reference/integrations.md section 2.4). A message that
is not a JSON object or array never matches; a selector that meets nothing, an object or an array
makes its comparison false. Regular expressions as values are refused with their name.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import NoReturn

import msgspec

from batchyard.logs.refusals import invalid

#: What a message holds once decoded.
_Value = object
_Test = Callable[[_Value], bool]
#: The steps of a selector: a property, an index, or None for all of them.
_Path = tuple[str | int | None, ...]

_DEPTH_MAX = 32

_TOKENS = re.compile(
    r"""\s*(?:
      (?P<selector>\$(?:\.[\w-]+|\.\*|\[\d+\]|\[\*\]|\.?\['[^']*'\])*)
    | (?P<operator>&&|\|\||!=|<=|>=|=|<|>|\(|\))
    | "(?P<text>(?:[^"\\]|\\.)*)"
    | (?P<word>[^\s"()&|=<>!%{}]+)
    )""",
    re.VERBOSE,
)
_STEP = re.compile(r"\.([\w-]+)|\.?\['([^']*)'\]|\[(\d+)\]|(\.\*|\[\*\])")
_ESCAPED = re.compile(r"\\(.)")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_NO_VALUE: Sequence[_Value] = ()


def parse_json_pattern(pattern: str) -> Callable[[str], bool]:
    """Read `{ … }`. Refuses what cannot be read."""
    if not pattern.endswith("}"):
        _refuse()
    reader = _Reader(list(_tokens(pattern[1:-1])))
    test = reader.any_of(0)
    if reader.kind is not None:
        _refuse()

    def matches(message: str) -> bool:
        try:
            value = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError):
            return False
        return isinstance(value, dict | list) and test(value)

    return matches


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None:
            if text[at:].lstrip().startswith("%"):
                _refuse(": regular expressions (%…%) are not supported by batchyard")
            _refuse()
        kind = str(found.lastgroup)
        yield kind, found[kind]
        at = found.end()


@dataclass(slots=True)
class _Reader:
    """Reads tokens from the left: `||` binds least, then `&&`, then parentheses."""

    tokens: Sequence[tuple[str, str]]
    at: int = 0

    @property
    def kind(self) -> str | None:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def take(self, kind: str) -> str:
        if self.kind != kind:
            _refuse()
        self.at += 1
        return self.tokens[self.at - 1][1]

    def takes(self, token: str) -> bool:
        """Go on behind an operator or a word if it stands here."""
        if self.at < len(self.tokens) and self.tokens[self.at] in (
            ("operator", token),
            ("word", token),
        ):
            self.at += 1
            return True
        return False

    def any_of(self, depth: int) -> _Test:
        tests = [self.all_of(depth)]
        while self.takes("||"):
            tests.append(self.all_of(depth))
        return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)

    def all_of(self, depth: int) -> _Test:
        tests = [self.one(depth)]
        while self.takes("&&"):
            tests.append(self.one(depth))
        return tests[0] if len(tests) == 1 else lambda value: all(test(value) for test in tests)

    def one(self, depth: int) -> _Test:
        if self.takes("("):
            if depth == _DEPTH_MAX:
                _refuse()
            test = self.any_of(depth + 1)
            if not self.takes(")"):
                _refuse()
            return test
        path = _path_of(self.take("selector"))
        if self.takes("IS"):
            return self._is(path)
        if self.takes("NOT"):
            if not self.takes("EXISTS"):
                _refuse()
            return lambda value: not any(True for _ in _select(value, path))
        return self._compared(path, self.take("operator"))

    def _is(self, path: _Path) -> _Test:
        known: dict[str, bool | None] = {"NULL": None, "TRUE": True, "FALSE": False}
        word = self.take("word")
        if word not in known:
            _refuse()
        wanted = known[word]
        return lambda value: any(found is wanted for found in _select(value, path))

    def _compared(self, path: _Path, sign: str) -> _Test:
        is_quoted = self.kind == "text"
        text = self.take("text" if is_quoted else "word")
        if sign not in _COMPARE:
            _refuse()
        if not is_quoted and _NUMBER.fullmatch(text):
            holds = _number_test(sign, float(text))
        elif sign in ("=", "!="):
            holds = _text_test(text, is_wanted=sign == "=")
        else:
            _refuse()
        return lambda value: any(holds(found) for found in _select(value, path))


def _path_of(selector: str) -> _Path:
    steps: list[str | int | None] = []
    at = 1
    while at < len(selector):
        found = _STEP.match(selector, at)
        if found is None:
            _refuse()
        name, quoted, index, wildcard = found.groups()
        if wildcard:
            steps.append(None)
        elif index is not None:
            steps.append(int(index))
        else:
            steps.append(name if name is not None else quoted)
        at = found.end()
    if not steps or steps.count(None) > 1:
        _refuse()
    return tuple(steps)


def _select(value: _Value, path: _Path) -> Iterator[_Value]:
    """Give every value that the path leads to."""
    if not path:
        yield value
        return
    step, rest = path[0], path[1:]
    for found in _children(value, step):
        yield from _select(found, rest)


def _children(value: _Value, step: str | int | None) -> Sequence[_Value]:
    if isinstance(value, dict):
        if step is None:
            return list(value.values())
        return (value[step],) if step in value else _NO_VALUE
    if isinstance(value, list):
        if step is None:
            return value
        if isinstance(step, int) and step < len(value):
            return (value[step],)
    return _NO_VALUE


def _number_test(sign: str, wanted: float) -> _Test:
    compare = _COMPARE[sign]
    return lambda found: (
        isinstance(found, int | float) and not isinstance(found, bool) and compare(found, wanted)
    )


def _text_test(text: str, *, is_wanted: bool) -> _Test:
    wanted = _ESCAPED.sub(r"\1", text)
    if "*" not in wanted:
        return lambda found: isinstance(found, str) and (found == wanted) is is_wanted
    # Of the shell's wildcards only `*` means something here.
    expression = re.compile(translate(wanted.replace("[", "[[]").replace("?", "[?]")))
    return lambda found: (
        isinstance(found, str) and (expression.match(found) is not None) is is_wanted
    )


def _refuse(more: str = "") -> NoReturn:
    raise invalid(f"Invalid filter pattern{more}")
