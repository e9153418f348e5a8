"""How the scheduler sees the state.

Costs O(queues + shares + environments + hosts); jobs are seen lazily.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from heapq import merge

from batchyard.core.consumables import available_of
from batchyard.core.quota_books import quota_memory_of
from batchyard.core.state import (
    Environment,
    Queue,
    Share,
    State,
    first_to_go,
    is_above_max,
    may_give_up,
)
from batchyard.core.viewing_shares import (
    by_front,
    view_quota_shares,
    waiting_jobs,
)
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import WEIGHT_ONE, FairShare
from batchyard.model.ids import EnvironmentArn, HostId, JobId, whole_id_of
from batchyard.model.instances import InstanceId, LaunchSettings
from batchyard.model.status import ResourceState
from batchyard.scheduler.fair_share import (
    FairOrder,
    ShareView,
    reserve_limit,
    score_of,
)
from batchyard.scheduler.outlook import LastingOutlook
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    IdleInstance,
    InOrder,
    LaunchTerms,
    QueueView,
    View,
    WaitingOrder,
)


def view_of(state: State, now_ms: int) -> View:
    """Show the state to one scheduling round. Valid until the state changes."""
    machines = state.remembered.machines_like([host.capacity for host in state.hosts.values()])
    environment_views = {
        arn: view_environment(state, environment, machines)
        for arn, environment in state.environments.items()
    }
    hosts = [
        HostView(host_id=host.id, capacity=host.capacity, used=host.used)
        for host in state.hosts.values()
    ]
    return View(
        queues=[
            _view_queue(state, queue, environment_views, hosts, now_ms)
            for queue in state.queues.values()
            if not queue.is_draining and has_waiting(queue)
        ],
        hosts=hosts,
        environments=list(environment_views.values()),
        idle_instances=_idle_instances(state),
        host_by_instance=_HostByInstance(state),
        free_of=lambda instance_id: state.instances[instance_id].free,
        available_of=lambda arn: available_of(state.consumables, arn),
    )


def _view_queue(
    state: State,
    queue: Queue,
    environment_views: Mapping[EnvironmentArn, EnvironmentView],
    hosts: Sequence[HostView],
    now_ms: int,
) -> QueueView:
    environments = [
        environment_views[arn] for arn in queue.environment_arns if arn in environment_views
    ]
    memory = None if queue.quota_shares is None else quota_memory_of(state, queue)
    if memory is not None and memory.outlook is None:
        memory.outlook = LastingOutlook(environments, hosts)
    return QueueView(
        arn=queue.arn,
        priority=queue.priority,
        seq=queue.seq,
        last_placed=queue.last_placed,
        environments=environments,
        waiting=_order_of(state, queue, now_ms),
        quota_shares=None if memory is None else view_quota_shares(state, queue, memory),
        accounts=None if memory is None else memory.accounts,
        outlook=None if memory is None else memory.outlook,
    )


class _HostByInstance(Mapping[InstanceId, HostId]):
    """Where instances are, without a copy."""

    def __init__(self, state: State) -> None:
        self._instances = state.instances

    def __getitem__(self, instance_id: InstanceId) -> HostId:
        return self._instances[instance_id].record.host_id

    def __iter__(self) -> Iterator[InstanceId]:
        return iter(self._instances)

    def __len__(self) -> int:
        return len(self._instances)


def view_environment(
    state: State, environment: Environment, machines: list[Amount]
) -> EnvironmentView:
    """Show one environment, with the types that machines of these capacities can stand for.

    `machines` is what `Remembered.machines_like` gives.
    """
    return EnvironmentView(
        arn=environment.arn,
        is_valid=environment.fault is None and not environment.is_draining,
        is_enabled=environment.state is ResourceState.ENABLED,
        cpu_milli_max=environment.cpu_milli_max,
        cpu_milli_used=environment.used.cpu_milli,
        limits=environment.limits,
        instances_used=environment.instances_used,
        launching=_launch_terms(state, environment, machines),
        has_instances=environment.has_instances,
        is_unbounded=environment.is_unmanaged,
        ready=environment.ready,
        starting=environment.starting,
    )


def _launch_terms(
    state: State, environment: Environment, machines: list[Amount]
) -> LaunchTerms | None:
    settings = environment.launching
    if settings is None:
        return None
    order = state.remembered.order_of(environment.arn, settings, machines)
    return LaunchTerms(
        strategy=settings.strategy,
        is_spot=settings.is_spot,
        bid_percent=settings.bid_percent,
        types=order.types,
        order=order,
        cpu_milli_launched=environment.cpu_milli_launched,
        cpu_milli_min=settings.cpu_milli_min,
        cpu_milli_wanted=_wanted_of(environment, settings),
        environment_uuid=environment.uuid,
        launch_count=environment.launch_count,
        boot_ms=settings.boot_ms,
        is_above_max=is_above_max(state, environment),
    )


def _wanted_of(environment: Environment, settings: LaunchSettings) -> int:
    """Tell what is launched without any job: one that is DISABLED keeps `minvCpus`, no more."""
    if environment.state is ResourceState.DISABLED:
        return settings.cpu_milli_min
    return max(settings.cpu_milli_min, environment.cpu_milli_wanted)


def _idle_instances(state: State) -> Iterator[IdleInstance]:
    """Yield the instances that run nothing and may be given up, the longest idle first.

    Nothing is told of environments that have no more than `minvCpus` asks for.
    """
    by_environment = [
        sorted((since_ms, each) for each, since_ms in environment.idle_since_ms.items())
        for environment in state.environments.values()
        if environment.idle_since_ms
        and may_give_up(environment)
        and first_to_go(state, environment) is not None
    ]
    for _, instance_id in merge(*by_environment):
        record = state.instances[instance_id].record
        yield IdleInstance(
            instance_id=instance_id,
            environment_arn=record.environment_arn,
            host_id=record.host_id,
            capacity=record.capacity,
        )


def has_waiting(queue: Queue) -> bool:
    """Tell whether any job of a queue is RUNNABLE."""
    if queue.quota_shares is not None:
        return any(share.line for share in queue.quota_shares.values())
    if queue.policy is not None:
        return any(share.line for share in queue.shares.values())
    return bool(queue.line)


def is_anything_to_do(state: State) -> bool:
    """Tell whether anybody waits, or an environment keeps more than it has: else a round does
    nothing.
    """
    return any(
        not queue.is_draining and has_waiting(queue) for queue in state.queues.values()
    ) or any(
        environment.launching is not None
        and environment.cpu_milli_launched < _wanted_of(environment, environment.launching)
        for environment in state.environments.values()
    )


def _order_of(state: State, queue: Queue, now_ms: int) -> WaitingOrder:
    if queue.quota_shares is not None:
        return InOrder(by_front(state, (share.line for share in queue.quota_shares.values())))
    if queue.policy is None:
        return InOrder(waiting_jobs(state, queue.line))
    policy = queue.policy
    active = {
        identifier: share
        for identifier, share in queue.shares.items()
        if share.is_active(now_ms, policy.window_ms)
    }
    count_by_prefix = _count_prefixes(queue, policy, now_ms)
    waiting = [
        ShareView(
            identifier=identifier,
            weight_e4=_weight_of(share, count_by_prefix),
            usage=share.least_usage_at(now_ms, policy.window_ms),
            usage_now=partial(share.usage_at, now_ms, policy.window_ms),
            cpu_milli=share.cpu_milli,
            front_seq=share.line.front_seq(),
            jobs=waiting_jobs(state, share.line),
        )
        for identifier, share in active.items()
        if len(share.line)
    ]
    return FairOrder(
        waiting,
        cpu_milli_used=sum(share.cpu_milli for share in active.values()),
        cpu_milli_limit=_limit_of(state, queue, policy, len(active)),
        is_alone=len(active) == 1,
    )


def do_heads_stand(state: State, now_ms: int) -> bool:
    """Tell whether in each queue with fair shares it is still his turn whose it was last."""
    return all(
        _have_their_turn(state, state.queues[arn], heads, now_ms)
        for arn, heads in state.remembered.heads.items()
    )


def _have_their_turn(state: State, queue: Queue, heads: Sequence[JobId], now_ms: int) -> bool:
    """Tell whether a queue with fair shares would serve these first, one after the other."""
    if len(heads) == 1:
        return _has_first_turn(state, queue, heads[0], now_ms)
    order = _order_of(state, queue, now_ms)
    for job_id in heads:
        job = order.peek()
        if job is None or job.job_id != job_id:
            return False
        order.take()
    return True


def _has_first_turn(state: State, queue: Queue, job_id: JobId, now_ms: int) -> bool:
    """Tell whether a queue with fair shares would serve a job first.

    How far other shares are is counted out only where a bound does not tell.
    """
    policy, identifier = queue.policy, state.jobs[whole_id_of(job_id)].share_identifier
    assert policy is not None, queue.arn
    assert identifier is not None, job_id
    count_by_prefix = _count_prefixes(queue, policy, now_ms)
    own = queue.shares[identifier]
    if next(iter(own.line), None) != job_id:
        return False
    usage = own.usage_at(now_ms, policy.window_ms)
    score = score_of(_weight_of(own, count_by_prefix), usage, own.cpu_milli)
    entry = (score, own.line.front_seq(), identifier)
    for name, share in queue.shares.items():
        if share is own or not share.line:
            continue
        weight_e4 = _weight_of(share, count_by_prefix)
        least = share.least_usage_at(now_ms, policy.window_ms)
        if score_of(weight_e4, least, share.cpu_milli) > score:
            continue
        usage = share.usage_at(now_ms, policy.window_ms)
        other = score_of(weight_e4, usage, share.cpu_milli)
        if (other, share.line.front_seq(), name) < entry:
            return False
    return True


def _count_prefixes(queue: Queue, policy: FairShare, now_ms: int) -> Counter[str]:
    """Count the active shares that have the weight of a prefix, by its text.

    At most one item of a policy fits an identifier, so they can be told apart by their texts.
    """
    if not any(each.is_prefix for each in policy.weights):
        return Counter()
    return Counter(
        share.weight.text
        for share in queue.shares.values()
        if share.weight is not None
        and share.weight.is_prefix
        and share.is_active(now_ms, policy.window_ms)
    )


def _weight_of(share: Share, count_by_prefix: Counter[str]) -> int:
    weight = share.weight
    if weight is None:
        return WEIGHT_ONE
    return weight.weight_e4 * (count_by_prefix[weight.text] if weight.is_prefix else 1)


def _has_no_sum(environment: Environment) -> bool:
    if environment.limits is not None:
        return True
    return environment.is_unmanaged and not environment.cpu_milli_max


def _limit_of(state: State, queue: Queue, policy: FairShare, active_count: int) -> int | None:
    """Tell how much the active shares may use; nothing is reserved where the sum is not known."""
    if not policy.reservation_percent:
        return None
    environments = [
        state.environments[arn] for arn in queue.environment_arns if arn in state.environments
    ]
    if any(_has_no_sum(each) for each in environments):
        return None
    total = sum(each.cpu_milli_max for each in environments)
    return reserve_limit(total, policy.reservation_percent, active_count)
