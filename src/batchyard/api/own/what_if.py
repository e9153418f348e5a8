"""WhatIf: what would come of other capacity, priorities, policies, or of more jobs.

Decides how a comparison is told. Refuses to know how changes are read (`supposed`), and how it is
found. Nothing is written: the yard stays as it is.
"""

from collections.abc import Iterable

from batchyard.api.own.forecasts import (
    assumptions_of,
    duration,
    seed_of,
    shown_basis,
    shown_interval,
)
from batchyard.api.own.futures import Asked, Seer, answer_of, place_of
from batchyard.api.own.supposed import changes_of
from batchyard.model.records import Json
from batchyard.model.what_if import (
    Comparison,
    GroupComparison,
    JobComparison,
    Outlook,
    PreemptionComparison,
)
from batchyard.wire.call import Call

_BODY_BYTES_MAX = 8 * 1024 * 1024
_BASES_SHOWN_MAX = 20


async def what_if(seer: Seer, call: Call, request: Json) -> Json:
    """Compare the future of all that waits with the one that it would have."""
    call.limit_body(_BODY_BYTES_MAX)
    changes = changes_of(call.scope, request)
    asked = Asked(
        place=place_of(call.scope), now_ms=call.now_ms, seed=seed_of(request), changes=changes
    )
    return _shown(await answer_of(lambda: seer.compare(asked)))


def _shown(found: Comparison) -> Json:
    return {
        "summary": _summary_of(found),
        "groups": [_group(each) for each in found.groups],
        "gainers": _jobs(found.gainers),
        "losers": _jobs(found.losers),
        "preemptions": [_preemption(each) for each in found.preemptions],
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
    whom = "1 job that waits" if waiting == 1 else f"{waiting:,} jobs that wait"
    text = f"Of {whom} {gaining:,} would start earlier and {losing:,} later."
    more = sum(each.preempted_after_count - each.preempted_before_count for each in whole)
    if more:
        text += f" {abs(more):,} {'more' if more > 0 else 'fewer'} would be preempted."
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
        "failingCount": each.failing_count if each.submitted_count else None,
        "preemptedBeforeCount": each.preempted_before_count,
        "preemptedAfterCount": each.preempted_after_count,
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


def _preemption(each: PreemptionComparison) -> Json:
    return {
        "jobId": each.job_id,
        "jobQueue": each.queue,
        "shareIdentifier": each.share,
        "before": each.before_ms,
        "after": each.after_ms,
    }
