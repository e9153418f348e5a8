"""What becomes of attempts: placement, start, end, retry, timeout.

Decides by reference/jobs.md sections 1.4, 6 and 7. Refuses to know how a container runs.

Rules that hold here: an attempt is placed only where it fits at this moment; a job is SUCCEEDED
only if its process exited with 0 by itself; a job that was terminated, timed out, or whose queue
is going is never tried again, and neither is a child whose array was cancelled.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b

from batchyard.core import events as e
from batchyard.core.bookkeeping import attempt_of, is_node
from batchyard.core.consumables import have_all
from batchyard.core.effects import ForgetTask, StartTask
from batchyard.core.endings import Failure, Success, end, is_given_up, wish_reason_of
from batchyard.core.heads import explain_heads, give_up_heads
from batchyard.core.inputs import TaskEnded, TaskFetching, TaskStarted, TaskTaken
from batchyard.core.instances import give_up, launch, settle_instances
from batchyard.core.multi_node import (
    begin_main_node,
    begin_other_nodes,
    decides,
    is_main,
    nodes_of,
    note_main_end,
)
from batchyard.core.preempting import is_share_open, may_go_on, preempt
from batchyard.core.quota_books import quota_memory_of, quota_share_of, without
from batchyard.core.quota_shares import settle_drained_share
from batchyard.core.resources import settle_drained
from batchyard.core.retrying import is_worth_retrying, is_worth_retrying_service
from batchyard.core.service_jobs import may_use, why_training_ended
from batchyard.core.state import Environment, Job, Queue, State
from batchyard.core.stopping import stop_attempt
from batchyard.core.turn import Turn
from batchyard.core.verdict import Verdict, judge, preemption_reason_of, verdict_of
from batchyard.model import wording
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, node_id, task_id_of
from batchyard.model.instances import InstanceId
from batchyard.model.records import Attempt, Fetching, StopCause
from batchyard.model.status import JobStatus, ResourceState
from batchyard.scheduler.plan import Placement, Plan, Slot

_REASON_BY_CAUSE: Mapping[StopCause | None, str] = {
    StopCause.TIMED_OUT: wording.TIMEOUT_EXCEEDED,
    StopCause.QUEUE_DELETED: wording.QUEUE_DELETED,
    StopCause.QUOTA_SHARE_DELETED: wording.QUOTA_SHARE_DELETED,
    StopCause.SPOT_TASK_INTERRUPTED: wording.SPOT_TASK_INTERRUPTED,
}


def carry_out_plan(turn: Turn, plan: Plan) -> None:
    """Make events of what the scheduler proposed, as far as it still holds."""
    for instance_id in plan.terminations:
        give_up(turn, instance_id)
    for proposed in plan.launches:
        launch(turn, proposed)
    for preemption in plan.preemptions:
        preempt(turn, preemption)
    for placement in plan.placements:
        if may_place(turn.state, placement):
            _place(turn, placement)
    explain_heads(turn, plan.blocked)
    give_up_heads(turn, plan.blocked)


def may_place(state: State, placement: Placement) -> bool:
    """Check a placement against the state itself, whatever view it was made from."""
    job = state.find(placement.job_id)
    environment = state.environments.get(placement.environment_arn)
    if job is None or job.array is not None or environment is None:
        return False
    queue = state.queues.get(job.queue_arn)
    return (
        job.progress.status is JobStatus.RUNNABLE
        and queue is not None
        and not queue.is_draining
        and _may_use_share(state, job, queue)
        and environment.arn in queue.environment_arns
        and environment.state is ResourceState.ENABLED
        and environment.fault is None
        and not environment.is_draining
        and may_use(environment, job)
        and have_all(state.consumables, job.needs)
        and _fit_slots(state, job, environment, placement.slots)
    )


def _may_use_share(state: State, job: Job, queue: Queue) -> bool:
    """Tell whether the quota shares of the queue, if it has some, let the job start."""
    if queue.quota_shares is None:
        return True
    share = quota_share_of(state, job)
    if share is None or share.is_draining or job.quota_share is None:
        return False
    memory = quota_memory_of(state, queue)
    return memory.accounts.may_start(job.quota_share, without(job.use, memory.uncounted))


def record_taken(turn: Turn, report: TaskTaken) -> None:
    """SCHEDULED -> STARTING; a repeated or late report changes nothing."""
    job = turn.state.job_of_task(report.task_id)
    if job is not None:
        take(turn, job)


def take(turn: Turn, job: Job) -> None:
    """SCHEDULED -> STARTING: somebody has begun with the attempt; a node's is its job's."""
    whole = job.parent if job.parent is not None and is_node(job) else job
    if whole.progress.status is JobStatus.SCHEDULED:
        turn.emit(e.AttemptTaken(job_id=whole.id))


def record_fetching(turn: Turn, report: TaskFetching) -> None:
    """Note what an attempt waits for that has not started; a repeated report changes nothing.

    What the main node waits for, its job does.
    """
    job = turn.state.job_of_task(report.task_id)
    if job is None or attempt_of(job).started_ms is not None:
        return
    fetching = Fetching(since_ms=report.at_ms, image=report.image)
    if attempt_of(job).fetching != fetching:
        take(turn, job)
        turn.emit(e.AttemptFetching(job_id=job.id, fetching=fetching))
        if job.parent is not None and is_node(job) and is_main(job):
            turn.emit(e.AttemptFetching(job_id=job.parent.id, fetching=fetching))


def record_start(turn: Turn, report: TaskStarted) -> None:
    """STARTING -> RUNNING; a repeated or late report changes nothing."""
    job = turn.state.job_of_task(report.task_id)
    if job is None or job.progress.attempt is None or attempt_of(job).started_ms is not None:
        return
    _start(turn, job, report.at_ms, report.address)
    if job.parent is not None and is_node(job) and is_main(job):
        begin_other_nodes(turn, job.parent)


def record_end(turn: Turn, report: TaskEnded) -> None:
    """End the live attempt, and decide whether the job succeeds, fails or is tried again."""
    job = turn.state.job_of_task(report.task_id)
    turn.ask(ForgetTask(task_id=report.task_id))
    if job is None:
        return
    verdict = judge(report)
    attempt = attempt_of(job)
    if attempt.stop_cause is StopCause.INSTANCE_TERMINATED:
        # Nobody learns what became of processes on an instance that is gone.
        verdict = Verdict(is_success=False, exit_code=None, reason=None)
    if verdict.exit_code is not None and attempt.started_ms is None:
        _start(turn, job, report.at_ms, None)
        if job.parent is not None and job.is_service and verdict.is_success and is_main(job):
            begin_other_nodes(turn, job.parent)
    status_reason = _why_ended(job, attempt, verdict, report)
    if is_node(job):
        _end_node(turn, job, verdict, status_reason, report.at_ms)
    else:
        _end_attempt(turn, job, verdict, status_reason, report.at_ms)


def stop_overdue(turn: Turn) -> None:
    """Stop every attempt whose time is up; a multi-node job's is watched on its main node."""
    for task_id in turn.state.deadlines.pop_due(turn.now_ms):
        job = turn.state.job_of_task(task_id)
        if job is not None:
            timed = job.parent if is_node(job) else job
            assert timed is not None, job.id
            stop_attempt(turn, timed, StopCause.TIMED_OUT)


def _fit_slots(state: State, job: Job, environment: Environment, slots: Sequence[Slot]) -> bool:
    """Tell whether each instance or host has room for all that the slots put on it."""
    demands = (job.demand,) if job.nodes is None else job.nodes.demands
    if len(slots) != len(demands):
        return False
    on_hosts: dict[HostId, Amount] = {}
    on_instances: dict[InstanceId, Amount] = {}
    for slot, demand in zip(slots, demands, strict=True):
        if (slot.instance_id is not None) is not environment.has_instances:
            return False
        if slot.instance_id is None:
            on_hosts[slot.host_id] = on_hosts.get(slot.host_id, Amount()) + demand
        else:
            held = on_instances.get(slot.instance_id, Amount())
            on_instances[slot.instance_id] = held + demand
    is_unbounded = environment.has_instances or environment.limits is not None
    is_within_max = is_unbounded or (
        environment.used.cpu_milli + job.demand.cpu_milli <= environment.cpu_milli_max
    )
    return (
        is_within_max
        and all(_fits_host(state, host_id, amount) for host_id, amount in on_hosts.items())
        and all(
            _fits_instance(state, environment, instance_id, amount)
            for instance_id, amount in on_instances.items()
        )
    )


def _fits_host(state: State, host_id: HostId, amount: Amount) -> bool:
    host = state.hosts.get(host_id)
    return host is not None and amount.fits_in(host.capacity - host.used)


def _fits_instance(
    state: State, environment: Environment, instance_id: InstanceId, amount: Amount
) -> bool:
    instance = state.instances.get(instance_id)
    return (
        instance is not None
        and instance.is_ready
        and instance.record.environment_arn == environment.arn
        and amount.fits_in(instance.free)
    )


def _place(turn: Turn, placement: Placement) -> None:
    job = turn.state.find(placement.job_id)
    assert job is not None, placement.job_id
    number = job.progress.attempt_number_next
    slots, nodes = placement.slots, job.nodes
    runs_as = job.id if nodes is None else node_id(job.id, nodes.main_index)
    main = slots[0 if nodes is None else nodes.main_index]
    task_id = task_id_of(runs_as, number)
    instances = tuple(slot.instance_id for slot in slots if slot.instance_id is not None)
    turn.emit(
        e.AttemptPlaced(
            job_id=job.id,
            number=number,
            task_id=task_id,
            environment_arn=placement.environment_arn,
            host_id=main.host_id,
            at_ms=turn.now_ms,
            node_hosts=() if nodes is None else tuple(slot.host_id for slot in slots),
            instance_id=main.instance_id,
            node_instances=() if nodes is None else instances,
        )
    )
    if job.nodes is not None:
        begin_main_node(turn, job)
        return
    turn.ask(
        StartTask(
            task_id=task_id,
            job_id=job.id,
            attempt_number=number,
            environment_arn=placement.environment_arn,
            host_id=main.host_id,
            share=job.demand if job.is_service else None,
        )
    )


def _start(turn: Turn, job: Job, at_ms: int, address: str | None) -> None:
    take(turn, job)
    turn.emit(e.AttemptStarted(job_id=job.id, at_ms=at_ms, address=address))
    if is_node(job) and is_main(job):
        assert job.parent is not None, job.id
        turn.emit(e.AttemptStarted(job_id=job.parent.id, at_ms=at_ms, address=address))


def _end_attempt(turn: Turn, job: Job, verdict: Verdict, status_reason: str, at_ms: int) -> None:
    attempt = attempt_of(job)
    _emit_end(turn, job, verdict, status_reason, at_ms)
    if verdict.is_success and attempt.stop_cause is None:
        end(turn, [Success(job_id=job.id, status_reason=status_reason, at_ms=at_ms)])
    elif not (may_go_on(turn.state, job, attempt) or _may_retry(turn.state, job, attempt)):
        end(turn, [Failure(job_id=job.id, status_reason=status_reason, at_ms=at_ms)])
    elif is_given_up(job):
        end(turn, [Failure(job_id=job.id, status_reason=wish_reason_of(job), at_ms=at_ms)])
    else:
        turn.emit(e.JobRetried(job_id=job.id))
    settle_instances(turn, attempt)
    settle_drained(turn, job.queue_arn, attempt.environment_arn)
    settle_drained_share(turn, job.queue_arn, job.quota_share)


def _end_node(turn: Turn, node: Job, verdict: Verdict, status_reason: str, at_ms: int) -> None:
    """End a node by its own exit code; its job too, if this was the last one after the main one."""
    parent = node.parent
    assert parent is not None, node.id
    of_node = attempt_of(node)
    _emit_end(turn, node, verdict, status_reason, at_ms)
    settle_instances(turn, of_node)
    is_good = verdict.is_success and of_node.stop_cause in (None, StopCause.MAIN_NODE_ENDED)
    ending = Success if is_good else Failure
    end(turn, [ending(job_id=node.id, status_reason=status_reason, at_ms=at_ms)])
    has_failed = not verdict.is_success and of_node.stop_cause is None
    if decides(node, has_failed=has_failed):
        note_main_end(turn, parent, verdict, status_reason, at_ms)
    whole = attempt_of(parent)
    if whole.stopped_ms is not None and not nodes_of(parent).live:
        assert whole.status_reason is not None, parent.id
        _end_attempt(turn, parent, verdict_of(whole), whole.status_reason, whole.stopped_ms)


def _emit_end(turn: Turn, job: Job, verdict: Verdict, status_reason: str, at_ms: int) -> None:
    turn.emit(
        e.AttemptEnded(
            job_id=job.id,
            at_ms=at_ms,
            exit_code=verdict.exit_code,
            reason=verdict.reason,
            status_reason=status_reason,
            containers=verdict.containers,
        )
    )


def _why_ended(job: Job, attempt: Attempt, verdict: Verdict, report: TaskEnded) -> str:
    if attempt.stop_cause is StopCause.TERMINATED:
        return wish_reason_of(job)
    reason = _REASON_BY_CAUSE.get(attempt.stop_cause) or preemption_reason_of(attempt.stop_cause)
    if reason is not None:
        return reason
    if job.is_service:
        return _why_training_ended(attempt, verdict, report)
    return _why_ended_unasked(attempt, verdict, is_lost=report.is_lost)


def _why_training_ended(attempt: Attempt, verdict: Verdict, report: TaskEnded) -> str:
    if report.is_lost or attempt.stop_cause is StopCause.INSTANCE_TERMINATED:
        return wording.TRAINING_HOST_LOST
    return why_training_ended(verdict, report.message)


def _why_ended_unasked(attempt: Attempt, verdict: Verdict, *, is_lost: bool) -> str:
    if is_lost or attempt.stop_cause is StopCause.INSTANCE_TERMINATED:
        return wording.host_terminated(attempt.instance_id or _instance_id_of(attempt.host_id))
    if _failed_to_start(attempt, verdict):
        return wording.TASK_FAILED_TO_START
    return wording.ESSENTIAL_CONTAINER_EXITED


def _failed_to_start(attempt: Attempt, verdict: Verdict) -> bool:
    """Tell it from a container that ran and whose exit code nobody learned.

    A process may exist for a moment before the runtime finds that it cannot execute the file, so
    `CannotStartContainerError` and its kin say it also of a task that was reported as started.
    """
    if verdict.exit_code is not None:
        return False
    return attempt.started_ms is None or (verdict.reason or "").startswith("Cannot")


def _instance_id_of(host_id: HostId) -> str:
    """Spell a host in the form of an EC2 instance id, which clients parse."""
    return f"i-{blake2b(host_id.encode(), digest_size=9).hexdigest()[:17]}"


#: Causes of an end that retry rules judge like one that nobody caused.
_MAY_BE_TRIED_AGAIN = (
    None,
    StopCause.INSTANCE_TERMINATED,
    StopCause.SPOT_TASK_INTERRUPTED,
)


def _may_retry(state: State, job: Job, attempt: Attempt) -> bool:
    queue = state.queues.get(job.queue_arn)
    return (
        len(job.progress.attempts) < job.attempts_max
        and attempt.stop_cause in _MAY_BE_TRIED_AGAIN
        and queue is not None
        and not queue.is_draining
        and is_share_open(state, job)
        and (is_worth_retrying_service if job.is_service else is_worth_retrying)(
            job.exit_rules, attempt
        )
    )
