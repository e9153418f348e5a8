"""The history of a server of ours as a trace.

Decides what of each stored job can be run again: its submission, its needs, and how its attempts
went. What nobody knows yet, how long a job that has not ended will run, is taken from the others:
the median of its queue. Jobs that ended without an attempt used nothing and are left out. Changes
nothing in the store.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median_low

from msgspec.structs import replace

from batchyard.model.ids import is_part_id, name_in_arn, whole_id_of
from batchyard.model.records import Attempt, JobProgress, QueuedJob
from batchyard.sim.trace import BadTrace, Run, Trace, TraceJob
from batchyard.store import Connection
from batchyard.store.history import read_all_jobs, read_progress_of_children

_NAME = "history"

_NEVER_RAN = "jobs that ended without an attempt were left out: {}"
_GUESSED = "jobs that have not ended run as long as the median of their queue: {}"
_UNKNOWN = "jobs that have not ended, in queues where none has, were left out: {}"
_EACH = "arrays that wait for others child by child wait for all of them: {}"
_PART = "jobs that wait for one child of an array wait for all of it: {}"
_NEEDS = "jobs that need consumable resources get them at once: {}"
_PREEMPTED = "attempts that were stopped for another job were left out: {}"


def read_history(conn: Connection, now_ms: int) -> Trace:
    """Read everything that is kept of jobs. Raises `BadTrace` if there is none."""
    kept = list(read_all_jobs(conn))
    if not kept:
        raise BadTrace("the store has no jobs")
    reader = _Reader(conn, kept, now_ms)
    return reader.trace()


class _Reader:
    """One pass over the jobs; counts what it changes."""

    def __init__(self, conn: Connection, kept: list[QueuedJob], now_ms: int) -> None:
        self._conn = conn
        self._kept = kept
        self._now_ms = now_ms
        self._began_ms = min(job.created_ms for job in kept)
        self._counts: Counter[str] = Counter()
        self._typical_ms = _typical_ms(kept)

    def trace(self) -> Trace:
        made: dict[str, TraceJob] = {}
        for job in self._kept:
            found = self._job_of(job)
            if found is not None:
                depends_on = tuple(each for each in found.depends_on if each in made)
                made[found.id] = replace(found, depends_on=depends_on)
        return Trace(
            name=_NAME,
            jobs=sorted(made.values(), key=lambda job: job.submitted_ms),
            began_ms=self._began_ms,
            notes=tuple(note.format(count) for note, count in self._counts.items()),
        )

    def _job_of(self, job: QueuedJob) -> TraceJob | None:
        child_runs = self._child_runs_of(job)
        runs = child_runs[-1:] if job.array_size else self._runs_of(job, job.progress)
        if not runs:
            return None
        if job.depends_on_each or job.is_sequential:
            self._counts[_EACH] += 1
        if any(map(is_part_id, job.depends_on)):
            self._counts[_PART] += 1
        if job.needs:
            self._counts[_NEEDS] += 1
        has_ended = job.progress.status.is_terminal
        return TraceJob(
            id=job.id,
            submitted_ms=job.created_ms - self._began_ms,
            run_ms=runs[-1].run_ms,
            demand=job.demand,
            nodes=job.nodes,
            capacity_use=job.capacity_use,
            preemption_retries_max=job.preemption_retries_max,
            exit_code=runs[-1].exit_code,
            reason=runs[-1].reason,
            earlier=runs[:-1],
            child_runs=child_runs,
            # Whoever ended was tried as often as its rules let it.
            attempts_max=len(runs) if has_ended else job.attempts_max,
            timeout_ms=job.timeout_ms,
            queue=name_in_arn(job.queue_arn),
            share_identifier=job.share_identifier or job.quota_share,
            scheduling_priority=job.scheduling_priority or 0,
            depends_on=tuple(
                dict.fromkeys(map(whole_id_of, (*job.depends_on, *job.depends_on_each)))
            ),
            array_size=job.array_size,
        )

    def _child_runs_of(self, job: QueuedJob) -> tuple[Run, ...]:
        """Tell how each child went at last; nothing if none of them ever ran or will."""
        if job.array_size is None:
            return ()
        own = read_progress_of_children(self._conn, job.id)
        rest = job.progress.array.rest if job.progress.array is not None else None
        lasts: dict[int, Run] = {}
        for index in range(job.array_size):
            progress = own.get(index)
            if progress is None and rest is not None and rest.is_terminal:
                continue
            runs = self._runs_of(job, progress or JobProgress())
            if runs:
                lasts[index] = runs[-1]
        if not lasts:
            return ()
        other = Run(run_ms=median_low(run.run_ms for run in lasts.values()))
        return tuple(lasts.get(index, other) for index in range(job.array_size))

    def _runs_of(self, job: QueuedJob, progress: JobProgress) -> tuple[Run, ...]:
        runs = tuple(map(_run_of, progress.attempts))
        if progress.preempted_count:
            self._counts[_PREEMPTED] += progress.preempted_count
        if progress.status.is_terminal:
            if not runs:
                self._counts[_NEVER_RAN] += 1
            return runs
        typical_ms = self._typical_ms.get(job.queue_arn)
        if typical_ms is None and progress.attempt is None:
            self._counts[_UNKNOWN] += 1
            return ()
        self._counts[_GUESSED] += 1
        return (*runs, Run(run_ms=max(typical_ms or 0, self._so_far_ms(progress.attempt))))

    def _so_far_ms(self, attempt: Attempt | None) -> int:
        if attempt is None or attempt.started_ms is None:
            return 0
        return max(0, self._now_ms - attempt.started_ms)


def _run_of(attempt: Attempt) -> Run:
    """Tell how an attempt went; one that never started took no time."""
    if attempt.started_ms is None or attempt.stopped_ms is None:
        return Run(run_ms=0, exit_code=attempt.exit_code, reason=attempt.reason)
    return Run(
        run_ms=max(0, attempt.stopped_ms - attempt.started_ms),
        exit_code=attempt.exit_code,
        reason=attempt.reason,
    )


def _typical_ms(kept: Iterable[QueuedJob]) -> Mapping[str, int]:
    """Tell the median of the run times of attempts, by queue."""
    found: dict[str, list[int]] = {}
    for job in kept:
        for attempt in job.progress.attempts:
            if attempt.started_ms is not None and attempt.stopped_ms is not None:
                run_ms = attempt.stopped_ms - attempt.started_ms
                found.setdefault(job.queue_arn, []).append(run_ms)
    return {arn: median_low(runs) for arn, runs in found.items()}
