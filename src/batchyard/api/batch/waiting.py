"""The line that says why a job waits, where AWS has none of its own for it.

Decides what DescribeJobs and ListJobs show as `statusReason` of jobs that are on their way. Refuses
to ask the engine: the line comes from what stands in the store, and may lag by a second as
snapshots do; the whole story is in `api.own.explanations`. Costs one row for each queue on the
page, and the statuses of what PENDING jobs wait for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from msgspec.structs import replace

from batchyard.core import sentences
from batchyard.model.ids import JobId, QueueArn, child_id
from batchyard.model.limits import FRONT_OF_QUEUE_JOBS_MAX
from batchyard.model.queue_snapshots import QueueSnapshot
from batchyard.model.records import JobProgress, JobRecord
from batchyard.model.status import JobStatus
from batchyard.store import Connection
from batchyard.store.jobs import read_specs
from batchyard.store.live_jobs import read_statuses
from batchyard.store.snapshots import read_snapshot

_NOTHING_SEEN = QueueSnapshot(front_ms=0, used_ms=0)


def with_reasons(conn: Connection, records: Iterable[JobRecord], now_ms: int) -> list[JobRecord]:
    """Give the records again, with a reason for each that waits and had none."""
    found = list(records)
    waiting = [each for each in found if _wants_reason(each)]
    if not waiting:
        return found
    arrays = _arrays_of(conn, waiting)
    lines = _lines_of(waiting)
    snapshots = {arn: read_snapshot(conn, arn) for arn in dict.fromkeys(arn for arn, _ in lines)}
    fronts = {(arn, share): _Front(snapshots[arn] or _NOTHING_SEEN, share) for arn, share in lines}
    needs = {each.job.id: _needs(each, arrays) for each in waiting}
    statuses = read_statuses(conn, sorted({job_id for each in needs.values() for job_id in each}))
    return [
        replace(each, progress=replace(each.progress, status_reason=reason))
        if _wants_reason(each)
        and (reason := _reason_of(each, fronts, needs[each.job.id], statuses, now_ms))
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
    """Who stands at the front of a queue, or of a quota share of it."""

    def __init__(self, snapshot: QueueSnapshot, share: str | None) -> None:
        """`share` names the share of the jobs, quota share or not."""
        quota_shares = {each.name: each for each in snapshot.quota_shares}
        quota_share = None if share is None else quota_shares.get(share)
        self.quota_share = None if quota_share is None else quota_share.name
        own = [each.job_id for each in snapshot.jobs if each.quota_share == self.quota_share]
        self.is_full = len(snapshot.jobs) >= FRONT_OF_QUEUE_JOBS_MAX
        self.head_waits_for = snapshot.head_waits_for
        if quota_share is not None:
            self.head_waits_for = quota_share.front_waits_for
            if not own and quota_share.front is not None:  # It is behind the first of the others.
                own = [quota_share.front.job_id]
        self.place_by_id = {job_id: place for place, job_id in enumerate(own)}


#: A queue, and the share in it if there are any.
_Line = tuple[QueueArn, str | None]


def _lines_of(records: Iterable[JobRecord]) -> list[_Line]:
    runnable = (each for each in records if each.progress.status is JobStatus.RUNNABLE)
    return list(dict.fromkeys(map(_line_of, runnable)))


def _line_of(record: JobRecord) -> _Line:
    return record.job.queue_arn, record.job.quota_share or record.job.share_identifier


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
    fronts: Mapping[_Line, _Front],
    needs: Sequence[JobId],
    statuses: Mapping[JobId, JobStatus],
    now_ms: int,
) -> str | None:
    progress = record.progress
    match progress.status:
        case JobStatus.SUBMITTED:
            return "The scheduler has not seen it yet."
        case JobStatus.PENDING:
            return sentences.given_up(progress) or _why_pending(progress, needs, statuses)
        case JobStatus.RUNNABLE:
            return _why_runnable(record, fronts[_line_of(record)])
        case JobStatus.SCHEDULED | JobStatus.STARTING:
            stopping = sentences.stopping(progress)
            return stopping or sentences.starting(progress.attempt, progress.status, now_ms)
        case JobStatus.RUNNING | JobStatus.SUCCEEDED | JobStatus.FAILED:
            return None
        case other:
            assert_never(other)


def _why_pending(
    progress: JobProgress, needs: Sequence[JobId], statuses: Mapping[JobId, JobStatus]
) -> str:
    if progress.array is not None and progress.array.rest is not None:
        return sentences.waits_for_children(progress.array.count_by_status())
    unmet = [
        (job_id, statuses[job_id])
        for job_id in needs
        if job_id in statuses and not statuses[job_id].is_terminal
    ]
    if not unmet:
        return sentences.has_just_ended()
    job_id, status = unmet[0]
    return sentences.waits_for(job_id, status, more=len(unmet) - 1)


def _why_runnable(record: JobRecord, front: _Front) -> str:
    place, count = front.place_by_id.get(record.job.id), len(front.place_by_id)
    if place is None and not front.is_full:
        return sentences.just_runnable(count, front.quota_share, front.head_waits_for)
    if place == 0:
        return front.head_waits_for or sentences.just_runnable(0, front.quota_share, None)
    return sentences.turn(
        count if place is None else place,
        are_more=place is None,
        quota_share=front.quota_share,
        first_waits_for=front.head_waits_for,
    )
