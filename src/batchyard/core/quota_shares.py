"""Quota shares: which one a job is in, what is counted in it, and how it begins and ends.

Decides by reference/compute-and-scheduling.md section 3.4. Refuses to know whose turn it is: see
`scheduler.quota_turn`.

Rules that hold here: a job is in a quota share exactly if its queue has them; a share that is being
deleted fails what waits, stops what runs, and goes with its last job.
"""

from batchyard.core import events as e
from batchyard.core.draining import drain
from batchyard.core.inputs import DeleteQuotaShare, PutQuotaShare
from batchyard.core.turn import Turn
from batchyard.model import wording
from batchyard.model.ids import QueueArn
from batchyard.model.records import StopCause


def put_quota_share(turn: Turn, command: PutQuotaShare) -> None:
    if command.queue_arn in turn.state.queues:
        turn.emit(e.QuotaShareSettled(arn=command.queue_arn, terms=command.terms))


def delete_quota_share(turn: Turn, command: DeleteQuotaShare) -> None:
    """Fail what waits, stop what runs; end with the last job. Repeating it goes on."""
    queue = turn.state.queues.get(command.queue_arn)
    shares = None if queue is None else queue.quota_shares
    share = None if shares is None else shares.get(command.name)
    if share is None:
        turn.note(e.QuotaShareDeleted(arn=command.queue_arn, name=command.name))
        return
    if not share.is_draining:
        turn.emit(e.QuotaShareDraining(arn=command.queue_arn, name=command.name))
    drain(turn, share.jobs, wording.QUOTA_SHARE_DELETED, StopCause.QUOTA_SHARE_DELETED)
    settle_drained_share(turn, command.queue_arn, command.name)


def settle_drained_share(turn: Turn, queue_arn: QueueArn, name: str | None) -> None:
    """Let a share go if the job that just ended was its last."""
    queue = turn.state.queues.get(queue_arn)
    if queue is None or queue.quota_shares is None or name is None:
        return
    share = queue.quota_shares.get(name)
    if share is not None and share.is_draining and not share.jobs:
        turn.emit(e.QuotaShareDeleted(arn=queue_arn, name=name))
