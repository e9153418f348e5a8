"""Check what ruff, mypy and import-linter cannot see.

Reads the files git knows (or would take) and prints one line per finding, each with its remedy.
Knows nothing of batchyard at run time: it parses, never imports. The rules, by code:

    function-size    a function holds at most 60 lines of code
    module-size      a module holds at most 600 lines
    module-head      a module says what it is; in the rooms of HEADED_ROOMS at more length
    module-name      no utils, helpers, common, base or manager
    set-order        pure rooms do not iterate over sets: their order changes between processes
    unstable-value   pure rooms call neither hash() nor id(): they change between processes
    outside-call     pure rooms neither open() nor print()
    todo-number      a TODO carries an issue number
    test-missing     a test file holds tests, and tests are where pytest looks
    registry-host    no package registry's host is named (uv.lock, generated, is excepted)
    machine-path     no path of somebody's machine is named
    syntax           a module can be read at all
    dead-link        a link in a page leads to a file that exists

Run it with `python -m tools.tidy`, or one rule with `--only CODE`.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

FUNCTION_LINE_MAX = 60
MODULE_LINE_MAX = 600

#: No I/O, clock, chance or logging; the same input gives the same bytes.
PURE_ROOMS = ("core", "scheduler", "model")

#: Rooms whose modules open with what they decide, refuse to know, and hold to.
HEADED_ROOMS = ("core", "scheduler", "engine", "store", "compute")

FORBIDDEN_NAMES = ("utils", "helpers", "common", "base", "manager")

#: Text longer than this is data, not prose or code.
TEXT_BYTE_MAX = 1_000_000

#: Generated, so nobody can keep the hosts out of it.
HOSTS_ALLOWED_IN = ("uv.lock",)

_CODE_FOLDERS = ("src", "tools", "tests", "bench")
_TODO = re.compile(r"(?:^|\s)#.*\b(TODO|FIXME)\b(?!\s*\(?#\d+)")
_HOST = re.compile(
    r"\b(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|yarnpkg\.com|crates\.io|rubygems\.org"
    r"|proxy\.golang\.org|(?:deb|security)\.debian\.org|(?:archive|ports)\.ubuntu\.com)\b"
)
_MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:wor[k]/|home/(?!user/)[a-z]\w*/)")
_CODE_SPAN = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One broken rule: where, which, and what to do instead."""

    path: str
    line: int
    code: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.code}: {self.remedy}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A Python file, parsed once for all rules."""

    path: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The room of batchyard the module lies in; "" outside."""
        parts = PurePosixPath(self.path).parts
        return parts[2] if parts[:2] == ("src", "batchyard") and len(parts) > 3 else ""  # noqa: PLR2004

    def finding(self, line: int, code: str, remedy: str) -> Finding:
        return Finding(path=self.path, line=line, code=code, remedy=remedy)


# ── sizes, heads, names ──────────────────────────────────────────────────────────────────


def check_function_size(module: Module) -> Iterator[Finding]:
    lines = module.text.splitlines()
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        size = count_code_lines(node, lines)
        if size > FUNCTION_LINE_MAX:
            remedy = (
                f"{node.name} has {size} lines of code, the limit is {FUNCTION_LINE_MAX}: keep the"
                " branches here and move the arithmetic into small pure functions"
            )
            yield module.finding(node.lineno, "function-size", remedy)


def count_code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Count a function's lines without blank ones, comments and its docstring."""
    docstring: range = range(0)
    if ast.get_docstring(node, clean=False) is not None:
        docstring = range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    count = 0
    for number in range(node.lineno, (node.end_lineno or node.lineno) + 1):
        line = lines[number - 1].strip()
        if line and not line.startswith("#") and number not in docstring:
            count += 1
    return count


def check_module_size(module: Module) -> Iterator[Finding]:
    size = len(module.text.splitlines())
    if size > MODULE_LINE_MAX:
        remedy = (
            f"{size} lines, the limit is {MODULE_LINE_MAX}: a module holds one idea; give the"
            " second one a module of its own"
        )
        yield module.finding(1, "module-size", remedy)


def check_module_head(module: Module) -> Iterator[Finding]:
    docstring = ast.get_docstring(module.tree)
    if not module.text.strip():
        return
    if docstring is None:
        yield module.finding(1, "module-head", "open with a docstring that says what it is for")
        return
    # A package file with nothing but its docstring decides nothing; one line is enough there.
    is_signpost = module.path.endswith("__init__.py") and len(module.tree.body) == 1
    if module.room in HEADED_ROOMS and not is_signpost and "\n" not in docstring.strip():
        remedy = (
            "one line is not enough in this room: say what the module decides or owns, what it"
            " refuses to know, the rules that hold inside, and where the behaviour is specified"
        )
        yield module.finding(1, "module-head", remedy)


def check_module_name(module: Module) -> Iterator[Finding]:
    path = PurePosixPath(module.path)
    for name in (*path.parts[:-1], path.stem):
        if name in FORBIDDEN_NAMES:
            remedy = f'"{name}" says nothing about what is inside: name it after its one idea'
            yield module.finding(1, "module-name", remedy)


def check_tests_are_found(module: Module) -> Iterator[Finding]:
    path = PurePosixPath(module.path)
    if path.parts[0] != "tests":
        return
    has_tests = any(_is_test(node) for node in module.tree.body)
    is_test_file = path.name.startswith("test_")
    if is_test_file and not has_tests:
        remedy = "this file holds no test: write one, or name it without test_ in front"
        yield module.finding(1, "test-missing", remedy)
    if has_tests and not is_test_file:
        remedy = f"pytest never looks here: rename it to test_{path.name}"
        yield module.finding(1, "test-missing", remedy)


def _is_test(node: ast.stmt) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name.startswith("test_")
    if isinstance(node, ast.ClassDef):
        return node.name.startswith("Test") and any(_is_test(part) for part in node.body)
    # The form hypothesis asks for: TestYard = Yard.TestCase
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "TestCase"
    )


# ── pure rooms ───────────────────────────────────────────────────────────────────────────

_SET_METHODS = ("union", "intersection", "difference", "symmetric_difference", "copy")
_SET_OPERATORS = (ast.BitOr, ast.BitAnd, ast.BitXor, ast.Sub)
_ORDERED_CONSUMERS = ("list", "tuple", "enumerate", "iter", "zip", "map", "filter", "reversed")
_ORDERED_METHODS = ("fromkeys", "join", "extend")
_ORDERLESS_CONSUMERS = ("sorted", "any", "all", "sum", "min", "max", "set", "frozenset", "len")
_CALL_REMEDIES = {
    "hash": ("unstable-value", "hash() differs between processes: compare the values themselves"),
    "id": ("unstable-value", "id() differs between processes: use the record's own id"),
    "open": ("outside-call", "pure rooms touch no files: return an effect, or take the content"),
    "print": ("outside-call", "pure rooms do not speak: return an event, the engine logs it"),
}


def set_attributes(modules: list[Module]) -> frozenset[str]:
    """Name the fields that every class declaring them declares as a set."""
    sets: set[str] = set()
    others: set[str] = set()
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                for field in node.body:
                    if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                        (sets if _names_a_set(field.annotation) else others).add(field.target.id)
    return frozenset(sets - others)


def _names_a_set(annotation: ast.expr | None) -> bool:
    if isinstance(annotation, ast.Subscript):
        annotation = annotation.value
    names = ("set", "frozenset", "Set", "AbstractSet", "MutableSet")
    return isinstance(annotation, ast.Name) and annotation.id in names


class _PureRoom(ast.NodeVisitor):
    """Walk one module of a pure room, knowing which names hold sets in each scope."""

    def __init__(self, module: Module, attributes: frozenset[str]) -> None:
        self.module = module
        self.attributes = attributes
        self.scopes: list[set[str]] = []
        self.findings: list[Finding] = []
        self.orderless: set[ast.expr] = set()

    def visit_Module(self, node: ast.Module) -> None:
        self._visit_scope(node, set())

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._visit_scope(node, {each.arg for each in arguments if _names_a_set(each.annotation)})

    visit_AsyncFunctionDef = visit_FunctionDef

    def _visit_scope(
        self, node: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef, names: set[str]
    ) -> None:
        self.scopes.append(names)
        others: set[str] = set()
        for target, annotation, value in _assignments(node.body):
            is_set = _names_a_set(annotation) or (value is not None and self.is_set(value))
            (names if is_set else others).add(target)
        names -= others
        self.generic_visit(node)
        self.scopes.pop()

    def is_set(self, node: ast.expr) -> bool:
        """Tell whether an expression certainly makes a set."""
        match node:
            case ast.Set() | ast.SetComp() | ast.Call(func=ast.Name(id="set" | "frozenset")):
                found = True
            case ast.Name(id=name):
                found = any(name in scope for scope in self.scopes)
            case ast.Attribute(attr=name):
                found = name in self.attributes
            case ast.Call(func=ast.Attribute(value=value, attr=name)):
                found = name in _SET_METHODS and self.is_set(value)
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _SET_OPERATORS):
                sides = (left, right)
                found = any(self.is_set(side) or _is_dict_keys(side) for side in sides)
            case ast.IfExp(body=body, orelse=orelse):
                found = self.is_set(body) or self.is_set(orelse)
            case _:
                found = False
        return found

    def _expect_order(self, node: ast.expr) -> None:
        if self.is_set(node):
            remedy = (
                "the order of a set changes between processes, and then a replay differs: iterate"
                " over sorted(...) or keep a list or dict"
            )
            self.findings.append(self.module.finding(node.lineno, "set-order", remedy))

    def visit_For(self, node: ast.For) -> None:
        self._expect_order(node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp) -> None:
        if node not in self.orderless:
            for part in node.generators:
                self._expect_order(part.iter)
        self.generic_visit(node)

    visit_DictComp = visit_ListComp
    visit_GeneratorExp = visit_ListComp

    def visit_Starred(self, node: ast.Starred) -> None:
        if node not in self.orderless:
            self._expect_order(node.value)
        self.generic_visit(node)

    def visit_Set(self, node: ast.Set) -> None:
        self.orderless.update(node.elts)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        match node.func:
            case ast.Name(id=name) if name in _CALL_REMEDIES:
                code, remedy = _CALL_REMEDIES[name]
                self.findings.append(self.module.finding(node.lineno, code, remedy))
            case ast.Name(id="min" | "max") if any(each.arg == "key" for each in node.keywords):
                # Ties go to whatever comes first.
                self._expect_order_of(node)
            case ast.Name(id=name) if name in _ORDERLESS_CONSUMERS:
                self.orderless.update(node.args)
            case ast.Name(id=name) if name in _ORDERED_CONSUMERS:
                self._expect_order_of(node)
            case ast.Attribute(attr=name) if name in _ORDERED_METHODS:
                self._expect_order_of(node)
            case ast.Attribute(value=value, attr="pop") if not node.args:
                self._expect_order(value)
        self.generic_visit(node)

    def _expect_order_of(self, call: ast.Call) -> None:
        for argument in call.args:
            self._expect_order(argument)


def _is_dict_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and (
        isinstance(node.func, ast.Attribute) and node.func.attr == "keys"
    )


def _assignments(
    body: list[ast.stmt],
) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
    """List the plain names a body assigns, not looking into functions and classes."""
    for node in body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, None, value
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=value):
                yield name, annotation, value
        for block in ("body", "orelse", "finalbody"):
            yield from _assignments(getattr(node, block, []))
        for part in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
            yield from _assignments(part.body)


def check_pure_room(module: Module, attributes: frozenset[str]) -> Iterator[Finding]:
    if module.room in PURE_ROOMS:
        walk = _PureRoom(module, attributes)
        walk.visit(module.tree)
        yield from walk.findings


# ── any text ─────────────────────────────────────────────────────────────────────────────


def check_text(path: str, text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), start=1):
        if _HOST.search(line) and PurePosixPath(path).name not in HOSTS_ALLOWED_IN:
            remedy = "name no package registry's host: leave the choice to uv's, pip's or apt's own"
            yield Finding(path=path, line=number, code="registry-host", remedy=remedy)
        if _MACHINE_PATH.search(line):
            remedy = "a path of one machine: write it relative to the repository, or as a setting"
            yield Finding(path=path, line=number, code="machine-path", remedy=remedy)
        if path.endswith(".py") and _TODO.search(line):
            remedy = "write TODO(#123) with the number of an issue, or do it now"
            yield Finding(path=path, line=number, code="todo-number", remedy=remedy)


def check_links(root: Path, path: str, text: str) -> Iterator[Finding]:
    """Check a page's links to files; those to other sites are not ours to promise."""
    without_code = _CODE_SPAN.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)
    for found in _LINK.finditer(without_code):
        target = found.group(1)
        if ":" in target:
            continue
        start = root if target.startswith("/") else (root / path).parent
        if not (start / target.lstrip("/")).exists():
            line = without_code.count("\n", 0, found.start()) + 1
            remedy = f"{target} does not exist: correct the link or write the page"
            yield Finding(path=path, line=line, code="dead-link", remedy=remedy)


# ── the whole tree ───────────────────────────────────────────────────────────────────────

_MODULE_CHECKS: tuple[Callable[[Module], Iterator[Finding]], ...] = (
    check_function_size,
    check_module_size,
    check_module_head,
    check_module_name,
    check_tests_are_found,
)


def list_files(root: Path) -> list[str]:
    """List what git tracks or would take; without git, everything outside hidden folders."""
    command = ["git", "-C", str(root), "ls-files", "-z", "-co", "--exclude-standard"]
    try:
        found = subprocess.run(command, capture_output=True, check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return sorted(_walk(root))
    return sorted(path for path in found.stdout.decode().split("\0") if path)


def _walk(root: Path) -> Iterator[str]:
    skipped = ("__pycache__", "node_modules", "dist")
    for folder, folders, names in os.walk(root):
        folders[:] = [each for each in folders if each[0] != "." and each not in skipped]
        for name in names:
            yield (Path(folder) / name).relative_to(root).as_posix()


def read_text(path: Path) -> str | None:
    """Read a text file; None for data, links and what is gone meanwhile."""
    try:
        if path.is_symlink() or path.stat().st_size > TEXT_BYTE_MAX:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def check_tree(root: Path) -> list[Finding]:
    """Check a whole repository; the findings come in the order of paths and lines."""
    findings: list[Finding] = []
    modules: list[Module] = []
    for path in list_files(root):
        text = read_text(root / path)
        if text is None:
            continue
        findings.extend(check_text(path, text))
        if path.endswith(".md"):
            findings.extend(check_links(root, path, text))
        if path.endswith(".py") and path.split("/", 1)[0] in _CODE_FOLDERS:
            try:
                modules.append(Module(path=path, text=text, tree=ast.parse(text, filename=path)))
            except SyntaxError as error:
                remedy = f"Python cannot read this: {error.msg}"
                line = error.lineno or 1
                findings.append(Finding(path=path, line=line, code="syntax", remedy=remedy))
    attributes = set_attributes([module for module in modules if module.room in PURE_ROOMS])
    for module in modules:
        for check in _MODULE_CHECKS:
            findings.extend(check(module))
        findings.extend(check_pure_room(module, attributes))
    return sorted(findings, key=lambda each: (each.path, each.line, each.code))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="CODE", help="show the findings of one rule")
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1])
    options = parser.parse_args(arguments)
    findings = [each for each in check_tree(options.root) if options.only in (None, each.code)]
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings" if findings else "tidy")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
