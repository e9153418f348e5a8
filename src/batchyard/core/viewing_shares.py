"""How the scheduler sees the jobs that wait, and quota shares.

Part of `viewing`. Jobs are seen lazily; a share costs its running jobs only where somebody asks.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from batchyard.core.bookkeeping import attempt_of, held_slots
from batchyard.core.quota_books import quota_shares_of, without
from batchyard.core.quota_memory import QuotaMemory
from batchyard.core.state import Job, Queue, QuotaShare, State
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import count_instances
from batchyard.model.ids import JobId, node_id, whole_id_of
from batchyard.scheduler.plan import Slot
from batchyard.scheduler.quota import RunningJob, RunningShare
from batchyard.scheduler.view import QuotaShareView, ShareLine, WaitingJob


def waiting_jobs(
    state: State, line: WaitingLine, uncounted: Sequence[str] | None = None
) -> Iterator[WaitingJob]:
    """Show the jobs of a line; `uncounted` is given where they are in quota shares."""
    for job_id in line:
        yield waiting_job(
            state.jobs.get(job_id) or state.jobs[whole_id_of(job_id)], job_id, uncounted
        )


def waiting_job(job: Job, job_id: JobId, uncounted: Sequence[str] | None = None) -> WaitingJob:
    """Show a job, or a child of the array that is given."""
    return WaitingJob(
        job_id=job_id,
        demand=job.demand,
        node_demands=() if job.nodes is None else job.nodes.demands,
        needs=job.needs,
        seq=job.seq,
        priority=job.priority,
        use={} if uncounted is None else without(job.use, uncounted),
        instances=count_instances(job.capacity_use) if job.capacity_use else {},
    )


def by_front(state: State, lines: Iterable[WaitingLine]) -> Iterator[WaitingJob]:
    """Yield the jobs of several lines: always the head that was submitted first."""
    queues = [waiting_jobs(state, line) for line in lines]
    heads = {at: head for at, each in enumerate(queues) if (head := next(each, None)) is not None}
    while heads:
        at = min(heads, key=lambda each: (heads[each].seq, each))
        yield heads.pop(at)
        if (head := next(queues[at], None)) is not None:
            heads[at] = head


def view_quota_shares(state: State, queue: Queue, memory: QuotaMemory) -> list[QuotaShareView]:
    """Show the quota shares of a queue that has some, each as it was shown before if it may be."""
    kept = memory.shares
    return [
        kept.get(name) or kept.setdefault(name, _view_share(state, share, memory))
        for name, share in quota_shares_of(state, queue.arn).items()
    ]


def _view_share(state: State, share: QuotaShare, memory: QuotaMemory) -> QuotaShareView:
    line = () if share.is_draining else waiting_jobs(state, share.line, memory.uncounted)
    return QuotaShareView(
        terms=share.terms,
        jobs=ShareLine(line),
        running=partial(_running_share, state, share, memory),
    )


def _running_share(state: State, share: QuotaShare, memory: QuotaMemory) -> RunningShare:
    """Give what runs in a share, as long as it is the same as it was found before."""
    name = share.terms.name
    found = memory.running_by_share.get(name)
    if found is None:
        kept = memory.running_by_job
        found = memory.running_by_share[name] = RunningShare(
            share.terms,
            [
                kept.get(job_id)
                or kept.setdefault(job_id, _running_job(state, share, job_id, memory.uncounted))
                for job_id in share.running
            ],
        )
    return found


def _running_job(
    state: State, share: QuotaShare, job_id: JobId, uncounted: Sequence[str]
) -> RunningJob:
    job = state.jobs[job_id]
    attempt = attempt_of(job)
    return RunningJob(
        job_id=job_id,
        share=share.terms.name,
        use=without(job.use, uncounted),
        priority=job.priority,
        placed_ms=attempt.placed_ms,
        seq=job.seq,
        environment_arn=attempt.environment_arn,
        slots=[each for each in _held(state, job) if _comes_free(state, each[0])],
        instances=count_instances(job.capacity_use),
        is_stopping=attempt.stop_cause is not None or attempt.stopped_ms is not None,
    )


def _held(state: State, job: Job) -> Iterable[tuple[Slot, Amount]]:
    """Give what a job holds where, with the nodes that it consists of."""
    yield from held_slots(job, attempt_of(job))
    for index in () if job.nodes is None else job.nodes.live:
        node = state.jobs[node_id(job.id, index)]
        yield from held_slots(node, attempt_of(node))


def _comes_free(state: State, slot: Slot) -> bool:
    """Tell whether something else could have the room: not on an instance that goes."""
    return slot.instance_id is None or state.instances[slot.instance_id].is_open
