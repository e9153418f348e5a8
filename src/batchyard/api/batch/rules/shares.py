"""Shares: what a fair-share policy may say, and in which share a submitted job is. Pure.

Decides by reference/compute-and-scheduling.md section 3.2 and reference/jobs.md section 2.7. Where
AWS's texts are not known they are ours. Refuses to know how shares are served.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from batchyard.model.limits import (
    ACTIVE_SHARES_PER_QUEUE_MAX,
    COMPUTE_RESERVATION_MAX,
    SCHEDULING_PRIORITY_MAX,
    SHARE_DECAY_SECONDS_MAX,
    SHARE_IDENTIFIER_LENGTH_MAX,
    WEIGHT_FACTOR_MAX,
    WEIGHT_FACTOR_MIN,
)
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal, client_exception

_PREFIX_MARK = "*"
_IDENTIFIER = re.compile(rf"[A-Za-z0-9]{{1,{SHARE_IDENTIFIER_LENGTH_MAX}}}\*?")


def check_fair_share(policy: Json) -> None:
    """Refuse a fairsharePolicy that is out of range, or whose items fit the same identifier."""
    seconds = policy.get("shareDecaySeconds", 0)
    if not 0 <= seconds <= SHARE_DECAY_SECONDS_MAX:
        raise client_exception(
            f"shareDecaySeconds must be between 0 and {SHARE_DECAY_SECONDS_MAX}."
        )
    percent = policy.get("computeReservation", 0)
    if not 0 <= percent <= COMPUTE_RESERVATION_MAX:
        raise client_exception(
            f"computeReservation must be between 0 and {COMPUTE_RESERVATION_MAX}."
        )
    distribution: Sequence[Json] = policy.get("shareDistribution", ())
    if len(distribution) > ACTIVE_SHARES_PER_QUEUE_MAX:
        raise client_exception(
            f"shareDistribution must not have more than {ACTIVE_SHARES_PER_QUEUE_MAX} items."
        )
    for item in distribution:
        check_share_identifier(item["shareIdentifier"])
        if not WEIGHT_FACTOR_MIN <= item.get("weightFactor", 1.0) <= WEIGHT_FACTOR_MAX:
            raise client_exception(
                f"weightFactor must be between {WEIGHT_FACTOR_MIN} and {WEIGHT_FACTOR_MAX}."
            )
    _check_overlaps([item["shareIdentifier"] for item in distribution])


def check_share_identifier(text: str) -> None:
    """Refuse what cannot name a share."""
    if not _IDENTIFIER.fullmatch(text):
        raise client_exception(
            f"shareIdentifier must be 1 to {SHARE_IDENTIFIER_LENGTH_MAX} letters and digits,"
            " and may end with an asterisk (*)."
        )


def share_of_request(
    request: Json, *, is_fair_share: bool, definition_priority: int | None
) -> tuple[str | None, int | None]:
    """Give a job's share and its priority in it; neither on a queue without a scheduling policy.

    What the definition says of priority does not count there.
    """
    identifier: str | None = request.get("shareIdentifier")
    override: int | None = request.get("schedulingPriorityOverride")
    if not is_fair_share:
        if "shareIdentifier" in request or "schedulingPriorityOverride" in request:
            raise client_exception(
                "Job with shareIdentifier or schedulingPriority can onlybe submitted to job queue"
                " with fair share scheduling policy."
            )
        return None, None
    if not identifier:
        raise client_exception("shareIdentifier must be specified.")
    check_share_identifier(identifier)
    priority = definition_priority if override is None else override
    if priority is None:
        raise client_exception(
            "Either schedulingPriority in job definition or schedulingPriorityOverride should be"
            " specified."
        )
    if not 0 <= priority <= SCHEDULING_PRIORITY_MAX:
        raise client_exception(
            f"schedulingPriorityOverride must be between 0 and {SCHEDULING_PRIORITY_MAX}."
        )
    return identifier, priority


def _check_overlaps(identifiers: Sequence[str]) -> None:
    """Refuse two items that fit one identifier: neighbours, once they are in order.

    Whatever lies between a prefix and something that begins with it begins with it too.
    """
    in_order = sorted(
        (text.removesuffix(_PREFIX_MARK), not text.endswith(_PREFIX_MARK)) for text in identifiers
    )
    for (first, is_exact), (second, _) in pairwise(in_order):
        if first == second or (not is_exact and second.startswith(first)):
            raise _overlap(first, second)


def _overlap(first: str, second: str) -> Refusal:
    return client_exception(
        f"shareDistribution must not overlap: {first} and {second} fit the same share identifiers."
    )
