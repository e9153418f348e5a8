"""The invariants of the state, each a named check. Tests run them after every step.

Owns what must always be true. Refuses to repair anything: a broken invariant is our mistake.
"""

from batchyard.core.state import State
from batchyard.core.transitions import InvariantBroken
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, HostId
from batchyard.model.status import JobStatus


def check(state: State) -> None:
    """Run every check; raises `InvariantBroken` with the name of what does not hold."""
    for each in (
        check_live_jobs_are_not_terminal,
        check_attempts_match_states,
        check_attempt_counts_within_limit,
        check_capacity_is_never_exceeded,
        check_counters_equal_what_they_count,
        check_lines_hold_exactly_the_runnable,
        check_pending_jobs_wait_for_live_jobs,
        check_timed_attempts_have_deadlines,
    ):
        each(state)


def _demand(is_true: bool, what: str) -> None:
    if not is_true:
        raise InvariantBroken(what)


def check_live_jobs_are_not_terminal(state: State) -> None:
    for job in state.jobs.values():
        _demand(not job.progress.status.is_terminal, f"{job.id} is terminal and still live")
        _demand(job.progress.stopped_ms is None, f"{job.id} is live and has stopped_ms")


def check_attempts_match_states(state: State) -> None:
    seen = {}
    for job in state.jobs.values():
        attempt = job.progress.attempt
        has_task = job.progress.status.has_task
        _demand((attempt is not None) == has_task, f"{job.id}: {job.progress.status} and attempt")
        if attempt is not None:
            _demand(
                (attempt.started_ms is not None) == (job.progress.status is JobStatus.RUNNING),
                f"{job.id}: started_ms and {job.progress.status}",
            )
            seen[attempt.task_id] = job.id
    _demand(seen == state.job_by_task, "job_by_task does not hold exactly the live attempts")


def check_attempt_counts_within_limit(state: State) -> None:
    for job in state.jobs.values():
        ended = len(job.progress.attempts)
        live = 1 if job.progress.attempt is not None else 0
        _demand(ended + live <= job.attempts_max, f"{job.id} has too many attempts")
        numbers = [attempt.number for attempt in job.progress.attempts]
        _demand(numbers == list(range(1, ended + 1)), f"{job.id} attempts are {numbers}")


def check_capacity_is_never_exceeded(state: State) -> None:
    for host in state.hosts.values():
        _demand(host.used.fits_in(host.capacity), f"host {host.id} is over-full: {host.used}")


def check_counters_equal_what_they_count(state: State) -> None:
    on_host: dict[HostId, Amount] = {host_id: Amount() for host_id in state.hosts}
    in_environment: dict[EnvironmentArn, Amount] = {arn: Amount() for arn in state.environments}
    count = dict.fromkeys(state.environments, 0)
    for job in state.jobs.values():
        attempt = job.progress.attempt
        if attempt is not None:
            on_host[attempt.host_id] += job.demand
            in_environment[attempt.environment_arn] += job.demand
            count[attempt.environment_arn] += 1
    for host in state.hosts.values():
        _demand(host.used == on_host[host.id], f"host {host.id} counts {host.used}")
    for environment in state.environments.values():
        arn = environment.arn
        _demand(environment.used == in_environment[arn], f"{arn} counts {environment.used}")
        _demand(environment.attempt_count == count[arn], f"{arn} counts its attempts wrongly")


def check_lines_hold_exactly_the_runnable(state: State) -> None:
    for queue in state.queues.values():
        of_queue = [job for job in state.jobs.values() if job.queue_arn == queue.arn]
        runnable = sorted(job.id for job in of_queue if job.progress.status is JobStatus.RUNNABLE)
        _demand(sorted(queue.line) == runnable, f"the line of {queue.arn} is wrong")
        _demand(len(queue.line) == len(runnable), f"the line of {queue.arn} counts wrongly")
        _demand(
            sorted(queue.jobs) == sorted(job.id for job in of_queue),
            f"{queue.arn} does not hold exactly its live jobs",
        )


def check_pending_jobs_wait_for_live_jobs(state: State) -> None:
    for job in state.jobs.values():
        is_pending = job.progress.status is JobStatus.PENDING
        _demand(bool(job.unmet) == is_pending, f"{job.id}: {job.progress.status}, {job.unmet}")
        for dependency_id in job.unmet:
            _demand(dependency_id in state.jobs, f"{job.id} waits for {dependency_id}, not live")
            _demand(
                job.id in state.dependents.get(dependency_id, []),
                f"{dependency_id} does not know its dependant {job.id}",
            )


def check_timed_attempts_have_deadlines(state: State) -> None:
    timed = [
        attempt.started_ms + job.timeout_ms
        for job in state.jobs.values()
        if (attempt := job.progress.attempt) is not None
        and attempt.started_ms is not None
        and attempt.stop_cause is None
        and job.timeout_ms is not None
    ]
    if timed:
        next_ms = state.next_deadline_ms()
        _demand(next_ms is not None and next_ms <= min(timed), "a deadline is missing")
