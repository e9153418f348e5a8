"""Single jobs through all their states, by feeding inputs and comparing what came of them."""

from __future__ import annotations

import copy
import re
import sys

import pytest

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.effects import ForgetTask, StartTask, StopTask
from batchyard.core.restore import restore_jobs, resume
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model import wording
from batchyard.model.ids import task_id_of
from batchyard.model.limits import STOP_GRACE_MS
from batchyard.model.records import ExitAction, ExitRule, QueuedJob, StopCause
from batchyard.model.status import JobStatus
from tests.builders import (
    HOST,
    a_host,
    a_job,
    a_launching_environment,
    a_queue,
    an_environment,
    environment_arn,
    job_id,
    queue_arn,
)
from tests.unit.core.yard import Yard


def test_a_job_goes_through_every_state_and_leaves_memory(yard):
    events, effects = yard.feed(a_job(1))
    assert [type(each) for each in events] == [e.JobAccepted]
    assert (yard.status(1), effects) == (JobStatus.RUNNABLE, [])

    task_id = task_id_of(job_id(1), 1)
    events, effects = yard.round()
    assert effects == [
        StartTask(
            task_id=task_id,
            job_id=job_id(1),
            attempt_number=1,
            environment_arn=environment_arn(),
            host_id=HOST,
        )
    ]
    assert yard.status(1) is JobStatus.STARTING

    yard.now_ms = 2_000
    events, effects = yard.feed(yard.started(1))
    assert (events, effects) == ([e.AttemptStarted(job_id=job_id(1), at_ms=2_000)], [])

    yard.now_ms = 3_000
    events, effects = yard.feed(yard.ended(1, 0))
    assert effects == [ForgetTask(task_id=task_id)]
    assert events[-1] == e.JobSucceeded(
        job_id=job_id(1), at_ms=3_000, status_reason=wording.ESSENTIAL_CONTAINER_EXITED
    )
    progress = yard.progress[job_id(1)]
    assert (progress.started_ms, progress.stopped_ms) == (2_000, 3_000)
    assert [attempt.exit_code for attempt in progress.attempts] == [0]
    assert yard.state.jobs == {}


def test_an_end_without_a_start_still_passes_running(yard):
    yard.feed(a_job(1))
    yard.round()
    events, _ = yard.feed(yard.ended(1, 0))
    assert [type(each) for each in events] == [e.AttemptStarted, e.AttemptEnded, e.JobSucceeded]


@pytest.mark.parametrize(
    ("exit_code", "more", "status_reason"),
    [
        (3, {}, wording.ESSENTIAL_CONTAINER_EXITED),
        (137, {"reason": wording.OUT_OF_MEMORY}, wording.ESSENTIAL_CONTAINER_EXITED),
        (None, {"reason": "CannotPullContainerError: no"}, wording.TASK_FAILED_TO_START),
    ],
)
def test_how_a_failed_attempt_is_told(yard, exit_code, more, status_reason):
    yard.feed(a_job(1))
    yard.round()
    yard.feed(yard.ended(1, exit_code, **more))
    progress = yard.progress[job_id(1)]
    assert (progress.status, progress.status_reason) == (JobStatus.FAILED, status_reason)
    assert progress.attempts[0].reason == more.get("reason")


@pytest.mark.parametrize(
    ("reason", "status_reason"),
    [
        ("DockerStateError: the runtime was killed", wording.ESSENTIAL_CONTAINER_EXITED),
        ("CannotStartContainerError: no such file", wording.TASK_FAILED_TO_START),
    ],
)
def test_how_a_started_attempt_without_exit_code_is_told(yard, reason, status_reason):
    yard.feed(a_job(1))
    yard.round()
    yard.feed(yard.started(1), yard.ended(1, None, reason=reason))
    assert yard.progress[job_id(1)].status_reason == status_reason


def test_a_job_stops_when_its_process_did_whenever_we_hear_of_it(yard):
    yard.feed(a_job(1), a_job(2, after=(1,)))
    yard.round()
    end = yard.ended(1, 1)
    yard.now_ms += 500
    yard.feed(end)
    assert (yard.progress[job_id(1)].stopped_ms, yard.progress[job_id(2)].stopped_ms) == (
        1_000,
        1_500,
    )


def test_a_lost_host_is_told_in_the_form_that_clients_match(yard):
    yard.feed(a_job(1))
    yard.round()
    yard.feed(yard.started(1), yard.ended(1, None, is_lost=True))
    reason = yard.progress[job_id(1)].status_reason
    assert re.fullmatch(r"Host EC2 \(instance i-[0-9a-f]{17}\) terminated\.", reason)


def test_a_retried_job_goes_to_the_front_until_its_attempts_are_used_up(yard):
    yard.feed(a_job(1, cpu_milli=4000, attempts=2), a_job(2, cpu_milli=4000))
    yard.round()
    events, _ = yard.feed(yard.started(1), yard.ended(1, 1))
    assert events[-1] == e.JobRetried(job_id=job_id(1))
    assert list(yard.state.queues[queue_arn()].line) == [job_id(1), job_id(2)]
    yard.round()
    yard.feed(yard.ended(1, 1, attempt=2))
    assert yard.status(1) is JobStatus.FAILED
    assert [attempt.number for attempt in yard.progress[job_id(1)].attempts] == [1, 2]


def test_an_exit_rule_ends_a_job_that_has_attempts_left(yard):
    rule = ExitRule(action=ExitAction.EXIT, on_exit_code="2")
    yard.feed(a_job(1, attempts=3, exit_rules=(rule,)))
    yard.round()
    events, _ = yard.feed(yard.ended(1, 1))
    assert events[-1] == e.JobRetried(job_id=job_id(1))
    yard.round()
    yard.feed(yard.ended(1, 2, attempt=2))
    assert yard.status(1) is JobStatus.FAILED
    assert len(yard.progress[job_id(1)].attempts) == 2


def test_a_timeout_counts_from_the_start_stops_once_and_is_never_retried(yard):
    yard.feed(a_job(1, attempts=3, timeout_ms=60_000))
    yard.round()
    assert yard.state.next_deadline_ms() is None
    yard.now_ms = 5_000
    yard.feed(yard.started(1))
    assert yard.state.next_deadline_ms() == 65_000

    yard.now_ms = 64_999
    assert yard.feed(i.Tick()) == ([], [])
    yard.now_ms = 65_000
    events, effects = yard.feed(i.Tick(), i.Tick())
    assert events == [
        e.AttemptStopping(job_id=job_id(1), at_ms=yard.now_ms, cause=StopCause.TIMED_OUT)
    ]
    assert effects == [
        StopTask(task_id=task_id_of(job_id(1), 1), host_id=HOST, grace_ms=STOP_GRACE_MS)
    ]
    yard.feed(yard.ended(1, 0))
    progress = yard.progress[job_id(1)]
    assert (progress.status, progress.status_reason) == (
        JobStatus.FAILED,
        wording.TIMEOUT_EXCEEDED,
    )


class TestDependencies:
    def test_all_must_succeed_before_the_job_is_runnable(self, yard):
        yard.feed(a_job(1), a_job(2), a_job(3, after=(1, 2, 1)))
        assert yard.status(3) is JobStatus.PENDING
        yard.round()
        yard.feed(yard.ended(2, 0))
        assert yard.status(3) is JobStatus.PENDING
        yard.feed(yard.ended(1, 0))
        assert yard.status(3) is JobStatus.RUNNABLE

    def test_a_failure_fails_the_whole_chain_without_recursion(self, yard):
        depth = 3_000
        yard.feed(a_job(1), *(a_job(n, after=(n - 1,)) for n in range(2, depth)))
        yard.feed(i.CancelJob(job_id=job_id(1), reason="stop"))
        assert yard.state.jobs == {}
        assert {yard.progress[job_id(n)].status_reason for n in range(2, depth)} == {
            wording.DEPENDENCY_FAILED
        }

    def test_an_ended_dependency_counts_by_how_it_ended(self, yard):
        yard.feed(
            a_job(5, after=(1,), finished={1: JobStatus.SUCCEEDED}),
            a_job(6, after=(2,), finished={2: JobStatus.FAILED}),
        )
        assert yard.status(5) is JobStatus.RUNNABLE
        assert yard.status(6) is JobStatus.FAILED

    def test_a_cancelled_pending_job_fails_once_its_dependencies_are_over(self, yard):
        yard.feed(a_job(1), a_job(2), a_job(3, after=(1, 2)))
        yard.round()
        yard.feed(i.CancelJob(job_id=job_id(3), reason="changed my mind"))
        yard.feed(i.CancelJob(job_id=job_id(3), reason="again"))
        assert yard.progress[job_id(3)].is_cancelled
        yard.feed(yard.ended(1, 1))
        assert yard.status(3) is JobStatus.PENDING
        yard.feed(yard.ended(2, 0))
        progress = yard.progress[job_id(3)]
        assert (progress.status, progress.status_reason) == (JobStatus.FAILED, "changed my mind")


class TestCancelAndTerminate:
    def test_cancel_leaves_what_has_started(self, yard):
        yard.feed(a_job(1), a_job(2))
        yard.round()
        assert yard.feed(i.CancelJob(job_id=job_id(1), reason="no")) == ([], [])

    @pytest.mark.parametrize("command", [i.CancelJob, i.TerminateJob])
    def test_what_waits_fails_at_once_with_the_callers_reason(self, yard, command):
        yard.feed(a_job(1), command(job_id=job_id(1), reason="not needed"))
        progress = yard.progress[job_id(1)]
        assert (progress.status, progress.status_reason) == (JobStatus.FAILED, "not needed")
        assert progress.attempts == ()
        assert progress.is_cancelled == (command is i.CancelJob)

    def test_terminate_stops_what_runs_and_keeps_the_first_reason(self, yard):
        yard.feed(a_job(1, attempts=5))
        yard.round()
        yard.feed(yard.started(1))
        _, effects = yard.feed(
            i.TerminateJob(job_id=job_id(1), reason="first"),
            i.TerminateJob(job_id=job_id(1), reason="second"),
        )
        assert [type(each) for each in effects] == [StopTask]
        yard.feed(yard.ended(1, 143))
        progress = yard.progress[job_id(1)]
        assert (progress.status, progress.status_reason) == (JobStatus.FAILED, "first")
        assert (progress.attempts[0].status_reason, progress.attempts[0].exit_code) == (
            "first",
            143,
        )


class TestQueuesAndEnvironments:
    def test_deleting_a_queue_fails_what_waits_stops_what_runs_and_ends_with_it(self, yard):
        yard.feed(a_job(1, cpu_milli=4000), a_job(2, cpu_milli=4000))
        yard.round()
        events, effects = yard.feed(i.DeleteQueue(arn=queue_arn()))
        assert [type(each) for each in effects] == [StopTask]
        assert yard.progress[job_id(2)].status_reason == wording.QUEUE_DELETED
        assert e.QueueDeleted(arn=queue_arn()) not in events
        events, _ = yard.feed(yard.ended(1, 137))
        assert events[-1] == e.QueueDeleted(arn=queue_arn())
        assert yard.progress[job_id(1)].status_reason == wording.QUEUE_DELETED

    def test_an_environment_goes_with_its_last_attempt(self):
        yard = Yard(a_host(), a_launching_environment(), a_queue())
        yard.feed(a_job(1))
        yard.round()
        events, _ = yard.feed(i.DeleteEnvironment(arn=environment_arn()))
        assert events == [e.EnvironmentDraining(arn=environment_arn())]
        events, _ = yard.feed(yard.ended(1, 0))
        assert events[-1] == e.EnvironmentDeleted(arn=environment_arn())

    def test_one_of_fargate_becomes_invalid_instead_while_a_job_runs(self, yard):
        yard.feed(a_job(1))
        yard.round()
        events, _ = yard.feed(i.DeleteEnvironment(arn=environment_arn()))
        assert [each.fault for each in events] == [wording.ACTIVE_JOBS_ON_FARGATE]
        yard.feed(yard.ended(1, 0))
        assert environment_arn() in yard.state.environments
        events, _ = yard.feed(i.DeleteEnvironment(arn=environment_arn()))
        assert events[-1] == e.EnvironmentDeleted(arn=environment_arn())

    @pytest.mark.parametrize(
        ("environment", "demand", "reason"),
        [
            (an_environment(fault="CLIENT_ERROR - x"), 1000, wording.NO_VALID_ENVIRONMENT),
            (an_environment(is_enabled=False), 1000, wording.NO_ENABLED_ENVIRONMENT),
            (an_environment(vcpus=2), 3000, wording.ENVIRONMENT_TOO_SMALL),
            (an_environment(vcpus=64), 9000, wording.JOB_TOO_LARGE),
        ],
    )
    def test_a_head_that_cannot_start_says_why_and_recovers(self, environment, demand, reason):
        yard = Yard(a_host(), environment, a_queue())
        yard.feed(a_job(1, cpu_milli=demand))
        yard.round()
        assert yard.round() == ([], []), "the same reason is not told twice"
        assert yard.progress[job_id(1)].status_reason == reason
        yard.feed(an_environment(vcpus=64), a_host(cpu_milli=16_000))
        yard.round()
        assert yard.status(1) is JobStatus.STARTING
        assert yard.progress[job_id(1)].status_reason is None


class TestRestart:
    def restored(self, yard: Yard) -> State:
        """Build the state again from records, as the engine does at start."""
        again = State()
        for each in (a_host(), an_environment(), a_queue()):
            step(again, each, 0)
        records = [
            QueuedJob(
                seq=job.seq,
                id=job.id,
                queue_arn=job.queue_arn,
                demand=job.demand,
                attempts_max=job.attempts_max,
                timeout_ms=job.timeout_ms,
                depends_on=tuple(job.unmet),
                created_ms=0,
                progress=copy.deepcopy(job.progress),
            )
            for job in yard.state.jobs.values()
        ]
        restore_jobs(again, records)
        check(again)
        assert repr(again.jobs) == repr(yard.state.jobs)
        return again

    def test_what_nobody_knows_is_handed_over_again_and_what_ran_is_lost(self, yard):
        yard.feed(a_job(1), a_job(2, timeout_ms=60_000), a_job(3, after=(2,)))
        yard.round()
        yard.feed(yard.started(2))
        again = self.restored(yard)
        assert again.next_deadline_ms() == 61_000

        outcome = resume(again, frozenset(), HOST, 9_000)
        assert [each.job_id for each in outcome.effects if isinstance(each, StartTask)] == [
            job_id(1)
        ]
        failed = [each for each in outcome.events if isinstance(each, e.JobFailed)]
        assert [each.job_id for each in failed] == [job_id(2), job_id(3)]
        check(again)

    def test_on_a_host_that_is_gone_everything_is_lost_and_tried_again(self, yard):
        """Also what was STARTING: the host's own server may have handed it over."""
        yard.feed(a_job(1, attempts=2), a_job(2, attempts=2))
        yard.round()
        yard.feed(yard.started(2))
        again = self.restored(yard)
        outcome = resume(again, None, HOST, 9_000)
        assert [each for each in outcome.effects if isinstance(each, StartTask)] == []
        ended = [each for each in outcome.events if isinstance(each, e.AttemptEnded)]
        assert len(ended) == 2
        assert all(each.status_reason.startswith("Host EC2 (instance i-") for each in ended)
        assert {job.progress.status for job in again.jobs.values()} == {JobStatus.RUNNABLE}
        check(again)

    def test_what_is_known_is_adopted_and_strangers_are_stopped(self, yard):
        yard.feed(a_job(1), a_job(2))
        yard.round()
        yard.feed(yard.started(2), i.TerminateJob(job_id=job_id(2), reason="x"))
        known = frozenset({task_id_of(job_id(n), 1) for n in (1, 2, 7)})
        outcome = resume(self.restored(yard), known, HOST, 9_000)
        assert outcome.events == []
        assert sorted(outcome.effects, key=str) == sorted(
            (
                StopTask(task_id=task_id_of(job_id(number), 1), host_id=HOST, grace_ms=grace_ms)
                for number, grace_ms in ((2, STOP_GRACE_MS), (7, 0))
            ),
            key=str,
        )


def test_a_chain_longer_than_the_interpreter_may_recurse_fails_whole(yard):
    length = 2 * sys.getrecursionlimit()
    yard.feed(
        *(a_job(number, after=(number - 1,) if number > 1 else ()) for number in range(1, length))
    )
    yard.feed(i.CancelJob(job_id=job_id(1), reason="the first"))
    assert not yard.state.jobs
    assert yard.status(length - 1) is JobStatus.FAILED
