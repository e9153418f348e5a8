"""A comparison as one HTML page that needs nothing else: no network, no script, no other file.

Owns the page around the charts. Refuses to know how a figure is measured or spelt: rows of the
table come ready. Everything that a trace or a configuration named is escaped.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape

from batchyard.sim import charts
from batchyard.sim.report import Comparison, RunReport

#: A label, and what each configuration has for it.
Row = tuple[str, Sequence[str]]

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #f6f8fa; color: #24292f;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1560px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 16px; margin: 0 0 2px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; color: #57606a; }
section { background: #fff; border: 1px solid #d0d7de; border-radius: 8px; padding: 16px 18px;
  margin-top: 18px; min-width: 0; }
.wide { overflow-x: auto; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(560px, 100%), 1fr));
  gap: 18px; margin-top: 18px; }
.charts section { margin-top: 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; border-bottom: 1px solid #eaeef2; text-align: right;
  vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
tbody th { font-weight: normal; color: #57606a; white-space: nowrap; }
tr:last-child > * { border-bottom: 0; }
thead th { border-bottom: 2px solid #d0d7de; }
.dot { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 7px; }
.never { border-color: #d29922; background: #fff8e6; }
svg { width: 100%; height: auto; display: block; }
@media print { body { background: #fff; } section { break-inside: avoid; } }
"""


def page_of(found: Comparison, rows: Iterable[Row]) -> str:
    """Make the page. `rows` are the figures, by configuration."""
    name = escape(found.trace)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        " style-src 'unsafe-inline'\">",
        f"<title>{name}</title><style>{_STYLE}</style></head><body><main>",
        f"<h1>{name}</h1>",
        *(f"<p>{escape(each)}</p>" for each in _remarks(found)),
        _table(found.runs, rows),
        *(_never_runs(run) for run in found.runs if run.never_runs),
        '<div class="charts">',
        *_charts(found.runs),
        "</div></main></body></html>",
    ]
    return "\n".join(parts) + "\n"


def _remarks(found: Comparison) -> Iterable[str]:
    count = max((run.job_count for run in found.runs), default=0)
    began = ""
    if found.began_ms:
        began = f" since {datetime.fromtimestamp(found.began_ms / 1000, tz=UTC):%Y-%m-%d %H:%M} UTC"
    yield f"{count:,} jobs{began}, through the scheduler of batchyard in virtual time"
    yield from found.notes


def _table(runs: Sequence[RunReport], rows: Iterable[Row]) -> str:
    head = "".join(
        f'<th scope="col"><span class="dot" style="background:{_colour(number)}"></span>'
        f"{escape(run.config)}</th>"
        for number, run in enumerate(runs)
    )
    body = "".join(
        f'<tr><th scope="row">{escape(label)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
        for label, cells in rows
    )
    return (
        f'<section class="wide"><table><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></section>"
    )


def _colour(number: int) -> str:
    return charts.COLOURS[number % len(charts.COLOURS)]


def _never_runs(run: RunReport) -> str:
    lines = "".join(
        f"<p>{each.job_count:,}: {escape(each.reason)} For example"
        f" {escape(', '.join(each.examples))}.</p>"
        for each in run.never_runs
    )
    head = f"<h2>Jobs that never run: {escape(run.config)}</h2>"
    return f'<section class="never">{head}{lines}</section>'


def _charts(runs: Sequence[RunReport]) -> Iterable[str]:
    yield _section("Wait", "From RUNNABLE to the start of the first attempt", charts.waits(runs))
    yield _section("Waiting jobs", "RUNNABLE, over time", charts.waiting(runs))
    yield _section("Used vCPUs", "What jobs had, over time", charts.used(runs))
    yield _section("Launched vCPUs", "What was there, over time", charts.launched(runs))
    for number, run in enumerate(runs):
        drawn = charts.shares(run, number)
        if drawn is not None:
            yield _section(f"Shares: {run.config}", "Used and due, while anybody waited", drawn)
    drawn = charts.costs(runs)
    if drawn is not None:
        yield _section("Cost", "By type of capacity", drawn)


def _section(title: str, remark: str, drawn: str) -> str:
    return f"<section><h2>{escape(title)}</h2><p>{escape(remark)}</p>{drawn}</section>"
