"""How an event changes environments, queues, policies, hosts, instances and consumable resources.

Part of `evolve`, under its rules.
"""

from typing import assert_never

from batchyard.core import consumables
from batchyard.core import events as e
from batchyard.core.bookkeeping import add_instance, drain_instance, drop_instance, make_ready
from batchyard.core.quota_books import quota_shares_of, settle_share
from batchyard.core.shares import set_policy
from batchyard.core.state import Environment, Host, Queue, State


def evolve_resource(  # noqa: C901, PLR0912 -- one branch an event
    state: State, event: e.ResourceEvent
) -> None:
    """Make the event true in the state."""
    match event:
        case e.EnvironmentSettled():
            _settle_environment(state, event)
        case e.EnvironmentDraining():
            state.environments[event.arn].is_draining = True
        case e.EnvironmentDeleted():
            del state.environments[event.arn]
            state.remembered.forget(event.arn)
        case e.QueueSettled():
            _settle_queue(state, event)
        case e.QueueDraining():
            state.queues[event.arn].is_draining = True
        case e.QueueDeleted():
            del state.queues[event.arn]
        case e.QuotaShareSettled():
            settle_share(state.queues[event.arn], event.terms)
        case e.QuotaShareDraining():
            quota_shares_of(state, event.arn)[event.name].is_draining = True
        case e.QuotaShareDeleted():
            del quota_shares_of(state, event.arn)[event.name]
        case e.PolicySettled():
            for queue in state.queues.values():
                if queue.policy_arn == event.arn:
                    set_policy(queue, event.arn, event.policy)
        case e.ShareForgotten():
            del state.queues[event.arn].shares[event.share_identifier]
        case e.ConsumableSettled():
            consumables.settle(state.consumables, event)
        case e.ConsumableDeleted():
            consumables.delete(state.consumables, event.arn)
        case e.HostChanged():
            host = state.hosts.get(event.host_id)
            if host is None:
                state.hosts[event.host_id] = Host(id=event.host_id, capacity=event.capacity)
            else:
                host.capacity = event.capacity
        case e.InstanceLaunched():
            _launch(state, event)
        case e.InstanceReady():
            make_ready(state, event.instance_id)
        case e.InstanceDraining():
            drain_instance(state, event.instance_id, event.cause, event.stop_ms)
        case e.InstanceTerminated():
            drop_instance(state, event.instance_id)
        case e.InstanceWishSettled():
            pass  # It changes what was asked for, not what is.
        case _:
            assert_never(event)


def _launch(state: State, event: e.InstanceLaunched) -> None:
    environment = state.environments[event.record.environment_arn]
    environment.launch_count = event.launch_count
    is_ready = event.record.ready_ms <= event.record.launched_ms
    add_instance(state, event.record, is_ready=is_ready)


def _settle_environment(state: State, event: e.EnvironmentSettled) -> None:
    wanted = 0 if event.launching is None else event.launching.cpu_milli_wanted
    environment = state.environments.get(event.arn)
    if environment is None:
        state.environments[event.arn] = Environment(
            arn=event.arn,
            kind=event.kind,
            state=event.state,
            cpu_milli_max=event.cpu_milli_max,
            fault=event.fault,
            limits=event.limits,
            launching=event.launching,
            has_instances=event.has_instances,
            uuid=event.uuid,
            launch_count=event.launch_count,
            cpu_milli_wanted=wanted,
        )
        return
    environment.kind = event.kind
    environment.state = event.state
    environment.cpu_milli_max = event.cpu_milli_max
    environment.fault = event.fault
    environment.limits = event.limits
    environment.launching = event.launching
    environment.has_instances = event.has_instances
    environment.cpu_milli_wanted = wanted


def _settle_queue(state: State, event: e.QueueSettled) -> None:
    queue = state.queues.get(event.arn)
    if queue is None:
        state.queues[event.arn] = Queue(
            arn=event.arn,
            seq=event.seq,
            state=event.state,
            priority=event.priority,
            environment_arns=event.environment_arns,
            time_limits=event.time_limits,
            policy_arn=event.policy_arn,
            policy=event.policy,
            quota_shares={} if event.has_quota_shares else None,
        )
        return
    queue.state = event.state
    queue.priority = event.priority
    queue.environment_arns = event.environment_arns
    queue.time_limits = event.time_limits
    set_policy(queue, event.policy_arn, event.policy)
