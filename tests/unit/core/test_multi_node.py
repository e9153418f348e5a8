"""Multi-node jobs: together or not at all, the main node first, and its end decides."""

from __future__ import annotations

import pytest

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.effects import ForgetTask, StartTask, StopTask
from batchyard.core.restore import resume
from batchyard.model import wording
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, JobId, node_id, task_id_of
from batchyard.model.records import NodeGroup, NodePlan, StopCause
from batchyard.model.status import JobStatus
from tests.builders import (
    HOST,
    a_host,
    a_job,
    a_queue,
    an_amount,
    an_environment,
    environment_arn,
    job_id,
)
from tests.unit.core.yard import Yard

S = JobStatus
MAIN_ADDRESS = "10.1.2.3"


def node(index: int, number: int = 1) -> JobId:
    return node_id(job_id(number), index)


def a_multi_node_job(number: int = 1, *, count: int = 3, main_index: int = 0, **more):
    """Nodes of 1 vCPU each."""
    plan = NodePlan(main_index=main_index, groups=(NodeGroup(count=count, demand=an_amount()),))
    return a_job(number, nodes=plan, cpu_milli=1000 * count, memory_mib=512 * count, **more)


def begin(yard: Yard, *, main_index: int = 0, attempt: int = 1) -> list[StartTask]:
    """Place the job and let its main node run; give what starts the others."""
    yard.round()
    main = node(main_index)
    _, effects = yard.feed(yard.started(main, attempt, address=MAIN_ADDRESS))
    return [each for each in effects if isinstance(each, StartTask)]


def test_all_nodes_hold_capacity_and_the_main_one_begins(yard: Yard) -> None:
    yard.feed(a_multi_node_job(main_index=1))
    _, effects = yard.round()
    assert effects == [
        StartTask(
            task_id=task_id_of(node(1), 1),
            job_id=node(1),
            attempt_number=1,
            environment_arn=environment_arn(),
            host_id=HOST,
        )
    ]
    assert yard.state.hosts[HOST].used == an_amount(cpu_milli=3000, memory_mib=1536)
    assert (yard.status(1), yard.status(node(1))) == (S.STARTING, S.STARTING)
    assert node(0) not in yard.progress, "the others do not exist yet"


def test_the_others_begin_once_the_main_node_runs_and_know_its_address(yard: Yard) -> None:
    yard.feed(a_multi_node_job())
    starts = begin(yard)
    assert [(each.job_id, each.main_address) for each in starts] == [
        (node(1), MAIN_ADDRESS),
        (node(2), MAIN_ADDRESS),
    ]
    assert (yard.status(1), yard.status(node(0))) == (S.RUNNING, S.RUNNING)
    attempt = yard.progress[job_id(1)].attempt
    assert attempt is not None
    assert attempt.address == MAIN_ADDRESS


def test_nodes_start_together_or_not_at_all(yard: Yard) -> None:
    yard.feed(a_job(1, cpu_milli=2000), a_multi_node_job(2), a_job(3))
    yard.round()
    assert (yard.status(1), yard.status(2), yard.status(3)) == (S.STARTING, S.RUNNABLE, S.RUNNABLE)


def test_more_nodes_than_all_hosts_hold_are_told_so(yard: Yard) -> None:
    yard.feed(a_multi_node_job(count=4), a_job(2))
    yard.feed(i.PutHost(host_id=HOST, capacity=an_amount(cpu_milli=3500, memory_mib=8192)))
    yard.round()
    reason = yard.progress[job_id(1)].status_reason
    assert reason is not None
    assert reason.startswith("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - ")


def test_another_nodes_end_changes_nothing(yard: Yard) -> None:
    yard.feed(a_multi_node_job())
    begin(yard)
    _, effects = yard.feed(yard.started(node(1)), yard.ended(node(1), 1))
    assert [each for each in effects if isinstance(each, StopTask)] == []
    assert (yard.status(node(1)), yard.status(1)) == (S.FAILED, S.RUNNING)
    assert yard.state.hosts[HOST].used == an_amount(cpu_milli=2000, memory_mib=1024)


def test_the_main_nodes_end_stops_the_others_and_decides(yard: Yard) -> None:
    yard.feed(a_multi_node_job(), a_job(2, after=(1,)))
    begin(yard)
    yard.feed(yard.started(node(1)))
    _, effects = yard.feed(yard.ended(node(0), 0))
    stopped = [each.task_id for each in effects if isinstance(each, StopTask)]
    assert stopped == [task_id_of(node(1), 1), task_id_of(node(2), 1)]
    assert yard.status(1) is S.RUNNING, "it waits for the others to be gone"
    main_end_ms, yard.now_ms = yard.now_ms, yard.now_ms + 500
    yard.feed(yard.ended(node(2), None), yard.ended(node(1), 143))
    progress = yard.progress[job_id(1)]
    assert (progress.status, progress.stopped_ms) == (S.SUCCEEDED, main_end_ms)
    assert progress.attempts[0].exit_code == 0
    assert (yard.status(node(0)), yard.status(node(1))) == (S.SUCCEEDED, S.FAILED)
    assert yard.progress[node(1)].status_reason == wording.ESSENTIAL_CONTAINER_EXITED
    assert yard.status(2) is S.RUNNABLE


def test_a_failed_main_node_lets_all_begin_again(yard: Yard) -> None:
    yard.feed(a_multi_node_job(attempts=2))
    begin(yard)
    yard.feed(yard.started(node(1)), yard.ended(node(1), 0), yard.started(node(2)))
    yard.feed(yard.ended(node(0), 1), yard.ended(node(2), 143))
    assert yard.status(1) is S.RUNNABLE
    starts = begin(yard, attempt=2)
    assert [(each.job_id, each.attempt_number) for each in starts] == [(node(1), 2), (node(2), 2)]
    assert [each.exit_code for each in yard.progress[node(1)].attempts] == [0]
    yard.feed(yard.ended(node(0), 0, 2), yard.ended(node(1), 0, 2), yard.ended(node(2), 0, 2))
    assert yard.status(1) is S.SUCCEEDED
    assert [each.number for each in yard.progress[node(1)].attempts] == [1, 2]


def test_a_main_node_that_cannot_start_fails_the_attempt_alone(yard: Yard) -> None:
    yard.feed(a_multi_node_job())
    yard.round()
    yard.feed(yard.ended(node(0), None, reason="CannotPullContainerError: no"))
    progress = yard.progress[job_id(1)]
    assert (progress.status, progress.status_reason) == (S.FAILED, wording.TASK_FAILED_TO_START)
    assert yard.state.hosts[HOST].used == an_amount(cpu_milli=0, memory_mib=0)
    assert node(1) not in yard.progress


@pytest.mark.parametrize("is_timeout", [True, False])
def test_a_stop_reaches_every_node(yard: Yard, is_timeout: bool) -> None:
    yard.feed(a_multi_node_job(timeout_ms=60_000, attempts=3))
    begin(yard)
    yard.feed(yard.started(node(1)), yard.started(node(2)))
    if is_timeout:
        yard.now_ms += 60_000
        events, effects = yard.feed(i.Tick())
        cause, reason = StopCause.TIMED_OUT, wording.TIMEOUT_EXCEEDED
    else:
        events, effects = yard.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
        cause, reason = StopCause.TERMINATED, "enough"
    stopping = [each.job_id for each in events if isinstance(each, e.AttemptStopping)]
    assert stopping == [job_id(1), node(0), node(1), node(2)]
    assert {each.cause for each in events if isinstance(each, e.AttemptStopping)} == {cause}
    assert len([each for each in effects if isinstance(each, StopTask)]) == 3
    yard.feed(*(yard.ended(node(index), 0) for index in (2, 0, 1)))
    assert yard.status(1) is S.FAILED, "graceful ends do not save a job that was stopped"
    assert yard.progress[job_id(1)].status_reason == reason
    assert yard.progress[node(2)].status_reason == reason


def test_terminate_before_the_main_node_runs_begins_no_other(yard: Yard) -> None:
    yard.feed(a_multi_node_job())
    yard.round()
    yard.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
    _, effects = yard.feed(yard.started(node(0), address=MAIN_ADDRESS))
    assert effects == []
    yard.feed(yard.ended(node(0), 143))
    assert yard.progress[job_id(1)].status_reason == "enough"


def test_who_is_stopped_before_the_main_node_runs_keeps_nothing_for_the_others(yard: Yard) -> None:
    yard.feed(a_multi_node_job(), a_job(2, cpu_milli=3000))
    yard.round()
    yard.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
    assert yard.state.hosts[HOST].used == an_amount(), "the main node alone"
    yard.round()
    assert yard.status(2) is S.STARTING
    check(yard.state)


def test_a_host_that_goes_away_before_the_main_node_runs_stops_who_keeps_it() -> None:
    two = HostId("two")
    yard = Yard(a_host(), a_host(host_id=two), an_environment(vcpus=8), a_queue())
    yard.feed(a_multi_node_job(count=6, attempts=2), a_multi_node_job(2, count=2))
    yard.round()
    assert yard.state.hosts[two].used.cpu_milli == 4000
    yard.feed(i.PutHost(host_id=two, capacity=Amount()))
    outcome = resume(yard.state, None, two, yard.now_ms)
    check(yard.state)
    assert [each.job_id for each in outcome.events if isinstance(each, e.AttemptStopping)] == [
        job_id(1),
        node(0),
    ], "the other job's main node was there itself, and is lost"
    assert [type(each) for each in outcome.effects if not isinstance(each, ForgetTask)] == [
        StopTask
    ]
    yard.feed(yard.ended(node(0), 143))
    progress = yard.state.jobs[job_id(1)].progress
    assert progress.status is S.RUNNABLE
    assert (progress.attempts[0].status_reason or "").startswith("Host EC2 (instance i-")


def test_terminate_after_the_main_nodes_end_comes_too_late(yard: Yard) -> None:
    yard.feed(a_multi_node_job())
    begin(yard)
    yard.feed(yard.ended(node(0), 0))
    assert yard.feed(i.TerminateJob(job_id=job_id(1), reason="late")) == ([], [])
    yard.feed(yard.ended(node(1), 137), yard.ended(node(2), 137))
    assert yard.status(1) is S.SUCCEEDED


def test_terminate_after_a_failed_main_node_lets_nothing_begin_again(yard: Yard) -> None:
    yard.feed(a_multi_node_job(attempts=2))
    begin(yard)
    yard.feed(yard.ended(node(0), 1))
    yard.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
    yard.feed(yard.ended(node(1), 137), yard.ended(node(2), 137))
    progress = yard.progress[job_id(1)]
    assert (progress.status, progress.status_reason) == (S.FAILED, "enough")
    assert progress.is_terminated


def test_a_node_cannot_be_stopped_alone(yard: Yard) -> None:
    yard.feed(a_multi_node_job())
    begin(yard)
    assert yard.feed(i.TerminateJob(job_id=node(1), reason="you")) == ([], [])
    assert yard.feed(i.CancelJob(job_id=node(1), reason="you")) == ([], [])


def test_a_job_of_one_node_is_its_main_node(yard: Yard) -> None:
    yard.feed(a_multi_node_job(count=1))
    assert begin(yard) == []
    yard.feed(yard.ended(node(0), 0))
    assert yard.status(1) is S.SUCCEEDED


def test_a_lost_host_loses_the_whole_attempt(yard: Yard) -> None:
    yard.feed(a_multi_node_job(attempts=2))
    begin(yard)
    yard.feed(*(yard.ended(node(index), None, is_lost=True) for index in (1, 0, 2)))
    progress = yard.progress[job_id(1)]
    assert progress.status is S.RUNNABLE
    assert (progress.attempts[0].status_reason or "").startswith("Host EC2 (instance i-")
