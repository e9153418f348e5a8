"""The parts of our pages that are made from the code: the state diagram, the settings table.

A part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`. After a change of the
code, `python -m tests.unit.docs.generated` writes them anew; `test_generated` fails until then.
"""

import ast
from collections.abc import Callable
from pathlib import Path

import msgspec

from batchyard.cli.settings import PREFIX, Settings
from batchyard.core.transitions import LEGAL_MOVES
from batchyard.model.status import JobStatus

ROOT = Path(__file__).parents[3]

_SETTINGS_MODULE = ROOT / "src" / "batchyard" / "cli" / "settings.py"


def state_diagram() -> str:
    """Draw the legal moves of a job, in the order of its states."""
    order = list(JobStatus)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {order[0]}"]
    for before in order:
        lines += [f"    {before} --> {after}" for after in order if after in LEGAL_MOVES[before]]
        if before.is_terminal:
            lines.append(f"    {before} --> [*]")
    return "\n".join([*lines, "```"])


def settings_table() -> str:
    """List every setting with its variable, its default and its sentence."""
    sentences = _sentences()
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for field in msgspec.structs.fields(Settings):
        name = f"`{PREFIX}{field.name.upper()}`" if field.name != "keys" else "`keys`, in the file"
        lines.append(f"| {name} | {_shown(_default_of(field))} | {sentences[field.name]} |")
    return "\n".join(lines)


def _default_of(field: msgspec.structs.FieldInfo) -> object:
    made = field.default_factory
    return field.default if made is msgspec.NODEFAULT else made()


def _shown(default: object) -> str:
    if default in (None, (), {}):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _sentences() -> dict[str, str]:
    """Read the `#:` comments above the members of Settings."""
    text = _SETTINGS_MODULE.read_text()
    lines = text.splitlines()
    (body,) = (
        node.body
        for node in ast.parse(text).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    found: dict[str, str] = {}
    for node in body:
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        comment: list[str] = []
        above = node.lineno - 2
        while lines[above].strip().startswith("#"):
            comment.insert(0, lines[above].strip().lstrip("#:").strip())
            above -= 1
        found[node.target.id] = " ".join(comment)
    return found


#: Every generated part: its page, its name, and what makes it.
PARTS: list[tuple[str, str, Callable[[], str]]] = [
    ("docs/architecture.md", "state-diagram", state_diagram),
    ("README.md", "settings", settings_table),
]


def read_part(page: str, name: str) -> str:
    """Read a part as its page has it. Raises ValueError if the page has no such part."""
    return _split((ROOT / page).read_text(), name)[1]


def _split(text: str, name: str) -> tuple[str, str, str]:
    begin, end = f"<!-- generated: {name} -->\n", f"\n<!-- end: {name} -->"
    before, rest = text.split(begin)
    part, after = rest.split(end)
    return before + begin, part, end + after


def write_parts() -> None:
    """Make every part current."""
    for page, name, make in PARTS:
        path = ROOT / page
        before, _, after = _split(path.read_text(), name)
        path.write_text(before + make() + after)


if __name__ == "__main__":
    write_parts()
