"""How a queue stands: who is next, since when, and what it uses.

Decides what a snapshot of a queue holds (reference/compute-and-scheduling.md section 2.6). Refuses
to know when one is taken. Costs what it shows, not the length of the queue.
"""

from collections.abc import Callable, Iterable, Mapping
from heapq import nsmallest
from itertools import zip_longest

from msgspec import Struct

from batchyard.core.quota_books import counted_use
from batchyard.core.state import Queue, State
from batchyard.model.ids import JobId, whole_id_of
from batchyard.model.limits import FRONT_OF_QUEUE_JOBS_MAX, TOP_SHARES_SHOWN_MAX
from batchyard.model.queue_snapshots import FrontJob, QueueSnapshot, QuotaShareSnapshot, ShareUse
from batchyard.scheduler.view import QueueView


def front_of(view: QueueView) -> list[JobId]:
    """Name the first jobs of a queue in the order in which they should start.

    Uses up the order of the view.
    """
    front: list[JobId] = []
    while len(front) < FRONT_OF_QUEUE_JOBS_MAX and (job := view.waiting.peek()) is not None:
        front.append(job.job_id)
        view.waiting.take()
    return front


class Look(Struct, frozen=True, kw_only=True):
    """One look at all queues."""

    state: State
    now_ms: int
    #: Says what keeps the first job of a queue, or of a quota share.
    why: Callable[[JobId], str | None]


def snapshot_of(
    look: Look, queue: Queue, front: list[JobId], before: QueueSnapshot | None
) -> QueueSnapshot:
    """Say how a queue stands; equal to `before` if nothing has changed since."""
    now_ms = look.now_ms
    if before is None:
        before = QueueSnapshot(front_ms=now_ms, used_ms=now_ms)
    jobs = tuple(
        FrontJob(job_id=job_id, since_ms=now_ms, quota_share=_share_of(look.state, queue, job_id))
        if known is None or known.job_id != job_id
        else known
        for job_id, known in zip_longest(front, before.jobs[: len(front)])
    )
    shares = _quota_shares_of(look, queue, before)
    top_shares, active_share_count = _share_uses_of(queue)
    is_used_alike = (
        queue.cpu_milli,
        queue.instances,
        top_shares,
        active_share_count,
        _uses(shares),
    ) == (
        before.cpu_milli,
        before.instances,
        before.top_shares,
        before.active_share_count,
        _uses(before.quota_shares),
    )
    return QueueSnapshot(
        top_shares=top_shares,
        active_share_count=active_share_count,
        jobs=jobs,
        front_ms=before.front_ms if jobs == before.jobs else now_ms,
        cpu_milli=queue.cpu_milli,
        instances=queue.instances,
        used_ms=before.used_ms if is_used_alike else now_ms,
        quota_shares=shares,
        quota_front_ms=before.quota_front_ms
        if _fronts(shares) == _fronts(before.quota_shares)
        else now_ms,
        head_waits_for=look.why(front[0]) if front and queue.quota_shares is None else None,
    )


def _share_of(state: State, queue: Queue, job_id: JobId) -> str | None:
    if queue.quota_shares is None:
        return None
    return (state.jobs.get(job_id) or state.jobs[whole_id_of(job_id)]).quota_share


def _share_uses_of(queue: Queue) -> tuple[tuple[ShareUse, ...], int | None]:
    """Name the shares that hold most, and count those that hold anything."""
    if queue.policy is None:
        return (), None
    held = [
        ShareUse(identifier=identifier, cpu_milli=share.cpu_milli, instances=share.instances)
        for identifier, share in queue.shares.items()
        if share.cpu_milli
    ]
    top = nsmallest(TOP_SHARES_SHOWN_MAX, held, key=lambda each: (-each.cpu_milli, each.identifier))
    return tuple(top), len(held)


def _quota_shares_of(
    look: Look, queue: Queue, before: QueueSnapshot
) -> tuple[QuotaShareSnapshot, ...]:
    known = {each.name: each.front for each in before.quota_shares}
    found: list[QuotaShareSnapshot] = []
    for name, share in (queue.quota_shares or {}).items():
        job_id, front = next(iter(share.line), None), known.get(name)
        if job_id is None:
            front = None
        elif front is None or front.job_id != job_id:
            front = FrontJob(job_id=job_id, since_ms=look.now_ms)
        used = counted_use(queue, share.used)
        waits_for = None if job_id is None else look.why(job_id)
        found.append(
            QuotaShareSnapshot(name=name, front=front, used=used, front_waits_for=waits_for)
        )
    return tuple(found)


def _uses(shares: Iterable[QuotaShareSnapshot]) -> list[Mapping[str, int]]:
    return [each.used for each in shares]


def _fronts(shares: Iterable[QuotaShareSnapshot]) -> list[FrontJob | None]:
    return [each.front for each in shares]
