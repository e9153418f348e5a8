"""How an event changes an array and its children, or a multi-node job and its nodes.

Part of `evolve`, under its rules.
"""

from typing import assert_never

from batchyard.core import events as e
from batchyard.core.array import DOOMED, Array
from batchyard.core.bookkeeping import (
    array_of,
    attempt_of,
    first_waits,
    forget_awaited_rest,
    note_task,
    own_waits,
    set_rest,
    slot_of_node,
)
from batchyard.core.state import Job, Nodes, State, part_of
from batchyard.model.ids import is_part_id, split_part_id
from batchyard.model.records import ArrayProgress, Attempt, JobProgress, NodePlan
from batchyard.model.status import JobStatus

PartsEvent = (
    e.DependencyEnded
    | e.ChildrenDoomed
    | e.ChildrenSpawned
    | e.RestFailed
    | e.NodePlaced
    | e.MainNodeEnded
)


def evolve_parts(state: State, event: PartsEvent) -> Job | None:
    """Make the event true in the state; give the job whose record it changes."""
    match event:
        case e.DependencyEnded():
            return _end_dependency(state, event)
        case e.ChildrenDoomed():
            waits = own_waits(array_of(state.jobs[event.job_id]))
            for index in event.indexes:
                waits[index] = DOOMED
            return None
        case e.ChildrenSpawned():
            job = state.jobs[event.job_id]
            set_rest(state, job, event.status).spawned_ms = event.at_ms
            return job
        case e.RestFailed():
            job = state.jobs[event.job_id]
            progress = set_rest(state, job, JobStatus.FAILED)
            progress.rest_status_reason = event.status_reason
            progress.rest_stopped_ms = event.at_ms
            forget_awaited_rest(state, job)
            return job
        case e.NodePlaced():
            return _place_node(state, event)
        case e.MainNodeEnded():
            return _note_main_end(state, event)
        case _:
            assert_never(event)


def array_progress_of(size: int) -> ArrayProgress:
    """Begin the record of an array that has no children yet."""
    return ArrayProgress(size=size, rest_count=size)


def new_array(state: State, event: e.JobAccepted) -> Array:
    """Make what a parent holds of its children."""
    size = event.array_size
    assert size is not None, event.job_id
    return Array(
        codes=bytearray(size),
        waits=first_waits(state, size, event.unmet_each, is_sequential=event.is_sequential),
        is_sequential=event.is_sequential,
    )


def new_nodes(plan: NodePlan) -> Nodes:
    """Make what a parent holds of its nodes."""
    return Nodes(main_index=plan.main_index, demands=plan.demands())


def _end_dependency(state: State, event: e.DependencyEnded) -> Job | None:
    """Count it; what a child of the rest waits for is in no record."""
    if is_part_id(event.job_id):
        parent_id, index = split_part_id(event.job_id)
        own_waits(array_of(state.jobs[parent_id]))[index] -= 1
        return None
    job = state.jobs[event.job_id]
    job.unmet = tuple(each for each in job.unmet if each != event.dependency_id)
    return job


def _note_main_end(state: State, event: e.MainNodeEnded) -> Job:
    job = state.jobs[event.job_id]
    attempt = attempt_of(job)
    attempt.stopped_ms = event.at_ms
    attempt.exit_code = event.exit_code
    attempt.reason = event.reason
    attempt.status_reason = event.status_reason
    attempt.containers = event.containers
    return job


def _place_node(state: State, event: e.NodePlaced) -> Job:
    """Let a node begin on what its job holds for it."""
    parent_id, index = split_part_id(event.job_id)
    parent = state.jobs[parent_id]
    nodes, of_job = parent.nodes, attempt_of(parent)
    assert nodes is not None, parent_id
    before = nodes.ended.pop(index, None)
    slot = slot_of_node(of_job, index)
    progress = JobProgress(
        status=JobStatus.STARTING,
        attempts=() if before is None else before.attempts,
        preempted_count=0 if before is None else before.preempted_count,
        preempted=() if before is None else before.preempted,
        attempt=Attempt(
            number=event.number,
            task_id=event.task_id,
            environment_arn=of_job.environment_arn,
            host_id=slot.host_id,
            instance_id=slot.instance_id,
            placed_ms=event.at_ms,
        ),
    )
    node = part_of(parent, index, progress)
    state.jobs[node.id] = node
    assert progress.attempt is not None
    note_task(state, node, progress.attempt)
    del nodes.waiting[index]
    nodes.live[index] = None
    return node
