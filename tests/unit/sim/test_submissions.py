"""Jobs that would come in: what they wait for, how they fail, and where they are refused."""

from __future__ import annotations

import pickle

import pytest

from batchyard.core.inputs import PutEnvironment
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.node_plans import equal_nodes
from batchyard.model.what_if import Changes, Submission
from batchyard.sim.changing import adjusting
from batchyard.sim.meaning import refusal_of
from tests.builders import (
    SCOPE,
    a_host,
    a_launching_environment,
    a_policy,
    a_queue,
    a_quota_share,
    a_service_environment,
    an_environment,
    environment_arn,
    queue_arn,
    service_environment_arn,
)
from tests.unit.sim.futures import compared_states

PLACE = SCOPE.arn("batch", "")
S = 1000


def a_submission(name: str, *, after_s: int = 0, run_s: int = 10, **more) -> Submission:
    members = {
        "queue_arn": queue_arn(),
        "demand": Amount(cpu_milli=1000, memory_mib=1),
        "run_ms": run_s * S,
        **more,
    }
    return Submission(name=name, after_ms=after_s * S, **members)


def a_state(queue=None) -> State:
    state = State()
    for happening in (
        a_host(cpu_milli=4000, memory_mib=10**6),
        an_environment(),
        queue or a_queue(),
    ):
        step(state, happening, 0)
    return state


def submitted(*submissions: Submission):
    """Look at what becomes of some jobs in an empty yard of four vCPUs."""
    changes = Changes(submissions=submissions)
    found = compared_states(a_state(), a_state(), changes=changes)
    (group,) = found.groups
    assert group.submitted_count == len(submissions)
    return group


def test_a_job_waits_for_those_that_it_depends_on() -> None:
    group = submitted(
        a_submission("a", run_s=60),
        a_submission("b", after_s=5, run_s=30, depends_on=("a",)),
        a_submission("c", after_s=20, depends_on=("a", "b")),
    )
    # a 0-60, b 60-90 (waits 55 s), c 90-100 (waits 70 s)
    assert (group.submitted.wait_p50_ms, group.submitted.wait_p90_ms) == (55 * S, 70 * S)
    assert group.submitted.all_ended.p50_ms == 100 * S
    assert group.failing_count == 0


def test_what_is_over_when_a_job_comes_in_counts_as_it_ended() -> None:
    group = submitted(
        a_submission("good", run_s=5),
        a_submission("bad", run_s=5, exit_code=1),
        a_submission("after good", after_s=60, depends_on=("good",)),
        a_submission("after bad", after_s=60, depends_on=("bad",)),
    )
    assert group.failing_count == 2
    assert group.submitted.all_ended.p50_ms == 70 * S


def test_what_can_never_start_since_another_failed_waits_for_nothing() -> None:
    group = submitted(
        a_submission("bad", run_s=50, exit_code=3), a_submission("b", depends_on=("bad",))
    )
    assert group.failing_count == 2
    assert group.submitted.wait_p90_ms == 0
    assert group.submitted.all_started.p50_ms == 0
    assert group.submitted.all_ended.p50_ms == 50 * S


def test_a_job_that_fails_is_tried_as_often_as_it_says() -> None:
    group = submitted(a_submission("bad", run_s=20, exit_code=1, attempts_max=3))
    assert (group.failing_count, group.submitted.all_ended.p50_ms) == (1, 60 * S)


def test_a_timeout_ends_each_attempt() -> None:
    group = submitted(a_submission("slow", run_s=1000, timeout_ms=30 * S))
    assert (group.failing_count, group.submitted.all_ended.p50_ms) == (1, 30 * S)


def test_arrays_are_waited_for_as_a_whole() -> None:
    group = submitted(
        a_submission("array", run_s=10, array_size=8), a_submission("b", depends_on=("array",))
    )
    # Four at a time: 0-10, 10-20, then b.
    assert group.submitted.all_ended.p50_ms == 30 * S


def test_a_share_that_a_queue_without_shares_is_given_means_nothing() -> None:
    assert submitted(a_submission("a", share_identifier="team")).share is None


def refusal(queue, submission: Submission) -> str | None:
    return refusal_of(a_state(queue), Changes(submissions=(submission,)), PLACE)


def test_a_queue_with_shares_wants_one() -> None:
    fair = a_queue(policy=a_policy())
    assert refusal(fair, a_submission("a", share_identifier="team")) is None
    assert (
        refusal(fair, a_submission("a"))
        == "a: job queue jq has shares, so a shareIdentifier must be given."
    )


@pytest.mark.parametrize(
    ("share", "text"),
    [
        ("vision", None),
        (None, "a: shareIdentifier must name a quota share of job queue jq."),
        ("no", "a: Quota share no does not exist in job queue jq. There are: vision."),
    ],
)
def test_a_queue_with_quota_shares_wants_one_of_them(share: str | None, text: str | None) -> None:
    state = a_state(a_queue(has_quota_shares=True))
    step(state, a_quota_share("vision"), 0)
    changes = Changes(submissions=(a_submission("a", share_identifier=share),))
    assert refusal_of(state, changes, PLACE) == text


def test_nodes_start_together_or_not_at_all() -> None:
    state = State()
    for happening in (
        a_host(cpu_milli=4000, memory_mib=10**6),
        a_launching_environment(),
        a_queue(),
    ):
        step(state, happening, 0)
    each = Amount(cpu_milli=1000, memory_mib=1)
    wide = a_submission(
        "wide", run_s=20, nodes=equal_nodes(3, each), demand=each + each + each, after_s=1
    )
    changes = Changes(submissions=(a_submission("a", demand=each + each), wide))
    assert refusal_of(state, changes, PLACE) is None
    other = pickle.loads(pickle.dumps(state))  # noqa: S301 -- our own
    (group,) = compared_states(state, other, changes=changes).groups
    # Two of four vCPUs are free until 10: the three nodes wait for the others.
    assert group.submitted.wait_p90_ms == 9 * S
    assert group.submitted.all_ended.p50_ms == 30 * S


def test_on_fargate_there_are_no_nodes() -> None:
    each = Amount(cpu_milli=1000, memory_mib=1)
    wide = a_submission("wide", nodes=equal_nodes(2, each), demand=each + each)
    assert refusal(a_queue(), wide) == "wide: job queue jq runs no multi-node jobs."


LARGE = "ml.m5.large"


def a_training_yard(*, instances: int = 2) -> State:
    state = a_state()
    step(state, a_service_environment(limits={LARGE: instances}), 0)
    step(state, a_queue("training", seq=2, service_environments=("se",)), 0)
    return state


def a_training(name: str, **more) -> Submission:
    use = (UnitQuantity(unit=LARGE, quantity=1),)
    return a_submission(name, queue_arn=queue_arn("training"), capacity_use=use, **more)


def test_service_jobs_come_in_within_the_limits_of_their_environment() -> None:
    changes = Changes(submissions=tuple(a_training(name, run_s=20) for name in "abc"))
    state = a_training_yard()
    assert refusal_of(state, changes, PLACE) is None
    (group,) = compared_states(state, a_training_yard(), changes=changes).groups
    assert (group.submitted.wait_p50_ms, group.submitted.wait_p90_ms) == (0, 20 * S)


def test_an_environment_with_more_instances_lets_them_start_at_once() -> None:
    changes = Changes(instance_limits={service_environment_arn(): {LARGE: 3}})
    given = adjusting(changes)(a_service_environment(limits={LARGE: 2, "ml.m5.xlarge": 1}))
    assert isinstance(given, PutEnvironment)
    assert given.limits == {LARGE: 3, "ml.m5.xlarge": 1}
    assert refusal_of(a_training_yard(), changes, PLACE) is None


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            Changes(instance_limits={environment_arn(): {LARGE: 3}}),
            "Service environment ce does not exist.",
        ),
        (
            Changes(instance_limits={service_environment_arn(): {"NUM_INSTANCES": 3}}),
            "se has no capacityUnit NUM_INSTANCES. It has: ml.m5.large.",
        ),
        (
            Changes(submissions=(a_submission("a", queue_arn=queue_arn("training")),)),
            "a: job queue training takes service jobs: give an instanceType.",
        ),
        (
            Changes(submissions=(a_training("a", array_size=2),)),
            "a: service jobs are no arrays, and depend on nothing.",
        ),
    ],
)
def test_what_training_cannot_have_is_refused(changes: Changes, text: str) -> None:
    assert refusal_of(a_training_yard(), changes, PLACE) == text
