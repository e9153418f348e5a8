"""WhatIf: what would come of other capacity, priorities, policies, or of more jobs.

Decides how changes are read and a comparison is told. Refuses to know how it is found. Nothing is
written: the yard stays as it is.
"""

from collections.abc import Iterable

from batchyard.api.batch.rules.names import environment_arn_of, queue_arn_of
from batchyard.api.own.forecasts import (
    assumptions_of,
    duration,
    seed_of,
    shown_basis,
    shown_interval,
)
from batchyard.api.own.futures import Asked, Seer, answer_of, place_of
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import WEIGHT_ONE
from batchyard.model.ids import HostId, Scope
from batchyard.model.limits import ARRAY_SIZE_MAX, ARRAY_SIZE_MIN
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.what_if import (
    Changes,
    Comparison,
    GroupComparison,
    JobComparison,
    Machine,
    Outlook,
    Submission,
)
from batchyard.wire.call import Call

#: Ours: more would take longer than anybody waits.
_SUBMISSIONS_MAX = 10_000
_BODY_BYTES_MAX = 8 * 1024 * 1024
_MILLI = 1000
#: Where there is one machine, this is its name.
_ONLY_HOST = "local"
_ORDERS = ("FIFO", "FAIR_SHARE")
_BASES_SHOWN_MAX = 20


async def what_if(seer: Seer, call: Call, request: Json) -> Json:
    """Compare the future of all that waits with the one that it would have."""
    call.limit_body(_BODY_BYTES_MAX)
    changes = changes_of(call.scope, request)
    asked = Asked(
        place=place_of(call.scope), now_ms=call.now_ms, seed=seed_of(request), changes=changes
    )
    return _shown(await answer_of(lambda: seer.compare(asked)))


def changes_of(scope: Scope, request: Json) -> Changes:
    """Read what would be otherwise; refuses what cannot be."""
    queues: list[Json] = request.get("jobQueues") or []
    jobs: list[Json] = request.get("jobs") or []
    if len(jobs) > _SUBMISSIONS_MAX:
        raise client_exception(f"jobs must not have more than {_SUBMISSIONS_MAX} items.")
    changes = Changes(
        cpu_milli_max={
            environment_arn_of(scope, each["computeEnvironment"]): _MILLI
            * _at_least(each["maxvCpus"], 0, "maxvCpus")
            for each in request.get("computeEnvironments") or []
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
        submissions=tuple(
            _submission_of(scope, each, number) for number, each in enumerate(jobs, start=1)
        ),
    )
    if changes == Changes():
        raise client_exception("Nothing would be otherwise: give at least one change.")
    return changes


def _at_least(number: int, least: int, name: str) -> int:
    if number < least:
        raise client_exception(f"{name} must be at least {least}.")
    return number


def _machine_of(each: Json) -> Machine:
    vcpus, memory_mib, gpus = each.get("vcpus"), each.get("memoryMib"), each.get("gpus")
    for name, number in (("vcpus", vcpus), ("memoryMib", memory_mib), ("gpus", gpus)):
        if number is not None:
            _at_least(number, 0, name)
    return Machine(
        cpu_milli=None if vcpus is None else vcpus * _MILLI,
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


def _submission_of(scope: Scope, each: Json, number: int) -> Submission:
    size = each.get("arraySize")
    if size is not None and not ARRAY_SIZE_MIN <= size <= ARRAY_SIZE_MAX:
        raise client_exception(f"arraySize must be between {ARRAY_SIZE_MIN} and {ARRAY_SIZE_MAX}.")
    cpu_milli = round(each["vcpus"] * _MILLI)
    return Submission(
        name=each.get("name") or f"job {number}",
        after_ms=_at_least(each.get("afterMs", 0), 0, "afterMs"),
        queue_arn=queue_arn_of(scope, each["jobQueue"]),
        demand=Amount(
            cpu_milli=_at_least(cpu_milli, 1, "vcpus in thousandths"),
            memory_mib=_at_least(each["memoryMib"], 1, "memoryMib"),
            gpu_count=_at_least(each.get("gpus", 0), 0, "gpus"),
        ),
        run_ms=_at_least(each["runMs"], 0, "runMs"),
        share_identifier=each.get("shareIdentifier"),
        scheduling_priority=each.get("schedulingPriority", 0),
        array_size=size,
        timeout_ms=each.get("timeoutMs"),
    )


def _shown(found: Comparison) -> Json:
    return {
        "summary": _summary_of(found),
        "groups": [_group(each) for each in found.groups],
        "gainers": _jobs(found.gainers),
        "losers": _jobs(found.losers),
        "at": found.at_ms,
        "seed": found.seed,
        "runCount": found.run_count,
        "gaveUp": None if found.gave_up is None else found.gave_up.value,
        "reachedAt": found.reached_ms or None,
        "bases": [shown_basis(each) for each in found.bases[:_BASES_SHOWN_MAX]],
        "assumptions": assumptions_of(None),
    }


def _summary_of(found: Comparison) -> str:
    whole = [each for each in found.groups if each.share is None]
    waiting = sum(each.waiting_count for each in whole)
    gaining = sum(each.gaining_count for each in whole)
    losing = sum(each.losing_count for each in whole)
    text = f"Of {waiting:,} jobs that wait {gaining:,} would start earlier and {losing:,} later."
    if found.gave_up is not None:
        reached = duration(found.reached_ms - found.at_ms)
        text += f" Nothing is said beyond {reached}: looking further was given up."
    return text


def _group(each: GroupComparison) -> Json:
    return {
        "jobQueue": each.queue,
        "shareIdentifier": each.share,
        "waitingCount": each.waiting_count,
        "submittedCount": each.submitted_count,
        "before": _outlook(each.before),
        "after": _outlook(each.after),
        "submitted": _outlook(each.submitted) if each.submitted_count else None,
        "gainingCount": each.gaining_count,
        "losingCount": each.losing_count,
    }


def _outlook(each: Outlook) -> Json:
    return {
        "waitP50Ms": each.wait_p50_ms,
        "waitP90Ms": each.wait_p90_ms,
        "allStarted": shown_interval(each.all_started),
        "allEnded": shown_interval(each.all_ended),
    }


def _jobs(found: Iterable[JobComparison]) -> list[Json]:
    return [
        {
            "jobId": each.job_id,
            "jobQueue": each.queue,
            "shareIdentifier": each.share,
            "before": each.before_ms,
            "after": each.after_ms,
            "laterMs": each.later_ms,
        }
        for each in found
    ]
