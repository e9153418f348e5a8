"""Histories in which what comes free is for those behind the head of another share."""

from __future__ import annotations

from batchyard.scheduler.quota import UNLIMITED, QuotaTerms
from tests.property.quota_yard import Job, QuotaYard, judged_round


def a_yard(**limits: dict[str, int]) -> QuotaYard:
    """Give four vCPUs to shares that lend and borrow, and stop jobs of their own."""
    return QuotaYard(
        {
            name: QuotaTerms(
                name=name,
                limits={unit: 1000 * quantity for unit, quantity in most.items()},
                lends=True,
                borrow_percent=UNLIMITED,
                preempts_within=True,
            )
            for name, most in limits.items()
        },
        vcpus=4,
    )


def a_full_yard(*, gpus_of_a: int) -> tuple[QuotaYard, Job, Job]:
    """Let b fill it, two of a wait for their own, and one of b that outranks for a loan of a's.

    Gives the job that fills it, and the one that waits for a loan.
    """
    yard = a_yard(a={"VCPU": 2, "GPU": gpus_of_a}, b={"VCPU": 4})
    fills = yard.submit("b", VCPU=4)
    judged_round(yard)
    for _ in range(2):
        yard.submit("a", VCPU=1, GPU=1)
    needs_a_loan = yard.submit("b", priority=1, VCPU=1, GPU=1)
    judged_round(yard)
    return yard, fills, needs_a_loan


def test_nobody_is_stopped_for_a_loan_that_whoever_is_behind_a_head_has_a_right_to() -> None:
    """Each round is judged: see `quota_yard`."""
    _, fills, needs_a_loan = a_full_yard(gpus_of_a=2)
    assert fills.runs
    assert not fills.is_stopping
    assert needs_a_loan.waits


def test_who_leaves_enough_to_lend_is_no_reason_to_let_a_lower_priority_run_on() -> None:
    yard, fills, needs_a_loan = a_full_yard(gpus_of_a=3)
    assert fills.is_stopping
    yard.end_stopped()
    judged_round(yard)
    assert needs_a_loan.runs
