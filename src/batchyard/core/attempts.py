"""What becomes of attempts: placement, start, end, retry, timeout.

Decides by reference/jobs.md sections 1.4, 6 and 7. Refuses to know how a container runs.

Rules that hold here: an attempt is placed only where it fits at this moment; a job is SUCCEEDED
only if its process exited with 0 by itself; a job that was terminated, timed out, or whose queue
is going is never tried again.
"""

from collections.abc import Sequence
from hashlib import blake2b

from batchyard.core import events as e
from batchyard.core.bookkeeping import attempt_of, is_node
from batchyard.core.consumables import have_all
from batchyard.core.effects import ForgetTask, StartTask
from batchyard.core.endings import Failure, Success, end, wish_reason_of
from batchyard.core.heads import explain_heads, give_up_heads
from batchyard.core.inputs import TaskEnded, TaskStarted
from batchyard.core.multi_node import (
    begin_main_node,
    begin_other_nodes,
    is_main,
    nodes_of,
    note_main_end,
)
from batchyard.core.resources import settle_drained
from batchyard.core.retrying import is_worth_retrying
from batchyard.core.state import Job, State
from batchyard.core.stopping import stop_attempt
from batchyard.core.turn import Turn
from batchyard.core.verdict import Verdict, judge, verdict_of
from batchyard.model import wording
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, node_id, task_id_of
from batchyard.model.records import Attempt, StopCause
from batchyard.model.status import JobStatus, ResourceState
from batchyard.scheduler.plan import Placement, Plan


def carry_out_plan(turn: Turn, plan: Plan) -> None:
    """Make events of what the scheduler proposed, as far as it still holds."""
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
        and environment.arn in queue.environment_arns
        and environment.state is ResourceState.ENABLED
        and environment.fault is None
        and not environment.is_draining
        and environment.used.cpu_milli + job.demand.cpu_milli <= environment.cpu_milli_max
        and _fit_hosts(state, job, placement)
        and have_all(state.consumables, job.needs)
    )


def record_start(turn: Turn, report: TaskStarted) -> None:
    """STARTING -> RUNNING; a repeated or late report changes nothing."""
    job = turn.state.job_of_task(report.task_id)
    if job is None or job.progress.status is not JobStatus.STARTING:
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
    if verdict.exit_code is not None and attempt.started_ms is None:
        _start(turn, job, report.at_ms, None)
    status_reason = _why_ended(job, attempt, verdict, is_lost=report.is_lost)
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


def _fit_hosts(state: State, job: Job, placement: Placement) -> bool:
    """Tell whether each host has room for all that the placement puts on it."""
    host_ids: Sequence[HostId] = (placement.host_id,)
    demands: Sequence[Amount] = (job.demand,)
    if job.nodes is not None:
        host_ids, demands = placement.node_hosts, job.nodes.demands
        if len(host_ids) != len(demands) or host_ids[job.nodes.main_index] != placement.host_id:
            return False
    added: dict[HostId, Amount] = {}
    for host_id, demand in zip(host_ids, demands, strict=True):
        added[host_id] = added.get(host_id, Amount()) + demand
    return all(
        host_id in state.hosts
        and amount.fits_in(state.hosts[host_id].capacity - state.hosts[host_id].used)
        for host_id, amount in added.items()
    )


def _place(turn: Turn, placement: Placement) -> None:
    job = turn.state.find(placement.job_id)
    assert job is not None, placement.job_id
    number = len(job.progress.attempts) + 1
    runs_as = job.id if job.nodes is None else node_id(job.id, job.nodes.main_index)
    task_id = task_id_of(runs_as, number)
    turn.emit(
        e.AttemptPlaced(
            job_id=job.id,
            number=number,
            task_id=task_id,
            environment_arn=placement.environment_arn,
            host_id=placement.host_id,
            at_ms=turn.now_ms,
            node_hosts=placement.node_hosts,
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
            host_id=placement.host_id,
        )
    )


def _start(turn: Turn, job: Job, at_ms: int, address: str | None) -> None:
    turn.emit(e.AttemptStarted(job_id=job.id, at_ms=at_ms, address=address))
    if is_node(job) and is_main(job):
        assert job.parent is not None, job.id
        turn.emit(e.AttemptStarted(job_id=job.parent.id, at_ms=at_ms, address=address))


def _end_attempt(turn: Turn, job: Job, verdict: Verdict, status_reason: str, at_ms: int) -> None:
    attempt = attempt_of(job)
    _emit_end(turn, job, verdict, status_reason, at_ms)
    if verdict.is_success and attempt.stop_cause is None:
        end(turn, [Success(job_id=job.id, status_reason=status_reason, at_ms=at_ms)])
    elif _may_retry(turn.state, job, attempt):
        turn.emit(e.JobRetried(job_id=job.id))
    else:
        end(turn, [Failure(job_id=job.id, status_reason=status_reason, at_ms=at_ms)])
    settle_drained(turn, job.queue_arn, attempt.environment_arn)


def _end_node(turn: Turn, node: Job, verdict: Verdict, status_reason: str, at_ms: int) -> None:
    """End a node by its own exit code; its job too, if this was the last one after the main one."""
    parent = node.parent
    assert parent is not None, node.id
    cause = attempt_of(node).stop_cause
    _emit_end(turn, node, verdict, status_reason, at_ms)
    is_good = verdict.is_success and cause in (None, StopCause.MAIN_NODE_ENDED)
    ending = Success if is_good else Failure
    end(turn, [ending(job_id=node.id, status_reason=status_reason, at_ms=at_ms)])
    if is_main(node):
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


def _why_ended(job: Job, attempt: Attempt, verdict: Verdict, *, is_lost: bool) -> str:
    match attempt.stop_cause:
        case StopCause.TIMED_OUT:
            return wording.TIMEOUT_EXCEEDED
        case StopCause.QUEUE_DELETED:
            return wording.QUEUE_DELETED
        case StopCause.TERMINATED:
            return wish_reason_of(job)
        case StopCause.MAIN_NODE_ENDED | None:
            pass
    if is_lost:
        return wording.host_terminated(instance_id_of(attempt.host_id))
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


def instance_id_of(host_id: HostId) -> str:
    """Spell a host in the form of an EC2 instance id, which clients parse."""
    return f"i-{blake2b(host_id.encode(), digest_size=9).hexdigest()[:17]}"


def _may_retry(state: State, job: Job, attempt: Attempt) -> bool:
    queue = state.queues.get(job.queue_arn)
    return (
        attempt.number < job.attempts_max
        and attempt.stop_cause is None
        and queue is not None
        and not queue.is_draining
        and is_worth_retrying(job.exit_rules, attempt)
    )
