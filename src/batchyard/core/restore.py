"""How the state comes back after a restart, and what is still owed to the outside.

Decides which effects a committed state still owes, given the tasks that the backends know.
Refuses to know the store. Rule: a task that a backend knows is adopted, never started again; a
STARTING attempt whose task nobody knows was never handed over, and is handed over now; a RUNNING
one was lost. On a host that is gone, both were: its tasks may run on, but nobody hears of them.
"""

from collections.abc import Iterable, Set

from batchyard.core.attempts import record_end
from batchyard.core.effects import StartTask, StopTask
from batchyard.core.evolve import add_job
from batchyard.core.inputs import TaskEnded
from batchyard.core.state import Job, State
from batchyard.core.turn import Outcome, Turn
from batchyard.model.ids import HostId, TaskId
from batchyard.model.limits import STOP_GRACE_MS
from batchyard.model.records import QueuedJob
from batchyard.model.status import JobStatus


def restore_jobs(state: State, records: Iterable[QueuedJob]) -> None:
    """Enter the live jobs. Queues, environments and hosts must be there already.

    A dependency that is no longer live is over: had it failed, its dependants would have failed
    in the same commit.
    """
    kept = list(records)
    live = {record.id for record in kept}
    for record in kept:
        is_pending = record.progress.status is JobStatus.PENDING
        unmet = (
            [each for each in dict.fromkeys(record.depends_on) if each in live]
            if is_pending
            else []
        )
        add_job(
            state,
            Job(
                id=record.id,
                seq=record.seq,
                queue_arn=record.queue_arn,
                demand=record.demand,
                attempts_max=record.attempts_max,
                exit_rules=record.exit_rules,
                timeout_ms=record.timeout_ms,
                unmet=unmet,
                progress=record.progress,
            ),
        )


def resume(state: State, known_tasks: Set[TaskId] | None, host_id: HostId, now_ms: int) -> Outcome:
    """Say what is owed to the backend of `host_id`, which knows the tasks named.

    None: no backend offers this host any more.
    """
    turn = Turn(state, now_ms)
    is_gone = known_tasks is None
    known_tasks = known_tasks or frozenset[TaskId]()
    for job_id in list(state.job_by_task.values()):
        job = state.jobs[job_id]
        attempt = job.progress.attempt
        assert attempt is not None, job_id
        if attempt.host_id != host_id:
            continue
        if attempt.task_id in known_tasks:
            if attempt.stop_cause is not None:
                turn.ask(StopTask(task_id=attempt.task_id, host_id=host_id, grace_ms=STOP_GRACE_MS))
        elif (
            not is_gone and job.progress.status is JobStatus.STARTING and attempt.stop_cause is None
        ):
            turn.ask(
                StartTask(
                    task_id=attempt.task_id,
                    job_id=job.id,
                    attempt_number=attempt.number,
                    environment_arn=attempt.environment_arn,
                    host_id=host_id,
                )
            )
        else:
            is_lost = is_gone or job.progress.status is JobStatus.RUNNING
            record_end(turn, _lost(attempt.task_id, now_ms, is_lost=is_lost))
    for task_id in sorted(known_tasks):
        if task_id not in state.job_by_task:
            turn.ask(StopTask(task_id=task_id, host_id=host_id, grace_ms=0))
    return turn.outcome


def _lost(task_id: TaskId, now_ms: int, *, is_lost: bool) -> TaskEnded:
    return TaskEnded(
        task_id=task_id,
        at_ms=now_ms,
        exit_code=None,
        reason=None,
        is_lost=is_lost,
    )
