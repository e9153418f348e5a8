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

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import islice

from msgspec.structs import replace

from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId
from batchyard.scheduler.consumables import Stock
from batchyard.scheduler.ledger import Ledger, Taken
from batchyard.scheduler.obstacles import (
    can_ever_hold,
    find_lasting_obstacle,
    find_passing_obstacle,
)
from batchyard.scheduler.plan import BlockedHead, Obstacle, Preemption
from batchyard.scheduler.preemption import Prospect, end_in, line_with
from batchyard.scheduler.quota import Accounts, QuotaTerms, RunningJob, RunningShare
from batchyard.scheduler.view import (
    EnvironmentView,
    QueueView,
    QuotaShareView,
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


@dataclass(slots=True)
class _Lane:
    """A share that still has its turn in a round."""

    share: QuotaShareView
    name: str
    line: "_Line"
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
    #: Nothing more starts in this round.
    is_over: bool = False

    def next_in_line(self) -> WaitingJob | None:
        """Take the next job out of the line."""
        job = self.line.at(self.taken)
        self.taken += job is not None
        return job

    def line_from_now(self) -> Callable[[], Iterator[WaitingJob]]:
        """Show later who waits as things stand now, the head first."""
        return partial(self.line.show_from, self.taken - (self.head is not None))


class _Line:
    """The jobs of a share in their order, each read once and kept for those who look ahead."""

    def __init__(self, jobs: Iterator[WaitingJob]) -> None:
        self._rest = jobs
        self._read: list[WaitingJob] = []

    def at(self, place: int) -> WaitingJob | None:
        """Give the job at a place, counted from 0; None: there are not so many."""
        self._read += islice(self._rest, max(0, place + 1 - len(self._read)))
        return self._read[place] if place < len(self._read) else None

    def show_from(self, place: int) -> Iterator[WaitingJob]:
        """Give the job at a place, and those behind it."""
        while (job := self.at(place)) is not None:
            yield job
            place += 1


class QuotaTurn:
    """The turn of one queue."""

    def __init__(self, queue: QueueView, view: View, ledger: Ledger, stock: Stock) -> None:
        assert queue.quota_shares is not None, queue.arn
        self._queue, self._view, self._ledger, self._stock = queue, view, ledger, stock
        self._environments = [each for each in queue.environments if each.is_valid]
        self._usable = [each for each in self._environments if each.is_enabled]
        #: Where borrowers may go: what a head with a right may be waiting for is taken out.
        self._for_borrowers = self._usable
        self._accounts = Accounts(
            (each.terms for each in queue.quota_shares),
            {each.terms.name: each.used for each in queue.quota_shares},
        )
        #: By what a job asks for, in one place: where it fits, and what would keep it out for ever.
        self._possible: dict[Amount, list[EnvironmentView]] = {}
        self._lasting: dict[Amount, Obstacle | None] = {}
        #: What jobs asked for and did not get, and by which right, since `ledger.growth_count` was
        #: this. Whoever asks for the same does not get it either.
        self._refused: set[tuple[Amount, bool]] = set()
        self._growth_count = 0
        #: What keeps them for now, since the last job has started.
        self._passing: dict[Amount, tuple[Obstacle, str | None]] = {}
        self._lanes = [
            _Lane(each, each.terms.name, _Line(each.jobs)) for each in queue.quota_shares
        ]
        for lane in self._lanes:
            self._advance(lane)
        #: Whose turn is next among the shares.
        self._at = 0
        self._rehearse: Callable[[Set[JobId], Sequence[RunningJob]], bool] | None = None
        #: Somebody was told to wait.
        self._has_blocked = False
        #: Somebody has started after that; somebody has started who borrows.
        self._has_started_late = False
        self._has_lent = False

    def serve_next(self) -> tuple[WaitingJob, EnvironmentView, Taken] | None:
        """Start the next job that can. None: nobody else can in this round."""
        while (lane := self._next_entitled() or self._next_borrower()) is not None:
            started = self._serve(lane)
            if started is not None:
                return started
        return None

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
        entitled = deque(lane for lane in waiting if prospect.is_entitled(lane.name))
        borrowers = [lane for lane in waiting if lane not in entitled]
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

    def _next_entitled(self) -> _Lane | None:
        """Give the next share, in turn, whose head needs nothing borrowed."""
        count = len(self._lanes)
        for step in range(count):
            at = (self._at + step) % count
            lane = self._lanes[at]
            if lane.is_entitled and not lane.is_over:
                self._at = at + 1
                return lane
        return None

    def _next_borrower(self) -> _Lane | None:
        """Give the share whose head was submitted first."""
        waiting = [lane for lane in self._lanes if not lane.is_over]
        return min(waiting, key=_seq_of_head, default=None)

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
            possible = self._possible_for(job)
            self._for_borrowers = [
                each for each in self._for_borrowers if each not in possible and each.has_instances
            ]
        self._block(lane, job, Obstacle.CAPACITY_IN_USE)

    def _advance(self, lane: _Lane) -> None:
        """Show the next job of a share that could start some time; pass those that never could."""
        lane.head = None
        while lane.passed < PASSED_MAX and (job := lane.next_in_line()) is not None:
            never = self._accounts.why_never(lane.name, job.use)
            if never is None and self._possible_for(job):
                lane.head = job
                break
            self._note(lane, job, never or Obstacle.CAPACITY_IN_USE)
            lane.passed += 1
        if lane.head is None:
            lane.is_over, lane.is_entitled = True, False
        else:
            lane.is_entitled = self._accounts.is_within_quota(lane.name, lane.head.use)

    def _possible_for(self, job: WaitingJob) -> list[EnvironmentView]:
        """Give the environments that the job would fit if nobody else used them."""
        found = self._possible.get(job.demand) if is_plain(job) else None
        if found is None:
            hosts = self._view.hosts
            found = [each for each in self._usable if can_ever_hold(each, job, hosts)]
            if is_plain(job):
                self._possible[job.demand] = found
        return found

    def _block(self, lane: _Lane, job: WaitingJob, why: Obstacle) -> None:
        self._note(lane, job, why)
        lane.is_over = self._has_blocked = True

    def _note(self, lane: _Lane, job: WaitingJob, why: Obstacle) -> None:
        """Keep what the first job of a share waits for: the most lasting cause."""
        if lane.blocked is not None:
            return
        obstacle, instance_type = self._lasting_of(job), None
        if obstacle is None:
            obstacle = why
            if why not in _NOT_TRIED:
                obstacle, instance_type = self._passing_of(job)
        lane.blocked = BlockedHead(
            queue_arn=self._queue.arn,
            job_id=job.job_id,
            obstacle=obstacle,
            instance_type=instance_type,
            quota_share=lane.name,
        )

    def _lasting_of(self, job: WaitingJob) -> Obstacle | None:
        if not is_plain(job):
            return find_lasting_obstacle(job, self._queue, self._view)
        if job.demand not in self._lasting:
            self._lasting[job.demand] = find_lasting_obstacle(job, self._queue, self._view)
        return self._lasting[job.demand]

    def _passing_of(self, job: WaitingJob) -> tuple[Obstacle, str | None]:
        """Say what keeps a job for now; the same until another one starts."""
        if not is_plain(job):
            return find_passing_obstacle(job, self._queue, self._ledger)
        found = self._passing.get(job.demand)
        if found is None:
            found = find_passing_obstacle(job, self._queue, self._ledger)
            self._passing[job.demand] = found
        return found

    def _may_help(self, stuck: Sequence[_Lane], running: Mapping[str, RunningShare]) -> bool:
        """Tell whether looking ahead could come to anything.

        What is there is all that there will be if nobody ends. Nobody is stopped then but for a
        higher priority, or for a right; and where no head has a right, none waits for what is
        claimed.
        """
        if any(lane.is_entitled for lane in stuck) or any(
            share.stopping for share in running.values()
        ):
            return True
        return any(
            each.priority < lane.head.priority
            for lane in stuck
            if lane.share.terms.preempts_within and lane.head is not None
            for each in running[lane.name].staying
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
        self._keep_for_rehearsals()
        assert self._rehearse is not None
        return self._rehearse(winners, ended)

    def _keep_for_rehearsals(self) -> None:
        """Keep how things stand once nobody else can start: before room is kept for anybody."""
        if self._rehearse is None:
            self._rehearse = self._rehearsal()

    def _rehearsal(self) -> Callable[[Set[JobId], Sequence[RunningJob]], bool]:
        """Ask later how a round goes in which jobs have ended that run as things stand now."""
        ledger, stock = self._ledger.copy(), self._stock.copy()
        accounts = self._accounts.copy_without_claims()
        lines = [(lane.share, lane.line_from_now()) for lane in self._lanes]

        def start_once_ended(winners: Set[JobId], ended: Sequence[RunningJob]) -> bool:
            then, books = ledger.copy(), accounts.copy_without_claims()
            for each in ended:
                books.end(each.share, each.use)
                end_in(then, self._usable, each)
            shares = [
                replace(
                    share,
                    used=books.used(share.terms.name),
                    jobs=line_with(
                        (each for each in ended if each.share == share.terms.name), line()
                    ),
                )
                for share, line in lines
            ]
            queue = replace(self._queue, quota_shares=shares)
            turn = QuotaTurn(queue, self._view, then, stock.copy())
            left = set(winners)
            for _ in range(REHEARSED_MAX):
                started = turn.serve_next()
                if started is None:
                    return False
                left.discard(started[0].job_id)
                if not left:
                    return True
            return False

        return start_once_ended

    def _settle(self, prospect: Prospect, lane: _Lane) -> bool:
        """See to it that who is first in a share then will be able to start; show who is next."""
        job = lane.head
        if prospect.heads[lane.name] is not job:
            return prospect.seat_returning(lane.name, job if lane.is_stuck else None)
        assert job is not None, lane.name
        found = prospect.settle(lane.name, job)
        if found is None:
            return False
        self._keep_for_rehearsals()
        environment, taken = found
        for slot, demand in zip(taken.slots, job.demands, strict=True):
            self._ledger.occupy(environment, slot, demand)
        self._ledger.give_back_instances(environment, job.instances, sign=-1)
        self._advance(lane)
        prospect.show(lane.name, lane.head)
        return True


def _seq_of_head(lane: _Lane) -> tuple[int, str]:
    assert lane.head is not None, lane.name
    return lane.head.seq, lane.name
