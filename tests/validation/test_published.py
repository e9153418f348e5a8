"""Job lists that others ran, or worked out, first come first served: all ends to the second."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.validation.published import (
    CQSIM,
    GRAHAM,
    ONE_PROCESSOR,
    ONE_PROCESSOR_LONGEST,
    ONE_PROCESSOR_WAITED,
    PYSS,
    TEXTBOOKS,
    Anomaly,
    Published,
)
from tests.validation.running import fargate, simulated, swf

S = 1000
ALL = (CQSIM, ONE_PROCESSOR, *TEXTBOOKS, *PYSS)


@pytest.mark.parametrize("published", ALL, ids=lambda each: each.name)
def test_every_job_ends_when_its_publisher_says(published: Published, tmp_path) -> None:
    text = swf((job[:3] for job in published.jobs), published.processors)
    rows = simulated(tmp_path, "published.swf", text).rows
    # SWF is read in the order of submission; one of the lists is not in it.
    jobs = sorted(published.jobs, key=lambda job: job[0])
    assert [row.submit_ms for row in rows] == [submit * S for submit, _, _, _ in jobs]
    assert [row.end_ms for row in rows] == [end * S for *_, end in jobs]
    assert [row.start_ms for row in rows] == [(end - run) * S for _, _, run, end in jobs]
    assert {row.status for row in rows} == {"SUCCEEDED"}


def test_the_documentation_says_how_many_were_compared() -> None:
    jobs = [job for each in ALL for job in each.jobs]
    waited = [job for job in jobs if job[3] - job[2] > job[0]]
    page = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text()
    assert (
        f"{len(ALL)} job lists with {len(jobs)} jobs, {len(waited)} of which have to wait" in page
    )


def test_the_waits_that_were_published_are_those_of_the_report(tmp_path) -> None:
    text = swf((job[:3] for job in ONE_PROCESSOR.jobs), ONE_PROCESSOR.processors)
    waits = simulated(tmp_path, "published.swf", text).report["wait_ms"]
    assert waits["mean"] * waits["count"] == pytest.approx(ONE_PROCESSOR_WAITED * S)
    assert waits["max"] == ONE_PROCESSOR_LONGEST * S


@pytest.mark.parametrize(("published", "mean"), [(TEXTBOOKS[0], 17), (TEXTBOOKS[1], 3)])
def test_the_mean_waits_of_the_textbook(published: Published, mean: int, tmp_path) -> None:
    text = swf((job[:3] for job in published.jobs), published.processors)
    assert simulated(tmp_path, "published.swf", text).report["wait_ms"]["mean"] == mean * S


@pytest.mark.parametrize("anomaly", GRAHAM, ids=lambda each: each.name)
def test_lists_with_dependencies_take_as_long_as_graham_has_it(anomaly: Anomaly, tmp_path) -> None:
    lines = ["id,submit_s,run_s,vcpus,memory_mib,depends_on"]
    for task in anomaly.order:
        after = " ".join(map(str, anomaly.after.get(task, ())))
        lines.append(f"{task},0,{anomaly.run[task]},1,1,{after}")
    text = "\n".join(lines) + "\n"
    report = simulated(tmp_path, "graham.csv", text, fargate(anomaly.machines)).report
    assert report["makespan_ms"] == anomaly.makespan * S
