"""What would be otherwise: by hand, with jobs that never vary."""

from __future__ import annotations

import pytest

from batchyard.core.cycle import run_turn
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.model.what_if import Changes, Machine, Submission
from batchyard.sim.changing import adjusting
from batchyard.sim.meaning import refusal_of
from tests.builders import (
    HOST,
    SCOPE,
    a_host,
    a_job,
    a_policy,
    a_queue,
    an_environment,
    environment_arn,
    job_id,
    queue_arn,
)
from tests.unit.sim.futures import KIND, compared_states

PLACE = SCOPE.arn("batch", "")
#: Two teams, one vCPU: all of `first` came before `second`.
TEAMS = [(1, "first"), (2, "first"), (3, "first"), (4, "second")]


def a_state(changes: Changes | None = None, *, has_policy: bool = True, vcpus: int = 1) -> State:
    adjust = adjusting(changes or Changes())
    policy = a_policy(first=1.0, second=1.0) if has_policy else None
    state = State()
    for happening in (
        a_host(cpu_milli=4000, memory_mib=10**6),
        an_environment(vcpus=vcpus),
        a_queue(policy=policy) if has_policy else a_queue(),
    ):
        adjusted = adjust(happening)
        assert adjusted is not None
        step(state, adjusted, 0)
    for number, share in TEAMS:
        step(state, a_job(number, share_identifier=share), 0)
    return state


def compared(changes: Changes, *, has_policy: bool = True, vcpus: int = 1):
    states = [a_state(each, has_policy=has_policy, vcpus=vcpus) for each in (Changes(), changes)]
    return compared_states(*states, changes=changes)


def waits(found) -> dict[str | None, tuple[int | None, int | None]]:
    return {each.share: (each.before.wait_p50_ms, each.after.wait_p50_ms) for each in found.groups}


def test_more_capacity_lets_all_start_at_once() -> None:
    found = compared(Changes(cpu_milli_max={environment_arn(): 4000}))
    assert waits(found) == {None: (60_000, 0), "first": (120_000, 0), "second": (60_000, 0)}
    whole = found.groups[0]
    assert (whole.waiting_count, whole.gaining_count, whole.losing_count) == (4, 3, 0)
    assert (whole.before.all_ended.p50_ms, whole.after.all_ended.p50_ms) == (240_000, 60_000)
    assert [each.later_ms for each in found.gainers] == [-180_000, -120_000, -60_000]
    assert found.losers == ()


def test_a_smaller_machine_keeps_all_from_starting() -> None:
    found = compared(Changes(machines={HOST: Machine(cpu_milli=500)}))
    assert waits(found)[None] == (60_000, None)
    assert found.gave_up is None
    assert (found.groups[0].gaining_count, found.groups[0].losing_count) == (0, 4)
    assert {(each.later_ms, each.after_ms) for each in found.losers} == {(None, None)}


def test_who_starts_only_then_gains() -> None:
    found = compared(Changes(cpu_milli_max={environment_arn(): 4000}), vcpus=0)
    assert waits(found)[None] == (None, 0)
    assert (found.groups[0].gaining_count, found.groups[0].losing_count) == (4, 0)
    assert {(each.later_ms, each.before_ms) for each in found.gainers} == {(None, None)}


def test_first_in_first_out_takes_from_who_came_late() -> None:
    found = compared(Changes(policies={queue_arn(): None}))
    assert waits(found) == {
        None: (60_000, 60_000),
        "first": (120_000, 60_000),
        "second": (60_000, 180_000),
    }
    assert [(each.job_id, each.later_ms) for each in found.losers] == [(job_id(4), 120_000)]
    assert {each.job_id: each.later_ms for each in found.gainers} == {
        job_id(2): -60_000,
        job_id(3): -60_000,
    }


def test_a_queue_without_shares_can_be_supposed_to_have_them() -> None:
    detail = {"shareDistribution": [{"shareIdentifier": "second", "weightFactor": 1.0}]}
    found = compared(Changes(policies={queue_arn(): detail}), has_policy=False)
    assert [(each.job_id, each.later_ms) for each in found.gainers] == [(job_id(4), -120_000)]


def test_jobs_that_come_in_push_others_back_by_what_they_take() -> None:
    submission = Submission(
        name="new",
        after_ms=10_000,
        queue_arn=queue_arn(),
        demand=Amount(cpu_milli=1000, memory_mib=1),
        run_ms=30_000,
        share_identifier="third",
    )
    found = compared(Changes(submissions=(submission,)))
    third = next(each for each in found.groups if each.share == "third")
    assert (third.waiting_count, third.submitted_count) == (0, 1)
    assert third.submitted.wait_p50_ms is not None
    assert found.groups[0].losing_count > 0
    assert found.groups[0].after.all_ended.p50_ms == 270_000


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            Changes(cpu_milli_max={environment_arn("no"): 1}),
            "Compute environment no does not exist.",
        ),
        (
            Changes(machines={HostId("no"): Machine()}),
            "Machine no does not exist. There are: local.",
        ),
        (Changes(priorities={queue_arn("no"): 1}), "Job queue no does not exist."),
        (Changes(weights={queue_arn(): {"first": 1}}), None),
        (
            Changes(weights={queue_arn(): {"first": 1}}, policies={queue_arn(): None}),
            "Job queue jq has no fair-share policy whose weights could change.",
        ),
    ],
)
def test_changes_of_what_is_not_there_are_refused(changes: Changes, text: str | None) -> None:
    assert refusal_of(a_state(), changes, PLACE) == text


def test_nothing_of_other_accounts_can_be_supposed() -> None:
    changes = Changes(priorities={queue_arn(): 1})
    assert refusal_of(a_state(), changes, "arn:aws:batch:eu-central-1:9:") is not None


def test_other_weights_count() -> None:
    changes = Changes(weights={queue_arn(): {"second": 5000, "fir*": 20_000}})
    state = a_state(changes)
    policy = state.queues[queue_arn()].policy
    assert policy is not None
    weights = [policy.weight_of(each) for each in ("first", "second")]
    assert [each and each.weight_e4 for each in weights] == [20_000, 5000]
    assert run_turn(state, [], 0).effects
    assert KIND.queue_arn == queue_arn()
