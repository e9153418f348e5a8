"""The state as it would be, had one thing been otherwise.

Owns what each change means for the state. Refuses to know what would come of it: ask a round. What
comes back shares everything but what was changed with the state, which stays as it is; it is for
reading, and good for as long as the state does not change. Costs O(hosts + environments + queues).
"""

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import replace as changed
from typing import cast

from msgspec.structs import replace

from batchyard.core.bookkeeping import line_of
from batchyard.core.consumables import Consumable
from batchyard.core.remembered import Remembered
from batchyard.core.state import Environment, Instance, Job, Queue, State
from batchyard.core.waiting_line import MovedLine
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import MILLI, added, use_of_demand
from batchyard.model.explanation import Change, ChangeKind, Dimension
from batchyard.model.ids import (
    ConsumableArn,
    EnvironmentArn,
    HostId,
    JobId,
    QueueArn,
    QuotaShareArn,
    split_quota_share_arn,
)
from batchyard.model.instances import AllocationStrategy, InstanceId, LaunchSettings
from batchyard.model.records import InstanceRecord
from batchyard.model.status import ResourceState
from batchyard.scheduler.allocation import at_bid, on_demand
from batchyard.scheduler.rooms import RoomGroups


def suppose(state: State, change: Change) -> State:
    """Give the state with the change in it."""
    other = copy(state)
    other.remembered = Remembered()
    _MADE_BY_KIND[change.kind](other, change)
    return other


def amount_of(change: Change) -> Amount:
    """Give what a change adds, or asks for less."""
    match change.dimension:
        case Dimension.VCPUS:
            return Amount(cpu_milli=change.by * change.unit_milli)
        case Dimension.MEMORY_MIB:
            return Amount(memory_mib=change.by)
        case Dimension.GPUS:
            return Amount(gpu_count=change.by)
        case None:
            return Amount()


def _raise_max_vcpus(state: State, change: Change) -> None:
    environment = state.environments[EnvironmentArn(change.subject)]
    most = environment.cpu_milli_max + change.by * change.unit_milli
    _put_environment(state, changed(environment, cpu_milli_max=most))


def _enable_environment(state: State, change: Change) -> None:
    environment = state.environments[EnvironmentArn(change.subject)]
    _put_environment(state, changed(environment, state=ResourceState.ENABLED))


def _repair_environment(state: State, change: Change) -> None:
    environment = state.environments[EnvironmentArn(change.subject)]
    _put_environment(state, changed(environment, fault=None))


def _raise_capacity_limit(state: State, change: Change) -> None:
    environment = state.environments[EnvironmentArn(change.subject)]
    limits = added(environment.limits or {}, {change.unit: change.by})
    _put_environment(state, changed(environment, limits=limits))


def _put_environment(state: State, environment: Environment) -> None:
    state.environments = state.environments | {environment.arn: environment}


def _add_capacity(state: State, change: Change) -> None:
    host = state.hosts[HostId(change.subject)]
    larger = changed(host, capacity=host.capacity + amount_of(change))
    state.hosts = state.hosts | {host.id: larger}


def _raise_queue_priority(state: State, change: Change) -> None:
    queue = state.queues[QueueArn(change.subject)]
    _put_queue(state, changed(queue, priority=queue.priority + change.by))


def _lower_reservation(state: State, change: Change) -> None:
    queue = state.queues[QueueArn(change.subject)]
    assert queue.policy is not None, queue.arn
    percent = queue.policy.reservation_percent - change.by
    other = replace(queue.policy, reservation_percent=percent)
    for each in state.queues.values():
        if each.policy_arn == queue.policy_arn:  # A policy is the same for all its queues.
            _put_queue(state, changed(each, policy=other))


def _put_queue(state: State, queue: Queue) -> None:
    state.queues = state.queues | {queue.arn: queue}


def _ask_for_less(state: State, change: Change) -> None:
    """A child asks for what its array asks for: so do those of its siblings that go before it."""
    job_id, less = JobId(change.subject), amount_of(change)
    job = state.find(job_id)
    assert job is not None, job_id
    asking = _with_its_array(state, job)
    if job.parent is not None:
        asking += _siblings_before(state, job)
    others = {each.id: _asking_for_less(each, less) for each in asking}
    state.jobs = cast("dict[JobId, Job]", ChainMap(others, state.jobs))


def _with_its_array(state: State, job: Job) -> list[Job]:
    """Give a job with its array as that is now: an earlier change may have replaced it."""
    return [job] if job.parent is None else [job, state.jobs[job.parent.id]]


def _siblings_before(state: State, job: Job) -> Iterator[Job]:
    """Give the children with stories of their own that stand before one of their array."""
    line = line_of(state, job)
    for each_id in () if line is None else line:
        if each_id == job.id:
            return
        each = state.jobs.get(each_id)
        if each is not None and each.parent is job.parent:
            yield each


def _raise_priority(state: State, change: Change) -> None:
    """Let a job, with its array, stand elsewhere in the line of its share."""
    job_id, by = JobId(change.subject), change.by
    job = state.find(job_id)
    assert job is not None, job_id
    line = line_of(state, job)
    assert line is not None, job_id
    moved = MovedLine(line, job_id, by=by)
    queue = state.queues[job.queue_arn]
    if job.quota_share is not None:
        assert queue.quota_shares is not None, queue.arn
        quota_share = changed(queue.quota_shares[job.quota_share], line=moved)
        other = changed(queue, quota_shares=queue.quota_shares | {job.quota_share: quota_share})
    else:
        assert job.share_identifier is not None, job_id
        share = changed(queue.shares[job.share_identifier], line=moved)
        other = changed(queue, shares=queue.shares | {job.share_identifier: share})
    _put_queue(state, other)
    asking = _with_its_array(state, job)
    others = {each.id: changed(each, priority=each.priority + by) for each in asking}
    state.jobs = cast("dict[JobId, Job]", ChainMap(others, state.jobs))


def _asking_for_less(job: Job, less: Amount) -> Job:
    """Let a job, and each of its nodes, ask for less.

    What it uses of a quota share follows from that.
    """
    demand, nodes = job.demand - less, job.nodes
    if nodes is not None:
        nodes = changed(nodes, demands=[each - less for each in nodes.demands])
        demand = sum(nodes.demands, Amount())
    is_counted = job.quota_share is not None and job.use == use_of_demand(job.demand)
    use = use_of_demand(demand) if is_counted else job.use
    return changed(job, demand=demand, nodes=nodes, use=use)


def _register_instances(state: State, change: Change) -> None:
    """Give an environment instances, each on the first machine with room; none where none has."""
    for number in range(change.by):
        _register_one(state, EnvironmentArn(change.subject), change.size, number)


def _register_one(state: State, arn: EnvironmentArn, size: Amount | None, number: int) -> None:
    environment = state.environments[arn]
    assert size is not None, arn
    host = next(
        (each for each in state.hosts.values() if size.fits_in(each.capacity - each.used)), None
    )
    if host is None:
        return
    instance_id = InstanceId(f"supposed-{number}")
    record = InstanceRecord(
        id=instance_id,
        environment_arn=arn,
        instance_type="",
        host_id=host.id,
        capacity=size,
        is_spot=False,
        launched_ms=0,
        ready_ms=0,
    )
    ready = environment.ready.with_another(size, instance_id)
    _put_environment(state, changed(environment, ready=ready))
    state.hosts = state.hosts | {host.id: changed(host, used=host.used + size)}
    added_instance = {instance_id: Instance(record=record, is_ready=True)}
    state.instances = cast("dict[InstanceId, Instance]", ChainMap(added_instance, state.instances))


def _raise_quota(state: State, change: Change) -> None:
    queue_arn, name = split_quota_share_arn(QuotaShareArn(change.subject))
    queue = state.queues[queue_arn]
    assert queue.quota_shares is not None, queue_arn
    share = queue.quota_shares[name]
    limits = added(share.terms.limits, {change.unit: change.by * MILLI})
    shares = queue.quota_shares | {name: changed(share, terms=replace(share.terms, limits=limits))}
    _put_queue(state, changed(queue, quota_shares=shares))


def _raise_bid(state: State, change: Change) -> None:
    settings = _settings_of(state, change)
    assert settings.bid_percent is not None, change.subject
    bid = settings.bid_percent + change.by
    types = tuple(at_bid(each, bid) for each in settings.types)
    _replace_instances(state, change, replace(settings, bid_percent=bid, types=types))


def _buy_on_demand(state: State, change: Change) -> None:
    settings = _settings_of(state, change)
    strategy = settings.strategy
    if strategy.value.startswith("SPOT_"):
        strategy = AllocationStrategy.BEST_FIT_PROGRESSIVE
    types = tuple(map(on_demand, settings.types))
    other = replace(settings, strategy=strategy, is_spot=False, bid_percent=None, types=types)
    _replace_instances(state, change, other)


def _settings_of(state: State, change: Change) -> LaunchSettings:
    settings = state.environments[EnvironmentArn(change.subject)].launching
    assert settings is not None, change.subject
    return settings


def _replace_instances(state: State, change: Change, settings: LaunchSettings) -> None:
    """Launch otherwise: instances that run something take nothing new, the others go."""
    environment = state.environments[EnvironmentArn(change.subject)]
    gone = [each for each in environment.instances if not state.instances[each].attempt_count]
    hosts = dict(state.hosts)
    for instance_id in gone:
        record = state.instances[instance_id].record
        host = hosts[record.host_id]
        hosts[record.host_id] = changed(host, used=host.used - record.capacity)
    state.hosts = hosts
    launched = sum(state.instances[each].record.capacity.cpu_milli for each in gone)
    other = changed(
        environment,
        launching=settings,
        cpu_milli_launched=environment.cpu_milli_launched - launched,
        instances={each: None for each in environment.instances if each not in gone},
        ready=RoomGroups(),
        starting=RoomGroups(),
        idle_since_ms={},
    )
    _put_environment(state, other)


def _add_consumable(state: State, change: Change) -> None:
    arn = ConsumableArn(change.subject)
    found = state.consumables[arn]
    other: Consumable = changed(found, given=found.given + change.by)
    state.consumables = state.consumables | {arn: other}


#: How each kind is made in a state that shares everything with another one.
_MADE_BY_KIND: Mapping[ChangeKind, Callable[[State, Change], None]] = {
    ChangeKind.ASK_FOR_LESS: _ask_for_less,
    ChangeKind.RAISE_MAX_VCPUS: _raise_max_vcpus,
    ChangeKind.ADD_CAPACITY: _add_capacity,
    ChangeKind.RAISE_QUEUE_PRIORITY: _raise_queue_priority,
    ChangeKind.ADD_CONSUMABLE: _add_consumable,
    ChangeKind.ENABLE_ENVIRONMENT: _enable_environment,
    ChangeKind.LOWER_RESERVATION: _lower_reservation,
    ChangeKind.REGISTER_INSTANCE: _register_instances,
    ChangeKind.RAISE_QUOTA: _raise_quota,
    ChangeKind.RAISE_CAPACITY_LIMIT: _raise_capacity_limit,
    ChangeKind.RAISE_SCHEDULING_PRIORITY: _raise_priority,
    ChangeKind.REPAIR_ENVIRONMENT: _repair_environment,
    ChangeKind.RAISE_BID: _raise_bid,
    ChangeKind.BUY_ON_DEMAND: _buy_on_demand,
}
