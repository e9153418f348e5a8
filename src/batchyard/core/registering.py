"""Instances that an operator registers in an environment that launches none (UNMANAGED).

Decides whether the machine has the room, and what a registered instance is: a slice of a host like
any other, but one that stays until it is deregistered or its environment is deleted. Refuses to
know how somebody asks (decision 0013; reference/compute-and-scheduling.md section 1.13).

Rules that hold here: of a registration all instances come, or none; managed instances that are
idle and that `minvCpus` does not keep make room for it; each wish is answered once, in the events
that it led to.
"""

from batchyard.core import events as e
from batchyard.core.inputs import DeregisterInstance, RegisterInstances
from batchyard.core.instances import answer_wish, drain, terminate
from batchyard.core.state import Environment, Host, State, may_give_up
from batchyard.core.turn import Turn
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.model.instances import InstanceId, instance_id_of
from batchyard.model.records import InstanceRecord, TerminationCause


def register(turn: Turn, command: RegisterInstances) -> None:
    """Register all instances that are asked for, or say why there are none."""
    environment = turn.state.environments.get(command.environment_arn)
    refusal = _refusal_of(turn.state, environment, command)
    if refusal is not None:
        answer_wish(turn, command.wish_seq, refusal=refusal)
        return
    assert environment is not None, command.environment_arn
    made: list[InstanceId] = []
    for host in _hosts_of(turn.state, command.host_id):
        spare = _spare_on(turn.state, host)
        room = command.capacity.times_in(_room_on(turn.state, host))
        for _ in range(min(command.count - len(made), room)):
            while not command.capacity.fits_in(host.capacity - host.used):
                terminate(turn, spare.pop(0), TerminationCause.ROOM_NEEDED)
            made.append(_launch(turn, environment, host.id, command))
    answer_wish(turn, command.wish_seq, tuple(made))


def deregister(turn: Turn, command: DeregisterInstance) -> None:
    """Let an instance go with its last job; with force, stop what is on it now."""
    instance = turn.state.instances.get(command.instance_id)
    refusal = None
    if instance is None:
        refusal = f"there is no instance {command.instance_id}"
    elif not turn.state.environments[instance.record.environment_arn].is_unmanaged:
        refusal = f"{command.instance_id} belongs to a managed environment, which ends it itself"
    else:
        stop_ms = turn.now_ms if command.is_forced else None
        if instance.is_open or command.is_forced:
            drain(turn, instance, TerminationCause.DEREGISTERED, stop_ms)
    ids = (command.instance_id,) if refusal is None else ()
    answer_wish(turn, command.wish_seq, ids, refusal=refusal)


def _refusal_of(
    state: State, environment: Environment | None, command: RegisterInstances
) -> str | None:
    if environment is None or environment.is_draining:
        return f"{command.environment_arn} does not exist"
    if not environment.is_unmanaged:
        return f"{environment.arn} is MANAGED: it launches its instances itself"
    if command.host_id is not None and command.host_id not in state.hosts:
        return f"there is no host {command.host_id}; known are: {', '.join(sorted(state.hosts))}"
    hosts = _hosts_of(state, command.host_id)
    count = sum(command.capacity.times_in(_room_on(state, host)) for host in hosts)
    if count >= command.count:
        return None
    free = "; ".join(f"{host.id} has {_room_on(state, host).text()} free" for host in hosts)
    return (
        f"no room for {command.count} x {command.instance_type} of"
        f" {command.capacity.text()} each: {free}"
    )


def _launch(
    turn: Turn, environment: Environment, host_id: HostId, command: RegisterInstances
) -> InstanceId:
    instance_id = instance_id_of(environment.uuid, environment.launch_count + 1)
    turn.emit(
        e.InstanceLaunched(
            record=InstanceRecord(
                id=instance_id,
                environment_arn=environment.arn,
                instance_type=command.instance_type,
                host_id=host_id,
                capacity=command.capacity,
                is_spot=False,
                launched_ms=turn.now_ms,
                ready_ms=turn.now_ms,
            ),
            launch_count=environment.launch_count + 1,
            cpu_milli_launched=environment.cpu_milli_launched + command.capacity.cpu_milli,
        )
    )
    return instance_id


def _hosts_of(state: State, host_id: HostId | None) -> list[Host]:
    return [host for host in state.hosts.values() if host_id in (None, host.id)]


def _spare_on(state: State, host: Host) -> list[InstanceId]:
    """Name the instances of a host that are given up for the room they take, in that order."""
    spare: list[InstanceId] = []
    for environment in state.environments.values():
        settings = environment.launching
        if settings is None or not may_give_up(environment):
            continue
        left = environment.cpu_milli_launched - settings.cpu_milli_min
        for instance_id in environment.idle_since_ms:
            record = state.instances[instance_id].record
            if record.host_id == host.id and record.capacity.cpu_milli <= left:
                left -= record.capacity.cpu_milli
                spare.append(instance_id)
    return spare


def _room_on(state: State, host: Host) -> Amount:
    """Tell what a host can give, idle instances that nothing keeps included."""
    room = host.capacity - host.used
    for instance_id in _spare_on(state, host):
        room += state.instances[instance_id].record.capacity
    return room
