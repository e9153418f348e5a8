"""Queues with shares: whose jobs start, and what is counted.

The consequences that AWS's fair share must have (reference/compute-and-scheduling.md section 3.3),
each seen on a yard with endless demand, and usage compared with the formula worked out anew from
every attempt there was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import log

import pytest

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.check import check
from batchyard.model.ids import JobId, child_id, whole_id_of
from batchyard.model.records import NodeGroup, NodePlan
from batchyard.model.status import JobStatus
from tests.builders import (
    a_host,
    a_job,
    a_policy,
    a_queue,
    an_amount,
    an_environment,
    job_id,
    policy_arn,
    queue_arn,
)
from tests.unit.core.yard import Yard

WINDOW_MS = 600_000


def fair_yard(*, vcpus: int = 8, **policy) -> Yard:
    return Yard(
        a_host(cpu_milli=1000 * vcpus, memory_mib=10**6),
        an_environment(vcpus=vcpus),
        a_queue(policy=a_policy(**policy)),
    )


@pytest.fixture
def yard() -> Iterator[Yard]:
    """Eight vCPUs, and a queue whose shares are all equal."""
    made = fair_yard()
    yield made
    check(made.state)


class Demand:
    """A yard that is worked through, round by round, with jobs of a fixed length."""

    def __init__(self, yard: Yard, *, length_ms: int = 60_000) -> None:
        self.yard = yard
        self.length_ms = length_ms
        #: By share: how many vCPU-milliseconds its attempts have had.
        self.had: Counter[str] = Counter()
        self.started: list[str] = []
        self._until: dict[JobId, int] = {}
        self.spans: list[tuple[str, int, int, int]] = []
        self.history: list[e.Event] = []

    def round(self) -> None:
        events, _ = self.yard.round()
        self.history += events
        for event in events:
            if isinstance(event, e.AttemptPlaced):
                self._until[event.job_id] = event.at_ms + self.length_ms
                self.started.append(self.share_of(event.job_id))

    def pass_time(self, ms: int) -> None:
        """Let time pass, and end what is due."""
        self.yard.now_ms += ms
        for each, at_ms in list(self._until.items()):
            if at_ms <= self.yard.now_ms:
                share = self.share_of(each)
                cpu_milli = self.yard.state.jobs[each].demand.cpu_milli
                del self._until[each]
                self.had[share] += cpu_milli * self.length_ms
                begun_ms = self.yard.now_ms - self.length_ms
                self.spans.append((share, cpu_milli, begun_ms, self.yard.now_ms))
                events, _ = self.yard.feed(self.yard.started(each), self.yard.ended(each, 0))
                self.history += events

    def share_of(self, each: JobId) -> str:
        return self.yard.state.jobs[whole_id_of(each)].share_identifier or ""

    def run(self, rounds: int, *, step_ms: int = 60_000) -> None:
        for _ in range(rounds):
            self.round()
            self.pass_time(step_ms)

    def running(self) -> Counter[str]:
        return Counter(self.share_of(each) for each in self._until)


def in_share(number: int, share: str, *, priority: int = 0, **more) -> i.AcceptJob:
    return a_job(number, share_identifier=share, scheduling_priority=priority, **more)


def endless(number: int, share: str, **more) -> i.AcceptJob:
    return in_share(number, share, array_size=10_000, **more)


def shares_of(yard: Yard):
    return yard.state.queues[queue_arn()].shares


def starts(yard: Yard) -> list[JobId]:
    events, _ = yard.round()
    return [each.job_id for each in events if isinstance(each, e.AttemptPlaced)]


def test_equal_shares_get_equal_vcpu_seconds_whatever_their_jobs_are_like() -> None:
    yard = fair_yard(vcpus=12)
    yard.feed(endless(1, "small"), endless(2, "wide", cpu_milli=3000), endless(3, "c"))
    demand = Demand(yard)
    demand.run(200)
    third = sum(demand.had.values()) / 3
    assert demand.had == pytest.approx(dict.fromkeys(("small", "wide", "c"), third), rel=0.02)
    check(yard.state)


def test_a_weight_of_an_eighth_gets_eight_times_as_much() -> None:
    yard = fair_yard(vcpus=3, window_s=36_000, a=0.125, b=1)
    yard.feed(endless(1, "a"), endless(2, "b"))
    demand = Demand(yard)
    demand.run(900)
    assert demand.had["a"] / demand.had["b"] == pytest.approx(8, rel=0.01)


def test_a_prefix_shares_its_weight_among_those_who_have_it() -> None:
    """Two of the prefix together get as much as one other of the same weight."""
    yard = fair_yard(vcpus=8, team_=1, other=1)
    yard.feed(endless(1, "teamA"), endless(2, "teamB"), endless(3, "other"))
    demand = Demand(yard)
    demand.run(400)
    for name in ("teamA", "teamB"):
        assert demand.had["other"] / demand.had[name] == pytest.approx(2, rel=0.02)


def test_a_share_without_a_history_is_served_first(yard: Yard) -> None:
    yard.feed(endless(1, "old"))
    demand = Demand(yard)
    demand.run(20)
    yard.feed(endless(2, "new"))
    demand.round()
    assert demand.running() == {"new": 8}


def test_one_active_share_never_exceeds_half_and_two_three_quarters() -> None:
    yard = fair_yard(reservation=50)
    yard.feed(endless(1, "a"))
    demand = Demand(yard, length_ms=120_000)
    for _ in range(30):
        demand.round()
        assert sum(demand.running().values()) == 4
        demand.pass_time(60_000)
    demand.round()
    yard.feed(endless(2, "b"))
    demand.round()
    assert demand.running() == {"a": 4, "b": 2}
    for _ in range(30):
        demand.pass_time(60_000)
        demand.round()
        assert sum(demand.running().values()) == 6
    check(yard.state)


def test_a_share_that_is_new_gets_into_what_is_reserved_for_it() -> None:
    yard = fair_yard(vcpus=4, reservation=50)
    yard.feed(endless(1, "a"), endless(2, "b"))
    demand = Demand(yard)
    demand.round()
    assert demand.running() == {"a": 2, "b": 1}, "three quarters"
    yard.feed(in_share(3, "c"), in_share(4, "c"))
    demand.round()
    assert demand.running() == {"a": 2, "b": 1, "c": 1}


def test_priority_counts_within_a_share_only_and_retries_stand_before_others(yard: Yard) -> None:
    yard.feed(
        in_share(1, "a", cpu_milli=4000, attempts=2),
        in_share(2, "b", cpu_milli=4000, priority=9),
        in_share(3, "a", cpu_milli=4000),
        in_share(4, "a", cpu_milli=4000, priority=5),
        in_share(5, "a", cpu_milli=4000, priority=5),
    )
    assert starts(yard) == [job_id(2), job_id(4)], "of shares the older head, whatever priority"
    yard.feed(yard.started(4), yard.ended(4, 0))
    assert starts(yard) == [job_id(5)]
    yard.feed(yard.started(2), yard.ended(2, 0), yard.started(5), yard.ended(5, 0))
    assert starts(yard) == [job_id(1), job_id(3)]
    yard.feed(yard.started(1), yard.ended(1, 1), in_share(6, "a", cpu_milli=4000))
    assert starts(yard) == [job_id(1)]


def test_children_of_an_array_stand_in_its_share_once(yard: Yard) -> None:
    yard.feed(endless(1, "a", priority=1), in_share(2, "a"), endless(3, "b"))
    assert [len(share.line) for share in shares_of(yard).values()] == [2, 1]
    assert starts(yard) == [
        child_id(job_id(parent), index) for index in range(4) for parent in (1, 3)
    ]
    first = child_id(job_id(1), 0)
    yard.feed(yard.started(first), yard.ended(first, 0))
    assert starts(yard) == [child_id(job_id(1), 4)]


def test_a_multi_node_job_counts_as_much_as_its_nodes(yard: Yard) -> None:
    group = NodeGroup(count=4, demand=an_amount())
    plan = NodePlan(main_index=0, groups=(group,))
    yard.feed(in_share(1, "a", cpu_milli=4000, memory_mib=2048, nodes=plan), endless(2, "b"))
    yard.feed(endless(3, "a"))
    assert Counter(whole_id_of(each) for each in starts(yard)) == {job_id(1): 1, job_id(2): 4}
    assert [share.cpu_milli for share in shares_of(yard).values()] == [4000, 4000]


def test_usage_is_the_formula_over_every_attempt_there_was() -> None:
    yard = fair_yard(a=1, b=3)
    yard.feed(endless(1, "a"), endless(2, "b", cpu_milli=500), endless(3, "c", cpu_milli=2000))
    demand = Demand(yard, length_ms=90_000)
    demand.run(50, step_ms=30_000)
    now_ms = yard.now_ms
    expected = dict.fromkeys("abc", 0.0)

    def integral(cpu_milli: int, begun_ms: int, ended_ms: int) -> float:
        young, old = (2 ** ((at_ms - now_ms) / WINDOW_MS) for at_ms in (ended_ms, begun_ms))
        return cpu_milli * WINDOW_MS / log(2) * (young - old)

    for share, cpu_milli, begun_ms, ended_ms in demand.spans:
        expected[share] += integral(cpu_milli, begun_ms, ended_ms)
    for job in yard.state.jobs.values():
        if job.progress.attempt is not None:
            share = job.share_identifier or ""
            expected[share] += integral(
                job.demand.cpu_milli, job.progress.attempt.placed_ms, now_ms
            )
    found = {name: each.usage_at(now_ms, WINDOW_MS) for name, each in shares_of(yard).items()}
    assert found == pytest.approx(expected, rel=1e-5)


def test_an_end_that_is_told_of_late_counts_until_it_was(yard: Yard) -> None:
    yard.feed(in_share(1, "a"), in_share(2, "a"))
    starts(yard)
    begun_ms = yard.now_ms
    yard.now_ms = begun_ms + 50_000
    first = yard.ended(1, 0)
    yard.now_ms = begun_ms + 100_000
    yard.feed(yard.started(2), yard.ended(2, 0))
    yard.feed(first)
    share = shares_of(yard)["a"]
    exact = (
        1000
        * WINDOW_MS
        / log(2)
        * (
            (1 - 2 ** (-100_000 / WINDOW_MS))
            + (2 ** (-50_000 / WINDOW_MS) - 2 ** (-100_000 / WINDOW_MS))
        )
    )
    assert share.usage == pytest.approx(exact, rel=1e-6)
    assert (share.cpu_milli, share.live_count) == (0, 0)


def test_a_changed_policy_weighs_anew_at_once_and_keeps_the_history() -> None:
    yard = fair_yard(vcpus=4)
    yard.feed(endless(1, "a"), endless(2, "b"))
    demand = Demand(yard)
    demand.run(10)
    before = {name: each.usage for name, each in shares_of(yard).items()}
    changed = a_policy(a=1, b=3)
    events, _ = yard.feed(i.PutPolicy(arn=policy_arn(), revision=2, policy=changed))
    assert events == [e.PolicySettled(arn=policy_arn(), revision=2, policy=changed)]
    assert {name: each.usage for name, each in shares_of(yard).items()} == before
    demand.round()
    assert demand.running() == {"a": 4}, "b had as much, and that counts three times now"


def test_a_share_is_forgotten_once_its_window_is_over_and_another_one_comes(yard: Yard) -> None:
    yard.feed(in_share(1, "a"), in_share(2, "cancelled"))
    yard.feed(i.CancelJob(job_id=job_id(2), reason="no"))
    starts(yard)
    yard.now_ms += 1000
    yard.feed(yard.started(1), yard.ended(1, 0))
    yard.now_ms += WINDOW_MS - 1
    events, _ = yard.feed(in_share(3, "b"))
    assert [each.share_identifier for each in events if isinstance(each, e.ShareForgotten)] == [
        "cancelled"
    ]
    yard.now_ms += 1
    yard.feed(in_share(4, "b"))
    assert list(shares_of(yard)) == ["a", "b"], "only another one makes room for itself"
    events, _ = yard.feed(in_share(5, "a"))
    assert events[0] == e.ShareForgotten(arn=queue_arn(), share_identifier="a")
    assert shares_of(yard)["a"].usage == 0


def test_five_hundred_shares_each_get_a_turn() -> None:
    yard = fair_yard(vcpus=500)
    for number in range(1, 501):
        yard.feed(endless(number, f"share{number}"))
    assert starts(yard) == [child_id(job_id(number), 0) for number in range(1, 501)]


def test_a_job_without_a_share_on_a_queue_with_a_policy_is_in_one_all_the_same(
    yard: Yard,
) -> None:
    """It was checked against a queue of the same name that is gone."""
    yard.feed(a_job(1))
    assert starts(yard) == [job_id(1)]


def test_shares_and_priorities_mean_nothing_without_a_policy() -> None:
    yard = Yard()
    yard.feed(in_share(1, "a"), in_share(2, "b", priority=9))
    assert starts(yard) == [job_id(1), job_id(2)]
    assert yard.status(2) is JobStatus.STARTING
    check(yard.state)
