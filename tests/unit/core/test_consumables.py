"""Jobs that need consumable resources: taken together, held, given back, used up."""

from __future__ import annotations

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.effects import StartTask
from batchyard.core.step import step
from batchyard.core.viewing import view_of
from batchyard.model.ids import child_id, node_id
from batchyard.model.records import NodeGroup, NodePlan
from batchyard.model.status import JobStatus
from batchyard.scheduler.plan import Obstacle, Placement, Plan, Slot
from batchyard.scheduler.round import plan_round
from tests.builders import (
    HOST,
    a_consumable,
    a_host,
    a_job,
    an_amount,
    consumable_arn,
    environment_arn,
    job_id,
    needs,
)
from tests.unit.core.yard import Yard

RUNNABLE, STARTING = JobStatus.RUNNABLE, JobStatus.STARTING
FAILED = JobStatus.FAILED


def amounts(yard: Yard, name: str = "license") -> tuple[int, int, int]:
    found = yard.state.consumables[consumable_arn(name)]
    return found.held, found.used_up, found.available


def test_two_jobs_that_need_the_only_one_never_overlap(yard: Yard):
    yard.feed(a_consumable(), a_job(1, needs=needs(license=1)), a_job(2, needs=needs(license=1)))
    yard.round()
    assert (yard.status(1), yard.status(2)) == (STARTING, RUNNABLE)
    assert amounts(yard) == (1, 0, 0)
    yard.feed(yard.started(1), yard.ended(1, 0))
    assert amounts(yard) == (0, 0, 1)
    yard.round()
    assert yard.status(2) is STARTING


def test_a_job_takes_all_that_it_needs_or_nothing(yard: Yard):
    yard.feed(
        a_consumable("seat"),
        a_consumable("license"),
        a_job(1, needs=needs(license=1)),
        a_job(2, needs=needs(seat=1, license=1)),
    )
    yard.round()
    assert yard.status(2) is RUNNABLE
    assert amounts(yard, "seat") == (0, 0, 1)


def test_who_waits_for_one_keeps_the_head_and_says_nothing(yard: Yard):
    yard.feed(a_job(1, needs=needs(license=1)), a_job(2))
    plan = plan_round(view_of(yard.state, 0))
    assert [each.obstacle for each in plan.blocked] == [Obstacle.CONSUMABLE_UNAVAILABLE]
    events, _ = yard.round()
    assert events == []
    yard.feed(a_consumable())
    yard.round()
    assert (yard.status(1), yard.status(2)) == (STARTING, STARTING)


def test_what_is_used_up_does_not_come_back_even_if_the_job_fails(yard: Yard):
    yard.feed(
        a_consumable("credit", 3, is_replenishable=False),
        a_job(1, needs=needs(credit=2), attempts=2),
    )
    yard.round()
    assert amounts(yard, "credit") == (2, 2, 1)
    yard.feed(yard.started(1), yard.ended(1, 1))
    assert amounts(yard, "credit") == (0, 2, 1)
    yard.round()
    assert yard.status(1) is RUNNABLE, "a retry takes again, and there is not enough"
    yard.feed(a_consumable("credit", 4, is_replenishable=False, version=2))
    yard.round()
    assert amounts(yard, "credit") == (2, 4, 0)


def test_a_retry_lets_go_and_takes_again(yard: Yard):
    yard.feed(
        a_consumable(),
        a_job(1, needs=needs(license=1), attempts=2),
        a_job(2, needs=needs(license=1)),
    )
    yard.round()
    yard.feed(yard.started(1), yard.ended(1, 1))
    assert amounts(yard) == (0, 0, 1)
    yard.round()
    assert (yard.status(1), yard.status(2)) == (STARTING, RUNNABLE)


def test_taking_out_what_is_in_use_stops_nothing_and_starts_nothing(yard: Yard):
    yard.feed(a_consumable(given=2), a_job(1, needs=needs(license=2)))
    yard.round()
    yard.feed(a_consumable(given=1, version=2), a_job(2, needs=needs(license=1)))
    assert amounts(yard) == (2, 0, 0)
    yard.round()
    assert (yard.status(1), yard.status(2)) == (STARTING, RUNNABLE)
    yard.feed(yard.started(1), yard.ended(1, 0))
    yard.round()
    assert yard.status(2) is STARTING


def test_each_child_of_an_array_takes_its_own(yard: Yard):
    yard.feed(a_consumable(given=3), a_job(1, cpu_milli=250, array_size=5, needs=needs(license=1)))
    yard.round()
    started = [yard.progress.get(child_id(job_id(1), index)) for index in range(5)]
    assert [each and each.status for each in started] == [STARTING] * 3 + [None] * 2
    assert amounts(yard) == (3, 0, 0)


def test_a_multi_node_job_holds_its_own_until_the_last_node_is_gone(yard: Yard):
    plan = NodePlan(main_index=0, groups=(NodeGroup(count=2, demand=an_amount(cpu_milli=250)),))
    yard.feed(
        a_consumable(given=2),
        a_job(1, cpu_milli=500, memory_mib=1024, nodes=plan, needs=needs(license=2)),
    )
    yard.round()
    main, other = (node_id(job_id(1), index) for index in range(2))
    yard.feed(yard.started(main), yard.started(other), yard.ended(main, 0))
    assert amounts(yard) == (2, 0, 0)
    yard.feed(yard.ended(other, 137))
    assert amounts(yard) == (0, 0, 2)


def test_a_deleted_resource_lets_nothing_start_and_comes_back_the_same(yard: Yard):
    yard.feed(
        a_consumable(given=2),
        a_job(1, needs=needs(license=1)),
        a_job(2, needs=needs(license=2)),
    )
    yard.round()
    events, _ = yard.feed(i.DeleteConsumable(arn=consumable_arn(), version=2))
    assert events == [e.ConsumableDeleted(arn=consumable_arn(), version=2)]
    assert amounts(yard) == (1, 0, 0)
    yard.feed(a_consumable(given=2, version=3))
    assert amounts(yard) == (1, 0, 1)
    yard.feed(i.DeleteConsumable(arn=consumable_arn(), version=4), yard.started(1))
    yard.feed(yard.ended(1, 0))
    assert yard.state.consumables == {}
    yard.round()
    assert yard.status(2) is RUNNABLE
    yard.feed(i.CancelJob(job_id=job_id(2), reason="no"))
    assert yard.status(2) is FAILED


def test_the_core_refuses_a_plan_that_takes_what_is_not_there(yard: Yard):
    yard.feed(
        a_host(cpu_milli=8000),
        a_consumable(),
        a_job(1, needs=needs(license=1)),
        a_job(2, needs=needs(license=1)),
    )
    placements = tuple(
        Placement(
            job_id=job_id(number),
            environment_arn=environment_arn(),
            slots=(Slot(host_id=HOST),),
        )
        for number in (1, 2)
    )
    outcome = step(yard.state, Plan(placements=placements, blocked=()), 1)
    started = [each.job_id for each in outcome.effects if isinstance(each, StartTask)]
    assert started == [job_id(1)]


def test_what_changed_is_named_for_the_store(yard: Yard):
    outcome = step(yard.state, a_consumable(given=2), 1)
    assert list(outcome.consumables) == [consumable_arn()]
    step(yard.state, a_job(1, needs=needs(license=2)), 1)
    outcome = step(yard.state, plan_round(view_of(yard.state, 0)), 1)
    assert [each.held for each in outcome.consumables.values()] == [2]
