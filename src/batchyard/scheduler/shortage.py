"""What one compute environment lacks for one job, in numbers.

Decides which of the things that an environment could offer comes nearest, and what is missing
there. Refuses to know whose turn it is. Looks at each different room once, however many instances
have it; what it says is about a state in which nothing more can be placed.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from batchyard.model.amounts import Amount, gpus_text, mib_text, vcpus_text
from batchyard.model.capacity_use import NUM_INSTANCES
from batchyard.model.explanation import Cause, Reason
from batchyard.model.ids import HostId, name_in_arn
from batchyard.model.instances import InstanceType
from batchyard.scheduler.allocation import bid_percent_for, choices, may_exceed_max
from batchyard.scheduler.ledger import Ledger
from batchyard.scheduler.view import EnvironmentView, HostView, LaunchTerms, View, WaitingJob

#: In thousandths.
_VCPU = 1000
_PERCENT = 100
_MICRO = 1_000_000


def lacks_of(
    environment: EnvironmentView, job: WaitingJob, hosts: Sequence[HostView]
) -> list[Reason]:
    """Say why a job has no room in an environment that is VALID and ENABLED; empty: it has.

    Of a multi-node job, whose nodes all need room at once, the node is told of that asks for most.
    """
    demands = job.demands
    if environment.limits is not None:
        return _lacks_of_service(environment, environment.limits, job, hosts)
    total = sum(each.cpu_milli for each in demands)
    if total > environment.cpu_milli_max and not environment.is_unbounded:
        return [_above_max(environment, total)]
    largest = max(demands, key=lambda each: (each.gpu_count, each.cpu_milli, each.memory_mib))
    if environment.has_instances:
        short = environment.cpu_milli_used + total - environment.cpu_milli_max
        if environment.launching is not None and environment.launching.is_above_max and short > 0:
            return [_max_in_use(environment, total, environment.cpu_milli_used, short)]
        return _lacks_of_instances(environment, largest, hosts)
    found = []
    short = environment.cpu_milli_used + total - environment.cpu_milli_max
    if short > 0:
        found.append(_max_in_use(environment, total, environment.cpu_milli_used, short))
    miss = _miss_on_hosts(largest, hosts, "the job")
    return [*found, miss] if miss is not None else found


def lack_of_nodes(
    environment: EnvironmentView, job: WaitingJob, hosts: Sequence[HostView]
) -> Reason | None:
    """Say for how many nodes of a job there is room, which all need it at once; None: for all.

    Looks at every instance with room.
    """
    name, count = name_in_arn(environment.arn), len(job.demands)
    on_any = dict.fromkeys(
        (each for rooms in (environment.ready, environment.starting)
         for group in rooms.values() for each in group),
        hosts[0].host_id if hosts else HostId(""),
    )  # fmt: skip
    view = View(queues=(), hosts=hosts, environments=(environment,), host_by_instance=on_any)

    def has_no_room(nodes: int) -> bool:
        some = replace(job, node_demands=job.demands[:nodes])
        return Ledger(view).take(environment, some) is None

    room = bisect_left(range(1, count + 1), True, key=has_no_room)
    if room == count:
        return None
    return Reason(
        cause=Cause.CAPACITY,
        text=f"{name} has room for {room} of the {count} nodes, which start together.",
        subject=environment.arn,
        numbers={"asked_nodes": count, "free_nodes": room, "short_nodes": count - room},
    )


def _lacks_of_service(
    environment: EnvironmentView,
    limits: Mapping[str, int],
    job: WaitingJob,
    hosts: Sequence[HostView],
) -> list[Reason]:
    name = name_in_arn(environment.arn)
    used = environment.instances_used
    found = []
    for unit, asked in _by_unit(job.instances, limits).items():
        held = sum(used.values()) if unit == NUM_INSTANCES else used.get(unit, 0)
        most = limits.get(unit, 0)
        short = held + asked - most
        if short <= 0:
            continue
        is_never = asked > most
        found.append(
            Reason(
                cause=Cause.NEVER_FITS if is_never else Cause.CAPACITY,
                text=f"{name} uses {held} of {most} {unit}; asked {asked}: short by {short}.",
                subject=environment.arn,
                numbers={"asked": asked, "used": held, "max": most, "short": short},
            )
        )
    largest = max(job.demands, key=lambda each: (each.gpu_count, each.cpu_milli, each.memory_mib))
    miss = _miss_on_hosts(largest, hosts, "the job")
    return found if miss is None or found else [miss]


def _by_unit(instances: Mapping[str, int], limits: Mapping[str, int]) -> Mapping[str, int]:
    """Count what a job takes in the units of an environment."""
    return {NUM_INSTANCES: sum(instances.values())} if NUM_INSTANCES in limits else instances


def nearest(demand: Amount, rooms: Iterable[Amount]) -> Amount | None:
    """Give the room that lacks least of a demand: in fewest dimensions, then in the smallest part.

    None: there is no room at all, not even an empty one.
    """
    return min(rooms, key=lambda room: _miss_of(demand, room), default=None)


def _lacks_of_instances(
    environment: EnvironmentView, demand: Amount, hosts: Sequence[HostView]
) -> list[Reason]:
    if any(demand.fits_in(room) for room in environment.ready):
        return []
    if any(demand.fits_in(room) for room in environment.starting):
        text = f"An instance with room for it is starting in {name_in_arn(environment.arn)}."
        return [Reason(cause=Cause.INSTANCE_STARTING, text=text, subject=environment.arn)]
    terms = environment.launching
    if terms is not None and not any(demand.fits_in(kind.capacity) for kind in terms.types):
        return [_above_types(environment, terms.types, demand)]
    miss = _miss_on_instances(environment, demand)
    found = [] if miss is None else [miss]
    if terms is None:
        if not found:
            found = [_nothing_registered(environment, demand)]
        return found
    of_launch = _lacks_of_launch(environment, terms, demand, hosts)
    return [*found, *of_launch] if of_launch else []


def _nothing_registered(environment: EnvironmentView, demand: Amount) -> Reason:
    """Say that no instance that somebody registered has any room."""
    return Reason(
        cause=Cause.CAPACITY,
        text=(
            f"Asked {demand.text()}; no instance with room is registered with"
            f" {name_in_arn(environment.arn)}."
        ),
        subject=environment.arn,
        numbers={f"asked_{name}": asked for name, asked, _ in _dimensions(demand, Amount())},
    )


def _lacks_of_launch(
    environment: EnvironmentView, terms: LaunchTerms, demand: Amount, hosts: Sequence[HostView]
) -> list[Reason]:
    """Say why no instance is launched for a demand."""
    fitting = choices(terms.strategy, terms.types, demand, lambda _kind: 0)
    if not fitting:
        return [_too_dear(environment, terms, demand)]
    smallest = min(fitting, key=lambda each: each.capacity.cpu_milli)
    needed = smallest.capacity.cpu_milli
    if may_exceed_max(terms.strategy, is_spot=terms.is_spot):
        needed = min(needed, _VCPU)  # One vCPU below the maximum lets any type be launched.
    elif needed > environment.cpu_milli_max:
        return [_above_max(environment, needed, f"{smallest.name}, the smallest that fits,")]
    short = terms.cpu_milli_launched + needed - environment.cpu_milli_max
    if short > 0:
        return [_max_in_use(environment, needed, terms.cpu_milli_launched, short)]
    miss = _miss_on_hosts(smallest.capacity, hosts, f"another {smallest.name}")
    return [] if miss is None else [miss]


def _too_dear(environment: EnvironmentView, terms: LaunchTerms, demand: Amount) -> Reason:
    """Say that Spot capacity is there, but not at a price that the environment pays."""
    name = name_in_arn(environment.arn)
    fitting = [each for each in terms.types if demand.fits_in(each.capacity)]
    bids = [(bid, each) for each in fitting if (bid := bid_percent_for(each)) is not None]
    if not bids:
        text = f"There is no Spot capacity of any instance type of {name} that the job fits."
        return Reason(cause=Cause.CAPACITY, text=text, subject=environment.arn)
    needed, kind = min(bids, key=lambda each: (each[0], each[1].name))
    ours = terms.bid_percent or _PERCENT
    spot, on_demand = kind.price_micro or 0, kind.on_demand_micro or 1
    text = (
        f"Spot capacity of {kind.name}, the least dear that the job fits, costs"
        f" {spot / _MICRO:.4g} USD an hour, {spot * _PERCENT / on_demand:.4g} percent of the"
        f" {on_demand / _MICRO:.4g} USD on demand; {name} pays less than {ours} percent"
        f" (bidPercentage): {_what_would_do(needed)}."
    )
    numbers = {
        "spot_price_micro": spot,
        "on_demand_price_micro": on_demand,
        "bid_percent": ours,
        "needed_bid_percent": needed,
        "short_bid_percent": needed - ours,
    }
    return Reason(cause=Cause.CAPACITY, text=text, subject=environment.arn, numbers=numbers)


def _what_would_do(needed_percent: int) -> str:
    if needed_percent > _PERCENT:
        return "none would do, for it costs no less than on demand"
    return f"{needed_percent} would do"


def _above_max(environment: EnvironmentView, asked: int, what: str = "") -> Reason:
    """Say that `maxvCpus` keeps a job out, or the smallest instance that it fits."""
    most = environment.cpu_milli_max
    who = f"Instance type {what} has" if what else "Asked"
    text = (
        f"{who} {vcpus_text(asked)}; {name_in_arn(environment.arn)} has maxvCpus"
        f" {vcpus_text(most)}: short by {vcpus_text(asked - most)}."
    )
    numbers = {"asked_cpu_milli": asked, "max_cpu_milli": most, "short_cpu_milli": asked - most}
    return Reason(cause=Cause.NEVER_FITS, text=text, subject=environment.arn, numbers=numbers)


def _max_in_use(environment: EnvironmentView, asked: int, used: int, short: int) -> Reason:
    most = environment.cpu_milli_max
    text = (
        f"{name_in_arn(environment.arn)} uses {vcpus_text(used)} of maxvCpus"
        f" {vcpus_text(most)}: short by {vcpus_text(short)}."
    )
    numbers = {
        "asked_cpu_milli": asked,
        "used_cpu_milli": used,
        "max_cpu_milli": most,
        "short_cpu_milli": short,
    }
    return Reason(cause=Cause.MAX_VCPUS, text=text, subject=environment.arn, numbers=numbers)


def _above_types(
    environment: EnvironmentView, types: Sequence[InstanceType], demand: Amount
) -> Reason:
    largest = nearest(demand, (each.capacity for each in types)) or Amount()
    names = [each.name for each in types if each.capacity == largest]
    what = f"the nearest instance type, {names[0]}," if names else "no instance type"
    name = name_in_arn(environment.arn)
    return Reason(
        cause=Cause.NEVER_FITS,
        text=_text_of_miss(demand, largest, f"{what} of {name}"),
        subject=environment.arn,
        numbers=_numbers_of_miss(demand, largest),
    )


def _miss_on_instances(environment: EnvironmentView, demand: Amount) -> Reason | None:
    room = nearest(demand, environment.ready)
    if room is None:
        return None
    name = name_in_arn(environment.arn)
    what = f"the nearest of the instances with room in {name}"
    return Reason(
        cause=Cause.CAPACITY,
        text=_text_of_miss(demand, room, what, is_free=True),
        subject=environment.arn,
        numbers=_numbers_of_miss(demand, room),
    )


def _miss_on_hosts(demand: Amount, hosts: Sequence[HostView], who: str) -> Reason | None:
    """Say what machines lack; None: one has room."""
    free = [host.capacity - host.used for host in hosts]
    if any(demand.fits_in(each) for each in free):
        return None
    can_ever = any(demand.fits_in(host.capacity) for host in hosts)
    rooms = free if can_ever else [host.capacity for host in hosts]
    room = nearest(demand, rooms) or Amount()
    count = f"the freest of {len(hosts)} machines" if len(hosts) > 1 else "the machine"
    what = count if can_ever else f"{count}, even when empty,"
    return Reason(
        cause=Cause.CAPACITY if can_ever else Cause.NEVER_FITS,
        text=_text_of_miss(demand, room, what, who, is_free=can_ever),
        numbers=_numbers_of_miss(demand, room),
    )


def _miss_of(demand: Amount, room: Amount) -> tuple[int, int]:
    """Give how many dimensions are short, and by how many millionths of the demand in all."""
    shorts = [(asked, asked - has) for _, asked, has in _dimensions(demand, room) if asked > has]
    return len(shorts), sum(short * 1_000_000 // asked for asked, short in shorts)


def _dimensions(demand: Amount, room: Amount) -> tuple[tuple[str, int, int], ...]:
    return (
        ("cpu_milli", demand.cpu_milli, room.cpu_milli),
        ("memory_mib", demand.memory_mib, room.memory_mib),
        ("gpu_count", demand.gpu_count, room.gpu_count),
    )


def _numbers_of_miss(demand: Amount, room: Amount) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for name, asked, has in _dimensions(demand, room):
        if asked > has:
            numbers |= {f"asked_{name}": asked, f"free_{name}": has, f"short_{name}": asked - has}
    return numbers


def _text_of_miss(
    demand: Amount, room: Amount, what: str, who: str = "the job", *, is_free: bool = False
) -> str:
    free = " free" if is_free else ""
    parts = [
        f"asked {_quantity(name, asked)}; {what} has {_quantity(name, has)}{free}; short by"
        f" {_quantity(name, asked - has)}"
        for name, asked, has in _dimensions(demand, room)
        if asked > has
    ]
    text = ", and ".join(parts)
    if who != "the job":
        return f"For {who}: {text}."
    return f"{text[:1].upper()}{text[1:]}."


def _quantity(name: str, amount: int) -> str:
    match name:
        case "cpu_milli":
            return vcpus_text(amount)
        case "memory_mib":
            return mib_text(amount)
        case _:
            return gpus_text(amount)
