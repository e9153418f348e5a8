"""The whole state as it is, taken down piece by piece while it goes on, and made again.

Owns what there is to take down, and how a state is made of it that goes on exactly as the first
one would have. One that comes from the store (`restore`) knows less: since when an instance is
idle, for one. Refuses to know how pieces are kept, and how large they are.

Rules:
- An entry is a job, child or node as it is at that moment, or says that it is gone. Of several
  entries of one the last one counts.
- Nothing changes a job but events about it, its children or its nodes: `touched_by` says what is
  to be taken down again.
- What is no job is taken down at once, at the end (`rest_of`).

Why it is so: decision 0026.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from msgspec import Struct

from batchyard.core.bookkeeping import enter_again
from batchyard.core.events import Event, JobFact
from batchyard.core.state import Environment, Job, Queue, State, part_of
from batchyard.model.ids import EnvironmentArn, JobId, is_part_id, whole_id_of
from batchyard.model.instances import InstanceId
from batchyard.model.records import JobProgress
from batchyard.scheduler.rooms import RoomGroups


class Part(Struct, frozen=True, kw_only=True, array_like=True):
    """A child or a node: everything else is as its parent says."""

    parent_id: JobId
    index: int
    priority: int
    progress: JobProgress


#: A job, child or node, and what it is; None: it is gone.
Entry = tuple[JobId, Job | Part | None]

#: Instances with equal room, in their order.
_Groups = tuple[tuple[InstanceId, ...], ...]


class Rest(Struct, frozen=True, kw_only=True):
    """Everything but the jobs."""

    #: Without jobs, the lines of jobs, and what waits for each: they follow from the jobs.
    state: State
    #: Those that are ready, and those that are still starting.
    rooms: Mapping[EnvironmentArn, tuple[_Groups, _Groups]]


def entry_of(state: State, job_id: JobId) -> Entry:
    """Take down a job, child or node. What is given is the state's own: encode it at once."""
    job = state.jobs.get(job_id)
    if job is None or job.parent is None:
        return job_id, job
    part = Part(
        parent_id=job.parent.id, index=job.index, priority=job.priority, progress=job.progress
    )
    return job_id, part


def touched_by(events: Iterable[Event]) -> Iterable[JobId]:
    """Name the jobs, children and nodes that events have changed; parents before their parts."""
    for event in events:
        if isinstance(event, JobFact):
            if is_part_id(event.job_id):
                yield whole_id_of(event.job_id)
            yield event.job_id


def rest_of(state: State) -> Rest:
    """Take down everything but the jobs. It is the state's own: encode it at once."""
    environments = state.environments
    return Rest(
        state=State(
            pair_dependents=state.pair_dependents,
            job_by_task=state.job_by_task,
            tasks_by_environment=state.tasks_by_environment,
            environments={arn: _without_rooms(each) for arn, each in environments.items()},
            queues={arn: _without_jobs(each) for arn, each in state.queues.items()},
            hosts=state.hosts,
            consumables=state.consumables,
            instances=state.instances,
            placed_count=state.placed_count,
            alarms=state.alarms,
            deadlines=state.deadlines,
        ),
        rooms={
            arn: (_groups_in(each.ready), _groups_in(each.starting))
            for arn, each in environments.items()
        },
    )


def make_again(rest: Rest, entries: Iterable[Entry]) -> State:
    """Make the state of what was taken down, which it takes over."""
    state = rest.state
    for arn, (ready, starting) in rest.rooms.items():
        environment = state.environments[arn]
        for groups, found in ((environment.ready, ready), (environment.starting, starting)):
            for instance_id in (each for group in found for each in group):
                groups.enter(state.instances[instance_id].free, instance_id)
    for job_id, kept in dict(entries).items():
        if isinstance(kept, Part):
            job = part_of(state.jobs[kept.parent_id], kept.index, kept.progress)
            job.priority = kept.priority
            enter_again(state, job)
        elif kept is not None:
            assert kept.id == job_id, job_id
            enter_again(state, kept)
    return state


def _without_rooms(environment: Environment) -> Environment:
    return replace(environment, ready=RoomGroups(), starting=RoomGroups())


def _without_jobs(queue: Queue) -> Queue:
    shares = queue.quota_shares
    if shares is not None:
        shares = {name: replace(each, jobs={}) for name, each in shares.items()}
    return replace(queue, jobs={}, quota_shares=shares)


def _groups_in(groups: RoomGroups) -> _Groups:
    return tuple(tuple(each) for each in groups.values())
