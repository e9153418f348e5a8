"""Quota shares: what one may say, and in which one a submitted job is. Pure.

Decides by reference/compute-and-scheduling.md section 3.4; AWS's texts are not known, so they are
ours. Refuses to know how shares are served.
"""

from collections.abc import Mapping, Sequence

from batchyard.model.capacity_use import CONTAINER_UNITS
from batchyard.model.limits import (
    CAPACITY_LIMITS_PER_SHARE_MAX,
    MAX_CAPACITY_MAX,
    SCHEDULING_PRIORITY_MAX,
)
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception

POLICY = "quotaSharePolicy"
LIMITS = "capacityLimits"
SHARING = "resourceSharingConfiguration"
PREEMPTION = "preemptionConfiguration"

_STRATEGY_OF_POLICY = "FIFO"
_BORROWING = "LEND_AND_BORROW"
_STRATEGIES = ("RESERVE", "LEND", _BORROWING)
_SWITCHES = ("ENABLED", "DISABLED")
_UNLIMITED = -1


def check_quota_policy(policy: Json) -> None:
    """Refuse a quotaSharePolicy that asks for a strategy that there is not."""
    strategy = policy["idleResourceAssignmentStrategy"]
    if strategy != _STRATEGY_OF_POLICY:
        raise client_exception(f"idleResourceAssignmentStrategy {strategy} is not FIFO.")


def check_capacity_limits(limits: Sequence[Json]) -> None:
    """Refuse none, too many, the same unit twice, and what container jobs do not use."""
    if not 1 <= len(limits) <= CAPACITY_LIMITS_PER_SHARE_MAX:
        raise client_exception(
            f"{LIMITS} must have 1 to {CAPACITY_LIMITS_PER_SHARE_MAX} items, but has {len(limits)}."
        )
    for each in limits:
        if not 1 <= each["maxCapacity"] <= MAX_CAPACITY_MAX:
            raise client_exception(f"maxCapacity must be between 1 and {MAX_CAPACITY_MAX}.")
    units = [each["capacityUnit"] for each in limits]
    if len(set(units)) < len(units):
        raise client_exception(f"{LIMITS} must not repeat a capacityUnit.")


def check_container_units(limits: Sequence[Json]) -> None:
    """Refuse a unit that jobs with containers do not use. Those units are ours."""
    for each in limits:
        if each["capacityUnit"] not in CONTAINER_UNITS:
            raise client_exception(
                f"capacityUnit {each['capacityUnit']} is not one of {', '.join(CONTAINER_UNITS)}."
            )


def check_sharing(sharing: Json) -> Json:
    """Refuse a strategy that there is not, or a borrow limit without borrowing; fill the default.

    Gives the configuration as it is shown.
    """
    strategy = sharing["strategy"]
    if strategy not in _STRATEGIES:
        raise client_exception(f"strategy {strategy} is not one of {', '.join(_STRATEGIES)}.")
    percent: int | None = sharing.get("borrowLimit")
    if strategy != _BORROWING:
        if percent is not None:
            raise client_exception(f"borrowLimit is only applicable for strategy {_BORROWING}.")
        return {"strategy": strategy}
    if percent is not None and not _UNLIMITED <= percent <= MAX_CAPACITY_MAX:
        raise client_exception(f"borrowLimit must be between -1 and {MAX_CAPACITY_MAX}.")
    return {"strategy": strategy, "borrowLimit": _UNLIMITED if percent is None else percent}


def check_preemption(preemption: Json) -> None:
    """Refuse what is neither on nor off."""
    switch = preemption["inSharePreemption"]
    if switch not in _SWITCHES:
        raise client_exception(f"inSharePreemption {switch} is not one of ENABLED, DISABLED.")


def quota_share_of_request(
    request: Json, why_closed: Mapping[str, str | None], *, definition_priority: int | None
) -> tuple[str, int]:
    """Give a container job's quota share and its priority in it, 0 if nothing says another.

    `why_closed` has the shares of the queue; those that take no jobs with the reason.
    """
    name: str = request.get("shareIdentifier") or ""
    if not name:
        raise client_exception("shareIdentifier must name a quota share of the job queue.")
    if name not in why_closed:
        raise client_exception(f"Quota share {name} does not exist in the job queue.")
    reason = why_closed[name]
    if reason is not None:
        raise client_exception(f"Quota share {name} is in {reason}")
    override: int | None = request.get("schedulingPriorityOverride")
    priority = (definition_priority or 0) if override is None else override
    if not 0 <= priority <= SCHEDULING_PRIORITY_MAX:
        raise client_exception(
            f"schedulingPriorityOverride must be between 0 and {SCHEDULING_PRIORITY_MAX}."
        )
    return name, priority
