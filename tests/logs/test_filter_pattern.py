"""Filter patterns: what they find, and what is refused."""

import pytest

from batchyard.logs.filter_pattern import parse_pattern
from batchyard.model.refusal import Refusal

pytestmark = pytest.mark.aws_documented

JSON = (
    '{"level": "ERROR", "took": 120.5, "ok": true, "none": null, "user": {"name": "ann lee"},'
    ' "codes": [4, 8], "items": [{"id": "x1"}, {"id": "y2"}], "a.b": "dotted", "no": "7"}'
)


@pytest.mark.parametrize(
    ("pattern", "message", "is_found"),
    [
        (None, "anything", True),
        (" ", "anything", True),
        ("ERROR", "an ERROR here", True),
        ("ERROR", "an error here", False),
        ("ERROR ARGUMENTS", "ARGUMENTS of an ERROR", True),
        ("ERROR ARGUMENTS", "ERROR", False),
        ("?ERROR ?WARN", "a WARN", True),
        ("?ERROR ?WARN", "INFO", False),
        ("?ERROR ARGUMENTS", "ARGUMENTS", True),
        ("ERROR -ARGUMENTS", "ERROR ARGUMENTS", False),
        ("ERROR -ARGUMENTS", "ERROR", True),
        ("-ERROR", "INFO", True),
        ("-ERROR", "ERROR", False),
        ('"INTERNAL SERVER ERROR"', "an INTERNAL SERVER ERROR", True),
        ('"INTERNAL SERVER ERROR"', "SERVER INTERNAL ERROR", False),
        ('-"a b" c', "a b c", False),
        (r'"say \"hi\""', 'they say "hi"', True),
        ('?"a-b" ?c', "x a-b", True),
    ],
)
def test_terms(pattern: str | None, message: str, is_found: bool) -> None:
    assert parse_pattern(pattern)(message) is is_found


@pytest.mark.parametrize(
    ("pattern", "is_found"),
    [
        ('{ $.level = "ERROR" }', True),
        ("{ $.level = ERROR }", True),
        ('{ $.level = "error" }', False),
        ('{ $.level != "INFO" }', True),
        ('{ $.level = "ERR*" }', True),
        ('{ $.level = "*[RO]*" }', False),
        ('{ $.missing != "INFO" }', False),
        ("{ $.took > 120 }", True),
        ("{ $.took >= 1.205e2 && $.took <= 120.5 }", True),
        ("{ $.took < 120 }", False),
        ("{ $.took = 120.5 }", True),
        ("{ $.no = 7 }", False),
        ("{ $.user = * }", False),
        ('{ $.user.name = "ann *" }', True),
        ("{ $.codes[1] = 8 }", True),
        ("{ $.codes[2] = 8 }", False),
        ("{ $.codes[*] = 4 }", True),
        ('{ $.items[*].id = "y*" }', True),
        ('{ $.* = "ERROR" }', True),
        ("{ $.['a.b'] = dotted }", True),
        ("{ $.ok IS TRUE }", True),
        ("{ $.ok IS FALSE }", False),
        ("{ $.none IS NULL }", True),
        ("{ $.level IS NULL }", False),
        ("{ $.missing NOT EXISTS }", True),
        ("{ $.none NOT EXISTS }", False),
        ("{ $.took = 1 && $.took = 1 || $.ok IS TRUE }", True),
        ("{ $.took = 1 && ($.took = 1 || $.ok IS TRUE) }", False),
    ],
)
def test_selectors(pattern: str, is_found: bool) -> None:
    assert parse_pattern(pattern)(JSON) is is_found


def test_a_message_that_is_not_json_matches_no_selector() -> None:
    matches = parse_pattern("{ $.x NOT EXISTS }")
    assert not matches("plain")
    assert not matches("7")
    assert matches("{}")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ('"open', "Invalid filter pattern"),
        ("a=b", "Invalid character(s) in term 'a=b'"),
        ("%[0-9]+%", "regular expressions"),
        ("{ $.x = %[0-9]+% }", "regular expressions"),
        ("[ip, user]", "space-delimited"),
        ("{ $.x = 1", "Invalid filter pattern"),
        ("{ $.x }", "Invalid filter pattern"),
        ("{ x = 1 }", "Invalid filter pattern"),
        ("{ $ = 1 }", "Invalid filter pattern"),
        ("{ $.x > abc }", "Invalid filter pattern"),
        ("{ $.*.* = 1 }", "Invalid filter pattern"),
        ("{ ($.x = 1 }", "Invalid filter pattern"),
        ("{ $.x = 1) }", "Invalid filter pattern"),
        ("{ $.x IS NOT NULL }", "Invalid filter pattern"),
        ("{ $.x EXISTS }", "Invalid filter pattern"),
        ("{ " + "(" * 100 + "$.x = 1" + ")" * 100 + " }", "Invalid filter pattern"),
        ("x" * 1025, "less than or equal to 1024"),
    ],
)
def test_what_cannot_be_read_or_is_not_supported_is_refused(pattern: str, text: str) -> None:
    with pytest.raises(Refusal) as caught:
        parse_pattern(pattern)
    assert caught.value.code == "InvalidParameterException"
    assert text in caught.value.message
