"""Quota shares in the core: borrowing, taking back, and what becomes of those who are stopped.

The rules are those of reference/compute-and-scheduling.md section 3.4; who is worth stopping is
tested with the pure round. Each test has a queue on 8 vCPUs with shares of 4 each.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.changes import find_changes
from batchyard.core.check import check
from batchyard.core.effects import StartTask, StopTask
from batchyard.core.restore import restore_jobs, resume
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model import wording
from batchyard.model.explanation import ChangeKind
from batchyard.model.ids import JobId, child_id, task_id_of
from batchyard.model.records import NodeGroup, NodePlan, QueuedJob
from batchyard.model.status import JobStatus, ResourceState
from tests.builders import (
    HOST,
    a_host,
    a_job,
    a_queue,
    a_quota_share,
    an_amount,
    an_environment,
    job_id,
    queue_arn,
    run_round,
)
from tests.unit.core.yard import Yard

IN_PROGRESS = (
    "PREEMPTION_IN_PROGRESS: Cross-share preemption triggered to reclaim borrowed capacity"
)
RECLAIMED = "Cross-share preemption triggered to reclaim borrowed capacity"


def quota_yard(*shares: i.Input) -> Yard:
    shares = shares or (a_quota_share("lender"), a_quota_share("borrower", borrows=-1))
    return Yard(
        a_host(cpu_milli=8000, memory_mib=10**6),
        an_environment(vcpus=8),
        a_queue(has_quota_shares=True),
        *shares,
    )


@pytest.fixture
def yard() -> Iterator[Yard]:
    made = quota_yard()
    yield made
    check(made.state)


def of(share: str, number: int, *, priority: int = 0, **more) -> i.AcceptJob:
    return a_job(number, share_identifier=share, scheduling_priority=priority, **more)


def borrow(yard: Yard, *numbers: int, **more) -> None:
    """Let the borrower's jobs run: two vCPUs each, the first two by right."""
    yard.feed(*(of("borrower", number, cpu_milli=2000, **more) for number in numbers))
    yard.round()
    yard.feed(*(yard.started(number) for number in numbers))


def stopped(effects) -> list[str]:
    return [each.task_id for each in effects if isinstance(each, StopTask)]


def started(effects) -> list[JobId]:
    return [each.job_id for each in effects if isinstance(each, StartTask)]


def test_what_is_lent_is_taken_back_and_its_job_goes_on_without_losing_an_attempt(yard) -> None:
    borrow(yard, 1, 2, 3, 4)
    assert [yard.status(each) for each in (1, 2, 3, 4)] == [JobStatus.RUNNING] * 4
    yard.feed(of("lender", 5, cpu_milli=2000))
    _, effects = yard.round()
    assert effects == [StopTask(task_id=task_id_of(job_id(4), 1), host_id=HOST, grace_ms=30_000)]
    assert yard.progress[job_id(4)].status_reason == IN_PROGRESS
    assert yard.round() == ([], []), "one is enough"
    yard.feed(yard.ended(4, 0))
    back = yard.progress[job_id(4)]
    assert (back.status, back.status_reason, back.attempts) == (JobStatus.RUNNABLE, None, ())
    assert (back.preempted_count, [each.status_reason for each in back.preempted]) == (
        1,
        [RECLAIMED],
    )
    _, effects = yard.round()
    assert started(effects) == [job_id(5)]
    yard.feed(yard.started(5), yard.ended(5, 0))
    _, effects = yard.round()
    assert started(effects) == [job_id(4)]
    yard.feed(yard.started(4, attempt=2), yard.ended(4, 1, attempt=2))
    assert yard.status(4) is JobStatus.FAILED
    assert [each.number for each in yard.progress[job_id(4)].attempts] == [2]


def test_one_that_goes_back_stands_before_the_others_of_its_share(yard) -> None:
    borrow(yard, 1, 2, 3)
    yard.feed(of("borrower", 4), of("lender", 5, cpu_milli=4000))
    yard.round()
    yard.feed(yard.ended(3, None))
    assert list(yard.state.queues[queue_arn()].quota_shares["borrower"].line) == [
        job_id(3),
        job_id(4),
    ]


def test_a_terminated_job_ends_also_while_it_is_preempted(yard) -> None:
    borrow(yard, 1, 2, 3, 4)
    yard.feed(of("lender", 5))
    yard.round()
    _, effects = yard.feed(i.TerminateJob(job_id=job_id(4), reason="enough"))
    assert effects == [], "it is being stopped already"
    yard.feed(yard.ended(4, 137))
    ended = yard.progress[job_id(4)]
    assert (ended.status, ended.status_reason) == (JobStatus.FAILED, "enough")
    assert (len(ended.attempts), ended.preempted_count) == (1, 0)


@pytest.mark.parametrize(("most", "status"), [(0, JobStatus.FAILED), (1, JobStatus.RUNNABLE)])
def test_a_job_says_how_often_it_may_be_preempted(yard, most, status) -> None:
    borrow(yard, 1, 2)
    borrow(yard, 3, 4, preemption_retries_max=most)
    yard.feed(of("lender", 5, cpu_milli=2000))
    yard.round()
    yard.feed(yard.ended(4, 143))
    assert yard.status(4) is status
    if status is JobStatus.FAILED:
        assert yard.progress[job_id(4)].status_reason == RECLAIMED


def test_only_the_last_preempted_attempts_are_kept(yard) -> None:
    borrow(yard, 1, 2, 3, 4)
    for number in range(12):
        yard.now_ms += 1000
        yard.feed(of("lender", 10 + number, cpu_milli=2000))
        yard.round()
        yard.feed(yard.started(4, attempt=number + 1), yard.ended(4, 143, attempt=number + 1))
        yard.round()
        yard.feed(yard.started(10 + number), yard.ended(10 + number, 0))
        yard.round()
        check(yard.state)
    kept = yard.progress[job_id(4)].preempted
    assert yard.progress[job_id(4)].preempted_count == 12
    assert [each.number for each in kept] == list(range(3, 13))


def test_a_higher_priority_takes_a_place_in_its_own_share_where_that_is_allowed() -> None:
    for is_allowed in (True, False):
        yard = quota_yard(a_quota_share("one", preempts_within=is_allowed))
        yard.feed(of("one", 1, cpu_milli=2000, priority=1), of("one", 2, cpu_milli=2000))
        yard.round()
        yard.feed(of("one", 3, cpu_milli=2000, priority=1))
        _, effects = yard.round()
        assert stopped(effects) == ([task_id_of(job_id(2), 1)] if is_allowed else [])
        if is_allowed:
            yard.feed(yard.ended(2, 143))
            assert yard.progress[job_id(2)].preempted[0].status_reason == (
                wording.IN_SHARE_PREEMPTION
            )
            assert started(yard.round()[1]) == [job_id(3)]
        check(yard.state)


def test_children_and_multi_node_jobs_are_preempted_as_a_whole(yard) -> None:
    plan = NodePlan(main_index=0, groups=(NodeGroup(count=2, demand=an_amount()),))
    yard.feed(of("borrower", 1, cpu_milli=2000, array_size=2))
    yard.round()
    yard.now_ms += 1
    yard.feed(of("borrower", 2, cpu_milli=2000, memory_mib=1024, nodes=plan))
    yard.round()
    main, other = JobId(f"{job_id(2)}#0"), JobId(f"{job_id(2)}#1")
    yard.feed(yard.started(main))
    yard.feed(yard.started(other), of("lender", 3, cpu_milli=4000))
    _, effects = yard.round()
    assert stopped(effects) == [task_id_of(main, 1), task_id_of(other, 1)]
    yard.feed(yard.ended(main, 143), yard.ended(other, 143))
    assert yard.status(2) is JobStatus.RUNNABLE
    assert started(yard.round()[1]) == [job_id(3)]
    yard.feed(of("lender", 4, cpu_milli=2000, after=(3,)), yard.started(3), yard.ended(3, 0))
    assert started(yard.round()[1]) == [job_id(4), main]
    assert yard.progress[job_id(2)].attempt.number == 2
    yard.feed(yard.started(main, attempt=2), yard.ended(main, 0, attempt=2))
    yard.feed(yard.ended(other, 0, attempt=2))
    assert yard.status(2) is JobStatus.SUCCEEDED
    for index in range(2):
        yard.feed(yard.started(child_id(job_id(1), index)))


def test_a_deleted_share_fails_what_waits_stops_what_runs_and_goes_last(yard) -> None:
    borrow(yard, 1, 2, 3, 4)
    yard.feed(of("borrower", 5), of("lender", 6))
    yard.round()
    events, effects = yard.feed(i.DeleteQuotaShare(queue_arn=queue_arn(), name="borrower"))
    assert isinstance(events[0], e.QuotaShareDraining)
    assert sorted(stopped(effects)) == sorted(task_id_of(job_id(each), 1) for each in (1, 2, 3))
    assert yard.progress[job_id(5)].status_reason == "QuotaShare deleted"
    yard.feed(of("borrower", 7))
    assert yard.status(7) is JobStatus.FAILED
    for number in (1, 2, 3):
        yard.feed(yard.ended(number, 143))
        assert yard.progress[job_id(number)].status_reason == "QuotaShare deleted"
    events, _ = yard.feed(yard.ended(4, 143))
    assert yard.progress[job_id(4)].status_reason == "QuotaShare deleted"
    assert events[-1] == e.QuotaShareDeleted(arn=queue_arn(), name="borrower")
    again, _ = yard.feed(i.DeleteQuotaShare(queue_arn=queue_arn(), name="borrower"))
    assert again == [e.QuotaShareDeleted(arn=queue_arn(), name="borrower")]


def test_heads_of_shares_say_what_they_wait_for(yard) -> None:
    yard.feed(
        a_quota_share("some", borrows=50, VCPU=2),
        of("lender", 1, cpu_milli=5000),
        of("some", 2, cpu_milli=4000),
        of("borrower", 3, cpu_milli=8000),
        of("lender", 4),
    )
    yard.round()
    shown = {each: yard.progress[job_id(each)].status_reason for each in (1, 2)}
    assert shown == {1: wording.ABOVE_QUOTA, 2: wording.ABOVE_BORROW_LIMIT}
    assert yard.status(4) is JobStatus.STARTING, "nobody waits for what can never be"
    yard.feed(of("borrower", 5, cpu_milli=12_000), i.TerminateJob(job_id=job_id(3), reason="r"))
    yard.round()
    yard.feed(a_quota_share("lender", VCPU=6))
    yard.round()
    assert yard.status(1) is JobStatus.STARTING


def test_a_restart_in_the_middle_of_a_preemption_stops_once_more_and_goes_on(yard) -> None:
    borrow(yard, 1, 2, 3, 4)
    yard.feed(of("lender", 5, cpu_milli=2000))
    yard.round()
    again = State()
    for each in (
        a_host(cpu_milli=8000, memory_mib=10**6),
        an_environment(vcpus=8),
        a_queue(has_quota_shares=True),
        a_quota_share("lender"),
        a_quota_share("borrower", borrows=-1),
    ):
        step(again, each, 0)
    records = [of("borrower", each, cpu_milli=2000).job for each in (1, 2, 3, 4)]
    records.append(of("lender", 5, cpu_milli=2000).job)
    restore_jobs(again, [_with(yard, each) for each in records])
    check(again)
    known = frozenset(task_id_of(job_id(each), 1) for each in (1, 2, 3, 4))
    owed = resume(again, known, HOST, 0)
    assert stopped(owed.effects) == [task_id_of(job_id(4), 1)]
    assert run_round(again).effects == []
    step(again, yard.ended(4, 143), 0)
    assert started(run_round(again).effects) == [job_id(5)]
    check(again)


def _with(yard: Yard, job: QueuedJob) -> QueuedJob:
    fields = {each: getattr(job, each) for each in job.__struct_fields__ if each != "progress"}
    return QueuedJob(**fields, progress=deepcopy(yard.progress[job.id]))


def test_the_state_of_a_queue_changes_nothing_for_its_shares(yard) -> None:
    borrow(yard, 1, 2)
    disabled = a_queue(has_quota_shares=True)
    yard.feed(disabled)
    assert disabled.state is ResourceState.ENABLED
    assert list(yard.state.queues[queue_arn()].quota_shares) == ["lender", "borrower"]


def test_the_example_of_the_documentation_comes_true() -> None:
    """docs/quota-shares.md: each line of the table, one step after the other."""
    yard = quota_yard(a_quota_share("vision"), a_quota_share("speech", borrows=100))
    attempts = dict.fromkeys(range(1, 17), 1)

    def run() -> tuple[list[int], list[int]]:
        """Let a round happen; tell who runs, and who has been told to end."""
        _, effects = yard.round()
        for each in effects:
            if isinstance(each, StartTask):
                yard.feed(i.TaskStarted(task_id=each.task_id, at_ms=yard.now_ms))
        yard.now_ms += 1000
        live = [n for n in attempts if yard.status(n) is JobStatus.RUNNING]
        told = [n for n in live if (yard.progress[job_id(n)].status_reason or "")]
        return live, told

    def end(*numbers: int) -> None:
        for number in numbers:
            yard.feed(yard.ended(number, 0, attempt=attempts[number]))
            attempts[number] += 1

    attempts = dict.fromkeys(range(1, 11), 1)
    yard.feed(*(of("speech", number) for number in range(1, 11)))
    assert run() == ([1, 2, 3, 4, 5, 6, 7, 8], [])
    attempts[11] = 1
    yard.feed(of("vision", 11))
    assert run() == ([1, 2, 3, 4, 5, 6, 7, 8], [8])
    end(8)
    assert run() == ([1, 2, 3, 4, 5, 6, 7, 11], [])
    attempts |= dict.fromkeys(range(12, 17), 1)
    yard.feed(*(of("vision", number) for number in range(12, 17)))
    assert run() == ([1, 2, 3, 4, 5, 6, 7, 11], [5, 6, 7])
    end(5, 6, 7)
    assert run() == ([1, 2, 3, 4, 11, 12, 13, 14], [])
    end(11, 12, 13, 14)
    assert run() == ([1, 2, 3, 4, 5, 6, 15, 16], [])
    end(15, 16)
    assert run() == ([1, 2, 3, 4, 5, 6, 7, 8], [])
    check(yard.state)


def test_nothing_is_tried_again_in_a_share_that_is_being_deleted(yard) -> None:
    """The main node was over already when the share was deleted: nobody told it to stop."""
    plan = NodePlan(main_index=0, groups=(NodeGroup(count=2, demand=an_amount()),))
    yard.feed(of("lender", 1, cpu_milli=2000, memory_mib=1024, nodes=plan, attempts=2))
    yard.round()
    main, other = JobId(f"{job_id(1)}#0"), JobId(f"{job_id(1)}#1")
    yard.feed(yard.started(main), yard.started(other), yard.ended(main, 1))
    yard.feed(i.DeleteQuotaShare(queue_arn=queue_arn(), name="lender"))
    events, _ = yard.feed(yard.ended(other, 143))
    assert yard.status(1) is JobStatus.FAILED
    assert events[-1] == e.QuotaShareDeleted(arn=queue_arn(), name="lender")


def test_a_higher_priority_within_the_share_is_told_as_a_change():
    yard = quota_yard(a_quota_share("own"))
    for number, cpu_milli, priority in ((1, 3000, 0), (2, 2000, 4), (3, 1000, 1)):
        yard.feed(
            a_job(number, cpu_milli=cpu_milli, quota_share="own", scheduling_priority=priority)
        )
        yard.round()
    job = yard.state.find(job_id(3))
    assert job is not None
    changes = find_changes(yard.state, job, (), yard.now_ms)
    kind = ChangeKind.RAISE_SCHEDULING_PRIORITY
    # 3 would make them equal, and the other one was submitted first.
    assert [each.by for each in changes if each.kind is kind] == [4]
