"""What a caller supposes: a WhatIf request, read.

Decides what can be supposed at all, and refuses the rest with AWS's own ranges. Refuses to know
what is there: whether a queue or a share exists is found out where the yard is looked at.
"""

from collections.abc import Sequence

from batchyard.api.batch.rules.names import (
    environment_arn_of,
    queue_arn_of,
    service_environment_arn_of,
)
from batchyard.api.batch.rules.quota import (
    LIMITS,
    PREEMPTION,
    SHARING,
    check_capacity_limits,
    check_preemption,
    check_sharing,
)
from batchyard.api.batch.rules.service_rules import check_service_limits
from batchyard.engine.catalogue import capacity_of_training
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import MILLI, UnitQuantity
from batchyard.model.fair_share import WEIGHT_ONE
from batchyard.model.ids import HostId, Scope
from batchyard.model.limits import (
    ARRAY_SIZE_MAX,
    ARRAY_SIZE_MIN,
    ATTEMPTS_MAX,
    NODE_COUNT_MAX,
    SCHEDULING_PRIORITY_MAX,
)
from batchyard.model.node_plans import equal_nodes, whole_demand
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.what_if import Changes, Machine, QuotaChange, Submission

#: Ours: more would take longer than anybody waits.
_SUBMISSIONS_MAX = 10_000
#: Where there is one machine, this is its name.
_ONLY_HOST = "local"
_ORDERS = ("FIFO", "FAIR_SHARE")
_EXIT_CODE_MAX = 255
_BORROWS, _RESERVES = "LEND_AND_BORROW", "RESERVE"


def changes_of(scope: Scope, request: Json) -> Changes:
    """Read what would be otherwise; refuses what cannot be."""
    queues: list[Json] = request.get("jobQueues") or []
    jobs: list[Json] = request.get("jobs") or []
    changes = Changes(
        cpu_milli_max={
            environment_arn_of(scope, each["computeEnvironment"]): MILLI
            * _at_least(each["maxvCpus"], 0, "maxvCpus")
            for each in request.get("computeEnvironments") or []
        },
        instance_limits={
            service_environment_arn_of(scope, each["serviceEnvironment"]): _limits_of(each)
            for each in request.get("serviceEnvironments") or []
        },
        machines={
            HostId(each.get("host") or _ONLY_HOST): _machine_of(each)
            for each in request.get("machines") or []
        },
        priorities={
            queue_arn_of(scope, each["jobQueue"]): _at_least(each["priority"], 0, "priority")
            for each in queues
            if "priority" in each
        },
        policies={
            queue_arn_of(scope, each["jobQueue"]): _policy_of(each)
            for each in queues
            if "order" in each or "fairsharePolicy" in each
        },
        weights={
            queue_arn_of(scope, each["jobQueue"]): {
                share["shareIdentifier"]: _weight_of(share) for share in each["weights"]
            }
            for each in queues
            if each.get("weights")
        },
        quota_shares={
            queue_arn_of(scope, each["jobQueue"]): {
                share["quotaShareName"]: _quota_of(share) for share in each["quotaShares"]
            }
            for each in queues
            if each.get("quotaShares")
        },
        submissions=_submissions_of(scope, jobs),
    )
    if changes == Changes():
        raise client_exception("Nothing would be otherwise: give at least one change.")
    return changes


def _at_least(number: int, least: int, name: str) -> int:
    if number < least:
        raise client_exception(f"{name} must be at least {least}.")
    return number


def _check_range(number: int, name: str, least: int, most: int) -> int:
    if not least <= number <= most:
        raise client_exception(f"{name} must be between {least} and {most}.")
    return number


def _machine_of(each: Json) -> Machine:
    vcpus, memory_mib, gpus = each.get("vcpus"), each.get("memoryMib"), each.get("gpus")
    for name, number in (("vcpus", vcpus), ("memoryMib", memory_mib), ("gpus", gpus)):
        if number is not None:
            _at_least(number, 0, name)
    return Machine(
        cpu_milli=None if vcpus is None else vcpus * MILLI,
        memory_mib=memory_mib,
        gpu_count=gpus,
    )


def _policy_of(each: Json) -> Json | None:
    order = each.get("order", "FAIR_SHARE")
    if order not in _ORDERS:
        raise client_exception(f"order {order} is not one of {', '.join(_ORDERS)}.")
    policy: Json = each.get("fairsharePolicy") or {}
    if order == "FIFO":
        if policy:
            raise client_exception("A queue with the order FIFO has no fairsharePolicy.")
        return None
    for share in policy.get("shareDistribution") or []:
        _weight_of(share)
    if not 0 <= policy.get("computeReservation", 0) <= 99:  # noqa: PLR2004 -- AWS's
        raise client_exception("computeReservation must be between 0 and 99.")
    return policy


def _weight_of(share: Json) -> int:
    weight: int = round(share["weightFactor"] * WEIGHT_ONE)
    if not 1 <= weight <= 1000 * WEIGHT_ONE:
        raise client_exception("weightFactor must be between 0.0001 and 999.9999.")
    return weight


def _limits_of(each: Json) -> dict[str, int]:
    check_service_limits(each[LIMITS])
    return {limit["capacityUnit"]: limit["maxCapacity"] for limit in each[LIMITS]}


def _quota_of(share: Json) -> QuotaChange:
    """Read what a quota share would have, in the words of UpdateQuotaShare; it is not replaced."""
    limits: list[Json] = share.get(LIMITS) or []
    if limits:
        check_capacity_limits(limits)
    strategy, percent = None, None
    if SHARING in share:
        given = {"strategy": _BORROWS, **share[SHARING]}
        strategy = check_sharing(given)["strategy"]
        percent = given.get("borrowLimit")
    preempts_within = None
    if PREEMPTION in share:
        check_preemption(share[PREEMPTION])
        preempts_within = share[PREEMPTION]["inSharePreemption"] == "ENABLED"
    return QuotaChange(
        limits={each["capacityUnit"]: each["maxCapacity"] * MILLI for each in limits},
        lends=None if strategy is None else strategy != _RESERVES,
        borrows=None if strategy is None else strategy == _BORROWS,
        borrow_percent=percent,
        preempts_within=preempts_within,
    )


def _submissions_of(scope: Scope, jobs: Sequence[Json]) -> tuple[Submission, ...]:
    if len(jobs) > _SUBMISSIONS_MAX:
        raise client_exception(f"jobs must not have more than {_SUBMISSIONS_MAX} items.")
    found: list[Submission] = []
    #: By name; None: there are several of that name.
    known: dict[str, Submission | None] = {}
    for number, each in enumerate(jobs, start=1):
        new = _submission_of(scope, each, number)
        for name in new.depends_on:
            _check_awaited(new, name, known)
        known[new.name] = None if new.name in known else new
        found.append(new)
    return tuple(found)


def _check_awaited(new: Submission, name: str, known: dict[str, Submission | None]) -> None:
    if name not in known:
        raise client_exception(f"{new.name} depends on {name}, which is no job before it.")
    awaited = known[name]
    if awaited is None:
        raise client_exception(f"{new.name} depends on {name}, and two jobs have that name.")
    if awaited.after_ms > new.after_ms:
        raise client_exception(f"{new.name} depends on {name}, which is submitted later.")


def _submission_of(scope: Scope, each: Json, number: int) -> Submission:
    size: int | None = each.get("arraySize")
    if size is not None:
        _check_range(size, "arraySize", ARRAY_SIZE_MIN, ARRAY_SIZE_MAX)
    timeout_ms: int | None = each.get("timeoutMs")
    if timeout_ms is not None:
        _at_least(timeout_ms, 1, "timeoutMs")
    demand = _demand_of(each)
    count = _check_range(each.get("nodes", 1), "nodes", 1, NODE_COUNT_MAX)
    nodes = equal_nodes(count, demand)
    if nodes is not None and size is not None:
        raise client_exception("arraySize is not applicable for multi-node jobs.")
    return Submission(
        name=each.get("name") or f"job {number}",
        after_ms=_at_least(each.get("afterMs", 0), 0, "afterMs"),
        queue_arn=queue_arn_of(scope, each["jobQueue"]),
        demand=whole_demand(demand, nodes),
        nodes=nodes,
        capacity_use=(UnitQuantity(unit=each["instanceType"], quantity=count),)
        if "instanceType" in each
        else (),
        run_ms=_at_least(each["runMs"], 0, "runMs"),
        exit_code=_check_range(each.get("exitCode", 0), "exitCode", 0, _EXIT_CODE_MAX),
        attempts_max=_check_range(each.get("attempts", 1), "attempts", 1, ATTEMPTS_MAX),
        share_identifier=each.get("shareIdentifier"),
        scheduling_priority=_check_range(
            each.get("schedulingPriority", 0), "schedulingPriority", 0, SCHEDULING_PRIORITY_MAX
        ),
        array_size=size,
        timeout_ms=timeout_ms,
        depends_on=tuple(dict.fromkeys(each.get("dependsOn") or ())),
    )


def _demand_of(each: Json) -> Amount:
    """Give what a job, or each of its nodes, takes: what it says, or what its type has."""
    name: str | None = each.get("instanceType")
    if name is not None:
        given = [member for member in ("vcpus", "memoryMib", "gpus") if member in each]
        if given:
            raise client_exception(f"instanceType and {given[0]} cannot be given together.")
        capacity = capacity_of_training(name)
        if capacity is None:
            raise client_exception(f"The instance type {name} is not known.")
        return capacity
    if "vcpus" not in each or "memoryMib" not in each:
        raise client_exception("Either instanceType, or vcpus and memoryMib must be given.")
    return Amount(
        cpu_milli=_at_least(round(each["vcpus"] * MILLI), 1, "vcpus in thousandths"),
        memory_mib=_at_least(each["memoryMib"], 1, "memoryMib"),
        gpu_count=_at_least(each.get("gpus", 0), 0, "gpus"),
    )
