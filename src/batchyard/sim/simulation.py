"""A trace under a configuration, from its first job to the last thing that happens.

Decides how a job of a trace is submitted (which queue, which share) and what becomes of its
attempts. Refuses to know what it comes to: the production core decides, and `reporting` tells.

Rules that hold here: nobody submits twice; an attempt goes as the trace has it, unless it is
stopped; the run ends when nothing more can happen by itself. Then jobs that are left can never run.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from batchyard.core import inputs as i
from batchyard.core.effects import StartTask
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.fair_share import WEIGHT_ONE, ShareWeight
from batchyard.model.ids import EnvironmentArn, JobId, QueueArn, name_in_arn
from batchyard.model.records import ExitAction, ExitRule, JobProgress, QueuedJob
from batchyard.model.status import JobStatus
from batchyard.sim.billing import Billing
from batchyard.sim.config import Config
from batchyard.sim.driver import Driver
from batchyard.sim.fate import Fate
from batchyard.sim.job_table import STATUS_BY_PHASE, JobTable, Phase, index_of, job_id_of, number_of
from batchyard.sim.measuring import Meter
from batchyard.sim.report import RunReport
from batchyard.sim.reporting import report_of
from batchyard.sim.sharing import ShareGroup, ShareUse
from batchyard.sim.trace import BadTrace, Trace, TraceJob

#: As AWS's own examples tell an instance that is gone.
_LOST_INSTANCE = ExitRule(action=ExitAction.RETRY, on_status_reason="Host EC2*")

#: Told how many jobs are over, of how many, and the time in the trace.
Progress = Callable[[int, int, int], None]

#: Given the rows of the jobs of a run that is over.
Keep = Callable[[JobTable], None]

#: The share of jobs that name neither a share nor a user.
_NO_SHARE = "default"
#: How many turns pass between two calls of `Progress`.
_TURNS_PER_PROGRESS = 500


def simulate(
    trace: Trace,
    config: Config,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> RunReport:
    """Run a trace under a configuration, and report. The same for the same, in any process."""
    run = Simulation(trace, config, seed=seed)
    if progress is not None:
        run.tell(progress)
    run.driver.run()
    if keep is not None:
        keep(run.meter.table)
    return report_of(run.meter, config, run.driver.state, run.driver.now_ms)


class Simulation:
    """A run: a driver with the state, and a meter that sees it."""

    def __init__(self, trace: Trace, config: Config, *, seed: int) -> None:
        check_kinds(trace, config)
        self._config = config
        began_ms = trace.jobs[0].submitted_ms if trace.jobs else 0
        state = State()
        for each in config.made:
            step(state, each, began_ms)
        self._table = JobTable(trace.jobs)
        self._number_by_id = _numbers_of(trace)
        self._queues = {queue.arn: queue for queue in config.queues}
        self._service_queues = config.service_queues
        shares, share_by_number = _shares_of(trace, config)
        self.meter = Meter(
            self._table,
            shares=shares,
            share_by_number=share_by_number,
            billing=Billing(config.environments, config.fargate_prices),
            began_ms=began_ms,
        )
        for registration in config.registrations:
            self.meter.see(step(state, registration, began_ms).events, began_ms)
        self.driver = Driver(
            state,
            now_ms=began_ms,
            fate_of=self._fate_of,
            interruption_rate=config.interruption_rate(seed),
        )
        self.driver.observe(self.meter.see)
        self.driver.follow(self._submissions())
        self._fargate = {each.arn for each in config.environments if each.kind.is_fargate}

    def tell(self, progress: Progress) -> None:
        """Let somebody know how far it is."""

        def see(_: object, now_ms: int) -> None:
            if self.driver.turn_count % _TURNS_PER_PROGRESS == 0:
                progress(self.meter.over_count, self._table.count, now_ms)

        self.driver.observe(see)

    def _submissions(self) -> Iterator[tuple[int, Callable[[], i.Input]]]:
        for number, job in enumerate(self._table.jobs):
            yield job.submitted_ms, partial(self._submit, number, job)

    def _submit(self, number: int, job: TraceJob) -> i.AcceptJob:
        queue = self._queues[self._config.queue_of(job.queue)]
        depends_on = tuple(job_id_of(self._number_by_id[each]) for each in job.depends_on)
        has_shares = queue.policy is not None or queue.has_quota_shares
        return i.AcceptJob(
            job=QueuedJob(
                seq=number + 1,
                id=job_id_of(number),
                queue_arn=queue.arn,
                demand=job.demand,
                attempts_max=max(job.attempts_max, 1 + self._config.interruption_retries),
                exit_rules=self._exit_rules_of(job),
                timeout_ms=job.timeout_ms,
                depends_on=depends_on,
                array_size=job.array_size,
                nodes=job.nodes,
                capacity_use=job.capacity_use if queue.arn in self._service_queues else (),
                preemption_retries_max=job.preemption_retries_max,
                share_identifier=share_of(job) if has_shares else None,
                scheduling_priority=job.scheduling_priority if has_shares else None,
                created_ms=job.submitted_ms,
                progress=JobProgress(),
            ),
            finished=self._ended(depends_on),
        )

    def _exit_rules_of(self, job: TraceJob) -> tuple[ExitRule, ...]:
        """Let a job be tried again that its instance was taken from, and nothing else be new."""
        if job.attempts_max > self._config.interruption_retries:
            return ()
        of_trace = ExitAction.EXIT if job.attempts_max == 1 else ExitAction.RETRY
        return (_LOST_INSTANCE, ExitRule(action=of_trace))

    def _ended(self, job_ids: tuple[JobId, ...]) -> Mapping[JobId, JobStatus]:
        ends = self._table.ends
        found = {job_id: Phase(ends[number_of(job_id)]) for job_id in job_ids}
        return {
            job_id: STATUS_BY_PHASE[phase]
            for job_id, phase in found.items()
            if phase is not Phase.BEFORE
        }

    def _fate_of(self, start: StartTask, _now_ms: int) -> Fate:
        job = self._table.jobs[number_of(start.job_id)]
        run = job.run_of(start.attempt_number, index_of(start.job_id))
        return Fate(
            run_ms=run.run_ms,
            exit_code=run.exit_code,
            reason=run.reason,
            start_ms=self._start_ms(start.environment_arn),
        )

    def _start_ms(self, arn: EnvironmentArn) -> int:
        config = self._config
        return config.fargate_start_ms if arn in self._fargate else config.task_start_ms


def check_kinds(trace: Trace, config: Config) -> None:
    """Refuse jobs that AWS would not take into the queue they go to. Raises `BadTrace`."""
    kinds = {each.arn: each.kind for each in config.environments}
    unfit_kinds = {
        queue.arn: [kinds[arn] for arn in queue.environment_arns if not kinds[arn].runs_nodes]
        for queue in config.queues
    }
    service_queues = config.service_queues
    for job in trace.jobs:
        arn = config.queue_of(job.queue)
        why = None
        if arn in service_queues:
            why = _why_no_service_job(job)
        elif job.nodes is not None and (unfit := unfit_kinds[arn]):
            why = (
                f"an environment of the type {unfit[0]}, and {job.nodes.count} nodes run together"
                " on EC2, SPOT and UNMANAGED only: give a --config with such a queue"
            )
        if why is not None:
            raise BadTrace(
                f"{config.name}: job {job.id} goes to the queue {name_in_arn(arn)}, which has {why}"
            )


def _why_no_service_job(job: TraceJob) -> str | None:
    """Say what keeps a job out of a queue of service jobs."""
    if not job.capacity_use:
        return "service environments: there it needs an instance_type, such as ml.m5.large"
    if job.array_size is not None or job.depends_on:
        return "service environments: jobs there are no arrays, and depend on nothing"
    return None


def share_of(job: TraceJob) -> str:
    """Tell whom a job's use is counted for."""
    return job.share_identifier or job.user or _NO_SHARE


def _numbers_of(trace: Trace) -> dict[str, int]:
    """Find the jobs that others depend on."""
    awaited = {each for job in trace.jobs for each in job.depends_on}
    if not awaited:
        return {}
    return {job.id: number for number, job in enumerate(trace.jobs) if job.id in awaited}


def _shares_of(trace: Trace, config: Config) -> tuple[list[ShareUse], list[int]]:
    """Give the shares in the order in which they come up, and which one each job is of.

    A share weighs what the policy says of the queue that its first job goes to.
    """
    shares: list[ShareUse] = []
    index_by_identifier: dict[str, int] = {}
    group_by_item: dict[tuple[QueueArn, ShareWeight], ShareGroup] = {}
    policies = {queue.arn: queue.policy for queue in config.queues}
    share_by_number: list[int] = []
    for job in trace.jobs:
        identifier = share_of(job)
        index = index_by_identifier.get(identifier)
        if index is None:
            index = index_by_identifier[identifier] = len(shares)
            arn = config.queue_of(job.queue)
            policy = policies[arn]
            item = None if policy is None else policy.weight_of(identifier)
            group = ShareGroup(1.0 if item is None else item.weight_e4 / WEIGHT_ONE)
            if item is not None:
                group = group_by_item.setdefault((arn, item), group)
            shares.append(ShareUse(identifier, group))
        share_by_number.append(index)
    return shares, share_by_number
