"""How the scheduler sees the state.

Costs O(queues + environments + hosts); jobs are seen lazily.
"""

from collections.abc import Iterator

from batchyard.core.state import Environment, Queue, State
from batchyard.model.ids import whole_id_of
from batchyard.scheduler.view import (
    EnvironmentView,
    HostView,
    InOrder,
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
    )


def _view_environment(environment: Environment) -> EnvironmentView:
    return EnvironmentView(
        arn=environment.arn,
        is_valid=environment.fault is None and not environment.is_draining,
        is_enabled=environment.state == "ENABLED",
        cpu_milli_max=environment.cpu_milli_max,
        cpu_milli_used=environment.used.cpu_milli,
    )


def _waiting(state: State, queue: Queue) -> Iterator[WaitingJob]:
    for job_id in queue.line:
        job = state.jobs.get(job_id) or state.jobs[whole_id_of(job_id)]
        nodes = job.nodes
        if nodes is None:
            yield WaitingJob(job_id=job_id, demand=job.demand)
        else:
            yield WaitingJob(
                job_id=job_id,
                demand=job.demand,
                node_demands=nodes.demands,
                main_index=nodes.main_index,
            )
