"""What comes back after a restart, where the clock has been set back meanwhile."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.restore import restore_instances, restore_jobs
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.ids import JobId
from batchyard.model.status import JobStatus
from tests.builders import a_host, a_job, a_launching_environment, a_queue, job_id
from tests.unit.core.yard import Yard

_SCENE = (a_host(), a_launching_environment(boot_ms=30_000), a_queue())
#: When the instance of `a_running_yard` is ready.
_READY_MS = 30_000


@pytest.fixture
def yard() -> Yard:
    """A yard whose only instance, launched at 0, has started and runs a job of all its room."""
    yard = Yard(*_SCENE)
    yard.now_ms = 0
    yard.feed(a_job(1))
    yard.round()
    yard.now_ms = _READY_MS
    yard.feed(i.Tick())
    yard.round()
    assert yard.state.jobs[JobId(job_id(1))].progress.status is JobStatus.STARTING
    return yard


def restored(yard: Yard, now_ms: int, *, has_job: bool = True) -> State:
    again = State()
    for each in _SCENE:
        step(again, each, now_ms)
    records = [each.record for each in yard.state.instances.values()]
    restore_instances(again, records, now_ms)
    job = a_job(1).job
    job = replace(job, progress=yard.state.jobs[job.id].progress)
    restore_jobs(again, [job] if has_job else [])
    check(again)
    return again


@pytest.mark.parametrize("now_ms", [-3_600_000, 0, 10_000, _READY_MS])
def test_an_instance_that_runs_something_has_started_whatever_the_clock_says(yard, now_ms):
    (instance,) = restored(yard, now_ms).instances.values()
    assert instance.is_ready


@pytest.mark.parametrize(
    ("now_ms", "is_ready"), [(-1, True), (0, False), (10_000, False), (_READY_MS, True)]
)
def test_an_instance_launched_in_the_future_has_started(yard, now_ms, is_ready):
    """Else nobody could use it until the clock has caught up, however far it was set back."""
    (instance,) = restored(yard, now_ms, has_job=False).instances.values()
    assert instance.is_ready is is_ready


def test_the_clock_may_be_set_back_while_attempts_end(yard):
    yard.state = restored(yard, -3_600_000)
    yard.now_ms = -3_600_000
    yard.feed(yard.started(1), yard.ended(1, 0))
    (instance,) = yard.state.instances.values()
    assert instance.attempt_count == 0
    check(yard.state)
