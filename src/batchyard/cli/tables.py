"""Tables for people that programs can read as well: one row a line, nothing cut off."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

_STYLE_BY_WORD = {
    "SUCCEEDED": "green",
    "VALID": "green",
    "RUNNING": "cyan",
    "FAILED": "red",
    "INVALID": "red",
    "missing": "red",
    "ok": "green",
}


def print_table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print rows under a head. On a terminal long cells are folded; in a pipe lines are whole."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=10_000)
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(_coloured(cell) for cell in row))
    console.print(table)


def _coloured(cell: str) -> str:
    style = _STYLE_BY_WORD.get(cell)
    return f"[{style}]{cell}[/]" if style else cell.replace("[", "\\[")
