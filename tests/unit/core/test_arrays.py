"""Arrays: their children, what these wait for, and how the parent follows them."""

from __future__ import annotations

import pytest

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.effects import StartTask, StopTask
from batchyard.model import wording
from batchyard.model.ids import JobId, child_id, task_id_of
from batchyard.model.status import JobStatus
from tests.builders import a_job, job_id, queue_arn
from tests.unit.core.yard import Yard

S = JobStatus


def child(number: int, index: int) -> JobId:
    return child_id(job_id(number), index)


def summary(yard: Yard, number: int) -> dict[str, int]:
    array = yard.progress[job_id(number)].array
    assert array is not None
    return {status.value: count for status, count in array.count_by_status().items() if count}


def run(yard: Yard, *results: tuple[JobId, int]) -> list[e.Event]:
    """Let tasks start and end, with an exit code each."""
    happened: list[e.Event] = []
    for job, exit_code in results:
        attempt = yard.state.jobs[job].progress.attempt
        assert attempt is not None, f"{job} does not run"
        number = attempt.number
        events, _ = yard.feed(yard.started(job, number), yard.ended(job, exit_code, number))
        happened += events
    return happened


def names(events: list[e.Event]) -> list[str]:
    return [type(each).__name__ for each in events]


def test_an_array_is_taken_in_and_spawned_in_two_events(yard: Yard) -> None:
    events, effects = yard.feed(a_job(1, array_size=10_000))
    assert names(events) == ["JobAccepted", "ChildrenSpawned"]
    assert effects == []
    assert yard.status(1) is S.PENDING
    assert summary(yard, 1) == {"RUNNABLE": 10_000}
    assert len(yard.state.jobs) == 1, "children cost nothing before something happens to them"


def test_children_start_in_order_after_those_who_came_first(yard: Yard) -> None:
    yard.feed(a_job(1, cpu_milli=2000), a_job(2, array_size=3), a_job(3))
    _, effects = yard.round()
    started = [each.job_id for each in effects if isinstance(each, StartTask)]
    assert started == [job_id(1), child(2, 0), child(2, 1)]
    assert summary(yard, 2) == {"RUNNABLE": 1, "STARTING": 2}
    assert [each.task_id for each in effects][1] == task_id_of(child(2, 0), 1)


def test_the_parent_succeeds_with_the_last_child(yard: Yard) -> None:
    yard.feed(a_job(1, array_size=2))
    yard.round()
    run(yard, (child(1, 1), 0))
    assert yard.status(1) is S.PENDING
    events = run(yard, (child(1, 0), 0))
    assert events[-1] == e.JobSucceeded(job_id=job_id(1), at_ms=yard.now_ms, status_reason=None)
    assert summary(yard, 1) == {"SUCCEEDED": 2}
    assert not yard.state.jobs


def test_one_failure_does_not_stop_the_others_and_fails_the_parent(yard: Yard) -> None:
    yard.feed(a_job(1, array_size=3), a_job(2, after=(1,)))
    yard.round()
    run(yard, (child(1, 0), 1))
    assert yard.status(1) is S.PENDING
    run(yard, (child(1, 1), 0), (child(1, 2), 0))
    assert summary(yard, 1) == {"SUCCEEDED": 2, "FAILED": 1}
    assert yard.progress[job_id(1)].status_reason == wording.ARRAY_CHILD_FAILED
    assert yard.progress[job_id(2)].status_reason == wording.DEPENDENCY_FAILED


def test_each_child_has_attempts_of_its_own_and_retries_go_first(yard: Yard) -> None:
    yard.feed(a_job(1, array_size=6, attempts=2))
    yard.round()
    run(yard, (child(1, 2), 1))
    assert summary(yard, 1) == {"RUNNABLE": 3, "STARTING": 3}
    _, effects = yard.round()
    assert [each.job_id for each in effects] == [child(1, 2)]
    run(yard, (child(1, 2), 1))
    assert yard.status(child(1, 2)) is S.FAILED
    assert [each.number for each in yard.progress[child(1, 2)].attempts] == [1, 2]


def test_an_array_has_no_children_before_its_dependencies_are_met(yard: Yard) -> None:
    yard.feed(a_job(1), a_job(2, array_size=2, after=(1,)))
    assert summary(yard, 2) == {}
    yard.round()
    run(yard, (job_id(1), 0))
    assert summary(yard, 2) == {"RUNNABLE": 2}


def test_an_array_whose_dependency_fails_never_has_children(yard: Yard) -> None:
    yard.feed(a_job(1), a_job(2, array_size=2, after=(1,)), a_job(3, after=(child(2, 1),)))
    yard.round()
    run(yard, (job_id(1), 1))
    assert summary(yard, 2) == {}
    assert yard.progress[job_id(2)].status_reason == wording.DEPENDENCY_FAILED
    assert yard.progress[job_id(3)].status_reason == wording.DEPENDENCY_FAILED


def test_a_job_may_wait_for_a_single_child(yard: Yard) -> None:
    yard.feed(a_job(1, array_size=3), a_job(2, after=(child(1, 1),)))
    yard.round()
    run(yard, (child(1, 0), 1), (child(1, 1), 0))
    assert yard.status(2) is S.RUNNABLE


@pytest.mark.parametrize("has_children", [True, False])
def test_who_waited_for_a_child_that_never_ran_is_forgotten_with_it(
    yard: Yard, has_children: bool
) -> None:
    """Who waits was cancelled, and stays PENDING for another job."""
    after = () if has_children else (1,)
    yard.feed(a_job(1), a_job(2, array_size=3, after=after), a_job(3, after=(child(2, 1), 1)))
    yard.feed(i.CancelJob(job_id=job_id(3), reason="no"))
    yard.feed(i.TerminateJob(job_id=job_id(2), reason="no"))
    if not has_children:
        yard.feed(i.TerminateJob(job_id=job_id(1), reason="no"))
    waits = yard.state.dependents
    assert waits == ({job_id(1): [job_id(3)]} if has_children else {})


@pytest.mark.parametrize(("exit_code", "status"), [(0, S.RUNNABLE), (1, S.FAILED)])
def test_a_finished_child_of_a_live_array_counts_at_once(
    yard: Yard, exit_code: int, status: JobStatus
) -> None:
    yard.feed(a_job(1, array_size=2))
    yard.round()
    run(yard, (child(1, 0), exit_code))
    yard.feed(a_job(2, after=(child(1, 0),)))
    assert yard.status(2) is status


class TestPairs:
    """N_TO_N."""

    def test_a_child_starts_with_the_success_of_its_partner(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=2), a_job(2, array_size=2, depends_on_each=(job_id(1),)))
        assert summary(yard, 2) == {"PENDING": 2}
        yard.round()
        events = run(yard, (child(1, 1), 0))
        assert e.JobBecameRunnable(job_id=child(2, 1)) in events
        assert summary(yard, 2) == {"PENDING": 1, "RUNNABLE": 1}

    def test_only_the_partner_of_a_failed_child_fails(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=3), a_job(2, array_size=3, depends_on_each=(job_id(1),)))
        yard.round()
        run(yard, (child(1, 0), 1), (child(1, 1), 0), (child(1, 2), 0))
        assert yard.progress[child(2, 0)].status_reason == wording.DEPENDENCY_FAILED
        assert summary(yard, 2) == {"RUNNABLE": 2, "FAILED": 1}
        yard.round()
        run(yard, (child(2, 1), 0), (child(2, 2), 0))
        assert yard.status(2) is S.FAILED

    def test_what_happened_before_the_second_array_came_counts(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=4))
        yard.round()
        run(yard, (child(1, 0), 0), (child(1, 1), 1))
        yard.feed(a_job(2, array_size=4, depends_on_each=(job_id(1),)))
        assert summary(yard, 2) == {"PENDING": 2, "RUNNABLE": 1, "FAILED": 1}

    def test_an_array_that_has_ended_is_told_child_by_child(self, yard: Yard) -> None:
        command = a_job(2, array_size=3, depends_on_each=(job_id(1),))
        ended = {job_id(1): {0: S.SUCCEEDED, 1: S.FAILED, 2: S.SUCCEEDED}}
        yard.feed(i.AcceptJob(job=command.job, finished={}, ended_arrays=ended))
        assert summary(yard, 2) == {"RUNNABLE": 2, "FAILED": 1}

    def test_an_array_that_nobody_remembers_has_failed(self, yard: Yard) -> None:
        events, _ = yard.feed(a_job(2, array_size=3, depends_on_each=(job_id(1),)))
        assert yard.status(2) is S.FAILED
        assert names(events)[-2:] == ["RestFailed", "JobFailed"]

    def test_chains_fall_without_recursion_and_as_a_whole(self, yard: Yard) -> None:
        length = 3_000
        yard.feed(a_job(1, array_size=2))
        for number in range(2, length + 1):
            yard.feed(a_job(number, array_size=2, depends_on_each=(job_id(number - 1),)))
        events, _ = yard.feed(i.CancelJob(job_id=job_id(1), reason="enough"))
        assert not yard.state.jobs
        assert yard.progress[job_id(length)].status_reason == wording.ARRAY_CHILD_FAILED
        assert names(events).count("RestFailed") == length


class TestSequences:
    """SEQUENTIAL."""

    def test_a_child_starts_with_the_success_of_the_one_before(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=3, is_sequential=True))
        assert summary(yard, 1) == {"PENDING": 2, "RUNNABLE": 1}
        for index in range(3):
            _, effects = yard.round()
            assert [each.job_id for each in effects] == [child(1, index)]
            run(yard, (child(1, index), 0))
        assert yard.status(1) is S.SUCCEEDED

    def test_a_failure_ends_all_that_come_later_in_one_event(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=10_000, is_sequential=True))
        yard.round()
        events = run(yard, (child(1, 0), 1))
        assert names(events)[-3:] == ["JobFailed", "RestFailed", "JobFailed"]
        array = yard.progress[job_id(1)].array
        assert array is not None
        assert array.rest_status_reason == wording.DEPENDENCY_FAILED
        assert summary(yard, 1) == {"FAILED": 10_000}

    def test_pairs_and_sequence_must_both_hold(self, yard: Yard) -> None:
        yard.feed(
            a_job(1, array_size=2),
            a_job(2, array_size=2, depends_on_each=(job_id(1),), is_sequential=True),
        )
        yard.round()
        run(yard, (child(1, 1), 0))
        assert summary(yard, 2) == {"PENDING": 2}
        run(yard, (child(1, 0), 0))
        assert summary(yard, 2) == {"PENDING": 1, "RUNNABLE": 1}


class TestStopping:
    """Cancel, terminate, and a queue that goes."""

    def test_cancel_of_the_parent_leaves_what_runs(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=6))
        yard.round()
        events, effects = yard.feed(i.CancelJob(job_id=job_id(1), reason="enough"))
        assert names(events) == ["JobMarked", "RestFailed"]
        assert effects == []
        assert summary(yard, 1) == {"STARTING": 4, "FAILED": 2}
        run(yard, *((child(1, index), 0) for index in range(4)))
        assert yard.progress[job_id(1)].status_reason == "enough"
        assert yard.progress[job_id(1)].is_cancelled

    def test_what_runs_on_after_a_cancel_of_the_parent_is_not_tried_again(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=2, attempts=3))
        yard.round()
        yard.feed(i.CancelJob(job_id=job_id(1), reason="enough"))
        run(yard, (child(1, 0), 1), (child(1, 1), 0))
        assert summary(yard, 1) == {"SUCCEEDED": 1, "FAILED": 1}
        assert yard.progress[child(1, 0)].status_reason == "enough"
        assert len(yard.progress[child(1, 0)].attempts) == 1

    def test_terminate_of_the_parent_stops_what_runs(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=5, attempts=3))
        yard.round()
        _, effects = yard.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
        assert len([each for each in effects if isinstance(each, StopTask)]) == 4
        run(yard, *((child(1, index), 143) for index in range(4)))
        assert yard.status(1) is S.FAILED
        assert yard.progress[job_id(1)].status_reason == "enough"
        assert yard.progress[child(1, 2)].status_reason == "enough"
        assert yard.progress[child(1, 2)].is_terminated

    def test_cancel_of_one_child_is_its_own(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=10))
        events, _ = yard.feed(i.CancelJob(job_id=child(1, 7), reason="not this one"))
        assert names(events) == ["JobMarked", "JobFailed"]
        assert summary(yard, 1) == {"RUNNABLE": 9, "FAILED": 1}
        assert not yard.progress[job_id(1)].is_cancelled

    def test_a_cancelled_child_that_waits_fails_when_its_turn_comes(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=4, is_sequential=True))
        yard.feed(i.CancelJob(job_id=child(1, 1), reason="not this one"))
        assert yard.status(child(1, 1)) is S.PENDING
        yard.round()
        run(yard, (child(1, 0), 0))
        assert yard.progress[child(1, 1)].status_reason == "not this one"
        assert summary(yard, 1) == {"SUCCEEDED": 1, "FAILED": 3}

    def test_a_cancelled_array_that_waits_fails_when_its_dependency_is_over(
        self, yard: Yard
    ) -> None:
        yard.feed(a_job(1), a_job(2, array_size=2, after=(1,)))
        yard.feed(i.TerminateJob(job_id=job_id(2), reason="enough"))
        assert yard.status(2) is S.PENDING
        yard.round()
        run(yard, (job_id(1), 0))
        assert yard.progress[job_id(2)].status_reason == "enough"
        assert summary(yard, 2) == {}

    @pytest.mark.parametrize("job", [child(1, 9), child(2, 0), JobId(f"{job_id(1)}#0")])
    def test_children_that_are_none_are_passed_over(self, yard: Yard, job: JobId) -> None:
        yard.feed(a_job(1, array_size=2))
        assert yard.feed(i.TerminateJob(job_id=job, reason="who?")) == ([], [])

    def test_a_queue_that_goes_takes_its_arrays_along(self, yard: Yard) -> None:
        yard.feed(a_job(1, array_size=9), a_job(2, array_size=9, depends_on_each=(job_id(1),)))
        yard.round()
        events, effects = yard.feed(i.DeleteQueue(arn=queue_arn()))
        assert len([each for each in effects if isinstance(each, StopTask)]) == 4
        assert summary(yard, 1) == {"STARTING": 4, "FAILED": 5}
        run(yard, *((child(1, index), 143) for index in range(4)))
        assert not yard.state.jobs
        assert yard.progress[child(1, 0)].status_reason == wording.QUEUE_DELETED
        assert queue_arn() not in yard.state.queues
        assert "RestFailed" in names(events)
