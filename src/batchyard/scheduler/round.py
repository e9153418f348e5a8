"""One scheduling round: who starts now, and which instances start and end for it.

Decides, from a view alone, which waiting jobs get which capacity. Refuses to know time and states.

Rules (reference/compute-and-scheduling.md sections 1.8, 2.2 and 3.1):

1. Queues are served by priority, higher first. Queues of equal priority take turns, one job each,
   from round to round: who had its turn the longest ago goes first, then the older queue.
2. A job goes to the first environment, in the queue's order, that is VALID, ENABLED and has, or can
   obtain, room for all that the job asks within `maxvCpus`: on an instance (see `ledger` and
   `allocation`), or a slice of a host (Fargate). If an instance must start first, the job waits for
   it, and those behind it go on with what is left.
3. The nodes of a multi-node job start together or not at all.
4. Within a queue the order is strict: a head that gets no room keeps the head. Jobs behind it may
   pass only where it can never be: an environment none of whose capacity fits it even when empty.
   There they may take room on instances that run already. They launch nothing and take no slice of
   a host, because the head may need the host. A head that fits nowhere at all needs nothing, so
   behind it everyone may go on. So nobody who passes ever delays a head.
5. A blocked head takes nothing away from other queues.
6. A queue with quota shares serves them by rules of its own: see `quota_turn`. Who is stopped there
   is decided when nobody else of the same priority can start.
7. A job that needs consumable resources starts only where all of them are there; else it keeps the
   head like one without room.

The cost of a round follows what it places: O(placements + queues + environments), not the length of
the queues; behind a blocked head at most PASSERS_LOOKED_AT_MAX jobs are looked at, and at most
MISFITS_PASSED_MAX that fit nowhere are passed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from msgspec.structs import replace

from batchyard.model.amounts import Amount
from batchyard.scheduler.consumables import Stock
from batchyard.scheduler.ledger import Ledger, Taken
from batchyard.scheduler.obstacles import can_ever_hold, find_obstacle
from batchyard.scheduler.plan import BlockedHead, Obstacle, Placement, Plan, Preemption
from batchyard.scheduler.quota_turn import QuotaTurn
from batchyard.scheduler.view import (
    EnvironmentView,
    QueueView,
    View,
    WaitingJob,
    WaitingOrder,
    is_plain,
)

#: What is not known of a job that something else keeps: nobody has asked for room for it.
_NOT_TRIED = (Obstacle.CAPACITY_IN_USE, Obstacle.INSUFFICIENT_INSTANCE_CAPACITY)
#: Ours: how far behind a blocked head a round looks for jobs that may pass.
PASSERS_LOOKED_AT_MAX = 100
#: Ours: how many jobs that fit nowhere a round passes in a queue. Those that ask for the same cost
#: next to nothing.
MISFITS_PASSED_MAX = 10_000


@dataclass(slots=True)
class _Turn:
    """A queue that still has its turn in a round."""

    queue: QueueView
    #: Where jobs may go now, in order; narrowed by each blocked head.
    environments: list[EnvironmentView]
    #: Set exactly for a queue with quota shares; the rest counts for others only.
    of_shares: QuotaTurn | None = None
    #: A head is blocked that may need the hosts.
    is_passing: bool = False
    looked_at: int = 0
    misfit_count: int = 0
    #: What jobs asked for that fit nowhere; holds until `is_passing`.
    misfits: set[Amount] = field(default_factory=set)
    has_blocked_head: bool = False
    #: What jobs that may pass asked for and did not get, since `ledger.growth_count` was this.
    refused: set[Amount] = field(default_factory=set)
    growth_count: int = 0


@dataclass(slots=True)
class _Round:
    """What a round has decided so far."""

    view: View
    ledger: Ledger
    stock: Stock
    placements: list[Placement] = field(default_factory=list)
    blocked: list[BlockedHead] = field(default_factory=list)
    preemptions: list[Preemption] = field(default_factory=list)
    #: Somebody waits for an instance that is on its way.
    has_coming: bool = False


def plan_round(view: View) -> Plan:
    """Plan who starts now, by the rules in the module's head."""
    made = _Round(view=view, ledger=Ledger(view), stock=Stock(view.available_of))
    in_order = sorted(view.queues, key=_by_turn)
    is_settling = True
    for _, equals in groupby(in_order, key=lambda queue: queue.priority):
        all_turns = turns = [_turn_of(made, queue) for queue in equals]
        while turns:
            if len(turns) == 1:
                _pass_over_refused(made, turns[0])
            turns = [turn for turn in turns if _serve_next(made, turn)]
        for turn in all_turns:
            if turn.of_shares is not None:
                made.blocked += turn.of_shares.blocked()
                made.preemptions += turn.of_shares.preemptions()
        is_settling &= all(map(_ends_at_its_head, all_turns))
    for environment in view.environments:
        made.ledger.keep_least(environment)
    return Plan(
        placements=tuple(made.placements),
        blocked=tuple(made.blocked),
        launches=tuple(made.ledger.launches),
        terminations=tuple(made.ledger.terminations),
        preemptions=tuple(made.preemptions),
        is_settling=is_settling and _has_only_placed(made),
    )


def _has_only_placed(made: _Round) -> bool:
    """Tell whether all that a round gave away is in use once it is over, and all for one queue."""
    return not (
        made.has_coming
        or made.preemptions
        or made.ledger.launches
        or made.ledger.terminations
        or (made.placements and len(made.view.queues) > 1)
    )


def _ends_at_its_head(turn: _Turn) -> bool:
    """Tell whether a queue's turn ended with the first who got no room, or with the last job.

    Then it would end there again: what there is has only become less since.
    """
    if turn.of_shares is not None:
        return turn.of_shares.is_settling
    return not (turn.misfit_count or (turn.is_passing and turn.environments))


def _by_turn(queue: QueueView) -> tuple[int, int, int]:
    return (-queue.priority, queue.last_placed, queue.seq)


def _turn_of(made: _Round, queue: QueueView) -> _Turn:
    usable = [each for each in queue.environments if each.is_valid and each.is_enabled]
    of_shares = None
    if queue.quota_shares is not None:
        of_shares = QuotaTurn(queue, made.view, made.ledger, made.stock)
    return _Turn(queue=queue, environments=usable, of_shares=of_shares)


def _serve_next(made: _Round, turn: _Turn) -> bool:
    """Look at the next job of a queue; False: the queue's turn is over for this round."""
    if turn.of_shares is not None:
        started = turn.of_shares.serve_next()
        if started is not None:
            _note(made, *started)
        return started is not None
    job = turn.queue.waiting.peek()
    if job is None:
        return False
    return (_serve_passer if turn.is_passing else _serve_head)(made, turn, job)


def _serve_head(made: _Round, turn: _Turn, job: WaitingJob) -> bool:
    """Let a job start before which nobody waits but those that fit nowhere."""
    if job.demand in turn.misfits and is_plain(job):
        return _pass_misfit(turn)
    lack = _lack_of(made, turn.queue.waiting, job)
    if lack is None and _start(made, turn, job):
        return True
    if not _block(made, turn, job, lack):
        return False
    if not turn.is_passing:
        return _pass_misfit(turn)
    turn.queue.waiting.pass_over()
    return True


def _serve_passer(made: _Round, turn: _Turn, job: WaitingJob) -> bool:
    """Let a job start before the head, where that can never be."""
    turn.looked_at += 1
    if turn.looked_at > PASSERS_LOOKED_AT_MAX:
        return False
    lack = _lack_of(made, turn.queue.waiting, job)
    if lack is not None or not _start(made, turn, job):
        _note_refused(made, turn, job, lack)
        turn.queue.waiting.pass_over()
    return True


def _start(made: _Round, turn: _Turn, job: WaitingJob) -> bool:
    """Give a job the first room that there is for it, if there is any."""
    for environment in turn.environments:
        taken = made.ledger.take(environment, job, may_launch=not turn.is_passing)
        if taken is not None:
            turn.queue.waiting.take()
            made.stock.take(job.needs)
            _note(made, job, environment, taken)
            return True
    return False


def _pass_misfit(turn: _Turn) -> bool:
    """Pass over a job that fits nowhere; False: these were enough of them."""
    turn.misfit_count += 1
    if turn.misfit_count > MISFITS_PASSED_MAX:
        return False
    turn.queue.waiting.pass_over()
    return True


def _pass_over_refused(made: _Round, turn: _Turn) -> None:
    """Pass over jobs that ask for what others behind the same head have just been refused.

    Jobs that pass launch nothing, so what is not there for one of them is not there for the next,
    until somebody else brings more. Only where no other queue has a turn in between.
    """
    if not turn.refused or turn.growth_count != made.ledger.growth_count:
        return
    order, refused = turn.queue.waiting, turn.refused
    while turn.looked_at < PASSERS_LOOKED_AT_MAX:
        job = order.peek()
        if job is None or job.demand not in refused or not is_plain(job):
            return
        turn.looked_at += 1
        order.pass_over()


def _note_refused(made: _Round, turn: _Turn, job: WaitingJob, lack: Obstacle | None) -> None:
    """Keep what a job that may pass asked for in vain; with nodes it asks for more than that."""
    if lack is not None or not is_plain(job):
        return
    if turn.growth_count != made.ledger.growth_count:
        turn.growth_count = made.ledger.growth_count
        turn.refused.clear()
    turn.refused.add(job.demand)


def _lack_of(made: _Round, order: WaitingOrder, job: WaitingJob) -> Obstacle | None:
    """Say what keeps a job even if there is room for it."""
    if order.is_held_back():
        return Obstacle.RESERVED_FOR_OTHERS
    return None if made.stock.has(job.needs) else Obstacle.CONSUMABLE_UNAVAILABLE


def _note(made: _Round, job: WaitingJob, environment: EnvironmentView, taken: Taken) -> None:
    if taken.is_coming:
        made.has_coming = True
    else:
        made.placements.append(
            Placement(job_id=job.job_id, environment_arn=environment.arn, slots=taken.slots)
        )


def _block(made: _Round, turn: _Turn, job: WaitingJob, lack: Obstacle | None) -> bool:
    """Keep a job at the head; True: others may pass it.

    A job that its queue's policy holds back, and that could start otherwise, is not passed: the
    policy would have shown another.
    """
    if not turn.has_blocked_head:
        turn.has_blocked_head = True
        head = find_obstacle(job, turn.queue, made.view, made.ledger)
        if lack is not None and head.obstacle in _NOT_TRIED:
            head = replace(head, obstacle=lack, instance_type=None)
        made.blocked.append(head)
    possible = [each for each in turn.environments if can_ever_hold(each, job, made.view.hosts)]
    if possible and lack is Obstacle.RESERVED_FOR_OTHERS:
        return False
    if possible:
        turn.is_passing = True
        turn.environments = _others(turn.environments, possible)
    elif is_plain(job):
        turn.misfits.add(job.demand)
    return bool(turn.environments)


def _others(
    environments: Sequence[EnvironmentView], possible: Sequence[EnvironmentView]
) -> list[EnvironmentView]:
    arns = [each.arn for each in possible]
    return [each for each in environments if each.arn not in arns and each.has_instances]
