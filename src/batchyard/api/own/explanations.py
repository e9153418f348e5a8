"""GetJobExplanation: why a job waits, and what would start it.

Decides how an explanation is shown. Refuses to find reasons: the engine does, from what it holds in
memory, or from the records beside another engine.
"""

from collections.abc import Awaitable, Callable, Sequence

from batchyard.api.own.jobs import read_named_job
from batchyard.engine.explainer import TooMuchToRestore
from batchyard.model.amounts import gpus_text, mib_text, vcpus_text
from batchyard.model.explanation import Change, ChangeKind, Dimension, Explanation, Reason
from batchyard.model.ids import JobId, name_in_arn
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal
from batchyard.store import Store
from batchyard.wire.call import Call

#: Explains a live job; None: it is not live. Raises `TooMuchToRestore`.
ExplainJob = Callable[[JobId], Awaitable[Explanation | None]]


async def get_job_explanation(
    store: Store, explain_job: ExplainJob, call: Call, request: Json
) -> Json:
    """Explain a job, child or node of the caller's account and region."""
    job_id, record = await store.read(
        lambda conn: read_named_job(conn, call.scope, request["jobId"])
    )
    try:
        found = await explain_job(job_id)
    except TooMuchToRestore as too_much:
        raise _too_much(too_much.hosts) from None
    if found is None:
        progress = record.progress
        text = progress.status_reason or "It waits for nothing."
        if progress.status == "SUBMITTED":
            text = "The scheduler has not seen it yet."
        found = Explanation(job_id=job_id, status=progress.status, summary=text, at_ms=call.now_ms)
    return _shown(found)


def _too_much(hosts: Sequence[str]) -> Refusal:
    """Say that the server must be asked whose engine schedules, and which one that is."""
    named = f" (that of {', '.join(hosts)})" if hosts else ""
    return Refusal(
        "ServerException",
        f"The engine of another server{named} is in charge of this database, and more jobs are live"
        " than are read for one question: ask that server.",
        http_status=503,
    )


def _shown(found: Explanation) -> Json:
    return {
        "jobId": found.job_id,
        "status": found.status.value,
        "summary": found.summary,
        "reasons": [_reason(each) for each in found.reasons],
        "changes": [_change(each) for each in found.changes],
        "wentAhead": [
            {"jobId": each.job_id, "at": each.at_ms, "rule": each.rule.value}
            for each in found.went_ahead
        ],
        "wentAheadSince": found.went_ahead_since_ms,
        "aheadCount": found.ahead_count,
        "areMoreAhead": found.are_more_ahead,
        "at": found.at_ms,
    }


def _reason(reason: Reason) -> Json:
    return {
        "cause": reason.cause.value,
        "text": reason.text,
        "subject": reason.subject or None,
        "numbers": dict(reason.numbers),
        "details": [_reason(each) for each in reason.details],
    }


def _change(change: Change) -> Json:
    return {
        "kind": change.kind.value,
        "subject": change.subject,
        "dimension": None if change.dimension is None else change.dimension.value,
        "by": change.by,
        "unitMilli": change.unit_milli if change.dimension is Dimension.VCPUS else None,
        "text": text_of(change),
    }


def text_of(change: Change) -> str:
    """Say what would have to be otherwise, in one sentence."""
    name = name_in_arn(change.subject)
    match change.kind:
        case ChangeKind.ASK_FOR_LESS:
            other = f"it asked for {_quantity(change)} less"
        case ChangeKind.RAISE_MAX_VCPUS:
            other = f"maxvCpus of {name} were {change.by} higher"
        case ChangeKind.ADD_CAPACITY:
            other = f"machine {name} had {_quantity(change)} more"
        case ChangeKind.RAISE_QUEUE_PRIORITY:
            other = f"the priority of job queue {name} were {change.by} higher"
        case ChangeKind.ADD_CONSUMABLE:
            other = f"there were {change.by} more of {name}"
        case ChangeKind.ENABLE_ENVIRONMENT:
            kind = "service" if ":service-environment/" in change.subject else "compute"
            other = f"{kind} environment {name} were ENABLED"
        case ChangeKind.LOWER_RESERVATION:
            other = f"computeReservation of job queue {name} were {change.by} lower"
        case ChangeKind.RAISE_SCHEDULING_PRIORITY:
            other = f"its scheduling priority within its share were {change.by} higher"
    return f"It would start now if {other}."


def _quantity(change: Change) -> str:
    match change.dimension:
        case Dimension.VCPUS:
            return vcpus_text(change.by * change.unit_milli)
        case Dimension.MEMORY_MIB:
            return mib_text(change.by)
        case Dimension.GPUS:
            return gpus_text(change.by)
        case None:
            return str(change.by)
