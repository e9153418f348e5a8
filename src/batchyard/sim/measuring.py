"""What is measured of a run: it sees the events of the core and counts.

Owns the counts over the whole run, and the rows of its jobs (`JobTable`). Refuses to look into the
state: what a report says follows from the events alone. Costs the same at each event, but for an
array's beginning and end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchyard.core import events as e
from batchyard.model.amounts import Amount
from batchyard.model.ids import EnvironmentArn, JobId, is_node_id, is_part_id
from batchyard.model.records import TerminationCause
from batchyard.model.status import JobStatus
from batchyard.sim.billing import Billing
from batchyard.sim.job_table import JobTable, Phase, number_of
from batchyard.sim.sharing import ShareUse, Sharing
from batchyard.sim.statistics import Course
from batchyard.sim.trace import TraceJob

WAITING, RUNNING, USED, LAUNCHED = range(4)
#: Of jobs that failed for one reason, so many are named.
EXAMPLES_MAX = 5


@dataclass(slots=True)
class _Live:
    """An attempt that holds capacity."""

    environment_arn: EnvironmentArn
    placed_ms: int
    demand: Amount
    is_on_instance: bool
    started_ms: int | None = None


class Meter:
    """Counts one run; `see` is told of the events of each turn."""

    def __init__(
        self,
        table: JobTable,
        *,
        shares: Sequence[ShareUse],
        share_by_number: Sequence[int],
        billing: Billing,
        began_ms: int,
    ) -> None:
        self.table = table
        self.sharing = Sharing(shares)
        self.billing = billing
        self.course = Course(columns=4)
        self.attempt_count = 0
        self.preemption_count = 0
        self.interruption_count = 0
        #: Jobs whose rows are final.
        self.over_count = 0
        self.last_end_ms = began_ms
        #: By reason: how many jobs failed, and the numbers of the first.
        self.failures: dict[str, tuple[int, list[int]]] = {}
        self.share_by_number = share_by_number
        #: A multi-node job is counted as a whole, and nothing that its nodes do by themselves.
        self._has_nodes = any(job.nodes is not None for job in table.jobs)
        self._began_ms = began_ms
        self._now_ms = began_ms
        #: By column: jobs, and thousandths of vCPUs.
        self._values = [0, 0, 0, 0]
        self._sums = [0, 0, 0, 0]
        self._live: dict[JobId, _Live] = {}
        #: Live service jobs as they were taken in: on a small machine they ask for less.
        self._service_jobs: dict[JobId, e.JobAccepted] = {}
        self.sharing.advance(began_ms)

    def see(self, events: Sequence[e.Event], now_ms: int) -> None:
        """Count what happened at a moment."""
        if now_ms > self._now_ms:
            self.advance(now_ms)
        for event in events:
            if not (self._has_nodes and isinstance(event, e.JobFact) and is_node_id(event.job_id)):
                self._see(event, now_ms)

    def advance(self, now_ms: int) -> None:
        """Let time pass in which nothing happened."""
        span_ms = now_ms - self._now_ms
        for column, value in enumerate(self._values):
            self._sums[column] += value * span_ms
        self.course.add(self._now_ms - self._began_ms, now_ms - self._began_ms, self._values)
        self.sharing.advance(now_ms)
        self._now_ms = now_ms

    def sum_of(self, column: int) -> int:
        """Give a value summed over time, in milliseconds times its unit."""
        return self._sums[column]

    def _see(self, event: e.Event, now_ms: int) -> None:  # noqa: C901, PLR0912 -- one branch an event
        match event:
            case e.JobAccepted(status=JobStatus.RUNNABLE) | e.JobBecameRunnable():
                if isinstance(event, e.JobAccepted) and event.capacity_use:
                    self._service_jobs[event.job_id] = event
                self._wait(self.table.row_of(event.job_id), event.job_id, now_ms)
            case e.ChildrenSpawned(status=JobStatus.RUNNABLE):
                for row in self.table.rows_of(number_of(event.job_id)):
                    self._wait(row, event.job_id, now_ms)
            case e.AttemptPlaced():
                self._place(event, now_ms)
            case e.AttemptStarted():
                self._start(event)
            case e.AttemptStopping() if event.cause.is_preemption:
                self.preemption_count += 1
            case e.AttemptEnded():
                self._end(event, now_ms)
            case e.JobRetried():
                self._wait(self.table.row_of(event.job_id), event.job_id, now_ms)
            case e.JobSucceeded():
                self._finish(event.job_id, None, event.at_ms)
            case e.JobFailed():
                self._finish(event.job_id, event.status_reason, event.at_ms)
            case e.RestFailed():
                for row in self.table.rows_of(number_of(event.job_id)):
                    self._finish_row(row, event.job_id, event.status_reason, event.at_ms)
            case e.InstanceLaunched():
                self._values[LAUNCHED] += event.record.capacity.cpu_milli
                self.billing.launch(event.record)
            case e.InstanceDraining(cause=TerminationCause.INTERRUPTED):
                self.interruption_count += 1
            case e.InstanceTerminated():
                capacity = self.billing.capacity_of(event.instance_id)
                self._values[LAUNCHED] -= capacity.cpu_milli
                self.billing.terminate(event.instance_id, event.at_ms)
            case _:
                pass

    def _wait(self, row: int, job_id: JobId, now_ms: int) -> None:
        phases = self.table.phases
        if phases[row] == Phase.BEFORE:
            self.table.ready_ms[row] = now_ms
        if phases[row] != Phase.WAITING:
            phases[row] = Phase.WAITING
            self._values[WAITING] += 1
            self.sharing.change(self._share_of(job_id), waiting=1)

    def _place(self, event: e.AttemptPlaced, now_ms: int) -> None:
        demand = self._asked_by(event.job_id).demand
        row = self.table.row_of(event.job_id)
        self.table.phases[row] = Phase.ON
        self.table.attempt_counts[row] += 1
        is_on_instance = event.instance_id is not None
        self._live[event.job_id] = _Live(event.environment_arn, now_ms, demand, is_on_instance)
        self.attempt_count += 1
        self._values[WAITING] -= 1
        self._values[RUNNING] += 1
        self._values[USED] += demand.cpu_milli
        if not is_on_instance:
            self._values[LAUNCHED] += demand.cpu_milli
        self.sharing.change(self._share_of(event.job_id), waiting=-1, cpu_milli=demand.cpu_milli)

    def _start(self, event: e.AttemptStarted) -> None:
        row = self.table.row_of(event.job_id)
        self._live[event.job_id].started_ms = event.at_ms
        if self.table.started_ms[row] < 0:
            self.table.started_ms[row] = event.at_ms

    def _end(self, event: e.AttemptEnded, now_ms: int) -> None:
        live = self._live.pop(event.job_id)
        if live.started_ms is not None:
            self.table.ran_ms[self.table.row_of(event.job_id)] += event.at_ms - live.started_ms
        self._values[RUNNING] -= 1
        self._values[USED] -= live.demand.cpu_milli
        if not live.is_on_instance:
            self._values[LAUNCHED] -= live.demand.cpu_milli
            ms = now_ms - live.placed_ms
            use = self._asked_by(event.job_id).capacity_use
            self.billing.run_alone(live.environment_arn, live.demand, use, ms)
        self.sharing.change(self._share_of(event.job_id), cpu_milli=-live.demand.cpu_milli)

    def _finish(self, job_id: JobId, failure: str | None, at_ms: int) -> None:
        """End a job or a child; of an array that fails, what is left of its children fails too."""
        self.last_end_ms = max(self.last_end_ms, at_ms)
        self.course.mark_end()
        if is_part_id(job_id):
            self._finish_row(self.table.row_of(job_id), job_id, failure, at_ms)
            return
        self._service_jobs.pop(job_id, None)
        number = number_of(job_id)
        self.table.ends[number] = Phase.SUCCEEDED if failure is None else Phase.FAILED
        for row in self.table.rows_of(number):
            self._finish_row(row, job_id, failure, at_ms)

    def _finish_row(self, row: int, job_id: JobId, failure: str | None, at_ms: int) -> None:
        before = self.table.phases[row]
        if before >= Phase.SUCCEEDED:
            return
        self.table.ended_ms[row] = at_ms
        self.table.phases[row] = Phase.SUCCEEDED if failure is None else Phase.FAILED
        self.over_count += 1
        if failure is not None:
            count, numbers = self.failures.get(failure, (0, []))
            if len(numbers) < EXAMPLES_MAX and number_of(job_id) not in numbers:
                numbers.append(number_of(job_id))
            self.failures[failure] = (count + 1, numbers)
        if before == Phase.WAITING:
            self._values[WAITING] -= 1
            self.sharing.change(self._share_of(job_id), waiting=-1)

    def _asked_by(self, job_id: JobId) -> e.JobAccepted | TraceJob:
        return self._service_jobs.get(job_id) or self.table.jobs[number_of(job_id)]

    def _share_of(self, job_id: JobId) -> ShareUse:
        return self.sharing.shares[self.share_by_number[number_of(job_id)]]
