"""Heads of queues that are blocked: what they show, and how long they may be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.restore import restore_jobs
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model import wording
from batchyard.model.ids import JobId, child_id
from batchyard.model.status import JobStatus
from batchyard.store import codec
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_queue,
    an_environment,
    job_id,
    queue_arn,
    run_round,
)
from tests.unit.core.yard import Yard

RUNNABLE, STARTING, FAILED = JobStatus.RUNNABLE, JobStatus.STARTING, JobStatus.FAILED
TOO_SMALL = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
TOO_LARGE = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
GIVEN_UP = "Canceled by JobStateTimeLimit action due to reason: "
LIMITS = {TOO_SMALL: 600_000, TOO_LARGE: 900_000}


@pytest.fixture
def limited(yard: Yard) -> Yard:
    """The yard of the other tests, its queue with a limit for each of two reasons."""
    yard.feed(a_queue(time_limits=LIMITS))
    return yard


def reason_of(yard: Yard, number: int | JobId) -> str | None:
    return yard.progress[job_id(number) if isinstance(number, int) else number].status_reason


def test_a_head_that_is_blocked_for_too_long_is_given_up_and_the_next_one_starts(limited: Yard):
    limited.feed(a_job(1, cpu_milli=5000, attempts=3), a_job(2))
    limited.round()
    assert limited.state.next_deadline_ms() == limited.now_ms + 600_000
    limited.now_ms += 599_999
    assert limited.round() == ([], [])
    limited.now_ms += 1
    outcome = run_round(limited.state, limited.now_ms)
    limited.progress |= outcome.changed
    assert outcome.is_partial, "another round is needed"
    assert limited.status(1) is FAILED
    assert reason_of(limited, 1) == GIVEN_UP + TOO_SMALL
    assert limited.progress[job_id(1)].attempts == ()
    assert limited.state.next_deadline_ms() is None
    limited.round()
    assert limited.status(2) is STARTING


def test_time_alone_gives_up_no_head_that_could_start_by_now(limited: Yard):
    limited.feed(a_job(1, cpu_milli=5000))
    limited.round()
    limited.now_ms += 1_000_000
    limited.feed(i.Tick(), an_environment(vcpus=8), a_host(cpu_milli=8000))
    limited.round()
    assert limited.status(1) is STARTING
    assert reason_of(limited, 1) is None


def test_another_reason_starts_the_clock_again(limited: Yard):
    limited.feed(a_job(1, cpu_milli=5000))
    limited.round()
    limited.now_ms += 500_000
    limited.feed(an_environment(vcpus=8))
    limited.round()
    assert reason_of(limited, 1) == wording.JOB_TOO_LARGE
    assert limited.state.next_deadline_ms() == limited.now_ms + 900_000
    limited.now_ms += 899_999
    limited.round()
    assert limited.status(1) is RUNNABLE
    limited.now_ms += 1
    limited.round()
    assert reason_of(limited, 1) == GIVEN_UP + TOO_LARGE


def test_who_is_the_head_no_more_says_nothing_and_begins_anew(limited: Yard):
    limited.feed(a_job(1, attempts=2))
    limited.round()
    limited.feed(a_job(2, cpu_milli=5000))
    limited.round()
    assert reason_of(limited, 2) == wording.ENVIRONMENT_TOO_SMALL
    limited.feed(an_environment(is_enabled=False), limited.started(1), limited.ended(1, 1))
    limited.now_ms += 600_000
    limited.round()
    assert reason_of(limited, 1) == wording.NO_ENABLED_ENVIRONMENT
    assert (limited.status(2), reason_of(limited, 2)) == (RUNNABLE, None)
    limited.feed(an_environment())
    limited.round()
    assert limited.state.next_deadline_ms() == limited.now_ms + 600_000


@pytest.mark.parametrize("limits", [{}, {TOO_LARGE: 600_000}])
def test_a_reason_without_a_limit_may_last(yard: Yard, limits: dict[str, int]):
    yard.feed(a_queue(time_limits=limits), a_job(1, cpu_milli=5000))
    yard.round()
    assert yard.state.next_deadline_ms() is None
    yard.now_ms += 10**9
    yard.round()
    assert yard.status(1) is RUNNABLE


def test_a_limit_that_is_set_later_counts_from_the_beginning(yard: Yard):
    yard.feed(a_job(1, cpu_milli=5000))
    yard.round()
    yard.now_ms += 600_000
    yard.feed(a_queue(time_limits=LIMITS))
    yard.round()
    assert yard.status(1) is FAILED


def test_a_child_that_blocks_is_given_up_alone(limited: Yard):
    limited.feed(a_job(1, cpu_milli=5000, array_size=3))
    limited.round()
    limited.now_ms += 600_000
    limited.round()
    first, second = child_id(job_id(1), 0), child_id(job_id(1), 1)
    assert limited.status(first) is FAILED
    limited.round()
    assert (limited.status(second), reason_of(limited, second)) == (
        RUNNABLE,
        wording.ENVIRONMENT_TOO_SMALL,
    )
    assert limited.progress[second].blocked_ms == limited.now_ms


def test_the_clock_goes_on_over_a_restart(limited: Yard):
    command = a_job(1, cpu_milli=5000).job
    limited.feed(i.AcceptJob(job=command, finished={}))
    limited.round()
    stored = codec.encode_progress(limited.progress[job_id(1)])
    record = replace(command, progress=codec.decode_progress(stored))
    again = State()
    for each in (a_host(), an_environment(), a_queue(time_limits=LIMITS)):
        step(again, each, 0)
    restore_jobs(again, [record])
    check(again)
    assert again.queues[queue_arn()].blocked_id == job_id(1)
    assert again.next_deadline_ms() == limited.state.next_deadline_ms()
    outcome = run_round(again, limited.now_ms + 600_000)
    assert [type(event) for event in outcome.events] == [e.JobFailed]


def test_a_head_whose_instance_is_on_its_way_is_blocked_no_more():
    """Its limit would pass while the instance boots, and nothing could be done about it then."""
    yard = Yard(
        a_host(cpu_milli=500),
        a_launching_environment(boot_ms=900_000),
        a_queue(time_limits={TOO_LARGE: 600_000}),
    )
    yard.feed(a_job(1))
    yard.round()
    assert reason_of(yard, 1) is not None
    assert yard.state.next_deadline_ms() == yard.now_ms + 600_000
    yard.feed(a_host())
    yard.round()
    assert reason_of(yard, 1) is None
    (instance,) = yard.state.instances.values()
    assert yard.state.next_deadline_ms() == instance.record.ready_ms
    yard.now_ms += 600_000
    yard.feed(i.Tick())
    assert yard.round() == ([], [])
    assert yard.status(1) is JobStatus.RUNNABLE
