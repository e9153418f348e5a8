"""UNMANAGED environments: instances that somebody brought, there from the beginning."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from batchyard.cli.main import main
from batchyard.sim.config import BadConfig, Config, parse_config
from batchyard.sim.simulation import simulate
from tests.unit.sim.test_simulation import S, a_job, a_trace

MACHINE = "[machine]\nvcpus = 16\nmemory_mib = 65536\n"
TWO = 'environment = "mine"\nvcpus = 2\nmemory_mib = 2048\ncount = 2'


def a_document(*instances: str, machine: str = MACHINE) -> str:
    return f"""
{machine}
[[computeEnvironments]]
computeEnvironmentName = "mine"
type = "UNMANAGED"
[[computeEnvironments]]
computeEnvironmentName = "ours"
computeResources = {{ type = "EC2", maxvCpus = 4, instanceTypes = ["c5.large"] }}
[[jobQueues]]
jobQueueName = "jq"
priority = 1
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "mine" }}]
""" + "".join(f"[[instances]]\n{each}\n" for each in instances)


def a_config(*instances: str, machine: str = MACHINE) -> Config:
    text = a_document(*instances, machine=machine)
    return parse_config(text, name="config", where="config.toml")


def test_jobs_run_on_what_is_registered_and_on_nothing_else() -> None:
    # Two instances of two vCPUs: a and b side by side, c when the first of them has ended.
    jobs = (a_job("a", 0, 100, vcpus=2), a_job("b", 0, 50, vcpus=2), a_job("c", 0, 40, vcpus=2))
    report = simulate(a_trace(*jobs), a_config(TWO))
    assert report.job_count_by_status == {"FAILED": 0, "SUCCEEDED": 3}
    assert (report.makespan_ms, report.wait_ms.max) == (100 * S, 50 * S)
    used = 2 * (100 + 50 + 40)
    assert report.utilisation.of_max == pytest.approx(used / (4 * 100))
    assert report.utilisation.of_launched == report.utilisation.of_max
    (line,) = report.cost
    assert (line.purchase, line.instance_type, line.count) == ("UNMANAGED", "custom", 2)
    assert line.hours == pytest.approx(2 * 100 / 3600)
    assert (line.usd, report.cost_usd) == (None, 0)


def test_a_type_says_how_large_an_instance_is() -> None:
    (made,) = a_config('environment = "mine"\ninstance_type = "m6i.large"').registrations
    assert (made.instance_type, made.capacity.cpu_milli, made.count) == ("m6i.large", 2000, 1)


def test_without_instances_nothing_runs_and_that_is_said() -> None:
    report = simulate(a_trace(a_job("a", 0, 1)), a_config())
    (left,) = report.never_runs
    assert left.reason == (
        "Asked 1 vCPU, 1,024 MiB; no instance with room is registered with mine."
    )


@pytest.mark.parametrize(
    ("instances", "said"),
    [
        (TWO.replace("mine", "no"), "1: there is no compute environment no; there are: mine, ours"),
        (TWO.replace("mine", "ours"), "1: ours is MANAGED: it launches its instances itself"),
        ('environment = "mine"', "1: give either instance_type, or vcpus and memory_mib"),
        (f'{TWO}\ninstance_type = "m6i.large"', "instance_type and vcpus cannot be given together"),
        ('environment = "mine"\ninstance_type = "m6i.no"', "there is no instance type m6i.no"),
        (TWO.replace("vcpus = 2", "vcpus = 9"), "1: no room for 2 x custom of 9 vCPUs, 2,048 MiB"),
        (TWO.replace("vcpus", "cpus"), "Object contains unknown field `cpus`"),
        (TWO.replace("count = 2", "count = 0"), "`$.instances[0].count`"),
    ],
)
def test_instances_that_cannot_be_there_are_refused(instances: str, said: str) -> None:
    with pytest.raises(BadConfig, match=r"^config\.toml: ") as caught:
        a_config(instances)
    assert said in str(caught.value)


def test_the_command_reads_them(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("id,submit_s,run_s,vcpus,memory_mib\na,0,100,2,512\n")
    (tmp_path / "good.toml").write_text(a_document(TWO))
    (tmp_path / "bad.toml").write_text(a_document(TWO, TWO, TWO, TWO, TWO))
    good, bad = (
        CliRunner().invoke(
            main, ["simulate", str(tmp_path / "t.csv"), "--config", str(tmp_path / name)]
        )
        for name in ("good.toml", "bad.toml")
    )
    assert good.exit_code == 0
    assert "mine          UNMANAGED   custom   2       0.1     unknown" in good.stdout
    assert bad.exit_code == 1
    assert "[[instances]] 5: no room for 2 x custom" in bad.stderr
