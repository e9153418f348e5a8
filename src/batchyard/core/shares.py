"""How shares are kept: what they use is counted, what a policy says of them looked up.

Owns the numbers of `Share`. Only `evolve` and `restore` change them. Refuses to know whose turn it
is: see `scheduler.fair_share`, where the arithmetic is.
"""

from batchyard.core.state import Job, Queue, Share, State
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import PolicyArn, QueueArn
from batchyard.model.records import QueuedJob, ShareRecord
from batchyard.scheduler.fair_share import usage_after


def share_of(state: State, job: Job) -> Share | None:
    """Give the share that a job counts in; None: its queue has none, or is gone."""
    queue = state.queues.get(job.queue_arn)
    if queue is None or job.share_identifier is None:
        return None
    return queue.shares[job.share_identifier]


def share_identifier_of(queue: Queue | None, job: QueuedJob) -> str | None:
    """Say which share a job counts in: in one exactly if its queue has a policy.

    The API sees to that, but for a queue that is replaced by another of its name at that moment.
    """
    if queue is None or queue.policy is None:
        return None
    return job.share_identifier or ""


def priority_of(queue: Queue | None, job: QueuedJob) -> int:
    """Say how a job stands among those of its share; there is no priority without shares."""
    if queue is None or (queue.policy is None and queue.quota_shares is None):
        return 0
    return job.scheduling_priority or 0


def enter_share(queue: Queue, identifier: str) -> Share:
    """Give the share of a queue, which is made if there is none."""
    share = queue.shares.get(identifier)
    if share is None:
        assert queue.policy is not None, queue.arn
        share = Share(weight=queue.policy.weight_of(identifier))
        queue.shares[identifier] = share
    return share


def count_use(state: State, job: Job, cpu_milli_more: int, at_ms: int) -> None:
    """Count what the share of the job has used until now, when it comes to hold more, or less.

    The change itself is made with the capacity. A change that is told of late, after others,
    counts from its own time on all the same.
    """
    share = share_of(state, job)
    if share is None:
        return
    policy = state.queues[job.queue_arn].policy
    assert policy is not None, job.queue_arn
    if at_ms >= share.counted_ms:
        share.usage = share.usage_at(at_ms, policy.window_ms)
        share.counted_ms = at_ms
        return
    meanwhile = usage_after(
        0,
        abs(cpu_milli_more),
        elapsed_ms=share.counted_ms - at_ms,
        window_ms=policy.window_ms,
    )
    share.usage = max(0, share.usage + (meanwhile if cpu_milli_more > 0 else -meanwhile))


def set_policy(queue: Queue, arn: PolicyArn | None, policy: FairShare | None) -> None:
    """Let a queue go by a policy from now on. What shares have used stays."""
    queue.policy_arn = arn
    queue.policy = policy
    for identifier, share in queue.shares.items():
        assert policy is not None, queue.arn
        share.weight = policy.weight_of(identifier)


def record_of_share(share: Share) -> ShareRecord:
    """Give what is stored of a share."""
    return ShareRecord(
        live_count=share.live_count,
        usage=share.usage,
        counted_ms=share.counted_ms,
        cpu_milli=share.cpu_milli,
    )


def restore_share(state: State, queue_arn: QueueArn, identifier: str, record: ShareRecord) -> None:
    """Enter what was used; jobs and what they hold are counted as they are entered."""
    queue = state.queues.get(queue_arn)
    if queue is None or queue.policy is None:
        return
    share = enter_share(queue, identifier)
    share.usage = record.usage
    share.counted_ms = record.counted_ms
