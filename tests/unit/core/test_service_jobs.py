"""Service jobs: SCHEDULED first, within the limits of their environment, on equal nodes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.effects import StartTask, StopTask
from batchyard.core.restore import restore_jobs, resume
from batchyard.core.retrying import is_worth_retrying_service
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model import wording
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import NUM_INSTANCES
from batchyard.model.ids import JobId, node_id, task_id_of
from batchyard.model.limits import TRAINING_STOP_GRACE_MS
from batchyard.model.records import Attempt, ExitAction, ExitRule, StopCause
from batchyard.model.status import JobStatus
from tests.builders import (
    HOST,
    a_host,
    a_job,
    a_policy,
    a_queue,
    a_quota_share,
    a_service_environment,
    a_service_job,
    an_amount,
    an_environment,
    job_id,
    queue_arn,
    service_environment_arn,
)
from tests.unit.core.yard import Yard

S = JobStatus
TOO_LARGE = "MISCONFIGURATION:SERVICE_ENVIRONMENT_MAX_RESOURCE"
NO_ROOM = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY"


def a_training_queue(name: str = "training", **more):
    return a_queue(name, service_environments=("se",), **more)


def a_training_yard(*more, **limits: Any) -> Yard:
    return Yard(
        a_host(cpu_milli=8000, memory_mib=16_384),
        a_service_environment(limits=limits or None),
        *(more or (a_training_queue(),)),
    )


@pytest.fixture
def training():
    made = a_training_yard()
    yield made
    check(made.state)


def task(number: int, attempt: int = 1):
    return task_id_of(job_id(number), attempt)


def node(index: int, number: int = 1) -> JobId:
    return node_id(job_id(number), index)


def node_task(index: int, attempt: int = 1):
    return task_id_of(node(index), attempt)


def test_a_service_job_is_scheduled_before_it_starts(training: Yard) -> None:
    training.feed(a_service_job(1))
    assert training.status(1) is S.RUNNABLE
    events, effects = training.round()
    assert training.status(1) is S.SCHEDULED
    assert [type(each) for each in events] == [e.AttemptPlaced]
    assert effects == [
        StartTask(
            task_id=task(1),
            job_id=job_id(1),
            attempt_number=1,
            environment_arn=service_environment_arn(),
            host_id=HOST,
            share=an_amount(),
        )
    ]
    training.feed(i.TaskTaken(task_id=task(1)))
    assert training.status(1) is S.STARTING
    training.feed(i.TaskTaken(task_id=task(1)), training.started(1), training.started(1))
    assert training.status(1) is S.RUNNING
    training.feed(training.ended(1, 0))
    assert training.status(1) is S.SUCCEEDED
    assert training.progress[job_id(1)].status_reason == wording.TRAINING_COMPLETED


def test_no_state_is_skipped_where_the_report_of_one_is_missing(training: Yard) -> None:
    training.feed(a_service_job(1), a_service_job(2))
    training.round()
    events, _ = training.feed(training.ended(1, 0))
    kinds = [type(each) for each in events]
    assert kinds == [e.AttemptTaken, e.AttemptStarted, e.AttemptEnded, e.JobSucceeded]
    training.feed(training.ended(2, None, reason="CannotPullContainerError: no such image"))
    assert training.status(2) is S.FAILED
    assert training.progress[job_id(2)].status_reason == (
        "Received status from SageMaker: ClientError: CannotPullContainerError: no such image"
    )


def test_container_jobs_are_never_scheduled() -> None:
    yard = Yard()
    yard.feed(a_job(1))
    yard.round()
    assert yard.status(1) is S.STARTING
    assert yard.feed(i.TaskTaken(task_id=task(1))) == ([], [])


@pytest.mark.parametrize(
    ("exit_code", "message", "reason", "text"),
    [
        (1, "no such column", None, "AlgorithmError: no such column, exit code: 1"),
        (2, None, None, "AlgorithmError: , exit code: 2"),
        (137, None, "OutOfMemoryError: x", "AlgorithmError: OutOfMemoryError: x, exit code: 137"),
    ],
)
def test_a_failure_tells_what_the_program_left(
    training: Yard, exit_code, message, reason, text
) -> None:
    training.feed(a_service_job(1))
    training.round()
    training.feed(training.started(1))
    training.feed(training.ended(1, exit_code, message=message, reason=reason))
    expected = f"Received status from SageMaker: {text}"
    assert training.progress[job_id(1)].status_reason == expected
    assert training.progress[job_id(1)].attempts[-1].status_reason == expected


def test_the_limit_counts_instances_of_all_types_together() -> None:
    yard = a_training_yard(NUM_INSTANCES=3)
    yard.feed(a_service_job(1, count=2), a_service_job(2, count=2), a_service_job(3))
    yard.round()
    assert [yard.status(each) for each in (1, 2, 3)] == [S.SCHEDULED, S.RUNNABLE, S.RUNNABLE]
    assert yard.state.environments[service_environment_arn()].instances_used == {"ml.one": 2}
    assert yard.progress[job_id(2)].status_reason is None, "it only waits for its turn"
    check(yard.state)


def test_limits_by_type_count_each_type_for_itself() -> None:
    yard = a_training_yard(**{"ml.one": 1, "ml.two": 2})
    yard.feed(
        a_service_job(1, kind="ml.one"),
        a_service_job(2, kind="ml.two", count=2),
    )
    yard.round()
    assert [yard.status(each) for each in (1, 2)] == [S.SCHEDULED, S.SCHEDULED]
    yard.feed(a_service_job(3, kind="ml.three"))
    yard.round()
    assert yard.progress[job_id(3)].status_reason == wording.SERVICE_ENVIRONMENT_TOO_SMALL
    check(yard.state)


def test_who_could_never_start_shows_why_and_lets_others_pass() -> None:
    yard = a_training_yard(NUM_INSTANCES=2)
    yard.feed(a_service_job(1, count=3), a_service_job(2))
    yard.round()
    assert yard.status(2) is S.SCHEDULED
    reason = yard.progress[job_id(1)].status_reason
    assert reason is not None
    assert reason.startswith(f"{TOO_LARGE} - ")


def test_a_job_that_has_no_room_says_that_nothing_can_be_provisioned() -> None:
    yard = Yard(
        a_host(cpu_milli=2000), an_environment(), a_queue(), a_service_environment(),
        a_training_queue(),
    )  # fmt: skip
    yard.feed(a_job(1, cpu_milli=1500))
    yard.round()
    yard.feed(a_service_job(2))
    yard.round()
    assert yard.progress[job_id(2)].status_reason == wording.NO_ROOM_FOR_SERVICE_JOB
    yard.feed(yard.ended(1, 0))
    yard.round()
    assert yard.status(2) is S.SCHEDULED
    check(yard.state)


def test_a_head_that_is_blocked_for_too_long_is_terminated() -> None:
    yard = a_training_yard(a_training_queue(time_limits={TOO_LARGE: 600_000}), NUM_INSTANCES=1)
    yard.feed(a_service_job(1, count=2))
    yard.round()
    yard.now_ms += 600_000
    yard.feed(i.Tick())
    yard.round()
    assert yard.progress[job_id(1)].status_reason == (
        f"Terminated by JobStateTimeLimit action due to reason: {TOO_LARGE}"
    )


def test_kinds_of_jobs_and_environments_do_not_mix() -> None:
    yard = Yard(
        a_host(), an_environment(), a_service_environment(),
        a_queue("jq", service_environments=("se",)), a_queue("training", seq=2),
    )  # fmt: skip
    yard.feed(a_job(1), a_service_job(2))
    yard.round()
    assert [yard.status(each) for each in (1, 2)] == [S.RUNNABLE, S.RUNNABLE]


def test_a_disabled_environment_starts_nothing_and_says_so(training: Yard) -> None:
    training.feed(a_service_environment(is_enabled=False), a_service_job(1))
    training.round()
    expected = wording.NO_ENABLED_SERVICE_ENVIRONMENT
    assert training.progress[job_id(1)].status_reason == expected


def test_a_lowered_limit_stops_nothing(training: Yard) -> None:
    training.feed(a_service_job(1, count=3))
    training.round()
    training.feed(a_service_environment(limits={NUM_INSTANCES: 1}), a_service_job(2))
    training.round()
    assert [training.status(each) for each in (1, 2)] == [S.SCHEDULED, S.RUNNABLE]


# -- small machines -------------------------------------------------------------------------------


def test_a_machine_that_is_too_small_stands_for_the_instance_all_the_same() -> None:
    yard = Yard(a_host(cpu_milli=500, memory_mib=4096), a_service_environment(), a_training_queue())
    yard.feed(a_service_job(1))
    _, effects = yard.round()
    assert [each.share for each in effects] == [an_amount(cpu_milli=500)]
    check(yard.state)


def test_the_instances_of_a_job_share_a_machine_that_is_too_small_for_them() -> None:
    yard = Yard(
        a_host(cpu_milli=1500, memory_mib=4096), a_service_environment(), a_training_queue()
    )
    yard.feed(a_service_job(1, count=2))
    yard.round()
    assert yard.state.jobs[job_id(1)].demand == Amount(cpu_milli=1500, memory_mib=1024)
    assert yard.state.hosts[HOST].used == Amount(cpu_milli=1500, memory_mib=1024)
    check(yard.state)


# -- several instances ----------------------------------------------------------------------------


def begin(yard: Yard, count: int = 3) -> None:
    yard.feed(a_service_job(1, count=count, attempts=2))
    yard.round()
    yard.feed(i.TaskTaken(task_id=node_task(0)))
    assert yard.status(1) is S.STARTING
    yard.feed(yard.started(node(0), address="10.0.0.2"))
    for index in range(1, count):
        yard.feed(yard.started(node(index), address=f"10.0.0.{2 + index}"))
    assert yard.status(1) is S.RUNNING


def test_a_job_is_over_with_the_last_of_its_instances(training: Yard) -> None:
    begin(training)
    _, effects = training.feed(training.ended(node(0), 0))
    assert not [each for each in effects if isinstance(each, StopTask)]
    training.feed(training.ended(node(2), 0))
    assert training.status(1) is S.RUNNING
    training.feed(training.ended(node(1), 0))
    assert training.status(1) is S.SUCCEEDED
    assert training.progress[job_id(1)].status_reason == wording.TRAINING_COMPLETED


def test_the_first_instance_that_fails_fails_the_job(training: Yard) -> None:
    begin(training)
    _, effects = training.feed(training.ended(node(2), 3, message="lost the data"))
    stopped = [each.task_id for each in effects if isinstance(each, StopTask)]
    assert stopped == [node_task(0), node_task(1)]
    training.feed(training.ended(node(0), 143))
    assert training.status(1) is S.RUNNING
    training.feed(training.ended(node(1), 0))
    assert training.status(1) is S.RUNNABLE, "it has an attempt left"
    [ended] = training.progress[job_id(1)].attempts
    assert (ended.exit_code, ended.status_reason) == (
        3,
        "Received status from SageMaker: AlgorithmError: lost the data, exit code: 3",
    )


def test_all_instances_run_even_if_the_first_one_is_done_at_once(training: Yard) -> None:
    training.feed(a_service_job(1, count=2))
    training.round()
    _, effects = training.feed(training.ended(node(0), 0))
    assert [each.job_id for each in effects if isinstance(each, StartTask)] == [node(1)]
    assert training.status(1) is S.RUNNING
    training.feed(training.started(node(1)), training.ended(node(1), 0))
    assert training.status(1) is S.SUCCEEDED


def test_a_time_limit_holds_after_the_first_instance_is_done() -> None:
    yard = a_training_yard()
    yard.feed(a_service_job(1, count=2, timeout_ms=60_000))
    yard.round()
    yard.feed(yard.started(node(0)), yard.started(node(1)), yard.ended(node(0), 0))
    check(yard.state)
    yard.now_ms += 60_000
    _, effects = yard.feed(i.Tick())
    assert [each.task_id for each in effects] == [node_task(1)]
    yard.feed(yard.ended(node(1), 143))
    assert yard.status(1) is S.FAILED
    assert yard.progress[job_id(1)].status_reason == wording.TIMEOUT_EXCEEDED


def test_terminating_stops_every_instance(training: Yard) -> None:
    begin(training)
    training.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
    for index in (1, 0, 2):
        training.feed(training.ended(node(index), 143))
    assert training.status(1) is S.FAILED
    assert training.progress[job_id(1)].status_reason == "enough"
    assert training.progress[job_id(1)].is_terminated


# -- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reports", [[], ["taken"], ["taken", "started"]])
def test_terminating_stops_in_every_state_with_the_grace_of_sagemaker(
    training: Yard, reports: list[str]
) -> None:
    training.feed(a_service_job(1, attempts=3))
    training.round()
    said = {"taken": i.TaskTaken(task_id=task(1)), "started": training.started(1)}
    training.feed(*(said[each] for each in reports))
    _, effects = training.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
    assert effects == [
        StopTask(task_id=task(1), host_id=HOST, grace_ms=TRAINING_STOP_GRACE_MS),
    ]
    training.feed(training.ended(1, None))
    assert (training.status(1), training.progress[job_id(1)].status_reason) == (S.FAILED, "enough")


def test_a_lost_host_is_an_internal_error_of_sagemaker(training: Yard) -> None:
    training.feed(a_service_job(1))
    training.round()
    training.feed(training.started(1), training.ended(1, None, is_lost=True))
    assert training.progress[job_id(1)].status_reason == wording.TRAINING_HOST_LOST


PREFIX = "Received status from SageMaker:"


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        ("*", "anything", True),
        (f"{PREFIX} InternalServerError*", f"{PREFIX} InternalServerError: oh", True),
        (f"{PREFIX}InternalServerError*", f"{PREFIX} InternalServerError: oh", True),
        (f"{PREFIX} InternalServerError", f"{PREFIX} InternalServerError: oh", False),
        ("*CapacityError*", f"{PREFIX} CapacityError: none", True),
        ("*CapacityError", f"{PREFIX} CapacityError: none", False),
        ("*: none", f"{PREFIX} CapacityError: none", True),
        ("a*b*a", "aba", True),
        ("a*b*a", "ab", False),
        ("a*a", "a", False),
        ("", "", True),
        ("internal*", "Internal", False),
    ],
)
def test_a_star_stands_for_anything(pattern: str, text: str, is_match: bool) -> None:
    rules = [ExitRule(action=ExitAction.EXIT, on_status_reason=pattern)]
    ended = Attempt(
        number=1,
        task_id=task(1),
        environment_arn=service_environment_arn(),
        host_id=HOST,
        placed_ms=1,
        status_reason=text,
    )
    assert is_worth_retrying_service(rules, ended) is not is_match


def test_exit_rules_of_service_jobs_judge_the_status_reason(training: Yard) -> None:
    rules = (
        ExitRule(action=ExitAction.RETRY, on_status_reason="*InternalServerError*"),
        ExitRule(action=ExitAction.EXIT, on_status_reason="*"),
    )
    training.feed(a_service_job(1, attempts=3, exit_rules=rules))
    training.round()
    training.feed(training.started(1), training.ended(1, None, is_lost=True))
    assert training.status(1) is S.RUNNABLE
    training.round()
    training.feed(training.started(1, 2), training.ended(1, 1, 2))
    assert training.status(1) is S.FAILED


# -- priorities -----------------------------------------------------------------------------------


def a_fair_yard() -> Yard:
    return a_training_yard(a_training_queue(policy=a_policy()), NUM_INSTANCES=1)


def test_a_waiting_job_with_a_higher_priority_goes_first() -> None:
    yard = a_fair_yard()
    for number in (1, 2, 3):
        yard.feed(a_service_job(number, share_identifier="a", scheduling_priority=1))
    events, _ = yard.feed(i.PrioritizeJob(job_id=job_id(3), priority=9))
    assert events == [e.JobPrioritized(job_id=job_id(3), priority=9)]
    assert yard.feed(i.PrioritizeJob(job_id=job_id(3), priority=9)) == ([], [])
    yard.round()
    assert yard.status(3) is S.SCHEDULED
    check(yard.state)


def test_a_priority_is_nothing_to_a_queue_without_shares(training: Yard) -> None:
    training.feed(a_service_job(1), a_service_job(2))
    assert training.feed(i.PrioritizeJob(job_id=job_id(2), priority=9)) == ([], [])
    assert list(training.state.queues[queue_arn("training")].line) == [job_id(1), job_id(2)]


def test_shares_and_queues_count_instances() -> None:
    yard = a_training_yard(a_training_queue(policy=a_policy()))
    yard.feed(a_service_job(1, count=2, share_identifier="a", scheduling_priority=1))
    yard.round()
    queue = yard.state.queues[queue_arn("training")]
    assert queue.instances == {"ml.one": 2}
    assert queue.shares["a"].instances == {"ml.one": 2}
    yard.feed(yard.ended(node(0), 1))
    assert (queue.instances, queue.shares["a"].instances) == ({}, {})


# -- restart --------------------------------------------------------------------------------------


def again(training: Yard, job: i.AcceptJob) -> State:
    state = State()
    for each in (a_host(cpu_milli=8000, memory_mib=16_384), a_service_environment(),
                 a_training_queue()):  # fmt: skip
        step(state, each, 0)
    restore_jobs(state, [replace(job.job, progress=training.progress[job.job.id])])
    check(state)
    return state


def test_after_a_restart_what_nobody_has_taken_is_handed_over(training: Yard) -> None:
    job = a_service_job(1)
    training.feed(job)
    training.round()
    state = again(training, job)
    outcome = resume(state, frozenset(), HOST, 2000)
    [effect] = outcome.effects
    assert isinstance(effect, StartTask)
    assert effect.share == an_amount()
    assert state.jobs[job_id(1)].progress.status is S.SCHEDULED


def test_after_a_restart_what_the_backend_has_is_starting(training: Yard) -> None:
    job = a_service_job(1)
    training.feed(job)
    training.round()
    state = again(training, job)
    outcome = resume(state, frozenset({task(1)}), HOST, 2000)
    assert outcome.events == [e.AttemptTaken(job_id=job_id(1))]
    assert outcome.effects == []
    check(state)


def test_preemption_takes_back_instances() -> None:
    one: dict[str, Any] = {"ml.one": 1}
    yard = a_training_yard(a_training_queue(has_quota_shares=True), **{"ml.one": 2})
    yard.feed(
        a_quota_share("a", queue="training", borrows=-1, **one),
        a_quota_share("b", queue="training", borrows=-1, **one),
        a_service_job(1, quota_share="a"),
        a_service_job(2, quota_share="a"),
    )
    yard.round()
    assert [yard.status(each) for each in (1, 2)] == [S.SCHEDULED, S.SCHEDULED]
    yard.feed(a_service_job(3, quota_share="b"))
    _, effects = yard.round()
    assert [type(each) for each in effects] == [StopTask]
    stopped = yard.state.jobs[job_id(2)].progress.attempt
    assert stopped is not None
    assert stopped.stop_cause is StopCause.CROSS_SHARE_PREEMPTION
    yard.feed(yard.ended(2, 143))
    yard.round()
    assert [yard.status(each) for each in (1, 2, 3)] == [S.SCHEDULED, S.RUNNABLE, S.SCHEDULED]
    check(yard.state)
