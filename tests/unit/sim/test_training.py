"""Service jobs of traces: within the limits of service environments, on instances of their own."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from batchyard.cli.main import main
from batchyard.sim.config import BadConfig, Config, parse_config
from batchyard.sim.csv_trace import parse_csv
from batchyard.sim.reading import read_trace
from batchyard.sim.simulation import simulate
from batchyard.sim.trace import BadTrace, Trace
from tests.unit.sim.test_simulation import S, a_job, a_trace

HEAD = "id,submit_s,run_s,queue,instance_type,nodes,vcpus,memory_mib,depends_on,array_size"
LARGE, XLARGE = "ml.m5.large", "ml.m5.xlarge"


def a_document(
    *limits: tuple[str, int], more: str = "", machine: str = "", policy: str = ""
) -> str:
    units = ", ".join(
        f'{{ capacityUnit = "{unit}", maxCapacity = {most} }}' for unit, most in limits
    )
    return f"""
{machine}
[[computeEnvironments]]
computeEnvironmentName = "ce"
computeResources = {{ type = "FARGATE", maxvCpus = 4 }}
[[serviceEnvironments]]
serviceEnvironmentName = "lab"
serviceEnvironmentType = "SAGEMAKER_TRAINING"
capacityLimits = [{units}]
[[schedulingPolicies]]
name = "quota"
quotaSharePolicy = {{ idleResourceAssignmentStrategy = "FIFO" }}
[[jobQueues]]
jobQueueName = "jq"
priority = 1
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "ce" }}]
[[jobQueues]]
jobQueueName = "training"
jobQueueType = "SAGEMAKER_TRAINING"
priority = 1
serviceEnvironmentOrder = [{{ order = 1, serviceEnvironment = "lab" }}]
{policy}
{more}
"""


def a_config(*limits: tuple[str, int], **more: str) -> Config:
    return parse_config(a_document(*limits, **more), name="config", where="config.toml")


def training(*rows: str) -> Trace:
    """Jobs of a queue: id, when it came, run time, instance type, how many."""
    return parse_csv(
        [HEAD, *("{},{},{},training,{},{},,,,".format(*row.split()) for row in rows)], "t.csv"
    )


def test_limits_by_type_are_kept_and_the_line_too() -> None:
    trace = training(f"a 0 100 {LARGE} 2", f"b 5 50 {LARGE} 1", f"c 6 100 {XLARGE} 1")
    report = simulate(trace, a_config((LARGE, 2), (XLARGE, 1)))
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 3}
    # b waits for a; c, for which there would be room, stands behind b in the line.
    assert report.wait_ms.max == 95 * S
    assert report.makespan_ms == 200 * S


def test_instances_of_all_types_count_together_where_the_limit_does() -> None:
    trace = training(f"a 0 100 {LARGE} 2", f"b 0 50 {XLARGE} 1", f"c 0 10 {LARGE} 1")
    report = simulate(trace, a_config(("NUM_INSTANCES", 3)))
    assert report.wait_ms.max == 50 * S
    assert report.makespan_ms == 100 * S


def test_what_it_costs_is_counted_by_type_and_has_no_price() -> None:
    report = simulate(training(f"a 0 90 {LARGE} 4"), a_config((LARGE, 4)))
    (line,) = report.cost
    assert (line.compute_environment, line.purchase) == ("lab", "SAGEMAKER_TRAINING")
    assert (line.instance_type, line.count, line.usd) == (LARGE, 4, None)
    assert line.hours == pytest.approx(4 * 90 / 3600)
    used = 4 * 2 * 90
    assert report.utilisation.used_vcpu_seconds == used
    # Four instances of two vCPUs, and the four vCPUs of Fargate.
    assert report.utilisation.of_max == pytest.approx(used / (12 * 90))
    assert report.utilisation.of_launched == 1.0


def test_nothing_bounds_instances_of_any_type_but_a_machine() -> None:
    trace = training(f"a 0 90 {LARGE} 1")
    unbounded = simulate(trace, a_config(("NUM_INSTANCES", 4)))
    machine = "[machine]\nvcpus = 8\n"
    bounded = simulate(trace, a_config(("NUM_INSTANCES", 4), machine=machine))
    assert unbounded.utilisation.of_max == 0.0
    assert bounded.utilisation.of_max == pytest.approx(2 / 8)


def test_on_a_small_machine_jobs_ask_for_less_and_so_it_is_counted() -> None:
    machine = "[machine]\nvcpus = 2\nmemory_mib = 1024\n"
    report = simulate(
        training(f"a 0 10 {LARGE} 2"), a_config(("NUM_INSTANCES", 4), machine=machine)
    )
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 1}
    assert report.utilisation.used_vcpu_seconds == 2 * 10
    assert report.utilisation.of_max == 1.0


def test_quota_shares_count_instances() -> None:
    share = """
[[quotaShares]]
quotaShareName = "{name}"
jobQueue = "training"
capacityLimits = [{{ capacityUnit = "ml.m5.large", maxCapacity = 1 }}]
resourceSharingConfiguration = {{ strategy = "RESERVE" }}
preemptionConfiguration = {{ inSharePreemption = "DISABLED" }}
"""
    config = a_config(
        (LARGE, 2),
        policy='schedulingPolicyArn = "quota"',
        more=share.format(name="vision") + share.format(name="speech"),
    )
    rows = [f"{name},0,10,training,{LARGE},,{share}" for name, share in ("av", "bv", "cs")]
    rows = [row[:-1] + {"v": "vision", "s": "speech"}[row[-1]] for row in rows]
    head = "id,submit_s,run_s,queue,instance_type,nodes,share_identifier"
    report = simulate(parse_csv([head, *rows], "t.csv"), config)
    waits = {each.share_identifier: each.wait_ms.max for each in report.fairness.shares}
    assert waits == {"vision": 10 * S, "speech": 0}


def test_in_a_queue_of_containers_it_is_a_job_of_that_size() -> None:
    rows = [f"a,0,10,jq,{LARGE},,,,,", f"b,0,10,jq,{LARGE},,,,,", f"c,0,10,jq,{LARGE},,,,,"]
    report = simulate(parse_csv([HEAD, *rows], "t.csv"), a_config((LARGE, 1)))
    assert (report.makespan_ms, report.wait_ms.max) == (20 * S, 10 * S)
    (line,) = report.cost
    assert line.purchase == "FARGATE"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,0,1,,ml.no.large,,,,,", "instance_type 'ml.no.large' is no instance type of SageMaker"),
        ("a,0,1,,m5.large,,,,,", "instance_type 'm5.large' is no instance type of SageMaker"),
        (f"a,0,1,,{LARGE},,2,,,", "vcpus must be empty where instance_type says it"),
        ("a,0,1,,,,,512,,", "vcpus is empty"),
        ("a,0,1,,,,1,,,", "memory_mib is empty"),
    ],
)
def test_cells_that_cannot_be_are_refused(row: str, said: str) -> None:
    with pytest.raises(BadTrace) as caught:
        parse_csv([HEAD, row], "t.csv")
    assert str(caught.value).startswith(f"t.csv:2: {said}")


def test_without_sizes_the_column_is_enough() -> None:
    (job,) = parse_csv(["id,submit_s,run_s,instance_type", f"a,0,1,{LARGE}"], "t.csv").jobs
    assert job.demand.cpu_milli == 2000
    assert [(each.unit, each.quantity) for each in job.capacity_use] == [(LARGE, 1)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,0,1,training,,,1,1,,", "there it needs an instance_type, such as ml.m5.large"),
        (f"a,0,1,training,{LARGE},,,,,3", "jobs there are no arrays, and depend on nothing"),
    ],
)
def test_jobs_that_a_queue_of_service_jobs_does_not_take_are_refused(row: str, said: str) -> None:
    with pytest.raises(BadTrace) as caught:
        simulate(parse_csv([HEAD, row], "t.csv"), a_config((LARGE, 1)))
    start = "config: job a goes to the queue training, which has service environments"
    assert str(caught.value) == f"{start}: {said}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('SAGEMAKER_TRAINING"\npri', 'ECS"\npri'), "type ECS has compute environments"),
        (("capacityLimits", "capacityLimit"), "CreateServiceEnvironment has no member"),
        (
            ("[{ capacityUnit", "[{ capacityUnit = 'x', maxCapacity = 1 }, { capacityUnit"),
            "x is not",
        ),
        (('serviceEnvironment = "lab"', 'serviceEnvironment = "no"'), "no does not exist"),
        (
            ("serviceEnvironmentOrder", 'schedulingPolicyArn = "quota"\nserviceEnvironmentOrder'),
            "NUM_INSTANCES is not an instance type",
        ),
    ],
)
def test_service_environments_are_checked_as_the_api_checks_them(
    change: tuple[str, str], said: str
) -> None:
    text = a_document(("NUM_INSTANCES", 4))
    assert change[0] in text
    with pytest.raises(BadConfig) as caught:
        parse_config(text.replace(*change), name="c", where="c.toml")
    assert said in str(caught.value)


def test_the_command_runs_them_beside_containers(tmp_path) -> None:
    (tmp_path / "t.csv").write_text(
        f"{HEAD}\na,0,100,training,{LARGE},2,,,,\nb,0,50,training,{LARGE},1,,,,\n"
        "c,0,20,jq,,,1,512,,\n"
    )
    (tmp_path / "c.toml").write_text(a_document((LARGE, 2)))
    arguments = ["simulate", str(tmp_path / "t.csv"), "--config", str(tmp_path / "c.toml")]
    shown = CliRunner().invoke(main, arguments)
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert shown.exit_code == 0, shown.output
    assert (
        "lab           SAGEMAKER_TRAINING   ml.m5.large   3       0.1     unknown" in shown.stdout
    )
    assert found["runs"][0]["wait_ms"]["max"] == 100 * S
    assert len(read_trace(tmp_path / "t.csv").jobs) == 3


def test_containers_do_not_go_where_service_jobs_do() -> None:
    config = parse_config(
        'default_queue = "training"\n' + a_document((LARGE, 2)), name="c", where="c.toml"
    )
    with pytest.raises(BadTrace, match="which has service environments"):
        simulate(a_trace(a_job("a", 0, 1)), config)
