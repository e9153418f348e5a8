"""Quota shares that would have other terms: who gains, and who is stopped."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.cycle import run_turn
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.amounts import Amount
from batchyard.model.what_if import Changes, QuotaChange, Submission
from batchyard.scheduler.quota import UNLIMITED
from batchyard.sim.changing import adjusting
from batchyard.sim.meaning import refusal_of
from tests.builders import (
    SCOPE,
    a_host,
    a_job,
    a_queue,
    a_quota_share,
    an_environment,
    job_id,
    queue_arn,
)
from tests.unit.sim.futures import compared_states

PLACE = SCOPE.arn("batch", "")
MINUTE = 60_000
VISION = a_quota_share("vision")
SPEECH = a_quota_share("speech", borrows=100)


def a_yard(changes: Changes | None = None) -> State:
    """Eight vCPUs for two shares of four: seven jobs of speech run since a minute ago, two wait.

    Speech borrows three vCPUs, and vision has one job.
    """
    adjust = adjusting(changes or Changes())
    state = State()
    for happening in (
        a_host(cpu_milli=8000, memory_mib=10**6),
        an_environment(vcpus=8),
        a_queue(has_quota_shares=True),
        VISION,
        SPEECH,
    ):
        if (adjusted := adjust(happening)) is not None:
            step(state, adjusted, 0)
    return state


def run_jobs(state: State, shares: str) -> State:
    """Submit a job of each share named (v or s), and let those that are placed start."""
    names = {"v": "vision", "s": "speech"}
    come = [
        a_job(number, share_identifier=names[each]) for number, each in enumerate(shares, start=1)
    ]
    placed = run_turn(state, come, 0)
    starts = [each for each in placed.effects if hasattr(each, "attempt_number")]
    run_turn(state, [i.TaskStarted(task_id=each.task_id, at_ms=0) for each in starts], 0)
    return state


def compared(changes: Changes, shares: str):
    """Compare futures of a yard whose jobs began under the terms there are.

    What runs does so in both; the changed terms come on top of it.
    """
    states = []
    for each in (Changes(), changes):
        state = run_jobs(a_yard(), shares)
        adjust = adjusting(each)
        for put in (VISION, SPEECH):
            adjusted = adjust(put)
            assert adjusted is not None
            step(state, adjusted, 0)
        states.append(state)
    return compared_states(*states, changes=changes)


def a_change(share: str, **terms) -> Changes:
    return Changes(quota_shares={queue_arn(): {share: QuotaChange(**terms)}})


def by_share(found) -> dict:
    return {each.share: each for each in found.groups}


def test_a_larger_share_lets_more_of_its_jobs_start() -> None:
    # Six of vision want to run, on four vCPUs of its own; it does not borrow.
    found = compared(a_change("vision", limits={"VCPU": 6000}), "vvvvvv")
    vision = by_share(found)["vision"]
    assert (vision.waiting_count, vision.gaining_count, vision.losing_count) == (2, 2, 0)
    assert (vision.before.wait_p50_ms, vision.after.wait_p50_ms) == (MINUTE, 0)


def test_who_may_borrow_gains() -> None:
    found = compared(a_change("vision", borrows=True), "vvvvvv")
    assert by_share(found)["vision"].gaining_count == 2


def test_what_is_lent_no_more_is_missed() -> None:
    # Speech has four of its own and borrows four; the ninth waits, then four run at a time.
    found = compared(a_change("vision", lends=False), "s" * 16)
    speech = by_share(found)["speech"]
    assert (speech.waiting_count, speech.losing_count, speech.gaining_count) == (8, 4, 0)
    assert (speech.before.wait_p90_ms, speech.after.wait_p90_ms) == (MINUTE, 2 * MINUTE)


def test_a_lower_limit_of_one_share_lets_another_stop_what_it_borrows() -> None:
    # Speech fills all eight vCPUs, four of them borrowed from vision, whose two jobs come in.
    new = Submission(
        name="new",
        after_ms=10_000,
        queue_arn=queue_arn(),
        demand=Amount(cpu_milli=2000, memory_mib=1),
        run_ms=5000,
        share_identifier="vision",
    )
    found = compared(Changes(submissions=(new,)), "s" * 8)
    groups = by_share(found)
    speech, whole = groups["speech"], groups[None]
    assert (speech.preempted_before_count, speech.preempted_after_count) == (0, 2)
    assert whole.preempted_after_count == 2
    assert groups["vision"].preempted_after_count == 0
    assert groups["vision"].submitted.wait_p50_ms == 0
    # Those who began last, and nobody who waited: they lose what they have done.
    assert {each.job_id for each in found.preemptions} == {job_id(7), job_id(8)}
    assert {(each.share, each.before_ms, each.after_ms) for each in found.preemptions} == {
        ("speech", None, 10_000)
    }


def test_without_quota_shares_a_queue_is_a_line() -> None:
    changes = Changes(policies={queue_arn(): None})
    state = run_jobs(a_yard(changes), "vvvvvvss")
    queue = state.queues[queue_arn()]
    assert queue.quota_shares is None
    assert not queue.line
    assert len(state.job_by_task) == 8


def test_terms_that_are_not_said_stay() -> None:
    def adjusted(put, **terms):
        share = {put.terms.name: QuotaChange(**terms)}
        given = adjusting(Changes(quota_shares={queue_arn(): share}))(put)
        assert isinstance(given, i.PutQuotaShare)
        return given.terms

    two = a_quota_share("two", VCPU=4, GPU=1)
    assert adjusted(two, limits={"VCPU": 1000}).limits == {"VCPU": 1000, "GPU": 1000}
    assert adjusted(SPEECH) == SPEECH.terms
    assert adjusted(SPEECH, borrow_percent=10) == replace(SPEECH.terms, borrow_percent=10)
    assert adjusted(SPEECH, borrows=True).borrow_percent == 100
    assert adjusted(SPEECH, borrows=False, lends=False) == replace(
        SPEECH.terms, borrow_percent=None, lends=False
    )
    assert adjusted(VISION, borrows=True).borrow_percent == UNLIMITED
    assert adjusted(VISION, preempts_within=True).preempts_within


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (a_change("vision", limits={"VCPU": 1000}), None),
        (
            a_change("no", limits={"VCPU": 1000}),
            "Quota share no does not exist in job queue jq. There are: vision, speech.",
        ),
        (
            a_change("vision", limits={"ml.m5.large": 1000}),
            "capacityUnit ml.m5.large is not one of VCPU, MEMORY_MIB, GPU.",
        ),
        (
            Changes(weights={queue_arn(): {"vision": 1}}),
            "Job queue jq has quota shares, and those have no weights.",
        ),
        (
            Changes(
                policies={queue_arn(): None},
                quota_shares={queue_arn(): {"vision": QuotaChange(lends=False)}},
            ),
            "Job queue jq has no quota shares that could change.",
        ),
        (Changes(weights={queue_arn(): {"vision": 1}}, policies={queue_arn(): {}}), None),
    ],
)
def test_what_cannot_change_is_refused(changes: Changes, text: str | None) -> None:
    assert refusal_of(a_yard(), changes, PLACE) == text
