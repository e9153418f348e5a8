"""A queue with quota shares in a round: who starts, by which right, and who is stopped for whom.

Decides by reference/compute-and-scheduling.md section 3.4 and docs/decisions/0016-quota-shares.md.
Refuses to know how quota is counted (see `quota`) and who is worth stopping (see `preemption`).

Rules:

1. Each share is a queue of its own, with a head of its own. Behind a head that could start some
   time nobody of its share starts; behind one that never could, everybody may go on.
2. Jobs that need nothing borrowed go first. The shares take turns, one job each, the older share
   first.
3. Then jobs that must borrow, in the order of their submission, each the head of its share. One
   that does not get what it needs lets those of other shares go on: nobody has a right to what
   others lend.
4. What the head of a share has a right to is not lent while it waits for that, and a borrower takes
   no room that such a head could be waiting for.
5. For heads that still wait, others may be stopped, in the same order. The room that comes free by
   that is kept for them.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping, Sequence, Set
from heapq import heappop, heappush

from msgspec import Struct
from msgspec.structs import replace

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId
from batchyard.scheduler.consumables import Stock
from batchyard.scheduler.ledger import Ledger, Taken
from batchyard.scheduler.obstacles import find_passing_obstacle
from batchyard.scheduler.outlook import ByDemand, LastingOutlook
from batchyard.scheduler.plan import BlockedHead, Obstacle, Preemption
from batchyard.scheduler.preemption import Prospect, end_in, find_outranked, line_with
from batchyard.scheduler.quota import QuotaTerms, RunningJob, RunningShare
from batchyard.scheduler.view import (
    EnvironmentView,
    Front,
    QueueView,
    QuotaShareView,
    ShareLine,
    View,
    WaitingJob,
    is_plain,
)

#: Ours: how many jobs of a share that could never start a round looks past.
PASSED_MAX = 100
#: Ours: for how many waiting jobs of a queue a round looks for others to stop.
SETTLED_MAX = 100
#: Ours: whoever comes after so many once room has come free gets nothing of it.
REHEARSED_MAX = 100

#: Told also where a machine would have no room for another instance: nobody has asked for any.
_NOT_TRIED = (
    Obstacle.CONSUMABLE_UNAVAILABLE,
    Obstacle.QUOTA_IN_USE,
    Obstacle.ABOVE_QUOTA,
    Obstacle.ABOVE_BORROW_LIMIT,
    Obstacle.ABOVE_BORROWABLE,
)


class _Lane(Struct):
    """A share that still has its turn in a round."""

    #: The place of the share among those of its queue.
    index: int
    share: QuotaShareView
    name: str
    #: The first job that could start some time; None: there is none.
    head: WaitingJob | None = None
    #: How many have been taken out of the line; the head is the last of them.
    taken: int = 0
    passed: int = 0
    blocked: BlockedHead | None = None
    #: The head needs nothing borrowed.
    is_entitled: bool = False
    #: The head waits for capacity: others may be stopped for it.
    is_stuck: bool = False

    def next_in_line(self) -> WaitingJob | None:
        """Take the next job out of the line."""
        job = self.share.jobs.at(self.taken)
        self.taken += job is not None
        return job

    def front(self) -> Front:
        """Say where it is, so that another turn can begin there."""
        return Front(
            head=self.head,
            taken=self.taken,
            passed=self.passed,
            blocked=self.blocked,
            is_entitled=self.is_entitled,
        )

    def from_now(self) -> QuotaShareView:
        """Show who waits as things stand now, the head first, to turns of which nobody is told."""
        if self.head is None:
            return replace(self.share, jobs=ShareLine(self.share.jobs.show_from(self.taken)))
        front = replace(self.front(), taken=1, passed=0)
        line = ShareLine(self.share.jobs.show_from(self.taken - 1), front)
        return replace(self.share, jobs=line)


class QuotaTurn:
    """The turn of one queue."""

    def __init__(self, queue: QueueView, view: View, ledger: Ledger, stock: Stock) -> None:
        assert queue.quota_shares is not None, queue.arn
        assert queue.accounts is not None, queue.arn
        self._queue, self._view, self._ledger, self._stock = queue, view, ledger, stock
        self._usable = [each for each in queue.environments if each.is_valid and each.is_enabled]
        #: Where borrowers may go: what a head with a right may be waiting for is taken out.
        self._for_borrowers = self._usable
        self._accounts = queue.accounts.copy_without_claims()
        self._outlook = queue.outlook or LastingOutlook(queue.environments, view.hosts)
        #: What jobs asked for and did not get, and by which right, since `ledger.growth_count` was
        #: this. Whoever asks for the same does not get it either.
        self._refused: set[tuple[Amount, bool]] = set()
        self._growth_count = 0
        #: What keeps them for now, since the last job has started.
        self._passing = ByDemand[tuple[Obstacle, str | None]]()
        #: The shares whose turn is still to come, by the right of their heads: those that need
        #: nothing borrowed by their places, in order; the others, a heap, by who was submitted
        #: first. Whose turn it is is in neither.
        self._entitled: list[int] = []
        self._borrowers: list[tuple[int, str, int]] = []
        #: Whose turn is next among those with a right.
        self._at = 0
        self._lanes = [self._lane_of(at, share) for at, share in enumerate(queue.quota_shares)]
        self._rehearsals: _Rehearsals | None = None
        #: Somebody was told to wait.
        self._has_blocked = False
        #: Somebody has started after that; somebody has started who borrows.
        self._has_started_late = False
        self._has_lent = False

    def serve_next(self) -> tuple[WaitingJob, EnvironmentView, Taken] | None:
        """Start the next job that can. None: nobody else can in this round."""
        while (lane := self._next_lane()) is not None:
            started = self._serve(lane)
            if started is not None:
                return started
        return None

    def does_start(self, winners: Set[JobId]) -> bool:
        """Tell whether all of these start, in a turn that is nothing but a rehearsal."""
        left, started_count = set(winners), 0
        while started_count < REHEARSED_MAX and (lane := self._next_lane()) is not None:
            job = lane.head
            assert job is not None, lane.name
            if self._serve(lane) is not None:
                started_count += 1
                left.discard(job.job_id)
                if not left:
                    return True
            elif job.job_id in left:
                return False
        return False

    def blocked(self) -> list[BlockedHead]:
        """Say what keeps the heads of the shares, once nobody else can start."""
        return [lane.blocked for lane in self._lanes if lane.blocked is not None]

    @property
    def is_settling(self) -> bool:
        """Tell whether whoever waits would be told the same again after all that was decided.

        Whoever has started by this round and borrows may be stopped by the next one.
        """
        if self._has_started_late:
            return False
        return not self._has_lent or not any(
            lane.is_stuck and (lane.is_entitled or lane.share.terms.preempts_within)
            for lane in self._lanes
        )

    def preemptions(self) -> Sequence[Preemption]:
        """Say who is to be stopped for the heads that wait; keep the room that comes free."""
        assert self._queue.quota_shares is not None, self._queue.arn
        stuck = [lane for lane in self._lanes if lane.is_stuck]
        if not stuck or not (
            self._accounts.is_anything_borrowed()
            or any(lane.share.terms.preempts_within for lane in stuck)
        ):
            return ()
        running = {each.terms.name: each.running() for each in self._queue.quota_shares}
        if not self._may_help(stuck, running):
            return ()
        prospect = self._prospect(stuck, running)
        waiting = [lane for lane in self._lanes if lane.name in prospect.heads]
        entitled, borrowers = deque[_Lane](), list[_Lane]()
        for lane in waiting:
            (entitled if prospect.is_entitled(lane.name) else borrowers).append(lane)
        for _ in range(SETTLED_MAX):
            if not entitled:
                break
            lane = entitled.popleft()
            if self._settle(prospect, lane) and lane.name in prospect.heads:
                right = prospect.is_entitled(lane.name)
                (entitled if right else borrowers).append(lane)
        for lane in sorted(borrowers, key=lambda each: (prospect.heads[each.name].seq, each.name)):
            self._settle(prospect, lane)
        return prospect.preemptions

    def _next_lane(self) -> _Lane | None:
        """Give the next share, in turn, whose head needs nothing borrowed; else the share whose
        head was submitted first.
        """
        if self._entitled:
            at = bisect_left(self._entitled, self._at)
            index = self._entitled.pop(at if at < len(self._entitled) else 0)
            self._at = index + 1
            return self._lanes[index]
        return self._lanes[heappop(self._borrowers)[-1]] if self._borrowers else None

    def _serve(self, lane: _Lane) -> tuple[WaitingJob, EnvironmentView, Taken] | None:
        """Start the head of a share, or say why not."""
        job = lane.head
        assert job is not None, lane.name
        if not self._stock.has(job.needs):
            self._block(lane, job, Obstacle.CONSUMABLE_UNAVAILABLE)
        elif not self._accounts.may_start(lane.name, job.use):
            lane.is_stuck = True
            if lane.is_entitled:
                self._accounts.claim(lane.name, job.use)
            self._block(lane, job, Obstacle.QUOTA_IN_USE)
        else:
            found = self._take(lane, job)
            if found is not None:
                self._accounts.start(lane.name, job.use)
                self._stock.take(job.needs)
                self._passing.clear()
                self._has_started_late |= self._has_blocked
                self._has_lent |= not lane.is_entitled
                self._advance(lane)
                self._line_up(lane)
                return (job, *found)
            self._wait_for_room(lane, job)
        return None

    def _take(self, lane: _Lane, job: WaitingJob) -> tuple[EnvironmentView, Taken] | None:
        if self._growth_count != self._ledger.growth_count:
            self._growth_count = self._ledger.growth_count
            self._refused.clear()
        environments, may_launch = self._usable, True
        if not lane.is_entitled:
            environments = self._for_borrowers
            may_launch = environments is self._usable
        asked = (job.demand, lane.is_entitled)
        if is_plain(job) and not self._refused.isdisjoint((asked, (job.demand, True))):
            return None
        for environment in environments:
            taken = self._ledger.take(environment, job, may_launch=may_launch)
            if taken is not None:
                return environment, taken
        if is_plain(job):
            self._refused.add(asked)
        return None

    def _wait_for_room(self, lane: _Lane, job: WaitingJob) -> None:
        lane.is_stuck = True
        if lane.is_entitled:
            self._accounts.claim(lane.name, job.use)
            possible = self._outlook.possible(job)
            self._for_borrowers = [
                each
                for each in self._for_borrowers
                if each.arn not in possible and each.has_instances
            ]
        self._block(lane, job, Obstacle.CAPACITY_IN_USE)

    def _lane_of(self, index: int, share: QuotaShareView) -> _Lane:
        """Let a share begin where turns with the same line begin."""
        name, front = share.terms.name, share.jobs.front
        if front is None:
            lane = _Lane(index, share, name)
            self._advance(lane)
            share.jobs.front = lane.front()
        else:
            lane = _Lane(
                index,
                share,
                name,
                head=front.head,
                taken=front.taken,
                passed=front.passed,
                blocked=front.blocked,
                is_entitled=front.is_entitled,
            )
        self._line_up(lane)
        return lane

    def _advance(self, lane: _Lane) -> None:
        """Show the next job of a share that could start some time; pass those that never could."""
        lane.head, lane.is_entitled = None, False
        while lane.passed < PASSED_MAX and (job := lane.next_in_line()) is not None:
            never = self._accounts.why_never(lane.name, job.use)
            if never is None and self._outlook.possible(job):
                lane.head = job
                lane.is_entitled = self._accounts.is_within_quota(lane.name, job.use)
                return
            self._note(lane, job, never or Obstacle.CAPACITY_IN_USE)
            lane.passed += 1

    def _line_up(self, lane: _Lane) -> None:
        """Let a share have its turn, by the right of its head; one without a head has none."""
        if lane.is_entitled:
            insort(self._entitled, lane.index)
        elif lane.head is not None:
            heappush(self._borrowers, (lane.head.seq, lane.name, lane.index))

    def _block(self, lane: _Lane, job: WaitingJob, why: Obstacle) -> None:
        self._note(lane, job, why)
        self._has_blocked = True

    def _note(self, lane: _Lane, job: WaitingJob, why: Obstacle) -> None:
        """Keep what the first job of a share waits for: the most lasting cause."""
        if lane.blocked is not None:
            return
        obstacle, instance_type = self._outlook.lasting(job), None
        if obstacle is None:
            obstacle = why
            if why not in _NOT_TRIED:
                obstacle, instance_type = self._passing.of(job, self._find_passing)
        lane.blocked = BlockedHead(
            queue_arn=self._queue.arn,
            job_id=job.job_id,
            obstacle=obstacle,
            instance_type=instance_type,
            quota_share=lane.name,
        )

    def _find_passing(self, job: WaitingJob) -> tuple[Obstacle, str | None]:
        return find_passing_obstacle(job, self._queue, self._ledger)

    def _may_help(self, stuck: Sequence[_Lane], running: Mapping[str, RunningShare]) -> bool:
        """Tell whether looking ahead could come to anything.

        What is there is all that there will be if nobody ends. Nobody is stopped then but for a
        higher priority, if the books allow it, or for a right; and where no head has a right, none
        waits for what is claimed.
        """
        if any(lane.is_entitled for lane in stuck) or any(
            share.stopping for share in running.values()
        ):
            return True
        return any(
            find_outranked(self._accounts, lane.share.terms, running[lane.name], lane.head).may_help
            for lane in stuck
            if lane.head is not None
        )

    def _prospect(self, stuck: Sequence[_Lane], running: dict[str, RunningShare]) -> Prospect:
        terms: dict[str, QuotaTerms] = {lane.name: lane.share.terms for lane in self._lanes}
        prospect = Prospect(
            accounts=self._accounts.copy_without_claims(),
            ledger=self._ledger.copy(),
            stock=self._stock.copy(),
            terms=terms,
            environments=self._usable,
            running=running,
            heads={lane.name: lane.head for lane in stuck if lane.head is not None},
            start_once_ended=self._start_once_ended,
        )
        for share in running.values():
            for each in share.stopping:
                prospect.note_end(each)
        return prospect

    def _start_once_ended(self, winners: Set[JobId], ended: Sequence[RunningJob]) -> bool:
        return self._kept_for_rehearsals().does_start(winners, ended)

    def _kept_for_rehearsals(self) -> "_Rehearsals":
        """Keep how things stand once nobody else can start: before room is kept for anybody."""
        if self._rehearsals is None:
            shares = [lane.from_now() for lane in self._lanes]
            accounts = self._accounts.copy_without_claims()
            queue = replace(
                self._queue, quota_shares=shares, accounts=accounts, outlook=self._outlook
            )
            self._rehearsals = _Rehearsals(
                queue, self._view, self._ledger.copy(), self._stock.copy()
            )
        return self._rehearsals

    def _settle(self, prospect: Prospect, lane: _Lane) -> bool:
        """See to it that who is first in a share then will be able to start; show who is next."""
        job = lane.head
        if prospect.heads[lane.name] is not job:
            return prospect.seat_returning(lane.name, job if lane.is_stuck else None)
        assert job is not None, lane.name
        found = prospect.settle(lane.name, job)
        if found is None:
            return False
        self._kept_for_rehearsals()
        environment, taken = found
        for slot, demand in zip(taken.slots, job.demands, strict=True):
            self._ledger.occupy(environment, slot, demand)
        self._ledger.give_back_instances(environment, job.instances, sign=-1)
        self._advance(lane)
        prospect.show(lane.name, lane.head)
        return True


class _Rehearsals:
    """Tells how a turn would go if jobs had ended that run as things stood once."""

    def __init__(self, queue: QueueView, view: View, ledger: Ledger, stock: Stock) -> None:
        """Take books of their own; the shares of `queue` begin with who is first then."""
        self._queue, self._view, self._ledger, self._stock = queue, view, ledger, stock
        self._usable = [each for each in queue.environments if each.is_valid and each.is_enabled]

    def does_start(self, winners: Set[JobId], ended: Sequence[RunningJob]) -> bool:
        """Tell whether all winners start once those have ended, and wait again."""
        accounts, shares = self._queue.accounts, self._queue.quota_shares
        assert accounts is not None, self._queue.arn
        assert shares is not None, self._queue.arn
        ledger = self._ledger.copy()
        back_by_share: dict[str, list[RunningJob]] = {}
        for each in ended:
            end_in(ledger, self._usable, each)
            back_by_share.setdefault(each.share, []).append(each)
        then = [_with_back(each, back_by_share.get(each.terms.name, ())) for each in shares]
        queue = replace(self._queue, quota_shares=then)
        with accounts.once_ended(ended):
            turn = QuotaTurn(queue, self._view, ledger, self._stock.copy())
        return turn.does_start(winners)


def _with_back(share: QuotaShareView, back: Sequence[RunningJob]) -> QuotaShareView:
    """Give a share as it is once jobs of it that were stopped wait again."""
    if not back:
        return share
    return replace(share, jobs=ShareLine(line_with(back, share.jobs.show_from(0))))
