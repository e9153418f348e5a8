"""The core in virtual time: what comes when, by hand."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.amounts import Amount
from batchyard.model.instances import AllocationStrategy, InstanceType, LaunchSettings
from batchyard.model.records import StopCause
from batchyard.model.status import EnvironmentKind
from batchyard.sim.driver import Driver
from batchyard.sim.fate import Fate
from tests.builders import a_host, a_job, a_queue, an_environment, job_id


class Seen:
    """What happened, as an observer is told."""

    def __init__(self) -> None:
        self.events: list[tuple[int, e.Event]] = []

    def __call__(self, events, now_ms) -> None:
        self.events += [(now_ms, each) for each in events]

    def of(self, kind):
        return [(now_ms, each) for now_ms, each in self.events if isinstance(each, kind)]

    def starts(self) -> dict[str, int]:
        return {each.job_id: now_ms for now_ms, each in self.of(e.AttemptStarted)}

    def ends(self) -> dict[str, int]:
        return {each.job_id: now_ms for now_ms, each in self.of((e.JobSucceeded, e.JobFailed))}


def a_yard(*, vcpus: int = 2, environment: i.PutEnvironment | None = None, **queue) -> State:
    state = State()
    for happening in (
        a_host(cpu_milli=vcpus * 1000, memory_mib=10**6),
        environment or an_environment(vcpus=vcpus),
        a_queue(**queue),
    ):
        step(state, happening, 0)
    return state


def a_driver(state: State, run_ms: dict[int, int | None], **fate) -> tuple[Driver, Seen]:
    by_id = {job_id(number): each for number, each in run_ms.items()}
    driver = Driver(
        state, now_ms=0, fate_of=lambda start, _: Fate(run_ms=by_id[start.job_id], **fate)
    )
    seen = Seen()
    driver.observe(seen)
    return driver, seen


def test_jobs_run_one_after_the_other_where_one_fits() -> None:
    driver, seen = a_driver(a_yard(vcpus=1), {1: 100, 2: 50})
    driver.at(10, a_job(1))
    driver.at(20, a_job(2))
    driver.run()
    assert seen.starts() == {job_id(1): 10, job_id(2): 110}
    assert seen.ends() == {job_id(1): 110, job_id(2): 160}
    assert driver.now_ms == 160
    check(driver.state)


def test_it_stops_at_the_moment_that_it_is_given_and_goes_on_from_there() -> None:
    driver, seen = a_driver(a_yard(), {1: 100})
    driver.at(10, a_job(1))
    driver.run(109)
    assert seen.ends() == {}
    assert driver.now_ms == 109
    driver.run(110)
    assert seen.ends() == {job_id(1): 110}


def test_a_start_takes_its_time_and_holds_its_place() -> None:
    driver, seen = a_driver(a_yard(vcpus=1), {1: 100, 2: 100}, start_ms=7)
    driver.follow([(0, a_job(1)), (0, a_job(2))])
    driver.run()
    assert seen.starts() == {job_id(1): 7, job_id(2): 114}


def test_a_timeout_is_the_cores_own_and_its_stop_takes_its_time() -> None:
    driver, seen = a_driver(a_yard(), {1: None}, stop_ms=5)
    driver.at(0, a_job(1, timeout_ms=1000))
    driver.run()
    assert seen.ends() == {job_id(1): 1005}
    assert [each.cause for _, each in seen.of(e.AttemptStopping)] == [StopCause.TIMED_OUT]
    assert driver.next_ms() is None


def test_a_task_that_would_end_before_it_is_stopped_ends_once() -> None:
    driver, seen = a_driver(a_yard(), {1: 1003}, stop_ms=5)
    driver.at(0, a_job(1, timeout_ms=1000))
    driver.at(1001, i.TerminateJob(job_id=job_id(1), reason="enough"))
    driver.run()
    assert seen.ends() == {job_id(1): 1003}
    assert len(seen.of(e.AttemptEnded)) == 1


def _managed(**more) -> i.PutEnvironment:
    settings = LaunchSettings(
        strategy=AllocationStrategy.BEST_FIT,
        is_spot=False,
        types=(InstanceType(name="two", capacity=Amount(cpu_milli=2000, memory_mib=4096)),),
        cpu_milli_min=0,
        boot_ms=60_000,
        idle_ms=300_000,
    )
    return replace(
        an_environment(vcpus=4),
        kind=EnvironmentKind.EC2,
        has_instances=True,
        uuid="u",
        launching=replace(settings, **more),
    )


def test_instances_boot_are_shared_and_go_when_idle() -> None:
    state = a_yard(vcpus=4, environment=_managed())
    driver, seen = a_driver(state, {1: 1000, 2: 5000})
    driver.at(1, a_job(1))
    driver.at(2, a_job(2))
    driver.run()
    assert seen.starts() == {job_id(1): 60_001, job_id(2): 60_001}
    assert [at_ms for at_ms, _ in seen.of(e.InstanceLaunched)] == [1]
    assert [at_ms for at_ms, _ in seen.of(e.InstanceTerminated)] == [65_001 + 300_000]
    assert driver.next_ms() is None


def test_a_blocked_head_is_given_up_at_its_time() -> None:
    state = a_yard(
        vcpus=1, time_limits={"MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE": 600_000}
    )
    driver, seen = a_driver(state, {})
    driver.at(5, a_job(1, cpu_milli=9000))
    driver.run()
    assert seen.ends() == {job_id(1): 600_005}


def test_what_runs_already_is_adopted_with_its_own_time() -> None:
    state = a_yard(vcpus=1)
    first, _ = a_driver(state, {1: 10_000})
    first.follow([(0, a_job(1)), (100, a_job(2))])
    first.run(4000)
    driver = Driver(state, now_ms=4000, fate_of=lambda *_: Fate(run_ms=5000))
    seen = Seen()
    driver.observe(seen)
    driver.adopt()
    driver.run()
    assert seen.ends() == {job_id(1): 5000, job_id(2): 10_000}


def test_time_never_goes_back() -> None:
    driver, _ = a_driver(a_yard(), {})
    driver.run(10)
    with pytest.raises(AssertionError, match="never goes back"):
        driver.at(9, a_job(1))


def _first_come(jobs: list[tuple[int, int, int]], vcpus: int) -> list[int]:
    """The textbook's line: nobody overtakes; give when each of (came, cpus, ran) starts."""
    running: list[tuple[int, int]] = []
    now, starts = 0, []
    for came, cpus, ran in jobs:
        now = max(now, came)
        while vcpus - sum(each for end, each in running if end > now) < cpus:
            now = min(end for end, _ in running if end > now)
        starts.append(now)
        running.append((now + ran, cpus))
    return starts


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(1, 4), st.integers(1, 60)),
        max_size=12,
    )
)
def test_a_line_is_the_textbooks(drawn: list[tuple[int, int, int]]) -> None:
    jobs = sorted(drawn, key=lambda each: each[0])
    driver, seen = a_driver(
        a_yard(vcpus=4), {number: ran for number, (_, _, ran) in enumerate(jobs)}
    )
    driver.follow(
        (came, a_job(number, cpu_milli=1000 * cpus)) for number, (came, cpus, _) in enumerate(jobs)
    )
    driver.run()
    expected = _first_come(jobs, vcpus=4)
    assert seen.starts() == {job_id(number): each for number, each in enumerate(expected)}
    check(driver.state)


_SAME = """
from tests.unit.sim import test_driver as t
from tests.builders import a_job
import hashlib
driver, seen = t.a_driver(t.a_yard(vcpus=4, environment=t._managed()),
    {number: 977 * number % 7000 + 1 for number in range(200)})
driver.follow((number * 13, a_job(number, cpu_milli=500 + 500 * (number % 3)))
    for number in range(200))
driver.run()
print(hashlib.sha256(repr(seen.events).encode()).hexdigest())
"""


def test_equal_inputs_give_equal_events_in_any_process() -> None:
    digests = {
        subprocess.run(
            [sys.executable, "-c", _SAME],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 65
