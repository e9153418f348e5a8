"""Whether a waiting job starts in the next round, tried.

Decides by letting a round plan, with what `explaining` and `changes` hold for being kept: waiting
for an instance that starts is not, so instances count as ready at once, those on their way, too.
Refuses to know what was changed. Costs what a round costs up to the job, and no more than
PLACED_BEFORE_MAX placements: a job that so many others start before is not said to start.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from batchyard.core.state import Job, State
from batchyard.core.viewing import view_of
from batchyard.model.amounts import Amount
from batchyard.model.ids import QueueArn
from batchyard.model.instances import InstanceId
from batchyard.scheduler.round import plan_round
from batchyard.scheduler.view import QuotaShareView, ShareLine, View, WaitingJob, WaitingOrder

#: Ours: about ten milliseconds, and enough for 30 that stand before a job in each of eight queues.
PLACED_BEFORE_MAX = 256


class Tried(Struct, frozen=True, kw_only=True):
    """What a round would do with a job."""

    starts: bool
    #: What those ask for that the round places before it; of quota shares nothing is counted.
    before: Amount = Amount()


def try_next_round(state: State, job: Job, now_ms: int) -> Tried:
    """Tell whether a RUNNABLE job has its place after the next round."""
    watch = _Watch(job)
    try:
        plan = plan_round(watch.over(_without_boot(view_of(state, now_ms))))
    except _Known as known:
        return Tried(starts=known.starts, before=watch.before)
    starts = any(each.job_id == job.id for each in plan.placements)
    return Tried(starts=starts, before=watch.before)


class _Known(Exception):
    """The rest of a round says nothing new."""

    def __init__(self, *, starts: bool) -> None:
        super().__init__()
        self.starts = starts


class _Watch:
    """Ends a round as soon as it is known whether a job starts, or too many do before it."""

    def __init__(self, job: Job) -> None:
        self._job_id = job.id
        self._queue_arn = job.queue_arn
        self._placed = 0
        #: The queues that were served since the job's own was; None: it was not yet.
        self._served_since: set[QueueArn] | None = None
        self.before = Amount()

    def over(self, view: View) -> View:
        """Give the view with the orders of all queues watched."""
        queues = [
            replace(queue, quota_shares=[self._over_share(each) for each in queue.quota_shares])
            if queue.quota_shares is not None
            else replace(queue, waiting=_WatchedOrder(queue.arn, queue.waiting, self))
            for queue in view.queues
        ]
        return replace(view, queues=queues)

    def note_served(self, queue_arn: QueueArn) -> None:
        """Notice whose turn it is: while the own queue has turns, nobody has two of them between.

        Once it has none any more, whatever else the round does is of no interest.
        """
        if queue_arn == self._queue_arn:
            self._served_since = set()
        elif self._served_since is not None:
            if queue_arn in self._served_since:
                raise _Known(starts=False)
            self._served_since.add(queue_arn)

    def note_placed(self, job: WaitingJob) -> None:
        """Count a job that the round has placed."""
        if job.job_id == self._job_id:
            raise _Known(starts=True)
        self.before += job.demand
        self._placed += 1
        if self._placed > PLACED_BEFORE_MAX:
            raise _Known(starts=False)

    def note_passed(self, job: WaitingJob) -> None:
        """Notice who was passed over: a round does not come back to anybody."""
        if job.job_id == self._job_id:
            raise _Known(starts=False)

    def _over_share(self, share: QuotaShareView) -> QuotaShareView:
        return replace(share, jobs=ShareLine(self._counted(share.jobs.show_from(0))))

    def _counted(self, jobs: Iterator[WaitingJob]) -> Iterator[WaitingJob]:
        """Count what is read, which is at most one more than what starts or could never."""
        for count, job in enumerate(jobs):
            if count > PLACED_BEFORE_MAX:
                raise _Known(starts=False)
            yield job


class _WatchedOrder:
    """An order that tells of who was placed."""

    def __init__(self, queue_arn: QueueArn, order: WaitingOrder, watch: _Watch) -> None:
        self._queue_arn = queue_arn
        self._order = order
        self._watch = watch

    def peek(self) -> WaitingJob | None:
        """See `WaitingOrder`. A round asks this once in each turn of a queue."""
        self._watch.note_served(self._queue_arn)
        return self._order.peek()

    def is_held_back(self) -> bool:
        """See `WaitingOrder`."""
        return self._order.is_held_back()

    def take(self) -> None:
        """See `WaitingOrder`. A round takes whom it places; instances that start are ready here."""
        self._watch.note_placed(self._shown())
        self._order.take()

    def pass_over(self) -> None:
        """See `WaitingOrder`."""
        self._watch.note_passed(self._shown())
        self._order.pass_over()

    def _shown(self) -> WaitingJob:
        job = self._order.peek()
        assert job is not None, "a job is looked at before anything becomes of it"
        return job


def _without_boot(view: View) -> View:
    at_once = {
        each.arn: replace(
            each,
            launching=replace(each.launching, boot_ms=0),
            ready=_joined(each.ready, each.starting) if each.starting else each.ready,
            starting={},
        )
        for each in view.environments
        if each.launching is not None
    }
    queues = [
        replace(queue, environments=[at_once.get(each.arn, each) for each in queue.environments])
        for queue in view.queues
    ]
    environments = [at_once.get(each.arn, each) for each in view.environments]
    return replace(view, queues=queues, environments=environments)


def _joined(
    ready: Mapping[Amount, Iterable[InstanceId]], starting: Mapping[Amount, Iterable[InstanceId]]
) -> Mapping[Amount, Iterable[InstanceId]]:
    return {free: [*ready.get(free, ()), *starting.get(free, ())] for free in {**ready, **starting}}
