"""Who goes first, where, and why somebody does not."""

from __future__ import annotations

from batchyard.model.amounts import Amount
from batchyard.model.ids import ConsumableArn, EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.records import ConsumableNeed
from batchyard.scheduler.plan import Obstacle, Slot
from batchyard.scheduler.round import plan_round
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    InOrder,
    QueueView,
    View,
    WaitingJob,
)


def environment(name="ce", *, vcpus=8, used=0, is_valid=True, is_enabled=True):
    return EnvironmentView(
        arn=EnvironmentArn(name),
        is_valid=is_valid,
        is_enabled=is_enabled,
        cpu_milli_max=vcpus * 1000,
        cpu_milli_used=used * 1000,
    )


def queue(name, jobs, *, priority=1, seq=1, environments=None):
    return QueueView(
        arn=QueueArn(name),
        priority=priority,
        seq=seq,
        environments=environments or [environment()],
        waiting=InOrder(
            WaitingJob(job_id=JobId(job), demand=Amount(cpu_milli=vcpus * 1000, memory_mib=100))
            for job, vcpus in jobs
        ),
    )


def plan(*queues, vcpus=8, memory_mib=10_000):
    host = HostView(
        host_id=HostId("h"),
        capacity=Amount(cpu_milli=vcpus * 1000, memory_mib=memory_mib),
        used=Amount(),
    )
    return plan_round(View(queues=queues, hosts=[host]))


def placed(result):
    return [each.job_id for each in result.placements]


def test_higher_priority_goes_first():
    result = plan(queue("low", [("l", 8)]), queue("high", [("h", 8)], priority=5, seq=2))
    assert placed(result) == ["h"]
    assert [(each.job_id, each.obstacle) for each in result.blocked] == [
        ("l", Obstacle.CAPACITY_IN_USE)
    ]


def test_equal_priorities_take_turns_older_queue_first():
    first = queue("a", [("a1", 1), ("a2", 1), ("a3", 1)], seq=1)
    second = queue("b", [("b1", 1), ("b2", 1)], seq=2)
    assert placed(plan(second, first)) == ["a1", "b1", "a2", "b2", "a3"]


def test_a_blocked_head_keeps_its_queue_but_no_other():
    first = queue("a", [("first", 6), ("big", 8), ("small", 1)], seq=1)
    result = plan(first, queue("b", [("b", 1)], seq=2))
    assert placed(result) == ["first", "b"]
    assert result.blocked[0].job_id == "big"


def test_a_head_that_fits_nowhere_lets_others_pass():
    result = plan(queue("a", [("never", 9), ("small", 1), ("never too", 9), ("last", 2)]))
    assert placed(result) == ["small", "last"]
    assert [each.job_id for each in result.blocked] == ["never"]


def test_environments_fill_in_the_order_of_the_queue_and_overflow():
    environments = [environment("one", vcpus=2), environment("two", vcpus=8)]
    result = plan(queue("q", [("1", 1), ("2", 1), ("3", 1)], environments=environments))
    assert [each.environment_arn for each in result.placements] == ["one", "one", "two"]


def test_an_unusable_environment_is_passed_over():
    environments = [
        environment("invalid", is_valid=False),
        environment("disabled", is_enabled=False),
        environment("good"),
    ]
    result = plan(queue("q", [("1", 1)], environments=environments))
    assert [each.environment_arn for each in result.placements] == ["good"]


def test_max_vcpus_counts_what_was_placed_in_the_same_round_by_another_queue():
    shared = environment("shared", vcpus=3)
    result = plan(
        queue("a", [("a1", 2)], seq=1, environments=[shared]),
        queue("b", [("b1", 2)], seq=2, environments=[shared]),
    )
    assert placed(result) == ["a1"]


def test_memory_is_a_limit_of_its_own():
    result = plan(queue("q", [("1", 1), ("2", 1)]), memory_mib=150)
    assert placed(result) == ["1"]


def test_a_long_queue_is_read_only_as_far_as_it_is_placed():
    def endless():
        for number in range(1_000_000):
            assert number < 5, "read too far"
            yield WaitingJob(job_id=JobId(str(number)), demand=Amount(cpu_milli=2000))

    view = View(
        queues=[
            QueueView(
                arn=QueueArn("q"),
                priority=1,
                seq=1,
                environments=[environment()],
                waiting=InOrder(endless()),
            )
        ],
        hosts=[HostView(host_id=HostId("h"), capacity=Amount(cpu_milli=8000), used=Amount())],
    )
    assert placed(plan_round(view)) == ["0", "1", "2", "3"]


def gang(job_id: str, *vcpus: int) -> WaitingJob:
    demands = [Amount(cpu_milli=each * 1000, memory_mib=100) for each in vcpus]
    return WaitingJob(
        job_id=JobId(job_id),
        demand=Amount(cpu_milli=sum(vcpus) * 1000, memory_mib=100 * len(vcpus)),
        node_demands=demands,
    )


def plan_on(hosts: dict[str, int], *waiting: WaitingJob):
    views = [
        HostView(
            host_id=HostId(name),
            capacity=Amount(cpu_milli=vcpus * 1000, memory_mib=10_000),
            used=Amount(),
        )
        for name, vcpus in hosts.items()
    ]
    only = QueueView(
        arn=QueueArn("q"), priority=1, seq=1, environments=[environment()], waiting=InOrder(waiting)
    )
    return plan_round(View(queues=[only], hosts=views))


def test_nodes_are_spread_over_hosts() -> None:
    [placement] = plan_on({"a": 2, "b": 4}, gang("g", 2, 3)).placements
    assert placement.slots == (Slot(host_id=HostId("a")), Slot(host_id=HostId("b")))


def test_nodes_that_do_not_all_fit_take_nothing() -> None:
    single = WaitingJob(job_id=JobId("s"), demand=Amount(cpu_milli=2000, memory_mib=100))
    result = plan_on({"a": 3, "b": 3}, single, gang("g", 2, 1, 2), single)
    assert placed(result) == ["s"]
    assert result.blocked[0].obstacle is Obstacle.CAPACITY_IN_USE


def test_more_nodes_than_all_hosts_hold_are_told_so() -> None:
    for nodes in ((1, 1, 3), (1, 2, 2)):
        [blocked] = plan_on({"a": 2, "b": 2}, gang("g", *nodes)).blocked
        assert blocked.obstacle is Obstacle.ABOVE_HOST_CAPACITY


def test_what_nodes_did_not_take_goes_to_other_queues() -> None:
    others = queue("other", [("o", 2)], priority=1, seq=2)
    hosts = [
        HostView(
            host_id=HostId("h"), capacity=Amount(cpu_milli=2000, memory_mib=999), used=Amount()
        )
    ]
    first = QueueView(
        arn=QueueArn("q"),
        priority=5,
        seq=1,
        environments=[environment()],
        waiting=InOrder([gang("g", 1, 1, 1)]),
    )
    assert placed(plan_round(View(queues=[first, others], hosts=hosts))) == ["o"]


def test_consumables_are_given_away_once_over_all_queues() -> None:
    def needy(name: str, quantity: int) -> WaitingJob:
        need = ConsumableNeed(arn=ConsumableArn("license"), quantity=quantity)
        return WaitingJob(
            job_id=JobId(name), demand=Amount(cpu_milli=1000, memory_mib=100), needs=(need,)
        )

    queues = [
        QueueView(
            arn=QueueArn(name),
            priority=1,
            seq=seq,
            environments=[environment()],
            waiting=InOrder([needy(f"{name}{number}", number) for number in (1, 2)]),
        )
        for seq, name in enumerate("ab")
    ]
    host = HostView(
        host_id=HostId("h"),
        capacity=Amount(cpu_milli=8000, memory_mib=10_000),
        used=Amount(),
    )
    result = plan_round(View(queues=queues, hosts=[host], available_of=lambda _: 3))
    assert placed(result) == ["a1", "b1"]
    assert [(each.job_id, each.obstacle) for each in result.blocked] == [
        ("a2", Obstacle.CONSUMABLE_UNAVAILABLE),
        ("b2", Obstacle.CONSUMABLE_UNAVAILABLE),
    ]


def test_a_lack_that_lasts_is_named_before_a_consumable() -> None:
    need = ConsumableNeed(arn=ConsumableArn("license"), quantity=1)
    job = WaitingJob(job_id=JobId("j"), demand=Amount(cpu_milli=9000), needs=(need,))
    [blocked] = plan_on({"h": 8}, job).blocked
    assert blocked.obstacle is Obstacle.ABOVE_ENVIRONMENT_MAX


class HeldBack(InOrder):
    """An order that lets nothing start."""

    def is_held_back(self) -> bool:
        return True


def test_a_job_that_its_queue_holds_back_keeps_the_head_and_takes_nothing() -> None:
    jobs = [WaitingJob(job_id=JobId("h"), demand=Amount(cpu_milli=1000))]
    held = QueueView(
        arn=QueueArn("held"),
        priority=5,
        seq=1,
        environments=[environment()],
        waiting=HeldBack(jobs),
    )
    result = plan(held, queue("other", [("o", 8)], seq=2))
    assert placed(result) == ["o"]
    assert [each.obstacle for each in result.blocked] == [Obstacle.RESERVED_FOR_OTHERS]


def test_a_cause_that_lasts_is_named_before_what_a_queue_holds_back() -> None:
    jobs = [WaitingJob(job_id=JobId("h"), demand=Amount(cpu_milli=9000))]
    held = QueueView(
        arn=QueueArn("held"),
        priority=5,
        seq=1,
        environments=[environment()],
        waiting=HeldBack(jobs),
    )
    assert plan(held).blocked[0].obstacle is Obstacle.ABOVE_ENVIRONMENT_MAX
