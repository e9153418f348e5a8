"""The state as it would be, had one thing been otherwise.

Owns what each change means for the state. Refuses to know what would come of it: ask a round. What
comes back shares everything but what was changed with the state, which stays as it is; it is for
reading, and good for as long as the state does not change. Costs O(hosts + environments + queues).
"""

from collections import ChainMap
from copy import copy
from dataclasses import replace as changed
from typing import cast

from msgspec.structs import replace

from batchyard.core.bookkeeping import line_of
from batchyard.core.consumables import Consumable
from batchyard.core.state import Job, State
from batchyard.core.waiting_line import MovedLine
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import use_of_demand
from batchyard.model.explanation import Change, ChangeKind, Dimension
from batchyard.model.ids import ConsumableArn, EnvironmentArn, HostId, JobId, QueueArn
from batchyard.model.status import ResourceState


def suppose(state: State, change: Change) -> State:
    """Give the state with the change in it."""
    other = copy(state)
    match change.kind:
        case ChangeKind.ASK_FOR_LESS:
            _ask_for_less(other, JobId(change.subject), amount_of(change))
        case ChangeKind.RAISE_MAX_VCPUS:
            arn = EnvironmentArn(change.subject)
            environment = state.environments[arn]
            most = environment.cpu_milli_max + change.by * change.unit_milli
            other.environments = state.environments | {
                arn: changed(environment, cpu_milli_max=most)
            }
        case ChangeKind.ENABLE_ENVIRONMENT:
            arn = EnvironmentArn(change.subject)
            enabled = changed(state.environments[arn], state=ResourceState.ENABLED)
            other.environments = state.environments | {arn: enabled}
        case ChangeKind.ADD_CAPACITY:
            host_id = HostId(change.subject)
            host = state.hosts[host_id]
            other.hosts = state.hosts | {
                host_id: changed(host, capacity=host.capacity + amount_of(change))
            }
        case ChangeKind.RAISE_QUEUE_PRIORITY:
            queue_arn = QueueArn(change.subject)
            queue = state.queues[queue_arn]
            other.queues = state.queues | {
                queue_arn: changed(queue, priority=queue.priority + change.by)
            }
        case ChangeKind.ADD_CONSUMABLE:
            _add_consumable(other, ConsumableArn(change.subject), change.by)
        case ChangeKind.LOWER_RESERVATION:
            queue_arn = QueueArn(change.subject)
            queue = state.queues[queue_arn]
            assert queue.policy is not None, queue_arn
            percent = queue.policy.reservation_percent - change.by
            policy = replace(queue.policy, reservation_percent=percent)
            other.queues = state.queues | {queue_arn: changed(queue, policy=policy)}
        case ChangeKind.RAISE_SCHEDULING_PRIORITY:
            _raise_priority(other, JobId(change.subject), change.by)
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


def _ask_for_less(state: State, job_id: JobId, less: Amount) -> None:
    """A child asks for what its array asks for, so that changes, too."""
    job = state.find(job_id)
    assert job is not None, job_id
    asking = [job] if job.parent is None else [job, job.parent]
    others = {each.id: _asking(each, each.demand - less) for each in asking}
    state.jobs = cast("dict[JobId, Job]", ChainMap(others, state.jobs))


def _raise_priority(state: State, job_id: JobId, by: int) -> None:
    """Let a job, with its array, stand elsewhere in the line of its share."""
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
    state.queues = state.queues | {queue.arn: other}
    asking = [job] if job.parent is None else [job, job.parent]
    others = {each.id: changed(each, priority=each.priority + by) for each in asking}
    state.jobs = cast("dict[JobId, Job]", ChainMap(others, state.jobs))


def _asking(job: Job, demand: Amount) -> Job:
    """Let a job ask for something else; what it uses of a quota share follows from that."""
    is_counted = job.quota_share is not None and job.use == use_of_demand(job.demand)
    return changed(job, demand=demand, use=use_of_demand(demand) if is_counted else job.use)


def _add_consumable(state: State, arn: ConsumableArn, more: int) -> None:
    found = state.consumables[arn]
    other: Consumable = changed(found, given=found.given + more)
    state.consumables = state.consumables | {arn: other}
