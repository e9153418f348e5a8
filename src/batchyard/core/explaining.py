"""Why a live job has not ended, or not even begun.

Decides what is told of a job in each state, as a tree of reasons and one line. Refuses to change
anything, and to know who asks. What it says rests on the same views that rounds plan with, and on
the rules at the head of `scheduler.round`; the changes that would help are tried, not guessed (see
`changes`). Costs what it shows: at most AHEAD_COUNTED_MAX jobs are looked at.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, takewhile

from msgspec import Struct
from msgspec.structs import replace

from batchyard.core import sentences
from batchyard.core.array import CODE_BY_STATUS, REST
from batchyard.core.changes import find_changes, find_together
from batchyard.core.consumables import available_of
from batchyard.core.explaining_quota import in_share, quota_reason
from batchyard.core.state import Environment, Job, Queue, State, child_status
from batchyard.core.trying import try_next_round
from batchyard.core.viewing import has_waiting, view_of
from batchyard.core.viewing_shares import waiting_job
from batchyard.model.amounts import vcpus_text
from batchyard.model.explanation import Cause, Change, Explanation, Reason
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import EnvironmentArn, JobId, child_id, name_in_arn
from batchyard.model.records import Attempt
from batchyard.model.status import JobStatus, ResourceState
from batchyard.scheduler.fair_share import FairOrder
from batchyard.scheduler.shortage import lack_of_nodes, lacks_of
from batchyard.scheduler.view import EnvironmentView, HostView, QueueView, View, WaitingJob

#: Ours: beyond it, jobs that stand before one are not counted.
AHEAD_COUNTED_MAX = 1000
#: Ours: for jobs that more stand before, no change is thought of.
_AHEAD_FOR_CHANGES_MAX = 30
#: Ours: for jobs that more stand before, no changes are thought of that help together.
_AHEAD_FOR_TOGETHER_MAX = 10
#: Ours: how many of the jobs that one waits for are told by name.
_NAMED_MAX = 20

#: Of what one environment lacks: what is told of it, the most lasting first.
_ORDER = (Cause.NEVER_FITS, Cause.CAPACITY, Cause.MAX_VCPUS)
#: What keeps a job out of an environment, the least lasting first.
_NEARNESS = (
    Cause.INSTANCE_STARTING,
    Cause.CAPACITY,
    Cause.MAX_VCPUS,
    Cause.NEVER_FITS,
    Cause.ENVIRONMENT,
)
#: What no end of another job changes: it is told of before everything else.
_FOR_GOOD = (Cause.NEVER_FITS, Cause.ENVIRONMENT)


def explain(state: State, job_id: JobId, now_ms: int) -> Explanation | None:
    """Explain a job, child or node; None: it is not live."""
    job = state.find(job_id)
    if job is None:
        return None
    status = job.progress.status
    match status:
        case JobStatus.PENDING:
            reasons = [*_given_up(job), *_why_pending(state, job, now_ms)]
        case JobStatus.RUNNABLE:
            return _explain_runnable(state, job, now_ms)
        case _:
            reasons = _why_not_over(job, now_ms)
    return Explanation(
        job_id=job_id,
        status=status,
        summary=_summary_of(reasons),
        reasons=tuple(reasons),
        at_ms=now_ms,
    )


def why_head_waits(state: State, job_id: JobId, view: View, now_ms: int) -> str | None:
    """Say in one sentence what keeps the first job of a queue; None: nothing that is known."""
    job = state.find(job_id)
    if job is None:
        return None
    first = _why_first(state, job, view, now_ms)[0]
    if first.cause is not Cause.INSTANCE_STARTING:
        return first.text
    return first.text.split(";")[0].rstrip(".") + "."  # Not when: that changes all the time.


# -- PENDING ----------------------------------------------------------------------------------


def _why_pending(state: State, job: Job, now_ms: int) -> list[Reason]:
    if job.progress.array is not None and job.progress.array.rest is not None:
        return [_why_children(state, job, now_ms)]
    waits_for = list(_conditions_of(state, job))
    if not waits_for:
        return [Reason(cause=Cause.DEPENDENCY, text=sentences.has_just_ended())]
    details = tuple(_dependency(state, each) for each in waits_for[:_NAMED_MAX])
    first = _dependency(state, waits_for[0], more=len(waits_for) - 1)
    return [
        replace(
            first,
            numbers={"unmet_count": len(waits_for)},
            details=details if len(waits_for) > 1 else (),
        )
    ]


def _conditions_of(state: State, job: Job) -> Iterator[JobId]:
    """Yield the live jobs and children that must end before a PENDING one goes on."""
    yield from job.unmet
    parent = job.parent
    if parent is None:
        for array_id, waiting in state.pair_dependents.items():
            if job.id in waiting:
                yield array_id
        return
    for array_id, waiting in state.pair_dependents.items():
        if parent.id in waiting and array_id in state.jobs:
            status = child_status(state.jobs[array_id], job.index)
            if status is None or not status.is_terminal:
                yield child_id(array_id, job.index)
    if parent.array is not None and parent.array.is_sequential and job.index:
        yield child_id(parent.id, job.index - 1)


def _dependency(state: State, job_id: JobId, *, more: int = 0) -> Reason:
    found = state.find(job_id)
    status = None if found is None else found.progress.status
    text = sentences.waits_for(job_id, status, more=more)
    return Reason(cause=Cause.DEPENDENCY, text=text, subject=job_id)


def _why_children(state: State, job: Job, now_ms: int) -> Reason:
    """Say how the children of an array stand, and what the first that waits is waiting for."""
    assert job.progress.array is not None, job.id
    counts = job.progress.array.count_by_status()
    text = sentences.waits_for_children(counts)
    waiting = _first_waiting_child(job)
    told = None if waiting is None else explain(state, waiting, now_ms)
    if told is not None:
        text += f" The first that waits, {waiting}: {told.summary}"
    return Reason(
        cause=Cause.CHILDREN,
        text=text,
        subject=waiting or "",
        numbers={status.lower(): count for status, count in counts.items() if count},
        details=() if told is None else told.reasons,
    )


def _first_waiting_child(job: Job) -> JobId | None:
    """Name the first RUNNABLE child of an array, or the first PENDING one."""
    assert job.array is not None, job.id
    assert job.progress.array is not None, job.id
    for status in (JobStatus.RUNNABLE, JobStatus.PENDING):
        codes = [CODE_BY_STATUS[status]] + [REST] * (job.progress.array.rest is status)
        found = [at for code in codes if (at := job.array.codes.find(code)) >= 0]
        if found:
            return child_id(job.id, min(found))
    return None


# -- RUNNABLE ---------------------------------------------------------------------------------


class _Place(Struct, frozen=True, kw_only=True):
    """Where a job stands in its queue, or in its quota share."""

    ahead: int
    are_more: bool = False
    #: Who stands before it, the first of them; no more than changes are thought of for.
    first_ids: Sequence[JobId] = ()


def _explain_runnable(state: State, job: Job, now_ms: int) -> Explanation:
    place = _place_of(state, job, now_ms)
    view = view_of(state, now_ms)
    own = _own_reasons(state, job, view, now_ms)
    may_think = place.ahead <= _AHEAD_FOR_CHANGES_MAX and not place.are_more
    changes: Sequence[Change] = ()
    together: Sequence[Change] = ()
    if may_think and try_next_round(state, job, now_ms).starts:
        reasons = [_on_its_way(state, job, now_ms)]
        if place.ahead:
            reasons.append(_turn(state, job, place, view, now_ms))
    else:
        reasons = [_turn(state, job, place, view, now_ms)] if place.ahead else []
        if own or not place.ahead:  # Else there is room for it, once it is its turn.
            reasons += _without_what_is_kept(state, job, own, view, now_ms)
        ahead = [found for each in place.first_ids if (found := state.find(each)) is not None]
        if may_think:
            changes = find_changes(state, job, ahead, now_ms)
        if not changes and place.ahead <= _AHEAD_FOR_TOGETHER_MAX:
            together = find_together(state, job, ahead, now_ms)
    return Explanation(
        job_id=job.id,
        status=JobStatus.RUNNABLE,
        summary=_summary_of(reasons),
        reasons=(*reasons, *_tried_again(job)),
        changes=tuple(changes),
        together=tuple(together),
        ahead_count=place.ahead,
        are_more_ahead=place.are_more,
        at_ms=now_ms,
    )


def _tried_again(job: Job) -> Iterator[Reason]:
    """Say how the last attempt of a job ended that is tried again."""
    attempts = job.progress.attempts
    if attempts:
        last, count = attempts[-1], len(attempts)
        why = " ".join(each for each in (last.status_reason, last.reason) if each)
        code = "" if last.exit_code is None else f" with exit code {last.exit_code}"
        text = f"It is tried again: attempt {count} of {job.attempts_max} ended{code} ({why})."
        numbers = {"attempts": count, "attempts_max": job.attempts_max}
        yield Reason(cause=Cause.RETRY, text=text, numbers=numbers)


def _on_its_way(state: State, job: Job, now_ms: int) -> Reason:
    """Say of a job that has its place what it waits for: instances, if any start."""
    queue, demands = state.queues[job.queue_arn], waiting_job(job, job.id).demands
    for arn in queue.environment_arns:
        environment = state.environments.get(arn)
        ready_ms = [
            state.instances[each].record.ready_ms
            for room, group in ({} if environment is None else environment.starting).items()
            if any(demand.fits_in(room) for demand in demands)
            for each in group
        ]
        if ready_ms:
            return _instance_starting(arn, in_ms=max(0, min(ready_ms) - now_ms))
    return Reason(cause=Cause.NOTHING, text="Nothing keeps it: the next round places it.")


def _instance_starting(arn: EnvironmentArn, *, in_ms: int) -> Reason:
    return Reason(
        cause=Cause.INSTANCE_STARTING,
        text=(
            f"An instance with room for it is starting in {name_in_arn(arn)}; the first that starts"
            f" there is ready in {sentences.seconds(in_ms)}."
        ),
        subject=arn,
        numbers={"ready_in_ms": in_ms},
    )


def _place_of(state: State, job: Job, now_ms: int) -> _Place:
    """Count who stands before a job of its queue, or quota share, and name the first of them."""
    of_share = in_share(state, job)
    if of_share is not None:
        ahead = list(
            islice(takewhile(lambda each: each != job.id, of_share), AHEAD_COUNTED_MAX + 1)
        )
        count = min(len(ahead), AHEAD_COUNTED_MAX)
        first_ids = ahead[:_AHEAD_FOR_CHANGES_MAX]
        return _Place(ahead=count, are_more=len(ahead) > count, first_ids=first_ids)
    queue_view = _queue_view(view_of(state, now_ms), job)
    if queue_view is None:
        return _Place(ahead=0)
    order, count, first_ids = queue_view.waiting, 0, list[JobId]()
    while (shown := order.peek()) is not None and shown.job_id != job.id:
        if count == AHEAD_COUNTED_MAX:
            return _Place(ahead=count, are_more=True, first_ids=first_ids)
        if count < _AHEAD_FOR_CHANGES_MAX:
            first_ids.append(shown.job_id)
        count += 1
        order.take()
    return _Place(ahead=count, first_ids=first_ids)


def _turn(state: State, job: Job, place: _Place, view: View, now_ms: int) -> Reason:
    """Say that others come first, and what keeps the first of them."""
    first_id = next(iter(place.first_ids), None)
    first = None if first_id is None else state.find(first_id)
    details = [] if first is None else _why_first(state, first, view, now_ms)
    return Reason(
        cause=Cause.TURN,
        text=sentences.turn(
            place.ahead,
            are_more=place.are_more,
            quota_share=job.quota_share,
            first_waits_for=details[0].text if details else None,
        ),
        subject=first_id or "",
        numbers={"ahead_count": place.ahead},
        details=tuple(details),
    )


def _why_first(state: State, job: Job, view: View, now_ms: int) -> list[Reason]:
    """Say what keeps the first of a queue, or of a quota share, also if its place is on its way."""
    return _own_reasons(state, job, view, now_ms) or [_without_obstacle(state, job, view, now_ms)]


def _without_obstacle(state: State, job: Job, view: View, now_ms: int) -> Reason:
    """Say of a job that has room what keeps it all the same."""
    if try_next_round(state, job, now_ms).starts:
        return _on_its_way(state, job, now_ms)
    return _without_what_is_kept(state, job, [], view, now_ms)[0]


def _without_what_is_kept(
    state: State, job: Job, own: Sequence[Reason], view: View, now_ms: int
) -> list[Reason]:
    """Say what a job lacks that does not start, though something free or starting is large enough.

    That is for others then: it lacks what it would lack without it.
    """
    reasons = list(own)
    if any(each.cause is Cause.INSTANCE_STARTING for each in reasons):
        reasons = _own_reasons(state, job, _view_without(view, ready=False), now_ms)
    if reasons:
        return reasons
    rest = _own_reasons(state, job, _view_without(view, ready=True), now_ms)
    text = "What is free is kept for jobs that come first and wait for instances to start."
    first = Reason(cause=Cause.CAPACITY, text=text)
    if rest:
        text = f"{text} Besides: {rest[0].text}"
        first = Reason(cause=Cause.CAPACITY, text=text, numbers=rest[0].numbers)
    return [first, *rest]


def _view_without(view: View, *, ready: bool) -> View:
    """Give a view without instances that start, or, if `ready`, without any that have room."""
    others = [
        replace(each, starting={}, ready={} if ready else each.ready) for each in view.environments
    ]
    return replace(view, environments=others)


def _own_reasons(state: State, job: Job, view: View, now_ms: int) -> list[Reason]:
    found = _room_reasons(state, job, view)
    queue = state.queues.get(job.queue_arn)
    if queue is None or queue.policy is None or not queue.policy.reservation_percent:
        return found
    # Another view: the order of this one may be used up.
    queue_view = _queue_view(view_of(state, now_ms), job)
    if queue_view is not None:
        shown = queue_view.waiting.peek()
        if shown is not None and shown.job_id == job.id and queue_view.waiting.is_held_back():
            reserved = _reserved(queue, queue.policy, queue_view, job)
            is_for_good = bool(found) and found[0].cause in _FOR_GOOD
            found.insert(1 if is_for_good else 0, reserved)
    return found


def _reserved(queue: Queue, policy: FairShare, view: QueueView, job: Job) -> Reason:
    """Say that what is left is kept for shares that are not active."""
    order, percent = view.waiting, policy.reservation_percent
    assert isinstance(order, FairOrder), queue.arn
    used, limit, asked = order.cpu_milli_used, order.cpu_milli_limit, job.demand.cpu_milli
    assert limit is not None, queue.arn
    return Reason(
        cause=Cause.RESERVED,
        text=(
            f"Asked {vcpus_text(asked)}; the queue's scheduling policy (computeReservation"
            f" {percent}) keeps a part for shares that are not active: the others use"
            f" {vcpus_text(used)} of the {vcpus_text(limit)} left to them, short by"
            f" {vcpus_text(used + asked - limit)}."
        ),
        subject=queue.policy_arn or "",
        numbers={
            "asked_cpu_milli": asked,
            "used_cpu_milli": used,
            "limit_cpu_milli": limit,
            "short_cpu_milli": used + asked - limit,
            "reservation_percent": percent,
        },
    )


def _room_reasons(state: State, job: Job, view: View) -> list[Reason]:
    """Say what keeps a job even if it is its turn."""
    queue = state.queues.get(job.queue_arn)
    if queue is None or queue.is_draining:
        return [Reason(cause=Cause.QUEUE, text="Its job queue is being deleted.")]
    found = [_consumable(state, job, index) for index in _short_needs(state, job)]
    if (of_share := quota_reason(state, job)) is not None:
        found.append(of_share)
    views = {each.arn: each for each in view.environments}
    waiting = waiting_job(job, job.id)
    lacks: list[Reason] = []
    for arn in queue.environment_arns:
        environment = state.environments.get(arn)
        if environment is None:
            lacks.append(_not_there(arn))
            continue
        lacks.append(why_out_of(environment, views[environment.arn], waiting, view.hosts))
        if lacks[-1].cause is Cause.INSTANCE_STARTING:
            break  # It waits for that one, also where a later environment has room.
    if all(each.cause is not Cause.NOTHING for each in lacks):
        # One environment is enough: the first to be told of is the one that comes nearest.
        lacks.sort(key=lambda each: _NEARNESS.index(each.cause))
        is_for_good = bool(lacks) and lacks[0].cause in _FOR_GOOD
        found = [*lacks, *found] if is_for_good else [*found, *lacks]
    return [*found, *_priorities(state, job)] if found else found


def _not_there(arn: EnvironmentArn) -> Reason:
    """Say it of an environment that nobody has settled, or that is gone."""
    text = (
        f"Compute environment {name_in_arn(arn)} is not there: it is being created, or was deleted."
    )
    return Reason(cause=Cause.ENVIRONMENT, text=text, subject=arn)


def why_out_of(
    environment: Environment, view: EnvironmentView, job: WaitingJob, hosts: Sequence[HostView]
) -> Reason:
    """Say what keeps a job out of one environment; NOTHING: it has room there."""
    name, arn = name_in_arn(environment.arn), environment.arn
    kind = "Compute" if environment.limits is None else "Service"
    if environment.is_draining:
        text = f"{kind} environment {name} is being deleted."
    elif environment.fault is not None:
        text = f"{kind} environment {name} is INVALID: {environment.fault}."
    elif environment.state is ResourceState.DISABLED:
        text = f"{kind} environment {name} is DISABLED."
    else:
        lacks = [_of_small_machine(environment, view, each) for each in lacks_of(view, job, hosts)]
        if len(lacks) == 1:
            return lacks[0]
        if lacks:
            best = _first_in_order(lacks)
            return Reason(
                cause=best.cause, text=best.text, subject=arn, numbers=best.numbers,
                details=tuple(lacks),
            )  # fmt: skip
        if len(job.demands) > 1 and (lack := lack_of_nodes(view, job, hosts)) is not None:
            return lack
        return Reason(cause=Cause.NOTHING, text=f"{name} has room.", subject=arn)
    return Reason(cause=Cause.ENVIRONMENT, text=text, subject=arn)


def _of_small_machine(environment: Environment, view: EnvironmentView, reason: Reason) -> Reason:
    """Add that an instance type is not whole here, where no machine is large enough for it."""
    of_view = () if view.launching is None else view.launching.types
    settings = environment.launching
    if settings is None or len(of_view) != 1 or of_view[0] in settings.types:
        return reason
    if reason.cause is Cause.INSTANCE_STARTING:
        return reason
    text = f"{reason.text} No machine has room for a whole {of_view[0].name}."
    return replace(reason, text=text)


def _short_needs(state: State, job: Job) -> list[int]:
    return [
        index
        for index, need in enumerate(job.needs)
        if available_of(state.consumables, need.arn) < need.quantity
    ]


def _consumable(state: State, job: Job, index: int) -> Reason:
    need = job.needs[index]
    there = available_of(state.consumables, need.arn)
    name, found = name_in_arn(need.arn), state.consumables.get(need.arn)
    if found is None or not found.is_there:
        text = f"Asked {need.quantity} of {name}, which does not exist any more."
    else:
        text = (
            f"Asked {need.quantity} of {name}; {there} available: short by {need.quantity - there}."
        )
    numbers = {"asked": need.quantity, "available": there, "short": need.quantity - there}
    return Reason(cause=Cause.CONSUMABLE, text=text, subject=need.arn, numbers=numbers)


def _priorities(state: State, job: Job) -> Iterator[Reason]:
    """Name the queues that are served first and want the same environments."""
    own = state.queues[job.queue_arn]
    for queue in state.queues.values():
        is_first = queue.priority > own.priority and not queue.is_draining
        if (
            is_first
            and has_waiting(queue)
            and set(queue.environment_arns) & set(own.environment_arns)
        ):
            yield Reason(
                cause=Cause.PRIORITY,
                text=(
                    f"Job queue {name_in_arn(queue.arn)} is served first, by priority"
                    f" {queue.priority} over {own.priority}, and jobs wait there, too."
                ),
                subject=queue.arn,
                numbers={"priority": queue.priority, "own_priority": own.priority},
            )


def _queue_view(view: View, job: Job) -> QueueView | None:
    return next((each for each in view.queues if each.arn == job.queue_arn), None)


# -- later ------------------------------------------------------------------------------------


def _why_not_over(job: Job, now_ms: int) -> list[Reason]:
    """Say of a job that has its place what becomes of it there."""
    attempt, status = job.progress.attempt, job.progress.status
    stopping = sentences.stopping(job.progress)
    if stopping is not None:
        return [Reason(cause=Cause.STOPPING, text=stopping)]
    on = "" if attempt is None or attempt.instance_id is None else attempt.instance_id
    if status is JobStatus.RUNNING:
        return [_running(job, attempt, on, now_ms)]
    if attempt is None:
        return []
    since_ms = max(0, now_ms - attempt.placed_ms)
    placed = f"It was placed {sentences.seconds(since_ms)} ago."
    text = f"{sentences.starting(attempt, status, now_ms)} {placed}"
    numbers = {"placed_ago_ms": since_ms}
    return [Reason(cause=Cause.STARTING, text=text, subject=on, numbers=numbers)]


def _running(job: Job, attempt: Attempt | None, on: str, now_ms: int) -> Reason:
    """Say for how long a job runs, and when it would be stopped."""
    numbers: dict[str, int] = {"attempt": len(job.progress.attempts) + 1}
    text = f"{sentences.running(attempt)} It is attempt {numbers['attempt']} of {job.attempts_max}"
    started_ms = None if attempt is None else attempt.started_ms
    if started_ms is not None:
        numbers["running_ms"] = max(0, now_ms - started_ms)
        text += f", since {sentences.seconds(numbers['running_ms'])}"
        if job.timeout_ms is not None:
            numbers["left_ms"] = max(0, started_ms + job.timeout_ms - now_ms)
            text += f"; its timeout ends it in {sentences.seconds(numbers['left_ms'])}"
    return Reason(cause=Cause.RUNNING, text=f"{text}.", subject=on, numbers=numbers)


def _given_up(job: Job) -> Iterator[Reason]:
    """Say that a job which waits for others will not run once they are over."""
    text = sentences.given_up(job.progress)
    if text is not None:
        yield Reason(cause=Cause.STOPPING, text=text)


def _first_in_order(reasons: Sequence[Reason]) -> Reason:
    return min(reasons, key=lambda each: _ORDER.index(each.cause) if each.cause in _ORDER else 99)


def _summary_of(reasons: Sequence[Reason]) -> str:
    return reasons[0].text if reasons else "It runs."
