"""How the scheduler sees the state.

Costs O(queues + environments + hosts); jobs are seen lazily.
"""

from collections.abc import Iterator, Mapping
from heapq import merge

from batchyard.core.state import Environment, Queue, State
from batchyard.model.ids import HostId, whole_id_of
from batchyard.model.instances import InstanceId
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    IdleInstance,
    InOrder,
    LaunchTerms,
    QueueView,
    View,
    WaitingJob,
)


def view_of(state: State) -> View:
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
                waiting=InOrder(_waiting(state, queue)),
            )
            for queue in state.queues.values()
            if not queue.is_draining and len(queue.line)
        ],
        hosts=[
            HostView(host_id=host.id, capacity=host.capacity, used=host.used)
            for host in state.hosts.values()
        ],
        environments=list(environment_views.values()),
        idle_instances=_idle_instances(state),
        host_by_instance=_HostByInstance(state),
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


def _view_environment(environment: Environment) -> EnvironmentView:
    settings = environment.launching
    return EnvironmentView(
        arn=environment.arn,
        is_valid=environment.fault is None and not environment.is_draining,
        is_enabled=environment.state == "ENABLED",
        cpu_milli_max=environment.cpu_milli_max,
        cpu_milli_used=environment.used.cpu_milli,
        launching=None
        if settings is None
        else LaunchTerms(
            strategy=settings.strategy,
            is_spot=settings.is_spot,
            types=settings.types,
            cpu_milli_launched=environment.cpu_milli_launched,
            cpu_milli_min=settings.cpu_milli_min,
            cpu_milli_wanted=max(settings.cpu_milli_min, environment.cpu_milli_wanted),
            environment_uuid=environment.uuid,
            launch_count=environment.launch_count,
            boot_ms=settings.boot_ms,
        ),
        has_instances=environment.has_instances,
        ready=environment.ready,
        starting=environment.starting,
    )


def _idle_instances(state: State) -> Iterator[IdleInstance]:
    """Yield the instances that run nothing, the longest idle first."""
    by_environment = [
        sorted((since_ms, each) for each, since_ms in environment.idle_since_ms.items())
        for environment in state.environments.values()
        if environment.idle_since_ms
    ]
    for _, instance_id in merge(*by_environment):
        record = state.instances[instance_id].record
        yield IdleInstance(
            instance_id=instance_id,
            environment_arn=record.environment_arn,
            host_id=record.host_id,
            capacity=record.capacity,
        )


def _waiting(state: State, queue: Queue) -> Iterator[WaitingJob]:
    for job_id in queue.line:
        job = state.jobs.get(job_id) or state.jobs[whole_id_of(job_id)]
        demands = () if job.nodes is None else job.nodes.demands
        yield WaitingJob(job_id=job_id, demand=job.demand, node_demands=demands)
