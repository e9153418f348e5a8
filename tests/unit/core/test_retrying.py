"""`evaluateOnExit`: order, patterns, what is missing (reference/jobs.md section 6.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.core.retrying import is_worth_retrying
from batchyard.model.ids import EnvironmentArn, HostId, TaskId
from batchyard.model.records import Attempt, ExitAction, ExitRule

HOST_LOST = "Host EC2 (instance i-0123456789abcdef0) terminated."
EXITED = "Essential container in task exited"

RETRY, EXIT = ExitAction.RETRY, ExitAction.EXIT
#: What Nextflow registers with every job definition.
NEXTFLOW = (
    ExitRule(action=RETRY, on_status_reason="Host EC2*"),
    ExitRule(action=EXIT, on_reason="*"),
)


def ended(status_reason: str | None = EXITED, reason: str | None = None, exit_code: int | None = 1):
    return Attempt(
        number=1,
        task_id=TaskId("t"),
        environment_arn=EnvironmentArn("e"),
        host_id=HostId("h"),
        placed_ms=0,
        exit_code=exit_code,
        reason=reason,
        status_reason=status_reason,
    )


@pytest.mark.parametrize(
    ("rules", "attempt", "is_worth"),
    [
        ((), ended(), True),
        (NEXTFLOW, ended(HOST_LOST, exit_code=None), True),
        (NEXTFLOW, ended(), False),
        ((ExitRule(action=EXIT, on_exit_code="137"),), ended(exit_code=137), False),
        ((ExitRule(action=EXIT, on_exit_code="13"),), ended(exit_code=137), True),
        ((ExitRule(action=EXIT, on_exit_code="13*"),), ended(exit_code=137), False),
        ((ExitRule(action=EXIT, on_exit_code="137"),), ended(exit_code=None), True),
        ((ExitRule(action=EXIT, on_exit_code="*"),), ended(exit_code=None), False),
        ((ExitRule(action=EXIT, on_exit_code="0"),), ended(exit_code=0), False),
        ((ExitRule(action=EXIT),), ended(), False),
        ((ExitRule(action=EXIT, on_reason="cannotpull*"),), ended(reason="CannotPull…"), True),
        (
            (ExitRule(action=EXIT, on_exit_code="1", on_reason="Out*"),),
            ended(reason="CannotPullContainerError: no"),
            True,
        ),
        (
            (ExitRule(action=RETRY, on_exit_code="1"), ExitRule(action=EXIT)),
            ended(exit_code=1),
            True,
        ),
        (
            (ExitRule(action=RETRY, on_exit_code="2"), ExitRule(action=EXIT)),
            ended(exit_code=1),
            False,
        ),
    ],
)
def test_the_first_rule_that_matches_in_full_decides(rules, attempt, is_worth):
    assert is_worth_retrying(rules, attempt) is is_worth


@given(st.text(alphabet="abc.: *", max_size=6), st.text(alphabet="abc.: ", max_size=6))
def test_a_pattern_is_literal_but_for_a_final_star(pattern: str, text: str):
    matches = not is_worth_retrying((ExitRule(action=EXIT, on_reason=pattern),), ended(reason=text))
    if pattern.endswith("*"):
        assert matches == (text[: len(pattern) - 1] == pattern[:-1])
    else:
        assert matches == (text == pattern)
