"""How often a job is tried, and how long an attempt may take (reference/jobs.md 6.1, 7). Pure."""

import re

from batchyard.model.limits import (
    ATTEMPTS_MAX,
    EXIT_PATTERN_LENGTH_MAX,
    EXIT_RULES_MAX,
    TIMEOUT_SECONDS_MIN,
)
from batchyard.model.records import ExitAction, ExitRule, Json
from batchyard.model.refusal import client_exception

_MS_PER_SECOND = 1000

_REASON_PATTERN = re.compile(r"[0-9A-Za-z.:\s]*\*?")
_PATTERN_BY_MEMBER = {
    "onStatusReason": _REASON_PATTERN,
    "onReason": _REASON_PATTERN,
    "onExitCode": re.compile(r"[0-9]*\*?"),
}


def check_retry_strategy(strategy: Json) -> None:
    """Refuse a retry strategy that is out of range."""
    attempts = strategy.get("attempts")
    rules = strategy.get("evaluateOnExit") or []
    if rules and attempts is None:
        raise client_exception("RetryAttempts must be provided with retry strategy")
    if attempts is not None and not 1 <= attempts <= ATTEMPTS_MAX:
        raise client_exception(f"Number of attempts must be between 1 and {ATTEMPTS_MAX}.")
    if len(rules) > EXIT_RULES_MAX:
        raise client_exception(
            f"retryStrategy.evaluateOnExit can have at most {EXIT_RULES_MAX} items."
        )
    for index, rule in enumerate(rules):
        _check_rule(rule, f"retryStrategy.evaluateOnExit[{index}]")


def check_timeout(timeout: Json) -> None:
    """Refuse a timeout below AWS's minimum."""
    seconds = timeout.get("attemptDurationSeconds")
    if seconds is not None and seconds < TIMEOUT_SECONDS_MIN:
        raise client_exception(f"Job timeout must be at least {TIMEOUT_SECONDS_MIN} seconds.")


def effective_retry(strategy: Json | None) -> Json:
    """Give the strategy in force, as DescribeJobs shows it: one attempt by default."""
    given = strategy or {}
    return {
        "attempts": given.get("attempts", 1),
        "evaluateOnExit": given.get("evaluateOnExit", []),
    }


def exit_rules_of(strategy: Json) -> tuple[ExitRule, ...]:
    """Give the rules that decide whether a failed attempt is tried again."""
    return tuple(
        ExitRule(
            action=ExitAction(rule["action"].upper()),
            on_status_reason=rule.get("onStatusReason"),
            on_reason=rule.get("onReason"),
            on_exit_code=rule.get("onExitCode"),
        )
        for rule in strategy.get("evaluateOnExit") or []
    )


def timeout_ms_of(timeout: Json | None) -> int | None:
    """Give the longest time of one attempt; None means no limit."""
    seconds = (timeout or {}).get("attemptDurationSeconds")
    return None if seconds is None else seconds * _MS_PER_SECOND


def _check_rule(rule: Json, where: str) -> None:
    """Refuse an unknown action (case does not count), or a pattern that AWS does not take."""
    if rule["action"].upper() not in tuple(ExitAction):
        raise client_exception(f"{where}.action {rule['action']} is not one of RETRY, EXIT.")
    for member, allowed in _PATTERN_BY_MEMBER.items():
        pattern = rule.get(member)
        if pattern is None:
            continue
        if len(pattern) > EXIT_PATTERN_LENGTH_MAX:
            raise client_exception(
                f"{where}.{member} can have at most {EXIT_PATTERN_LENGTH_MAX} characters."
            )
        if not allowed.fullmatch(pattern):
            raise client_exception(
                f"{where}.{member} does not match the pattern ^{allowed.pattern}$."
            )
