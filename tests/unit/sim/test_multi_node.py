"""Multi-node jobs of traces: all nodes or none, counted as one job."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from batchyard.cli.main import main
from batchyard.core.check import check
from batchyard.model.amounts import Amount
from batchyard.model.ids import name_in_arn
from batchyard.model.node_plans import equal_nodes, whole_demand
from batchyard.model.records import NodeGroup, NodePlan
from batchyard.sim.config import default_config
from batchyard.sim.simulation import Simulation, simulate
from batchyard.sim.trace import BadTrace, Run, TraceJob
from tests.unit.sim.test_simulation import S, a_config, a_job, a_trace

#: What one c5.large can hold.
EACH = Amount(cpu_milli=2000, memory_mib=1024)


def a_wide_job(name: str, came_s: int, ran_s: int, count: int, **more) -> TraceJob:
    plan = equal_nodes(count, EACH)
    assert plan is not None
    return TraceJob(
        id=name,
        submitted_ms=came_s * S,
        run_ms=ran_s * S,
        demand=whole_demand(EACH, plan),
        nodes=plan,
        **more,
    )


def test_all_nodes_start_together_and_are_one_job() -> None:
    # Four instances of two vCPUs: a takes three of them, b needs two and waits for it.
    jobs = (a_wide_job("a", 0, 100, 3), a_wide_job("b", 10, 40, 2), a_job("c", 20, 5))
    report = simulate(a_trace(*jobs), a_config(kind="EC2", vcpus=8))
    assert (report.job_count, report.attempt_count) == (3, 3)
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 3}
    assert report.makespan_ms == 140 * S
    assert report.wait_ms.max == 90 * S
    assert report.utilisation.used_vcpu_seconds == 6 * 100 + 4 * 40 + 5


def test_the_whole_job_is_tried_again() -> None:
    job = a_wide_job("a", 0, 10, 2, attempts_max=3, earlier=(Run(run_ms=3 * S, exit_code=1),))
    report = simulate(a_trace(job), a_config(kind="EC2", vcpus=4))
    assert (report.attempt_count, report.makespan_ms) == (2, 13 * S)
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 1}


def test_a_timeout_ends_all_nodes() -> None:
    jobs = (a_wide_job("a", 0, 1000, 2, timeout_ms=60 * S), a_wide_job("b", 0, 10, 2))
    run = Simulation(a_trace(*jobs), a_config(kind="EC2", vcpus=4), seed=0)
    run.driver.run()
    check(run.driver.state)
    report = simulate(a_trace(*jobs), a_config(kind="EC2", vcpus=4))
    assert report.job_count_by_status == {"FAILED": 1, "SUCCEEDED": 1}
    assert report.makespan_ms == 70 * S


def test_other_nodes_begin_once_the_main_one_runs() -> None:
    text = "[delays]\ntask_start_s = 7\n"
    report = simulate(a_trace(a_wide_job("a", 0, 100, 2)), a_config(text, kind="EC2", vcpus=4))
    # The end of the main node ends the job; the other one is stopped.
    assert (report.makespan_ms, report.wait_ms.max) == (107 * S, 7 * S)


def test_nodes_may_differ() -> None:
    small = Amount(cpu_milli=1000, memory_mib=512)
    plan = NodePlan(
        main_index=1,
        groups=(NodeGroup(count=1, demand=EACH), NodeGroup(count=2, demand=small)),
    )
    job = TraceJob(
        id="a", submitted_ms=0, run_ms=10 * S, demand=whole_demand(EACH, plan), nodes=plan
    )
    report = simulate(a_trace(job), a_config(kind="EC2", vcpus=4))
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 1}
    assert report.utilisation.used_vcpu_seconds == 40


def test_what_can_never_be_together_is_told_with_the_reason() -> None:
    report = simulate(a_trace(a_wide_job("a", 0, 10, 3)), a_config(kind="EC2", vcpus=4))
    (left,) = report.never_runs
    assert (left.job_count, left.examples) == (1, ("a",))
    assert left.reason == "Asked 6 vCPUs; ce has maxvCpus 4 vCPUs: short by 2 vCPUs."


def test_fargate_runs_none_of_them() -> None:
    trace = a_trace(a_wide_job("a", 0, 10, 3))
    for config in (a_config(), default_config(trace)):
        with pytest.raises(BadTrace) as caught:
            simulate(trace, config)
        queue = name_in_arn(config.default_queue)
        assert str(caught.value) == (
            f"{config.name}: job a goes to the queue {queue}, which has an environment of the type"
            " FARGATE, and 3 nodes run together on EC2, SPOT and UNMANAGED only: give a --config"
            " with such a queue"
        )


def test_the_command_reads_nodes(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("id,submit_s,run_s,vcpus,memory_mib,nodes\na,0,9,2,512,3\n")
    (tmp_path / "c.toml").write_text(
        """
[[computeEnvironments]]
computeEnvironmentName = "ce"
computeResources = { type = "EC2", maxvCpus = 8, instanceTypes = ["c5.large"] }
[[jobQueues]]
jobQueueName = "jq"
priority = 1
computeEnvironmentOrder = [{ order = 1, computeEnvironment = "ce" }]
"""
    )
    trace = str(tmp_path / "t.csv")
    good = CliRunner().invoke(main, ["simulate", trace, "--config", str(tmp_path / "c.toml")])
    bad = CliRunner().invoke(main, ["simulate", trace])
    assert good.exit_code == 0
    assert "ce            EC2        c5.large   3 " in good.stdout
    assert bad.exit_code == 1
    assert bad.stderr.startswith("Error: default: job a goes to the queue default, which has an")
