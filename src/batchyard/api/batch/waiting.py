"""The line that says why a job waits, where AWS has none of its own for it.

Decides what DescribeJobs and ListJobs show as `statusReason` of jobs that are on their way. Refuses
to ask the engine: the line comes from what stands in the store, and may lag by a second as
snapshots do; the whole story is in `api.own.explanations`. Costs one row for each queue on the
page, and the statuses of what PENDING jobs wait for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from msgspec.structs import replace

from batchyard.model.ids import JobId, QueueArn, child_id
from batchyard.model.limits import FRONT_OF_QUEUE_JOBS_MAX
from batchyard.model.records import JobRecord, QueueSnapshot
from batchyard.model.status import JobStatus
from batchyard.store import Connection
from batchyard.store.jobs import read_specs
from batchyard.store.live_jobs import read_statuses
from batchyard.store.snapshots import read_snapshot


def with_reasons(conn: Connection, records: Iterable[JobRecord]) -> list[JobRecord]:
    """Give the records again, with a reason for each that waits and had none."""
    found = list(records)
    waiting = [each for each in found if _wants_reason(each)]
    if not waiting:
        return found
    arrays = _arrays_of(conn, waiting)
    snapshots = {arn: _Front(read_snapshot(conn, arn)) for arn in _queues_of(waiting)}
    needs = {each.job.id: _needs(each, arrays) for each in waiting}
    statuses = read_statuses(conn, sorted({job_id for each in needs.values() for job_id in each}))
    return [
        replace(each, progress=replace(each.progress, status_reason=reason))
        if _wants_reason(each)
        and (reason := _reason_of(each, snapshots, needs[each.job.id], statuses))
        else each
        for each in found
    ]


def _arrays_of(conn: Connection, records: Iterable[JobRecord]) -> dict[JobId, JobRecord]:
    """Read the arrays of PENDING children: they say what their children wait for."""
    children = (
        each
        for each in records
        if each.index is not None and each.progress.status is JobStatus.PENDING
    )
    return read_specs(conn, list(dict.fromkeys(_parent_of(each) for each in children)))


def _wants_reason(record: JobRecord) -> bool:
    progress = record.progress
    is_over = progress.status.is_terminal or progress.status is JobStatus.RUNNING
    return progress.status_reason is None and not is_over


class _Front:
    """Who stands at the front of a queue."""

    def __init__(self, snapshot: QueueSnapshot | None) -> None:
        jobs = () if snapshot is None else snapshot.jobs
        self.place_by_id = {each.job_id: place for place, each in enumerate(jobs)}
        self.is_full = len(jobs) >= FRONT_OF_QUEUE_JOBS_MAX
        self.head_waits_for = None if snapshot is None else snapshot.head_waits_for


def _queues_of(records: Iterable[JobRecord]) -> list[QueueArn]:
    runnable = (each for each in records if each.progress.status is JobStatus.RUNNABLE)
    return list(dict.fromkeys(each.job.queue_arn for each in runnable))


def _needs(record: JobRecord, arrays: Mapping[JobId, JobRecord]) -> Sequence[JobId]:
    """Name the jobs that a PENDING one, or a child, may wait for."""
    job = record.job
    if record.progress.status is not JobStatus.PENDING or _has_children(record):
        return ()
    if record.index is None:
        return (*job.depends_on, *job.depends_on_each)
    array = arrays.get(_parent_of(record))
    needs = [] if array is None else [child_id(each, record.index) for each in _each_of(array)]
    if job.is_sequential and record.index:
        needs.append(child_id(_parent_of(record), record.index - 1))
    return needs


def _each_of(array: JobRecord) -> Sequence[JobId]:
    return list(dict.fromkeys(array.job.depends_on_each))


def _parent_of(record: JobRecord) -> JobId:
    return JobId(record.job.id.split(":", 1)[0])


def _has_children(record: JobRecord) -> bool:
    array = record.progress.array
    return array is not None and array.rest is not None


def _reason_of(
    record: JobRecord,
    fronts: Mapping[QueueArn, _Front],
    needs: Sequence[JobId],
    statuses: Mapping[JobId, JobStatus],
) -> str | None:
    match record.progress.status:
        case JobStatus.SUBMITTED:
            return "The scheduler has not seen it yet."
        case JobStatus.PENDING:
            return _why_pending(record, needs, statuses)
        case JobStatus.RUNNABLE:
            return _why_runnable(record, fronts[record.job.queue_arn])
        case JobStatus.SCHEDULED:
            return "It has its place; it is about to be started."
        case JobStatus.STARTING:
            attempt = record.progress.attempt
            instance = None if attempt is None else attempt.instance_id
            return f"Its containers are being started{f' on {instance}' if instance else ''}."
        case JobStatus.RUNNING | JobStatus.SUCCEEDED | JobStatus.FAILED:
            return None
        case other:
            assert_never(other)


def _why_pending(
    record: JobRecord, needs: Sequence[JobId], statuses: Mapping[JobId, JobStatus]
) -> str:
    array = record.progress.array
    if array is not None and array.rest is not None:
        counts = array.count_by_status().items()
        live = ", ".join(
            f"{count} {status.value}"
            for status, count in counts
            if count and not status.is_terminal
        )
        return f"Waits for its children: {live or 'none is left'}."
    unmet = [
        (job_id, statuses[job_id])
        for job_id in needs
        if job_id in statuses and not statuses[job_id].is_terminal
    ]
    if not unmet:
        return "What it waited for has just ended."
    job_id, status = unmet[0]
    more = f", and for {len(unmet) - 1} more" if len(unmet) > 1 else ""
    return f"Waits for job {job_id}, which is {status.value}{more}."


def _why_runnable(record: JobRecord, front: _Front) -> str | None:
    place = front.place_by_id.get(record.job.id)
    head = front.head_waits_for
    if place == 0:
        return head or "It is the first of its job queue; the scheduler is about to look at it."
    if place is None and not front.is_full:
        return "It has just become RUNNABLE; its place in the job queue is not known yet."
    count = f"More than {FRONT_OF_QUEUE_JOBS_MAX} jobs" if place is None else f"{place} jobs"
    text = (
        "1 job of its job queue stands before it."
        if place == 1
        else (f"{count} of its job queue stand before it.")
    )
    return f"{text} The first waits: {head}" if head else text
