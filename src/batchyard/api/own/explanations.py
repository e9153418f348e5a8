"""GetJobExplanation: why a job waits, and what would start it.

Decides how an explanation is shown. Refuses to find reasons: the engine does, from what it holds in
memory, or from the records beside another engine.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby

from batchyard.api.own.jobs import read_named_job
from batchyard.engine.explainer import TooMuchToRestore
from batchyard.model.amounts import gpus_text, mib_text, vcpus_text
from batchyard.model.explanation import Change, ChangeKind, Dimension, Explanation, Reason
from batchyard.model.ids import JobId, name_in_arn
from batchyard.model.records import JobProgress, Json
from batchyard.model.refusal import Refusal
from batchyard.model.status import JobStatus
from batchyard.store import Store
from batchyard.wire.call import Call

_MILLI = 1000

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
        text = _why_not_live(progress)
        found = Explanation(job_id=job_id, status=progress.status, summary=text, at_ms=call.now_ms)
    return _shown(found)


def _why_not_live(progress: JobProgress) -> str:
    """Say of a job that is over how it ended; the engine has not seen one that is SUBMITTED."""
    if progress.status is JobStatus.SUBMITTED:
        return "The scheduler has not seen it yet."
    last = progress.attempts[-1] if progress.attempts else None
    text = progress.status_reason or "It waits for nothing."
    return f"{text}: {last.reason}" if last is not None and last.reason else text


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
        "together": None if not found.together else _together(found.together),
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
    return _bare_change(change) | {"text": text_of(change)}


def _bare_change(change: Change) -> Json:
    size = change.size
    return {
        "kind": change.kind.value,
        "subject": change.subject,
        "dimension": None if change.dimension is None else change.dimension.value,
        "by": change.by,
        "isPerNode": change.is_per_node or None,
        "unitMilli": change.unit_milli if change.dimension is Dimension.VCPUS else None,
        "capacityUnit": change.unit or None,
        "size": None
        if size is None
        else {
            "vcpus": size.cpu_milli // _MILLI,
            "memoryMib": size.memory_mib,
            "gpus": size.gpu_count,
        },
    }


def _together(changes: Sequence[Change]) -> Json:
    return {"changes": [_bare_change(each) for each in changes], "text": text_of(*changes)}


def text_of(*changes: Change) -> str:
    """Say what would have to be otherwise, all of it, in one sentence."""
    alike = groupby(changes, key=lambda each: (each.kind, each.subject, each.size, each.unit))
    conditions = [_condition_of(list(group)) for _, group in alike]
    return f"It would start now if {', and '.join(conditions)}."


#: What would have to be otherwise, by kind of change.
_CONDITIONS: Mapping[ChangeKind, str] = {
    ChangeKind.ASK_FOR_LESS: "{who} asked for {quantity} less",
    ChangeKind.RAISE_MAX_VCPUS: "maxvCpus of {name} were {by} higher",
    ChangeKind.ADD_CAPACITY: "machine {name} had {quantity} more",
    ChangeKind.RAISE_QUEUE_PRIORITY: "the priority of job queue {name} were {by} higher",
    ChangeKind.ADD_CONSUMABLE: "there were {by} more of {name}",
    ChangeKind.ENABLE_ENVIRONMENT: "{environment} environment {name} were ENABLED",
    ChangeKind.LOWER_RESERVATION: "computeReservation of job queue {name} were {by} lower",
    ChangeKind.REGISTER_INSTANCE: "{instances} were registered with {name}",
    ChangeKind.RAISE_QUOTA: "the {unit} limit of quota share {name} were {by} higher",
    ChangeKind.RAISE_CAPACITY_LIMIT: "the {unit} limit of service environment {name} were {by}"
    " higher",
    ChangeKind.REPAIR_ENVIRONMENT: "compute environment {name} were VALID",
    ChangeKind.RAISE_BID: "bidPercentage of {name} were {by} higher",
    ChangeKind.BUY_ON_DEMAND: "{name} bought its instances on demand (type EC2)",
    ChangeKind.RAISE_SCHEDULING_PRIORITY: "its scheduling priority within its share were {by}"
    " higher",
}


def _condition_of(changes: Sequence[Change]) -> str:
    """Say what would have to be otherwise of one thing; of several amounts all at once."""
    change = changes[0]
    is_service = ":service-environment/" in change.subject
    return _CONDITIONS[change.kind].format(
        name=name_in_arn(change.subject),
        by=change.by,
        unit=change.unit,
        quantity=" and ".join(map(_quantity, changes)),
        environment="service" if is_service else "compute",
        instances=_instances(change),
        who="each of its nodes" if change.is_per_node else "it",
    )


def _instances(change: Change) -> str:
    size = "" if change.size is None else change.size.text()
    if change.by == 1:
        return f"an instance with {size}"
    return f"{change.by} instances with {size} each"


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
