"""The tree is tidy, and tools/tidy.py would notice if it were not.

Each rule gets a planted violation and, where a rule could be too eager, the allowed form beside
it. The forbidden words are put together here so that this file does not break the rules itself.
"""

from pathlib import Path

import pytest

from tools.tidy import Finding, check_tree

ROOT = Path(__file__).parents[2]
HEAD = '"""What it decides.\n\nWhat it refuses to know.\n"""\n\n'


def codes_of(root: Path, path: str, text: str) -> list[str]:
    """Plant one file in an empty tree and name the rules it breaks."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return [finding.code for finding in check_tree(root)]


def pure_codes(root: Path, body: str) -> list[str]:
    return codes_of(root, "src/batchyard/core/order.py", HEAD + body)


def lines(count: int) -> str:
    return "".join(f"    x{number} = {number}\n" for number in range(count))


def test_this_repository_is_tidy() -> None:
    findings = check_tree(ROOT)
    assert not findings, "\n" + "\n".join(str(finding) for finding in findings)


def test_a_finding_names_place_rule_and_remedy() -> None:
    finding = Finding(path="src/a.py", line=3, code="module-head", remedy="open with a docstring")
    assert str(finding) == "src/a.py:3: module-head: open with a docstring"


def test_an_empty_tree_is_tidy(tmp_path: Path) -> None:
    assert check_tree(tmp_path) == []


# ── sizes, heads, names ──────────────────────────────────────────────────────────────────


def test_a_function_of_61_lines_is_too_long(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "src/a.py", f'"""A."""\ndef f():\n{lines(60)}') == ["function-size"]


def test_docstring_comments_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    docstring = '    """Do.\n\n' + "    More.\n" * 70 + '    """\n'
    body = f'"""A."""\n\n\ndef f():\n{docstring}\n    # why\n\n{lines(59)}'
    assert codes_of(tmp_path, "src/a.py", body) == []


def test_a_module_of_601_lines_is_too_long(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "src/a.py", '"""A."""\n' + "X = 1\n" * 600) == ["module-size"]


def test_every_module_opens_with_a_docstring(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "src/batchyard/wire/a.py", "X = 1\n") == ["module-head"]


@pytest.mark.parametrize("room", ["core", "scheduler", "engine", "store", "compute"])
def test_one_line_is_not_enough_where_decisions_are_made(tmp_path: Path, room: str) -> None:
    assert codes_of(tmp_path, f"src/batchyard/{room}/a.py", '"""A."""\nX = 1\n') == ["module-head"]


def test_one_line_is_enough_elsewhere_and_in_a_package_without_code(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "src/batchyard/wire/a.py", '"""A."""\nX = 1\n') == []
    assert codes_of(tmp_path, "src/batchyard/core/__init__.py", '"""A."""\n') == []


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "base", "manager"])
def test_names_that_say_nothing_are_refused(tmp_path: Path, name: str) -> None:
    assert codes_of(tmp_path, f"src/{name}.py", '"""A."""\n') == ["module-name"]


def test_a_package_may_not_be_called_so_either(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "src/utils/a.py", '"""A."""\n') == ["module-name"]


def test_a_test_file_without_tests_is_found(tmp_path: Path) -> None:
    body = '"""A."""\n\n\ndef check_it():\n    pass\n'
    assert codes_of(tmp_path, "tests/unit/test_a.py", body) == ["test-missing"]


def test_tests_where_pytest_never_looks_are_found(tmp_path: Path) -> None:
    body = '"""A."""\n\n\ndef test_it():\n    pass\n'
    assert codes_of(tmp_path, "tests/unit/a.py", body) == ["test-missing"]


@pytest.mark.parametrize(
    "body",
    [
        "async def test_it():\n    pass\n",
        "class TestIt:\n    def test_it(self):\n        pass\n",
        "TestYard = Yard.TestCase\n",
    ],
)
def test_every_form_of_test_counts(tmp_path: Path, body: str) -> None:
    assert codes_of(tmp_path, "tests/unit/test_a.py", f'"""A."""\n{body}') == []


# ── pure rooms ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        "for x in {1, 2}:\n    y = x\n",
        "for x in set(y):\n    z = x\n",
        "A = frozenset({1})\nB = [x for x in A]\n",
        "A = {1}\nB = list(A)\n",
        "A = {1}\nB = tuple(A | {2})\n",
        "A = {1}\nB = [*A]\n",
        "A = {'1'}\nB = ','.join(A)\n",
        "A = {1}\nB = dict.fromkeys(A)\n",
        "A = {1}\nB = {x: x for x in A}\n",
        "A = {1}\nB = A.pop()\n",
        "A = {1}\nB = min(A, key=abs)\n",
        "A = {}\nfor x in A.keys() - B:\n    y = x\n",
        "def f(ids: set[str]) -> None:\n    for each in ids:\n        g(each)\n",
        "def f() -> None:\n    ids: set[str] = g()\n    for each in ids:\n        h(each)\n",
        "class A:\n    ids: set[str]\n\n\ndef f(a: A) -> None:\n    g(list(a.ids))\n",
    ],
)
def test_iterating_over_a_set_is_found(tmp_path: Path, body: str) -> None:
    assert pure_codes(tmp_path, body) == ["set-order"]


@pytest.mark.parametrize(
    "body",
    [
        "for x in sorted({1, 2}):\n    y = x\n",
        "A = {1}\nB = 1 in A\n",
        "A = {1}\nB = len(A) + max(A)\n",
        "A = {1}\nB = any(x > 1 for x in A)\n",
        "A = {1}\nB = {x + 1 for x in A}\n",
        "A = {1}\nB = {*A, 2}\n",
        "A = {1: 2}\nfor x in A:\n    y = x\n",
        "class A:\n    ids: set[str]\n\n\nclass B:\n    ids: list[str]\n\n\nx = list(b.ids)\n",
    ],
)
def test_what_does_not_depend_on_order_is_allowed(tmp_path: Path, body: str) -> None:
    assert pure_codes(tmp_path, body) == []


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("hash(x)", "unstable-value"),
        ("id(x)", "unstable-value"),
        ("open(x)", "outside-call"),
        ("print(x)", "outside-call"),
    ],
)
def test_pure_rooms_call_nothing_outside(tmp_path: Path, call: str, code: str) -> None:
    assert pure_codes(tmp_path, f"y = {call}\n") == [code]


def test_other_rooms_may(tmp_path: Path) -> None:
    body = '"""A."""\nfor x in {1, 2}:\n    print(hash(x))\n'
    assert codes_of(tmp_path, "src/batchyard/cli/a.py", body) == []


def test_a_file_that_does_not_parse_is_a_finding_too(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "src/a.py", "def\n") == ["syntax"]


# ── any text ─────────────────────────────────────────────────────────────────────────────

A_NOTE = "# TO" + "DO: later\n"
A_NUMBERED_NOTE = "# TO" + "DO(#12): later\n"
A_HOST = "https://py" + "pi.org/simple\n"
A_PLACE = "see /wor" + "k/main/x\n"


def test_a_note_for_later_carries_a_number(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "src/a.py", f'"""A."""\n{A_NOTE}') == ["todo-number"]
    assert codes_of(tmp_path, "src/a.py", f'"""A."""\n{A_NUMBERED_NOTE}') == []


@pytest.mark.parametrize("path", ["README.md", "tools/fetch.sh", "pyproject.toml"])
def test_registries_are_not_named(tmp_path: Path, path: str) -> None:
    assert codes_of(tmp_path, path, A_HOST) == ["registry-host"]


def test_the_lock_file_is_generated_and_may_name_them(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "uv.lock", A_HOST) == []


def test_paths_of_one_machine_are_not_named(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "docs/a.md", A_PLACE) == ["machine-path"]


def test_a_link_leads_to_a_file(tmp_path: Path) -> None:
    page = "[here](b.md) [there](../README.md#top) [site](https://example.com) [top](#top)\n"
    assert codes_of(tmp_path, "docs/a.md", page) == ["dead-link", "dead-link"]
    (tmp_path / "docs" / "b.md").touch()
    (tmp_path / "README.md").touch()
    assert check_tree(tmp_path) == []


def test_links_inside_code_are_not_links(tmp_path: Path) -> None:
    assert codes_of(tmp_path, "a.md", "`[a](b.md)`\n\n```\n[a](b.md)\n```\n") == []


def test_data_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "image.bin").write_bytes(b"\xff\xfe" + A_HOST.encode())
    assert check_tree(tmp_path) == []
