"""Where a live job is entered and counted: queues, lines, hosts, environments, shares, its array.

Owns what must change together whenever a job appears, moves or goes, so that no counter is ever
kept in two places. Refuses to know why anything happens. For `evolve` and `restore` alone.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from batchyard.core import consumables
from batchyard.core.array import CODE_BY_STATUS, DOOMED, REST, Array
from batchyard.core.quota_books import count_end, count_start, head_of, quota_share_of
from batchyard.core.shares import enter_share, share_of
from batchyard.core.state import Environment, Instance, Job, State, new_child
from batchyard.core.transitions import check_move
from batchyard.core.waiting_line import WaitingLine
from batchyard.model.amounts import Amount
from batchyard.model.capacity_use import added, count_instances
from batchyard.model.ids import (
    EnvironmentArn,
    JobId,
    child_id,
    is_part_id,
    split_part_id,
)
from batchyard.model.instances import InstanceId
from batchyard.model.limits import PREEMPTED_ATTEMPTS_KEPT_MAX
from batchyard.model.records import (
    ArrayProgress,
    Attempt,
    InstanceRecord,
    JobProgress,
    TerminationCause,
)
from batchyard.model.status import JobStatus
from batchyard.scheduler.plan import Slot


def enter_job(state: State, job: Job) -> None:
    """Enter a live job that holds no capacity; the parent of a part before the part."""
    state.jobs[job.id] = job
    queue = state.queues.get(job.queue_arn)
    if queue is not None and job.parent is None:
        queue.jobs[job.id] = None
        if job.share_identifier is not None:
            enter_share(queue, job.share_identifier).live_count += 1
        if (quota_share := quota_share_of(state, job)) is not None:
            quota_share.jobs[job.id] = None
    if job.progress.status is JobStatus.RUNNABLE:
        _join_line(state, job)
        head = head_of(state, job)
        if head is not None and job.progress.blocked_ms is not None:
            head.blocked_id = job.id
    _note_unmet(state, job)


def enter_again(state: State, job: Job) -> None:
    """Enter a job, child or node of an inventory: what is counted of it counts already."""
    state.jobs[job.id] = job
    queue = state.queues.get(job.queue_arn)
    if queue is not None and job.parent is None:
        queue.jobs[job.id] = None
        if (quota_share := quota_share_of(state, job)) is not None:
            quota_share.jobs[job.id] = None
    if job.progress.status is JobStatus.RUNNABLE:
        _join_line(state, job)
    array = job.progress.array
    if array is not None and array.rest is JobStatus.RUNNABLE:
        _join_rest(state, job, array)
    _note_unmet(state, job)


def _note_unmet(state: State, job: Job) -> None:
    """Enter a job with those that it waits for."""
    for dependency_id in job.unmet:
        state.dependents.setdefault(dependency_id, []).append(job.id)
        _note_awaited_child(state, dependency_id)


def own_job(state: State, job_id: JobId, *, joins_line: bool = True) -> Job:
    """Give the live job that an event is about; a child of the rest leaves the rest with it.

    `joins_line` False: the event takes it out of the line.
    """
    job = state.jobs.get(job_id)
    if job is not None:
        return job
    parent_id, index = split_part_id(job_id)
    job = new_child(state.jobs[parent_id], index)
    _leave_rest(state, job)
    state.jobs[job_id] = job
    if joins_line and job.progress.status is JobStatus.RUNNABLE:
        _join_line(state, job)
    return job


def move(state: State, job: Job, status: JobStatus) -> None:
    """Change the status, and everything that follows it."""
    before = job.progress.status
    check_move(job.id, before, status, is_array=job.array is not None)
    job.progress.status = status
    if before is JobStatus.RUNNABLE:
        _leave_line(state, job, job.id)
    elif status is JobStatus.RUNNABLE:
        _join_line(state, job)
    if job.parent is not None and job.parent.array is not None:
        _recount(job.parent, job.index, before, status)


def show_reason(state: State, job: Job, reason: str | None, since_ms: int | None) -> None:
    """Let a job say why it is blocked at the head of its queue, and since when, or not any more."""
    job.progress.status_reason = reason
    job.progress.blocked_ms = since_ms
    head = head_of(state, job)
    if head is None:
        return
    if since_ms is not None:
        head.blocked_id = job.id
    elif head.blocked_id == job.id:
        head.blocked_id = None


def drop_job(state: State, job: Job) -> None:
    """Let go of a job that has come to its end."""
    del state.jobs[job.id]
    if job.parent is None:
        queue = state.queues.get(job.queue_arn)
        if queue is not None:
            del queue.jobs[job.id]
            if job.share_identifier is not None:
                queue.shares[job.share_identifier].live_count -= 1
            if (quota_share := quota_share_of(state, job)) is not None:
                del quota_share.jobs[job.id]
    elif job.parent.nodes is not None:
        del job.parent.nodes.live[job.index]
        job.parent.nodes.ended[job.index] = job.progress
    state.dependents.pop(job.id, None)
    state.pair_dependents.pop(job.id, None)
    if job.array is not None:
        forget_awaited_rest(state, job)


def forget_awaited_rest(state: State, parent: Job) -> None:
    """Let go of who waited for single children of the rest, once the rest is over."""
    array = array_of(parent)
    if array.has_awaited_children:
        for index in array.rest_indexes():
            state.dependents.pop(child_id(parent.id, index), None)


def set_priority(state: State, job: Job, priority: int) -> None:
    """Let a job stand elsewhere in its line."""
    is_waiting = job.progress.status is JobStatus.RUNNABLE
    if is_waiting:
        _leave_line(state, job, job.id)
    job.priority = priority
    if is_waiting:
        _join_line(state, job)


def set_rest(state: State, parent: Job, status: JobStatus) -> ArrayProgress:
    """Change the status of every child of the rest at once."""
    progress = parent.progress.array
    assert progress is not None, parent.id
    if progress.rest is JobStatus.RUNNABLE:
        _leave_line(state, parent, parent.id)
    progress.rest = status
    if status is JobStatus.RUNNABLE:
        _join_rest(state, parent, progress)
    return progress


def take_capacity(
    state: State, environment_arn: EnvironmentArn, slot: Slot, demand: Amount
) -> None:
    """Count a demand in its environment, and on its instance or, without one, on its host."""
    state.environments[environment_arn].used += demand
    if slot.instance_id is None:
        state.hosts[slot.host_id].used += demand
    else:
        use_instance(state, slot.instance_id, demand, 1)


def give_back_capacity(
    state: State, environment_arn: EnvironmentArn, slot: Slot, demand: Amount
) -> None:
    """Undo `take_capacity`."""
    state.environments[environment_arn].used -= demand
    if slot.instance_id is None:
        state.hosts[slot.host_id].used -= demand
    else:
        use_instance(state, slot.instance_id, Amount() - demand, -1)


def hold_capacity(state: State, job: Job, attempt: Attempt) -> None:
    """Count a live attempt in its environment and where it runs, and watch its time.

    A multi-node job holds what those of its nodes need that do not exist yet; each other one holds
    its own.
    """
    for slot, demand in held_slots(job, attempt):
        take_capacity(state, attempt.environment_arn, slot, demand)
    if job.nodes is None:
        note_task(state, job, attempt)
    if not is_node(job):
        state.environments[attempt.environment_arn].attempt_count += 1
        _count_in_queue(state, job, job.demand.cpu_milli)
        _count_instances(state, job, attempt, 1)
        count_start(state, job)
    consumables.hold(state.consumables, job.needs)
    watch_time(state, job, attempt)


def release_capacity(state: State, job: Job, attempt: Attempt) -> None:
    """Give back what `hold_capacity` took."""
    give_back_slots(state, job, attempt)
    if job.nodes is None:
        del state.job_by_task[attempt.task_id]
        _forget_place(state, attempt)
        instance = state.instances.get(attempt.instance_id) if attempt.instance_id else None
        if instance is not None:
            del instance.tasks[attempt.task_id]
    if not is_node(job):
        state.environments[attempt.environment_arn].attempt_count -= 1
        _count_in_queue(state, job, -job.demand.cpu_milli)
        _count_instances(state, job, attempt, -1)
        count_end(state, job)
    consumables.release(state.consumables, job.needs)


def _forget_place(state: State, attempt: Attempt) -> None:
    there = state.tasks_by_environment[attempt.environment_arn]
    del there[attempt.task_id]
    if not there:
        del state.tasks_by_environment[attempt.environment_arn]


def _count_in_queue(state: State, job: Job, cpu_milli: int) -> None:
    queue = state.queues.get(job.queue_arn)
    if queue is not None:
        queue.cpu_milli += cpu_milli
    if (share := share_of(state, job)) is not None:
        share.cpu_milli += cpu_milli


def _count_instances(state: State, job: Job, attempt: Attempt, sign: int) -> None:
    """Count what a service job takes of its environment, and shows in its queue and share."""
    if not job.is_service:
        return
    more = count_instances(job.capacity_use, sign=sign)
    environment = state.environments[attempt.environment_arn]
    environment.instances_used = added(environment.instances_used, more)
    queue = state.queues.get(job.queue_arn)
    if queue is not None:
        queue.instances = added(queue.instances, more)
    if (share := share_of(state, job)) is not None:
        share.instances = added(share.instances, more)


def give_back_slots(state: State, job: Job, attempt: Attempt) -> None:
    """Give back what a live attempt holds by itself; no node begins in it any more."""
    for slot, demand in held_slots(job, attempt):
        give_back_capacity(state, attempt.environment_arn, slot, demand)
    if job.nodes is not None:
        job.nodes.waiting.clear()


def note_task(state: State, job: Job, attempt: Attempt) -> None:
    """Say which job a live attempt's task runs, and what runs on its instance."""
    state.job_by_task[attempt.task_id] = job.id
    state.tasks_by_environment.setdefault(attempt.environment_arn, {})[attempt.task_id] = None
    if attempt.instance_id is not None:
        state.instances[attempt.instance_id].tasks[attempt.task_id] = None


def drain_instance(
    state: State, instance_id: InstanceId, cause: TerminationCause, stop_ms: int | None
) -> None:
    """Let nothing new be placed on an instance."""
    instance = state.instances[instance_id]
    _leave_room(state.environments[instance.record.environment_arn], instance)
    instance.record = replace(instance.record, draining_for=cause, stop_ms=stop_ms)
    if stop_ms is not None:
        state.alarms.add(stop_ms, instance_id)


def slot_of_node(attempt: Attempt, index: int) -> Slot:
    """Tell where a node of a multi-node job's attempt is placed."""
    return Slot(
        host_id=attempt.node_hosts[index],
        instance_id=attempt.node_instances[index] if attempt.node_instances else None,
    )


def held_slots(job: Job, attempt: Attempt) -> list[tuple[Slot, Amount]]:
    """Give what a live attempt holds by itself, and where."""
    nodes = job.nodes
    if nodes is None:
        slot = Slot(host_id=attempt.host_id, instance_id=attempt.instance_id)
        return [(slot, job.demand)]
    return [(slot_of_node(attempt, index), nodes.demands[index]) for index in nodes.waiting]


def add_instance(state: State, record: InstanceRecord, *, is_ready: bool) -> None:
    """Enter an instance that runs nothing; it takes its slice of the host."""
    instance = Instance(record=record, is_ready=is_ready)
    environment = state.environments[record.environment_arn]
    state.instances[record.id] = instance
    state.hosts[record.host_id].used += record.capacity
    environment.instances[record.id] = None
    environment.cpu_milli_launched += record.capacity.cpu_milli
    _enter_room(environment, instance)
    if is_ready:
        environment.idle_since_ms[record.id] = record.ready_ms
    else:
        state.alarms.add(record.ready_ms, record.id)
    if record.stop_ms is not None:
        state.alarms.add(record.stop_ms, record.id)


def make_ready(state: State, instance_id: InstanceId) -> None:
    """Let jobs be placed on an instance from now on."""
    instance = state.instances[instance_id]
    environment = state.environments[instance.record.environment_arn]
    _leave_room(environment, instance)
    instance.is_ready = True
    _enter_room(environment, instance)
    if not instance.attempt_count:
        environment.idle_since_ms[instance_id] = instance.record.ready_ms


def drop_instance(state: State, instance_id: InstanceId) -> None:
    """Let go of an instance that runs nothing."""
    instance = state.instances.pop(instance_id)
    record = instance.record
    environment = state.environments[record.environment_arn]
    state.hosts[record.host_id].used -= record.capacity
    del environment.instances[instance_id]
    environment.cpu_milli_launched -= record.capacity.cpu_milli
    environment.cpu_milli_wanted = 0
    environment.idle_since_ms.pop(instance_id, None)
    _leave_room(environment, instance)


def use_instance(state: State, instance_id: InstanceId, demand: Amount, count: int) -> None:
    """Count a demand on an instance, and keep it with those of equal room."""
    instance = state.instances[instance_id]
    environment = state.environments[instance.record.environment_arn]
    _leave_room(environment, instance)
    instance.used += demand
    instance.attempt_count += count
    _enter_room(environment, instance)
    if instance.attempt_count:
        environment.idle_since_ms.pop(instance_id, None)


def instances_of(attempt: Attempt) -> Iterable[InstanceId]:
    """Name the instances that an attempt holds, each once; none on a slice of a host."""
    own = (attempt.instance_id,) if attempt.instance_id is not None else ()
    return dict.fromkeys((*own, *attempt.node_instances))


def note_idle(state: State, attempt: Attempt, at_ms: int) -> None:
    """Note since when an instance runs nothing, if the attempt that ended was its last."""
    for instance_id in instances_of(attempt):
        instance = state.instances.get(instance_id)
        if instance is None or instance.attempt_count:
            continue
        environment = state.environments[instance.record.environment_arn]
        environment.idle_since_ms.setdefault(instance_id, at_ms)


def _enter_room(environment: Environment, instance: Instance) -> None:
    free = instance.free
    if free.cpu_milli > 0 and instance.is_open:
        groups = environment.ready if instance.is_ready else environment.starting
        groups.enter(free, instance.record.id)


def _leave_room(environment: Environment, instance: Instance) -> None:
    groups = environment.ready if instance.is_ready else environment.starting
    groups.leave(instance.free, instance.record.id)


def watch_time(state: State, job: Job, attempt: Attempt) -> None:
    """Note when a started attempt runs out of time, if it has a limit."""
    if attempt.started_ms is not None and job.timeout_ms is not None:
        state.deadlines.add(attempt.started_ms + job.timeout_ms, attempt.task_id)


def is_node(job: Job) -> bool:
    return job.parent is not None and job.parent.nodes is not None


def keep_attempt(progress: JobProgress, attempt: Attempt) -> None:
    """Keep an attempt that has ended: all that count, and the last of those that do not."""
    progress.attempt = None
    if attempt.stop_cause is None or not attempt.stop_cause.is_preemption:
        progress.attempts = (*progress.attempts, attempt)
        return
    progress.preempted_count += 1
    kept = (*progress.preempted, attempt)
    progress.preempted = kept[-PREEMPTED_ATTEMPTS_KEPT_MAX:]


def attempt_of(job: Job) -> Attempt:
    """Give the live attempt of a job that has one."""
    attempt = job.progress.attempt
    assert attempt is not None, job.id
    return attempt


def array_of(parent: Job) -> Array:
    assert parent.array is not None, parent.id
    return parent.array


def own_waits(array: Array) -> bytearray:
    """Give the conditions of each child, none being the beginning."""
    if array.waits is None:
        array.waits = bytearray(array.size)
    return array.waits


def first_waits(
    state: State, size: int, unmet_each: tuple[JobId, ...], *, is_sequential: bool
) -> bytearray | None:
    """Count what each child of a new array waits for, given the arrays it is paired with."""
    if not unmet_each and not is_sequential:
        return None
    waits = bytearray(size)
    if is_sequential:
        waits[1:] = b"\1" * (size - 1)
    for partner_id in unmet_each:
        for index, wait in enumerate(_waits_for(state.jobs[partner_id])):
            if wait:
                waits[index] = DOOMED if DOOMED in (wait, waits[index]) else waits[index] + 1
    return waits


def _waits_for(partner: Job) -> bytes:
    """Tell for each child of an array whether its partner waits (1), need not (0) or cannot."""
    assert partner.progress.array is not None, partner.id
    wait_by_code = bytearray(b"\1" * 256)
    wait_by_code[CODE_BY_STATUS[JobStatus.SUCCEEDED]] = 0
    wait_by_code[CODE_BY_STATUS[JobStatus.FAILED]] = DOOMED
    if partner.progress.array.rest is JobStatus.FAILED:
        wait_by_code[REST] = DOOMED
    return bytes(array_of(partner).codes.translate(wait_by_code))


def _leave_rest(state: State, child: Job) -> None:
    """Let a child have a story of its own from now on."""
    parent = child.parent
    assert parent is not None, child.id
    assert parent.progress.array is not None, parent.id
    progress, status = parent.progress.array, child.progress.status
    array_of(parent).codes[child.index] = CODE_BY_STATUS[status]
    progress.rest_count -= 1
    if not progress.rest_count and progress.rest is JobStatus.RUNNABLE:
        _leave_line(state, parent, parent.id)
    counts = progress.own_count_by_status
    counts[status] = counts.get(status, 0) + 1


def _recount(parent: Job, index: int, before: JobStatus, after: JobStatus) -> None:
    assert parent.progress.array is not None, parent.id
    array_of(parent).codes[index] = CODE_BY_STATUS[after]
    counts = parent.progress.array.own_count_by_status
    counts[before] -= 1
    counts[after] = counts.get(after, 0) + 1


def line_of(state: State, job: Job) -> WaitingLine | None:
    """Give the line that a job stands in while it is RUNNABLE; None: its queue is gone."""
    queue = state.queues.get(job.queue_arn)
    if job.quota_share is not None:
        quota_share = quota_share_of(state, job)
        return None if quota_share is None else quota_share.line
    if queue is None or job.share_identifier is None:
        return None if queue is None else queue.line
    return queue.shares[job.share_identifier].line


def _join_line(state: State, job: Job) -> None:
    line = line_of(state, job)
    if line is not None:
        is_retry = job.progress.was_tried
        line.join(job.id, job.seq, job.index, is_retry=is_retry, priority=job.priority)


def _join_rest(state: State, parent: Job, progress: ArrayProgress) -> None:
    line = line_of(state, parent)
    if progress.rest_count and line is not None:
        codes = array_of(parent).codes
        line.join_array(parent.id, parent.seq, codes, priority=parent.priority)


def _leave_line(state: State, job: Job, job_id: JobId) -> None:
    """Take `job_id`, the job itself or all its children of the rest, out of the line of `job`."""
    line = line_of(state, job)
    if line is not None and job_id in line:
        line.leave(job_id)


def _note_awaited_child(state: State, dependency_id: JobId) -> None:
    if is_part_id(dependency_id):
        array_of(state.jobs[split_part_id(dependency_id)[0]]).has_awaited_children = True
