"""The smallest changes with which a waiting job would start.

Decides which kinds of change are tried, and how the smallest of each is found: by letting a round
plan on the state as it would be (see `supposing`). So what is told is never a rule of thumb: the
job starts in the next round with the change, and with one unit less it does not. Refuses to know
why: see `explaining`.

Waiting for an instance that starts is not being kept: instances count as ready at once, those on
their way, too. A job asks for less only as far as AWS Batch would take it: whole vCPUs and any MiB,
or a size that Fargate has.

A guess from what is short comes first; where it is right, two rounds settle a kind. Nothing is
tried for jobs that many others stand before: only their end would help.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from msgspec.structs import replace

from batchyard.core.bookkeeping import line_of
from batchyard.core.consumables import available_of
from batchyard.core.state import Environment, Job, Queue, State
from batchyard.core.supposing import suppose
from batchyard.core.viewing import view_of
from batchyard.core.waiting_line import steps_to_the_front
from batchyard.model.amounts import Amount
from batchyard.model.explanation import Change, ChangeKind, Dimension
from batchyard.model.fargate_sizes import MEMORY_MIB_BY_CPU_MILLI
from batchyard.model.ids import HostId
from batchyard.model.instances import InstanceId
from batchyard.model.limits import MEMORY_MIB_MIN, QUEUE_PRIORITY_MAX, SCHEDULING_PRIORITY_MAX
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

#: In thousandths.
_VCPU = 1000
_FARGATE_UNIT_MILLI = 250

#: A change of some kind, a guess of its size, and the sizes that make sense, which rise.
Candidate = tuple[Change, int, Sequence[int]]


def find_changes(state: State, job: Job, now_ms: int) -> list[Change]:
    """Give the smallest change of each kind with which a RUNNABLE job starts in the next round.

    It must not be one of those that start as it is: see `starts_as_it_is`.
    """
    queue = state.queues.get(job.queue_arn)
    if queue is None:
        return []
    found = []
    for kind, guess, sizes in _candidates(state, job, queue):
        holds = partial(_starts_with, state, job, kind, now_ms)
        by = _least(holds, guess, sizes)
        if by is not None:
            found.append(replace(kind, by=by))
    return found


def starts_as_it_is(state: State, job: Job, now_ms: int) -> bool:
    """Tell whether a RUNNABLE job has its place in the next round, on an instance that starts."""
    return _starts_in(state, job, now_ms)


def _starts_with(state: State, job: Job, kind: Change, now_ms: int, by: int) -> bool:
    """Tell whether a job starts in the next round after `by` units of a change."""
    return _starts_in(suppose(state, replace(kind, by=by)), job, now_ms)


def _starts_in(state: State, job: Job, now_ms: int) -> bool:
    plan = plan_round(_without_boot(view_of(state, now_ms)))
    return any(each.job_id == job.id for each in plan.placements)


def _without_boot(view: View) -> View:
    """Let instances be ready at once: waiting for one that starts is not being kept."""
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


def _candidates(state: State, job: Job, queue: Queue) -> Iterator[Candidate]:
    """Yield each change worth a try."""
    environments = [
        state.environments[arn] for arn in queue.environment_arns if arn in state.environments
    ]
    for environment in environments:
        if environment.state is ResourceState.DISABLED and environment.fault is None:
            yield Change(kind=ChangeKind.ENABLE_ENVIRONMENT, subject=environment.arn), 1, (1,)
    if job.nodes is None and not job.is_service:
        yield from _smaller_demands(state, job, environments)
    for environment in environments:
        if environment.is_unmanaged or environment.limits is not None:  # It has no maximum.
            continue
        change = Change(kind=ChangeKind.RAISE_MAX_VCPUS, subject=environment.arn)
        short = environment.used.cpu_milli + job.demand.cpu_milli - environment.cpu_milli_max
        yield change, max(1, -(-short // 1000)), _up_to(_MAX_VCPUS_MAX)
    yield from _larger_hosts(state, job)
    for need in job.needs:
        short = need.quantity - available_of(state.consumables, need.arn)
        if short > 0 and need.arn in state.consumables:
            change = Change(kind=ChangeKind.ADD_CONSUMABLE, subject=need.arn)
            found = state.consumables[need.arn]
            yield change, short, _up_to(need.quantity + found.used_up + found.held)
    yield from _other_orders(state, queue)
    yield from _other_places(state, job)


def _other_places(state: State, job: Job) -> Iterator[Candidate]:
    """Think of another place in the line of the job's share: at the front of it, to begin with."""
    line = line_of(state, job)
    if line is None or (job.share_identifier is None and job.quota_share is None):
        return
    steps = steps_to_the_front(line, job.id, job.priority)
    if steps is None or job.priority >= SCHEDULING_PRIORITY_MAX:
        return
    most = min(steps, SCHEDULING_PRIORITY_MAX - job.priority)
    yield Change(kind=ChangeKind.RAISE_SCHEDULING_PRIORITY, subject=job.id), most, _up_to(most)


def _other_orders(state: State, queue: Queue) -> Iterator[Candidate]:
    if queue.policy is not None and queue.policy.reservation_percent:
        percent = queue.policy.reservation_percent
        yield Change(kind=ChangeKind.LOWER_RESERVATION, subject=queue.arn), 1, _up_to(percent)
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
        yield change, guess, _up_to(QUEUE_PRIORITY_MAX - queue.priority)


def _smaller_demands(
    state: State, job: Job, environments: list[Environment]
) -> Iterator[Candidate]:
    demand = job.demand
    free = [host.capacity - host.used for host in state.hosts.values()]
    free += [room for each in environments for room in each.ready]
    is_fargate = bool(environments) and all(each.kind.is_fargate for each in environments)
    is_fargate &= demand.memory_mib in MEMORY_MIB_BY_CPU_MILLI.get(demand.cpu_milli, ())
    unit_milli = _FARGATE_UNIT_MILLI if is_fargate else _VCPU
    change = Change(kind=ChangeKind.ASK_FOR_LESS, subject=job.id, unit_milli=unit_milli)
    vcpus, mib = _fargate_sizes(demand) if is_fargate else _sizes(demand)
    by_dimension = (
        (Dimension.VCPUS, vcpus, unit_milli,
         [demand.cpu_milli - each.cpu_milli for each in free]),
        (Dimension.MEMORY_MIB, mib, 1,
         [demand.memory_mib - each.memory_mib for each in free]),
        (Dimension.GPUS, _up_to(demand.gpu_count), 1,
         [demand.gpu_count - each.gpu_count for each in free]),
    )  # fmt: skip
    for dimension, sizes, unit, shorts in by_dimension:
        short = min((each for each in shorts if each > 0), default=unit)
        if sizes:
            yield replace(change, dimension=dimension), max(1, -(-short // unit)), sizes


def _sizes(demand: Amount) -> tuple[Sequence[int], Sequence[int]]:
    """Give by how many vCPUs, and by how many MiB, less a job may ask for."""
    return _up_to((demand.cpu_milli - 1) // _VCPU), _up_to(demand.memory_mib - MEMORY_MIB_MIN)


def _fargate_sizes(demand: Amount) -> tuple[Sequence[int], Sequence[int]]:
    """Do the same where only certain pairs of both may be asked for."""
    vcpus = [
        (demand.cpu_milli - cpu_milli) // _FARGATE_UNIT_MILLI
        for cpu_milli, sizes in MEMORY_MIB_BY_CPU_MILLI.items()
        if cpu_milli < demand.cpu_milli and demand.memory_mib in sizes
    ]
    sizes = MEMORY_MIB_BY_CPU_MILLI.get(demand.cpu_milli, ())
    mib = [demand.memory_mib - each for each in sizes if each < demand.memory_mib]
    return vcpus[::-1], mib[::-1]


def _larger_hosts(state: State, job: Job) -> Iterator[Candidate]:
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
                sizes = _up_to(_CAPACITY_MAX[dimension])
                yield replace(change, dimension=dimension), max(1, guess), sizes


def _up_to(most: int) -> Sequence[int]:
    return range(1, most + 1)


def _least(holds: Callable[[int], bool], guess: int, sizes: Sequence[int]) -> int | None:
    """Give the least of some rising sizes that holds, where its neighbour below does not.

    `sizes` must hold one or more. None: none was found. Beyond that neighbour there may be smaller
    ones that hold, if holding does not go on once it has begun.
    """
    last = len(sizes) - 1
    at = min(bisect_left(sizes, guess), last)
    if holds(sizes[at]):
        if at == 0 or not holds(sizes[at - 1]):
            return sizes[at]
        low, high = -1, at - 1
    else:
        low, high = at, min(2 * at + 1, last)
        while not holds(sizes[high]):
            if high == last:
                return None
            low, high = high, min(2 * high + 1, last)
    while high - low > 1:
        middle = (low + high) // 2
        if holds(sizes[middle]):
            high = middle
        else:
            low = middle
    return sizes[high]
