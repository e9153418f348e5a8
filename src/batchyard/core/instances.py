"""What becomes of instances: launch, readiness, and their end.

Decides by reference/compute-and-scheduling.md section 1.8. Refuses to know which type to launch
(see `scheduler.allocation`) and how a machine gives the room.

Rules that hold here: instances never take more than their host has; only an instance that runs
nothing ends, unless its host is gone; `minvCpus` is kept; an environment that goes takes its
instances along.
"""

from batchyard.core import events as e
from batchyard.core.bookkeeping import instances_of
from batchyard.core.inputs import InterruptInstance, InterruptTask
from batchyard.core.multi_node import stop_if_kept
from batchyard.core.state import Environment, Instance, State, first_to_go, idle_end_ms, may_give_up
from batchyard.core.stopping import stop_attempt
from batchyard.core.turn import Turn
from batchyard.model.ids import HostId
from batchyard.model.instances import InstanceId
from batchyard.model.records import Attempt, InstanceRecord, StopCause, TerminationCause
from batchyard.model.status import EnvironmentKind
from batchyard.scheduler.plan import Launch


def launch(turn: Turn, proposed: Launch) -> None:
    """Start an instance, if the host has the room and the environment still launches any."""
    state = turn.state
    environment = state.environments.get(proposed.environment_arn)
    host = state.hosts.get(proposed.host_id)
    if environment is None or environment.launching is None or host is None:
        return
    kind = proposed.instance_type
    is_usable = environment.fault is None and not environment.is_draining
    has_room = kind.capacity.fits_in(host.capacity - host.used)
    if not is_usable or not has_room or proposed.instance_id in state.instances:
        return
    turn.emit(
        e.InstanceLaunched(
            record=InstanceRecord(
                id=proposed.instance_id,
                environment_arn=environment.arn,
                instance_type=kind.name,
                host_id=host.id,
                capacity=kind.capacity,
                is_spot=environment.launching.is_spot,
                launched_ms=turn.now_ms,
                ready_ms=turn.now_ms + environment.launching.boot_ms,
                infrastructure=environment.launching.infrastructure,
            ),
            launch_count=environment.launch_count + 1,
            cpu_milli_launched=environment.cpu_milli_launched + kind.capacity.cpu_milli,
        )
    )


def give_up(turn: Turn, instance_id: InstanceId) -> None:
    """End an idle instance whose room something else needs."""
    instance = turn.state.instances.get(instance_id)
    if instance is None or instance.attempt_count:
        return
    if may_give_up(turn.state.environments[instance.record.environment_arn]):
        terminate(turn, instance_id, TerminationCause.ROOM_NEEDED)


def interrupt(turn: Turn, command: InterruptInstance) -> None:
    """Reclaim an instance: it ends after the notice, with everything on it.

    One that is being reclaimed keeps the earlier of the two times.
    """
    instance = turn.state.instances.get(command.instance_id)
    refusal = None
    if instance is None:
        refusal = f"there is no instance {command.instance_id}"
    elif not instance.record.is_spot and not command.is_forced:
        refusal = f"{command.instance_id} is not Spot capacity, which alone is reclaimed"
    else:
        stop_ms = turn.now_ms + command.notice_ms
        before_ms = instance.record.stop_ms
        if before_ms is None or stop_ms < before_ms:
            drain(turn, instance, TerminationCause.INTERRUPTED, stop_ms)
    if command.wish_seq is not None:
        ids = (command.instance_id,) if refusal is None else ()
        answer_wish(turn, command.wish_seq, ids, refusal=refusal)


def interrupt_task(turn: Turn, command: InterruptTask) -> None:
    """Reclaim the capacity under a task of FARGATE_SPOT: it gets SIGTERM now, as on AWS."""
    state, refusal = turn.state, None
    job = state.find(command.job_id)
    attempt = None if job is None else job.progress.attempt
    if job is None or attempt is None:
        refusal = f"job {command.job_id} does not run"
    elif state.environments[attempt.environment_arn].kind is not EnvironmentKind.FARGATE_SPOT:
        refusal = f"job {command.job_id} does not run on FARGATE_SPOT, which alone is reclaimed"
    else:
        stop_attempt(turn, job, StopCause.SPOT_TASK_INTERRUPTED)
    answer_wish(turn, command.wish_seq, refusal=refusal)


def answer_wish(
    turn: Turn, wish_seq: int, ids: tuple[InstanceId, ...] = (), *, refusal: str | None = None
) -> None:
    """Answer a wish about instances: with those that it is about, or why nothing was done."""
    turn.emit(
        e.InstanceWishSettled(
            wish_seq=wish_seq, at_ms=turn.now_ms, instance_ids=ids, refusal=refusal
        )
    )


def replace_instances(turn: Turn, environment: Environment) -> None:
    """Let instances go that the environment would launch differently now."""
    settings = environment.launching
    if settings is None:
        return
    for instance_id in list(environment.instances):
        instance = turn.state.instances[instance_id]
        is_old = instance.record.infrastructure != settings.infrastructure
        if is_old and instance.is_open:
            stop_ms = turn.now_ms + settings.replace_ms
            drain(turn, instance, TerminationCause.REPLACED, stop_ms)


def advance_instances(turn: Turn) -> None:
    """Let instances become ready, stop what must leave, and let go what was idle too long."""
    state = turn.state
    for instance_id in state.alarms.pop_due(turn.now_ms):
        instance = state.instances.get(instance_id)
        if instance is None:
            continue
        if not instance.is_ready and instance.record.ready_ms <= turn.now_ms:
            turn.emit(e.InstanceReady(instance_id=instance_id))
        _stop_due(turn, instance_id)
    for environment in state.environments.values():
        while (overdue := _overdue(state, environment, turn.now_ms)) is not None:
            terminate(turn, overdue, TerminationCause.IDLE)


def settle_instances(turn: Turn, attempt: Attempt) -> None:
    """Let draining instances go if the attempt that just ended was their last."""
    for instance_id in instances_of(attempt):
        _end_if_drained(turn, instance_id)


def end_instances_of(turn: Turn, environment: Environment) -> None:
    """End everything that an environment without attempts still has."""
    for instance_id in list(environment.instances):
        terminate(turn, instance_id, TerminationCause.ENVIRONMENT_DELETED)


def lose_instances_on(turn: Turn, host_id: HostId) -> None:
    """End what was on a host that is gone; its attempts have ended before."""
    for instance_id, instance in list(turn.state.instances.items()):
        if instance.record.host_id == host_id and not instance.attempt_count:
            terminate(turn, instance_id, TerminationCause.HOST_LOST)


def drain(turn: Turn, instance: Instance, cause: TerminationCause, stop_ms: int | None) -> None:
    """Place nothing more on an instance: it ends with its last attempt, which is stopped then.

    None: its attempts may take their time.
    """
    turn.emit(e.InstanceDraining(instance_id=instance.record.id, cause=cause, stop_ms=stop_ms))
    _end_if_drained(turn, instance.record.id)
    _stop_due(turn, instance.record.id)


def terminate(turn: Turn, instance_id: InstanceId, cause: TerminationCause) -> None:
    """End an instance that runs nothing."""
    record = turn.state.instances[instance_id].record
    environment = turn.state.environments[record.environment_arn]
    turn.emit(
        e.InstanceTerminated(
            instance_id=instance_id,
            environment_arn=record.environment_arn,
            at_ms=turn.now_ms,
            cause=cause,
            cpu_milli_launched=environment.cpu_milli_launched - record.capacity.cpu_milli,
        )
    )


def _stop_due(turn: Turn, instance_id: InstanceId) -> None:
    """Stop what is still on an instance whose time is up."""
    instance = turn.state.instances.get(instance_id)
    if instance is None or instance.record.stop_ms is None:
        return
    if instance.record.stop_ms > turn.now_ms:
        return
    for task_id in list(instance.tasks):
        job = turn.state.job_of_task(task_id)
        if job is not None:
            stop_attempt(turn, job, StopCause.INSTANCE_TERMINATED)
    if instance.attempt_count > len(instance.tasks):
        there = turn.state.tasks_by_environment.get(instance.record.environment_arn, {})
        stop_if_kept(turn, there, lambda slot: slot.instance_id == instance_id)


def _end_if_drained(turn: Turn, instance_id: InstanceId) -> None:
    instance = turn.state.instances.get(instance_id)
    if instance is None or instance.attempt_count:
        return
    cause = instance.record.draining_for
    if cause is not None:
        terminate(turn, instance_id, cause)


def _overdue(state: State, environment: Environment, now_ms: int) -> InstanceId | None:
    end_ms = idle_end_ms(state, environment)
    return first_to_go(state, environment) if end_ms is not None and end_ms <= now_ms else None
