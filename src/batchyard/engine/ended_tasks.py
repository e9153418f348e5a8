"""The tasks that ended lately: what ECS still shows of them for a while.

Owns which these are: those of the last hour, ENDED_TASKS_KEPT_MAX at most. How each ended stands in
the records of its job. Refuses to know what a task ran. Source: "stopped tasks are returned for at
least one hour" (ECS, DescribeTasks); ours is at most one.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from batchyard.core.events import AttemptEnded
from batchyard.core.turn import Outcome
from batchyard.model.ids import EnvironmentArn, JobId, TaskId
from batchyard.model.instances import InstanceId
from batchyard.model.records import Attempt, JobProgress
from batchyard.model.task_facts import TaskGlance
from batchyard.store import Connection
from batchyard.store.events import read_job_ids_of_latest
from batchyard.store.jobs import read_specs

KEPT_MS = 3_600_000
#: Ours: about 3 MB. A yard that ends more in an hour remembers the latest.
ENDED_TASKS_KEPT_MAX = 10_000
#: Ours: so many jobs are read again at a start, out of so many events: a start must not wait.
_JOBS_READ_MAX = 1000
_EVENTS_READ_MAX = 20_000


class _Ended(Struct, frozen=True):
    job_id: JobId
    environment_arn: EnvironmentArn
    instance_id: InstanceId | None
    at_ms: int
    has_run: bool


class EndedTasks:
    """The last tasks that ended, in the order of their ends."""

    def __init__(self, ended: Iterable[tuple[JobId, Attempt]] = ()) -> None:
        self._kept: dict[TaskId, _Ended] = {}
        for job_id, attempt in ended:
            self._keep(job_id, attempt)

    def note(self, outcome: Outcome) -> None:
        """Remember what has ended."""
        for event in outcome.events:
            if isinstance(event, AttemptEnded):
                for attempt in reversed(_ended_attempts(outcome.changed[event.job_id])):
                    if attempt.stopped_ms == event.at_ms:
                        self._keep(event.job_id, attempt)
                        break

    def find(self, task_id: TaskId, now_ms: int) -> JobId | None:
        """Name the job of a task that ended lately; None: there is none such."""
        ended = self._kept.get(task_id)
        return None if ended is None or ended.at_ms < now_ms - KEPT_MS else ended.job_id

    def list_in(self, environment_arn: EnvironmentArn, now_ms: int) -> list[TaskGlance]:
        """Give what ended lately in an environment. Looks at all that is kept."""
        return [
            TaskGlance(
                task_id=task_id,
                job_id=each.job_id,
                instance_id=each.instance_id,
                is_running=each.has_run,
                is_stopping=True,
            )
            for task_id, each in self._kept.items()
            if each.environment_arn == environment_arn and each.at_ms >= now_ms - KEPT_MS
        ]

    def _keep(self, job_id: JobId, attempt: Attempt) -> None:
        if attempt.node_hosts or attempt.stopped_ms is None:
            return  # A multi-node job has no task: its nodes have.
        self._kept.pop(attempt.task_id, None)
        self._kept[attempt.task_id] = _Ended(
            job_id,
            attempt.environment_arn,
            attempt.instance_id,
            attempt.stopped_ms,
            attempt.started_ms is not None,
        )
        if len(self._kept) > ENDED_TASKS_KEPT_MAX:
            del self._kept[next(iter(self._kept))]


def read_ended_tasks(conn: Connection, now_ms: int) -> EndedTasks:
    """Find what ended lately, for an engine that begins; looks at the latest events alone."""
    job_ids = read_job_ids_of_latest(
        conn, AttemptEnded.__name__, after_ms=now_ms - KEPT_MS, events_max=_EVENTS_READ_MAX
    )
    return EndedTasks(_ends_of(conn, job_ids[:_JOBS_READ_MAX], now_ms - KEPT_MS))


def _ends_of(
    conn: Connection, job_ids: Sequence[JobId], after_ms: int
) -> Iterator[tuple[JobId, Attempt]]:
    found = [
        (attempt.stopped_ms or 0, record.job.id, attempt)
        for record in read_specs(conn, job_ids).values()
        for attempt in _ended_attempts(record.progress)
        if (attempt.stopped_ms or 0) >= after_ms
    ]
    for _, job_id, attempt in sorted(found, key=lambda each: each[:2]):
        yield job_id, attempt


def _ended_attempts(progress: JobProgress) -> list[Attempt]:
    return [*progress.preempted, *progress.attempts]
