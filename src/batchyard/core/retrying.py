"""Whether a failed attempt is worth another: `retryStrategy.evaluateOnExit`.

Decides by reference/jobs.md section 6.2: the first rule whose patterns all match decides; without a
match the job is tried again. Refuses to know limits, cancels and timeouts, which come first.

A pattern is literal; a final `*` makes it a prefix; case counts. What an attempt does not have
(no exit code after a lost host, no reason after a plain exit) is the empty text: only `*` matches
it.
"""

from collections.abc import Sequence

from batchyard.model.records import Attempt, ExitAction, ExitRule


def is_worth_retrying(rules: Sequence[ExitRule], ended: Attempt) -> bool:
    """Tell whether the rules let a failed attempt be tried again."""
    exit_code = "" if ended.exit_code is None else str(ended.exit_code)
    for rule in rules:
        if (
            _matches(rule.on_status_reason, ended.status_reason or "")
            and _matches(rule.on_reason, ended.reason or "")
            and _matches(rule.on_exit_code, exit_code)
        ):
            return rule.action is ExitAction.RETRY
    return True


def _matches(pattern: str | None, text: str) -> bool:
    if pattern is None:
        return True
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern
