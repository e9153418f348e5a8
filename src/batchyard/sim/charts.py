"""Charts as inline SVG: what a `Comparison` shows best as a picture.

Owns the look of charts and the units of their axes. Refuses to know the page around them. Every
configuration has one colour in all charts. The pictures hold no script and load nothing; what a bar
stands for is its tooltip.

Why pygal: docs/simulate.md, "The page".
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from xml.etree.ElementTree import Element, SubElement

import pygal
from pygal.style import Style

from batchyard.sim.report import CostLine, PointInTime, RunReport

# Importing pygal puts a finder of its plug-ins among Python's own, in a form that Python 3.12 knows
# no more and that others stumble over. We use no plug-ins.
sys.meta_path[:] = [each for each in sys.meta_path if type(each).__module__ != "pygal"]

#: Told apart by most people who see colours otherwise (Okabe and Ito), the yellow left out.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5b5b5b")
#: Of types of capacity: none of the colours above, which are configurations.
_COST_COLOURS = ("#35618f", "#8fb8de", "#5c8374", "#a3c9a8", "#8d6a9f", "#c9b6d6", "#b08968")
_DUE_COLOUR = "#b9c0c8"
_SHARES_MAX = 12
_COST_LINES_MAX = 6
#: From here on figures are shown without a fraction.
_WHOLE_FROM = 100
_WIDTH, _HEIGHT = 720, 320
_MARGIN = 12
_LEGEND_COLUMNS, _LEGEND_ROW, _LEGEND_SLACK = 2, 22, 8
_UNITS_MS = ((86_400_000, "days"), (3_600_000, "hours"), (60_000, "minutes"), (1_000, "seconds"))
_SPREAD = ("mean", "median", "p90", "p99", "max")


def waits(runs: Sequence[RunReport]) -> str:
    """How long jobs waited: figures side by side."""
    unit_ms, unit = _unit_of(max(run.wait_ms.p99 for run in runs))
    chart = _chart(pygal.Bar, "waits", y_title=unit, legend_count=len(runs))
    chart.x_labels = _SPREAD
    for run in runs:
        chart.add(run.config, [getattr(run.wait_ms, each) / unit_ms for each in _SPREAD])
    return _drawn(chart)


def waiting(runs: Sequence[RunReport]) -> str:
    """How many jobs were RUNNABLE over time."""
    return _course("waiting", runs, lambda point: point.waiting, y_title="jobs")


def used(runs: Sequence[RunReport]) -> str:
    """How many vCPUs jobs had over time."""
    return _course("used", runs, lambda point: point.used_vcpus, y_title="vCPUs")


def launched(runs: Sequence[RunReport]) -> str:
    """How many vCPUs were there to be used, and paid, over time."""
    return _course("launched", runs, lambda point: point.launched_vcpus, y_title="vCPUs")


def shares(run: RunReport, number: int) -> str | None:
    """What the shares of one configuration used and were due; None: it has no two shares.

    Of many, those that used most.
    """
    found = sorted(run.fairness.shares, key=lambda share: -share.contended_vcpu_seconds)
    if len(found) <= 1:
        return None
    shown = found[:_SHARES_MAX]
    chart = _chart(pygal.Bar, f"shares-{number}", y_title="vCPU hours")
    chart.style = _style((COLOURS[number % len(COLOURS)], _DUE_COLOUR))
    chart.x_labels = [each.share_identifier for each in shown]
    chart.add("used", [each.contended_vcpu_seconds / 3600 for each in shown])
    chart.add("due", [each.due_vcpu_seconds / 3600 for each in shown])
    return _drawn(chart)


def costs(runs: Sequence[RunReport]) -> str | None:
    """What each type of capacity cost, stacked; None: nothing that has a price."""
    types = dict.fromkeys(_type_of(line) for run in runs for line in run.cost if line.usd)
    if not types:
        return None
    dear = sorted(types, key=lambda each: -max(_usd_of(run, each) for run in runs))
    shown, others = dear[:_COST_LINES_MAX], dear[_COST_LINES_MAX:]
    legend_count = len(shown) + bool(others)
    chart = _chart(pygal.StackedBar, "costs", y_title="USD", legend_count=legend_count)
    chart.style = _style(_COST_COLOURS)
    chart.x_labels = [run.config for run in runs]
    for each in shown:
        chart.add(each, [_usd_of(run, each) for run in runs])
    if others:
        chart.add("others", [sum(_usd_of(run, each) for each in others) for run in runs])
    return _drawn(chart)


def _type_of(line: CostLine) -> str:
    return f"{line.instance_type} ({line.purchase})"


def _usd_of(run: RunReport, kind: str) -> float:
    return sum(line.usd or 0 for line in run.cost if _type_of(line) == kind)


def _course(
    name: str, runs: Sequence[RunReport], figure: Callable[[PointInTime], float], *, y_title: str
) -> str:
    end_ms = max(run.makespan_ms for run in runs)
    unit_ms, unit = _unit_of(end_ms)
    chart = _chart(pygal.XY, name, y_title=y_title, legend_count=len(runs))
    chart.x_title = f"{unit} since the first submission"
    for run in runs:
        chart.add(run.config, list(_steps(run, figure, unit_ms)))
    return _drawn(chart)


def _steps(
    run: RunReport, figure: Callable[[PointInTime], float], unit_ms: int
) -> Iterable[tuple[float, float]]:
    """Give each stretch of time its level, from its beginning to the next one's."""
    ends = [*(point.at_ms for point in run.over_time[1:]), run.makespan_ms][: len(run.over_time)]
    for point, end_ms in zip(run.over_time, ends, strict=True):
        level = round(figure(point), 2)
        yield point.at_ms / unit_ms, level
        yield end_ms / unit_ms, level


def _unit_of(ms: float) -> tuple[int, str]:
    """Choose the largest unit of which there are at least two."""
    return next((each for each in _UNITS_MS if ms >= 2 * each[0]), _UNITS_MS[-1])


def _style(colours: Sequence[str] = COLOURS) -> Style:
    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="#57606a",
        foreground_strong="#24292f",
        foreground_subtle="#d0d7de",
        opacity=".9",
        opacity_hover="1",
        colors=tuple(colours),
        font_family="system-ui, sans-serif",
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=13,
        title_font_size=13,
        value_font_size=12,
        no_data_font_size=14,
        stroke_width=2,
        guide_stroke_color="#e4e8ec",
        guide_stroke_dasharray="none",
        major_guide_stroke_color="#e4e8ec",
        major_guide_stroke_dasharray="none",
    )


def _chart(kind: Any, name: str, *, y_title: str, legend_count: int = 2) -> Any:
    legend_rows = -(-legend_count // _LEGEND_COLUMNS)
    chart = kind(
        js=(),
        style=_style(),
        width=_WIDTH,
        height=_HEIGHT + _LEGEND_ROW * (legend_rows - 1),
        explicit_size=False,
        show_dots=False,
        show_x_guides=False,
        legend_at_bottom=True,
        legend_at_bottom_columns=_LEGEND_COLUMNS,
        legend_box_size=10,
        truncate_legend=40,
        truncate_label=24,
        y_title=y_title,
        min_scale=4,
        max_scale=8,
        include_x_axis=True,
        margin=_MARGIN,
        margin_bottom=_MARGIN + _LEGEND_SLACK * (legend_rows - 1),  # pygal leaves too little
        formatter=_number,
        value_formatter=_number,
        x_value_formatter=_number,
        no_data_text="nothing to show",
    )
    chart.uuid = f"chart-{name}"  # the same report gives the same bytes
    chart.add_xml_filter(_without_script)
    return chart


def _number(value: float) -> str:
    return f"{value:,.2f}".rstrip("0").rstrip(".") if abs(value) < _WHOLE_FROM else f"{value:,.0f}"


def _without_script(root: Element) -> Element:
    """Take scripts out, and let values be seen that only they would show.

    Comments go too: pygal writes the day into one, and tomorrow the bytes would be others.
    """
    for parent in list(root.iter()):
        for child in list(parent):
            is_name = _tag(child) == "title" and parent is root
            is_comment = not isinstance(child.tag, str)
            if is_name or is_comment or _tag(child) == "script":
                parent.remove(child)
    for group in list(root.iter()):
        told = {each.get("class"): each for each in group if _tag(each) == "desc"}
        if "value" in told:
            label = told["x_label"].text if "x_label" in told else None
            text = told["value"].text or ""
            SubElement(group, "title").text = f"{label}: {text}" if label else text
        for each in told.values():
            group.remove(each)
    return root


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _drawn(chart: Any) -> str:
    return str(chart.render(is_unicode=True, disable_xml_declaration=True))
