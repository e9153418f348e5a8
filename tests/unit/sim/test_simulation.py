"""Traces under configurations: figures by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batchyard.core.check import check
from batchyard.model.amounts import Amount
from batchyard.model.node_plans import equal_nodes, whole_demand
from batchyard.model.wording import TIMEOUT_EXCEEDED
from batchyard.sim.config import BadConfig, default_config, parse_config
from batchyard.sim.report import CostLine, NeverRuns
from batchyard.sim.simulation import Simulation, simulate
from batchyard.sim.trace import Run, Trace, TraceJob

S = 1000


def a_job(name: str, came_s: int, ran_s: int, vcpus: int = 1, **more) -> TraceJob:
    return TraceJob(
        id=name,
        submitted_ms=came_s * S,
        run_ms=ran_s * S,
        demand=Amount(cpu_milli=1000 * vcpus, memory_mib=1024 * vcpus),
        **more,
    )


def a_trace(*jobs: TraceJob) -> Trace:
    return Trace(name="trace", jobs=jobs)


def a_config(text="", *, kind="FARGATE", vcpus=2, **queue):
    more = "\n".join(f"{name} = {value}" for name, value in queue.items())
    types = '\ninstanceTypes = ["c5.large"]' if kind in ("EC2", "SPOT") else ""
    document = f"""
{text}
[[computeEnvironments]]
computeEnvironmentName = "ce"
[computeEnvironments.computeResources]
type = "{kind}"
maxvCpus = {vcpus}{types}
[[jobQueues]]
jobQueueName = "jq"
priority = 1
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "ce" }}]
{more}
"""
    return parse_config(document, name="config", where="config.toml")


FAIR = """
[[schedulingPolicies]]
name = "fair"
[schedulingPolicies.fairsharePolicy]
shareDecaySeconds = 600
shareDistribution = [{ shareIdentifier = "A", weightFactor = 0.25 }]
"""


def test_the_figures_of_three_jobs_by_hand() -> None:
    # 2 vCPUs: a runs 0-100 on one, b 10-60 on the other, c (two wide) waits from 20 to 100.
    report = simulate(
        a_trace(a_job("a", 0, 100), a_job("b", 10, 50), a_job("c", 20, 40, vcpus=2)), a_config()
    )
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 3}
    assert report.makespan_ms == 140 * S
    waits = report.wait_ms
    assert (waits.count, waits.median, waits.p90, waits.max) == (3, 0, 80 * S, 80 * S)
    assert waits.mean == pytest.approx(80 * S / 3)
    assert report.bounded_slowdown.max == 3.0  # (80 + 40) / 40
    used = 100 + 50 + 80
    assert report.utilisation.used_vcpu_seconds == used
    assert report.utilisation.of_max == pytest.approx(used / 280)
    assert report.utilisation.of_launched == 1.0
    assert report.never_runs == ()
    waited = sum(
        point.waiting * (end - point.at_ms)
        for point, end in zip(
            report.over_time, [p.at_ms for p in report.over_time[1:]] + [140 * S], strict=True
        )
    )
    assert waited == pytest.approx(80 * S)


def test_a_short_job_is_slowed_down_as_one_of_ten_seconds() -> None:
    report = simulate(a_trace(a_job("a", 0, 20), a_job("b", 0, 1)), a_config(vcpus=1))
    assert report.bounded_slowdown.max == pytest.approx(21 / 10)


def test_shares_of_a_policy_get_what_is_due_to_them() -> None:
    jobs = [
        a_job(f"{share}{number}", 0, 10, share_identifier=share)
        for number in range(40)
        for share in ("A", "B")
    ]
    fair = simulate(a_trace(*jobs), a_config(FAIR, schedulingPolicyArn='"fair"', vcpus=5))
    line = simulate(a_trace(*jobs), a_config(vcpus=5))
    by_name = {share.share_identifier: share for share in fair.fairness.shares}
    assert by_name["A"].weight_factor == 0.25
    assert by_name["B"].weight_factor == 1.0
    assert by_name["A"].wait_ms.mean < by_name["B"].wait_ms.mean
    for report in (fair, line):
        shares = report.fairness.shares
        assert sum(each.contended_vcpu_seconds for each in shares) == pytest.approx(
            sum(each.due_vcpu_seconds for each in shares)
        )
        used = report.utilisation.used_vcpu_seconds
        assert sum(each.used_vcpu_seconds for each in shares) == pytest.approx(used)
    assert fair.fairness.jain_index > 0.95
    assert line.fairness.jain_index == pytest.approx(1.0, abs=0.01)


def test_the_weight_of_a_prefix_is_for_all_its_shares_together() -> None:
    policy = FAIR.replace('"A", weightFactor = 0.25', '"A*", weightFactor = 1.0')
    jobs = [
        a_job(f"{share}{number}", 0, 100, share_identifier=share)
        for number in range(200)
        for share in ("A1", "A2", "B")
    ]
    fair = simulate(a_trace(*jobs), a_config(policy, schedulingPolicyArn='"fair"', vcpus=4))
    due = {each.share_identifier: each.due_vcpu_seconds for each in fair.fairness.shares}
    got = {each.share_identifier: each.contended_vcpu_seconds for each in fair.fairness.shares}
    assert due["A1"] == pytest.approx(due["A2"], rel=0.01)
    for share in due:
        assert got[share] == pytest.approx(due[share], rel=0.03)


def test_jobs_whose_instance_is_taken_are_tried_again_if_that_is_said() -> None:
    text = "[interruptions]\nper_hour = 2.0\nretries = 9\n"
    jobs = [a_job(f"j{number}", 60 * number, 1800) for number in range(20)]
    jobs.append(a_job("bad", 0, 10, exit_code=1))
    report = simulate(a_trace(*jobs), a_config(text, kind="SPOT", vcpus=8))
    assert report.job_count_by_status == {"FAILED": 1, "SUCCEEDED": 20}
    assert report.spot_interruption_count > 0
    assert report.attempt_count > 21


def test_instances_cost_from_launch_to_end_and_fargate_by_the_attempt() -> None:
    text = "[delays]\ninstance_boot_s = 30\ninstance_idle_s = 90\n[prices]\nspot_percent = 40\n"
    jobs = a_trace(a_job("a", 0, 3600))
    (on_demand,) = simulate(jobs, a_config(text, kind="EC2")).cost
    (spot,) = simulate(jobs, a_config(text, kind="SPOT")).cost
    hours = (30 + 3600 + 90) / 3600
    assert on_demand.usd == pytest.approx(hours * 0.085)
    assert on_demand == CostLine(
        compute_environment="ce",
        purchase="EC2",
        instance_type="c5.large",
        count=1,
        hours=hours,
        usd=on_demand.usd,
    )
    assert spot.usd == pytest.approx(hours * 0.085 * 0.4)
    (fargate,) = simulate(jobs, a_config()).cost
    assert fargate.usd == pytest.approx(0.04048 + 0.004445)


def test_fargate_bills_at_least_a_minute() -> None:
    (line,) = simulate(a_trace(a_job("a", 0, 1)), a_config()).cost
    assert line.hours == pytest.approx(1 / 60)


def test_what_failed_before_fails_again_and_is_tried_again() -> None:
    job = a_job("a", 0, 10, attempts_max=3, earlier=(Run(run_ms=3 * S, exit_code=1),))
    report = simulate(a_trace(job), a_config())
    assert report.attempt_count == 2
    assert report.makespan_ms == 13 * S
    assert report.job_count_by_status["SUCCEEDED"] == 1


def test_a_timeout_ends_a_job_and_those_that_depend_on_it() -> None:
    jobs = (a_job("a", 0, 1000, timeout_ms=60 * S), a_job("b", 5, 1, depends_on=("a",)))
    report = simulate(a_trace(*jobs), a_config())
    assert report.job_count_by_status == {"FAILED": 2, "SUCCEEDED": 0}
    assert report.attempt_count == 1
    assert report.makespan_ms == 60 * S
    assert [(each.job_count, each.examples) for each in report.failures] == [
        (1, ("b",)),
        (1, ("a",)),
    ]
    assert report.failures[1].reason == TIMEOUT_EXCEEDED


def test_dependencies_hold_also_those_that_are_over_and_waits_begin_after_them() -> None:
    jobs = (
        a_job("a", 0, 10),
        a_job("b", 0, 10, depends_on=("a",)),
        a_job("c", 100, 10, depends_on=("a", "b")),
    )
    report = simulate(a_trace(*jobs), a_config())
    assert report.makespan_ms == 110 * S
    assert report.wait_ms.max == 0


def test_children_of_arrays_are_jobs_and_each_runs_as_long_as_it_did() -> None:
    runs = tuple(Run(run_ms=each * S, exit_code=code) for each, code in ((5, 0), (7, 1), (9, 0)))
    jobs = (
        a_job("a", 0, 1, array_size=3, child_runs=runs),
        a_job("b", 0, 1, depends_on=("a",), array_size=2),
    )
    report = simulate(a_trace(*jobs), a_config())
    assert report.job_count == 5
    assert report.job_count_by_status == {"FAILED": 3, "SUCCEEDED": 2}
    assert report.attempt_count == 3
    assert report.makespan_ms == 14 * S  # 0-5, 0-7, 5-14


def test_what_can_never_run_is_told_with_the_reason() -> None:
    jobs = (a_job("a", 0, 1, vcpus=64), a_job("b", 1, 1), a_job("c", 2, 1, depends_on=("a",)))
    report = simulate(a_trace(*jobs), a_config())
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 1, "RUNNABLE": 1, "PENDING": 1}
    never, waits = report.never_runs
    assert (never.job_count, never.examples) == (1, ("a",))
    assert "64" in never.reason
    assert waits == NeverRuns(
        reason="It waits for jobs that never end.", job_count=1, examples=("c",)
    )


def test_spot_is_reclaimed_by_the_seed() -> None:
    text = "[interruptions]\nper_hour = 2.0\n"
    jobs = [a_job(f"j{number}", 60 * number, 1800, attempts_max=10) for number in range(20)]
    config = a_config(text, kind="SPOT", vcpus=8)
    first, again, other = (simulate(a_trace(*jobs), config, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert first.spot_interruption_count > 0
    assert first.attempt_count > 20


def test_a_machine_bounds_all_environments() -> None:
    text = "[machine]\nvcpus = 1\nmemory_mib = 4096\n"
    jobs = a_trace(a_job("a", 0, 10), a_job("b", 0, 10))
    report = simulate(jobs, a_config(text, vcpus=100))
    assert report.makespan_ms == 20 * S
    assert report.utilisation.of_max == 1.0


def test_the_default_is_as_large_as_the_traces_machine_or_its_work() -> None:
    jobs = (a_job("a", 0, 100, vcpus=4), a_job("b", 10, 100, vcpus=4))
    of_machine = default_config(Trace(name="t", jobs=jobs, processors=128))
    of_work = default_config(a_trace(*jobs))
    assert of_machine.environments[0].cpu_milli_max == 128_000
    assert of_work.environments[0].cpu_milli_max == 80_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "unknown field `x`"),
        ("[delays]\ninstance_boot_s = -1\n", "`$.delays.instance_boot_s`"),
        ('default_queue = "no"\n', "there is no job queue no; there are: jq"),
        ('[queues]\n"1" = "no"\n', "there is no job queue no"),
        ("[machine\n", "is no TOML"),
    ],
)
def test_bad_configurations_say_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(BadConfig, match=r"^config\.toml: ") as caught:
        a_config(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "EC3"}, "computeResources type EC3 is not one of"),
        ({"vcpus": -1}, "maxvCpus must not be below 0."),
        ({"schedulingPolicyArn": '"x"'}, "scheduling policy x does not exist"),
        ({"prioritee": "1"}, "CreateJobQueue has no member prioritee"),
    ],
)
def test_members_are_checked_as_the_api_checks_them(more: dict[str, str], said: str) -> None:
    with pytest.raises(BadConfig) as caught:
        a_config(**more)
    assert said in str(caught.value)


@settings(deadline=None, max_examples=25)
@given(st.data())
def test_every_job_ends_or_is_told_of(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(("FARGATE", "EC2")))
    jobs: list[TraceJob] = []
    for number in range(data.draw(st.integers(1, 10))):
        before = [job.id for job in jobs]
        job = a_job(
            f"j{number}",
            number * data.draw(st.sampled_from((0, 3)))
            + (jobs[-1].submitted_ms // S if jobs else 0),
            data.draw(st.integers(0, 30)),
            vcpus=data.draw(st.integers(1, 3)),
            exit_code=data.draw(st.sampled_from((0, 0, 1))),
            attempts_max=data.draw(st.integers(1, 3)),
            array_size=data.draw(st.sampled_from((None, None, 2, 5))),
            timeout_ms=data.draw(st.sampled_from((None, 20 * S))),
            depends_on=tuple(data.draw(st.lists(st.sampled_from(before), max_size=2, unique=True)))
            if before
            else (),
            share_identifier=data.draw(st.sampled_from(("A", "B"))),
        )
        if kind == "EC2" and job.array_size is None:
            nodes = equal_nodes(data.draw(st.integers(1, 3)), job.demand)
            if nodes is not None:
                job = replace(job, nodes=nodes, demand=whole_demand(job.demand, nodes))
        jobs.append(job)
    policy = {"schedulingPolicyArn": '"fair"'} if data.draw(st.booleans()) else {}
    config = a_config(FAIR, kind=kind, vcpus=data.draw(st.sampled_from((2, 8))), **policy)
    run = Simulation(a_trace(*jobs), config, seed=0)
    run.driver.run()
    check(run.driver.state)
    report = simulate(a_trace(*jobs), config)
    count = sum(job.array_size or 1 for job in jobs)
    assert sum(report.job_count_by_status.values()) == count == report.job_count
    assert sum(each.job_count for each in report.never_runs) == sum(
        report.job_count_by_status.get(status, 0) for status in ("RUNNABLE", "PENDING", "RUNNING")
    )


def test_the_configuration_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "simulate.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    config = parse_config(text, name="page", where="docs/simulate.md")
    assert config.name == "fair on Spot"
    assert len(config.hosts) == 8
    queue, training = config.queues
    assert queue.policy is not None
    assert list(config.service_queues) == [training.arn]
    assert config.queue_of("2") == config.queue_of("other") == queue.arn
