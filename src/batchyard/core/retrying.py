"""Whether a failed attempt is worth another: `retryStrategy.evaluateOnExit`.

Decides by reference/jobs.md section 6.2: the first rule whose patterns all match decides; without a
match the job is tried again. Refuses to know limits, cancels and timeouts, which come first.

A pattern is literal; a final `*` makes it a prefix; case counts. What an attempt does not have
(no exit code after a lost host, no reason after a plain exit) is the empty text: only `*` matches
it.

Service jobs (section 13.3) have patterns on status reasons alone, in which each `*` stands for
anything, as AWS's examples have it at the beginning, too. Whether a blank follows the colon of
`Received status from SageMaker:` is all the same: AWS's guide has one, the SageMaker SDK has none.
"""

from collections.abc import Sequence

from batchyard.model.records import Attempt, ExitAction, ExitRule
from batchyard.model.wording import FROM_SAGEMAKER

_ANY = "*"


def is_worth_retrying_service(rules: Sequence[ExitRule], ended: Attempt) -> bool:
    """Tell whether the rules of a service job let a failed attempt be tried again."""
    text = _without_blank(ended.status_reason or "")
    for rule in rules:
        if rule.on_status_reason is None or _fits(_without_blank(rule.on_status_reason), text):
            return rule.action is ExitAction.RETRY
    return True


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


def _without_blank(text: str) -> str:
    return text.replace(f"{FROM_SAGEMAKER} ", FROM_SAGEMAKER)


def _fits(pattern: str, text: str) -> bool:
    """Tell whether a text is as a pattern, in which `*` stands for anything; in linear time."""
    first, *others = pattern.split(_ANY)
    if not others:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    *middle, last = others
    for piece in middle:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    return len(text) - at >= len(last) and text.endswith(last)


def _matches(pattern: str | None, text: str) -> bool:
    if pattern is None:
        return True
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return text == pattern
