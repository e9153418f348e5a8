"""How jobs end, and everything that follows: dependants, children, arrays.

Decides by reference/jobs.md sections 4.3, 4.6 and 5. Refuses to know attempts and wishes.

Rules that hold here: a dependency counts only when SUCCEEDED; the failure of one fails the
dependants, and theirs; an array ends with the last of its children. One list of endings is worked
off until nothing follows any more: no chain is so long that it would end in a recursion. Where a
whole rest of an array falls, it falls in one event.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from batchyard.core import events as e
from batchyard.core.array import DOOMED, REST
from batchyard.core.bookkeeping import array_of
from batchyard.core.state import Job, child_status
from batchyard.core.turn import Turn
from batchyard.model import wording
from batchyard.model.ids import JobId, child_id
from batchyard.model.records import ArrayProgress
from batchyard.model.status import JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A job, a child or a node that ends well."""

    job_id: JobId
    #: None for an array.
    status_reason: str | None
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A job, a child or a node that ends badly."""

    job_id: JobId
    status_reason: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RestFailure:
    """The rest of an array's children, which ends badly as a whole."""

    array_id: JobId
    status_reason: str


Ending = Success | Failure | RestFailure


def end(turn: Turn, endings: Iterable[Ending]) -> None:
    """Let jobs end, and everything that follows from it; those that have ended are passed over."""
    todo = list(endings)
    todo.reverse()
    while todo:
        ending = todo.pop()
        if isinstance(ending, RestFailure):
            todo += _end_rest(turn, ending)
        else:
            todo += _end_job(turn, ending)


def release(turn: Turn, job: Job) -> list[Ending]:
    """Let a job go on whose dependencies have all come true; give what ends by it."""
    if job.array is not None:
        return _spawn_children(turn, job)
    turn.emit(e.JobBecameRunnable(job_id=job.id))
    return []


def is_given_up(job: Job) -> bool:
    """Tell whether a caller has cancelled or terminated the job, or the array that it is in."""
    marked = [job.progress, *([job.parent.progress] if job.parent is not None else ())]
    return any(each.is_cancelled or each.is_terminated for each in marked)


def wish_reason_of(job: Job) -> str:
    """Give the caller's words about a job that was given up."""
    reason = job.progress.wish_reason
    if reason is None and job.parent is not None:
        reason = job.parent.progress.wish_reason
    assert reason is not None, job.id
    return reason


def _end_job(turn: Turn, ending: Success | Failure) -> list[Ending]:
    job = turn.state.find(ending.job_id)
    if job is None:
        return []
    dependents = turn.state.dependents.get(job.id, [])
    pair_dependents = turn.state.pair_dependents.get(job.id, [])
    dependents_of_children = _dependents_of_children(turn, job)
    has_succeeded = isinstance(ending, Success)
    if isinstance(ending, Success):
        turn.emit(
            e.JobSucceeded(job_id=job.id, at_ms=ending.at_ms, status_reason=ending.status_reason)
        )
    else:
        turn.emit(
            e.JobFailed(job_id=job.id, at_ms=ending.at_ms, status_reason=ending.status_reason)
        )
    follows: list[Ending] = []
    for dependent_id in dependents:
        follows += _settle_dependency(turn, dependent_id, job.id, has_succeeded=has_succeeded)
    if job.parent is not None and job.parent.array is not None:
        follows += _after_child(turn, job.parent, job.index, has_succeeded=has_succeeded)
    elif job.progress.array is not None and job.progress.array.rest is None:
        everyone = range(job.progress.array.size)
        follows += _fail_partners(turn, pair_dependents, everyone, job.id)
        follows += _fail_dependents(turn, dependents_of_children)
    return follows


def _settle_dependency(
    turn: Turn, job_id: JobId, dependency_id: JobId, *, has_succeeded: bool
) -> list[Ending]:
    job = turn.state.jobs.get(job_id)
    if job is None:
        return []
    if not has_succeeded and not is_given_up(job):
        return [_failure(turn, job_id, wording.DEPENDENCY_FAILED)]
    turn.emit(e.DependencyEnded(job_id=job_id, dependency_id=dependency_id))
    if job.unmet:
        return []
    if is_given_up(job):
        return [_failure(turn, job_id, wish_reason_of(job))]
    return release(turn, job)


def _spawn_children(turn: Turn, parent: Job) -> list[Ending]:
    waits = array_of(parent).waits
    if waits is None or not any(waits):
        turn.emit(e.ChildrenSpawned(job_id=parent.id, status=JobStatus.RUNNABLE, at_ms=turn.now_ms))
        return []
    turn.emit(e.ChildrenSpawned(job_id=parent.id, status=JobStatus.PENDING, at_ms=turn.now_ms))
    doomed: list[int] = []
    for index, wait in enumerate(waits):
        if wait == DOOMED:
            doomed.append(index)
        elif not wait:
            turn.emit(e.JobBecameRunnable(job_id=child_id(parent.id, index)))
    return _fail_children(turn, parent, doomed)


def _after_child(turn: Turn, parent: Job, index: int, *, has_succeeded: bool) -> list[Ending]:
    """Say what follows from the end of one child: for the next one, for partners, for the array."""
    array = array_of(parent)
    ended_id = child_id(parent.id, index)
    follows: list[Ending] = []
    if array.is_sequential and not has_succeeded:
        # Whoever belongs to the rest comes later, and waits for a child that will now not succeed.
        follows += _fail_children(turn, parent, range(index + 1, array.size))
    elif array.is_sequential and index + 1 < array.size:
        follows += _settle_child(turn, parent, index + 1, ended_id)
    for partner_id in turn.state.pair_dependents.get(parent.id, ()):
        partner = turn.state.jobs.get(partner_id)
        if partner is None:
            continue
        if has_succeeded:
            follows += _settle_child(turn, partner, index, ended_id)
        else:
            follows += _fail_partners(turn, [partner_id], (index,), ended_id)
    return [*follows, *_end_of_array(turn, parent)]


def _settle_child(turn: Turn, parent: Job, index: int, dependency_id: JobId) -> list[Ending]:
    """Note that one of the conditions of a child has come true."""
    waits = array_of(parent).waits
    status = child_status(parent, index)
    if waits is None or waits[index] == DOOMED or status not in (None, JobStatus.PENDING):
        return []
    waiting_id = child_id(parent.id, index)
    turn.emit(e.DependencyEnded(job_id=waiting_id, dependency_id=dependency_id))
    if status is None or waits[index]:
        return []
    child = turn.state.find(waiting_id)
    assert child is not None, waiting_id
    if is_given_up(child):
        return [_failure(turn, waiting_id, wish_reason_of(child))]
    turn.emit(e.JobBecameRunnable(job_id=waiting_id))
    return []


def _end_rest(turn: Turn, ending: RestFailure) -> list[Ending]:
    parent = turn.state.jobs.get(ending.array_id)
    if parent is None or not _has_live_rest(_progress_of(parent)):
        return []
    array = array_of(parent)
    indexes = array.rest_indexes()
    dependents = _dependents_of_children(turn, parent)
    turn.emit(e.RestFailed(job_id=parent.id, at_ms=turn.now_ms, status_reason=ending.status_reason))
    partners = turn.state.pair_dependents.get(parent.id, [])
    follows = _fail_partners(turn, partners, indexes, parent.id)
    follows += _fail_dependents(turn, dependents)
    return [*follows, *_end_of_array(turn, parent)]


def _dependents_of_children(turn: Turn, parent: Job) -> list[tuple[JobId, JobId]]:
    """Give who waits for a single child of the rest, and for which one."""
    if parent.array is None or not parent.array.has_awaited_children:
        return []
    children = (child_id(parent.id, index) for index in parent.array.rest_indexes())
    return [
        (dependent_id, awaited_id)
        for awaited_id in children
        for dependent_id in turn.state.dependents.get(awaited_id, ())
    ]


def _fail_dependents(turn: Turn, dependents: Iterable[tuple[JobId, JobId]]) -> list[Ending]:
    follows: list[Ending] = []
    for job_id, dependency_id in dependents:
        follows += _settle_dependency(turn, job_id, dependency_id, has_succeeded=False)
    return follows


def _fail_partners(
    turn: Turn, partner_ids: Iterable[JobId], indexes: Sequence[int], dependency_id: JobId
) -> list[Ending]:
    """Fail the children of other arrays whose partners, the children `indexes`, have failed."""
    follows: list[Ending] = []
    for partner_id in partner_ids:
        partner = turn.state.jobs.get(partner_id)
        if partner is None:
            continue
        if _progress_of(partner).rest is None:
            turn.emit(
                e.ChildrenDoomed(
                    job_id=partner_id, indexes=tuple(indexes), dependency_id=dependency_id
                )
            )
        else:
            follows += _fail_children(turn, partner, indexes)
    return follows


def _fail_children(turn: Turn, parent: Job, indexes: Sequence[int]) -> list[Ending]:
    """Fail those of the children that wait; the rest as a whole, if they are all of it."""
    array, progress = array_of(parent), _progress_of(parent)
    waiting = [each for each in indexes if child_status(parent, each) is JobStatus.PENDING]
    of_rest = [index for index in waiting if array.codes[index] == REST]
    reason = wording.DEPENDENCY_FAILED
    if is_given_up(parent):
        reason = wish_reason_of(parent)
    follows: list[Ending] = []
    if of_rest and len(of_rest) == progress.rest_count:
        follows.append(RestFailure(array_id=parent.id, status_reason=reason))
        waiting = [index for index in waiting if array.codes[index] != REST]
    for index in waiting:
        child = turn.state.find(child_id(parent.id, index))
        assert child is not None, (parent.id, index)
        own = wish_reason_of(child) if is_given_up(child) else reason
        follows.append(_failure(turn, child.id, own))
    return follows


def _end_of_array(turn: Turn, parent: Job) -> list[Ending]:
    """End the array if none of its children lives any more."""
    progress = _progress_of(parent)
    counts = progress.own_count_by_status
    if _has_live_rest(progress) or any(counts.get(status) for status in _LIVE):
        return []
    has_failure = counts.get(JobStatus.FAILED) or progress.rest_count
    if not has_failure:
        return [Success(job_id=parent.id, status_reason=None, at_ms=turn.now_ms)]
    reason = wording.ARRAY_CHILD_FAILED
    if is_given_up(parent):
        reason = wish_reason_of(parent)
    return [_failure(turn, parent.id, reason)]


def _has_live_rest(progress: ArrayProgress) -> bool:
    return progress.rest_count > 0 and progress.rest is not JobStatus.FAILED


def _progress_of(parent: Job) -> ArrayProgress:
    assert parent.progress.array is not None, parent.id
    return parent.progress.array


def _failure(turn: Turn, job_id: JobId, status_reason: str) -> Failure:
    return Failure(job_id=job_id, status_reason=status_reason, at_ms=turn.now_ms)


_LIVE = (JobStatus.PENDING, JobStatus.RUNNABLE, JobStatus.STARTING, JobStatus.RUNNING)
