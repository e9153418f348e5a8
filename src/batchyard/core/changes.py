"""The smallest changes with which a waiting job would start.

Decides which kinds of change are tried, and how the smallest of each is found: by letting a round
plan on the state as it would be (see `supposing`). So what is told is never a rule of thumb: the
job starts in the next round with the change, and with one unit less it does not. Refuses to know
why: see `explaining`.

A job asks for less only as far as AWS Batch would take it: whole vCPUs and any MiB,
or a size that Fargate has. A child asks for less with its whole array, so only while no other child
of it runs: what those hold would have been less, too, and elsewhere.

The nodes of a multi-node job ask for less all alike.

What those lack that stand before the job counts as what it lacks itself: it starts once they have.

A guess from what is short comes first; where it is right, two rounds settle a kind. Nothing is
tried for jobs that many others stand before: only their end would help.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from msgspec.structs import replace

from batchyard.core.array import CODE_BY_STATUS
from batchyard.core.bookkeeping import line_of
from batchyard.core.consumables import available_of
from batchyard.core.quota_books import counted_use
from batchyard.core.state import Environment, Host, Job, Queue, State
from batchyard.core.supposing import suppose
from batchyard.core.trying import Tried, try_next_round
from batchyard.core.viewing import has_waiting
from batchyard.core.waiting_line import steps_to_the_front
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import NUM_INSTANCES, count_instances
from batchyard.model.environment_faults import may_be_repaired
from batchyard.model.explanation import Change, ChangeKind, Dimension
from batchyard.model.fargate_sizes import MEMORY_MIB_BY_CPU_MILLI
from batchyard.model.ids import ConsumableArn, HostId, quota_share_arn_in
from batchyard.model.limits import MEMORY_MIB_MIN, QUEUE_PRIORITY_MAX, SCHEDULING_PRIORITY_MAX
from batchyard.model.status import JobStatus, ResourceState
from batchyard.scheduler.allocation import too_dear

#: Ours: at most so many machines are thought of as larger, those with most room first.
HOSTS_TRIED_MAX = 4
#: Ours: beyond any machine: vCPUs, MiB and GPUs.
_CAPACITY_MAX = {
    Dimension.VCPUS: 1 << 12,
    Dimension.MEMORY_MIB: 1 << 26,
    Dimension.GPUS: 1 << 6,
}
_MAX_VCPUS_MAX = 1 << 16
#: AWS's.
_BID_PERCENT_MAX = 100
#: Of limits by capacity unit: vCPUs, MiB, GPUs, instances.
_LIMIT_MAX = 1 << 26

#: What has such a status holds capacity.
_ON_MACHINES = (JobStatus.STARTING, JobStatus.RUNNING)

#: Of several changes: what brings no room, which others would take before the rest is made.
_MADE_FIRST = (
    ChangeKind.ASK_FOR_LESS,
    ChangeKind.ADD_CONSUMABLE,
    ChangeKind.RAISE_QUEUE_PRIORITY,
    ChangeKind.RAISE_SCHEDULING_PRIORITY,
)

#: Of these too much may help others first, so just enough for the job itself is tried, too.
_ALSO_FOR_OTHERS = (
    ChangeKind.RAISE_MAX_VCPUS,
    ChangeKind.ADD_CAPACITY,
    ChangeKind.ADD_CONSUMABLE,
    ChangeKind.RAISE_CAPACITY_LIMIT,
)

#: In thousandths.
_VCPU = 1000
_FARGATE_UNIT_MILLI = 250

#: A change of some kind; a guess of its size, from what is placed before the job with the most of
#: it; and the sizes that make sense, which rise.
Candidate = tuple[Change, Callable[[Amount], int], Sequence[int]]


def find_changes(state: State, job: Job, ahead: Sequence[Job], now_ms: int) -> list[Change]:
    """Give the smallest change of each kind with which a RUNNABLE job starts in the next round.

    It must not be one of those that start as it is. `ahead`: who stands before it in its line.
    """
    found: list[Change] = []
    for kind, guess, sizes in _candidates(state, job, ahead):
        if any(replace(each, by=kind.by, size=kind.size) == kind for each in found):
            continue  # Smaller instances would do.

        def with_(by: int, kind: Change = kind) -> Tried:
            return _try_with(state, job, [replace(kind, by=by)], now_ms)

        most = with_(sizes[-1])
        if most.starts:
            found.append(replace(kind, by=_least(with_, guess(most.before), sizes)))
        elif kind.kind in _ALSO_FOR_OTHERS:
            few = sizes[: bisect_left(sizes, guess(Amount())) + 1]
            if with_(few[-1]).starts:
                found.append(replace(kind, by=_least(with_, few[-1], few)))
    return found


def find_together(state: State, job: Job, ahead: Sequence[Job], now_ms: int) -> list[Change]:
    """Give changes that start a RUNNABLE job together, where none does alone; empty: none found.

    Each is needed, and with one unit less of any of them the job does not start. They come in an
    order in which they may be made one by one, with rounds between.
    """
    rest = [
        (kind, guess, sizes)
        for kind, guess, sizes in _candidates(state, job, ahead)
        # Amounts that Fargate has depend on each other.
        if kind.kind is not ChangeKind.ASK_FOR_LESS or kind.unit_milli == _VCPU
    ]
    most = [replace(kind, by=sizes[-1]) for kind, _, sizes in rest]
    tried = _try_with(state, job, most, now_ms)
    if not tried.starts:
        return []
    for at in reversed(range(len(most))):  # What is thought of last is given up first.
        without = _try_with(state, job, most[:at] + most[at + 1 :], now_ms)
        if without.starts:
            tried = without
            del rest[at], most[at]
    rest.sort(key=lambda each: _place_of(each[0]))
    return _least_together(
        lambda changes: _try_with(state, job, changes, now_ms),
        [(kind, guess(tried.before), sizes) for kind, guess, sizes in rest],
    )


def _least_together(
    with_all: Callable[[Sequence[Change]], Tried], rest: Sequence[tuple[Change, int, Sequence[int]]]
) -> list[Change]:
    """Give the least of each of some changes beside the others, of which the most helps.

    With less of one the others may be less, too: with fewer licenses fewer others take the room.
    """
    found = [replace(kind, by=sizes[-1]) for kind, _, sizes in rest]
    is_first = True
    while True:
        before = list(found)
        for at, (kind, guess, sizes) in enumerate(rest):

            def with_(by: int, at: int = at, kind: Change = kind) -> Tried:
                return with_all([*found[:at], replace(kind, by=by), *found[at + 1 :]])

            by = found[at].by
            smaller = sizes[: sizes.index(by) + 1]
            found[at] = replace(kind, by=_least(with_, guess if is_first else by, smaller))
        if found == before:
            return found
        is_first = False


def _try_with(state: State, job: Job, changes: Sequence[Change], now_ms: int) -> Tried:
    """Tell what a round would do with a job after all of some changes."""
    for each in sorted(changes, key=_place_of):
        state = suppose(state, each)
    return try_next_round(state, job, now_ms)


def _place_of(change: Change) -> int:
    """Say in which place of several changes one is made: instances need room on a machine."""
    if change.kind in _MADE_FIRST:
        return 0
    return 1 if change.kind is ChangeKind.ADD_CAPACITY else 2


def _candidates(state: State, job: Job, ahead: Sequence[Job]) -> Iterator[Candidate]:
    """Yield each change worth a try."""
    line = [*ahead, job]
    queue = state.queues.get(job.queue_arn)
    if queue is None:
        return
    environments = [
        state.environments[arn] for arn in queue.environment_arns if arn in state.environments
    ]
    yield from _usable_environments(environments)
    if not job.is_service and not _has_running_siblings(job):
        yield from _smaller_demands(state, job, environments)
    for environment in environments:
        if environment.is_unmanaged or environment.limits is not None:  # It has no maximum.
            continue
        change = Change(kind=ChangeKind.RAISE_MAX_VCPUS, subject=environment.arn)
        yield change, partial(_vcpus_short, environment, job), _up_to(_MAX_VCPUS_MAX)
    yield from _other_purchases(line, environments)
    yield from _other_limits(queue, line, environments)
    yield from _larger_hosts(state, line)
    yield from _more_consumables(state, line)
    yield from _other_orders(state, queue)
    yield from _other_places(state, job)


def _usable_environments(environments: Sequence[Environment]) -> Iterator[Candidate]:
    """Think of environments that are DISABLED as ENABLED, and of INVALID ones as repaired."""
    for environment in environments:
        if environment.state is ResourceState.DISABLED:
            yield Change(kind=ChangeKind.ENABLE_ENVIRONMENT, subject=environment.arn), _one, (1,)
        settings, fault = environment.launching, environment.fault
        is_replaceable = settings is not None and settings.is_replaceable
        if fault is not None and may_be_repaired(fault, is_replaceable=is_replaceable):
            yield Change(kind=ChangeKind.REPAIR_ENVIRONMENT, subject=environment.arn), _one, (1,)


def _vcpus_short(environment: Environment, job: Job, before: Amount) -> int:
    asked = before.cpu_milli + job.demand.cpu_milli
    return -(-(environment.used.cpu_milli + asked - environment.cpu_milli_max) // _VCPU)


def _more_consumables(state: State, line: Sequence[Job]) -> Iterator[Candidate]:
    """Think of more of each resource of which there is not enough for all in a line."""
    asked: Counter[ConsumableArn] = Counter()
    for each in line:
        for need in each.needs:
            asked[need.arn] += need.quantity
    for arn, quantity in asked.items():
        short = quantity - available_of(state.consumables, arn)
        if short > 0 and arn in state.consumables:
            change = Change(kind=ChangeKind.ADD_CONSUMABLE, subject=arn)
            yield change, partial(_constant, short), _up_to(_LIMIT_MAX)


def _other_limits(
    queue: Queue, line: Sequence[Job], environments: Sequence[Environment]
) -> Iterator[Candidate]:
    """Think of instances that somebody registers, and of limits by capacity unit."""
    *_, job = line
    for environment in environments:
        if environment.is_unmanaged:
            yield from _registered(environment, line)
        if environment.limits is not None:
            change = Change(kind=ChangeKind.RAISE_CAPACITY_LIMIT, subject=environment.arn)
            units = (
                [NUM_INSTANCES]
                if NUM_INSTANCES in environment.limits
                else dict.fromkeys(unit for each in line for unit in _instances_of(each))
            )
            for unit in units:
                yield replace(change, unit=unit), _one, _up_to(_LIMIT_MAX)
    if job.quota_share is not None:
        arn = quota_share_arn_in(queue.arn, job.quota_share)
        change = Change(kind=ChangeKind.RAISE_QUOTA, subject=arn)
        for unit in dict.fromkeys(unit for each in line for unit in counted_use(queue, each.use)):
            yield replace(change, unit=unit), _one, _up_to(_LIMIT_MAX)


def _instances_of(job: Job) -> Iterable[str]:
    return count_instances(job.capacity_use)


def _registered(environment: Environment, line: Sequence[Job]) -> Iterator[Candidate]:
    """Think of instances as large as the job asks for, then as anybody does that is before it."""
    *_, job = line
    own, all_demands = _demands_of(job), [each for job in line for each in _demands_of(job)]
    change = Change(kind=ChangeKind.REGISTER_INSTANCE, subject=environment.arn)
    for size in dict.fromkeys((_size_for(own), _size_for(all_demands))):
        yield replace(change, size=size), _one, _up_to(len(all_demands))


def _demands_of(job: Job) -> Sequence[Amount]:
    return [job.demand] if job.nodes is None else job.nodes.demands


def _other_purchases(
    line: Sequence[Job], environments: Sequence[Environment]
) -> Iterator[Candidate]:
    """Think of paying more, where Spot capacity is too dear and instances may be replaced."""
    demands = dict.fromkeys(demand for each in line for demand in _demands_of(each))
    for environment in environments:
        settings = environment.launching
        if settings is None or settings.bid_percent is None or not settings.is_replaceable:
            continue
        if not any(too_dear(settings.types, demand) for demand in demands):
            continue
        above = _BID_PERCENT_MAX - settings.bid_percent
        if above > 0:
            yield Change(kind=ChangeKind.RAISE_BID, subject=environment.arn), _one, _up_to(above)
        yield Change(kind=ChangeKind.BUY_ON_DEMAND, subject=environment.arn), _one, (1,)


def _size_for(demands: Sequence[Amount]) -> Amount:
    """Give the smallest instance that may be registered and has room for each of some demands."""
    return Amount(
        cpu_milli=max(-(-each.cpu_milli // _VCPU) * _VCPU for each in demands),
        memory_mib=max(MEMORY_MIB_MIN, *(each.memory_mib for each in demands)),
        gpu_count=max(each.gpu_count for each in demands),
    )


def _other_places(state: State, job: Job) -> Iterator[Candidate]:
    """Think of another place in the line of the job's share: at the front of it, to begin with."""
    line = line_of(state, job)
    if line is None or (job.share_identifier is None and job.quota_share is None):
        return
    steps = steps_to_the_front(line, job.id, job.priority)
    if steps is None or job.priority >= SCHEDULING_PRIORITY_MAX:
        return
    most = min(steps, SCHEDULING_PRIORITY_MAX - job.priority)
    yield (
        Change(kind=ChangeKind.RAISE_SCHEDULING_PRIORITY, subject=job.id),
        partial(_constant, most),
        _up_to(most),
    )


def _other_orders(state: State, queue: Queue) -> Iterator[Candidate]:
    if queue.policy is not None and queue.policy.reservation_percent:
        percent = queue.policy.reservation_percent
        yield Change(kind=ChangeKind.LOWER_RESERVATION, subject=queue.arn), _one, _up_to(percent)
    above = [
        other.priority
        for other in state.queues.values()
        if other.priority >= queue.priority and other.arn != queue.arn and has_waiting(other)
    ]
    if above and queue.priority < QUEUE_PRIORITY_MAX:
        change = Change(kind=ChangeKind.RAISE_QUEUE_PRIORITY, subject=queue.arn)
        guess = min(above) - queue.priority + 1
        yield change, partial(_constant, guess), _up_to(QUEUE_PRIORITY_MAX - queue.priority)


def _has_running_siblings(job: Job) -> bool:
    array = None if job.parent is None else job.parent.array
    return array is not None and any(CODE_BY_STATUS[each] in array.codes for each in _ON_MACHINES)


def _smaller_demands(
    state: State, job: Job, environments: list[Environment]
) -> Iterator[Candidate]:
    demand = _smallest_of(_demands_of(job))
    free = [host.capacity - host.used for host in state.hosts.values()]
    free += [room for each in environments for room in each.ready]
    is_fargate = bool(environments) and all(each.kind.is_fargate for each in environments)
    is_fargate &= demand.memory_mib in MEMORY_MIB_BY_CPU_MILLI.get(demand.cpu_milli, ())
    unit_milli = _FARGATE_UNIT_MILLI if is_fargate else _VCPU
    change = Change(
        kind=ChangeKind.ASK_FOR_LESS,
        subject=job.id,
        unit_milli=unit_milli,
        is_per_node=job.nodes is not None,
    )
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
            guess = partial(_constant, -(-short // unit))
            yield replace(change, dimension=dimension), guess, sizes


def _smallest_of(demands: Sequence[Amount]) -> Amount:
    """Give what each of some demands asks for at least."""
    return Amount(
        cpu_milli=min(each.cpu_milli for each in demands),
        memory_mib=min(each.memory_mib for each in demands),
        gpu_count=min(each.gpu_count for each in demands),
    )


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


def _larger_hosts(state: State, line: Sequence[Job]) -> Iterator[Candidate]:
    *_, job = line
    wants_gpus = any(each.demand.gpu_count for each in line)

    def room_on(host_id: HostId) -> tuple[int, int, int, str]:
        host = state.hosts[host_id]
        free = host.capacity - host.used
        return (-free.gpu_count, -free.cpu_milli, -free.memory_mib, host_id)

    for host_id in sorted(state.hosts, key=room_on)[:HOSTS_TRIED_MAX]:
        change = Change(kind=ChangeKind.ADD_CAPACITY, subject=host_id)
        for dimension, most in _CAPACITY_MAX.items():
            if dimension is not Dimension.GPUS or wants_gpus:
                sized = replace(change, dimension=dimension)
                guess = partial(_short_on, state.hosts[host_id], job, dimension)
                yield sized, guess, _up_to(most)


def _short_on(host: Host, job: Job, dimension: Dimension, before: Amount) -> int:
    short = before + job.demand - (host.capacity - host.used)
    match dimension:
        case Dimension.VCPUS:
            return -(-short.cpu_milli // _VCPU)
        case Dimension.MEMORY_MIB:
            return short.memory_mib
        case Dimension.GPUS:
            return short.gpu_count


def _constant(guess: int, _before: Amount) -> int:
    return guess


def _one(_before: Amount) -> int:
    return 1


def _up_to(most: int) -> Sequence[int]:
    return range(1, most + 1)


def _least(with_: Callable[[int], Tried], guess: int, sizes: Sequence[int]) -> int:
    """Give the least of some rising sizes that helps, where its neighbour below does not.

    The last of them is known to help. Beyond that neighbour there may be smaller ones that help, if
    helping does not go on once it has begun.
    """
    last = len(sizes) - 1
    at, step = min(bisect_left(sizes, guess), last), 1
    if at == last or with_(sizes[at]).starts:
        low, high = at - 1, at
        while low >= 0 and with_(sizes[low]).starts:
            step *= 2
            low, high = max(-1, low - step), low
    else:
        low, high = at, min(at + step, last)
        while high != last and not with_(sizes[high]).starts:
            step *= 2
            low, high = high, min(high + step, last)
    while high - low > 1:
        middle = (low + high) // 2
        if with_(sizes[middle]).starts:
            high = middle
        else:
            low = middle
    return sizes[high]
