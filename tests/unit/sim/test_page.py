"""The page of a comparison: whole in itself, the same each time, and safe whatever is named."""

import re
from xml.etree import ElementTree

from click.testing import CliRunner

from batchyard.cli.simulate import rows_of, simulate_command
from batchyard.model.amounts import Amount
from batchyard.sim.config import default_config, parse_config
from batchyard.sim.page import page_of
from batchyard.sim.report import Comparison
from batchyard.sim.simulation import simulate
from batchyard.sim.trace import Trace, TraceJob

EVIL = "<script>alert('x')</script>&"
CONFIG = f"""
name = "{EVIL}"
[[computeEnvironments]]
computeEnvironmentName = "ce"
computeResources = {{ type = "FARGATE", maxvCpus = 1 }}
[[schedulingPolicies]]
name = "fair"
[schedulingPolicies.fairsharePolicy]
shareDistribution = [{{ shareIdentifier = "a", weightFactor = 1.0 }}]
[[jobQueues]]
jobQueueName = "main"
priority = 1
schedulingPolicyArn = "fair"
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "ce" }}]
"""
#: Names of formats, which nothing fetches.
_KNOWN = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def a_trace(*, vcpus: int = 1) -> Trace:
    jobs = [
        TraceJob(
            id=f"job {number}",
            submitted_ms=number * 1000,
            run_ms=60_000,
            demand=Amount(cpu_milli=1000 * vcpus, memory_mib=512),
            share_identifier=share,
        )
        for number, share in enumerate(("a", "a", "b"))
    ]
    return Trace(name=EVIL, jobs=jobs, began_ms=1_000_000, notes=(EVIL,))


def a_page(*, vcpus: int = 1) -> str:
    trace = a_trace(vcpus=vcpus)
    configs = [default_config(trace), parse_config(CONFIG, name="fair", where="fair")]
    found = Comparison(
        trace=trace.name,
        began_ms=trace.began_ms,
        notes=trace.notes,
        runs=tuple(simulate(trace, config) for config in configs),
    )
    return page_of(found, rows_of(found))


def test_the_page_needs_nothing_else_and_runs_nothing() -> None:
    page = a_page()

    assert "<script" not in page
    assert not re.search(r"<(link|img|iframe|object|embed|image|use)\b|@import|url\(", page)
    assert set(re.findall(r"https?://[^\"'<>) ]*", page)) <= _KNOWN
    assert "default-src 'none'" in page


def test_whatever_was_named_is_text() -> None:
    page = a_page(vcpus=2)

    escaped = "&lt;script&gt;alert("
    assert page.count("alert(") == page.count(escaped) >= 4
    assert "Jobs that never run" in page


def test_configurations_stand_side_by_side_in_well_formed_charts() -> None:
    page = a_page()

    drawn = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:4] == ["Wait", "Waiting jobs", "Used vCPUs", "Launched vCPUs"]
    assert [title.partition(":")[0] for title in titles[4:]] == ["Shares", "Shares", "Cost"]
    assert len(drawn) == len(titles)
    for each in drawn:
        ElementTree.fromstring(each)  # noqa: S314 -- we have just drawn it
    assert "<td>3</td><td>3</td>" in page
    tooltips = re.findall(r"<title>(.*?)</title>", drawn[0])
    assert [each for each in tooltips if each.startswith("max")] == ["max: 0", "max: 119"]


def test_the_same_comparison_gives_the_same_bytes() -> None:
    assert a_page() == a_page()


def test_the_page_does_not_know_the_day() -> None:
    assert "<!--" not in a_page()


def test_the_command_writes_the_page_beside_its_tables(tmp_path) -> None:
    trace, page = tmp_path / "trace.csv", tmp_path / "page.html"
    trace.write_text("id,submit_s,run_s,vcpus,memory_mib\na,0,5,1,4\n")

    shown = CliRunner().invoke(simulate_command, [str(trace), "--html", str(page)])

    assert shown.exit_code == 0, shown.output
    assert "makespan" in shown.output
    assert page.read_text().startswith("<!doctype html>")


def test_the_command_wants_one_source(tmp_path) -> None:
    for given in ([], [str(tmp_path / "trace.csv"), "--history"]):
        shown = CliRunner().invoke(simulate_command, given)
        assert shown.exit_code == 2
        assert "Error: give either TRACE or --history" in shown.output
