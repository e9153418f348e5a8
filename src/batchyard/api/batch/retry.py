"""How often a job is tried, and how long an attempt may take (reference/jobs.md 6.1, 7). Pure."""

from batchyard.model.limits import ATTEMPTS_MAX, TIMEOUT_SECONDS_MIN
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

_MS_PER_SECOND = 1000


def check_retry_strategy(strategy: Json) -> None:
    """Refuse a retry strategy that is out of range, or that we cannot follow yet."""
    attempts = strategy.get("attempts")
    if strategy.get("evaluateOnExit"):
        if attempts is None:
            raise client_exception("RetryAttempts must be provided with retry strategy")
        raise client_exception(
            "retryStrategy.evaluateOnExit is not supported yet by batchyard. Leave it out: a job"
            " that fails is then tried again, for whatever reason, until it has had its attempts."
        )
    if attempts is not None and not 1 <= attempts <= ATTEMPTS_MAX:
        raise client_exception(f"Number of attempts must be between 1 and {ATTEMPTS_MAX}.")


def check_timeout(timeout: Json) -> None:
    """Refuse a timeout below AWS's minimum."""
    seconds = timeout.get("attemptDurationSeconds")
    if seconds is not None and seconds < TIMEOUT_SECONDS_MIN:
        raise client_exception(f"Job timeout must be at least {TIMEOUT_SECONDS_MIN} seconds.")


def effective_retry(strategy: Json | None) -> Json:
    """Give the strategy in force, as DescribeJobs shows it: one attempt by default."""
    return {"attempts": (strategy or {}).get("attempts", 1), "evaluateOnExit": []}


def timeout_ms_of(timeout: Json | None) -> int | None:
    """Give the longest time of one attempt; None means no limit."""
    seconds = (timeout or {}).get("attemptDurationSeconds")
    return None if seconds is None else seconds * _MS_PER_SECOND
