"""How many shares of a queue are active, which AWS limits.

Decides whether a submission may be in a share that has no job yet, as far as is known. A share that
was found active, or became so, within the last moments is not looked for again: so submissions
that keep coming into the same shares cost no more than others.
"""

from batchyard.model.fair_share import fair_share_of
from batchyard.model.ids import QueueArn
from batchyard.model.limits import ACTIVE_SHARES_PER_QUEUE_MAX
from batchyard.model.records import NewJob
from batchyard.model.refusal import client_exception
from batchyard.store import Connection, Store, policies, queues
from batchyard.store.jobs import insert_jobs
from batchyard.store.shares import read_active_shares

#: For how long a share counts as active without a look.
_FRESH_MS = 1000
#: Entries; when full, all are dropped. Bounds memory, not correctness.
_ENTRIES_MAX = 4096


class ActiveShares:
    """Lets jobs into the shares of queues."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._fresh_until_ms: dict[tuple[QueueArn, str], int] = {}

    async def append_job(self, job: NewJob, now_ms: int) -> None:
        """Store a job that is in a share. Refuses one more share than a queue may have."""
        assert job.share_identifier is not None, job.id
        key = (job.queue_arn, job.share_identifier)
        if self._fresh_until_ms.get(key, 0) > now_ms:
            await self._store.append_job(job)
            return

        def insert(conn: Connection) -> None:
            check_active_shares(conn, job, now_ms)
            insert_jobs(conn, [job])
            self._store.note_wish()

        await self._store.write(insert)
        if len(self._fresh_until_ms) >= _ENTRIES_MAX:
            self._fresh_until_ms.clear()
        self._fresh_until_ms[key] = now_ms + _FRESH_MS


def check_active_shares(conn: Connection, job: NewJob, now_ms: int) -> None:
    """Refuse a job that would make one share more active than a queue may have."""
    queue_arn, identifier = job.queue_arn, job.share_identifier
    queue = queues.read_queue(conn, queue_arn)
    policy_arn = None if queue is None else queue.detail.get("schedulingPolicyArn")
    policy = None if policy_arn is None else policies.read_policy(conn, policy_arn)
    if policy is None:
        return  # The queue was deleted at this moment.
    window_ms = fair_share_of(policy.detail).window_ms
    active = read_active_shares(conn, queue_arn, used_after_ms=now_ms - window_ms)
    if identifier not in active and len(active) >= ACTIVE_SHARES_PER_QUEUE_MAX:
        raise client_exception(
            f"A job queue cannot have more than {ACTIVE_SHARES_PER_QUEUE_MAX} active share"
            " identifiers."
        )
