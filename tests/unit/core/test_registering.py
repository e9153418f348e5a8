"""Registered instances in the core: a slice of a host that stays until it is taken back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.core.effects import StopTask
from batchyard.core.explaining import explain
from batchyard.core.restore import restore_instances
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.model.instances import InstanceId
from batchyard.model.records import TerminationCause
from batchyard.model.status import JobStatus
from batchyard.scheduler.allocation import on_spot
from tests.builders import (
    a_host,
    a_job,
    a_launching_environment,
    a_policy,
    a_queue,
    a_registration,
    an_unmanaged_environment,
    environment_arn,
    job_id,
)
from tests.unit.core.yard import Yard

HOUR_MS = 3_600_000


def a_yard() -> Yard:
    return Yard(a_host(), an_unmanaged_environment(), a_queue())


def the_answer(events) -> e.InstanceWishSettled:
    (answer,) = (each for each in events if isinstance(each, e.InstanceWishSettled))
    return answer


def causes_of(events) -> list[TerminationCause]:
    return [each.cause for each in events if isinstance(each, e.InstanceTerminated)]


def deregistering(instance_id: InstanceId, *, is_forced: bool = False) -> i.DeregisterInstance:
    return i.DeregisterInstance(wish_seq=2, instance_id=instance_id, is_forced=is_forced)


def test_jobs_wait_until_there_are_instances_and_never_over_fill_them():
    yard = a_yard()
    yard.feed(*(a_job(number) for number in (1, 2, 3)))
    yard.round()
    assert yard.status(1) is JobStatus.RUNNABLE
    events, _ = yard.feed(a_registration())
    assert len(the_answer(events).instance_ids) == 1
    yard.round()
    yard.round()
    assert [yard.status(number) for number in (1, 2, 3)] == [
        JobStatus.STARTING,
        JobStatus.STARTING,
        JobStatus.RUNNABLE,
    ]
    yard.feed(a_registration(wish_seq=3))
    yard.round()
    assert yard.status(3) is JobStatus.STARTING
    check(yard.state)


def test_registered_instances_stay_however_long_they_are_idle():
    yard = a_yard()
    yard.feed(a_registration(count=2))
    assert yard.state.next_deadline_ms() is None
    yard.now_ms += HOUR_MS
    events, _ = yard.feed(i.Tick())
    assert not events
    assert len(yard.state.instances) == 2


def test_others_do_not_get_the_room_of_registered_instances():
    yard = Yard(
        a_host(),
        an_unmanaged_environment(),
        a_launching_environment("managed"),
        a_queue(environments=("managed",)),
    )
    yard.feed(a_registration(count=2), a_job(1))
    events, _ = yard.round()
    assert not causes_of(events)
    assert yard.status(1) is JobStatus.RUNNABLE
    assert yard.progress[job_id(1)].status_reason == (
        "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - Service cannot fulfill the capacity requested"
        " for instance type [t.one]"
    )


def test_idle_instances_that_nothing_keeps_make_room():
    yard = Yard(
        a_host(),
        an_unmanaged_environment(),
        a_launching_environment("managed", vcpus_min=1),
        a_queue(environments=("managed",)),
    )
    yard.feed(a_job(1), a_job(2))
    yard.round()
    for number in (1, 2):
        yard.feed(yard.ended(number, 0))
    assert len(yard.state.instances) == 2
    events, _ = yard.feed(a_registration(count=2))
    assert the_answer(events).refusal == (
        "no room for 2 x custom of 2 vCPUs, 1,024 MiB each: local has 3 vCPUs, 4,096 MiB free"
    )
    events, _ = yard.feed(a_registration(cpu_milli=3000))
    assert set(causes_of(events)) == {TerminationCause.ROOM_NEEDED}
    assert len(the_answer(events).instance_ids) == 1
    check(yard.state)


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        (
            {"count": 3},
            "no room for 3 x custom of 2 vCPUs, 1,024 MiB each: local has 4 vCPUs, 8,192 MiB free",
        ),
        (
            {"capacity": Amount(cpu_milli=1000, memory_mib=512, gpu_count=1)},
            "no room for 1 x custom of 1 vCPU, 512 MiB, 1 GPU each: local has 4 vCPUs, 8,192 MiB"
            " free",
        ),
        ({"host_id": HostId("other")}, "there is no host other; known are: local"),
        (
            {"environment_arn": environment_arn("none")},
            f"{environment_arn('none')} does not exist",
        ),
        (
            {"environment_arn": environment_arn("managed")},
            f"{environment_arn('managed')} is MANAGED: it launches its instances itself",
        ),
    ],
)
def test_a_registration_without_room_is_refused_as_a_whole(changes, refusal):
    yard = a_yard()
    yard.feed(a_launching_environment("managed"))
    events, _ = yard.feed(a_registration(**changes))
    assert [type(each) for each in events] == [e.InstanceWishSettled]
    assert the_answer(events).refusal == refusal
    assert not yard.state.instances


def test_deregistering_drains_and_ends_with_the_last_job():
    yard = a_yard()
    (instance_id,) = the_answer(yard.feed(a_registration())[0]).instance_ids
    yard.feed(a_job(1), a_job(2))
    yard.round()
    yard.feed(yard.started(1))
    yard.feed(a_job(3), yard.ended(2, 0))
    events, effects = yard.feed(deregistering(instance_id))
    assert the_answer(events).instance_ids == (instance_id,)
    assert not effects
    yard.round()
    assert yard.status(3) is JobStatus.RUNNABLE
    events, _ = yard.feed(yard.ended(1, 0))
    assert causes_of(events) == [TerminationCause.DEREGISTERED]
    check(yard.state)


def test_force_stops_what_is_on_it_even_if_it_drains_already():
    yard = a_yard()
    (instance_id,) = the_answer(yard.feed(a_registration())[0]).instance_ids
    yard.feed(a_job(1))
    yard.round()
    yard.feed(yard.started(1), deregistering(instance_id))
    _, effects = yard.feed(deregistering(instance_id, is_forced=True))
    assert [type(each) for each in effects] == [StopTask]
    yard.feed(yard.ended(1, 143))
    assert yard.progress[job_id(1)].status_reason == (
        f"Host EC2 (instance {instance_id}) terminated."
    )
    assert not yard.state.instances


def test_an_idle_one_goes_at_once_and_twice_is_refused():
    yard = a_yard()
    (instance_id,) = the_answer(yard.feed(a_registration())[0]).instance_ids
    events, _ = yard.feed(deregistering(instance_id))
    assert causes_of(events) == [TerminationCause.DEREGISTERED]
    events, _ = yard.feed(deregistering(instance_id))
    assert the_answer(events).refusal == f"there is no instance {instance_id}"


def test_what_a_managed_environment_launched_is_not_taken_back():
    yard = Yard(a_host(), a_launching_environment(vcpus_min=1), a_queue())
    yard.round()
    (instance_id,) = yard.state.instances
    events, _ = yard.feed(deregistering(instance_id))
    assert the_answer(events).refusal == (
        f"{instance_id} belongs to a managed environment, which ends it itself"
    )


def test_registered_instances_survive_a_restart():
    yard = a_yard()
    yard.feed(a_registration(count=2))
    records = [each.record for each in yard.state.instances.values()]
    again = State()
    for each in (a_host(), an_unmanaged_environment(), a_queue()):
        step(again, each, 0)
    restore_instances(again, records, yard.now_ms)
    check(again)
    assert list(again.instances) == list(yard.state.instances)
    assert again.next_deadline_ms() is None


def test_a_registration_goes_with_its_environment():
    yard = a_yard()
    yard.feed(a_registration())
    events, _ = yard.feed(i.DeleteEnvironment(arn=environment_arn()))
    assert causes_of(events) == [TerminationCause.ENVIRONMENT_DELETED]


@pytest.mark.parametrize(("vcpus", "running"), [(0, 4), (4, 2)])
def test_unmanaged_vcpus_are_what_a_reservation_is_of(vcpus, running):
    """Half of 4 vCPUs is kept from a single share; of an unknown number nothing is."""
    yard = Yard(
        a_host(),
        an_unmanaged_environment(vcpus=vcpus),
        a_queue(policy=a_policy(reservation=50)),
    )
    yard.feed(a_registration(count=2))
    yard.feed(*(a_job(number, share_identifier="one") for number in (1, 2, 3, 4)))
    yard.round()
    statuses = [yard.status(number) for number in (1, 2, 3, 4)]
    assert statuses.count(JobStatus.STARTING) == running


def test_an_explanation_tells_what_is_registered():
    yard = a_yard()
    yard.feed(a_job(1, cpu_milli=9000))
    yard.round()
    assert _texts(yard, 1) == [
        "Asked 9 vCPUs, 512 MiB; no instance with room is registered with ce."
    ]
    yard.feed(a_registration())
    yard.round()
    assert _texts(yard, 1) == [
        "Asked 9 vCPUs; the nearest of the instances with room in ce has 2 vCPUs free; short by"
        " 7 vCPUs."
    ]


def _on_spot(spot_price_micro: int, *, is_sold: bool = True) -> Yard:
    """Make a yard with one environment that pays less than 20 percent of the price on demand."""
    environment = a_launching_environment()
    settings = environment.launching
    assert settings is not None
    types = tuple(
        on_spot(
            replace(each, price_micro=100_000, is_launchable=is_sold),
            spot_price_micro,
            bid_percent=20,
        )
        for each in settings.types
    )
    dear = replace(environment, launching=replace(settings, types=types, bid_percent=20))
    yard = Yard(a_host(), dear, a_queue())
    yard.feed(a_job(1))
    yard.round()
    return yard


@pytest.mark.parametrize(
    ("spot_price_micro", "text"),
    [
        (20_000, "0.02 USD an hour, 20 percent of the 0.1 USD on demand; {less}: 21 would do."),
        (99_999, "0.1 USD an hour, 100 percent of the 0.1 USD on demand; {less}: 100 would do."),
        (
            100_000,
            "0.1 USD an hour, 100 percent of the 0.1 USD on demand; {less}: none would do, for it"
            " costs no less than on demand.",
        ),
    ],
)
def test_an_explanation_tells_of_spot_prices_above_the_bid(spot_price_micro: int, text: str):
    [found] = _texts(_on_spot(spot_price_micro), 1)
    less = "ce pays less than 20 percent (bidPercentage)"
    assert found.endswith(f", the least dear that the job fits, costs {text.format(less=less)}")


def test_an_explanation_tells_that_nobody_sells_spot_capacity():
    assert _texts(_on_spot(10_000, is_sold=False), 1) == [
        "There is no Spot capacity of any instance type of ce that the job fits."
    ]


def _texts(yard: Yard, number: int) -> list[str]:
    found = explain(yard.state, job_id(number), yard.now_ms)
    assert found is not None
    return [reason.text for outer in found.reasons for reason in (*outer.details, outer)]
