"""Which quota share a job is in, and what it uses there.

Owns what is counted in a share as a job comes, runs and goes. For `bookkeeping`, `evolve` and
`restore`; refuses to know why anything happens, and whose turn it is.
"""

from collections.abc import Mapping, Sequence

from batchyard.core.quota_memory import QuotaMemory
from batchyard.core.state import NO_USE, Job, Queue, QuotaShare, State
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import GPU, MEMORY_MIB, MILLI, UnitQuantity, use_of_demand
from batchyard.model.ids import QueueArn
from batchyard.model.records import QueuedJob
from batchyard.scheduler.quota import Accounts, QuotaTerms


def quota_share_name_of(queue: Queue | None, job: QueuedJob) -> str | None:
    """Name the quota share of a job: it has one exactly if its queue has some.

    A container job says so in its share identifier.
    """
    if queue is None or queue.quota_shares is None:
        return None
    return job.quota_share or job.share_identifier or ""


def takes_jobs(queue: Queue, job: QueuedJob) -> bool:
    """Tell whether the quota share of a job is there, and is not being deleted."""
    if queue.quota_shares is None:
        return True
    share = queue.quota_shares.get(quota_share_name_of(queue, job) or "")
    return share is not None and not share.is_draining


def use_of(demand: Amount, capacity_use: tuple[UnitQuantity, ...]) -> dict[str, int]:
    """Say what an attempt uses of its quota share, in thousandths."""
    if not capacity_use:
        return use_of_demand(demand)
    return {each.unit: each.quantity * MILLI for each in capacity_use}


def use_in(queue: Queue | None, job: QueuedJob) -> Mapping[str, int]:
    """Say what an attempt uses of its quota share; nothing where there are none."""
    if quota_share_name_of(queue, job) is None:
        return NO_USE
    return use_of(job.demand, job.capacity_use)


def quota_accounts_of(queue: Queue) -> Accounts:
    """Give the books of the quota shares of a queue, as they stand."""
    shares = queue.quota_shares or {}
    uncounted = uncounted_units(queue)
    return Accounts(
        (each.terms for each in shares.values()),
        {name: without(each.used, uncounted) for name, each in shares.items()},
    )


def quota_memory_of(state: State, queue: Queue) -> QuotaMemory:
    """Give what is remembered of a queue with quota shares, with what they use now."""
    memory = state.remembered.quota.get(queue.arn)
    if memory is None:
        memory = QuotaMemory(uncounted=uncounted_units(queue), accounts=quota_accounts_of(queue))
        state.remembered.quota[queue.arn] = memory
    elif memory.changed:
        shares = quota_shares_of(state, queue.arn)
        for name in memory.changed:
            if name in shares:  # Else a job came in for a share that is not there.
                memory.accounts.settle(name, without(shares[name].used, memory.uncounted))
        memory.changed.clear()
    return memory


def counted_use(queue: Queue, use: Mapping[str, int]) -> dict[str, int]:
    """Leave out what no share of the queue counts."""
    return without(use, uncounted_units(queue))


def uncounted_units(queue: Queue) -> Sequence[str]:
    """Name the units that no share of the queue counts.

    Memory and GPUs of container jobs count only where a share says how much it has of them.
    """
    shares = (queue.quota_shares or {}).values()
    return [
        unit for unit in (MEMORY_MIB, GPU) if not any(unit in each.terms.limits for each in shares)
    ]


def without(use: Mapping[str, int], units: Sequence[str]) -> dict[str, int]:
    """Leave out some units of what is used."""
    return {unit: quantity for unit, quantity in use.items() if unit not in units}


def quota_share_of(state: State, job: Job) -> QuotaShare | None:
    """Give the quota share that a job counts in; None: its queue has none, or it is gone."""
    queue = state.queues.get(job.queue_arn)
    if queue is None or queue.quota_shares is None or job.quota_share is None:
        return None
    return queue.quota_shares.get(job.quota_share)


def quota_shares_of(state: State, queue_arn: QueueArn) -> dict[str, QuotaShare]:
    """Give the quota shares of a queue that has some."""
    shares = state.queues[queue_arn].quota_shares
    assert shares is not None, queue_arn
    return shares


def head_of(state: State, job: Job) -> Queue | QuotaShare | None:
    """Give what the job would be the head of; None: that is gone."""
    queue = state.queues.get(job.queue_arn)
    if queue is None or queue.quota_shares is None:
        return queue
    return quota_share_of(state, job)


def count_start(state: State, job: Job) -> None:
    """Count an attempt that holds capacity from now on."""
    share = quota_share_of(state, job)
    if share is not None:
        share.running[job.id] = None
        _add(share.used, job.use, 1)


def count_end(state: State, job: Job) -> None:
    """Undo `count_start`."""
    share = quota_share_of(state, job)
    if share is not None:
        del share.running[job.id]
        _add(share.used, job.use, -1)


def settle_share(queue: Queue, terms: QuotaTerms) -> None:
    """Let a share have these terms from now on; it is made if there is none."""
    assert queue.quota_shares is not None, queue.arn
    share = queue.quota_shares.get(terms.name)
    if share is None:
        queue.quota_shares[terms.name] = QuotaShare(terms=terms)
    else:
        share.terms = terms


def _add(used: dict[str, int], use: Mapping[str, int], sign: int) -> None:
    for unit, quantity in use.items():
        left = used.get(unit, 0) + sign * quantity
        if left:
            used[unit] = left
        else:
            del used[unit]
