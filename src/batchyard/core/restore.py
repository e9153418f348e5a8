"""How the state comes back after a restart, and what is still owed to the outside.

Decides which effects a committed state still owes, given the tasks that the backends know.
Refuses to know the store. Rule: a task that a backend knows is adopted, never started again; a
STARTING attempt whose task nobody knows was never handed over, and is handed over now; a RUNNING
one was lost. On a host that is gone, both were: its tasks may run on, but nobody hears of them.
What is kept there for nodes that have not begun is given up, with the attempt that keeps it.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from batchyard.core.array import CODE_BY_STATUS, DOOMED, Array
from batchyard.core.attempts import record_end, take
from batchyard.core.bookkeeping import (
    add_instance,
    array_of,
    attempt_of,
    enter_job,
    first_waits,
    hold_capacity,
    is_node,
    make_ready,
    own_waits,
    set_rest,
)
from batchyard.core.effects import StartTask, StopTask
from batchyard.core.evolve_parts import new_nodes
from batchyard.core.inputs import TaskEnded
from batchyard.core.instances import lose_instances_on
from batchyard.core.jobs import doomed_by
from batchyard.core.multi_node import start_of_node, stop_if_kept
from batchyard.core.quota_books import quota_share_name_of, use_in
from batchyard.core.service_jobs import fitted
from batchyard.core.shares import priority_of, restore_share, share_identifier_of
from batchyard.core.state import Job, Nodes, State, child_status, part_of
from batchyard.core.stopping import stop_of
from batchyard.core.turn import Outcome, Turn
from batchyard.model.ids import HostId, JobId, QueueArn, TaskId, is_part_id, split_part_id
from batchyard.model.records import Attempt, InstanceRecord, JobProgress, QueuedJob, ShareRecord
from batchyard.model.status import JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredParts:
    """What is stored of the children and nodes of live jobs, and of shares.

    A part of a job that is not among the restored ones is passed over.
    """

    #: The status of each child and node that has a record: parent, index, status.
    statuses: Iterable[tuple[JobId, int, JobStatus]] = ()
    #: The progress of every live child, and of every node.
    progress: Iterable[tuple[JobId, int, JobProgress]] = ()
    #: How the children of arrays ended that are waited for child by child; see `AcceptJob`.
    ended_arrays: Mapping[JobId, Mapping[int, JobStatus]] = field(default_factory=dict)
    #: The shares of queues, by identifier.
    shares: Iterable[tuple[QueueArn, str, ShareRecord]] = ()


def restore_instances(state: State, records: Iterable[InstanceRecord], now_ms: int) -> None:
    """Enter the instances, before the jobs that run on them. Environments must be there already.

    Those that turn out to be idle are so since now: nobody knows it better. One whose launch lies
    ahead was launched before the clock was set back: it has started long since, for all we know.
    """
    for record in records:
        environment = state.environments.get(record.environment_arn)
        if environment is None:
            continue
        is_ready = record.ready_ms <= now_ms or record.launched_ms > now_ms
        add_instance(state, record, is_ready=is_ready)
        if is_ready:
            environment.idle_since_ms[record.id] = now_ms


def restore_jobs(
    state: State, records: Iterable[QueuedJob], parts: StoredParts | None = None
) -> None:
    """Enter the live jobs. Queues, environments and hosts must be there already.

    A dependency that is no longer live is over: had it failed, its dependants would have failed
    in the same commit.
    """
    kept = list(records)
    parts = parts or StoredParts()
    for queue_arn, identifier, share in parts.shares:
        restore_share(state, queue_arn, identifier, share)
    for record in kept:
        state.jobs[record.id] = _job_of(state, record)
    for parent_id, index, status in parts.statuses:
        parent = state.jobs.get(parent_id)
        if parent is not None and parent.array is not None:
            parent.array.codes[index] = CODE_BY_STATUS[status]
    for record in kept:
        _enter(state, record, parts.ended_arrays)
    for parent_id, index, progress in parts.progress:
        parent = state.jobs.get(parent_id)
        if parent is not None:
            _enter_part(state, parent, index, progress)
    _hold_for_nodes(state, kept)
    for instance_id, instance in state.instances.items():
        if instance.attempt_count and not instance.is_ready:
            make_ready(state, instance_id)  # Whatever the clock says by now.


def _hold_for_nodes(state: State, records: Iterable[QueuedJob]) -> None:
    """Let nodes that have no part in their attempt yet hold what is kept for them."""
    for record in records:
        job = state.jobs[record.id]
        if job.nodes is not None and record.progress.attempt is not None:
            job.nodes.waiting = _waiting_nodes(job.nodes, record.progress.attempt)
            hold_capacity(state, job, record.progress.attempt)


def _job_of(state: State, record: QueuedJob) -> Job:
    record = fitted(state, record)
    size = record.array_size
    queue = state.queues.get(record.queue_arn)
    return Job(
        id=record.id,
        seq=record.seq,
        queue_arn=record.queue_arn,
        demand=record.demand,
        attempts_max=record.attempts_max,
        exit_rules=record.exit_rules,
        timeout_ms=record.timeout_ms,
        unmet=(),
        progress=record.progress,
        needs=record.needs,
        share_identifier=share_identifier_of(queue, record),
        priority=priority_of(queue, record),
        quota_share=quota_share_name_of(queue, record),
        use=use_in(queue, record),
        capacity_use=record.capacity_use,
        preemption_retries_max=record.preemption_retries_max,
        array=None
        if size is None
        else Array(codes=bytearray(size), waits=None, is_sequential=record.is_sequential),
        nodes=None if record.nodes is None else new_nodes(record.nodes),
    )


def _enter(state: State, record: QueuedJob, ended: Mapping[JobId, Mapping[int, JobStatus]]) -> None:
    job = state.jobs[record.id]
    is_waiting = record.progress.status is JobStatus.PENDING
    if job.array is not None:
        assert record.progress.array is not None, record.id
        is_waiting = record.progress.array.rest is None
        _restore_waits(state, job, record, ended)
    if is_waiting:
        unmet = dict.fromkeys(record.depends_on)
        job.unmet = tuple(each for each in unmet if _is_live(state, each))
    enter_job(state, job)
    if record.progress.array is not None and record.progress.array.rest is not None:
        set_rest(state, job, record.progress.array.rest)
    if job.nodes is None and record.progress.attempt is not None:
        hold_capacity(state, job, record.progress.attempt)


def _restore_waits(
    state: State, job: Job, record: QueuedJob, ended: Mapping[JobId, Mapping[int, JobStatus]]
) -> None:
    """Count again what the children wait for, from what has become of the others."""
    array = array_of(job)
    partners = [each for each in dict.fromkeys(record.depends_on_each) if each in state.jobs]
    for partner_id in partners:
        state.pair_dependents.setdefault(partner_id, []).append(job.id)
    array.waits = first_waits(
        state, array.size, tuple(partners), is_sequential=record.is_sequential
    )
    if array.is_sequential:
        waits = own_waits(array)
        succeeded = CODE_BY_STATUS[JobStatus.SUCCEEDED]
        for index, code in enumerate(array.codes[:-1]):
            if code == succeeded and waits[index + 1] != DOOMED:
                waits[index + 1] -= 1
    assert record.progress.array is not None, record.id
    if record.progress.array.rest is None:
        doomed = doomed_by(record.depends_on_each, array.size, ended, state)
        for indexes in doomed.values():
            for index in indexes:
                own_waits(array)[index] = DOOMED


def _is_live(state: State, job_id: JobId) -> bool:
    if job_id in state.jobs:
        return True
    if not is_part_id(job_id):
        return False
    parent_id, index = split_part_id(job_id)
    parent = state.jobs.get(parent_id)
    if parent is None or parent.array is None:
        return False
    status = child_status(parent, index)
    return status is None or not status.is_terminal


def _enter_part(state: State, parent: Job, index: int, progress: JobProgress) -> None:
    if parent.nodes is not None and progress.status.is_terminal:
        parent.nodes.ended[index] = progress
        return
    part = part_of(parent, index, progress)
    enter_job(state, part)
    if parent.nodes is not None:
        parent.nodes.live[index] = None
    if progress.attempt is not None:
        hold_capacity(state, part, progress.attempt)


def _waiting_nodes(nodes: Nodes, attempt: Attempt) -> dict[int, None]:
    """Name the nodes that have no part in an attempt of their job yet, and are to begin."""
    if attempt.stop_cause is not None:
        return {}
    return {
        index: None
        for index in range(len(nodes.demands))
        if index not in nodes.live and not _took_part(nodes.ended.get(index), attempt.number)
    }


def _took_part(progress: JobProgress | None, number: int) -> bool:
    if progress is None:
        return False
    return any(
        each[-1].number == number for each in (progress.attempts, progress.preempted) if each
    )


def resume(state: State, known_tasks: Set[TaskId] | None, host_id: HostId, now_ms: int) -> Outcome:
    """Say what is owed to the backend of `host_id`, which knows the tasks named.

    None: no backend offers this host any more.
    """
    turn = Turn(state, now_ms)
    is_gone = known_tasks is None
    known_tasks = known_tasks or frozenset[TaskId]()
    for job_id in list(state.job_by_task.values()):
        job = state.jobs.get(job_id)
        if job is None:  # it ended with one before it
            continue
        attempt = attempt_of(job)
        if attempt.host_id != host_id:
            continue
        if attempt.task_id in known_tasks:
            take(turn, job)
            if attempt.stop_cause is not None:
                turn.ask(stop_of(job, attempt))
        elif not is_gone and attempt.started_ms is None and attempt.stop_cause is None:
            turn.ask(_start_of(job))
        else:
            is_lost = is_gone or attempt.started_ms is not None
            record_end(turn, _lost(attempt.task_id, now_ms, is_lost=is_lost))
    if is_gone:
        stop_if_kept(turn, state.job_by_task, lambda slot: slot.host_id == host_id)
        lose_instances_on(turn, host_id)
    for task_id in sorted(known_tasks):
        if task_id not in state.job_by_task:
            turn.ask(StopTask(task_id=task_id, host_id=host_id, grace_ms=0))
    return turn.outcome


def _start_of(job: Job) -> StartTask:
    if is_node(job):
        return start_of_node(job)
    attempt = attempt_of(job)
    return StartTask(
        task_id=attempt.task_id,
        job_id=job.id,
        attempt_number=attempt.number,
        environment_arn=attempt.environment_arn,
        host_id=attempt.host_id,
        share=job.demand if job.is_service else None,
    )


def _lost(task_id: TaskId, now_ms: int, *, is_lost: bool) -> TaskEnded:
    return TaskEnded(
        task_id=task_id,
        at_ms=now_ms,
        exit_code=None,
        reason=None,
        is_lost=is_lost,
    )
