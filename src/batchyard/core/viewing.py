"""How the scheduler sees the state.

Costs O(queues + shares + environments + hosts); jobs are seen lazily.
"""

from collections import Counter
from collections.abc import Iterator

from batchyard.core.consumables import available_of
from batchyard.core.state import Environment, Queue, Share, State
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.fair_share import WEIGHT_ONE, FairShare
from batchyard.model.ids import whole_id_of
from batchyard.scheduler.fair_share import FairOrder, ShareView, reserve_limit
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    InOrder,
    QueueView,
    View,
    WaitingJob,
    WaitingOrder,
)


def view_of(state: State, now_ms: int) -> View:
    """Show the state to one scheduling round. Valid until the state changes."""
    environment_views = {
        arn: _view_environment(environment) for arn, environment in state.environments.items()
    }
    return View(
        queues=[
            QueueView(
                arn=queue.arn,
                priority=queue.priority,
                seq=queue.seq,
                environments=[
                    environment_views[arn]
                    for arn in queue.environment_arns
                    if arn in environment_views
                ],
                waiting=_order_of(state, queue, now_ms),
            )
            for queue in state.queues.values()
            if not queue.is_draining and _has_waiting(queue)
        ],
        hosts=[
            HostView(host_id=host.id, capacity=host.capacity, used=host.used)
            for host in state.hosts.values()
        ],
        available_of=lambda arn: available_of(state.consumables, arn),
    )


def _view_environment(environment: Environment) -> EnvironmentView:
    return EnvironmentView(
        arn=environment.arn,
        is_valid=environment.fault is None and not environment.is_draining,
        is_enabled=environment.state == "ENABLED",
        cpu_milli_max=environment.cpu_milli_max,
        cpu_milli_used=environment.used.cpu_milli,
    )


def _has_waiting(queue: Queue) -> bool:
    return len(queue.line) > 0 or any(len(share.line) for share in queue.shares.values())


def _order_of(state: State, queue: Queue, now_ms: int) -> WaitingOrder:
    if queue.policy is None:
        return InOrder(_waiting(state, queue.line))
    policy = queue.policy
    active = {
        identifier: share
        for identifier, share in queue.shares.items()
        if share.is_active(now_ms, policy.window_ms)
    }
    # At most one item of a policy fits an identifier, so they can be told apart by their texts.
    count_by_prefix = Counter(
        share.weight.text
        for share in active.values()
        if share.weight is not None and share.weight.is_prefix
    )
    waiting = [
        ShareView(
            identifier=identifier,
            weight_e4=_weight_of(share, count_by_prefix),
            usage=share.usage_at(now_ms, policy.window_ms),
            cpu_milli=share.cpu_milli,
            front_seq=share.line.front_seq(),
            jobs=_waiting(state, share.line),
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


def _weight_of(share: Share, count_by_prefix: Counter[str]) -> int:
    weight = share.weight
    if weight is None:
        return WEIGHT_ONE
    return weight.weight_e4 * (count_by_prefix[weight.text] if weight.is_prefix else 1)


def _limit_of(state: State, queue: Queue, policy: FairShare, active_count: int) -> int | None:
    if not policy.reservation_percent:
        return None
    total = sum(
        state.environments[arn].cpu_milli_max
        for arn in queue.environment_arns
        if arn in state.environments
    )
    return reserve_limit(total, policy.reservation_percent, active_count)


def _waiting(state: State, line: WaitingLine) -> Iterator[WaitingJob]:
    for job_id in line:
        job = state.jobs.get(job_id) or state.jobs[whole_id_of(job_id)]
        nodes = job.nodes
        if nodes is None:
            yield WaitingJob(job_id=job_id, demand=job.demand, seq=job.seq, needs=job.needs)
        else:
            yield WaitingJob(
                job_id=job_id,
                demand=job.demand,
                node_demands=nodes.demands,
                main_index=nodes.main_index,
                needs=job.needs,
                seq=job.seq,
            )
