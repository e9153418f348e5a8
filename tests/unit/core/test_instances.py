"""Instances in the core: launched for jobs, kept while busy, and gone for a reason."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.effects import StopTask
from batchyard.core.viewing import view_of
from batchyard.model.ids import node_id
from batchyard.model.instances import AllocationStrategy
from batchyard.model.records import NodeGroup, NodePlan, StopCause, TerminationCause
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceState
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_queue,
    an_amount,
    an_environment,
    environment_arn,
    job_id,
)
from tests.unit.core.yard import Yard

MINUTE_MS = 60_000


def a_yard(**environment) -> Yard:
    return Yard(a_host(), a_launching_environment(**environment), a_queue())


def the_instance(yard: Yard):
    (instance,) = yard.state.instances.values()
    return instance


def causes_of(events) -> list[TerminationCause]:
    return [each.cause for each in events if isinstance(each, e.InstanceTerminated)]


@pytest.fixture
def running():
    """A yard in which job 1 runs on the only instance."""
    yard = a_yard()
    yard.feed(a_job(1, attempts=2))
    yard.round()
    yard.round()
    yard.feed(yard.started(1))
    assert yard.status(1) is JobStatus.RUNNING
    return yard


def test_a_job_waits_until_its_instance_has_booted():
    yard = a_yard(boot_ms=30_000)
    yard.feed(a_job(1))
    yard.round()
    assert the_instance(yard).record.instance_type == "t.one"
    yard.round()
    assert yard.status(1) is JobStatus.RUNNABLE
    yard.now_ms += 30_000
    yard.feed(i.Tick())
    yard.round()
    assert yard.status(1) is JobStatus.STARTING


def test_an_instance_is_kept_idle_for_its_time_and_then_ends(running):
    running.feed(running.ended(1, 0))
    running.now_ms += MINUTE_MS - 1
    events, _ = running.feed(i.Tick())
    assert not causes_of(events)
    running.now_ms += 1
    events, _ = running.feed(i.Tick())
    assert causes_of(events) == [TerminationCause.IDLE]
    assert not running.state.instances


def test_min_vcpus_are_launched_without_any_job_and_kept():
    yard = a_yard(vcpus_min=2)
    yard.round()
    assert sum(each.record.capacity.cpu_milli for each in yard.state.instances.values()) == 2000
    yard.now_ms += 10 * MINUTE_MS
    events, _ = yard.feed(i.Tick())
    assert not causes_of(events)


def test_a_disabled_environment_keeps_min_vcpus_and_launches_no_more():
    wanting = a_launching_environment(vcpus_min=1, is_enabled=False)
    assert wanting.launching is not None
    wanting = replace(wanting, launching=replace(wanting.launching, cpu_milli_wanted=3000))
    yard = Yard(a_host(memory_mib=16_384), wanting, a_queue())
    yard.round()
    assert the_instance(yard).record.capacity.cpu_milli == 1000
    yard.feed(replace(wanting, state=ResourceState.ENABLED))
    yard.round()
    assert yard.state.environments[environment_arn()].cpu_milli_launched == 3000
    yard.feed(wanting)
    yard.now_ms += 10 * MINUTE_MS
    events, _ = yard.feed(i.Tick())
    assert set(causes_of(events)) == {TerminationCause.IDLE}
    assert yard.state.environments[environment_arn()].cpu_milli_launched == 1000


def test_an_invalid_environment_keeps_its_instances_until_it_is_repaired(running):
    running.feed(running.ended(1, 0))
    valid = a_launching_environment()
    running.feed(replace(valid, fault="CLIENT_ERROR - broken"))
    running.now_ms += 10 * MINUTE_MS
    assert running.state.next_deadline_ms() is None
    events, _ = running.feed(i.Tick())
    running.round()
    assert not causes_of(events)
    assert running.state.instances
    running.feed(valid)
    events, _ = running.feed(i.Tick())
    assert causes_of(events) == [TerminationCause.IDLE]


@pytest.mark.parametrize("strategy", AllocationStrategy)
def test_above_a_lowered_maximum_nobody_starts_and_no_idle_instance_is_kept(strategy):
    environment = a_launching_environment(vcpus=3, strategy=strategy)
    yard = Yard(a_host(memory_mib=16_384), environment, a_queue())
    yard.feed(*(a_job(number) for number in (1, 2, 3)))
    yard.round()
    yard.round()
    yard.feed(*(yard.started(number) for number in (1, 2, 3)), a_job(4))
    events, effects = yard.feed(a_launching_environment(vcpus=1, strategy=strategy), i.Tick())
    assert (causes_of(events), effects) == ([], [])
    for number, left in ((1, 2), (2, 1)):
        yard.feed(yard.ended(number, 0))
        assert yard.round() == ([], [])
        events, _ = yard.feed(i.Tick())
        assert causes_of(events) == [TerminationCause.IDLE]
        assert len(yard.state.instances) == left
    assert yard.status(4) is JobStatus.RUNNABLE
    yard.feed(yard.ended(3, 0))
    yard.round()
    assert yard.status(4) is JobStatus.STARTING


def test_instances_that_are_never_scaled_in_still_make_room_for_others():
    yard = Yard(
        a_host(cpu_milli=1000),
        a_launching_environment(idle_ms=None),
        a_launching_environment("other"),
        a_queue(),
        a_queue("second", seq=2, environments=("other",)),
    )
    yard.feed(a_job(1))
    yard.round()
    yard.feed(yard.ended(1, 0))
    assert yard.state.next_deadline_ms() is None
    yard.feed(a_job(2, queue="second"))
    events, _ = yard.round()
    assert causes_of(events) == [TerminationCause.ROOM_NEEDED]


def test_an_interruption_stops_what_runs_and_says_which_host_it_was(running):
    instance_id = the_instance(running).record.id
    events, effects = running.feed(
        i.InterruptInstance(instance_id=instance_id, notice_ms=0, is_forced=True)
    )
    assert [type(each) for each in effects] == [StopTask]
    events, _ = running.feed(running.ended(1, 143))
    assert causes_of(events) == [TerminationCause.INTERRUPTED]
    attempt = running.progress[job_id(1)].attempts[0]
    assert attempt.stop_cause is StopCause.INSTANCE_TERMINATED
    assert attempt.status_reason == f"Host EC2 (instance {instance_id}) terminated."
    assert running.status(1) is JobStatus.RUNNABLE, "it has another attempt"


def test_a_job_that_was_terminated_while_its_instance_goes_is_not_tried_again(running):
    instance_id = the_instance(running).record.id
    running.feed(i.InterruptInstance(instance_id=instance_id, notice_ms=0, is_forced=True))
    running.feed(i.TerminateJob(job_id=job_id(1), reason="enough"))
    running.feed(running.ended(1, 143))
    assert running.status(1) is JobStatus.FAILED
    assert running.progress[job_id(1)].status_reason == "enough"


def test_an_interruption_with_notice_lets_attempts_end_by_themselves(running):
    instance_id = the_instance(running).record.id
    _, effects = running.feed(
        i.InterruptInstance(instance_id=instance_id, notice_ms=120_000, is_forced=True)
    )
    assert not effects
    running.feed(a_job(2))
    running.round()
    running.round()
    placed = running.progress[job_id(2)].attempt
    assert placed.instance_id != instance_id, "nothing new is placed on it"
    running.now_ms += 60_000
    events, _ = running.feed(running.ended(1, 0))
    assert running.status(1) is JobStatus.SUCCEEDED
    assert causes_of(events) == [TerminationCause.INTERRUPTED]


def test_the_notice_of_an_interruption_runs_out(running):
    instance_id = the_instance(running).record.id
    running.feed(i.InterruptInstance(instance_id=instance_id, notice_ms=120_000, is_forced=True))
    running.now_ms += 119_999
    assert not running.feed(i.Tick())[1]
    running.now_ms += 1
    assert [type(each) for each in running.feed(i.Tick())[1]] == [StopTask]


def test_the_notice_runs_out_of_an_instance_that_is_kept_for_a_node_to_come():
    """Else the node would begin on it once the main one runs, and nobody would stop it."""
    yard = a_yard()
    plan = NodePlan(main_index=0, groups=(NodeGroup(count=2, demand=an_amount(cpu_milli=2000)),))
    yard.feed(a_job(1, nodes=plan, cpu_milli=4000, memory_mib=1024))
    yard.round()
    yard.round()
    attempt = yard.progress[job_id(1)].attempt
    assert attempt is not None
    _, other = attempt.node_instances
    yard.feed(i.InterruptInstance(instance_id=other, notice_ms=MINUTE_MS, is_forced=True))
    yard.now_ms += MINUTE_MS
    _, effects = yard.feed(i.Tick())
    assert [type(each) for each in effects] == [StopTask]
    yard.feed(yard.ended(node_id(job_id(1), 0), 143))
    assert other not in yard.state.instances
    assert yard.status(1) is JobStatus.FAILED
    check(yard.state)


def test_another_infrastructure_replaces_the_instances(running):
    old = the_instance(running).record.id
    events, _ = running.feed(a_launching_environment(infrastructure="new", replace_ms=MINUTE_MS))
    drained = [each for each in events if isinstance(each, e.InstanceDraining)]
    assert [(each.instance_id, each.cause) for each in drained] == [
        (old, TerminationCause.REPLACED)
    ]
    running.now_ms += MINUTE_MS
    running.feed(i.Tick())
    running.feed(running.ended(1, 143))
    assert old not in running.state.instances
    running.round()
    assert the_instance(running).record.infrastructure == "new"


def test_an_environment_without_room_on_any_host_launches_nothing():
    yard = Yard(a_host(cpu_milli=500), a_launching_environment(), a_queue())
    yard.feed(a_job(1))
    yard.round()
    assert not yard.state.instances


def test_a_round_is_told_of_no_idle_instances_that_min_vcpus_keeps(running) -> None:
    """It would look at all of them again and again, and may have none."""
    kept = a_yard(vcpus_min=2)
    kept.round()
    assert all(each.is_ready for each in kept.state.instances.values())
    assert not list(view_of(kept.state, kept.now_ms).idle_instances)
    running.feed(running.ended(1, 0))
    assert len(list(view_of(running.state, running.now_ms).idle_instances)) == 1


def test_spot_capacity_alone_is_reclaimed_unless_somebody_insists(running):
    instance_id = the_instance(running).record.id
    asked = i.InterruptInstance(instance_id=instance_id, notice_ms=120_000, wish_seq=7)
    (answer,), _ = running.feed(asked)
    assert answer == e.InstanceWishSettled(
        wish_seq=7,
        at_ms=running.now_ms,
        refusal=f"{instance_id} is not Spot capacity, which alone is reclaimed",
    )
    events, _ = running.feed(replace(asked, is_forced=True))
    assert [type(each) for each in events] == [e.InstanceDraining, e.InstanceWishSettled]
    assert events[1].instance_ids == (instance_id,)
    (answer,), _ = running.feed(replace(asked, instance_id="i-0", wish_seq=8))
    assert answer.refusal == "there is no instance i-0"


def test_a_second_interruption_never_gives_more_time(running):
    instance_id = the_instance(running).record.id
    for notice_ms, stop_ms in ((120_000, 120_000), (300_000, 120_000), (60_000, 60_000)):
        asked = i.InterruptInstance(instance_id=instance_id, notice_ms=notice_ms, is_forced=True)
        running.feed(asked)
        assert the_instance(running).record.stop_ms == running.now_ms + stop_ms


@pytest.mark.parametrize("exit_code", [0, 143])
def test_a_task_of_fargate_spot_is_reclaimed_and_tried_again(exit_code):
    spot = replace(an_environment(), kind=EnvironmentKind.FARGATE_SPOT)
    yard = Yard(a_host(), spot, a_queue())
    yard.feed(a_job(1, attempts=2))
    (answer,), _ = yard.feed(i.InterruptTask(job_id=job_id(1), wish_seq=3))
    assert answer.refusal == f"job {job_id(1)} does not run"
    yard.round()
    yard.feed(yard.started(1))
    events, (stop,) = yard.feed(i.InterruptTask(job_id=job_id(1), wish_seq=4))
    assert isinstance(stop, StopTask)
    assert events[-1] == e.InstanceWishSettled(wish_seq=4, at_ms=yard.now_ms)
    yard.feed(yard.ended(1, exit_code))
    assert yard.status(1) is JobStatus.RUNNABLE
    [attempt] = yard.state.jobs[job_id(1)].progress.attempts
    assert attempt.status_reason == "Your Spot Task was interrupted."


def test_other_tasks_are_not_reclaimed(running):
    (answer,), effects = running.feed(i.InterruptTask(job_id=job_id(1), wish_seq=3))
    assert answer.refusal == (
        f"job {job_id(1)} does not run on FARGATE_SPOT, which alone is reclaimed"
    )
    assert effects == []
