"""Who passes a blocked head, beside a round that asks for everybody anew."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.instances import InstanceId
from batchyard.scheduler import round as rounds
from batchyard.scheduler.plan import Plan
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    InOrder,
    QueueView,
    View,
    WaitingJob,
)

AMPLE = Amount(cpu_milli=100, memory_mib=100)
ROOMS = st.builds(Amount, cpu_milli=st.integers(1, 4), memory_mib=st.integers(1, 4))
DEMANDS = st.one_of(ROOMS, st.just(Amount(cpu_milli=50, memory_mib=50)))


def an_environment(name: str, rooms: list[Amount], most: int) -> EnvironmentView:
    """An environment whose instances somebody else brings."""
    ready: dict[Amount, list[InstanceId]] = {}
    for at, room in enumerate(rooms):
        ready.setdefault(room, []).append(InstanceId(f"{name}-{at}"))
    return EnvironmentView(
        arn=EnvironmentArn(name),
        is_valid=True,
        is_enabled=True,
        cpu_milli_max=most,
        cpu_milli_used=0,
        has_instances=True,
        ready=ready,
    )


def plan(small: list[Amount], large: list[Amount], lines: list[list[Amount]]) -> Plan:
    environments = [an_environment("small", small, 10), an_environment("large", large, 100)]
    queues = [
        QueueView(
            arn=QueueArn(f"q{number}"),
            priority=1,
            seq=number,
            environments=environments,
            waiting=InOrder(
                WaitingJob(job_id=JobId(f"{number}-{at}"), demand=demand, seq=at)
                for at, demand in enumerate(line)
            ),
        )
        for number, line in enumerate(lines)
    ]
    host = HostView(host_id=HostId("h"), capacity=AMPLE, used=Amount())
    known = {
        each: host.host_id
        for view in environments
        for group in view.ready.values()
        for each in group
    }
    return rounds.plan_round(
        View(queues=queues, hosts=[host], environments=environments, host_by_instance=known)
    )


@given(
    st.lists(ROOMS, max_size=4),
    st.lists(ROOMS, max_size=2),
    st.lists(st.lists(DEMANDS, max_size=12), min_size=1, max_size=2),
)
def test_the_same_jobs_pass_whether_or_not_refusals_are_kept(small, large, lines) -> None:
    kept = plan(small, large, lines)
    with patch.object(rounds, "_pass_over_refused", lambda _made, _turn: None):
        assert plan(small, large, lines) == kept


def test_who_asks_for_what_was_refused_counts_as_looked_at() -> None:
    head, refused, fitting = Amount(cpu_milli=50), Amount(cpu_milli=3), Amount(cpu_milli=2)
    most = rounds.PASSERS_LOOKED_AT_MAX
    for behind, placed in ((most - 1, 1), (most, 0)):
        made = plan([fitting], [], [[head, *[refused] * behind, fitting]])
        assert len(made.placements) == placed


def test_jobs_that_fit_nowhere_keep_nobody() -> None:
    misfit, other, fitting = Amount(cpu_milli=101), Amount(cpu_milli=102), Amount(cpu_milli=2)
    with patch.object(rounds, "MISFITS_PASSED_MAX", 300):
        for number, placed in ((299, 2), (300, 2), (301, 0)):
            misfits = [misfit, other] * (number // 2) + [misfit] * (number % 2)
            made = plan([fitting], [fitting], [[*misfits, fitting, fitting]])
            assert len(made.placements) == placed
            assert [each.job_id for each in made.blocked] == ["0-0"]


def test_those_who_start_behind_jobs_that_fit_nowhere_are_not_counted() -> None:
    misfit, fitting = Amount(cpu_milli=101), Amount(cpu_milli=2)
    many = rounds.PASSERS_LOOKED_AT_MAX + 50
    made = plan([fitting] * many, [], [[misfit, *[fitting] * many]])
    assert len(made.placements) == many
