"""Any trace, job by job, against the definition of first come, first served; and every figure.

Goal: no trace is found of which a start or a figure differs. Method: traces drawn by hypothesis,
small and full of ties (jobs that come at once, end at once, run for no time, are as wide as the
machine or wider), and traces of the shape of real ones from fixed seeds.
"""

from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.validation import definitions as by
from tests.validation.running import Result, Row, fargate, queue, simulated, swf

S = 1000

jobs_with_ties = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 10), st.sampled_from((0, 0, 1, 2, 5, 9, 30))),
    min_size=1,
    max_size=25,
)


def like_real_ones(seed: int, count: int, processors: int) -> list[by.Job]:
    """Draw jobs as Lublin and Feitelson model them: bursts, mostly powers of two, a long tail.

    Their run times are of a log-normal spread; some take no time, and a few are too wide.
    """
    rng = Random(seed)
    at, jobs = 0.0, []
    for _ in range(count):
        at += rng.choice((0, 0, rng.gammavariate(0.5, 240)))
        power = rng.uniform(0, 1.02 * (processors - 1).bit_length())
        width = 2 ** round(power) if rng.random() < 0.75 else round(2**power)
        run = 0 if rng.random() < 0.05 else round(rng.lognormvariate(5.0, 1.8))
        jobs.append((int(at), max(1, width), run))
    return jobs


def assert_starts(result: Result, jobs: list[by.Job], processors: int) -> None:
    expected = by.first_come(jobs, processors)
    assert result.starts_ms() == [None if at is None else at * S for at in expected]
    for row, (_, _, run), at in zip(result.rows, jobs, expected, strict=True):
        assert row.end_ms == (None if at is None else (at + run) * S)
        assert row.status == ("RUNNABLE" if at is None else "SUCCEEDED")
        assert row.attempt_count == (0 if at is None else 1)


def assert_spread(found: dict[str, float], expected: dict[str, float]) -> None:
    assert found == pytest.approx(expected, rel=1e-12)


def assert_figures(result: Result, processors: int) -> None:
    rows, report = result.rows, result.report
    if waits := by.waits_of(rows):
        assert_spread(report["wait_ms"], by.spread(waits))
        assert_spread(report["bounded_slowdown"], by.spread(by.bounded_slowdowns_of(rows)))
    makespan = by.makespan_ms(rows)
    assert report["makespan_ms"] == makespan
    first = min(row.submit_ms for row in rows)
    used = by.used_between(rows, first, first + makespan)
    utilisation = report["utilisation"]
    assert utilisation["used_vcpu_seconds"] == pytest.approx(used / 1_000_000)
    of_max = used / (1000 * processors * makespan) if makespan else 0.0
    assert utilisation["of_max"] == pytest.approx(of_max)
    assert utilisation["of_launched"] == (1.0 if used else 0.0)
    assert report["cost_usd"] == pytest.approx(by.fargate_usd(rows))
    assert_course(report["over_time"], rows, first, first + makespan)


def assert_course(points: list[dict[str, float]], rows: list[Row], begin: int, end: int) -> None:
    """Check each stretch, or every seventh of many."""
    ends = [int(point["at_ms"]) for point in points] + [end]
    assert ends[0] == begin
    for index in range(0, len(points), 7 if len(points) > 100 else 1):
        point, stretch = points[index], (ends[index], ends[index + 1])
        span = stretch[1] - stretch[0]
        assert point["waiting"] == pytest.approx(by.waited_between(rows, *stretch) / span)
        used = by.used_between(rows, *stretch) / span / 1000
        assert point["used_vcpus"] == pytest.approx(used)
        assert point["launched_vcpus"] == pytest.approx(used)


@settings(deadline=None)
@example([(3, 9, 0), (25, 1, 0), (26, 9, 0)])  # one that never starts comes after the last end
@given(jobs_with_ties)
def test_small_traces_full_of_ties(tmp_path_factory: pytest.TempPathFactory, drawn) -> None:
    jobs = sorted(drawn, key=lambda job: job[0])
    result = simulated(tmp_path_factory.getbasetemp(), "ties.swf", swf(jobs, 8))
    assert_starts(result, jobs, 8)
    assert_figures(result, 8)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("processors", [1, 100, 128])
def test_traces_of_the_shape_of_real_ones(seed: int, processors: int, tmp_path) -> None:
    jobs = like_real_ones(seed, 600, processors)
    result = simulated(tmp_path, "like.swf", swf(jobs, processors))
    assert_starts(result, jobs, processors)
    assert (
        sum(
            at is not None and at > job[0] * S
            for at, job in zip(result.starts_ms(), jobs, strict=True)
        )
        > 50
    )
    assert_figures(result, processors)


@settings(deadline=None, max_examples=30)
@given(data=st.data(), processors=st.sampled_from((4, 1000)))
def test_jobs_that_wait_for_others(
    data: st.DataObject, processors: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """On a machine without bounds this is the longest path through the graph."""
    drawn = data.draw(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(1, 4), st.integers(1, 9)),
            min_size=1,
            max_size=20,
        )
    )
    jobs = sorted(drawn, key=lambda job: job[0])
    after = [
        data.draw(st.lists(st.integers(0, number - 1), max_size=3, unique=True)) if number else []
        for number in range(len(jobs))
    ]
    lines = ["id,submit_s,run_s,vcpus,memory_mib,depends_on"]
    lines += [
        f"{number},{submit},{run},{width},1,{' '.join(map(str, after[number]))}"
        for number, (submit, width, run) in enumerate(jobs)
    ]
    text = "\n".join(lines) + "\n"
    folder = tmp_path_factory.getbasetemp()
    result = simulated(folder, "graph.csv", text, fargate(processors))
    assert result.starts_ms() == [at * S for at in by.listed(jobs, after, processors)]
    for number, row in enumerate(result.rows):
        ready = max(
            [jobs[number][0] * S, *(result.rows[each].end_ms or 0 for each in after[number])]
        )
        assert row.ready_ms == ready


_WEIGHTS = {"A": Fraction(1, 2), "B": Fraction(1), "C": Fraction(4)}
_FAIR = """
[[schedulingPolicies]]
name = "fair"
[schedulingPolicies.fairsharePolicy]
shareDecaySeconds = 600
shareDistribution = [
  { shareIdentifier = "A", weightFactor = 0.5 },
  { shareIdentifier = "C", weightFactor = 4.0 },
]
"""


@pytest.mark.parametrize("policy", ['schedulingPolicyArn = "fair"', ""])
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_shares_and_what_was_due_to_them(
    policy: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    jobs = data.draw(
        st.lists(
            st.tuples(
                st.integers(0, 40),
                st.integers(1, 4),
                st.integers(1, 100_000),
                st.sampled_from("ABC"),
            ),
            min_size=2,
            max_size=16,
        )
    )
    lines = ["id,submit_s,run_s,vcpus,memory_mib,share_identifier"]
    lines += [
        f"{number},{submit},{run / S},{width},{512 * width},{share}"
        for number, (submit, width, run, share) in enumerate(sorted(jobs))
    ]
    config = fargate(4, queue("jq", 1, policy), _FAIR)
    text = "\n".join(lines) + "\n"
    result = simulated(tmp_path_factory.getbasetemp(), "shares.csv", text, config)
    weights = _WEIGHTS if policy else dict.fromkeys(_WEIGHTS, Fraction(1))
    used, due, jain = by.fairness(result.rows, weights)
    report = result.report["fairness"]
    assert report["jain_index"] == pytest.approx(jain)
    for share in report["shares"]:
        name = share["share_identifier"]
        assert share["contended_vcpu_seconds"] == pytest.approx(float(used[name] / 1_000_000))
        assert share["due_vcpu_seconds"] == pytest.approx(float(due[name] / 1_000_000))
        of_share = [row for row in result.rows if row.share == name]
        assert_spread(share["wait_ms"], by.spread(by.waits_of(of_share)))
    assert_figures(result, 4)


def test_instances_are_billed_from_launch_to_end(tmp_path) -> None:
    """Of jobs far apart each has an instance of its own: boot, run, idle, in seconds rounded up."""
    runs = ("0.001", "0.999", "3", "59.5", "3600.001")
    lines = ["id,submit_s,run_s,vcpus,memory_mib"]
    lines += [f"{number},{10_000 * number},{run},2,1024" for number, run in enumerate(runs)]
    config = _EC2 + queue("jq", 1)
    result = simulated(tmp_path, "apart.csv", "\n".join(lines) + "\n", config)
    # 20.25 s to boot, 7 s idle. AWS's list price of a c5.large in us-east-1: 0.085 USD an hour.
    seconds = (60, 60, 60, 87, 3628)
    assert [row.start_ms for row in result.rows] == [10_000_000 * n + 20_250 for n in range(5)]
    assert result.report["cost_usd"] == pytest.approx(0.085 * sum(seconds) / 3600)
    (line,) = result.report["cost"]
    assert (line["count"], line["hours"]) == (5, pytest.approx(sum(seconds) / 3600))


_EC2 = """
[[computeEnvironments]]
computeEnvironmentName = "ce"
computeResources = { type = "EC2", maxvCpus = 2, instanceTypes = ["c5.large"] }
[delays]
instance_boot_s = 20.25
instance_idle_s = 7
"""
