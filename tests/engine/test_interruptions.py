"""When Spot instances are reclaimed of themselves: by chance, and yet the same each time."""

from __future__ import annotations

from statistics import mean

from batchyard.core import events as e
from batchyard.engine.interruptions import InterruptionRate, Interruptions
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.model.instances import InstanceId
from batchyard.model.records import InstanceRecord
from tests.builders import environment_arn

HOUR_MS = 3_600_000


def record(number: int, *, is_spot: bool = True) -> InstanceRecord:
    return InstanceRecord(
        id=InstanceId(f"i-{number}"),
        environment_arn=environment_arn(),
        instance_type="m6i.large",
        host_id=HostId("local"),
        capacity=Amount(cpu_milli=2000, memory_mib=8192),
        is_spot=is_spot,
        launched_ms=1000,
        ready_ms=1000,
    )


def moments(rate: InterruptionRate, count: int) -> dict[InstanceId, int]:
    made = Interruptions(rate)
    for number in range(count):
        made.expect(record(number))
    found: dict[InstanceId, int] = {}
    while (at_ms := made.next_ms()) is not None:
        assert made.pop_due(at_ms - 1) == []
        found.update({each.instance_id: at_ms for each in made.pop_due(at_ms)})
    return found


def test_the_moments_are_the_same_after_a_restart_and_others_with_another_seed():
    rate = InterruptionRate(per_hour=2)
    assert moments(rate, 50) == moments(rate, 50)
    assert moments(rate, 50) != moments(InterruptionRate(per_hour=2, seed=1), 50)


def test_instances_live_as_long_as_the_rate_says():
    lives = [at_ms - 1000 for at_ms in moments(InterruptionRate(per_hour=4), 4000).values()]
    assert 0.95 < mean(lives) / (HOUR_MS / 4) < 1.05


def test_only_spot_capacity_is_drawn_and_without_a_rate_nothing_is():
    launched = [
        e.InstanceLaunched(
            record=record(number, is_spot=number == 1), launch_count=1, cpu_milli_launched=1
        )
        for number in range(3)
    ]
    never, often = Interruptions(InterruptionRate()), Interruptions(InterruptionRate(per_hour=1))
    for each in (never, often):
        each.note(launched)
    assert never.next_ms() is None
    due = often.pop_due(10**15)
    assert [(each.instance_id, each.notice_ms) for each in due] == [("i-1", 120_000)]
