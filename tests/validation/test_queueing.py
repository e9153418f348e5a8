"""Long traces of random jobs against the theorems of queueing theory.

Goal: waits, the part of jobs that wait, and the use of shares come to what is known of such queues.
Method: traces drawn from fixed seeds, run as they are; their means may be off by four standard
errors, which are estimated from the means of batches and must be small themselves. (Batches are not
quite independent, so the errors are larger than that now and then: of 300 seeds of M/M/2, run by a
recursion, two were off by more than three of them, and none by four.) The seeds are fixed: a run
passes always or never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import exp, factorial, sqrt
from random import Random
from statistics import fmean, stdev

import pytest

from batchyard.model.amounts import Amount
from batchyard.sim.config import parse_config
from batchyard.sim.job_table import JobTable
from batchyard.sim.report import RunReport
from batchyard.sim.simulation import simulate
from batchyard.sim.trace import Trace, TraceJob
from tests.validation.running import fargate, queue

#: The unit of time of the drawn numbers.
UNIT_MS = 100_000
JOBS = 10_000
#: The queue is empty at first: these are left out.
WARM_UP = 500
BATCHES = 20
#: How many standard errors a mean may be off, and what part of the mean one may be at most.
ERRORS_MAX = 4.0
ERROR_PART_MAX = 0.1

Draw = Callable[[Random], float]


def exponential(mean: float) -> Draw:
    return lambda rng: rng.expovariate(1 / mean)


def poisson(
    rng: Random, arrival: float, draw: Draw, *, count: int = JOBS, queue: str = ""
) -> Iterator[TraceJob]:
    """Let jobs of one vCPU come at random moments."""
    at = 0.0
    for number in range(count):
        at += rng.expovariate(arrival)
        yield TraceJob(
            id=f"{queue}{number}",
            submitted_ms=round(at * UNIT_MS),
            run_ms=round(draw(rng) * UNIT_MS),
            demand=Amount(cpu_milli=1000, memory_mib=1),
            queue=queue,
        )


def run(jobs: Sequence[TraceJob], config: str) -> tuple[JobTable, RunReport]:
    kept: list[JobTable] = []
    trace = Trace(name="drawn", jobs=sorted(jobs, key=lambda job: job.submitted_ms))
    report = simulate(trace, parse_config(config, name="c", where="c"), keep=kept.append)
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": len(jobs)}
    return kept[0], report


def waits(table: JobTable, queue: str = "") -> list[float]:
    """Give the waits of a queue's jobs, without those of the beginning."""
    found = [
        (started_ms - job.submitted_ms) / UNIT_MS
        for job, started_ms in zip(table.jobs, table.started_ms, strict=True)
        if job.queue == queue
    ]
    return found[WARM_UP:]


def assert_mean(values: Sequence[float], expected: float) -> None:
    size = len(values) // BATCHES
    means = [fmean(values[at : at + size]) for at in range(0, size * BATCHES, size)]
    error = stdev(means) / sqrt(BATCHES)
    assert error <= ERROR_PART_MAX * expected
    assert abs(fmean(values) - expected) <= ERRORS_MAX * error


def erlang_c(servers: int, load: float) -> float:
    """Give the part of jobs that wait in M/M/c, of the offered load `arrival * service`."""
    full = load**servers / factorial(servers) * servers / (servers - load)
    return full / (sum(load**k / factorial(k) for k in range(servers)) + full)


def test_erlang_c_is_what_books_have_of_one_and_two_servers() -> None:
    assert erlang_c(1, 0.6) == pytest.approx(0.6)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(2, 1.5) == pytest.approx(2 * 0.75**2 / (1 + 0.75))


@pytest.mark.slow
@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.2), (4, 2.4)])
def test_erlangs_formula(servers: int, load: float) -> None:
    """M/M/c: C of the jobs wait, C * exp(-(servers - load) * t) longer than t."""
    jobs = list(poisson(Random(servers), load, exponential(1)))
    table, report = run(jobs, fargate(servers))
    found = waits(table)
    part = erlang_c(servers, load)
    for longer in (0.0, 0.5):
        expected = part * exp(-(servers - load) * longer)
        assert_mean([float(wait > longer) for wait in found], expected)
    assert_mean(found, part / (servers - load))
    assert report.utilisation.of_max == pytest.approx(load / servers, rel=0.03)


def hyperexponential(rng: Random) -> float:
    """Draw from a mix of short and long jobs: the mean is 1, the mean square 4."""
    return rng.expovariate(1 / 0.5) if rng.random() < 0.8 else rng.expovariate(1 / 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "load", "square"),
    [(lambda _: 1.0, 0.6, 1.0), (hyperexponential, 0.4, 4.0)],
    ids=["equal jobs", "short and long jobs"],
)
def test_pollaczek_and_khinchines_formula(draw: Draw, load: float, square: float) -> None:
    """M/G/1: the mean wait is arrival * the mean square of service / 2 / (1 - load)."""
    table, _ = run(list(poisson(Random(1), load, draw)), fargate(1))
    assert_mean(waits(table), load * square / 2 / (1 - load))


TWO = queue("high", 10) + queue("low", 1)


@pytest.mark.slow
def test_cobhams_formula_of_two_priorities() -> None:
    """M/G/1 without preemption: R / (1 - high), and R / (1 - high) / (1 - high - low)."""
    rng = Random(2)
    high = list(poisson(rng, 0.5, exponential(0.5), queue="high"))
    low = list(poisson(rng, 0.2, lambda _: 1.5, queue="low", count=JOBS * 2 // 5))
    table, _ = run(high + low, fargate(1, TWO))
    rest = (0.5 * 2 * 0.5**2 + 0.2 * 1.5**2) / 2
    assert_mean(waits(table, "high"), rest / (1 - 0.25))
    assert_mean(waits(table, "low"), rest / (1 - 0.25) / (1 - 0.25 - 0.3))


@pytest.mark.slow
def test_two_priorities_on_several_servers() -> None:
    """M/M/c without preemption: as Cobham's, with C * service / servers for R."""
    rng = Random(3)
    high = list(poisson(rng, 0.75, exponential(1), queue="high"))
    low = list(poisson(rng, 0.75, exponential(1), queue="low"))
    table, _ = run(high + low, fargate(3, TWO))
    rest = erlang_c(3, 1.5) / 3
    assert_mean(waits(table, "high"), rest / (1 - 0.25))
    assert_mean(waits(table, "low"), rest / (1 - 0.25) / (1 - 0.5))


WEIGHTS = {"a": 0.5, "b": 1.0, "c": 2.0}
FAIR = """
[[schedulingPolicies]]
name = "fair"
[schedulingPolicies.fairsharePolicy]
shareDecaySeconds = 86400
shareDistribution = [
  { shareIdentifier = "a", weightFactor = 0.5 },
  { shareIdentifier = "c", weightFactor = 2.0 },
]
"""


@pytest.mark.slow
def test_shares_use_in_proportion_to_one_by_weight() -> None:
    """While every share has a backlog, whatever the size and the length of its jobs.

    They are short beside the time in which use decays: what is forgotten is not made good.
    """
    rng = Random(4)
    sizes = {"a": (1, 0.3), "b": (3, 2.0), "c": (2, 1.0)}
    jobs = [
        TraceJob(
            id=f"{share}{number}",
            submitted_ms=0,
            run_ms=round(rng.expovariate(1 / mean) * UNIT_MS),
            demand=Amount(cpu_milli=1000 * vcpus, memory_mib=1),
            share_identifier=share,
        )
        for share, (vcpus, mean) in sizes.items()
        for number in range(round(3000 / mean / vcpus / WEIGHTS[share] / 4))
    ]
    policy = queue("jq", 1, 'schedulingPolicyArn = "fair"')
    table, _ = run(jobs, fargate(12, policy, FAIR))
    rows = list(zip(table.jobs, table.started_ms, table.ended_ms, strict=True))
    last_starts = [max(at for job, at, _ in rows if job.share_identifier == s) for s in WEIGHTS]
    until_ms = min(last_starts)
    assert until_ms > 200 * UNIT_MS
    used = dict.fromkeys(WEIGHTS, 0.0)
    for job, started_ms, ended_ms in rows:
        held_ms = max(0, min(ended_ms, until_ms) - started_ms)
        used[job.share_identifier or ""] += held_ms * job.demand.cpu_milli
    parts = {share: used[share] / sum(used.values()) for share in WEIGHTS}
    due = {
        share: 1 / weight / sum(1 / each for each in WEIGHTS.values())
        for share, weight in WEIGHTS.items()
    }
    assert parts == pytest.approx(due, rel=0.01)
