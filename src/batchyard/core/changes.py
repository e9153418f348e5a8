"""The smallest changes with which a waiting job would start.

Decides which kinds of change are tried, and how the smallest of each is found: by letting a round
plan on the state as it would be (see `supposing`). So what is told is never a rule of thumb: the
job starts in the next round with the change, and with one unit less it does not. Refuses to know
why: see `explaining`.

A guess from what is short comes first; where it is right, two rounds settle a kind. Nothing is
tried for jobs that many others stand before: only their end would help.
"""

from collections.abc import Callable, Iterator
from functools import partial

from msgspec.structs import replace

from batchyard.core.bookkeeping import line_of
from batchyard.core.consumables import available_of
from batchyard.core.state import Environment, Job, Queue, State
from batchyard.core.supposing import suppose
from batchyard.core.viewing import view_of
from batchyard.core.waiting_line import steps_to_the_front
from batchyard.model.explanation import Change, ChangeKind, Dimension
from batchyard.model.ids import HostId
from batchyard.model.limits import QUEUE_PRIORITY_MAX, SCHEDULING_PRIORITY_MAX
from batchyard.model.status import ResourceState
from batchyard.scheduler.round import plan_round
from batchyard.scheduler.view import View

#: Ours: at most so many machines are thought of as larger, those with most room first.
HOSTS_TRIED_MAX = 4
#: Ours: beyond any machine: vCPUs, MiB and GPUs.
_CAPACITY_MAX = {
    Dimension.VCPUS: 1 << 12,
    Dimension.MEMORY_MIB: 1 << 26,
    Dimension.GPUS: 1 << 6,
}
_MAX_VCPUS_MAX = 1 << 16


def find_changes(state: State, job: Job, now_ms: int) -> list[Change]:
    """Give the smallest change of each kind with which a RUNNABLE job starts in the next round."""
    queue = state.queues.get(job.queue_arn)
    if queue is None:
        return []
    found = []
    for kind, guess, most in _candidates(state, job, queue):
        holds = partial(_starts_with, state, job, kind, now_ms)
        by = _least(holds, guess, most)
        if by is not None:
            found.append(replace(kind, by=by))
    return found


def _starts_with(state: State, job: Job, kind: Change, now_ms: int, by: int) -> bool:
    """Tell whether a job starts in the next round after `by` units of a change."""
    other = suppose(state, replace(kind, by=by))
    plan = plan_round(_without_boot(view_of(other, now_ms)))
    return any(each.job_id == job.id for each in plan.placements)


def _without_boot(view: View) -> View:
    """Let instances be ready at once: waiting for one that starts is not being kept."""
    at_once = {
        each.arn: replace(each, launching=replace(each.launching, boot_ms=0))
        for each in view.environments
        if each.launching is not None
    }
    queues = [
        replace(queue, environments=[at_once.get(each.arn, each) for each in queue.environments])
        for queue in view.queues
    ]
    environments = [at_once.get(each.arn, each) for each in view.environments]
    return replace(view, queues=queues, environments=environments)


def _candidates(state: State, job: Job, queue: Queue) -> Iterator[tuple[Change, int, int]]:
    """Yield each change worth a try, with a guess of its size, and the most that makes sense."""
    environments = [
        state.environments[arn] for arn in queue.environment_arns if arn in state.environments
    ]
    for environment in environments:
        if environment.state is ResourceState.DISABLED and environment.fault is None:
            yield Change(kind=ChangeKind.ENABLE_ENVIRONMENT, subject=environment.arn), 1, 1
    if job.nodes is None and not job.is_service:
        yield from _smaller_demands(state, job, environments)
    for environment in environments:
        if environment.is_unmanaged or environment.limits is not None:  # It has no maximum.
            continue
        change = Change(kind=ChangeKind.RAISE_MAX_VCPUS, subject=environment.arn)
        short = environment.used.cpu_milli + job.demand.cpu_milli - environment.cpu_milli_max
        yield change, max(1, -(-short // 1000)), _MAX_VCPUS_MAX
    yield from _larger_hosts(state, job)
    for need in job.needs:
        short = need.quantity - available_of(state.consumables, need.arn)
        if short > 0 and need.arn in state.consumables:
            change = Change(kind=ChangeKind.ADD_CONSUMABLE, subject=need.arn)
            yield change, short, 2 * need.quantity + state.consumables[need.arn].held
    yield from _other_orders(state, queue)
    yield from _other_places(state, job)


def _other_places(state: State, job: Job) -> Iterator[tuple[Change, int, int]]:
    """Think of another place in the line of the job's share: at the front of it, to begin with."""
    line = line_of(state, job)
    if line is None or (job.share_identifier is None and job.quota_share is None):
        return
    steps = steps_to_the_front(line, job.id, job.priority)
    if steps is None or job.priority >= SCHEDULING_PRIORITY_MAX:
        return
    most = min(steps, SCHEDULING_PRIORITY_MAX - job.priority)
    yield Change(kind=ChangeKind.RAISE_SCHEDULING_PRIORITY, subject=job.id), most, most


def _other_orders(state: State, queue: Queue) -> Iterator[tuple[Change, int, int]]:
    if queue.policy is not None and queue.policy.reservation_percent:
        percent = queue.policy.reservation_percent
        yield Change(kind=ChangeKind.LOWER_RESERVATION, subject=queue.arn), 1, percent
    above = [
        other.priority
        for other in state.queues.values()
        if other.priority >= queue.priority
        and other.arn != queue.arn
        and set(other.environment_arns) & set(queue.environment_arns)
    ]
    if above and queue.priority < QUEUE_PRIORITY_MAX:
        change = Change(kind=ChangeKind.RAISE_QUEUE_PRIORITY, subject=queue.arn)
        guess = min(above) - queue.priority + 1
        yield change, guess, QUEUE_PRIORITY_MAX - queue.priority


def _smaller_demands(
    state: State, job: Job, environments: list[Environment]
) -> Iterator[tuple[Change, int, int]]:
    is_fargate = all(each.kind.is_fargate for each in environments)
    unit_milli = 250 if is_fargate else 1000
    change = Change(kind=ChangeKind.ASK_FOR_LESS, subject=job.id, unit_milli=unit_milli)
    demand = job.demand
    free = [host.capacity - host.used for host in state.hosts.values()]
    free += [room for each in environments for room in each.ready]
    by_dimension = (
        (Dimension.VCPUS, (demand.cpu_milli - 1) // unit_milli, unit_milli,
         [demand.cpu_milli - each.cpu_milli for each in free]),
        (Dimension.MEMORY_MIB, demand.memory_mib - 1, 1,
         [demand.memory_mib - each.memory_mib for each in free]),
        (Dimension.GPUS, demand.gpu_count, 1,
         [demand.gpu_count - each.gpu_count for each in free]),
    )  # fmt: skip
    for dimension, most, unit, shorts in by_dimension:
        short = min((each for each in shorts if each > 0), default=unit)
        guess = min(max(1, -(-short // unit)), most)
        if most > 0:
            yield replace(change, dimension=dimension), guess, most


def _larger_hosts(state: State, job: Job) -> Iterator[tuple[Change, int, int]]:
    def room_on(host_id: HostId) -> tuple[int, int, int, str]:
        host = state.hosts[host_id]
        free = host.capacity - host.used
        return (-free.gpu_count, -free.cpu_milli, -free.memory_mib, host_id)

    for host_id in sorted(state.hosts, key=room_on)[:HOSTS_TRIED_MAX]:
        host = state.hosts[host_id]
        short = job.demand - (host.capacity - host.used)
        change = Change(kind=ChangeKind.ADD_CAPACITY, subject=host_id)
        for dimension, guess in (
            (Dimension.VCPUS, -(-short.cpu_milli // 1000)),
            (Dimension.MEMORY_MIB, short.memory_mib),
            (Dimension.GPUS, short.gpu_count if job.demand.gpu_count else 0),
        ):
            if dimension is not Dimension.GPUS or guess > 0:
                most = _CAPACITY_MAX[dimension]
                yield replace(change, dimension=dimension), max(1, guess), most


def _least(holds: Callable[[int], bool], guess: int, most: int) -> int | None:
    """Give the least number from 1 to `most` that holds, where its neighbour below does not.

    None: none was found. Beyond that neighbour there may be smaller ones that hold, if holding
    does not go on once it has begun.
    """
    guess = min(guess, most)
    if holds(guess):
        low, high = 0, guess
        if guess == 1 or not holds(guess - 1):
            return guess
        high = guess - 1
    else:
        low, high = guess, min(2 * guess, most)
        while not holds(high):
            if high == most:
                return None
            low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high
