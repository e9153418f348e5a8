"""What becomes of environments, queues, scheduling policies, hosts and consumable resources.

Decides by reference/compute-and-scheduling.md sections 1.5, 1.12, 2.3 and 2.4. Refuses to know
how a caller asked for it, and what the API refuses before it comes here.

Rules that hold here: an environment that is being deleted goes with its last attempt; a queue
that is being deleted fails what waits, stops what runs, and goes with its last job.
"""

from batchyard.core import events as e
from batchyard.core.draining import drain
from batchyard.core.inputs import (
    DeleteConsumable,
    DeleteEnvironment,
    DeleteQueue,
    PutConsumable,
    PutEnvironment,
    PutHost,
    PutPolicy,
    PutQueue,
)
from batchyard.core.instances import end_instances_of, replace_instances
from batchyard.core.state import Environment
from batchyard.core.turn import Turn
from batchyard.model import wording
from batchyard.model.ids import EnvironmentArn, QueueArn
from batchyard.model.records import StopCause


def put_environment(turn: Turn, command: PutEnvironment) -> None:
    turn.emit(
        e.EnvironmentSettled(
            arn=command.arn,
            kind=command.kind,
            state=command.state,
            cpu_milli_max=command.cpu_milli_max,
            fault=command.fault,
            limits=command.limits,
            launching=command.launching,
            has_instances=command.has_instances,
            uuid=command.uuid,
            launch_count=command.launch_count,
        )
    )
    replace_instances(turn, turn.state.environments[command.arn])


def delete_environment(turn: Turn, command: DeleteEnvironment) -> None:
    """Take no new attempts; end with the last one. Repeating it changes nothing.

    One of Fargate does not go while jobs run in it: it becomes INVALID instead (section 1.12).
    """
    environment = turn.state.environments.get(command.arn)
    if environment is None:
        turn.note(e.EnvironmentDeleted(arn=command.arn))
        return
    if environment.kind.is_fargate and environment.attempt_count:
        _refuse_deletion(turn, environment)
        return
    if not environment.is_draining:
        turn.emit(e.EnvironmentDraining(arn=command.arn))
    _delete_if_empty(turn, command.arn)


def _refuse_deletion(turn: Turn, environment: Environment) -> None:
    turn.emit(
        e.EnvironmentSettled(
            arn=environment.arn,
            kind=environment.kind,
            state=environment.state,
            cpu_milli_max=environment.cpu_milli_max,
            fault=wording.ACTIVE_JOBS_ON_FARGATE,
            launching=environment.launching,
            has_instances=environment.has_instances,
            uuid=environment.uuid,
        )
    )


def put_queue(turn: Turn, command: PutQueue) -> None:
    turn.emit(
        e.QueueSettled(
            arn=command.arn,
            seq=command.seq,
            state=command.state,
            priority=command.priority,
            environment_arns=command.environment_arns,
            time_limits=command.time_limits,
            policy_arn=command.policy_arn,
            policy=command.policy,
            has_quota_shares=command.has_quota_shares,
        )
    )


def put_policy(turn: Turn, command: PutPolicy) -> None:
    turn.emit(e.PolicySettled(arn=command.arn, revision=command.revision, policy=command.policy))


def delete_queue(turn: Turn, command: DeleteQueue) -> None:
    """Fail what waits, stop what runs; end with the last job.

    A part of it at a time; repeating it goes on.
    """
    queue = turn.state.queues.get(command.arn)
    if queue is None:
        turn.note(e.QueueDeleted(arn=command.arn))
        return
    if not queue.is_draining:
        turn.emit(e.QueueDraining(arn=command.arn))
    drain(turn, queue.jobs, wording.QUEUE_DELETED, StopCause.QUEUE_DELETED)
    _delete_queue_if_empty(turn, command.arn)


def put_host(turn: Turn, command: PutHost) -> None:
    host = turn.state.hosts.get(command.host_id)
    if host is None or host.capacity != command.capacity:
        turn.emit(e.HostChanged(host_id=command.host_id, capacity=command.capacity))


def put_consumable(turn: Turn, command: PutConsumable) -> None:
    turn.emit(
        e.ConsumableSettled(
            arn=command.arn,
            version=command.version,
            is_replenishable=command.is_replenishable,
            given=command.given,
            used_up=command.used_up,
        )
    )


def delete_consumable(turn: Turn, command: DeleteConsumable) -> None:
    turn.emit(e.ConsumableDeleted(arn=command.arn, version=command.version))


def settle_drained(turn: Turn, queue_arn: QueueArn, environment_arn: EnvironmentArn) -> None:
    """Let a queue and an environment go if the attempt that just ended was their last."""
    _delete_queue_if_empty(turn, queue_arn)
    _delete_if_empty(turn, environment_arn)


def _delete_queue_if_empty(turn: Turn, arn: QueueArn) -> None:
    queue = turn.state.queues.get(arn)
    if queue is not None and queue.is_draining and not queue.jobs:
        turn.emit(e.QueueDeleted(arn=arn))


def _delete_if_empty(turn: Turn, arn: EnvironmentArn) -> None:
    environment = turn.state.environments.get(arn)
    if environment is not None and environment.is_draining and not environment.attempt_count:
        end_instances_of(turn, environment)
        turn.emit(e.EnvironmentDeleted(arn=arn))
