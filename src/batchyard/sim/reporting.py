"""From the counts of a run to its report.

Decides how each figure follows from what was counted, and why jobs that are left can never run: the
core's own explanation says it. Refuses to count anything itself.
"""

from collections import Counter
from collections.abc import Mapping

from batchyard.core.explaining import explain
from batchyard.core.state import Job, State
from batchyard.model.ids import child_id
from batchyard.model.status import JobStatus
from batchyard.sim.config import Config
from batchyard.sim.job_table import STATUS_BY_PHASE, Phase, number_of
from batchyard.sim.measuring import EXAMPLES_MAX, LAUNCHED, RUNNING, USED, WAITING, Meter
from batchyard.sim.report import (
    Failures,
    Fairness,
    NeverRuns,
    PointInTime,
    RunReport,
    ShareReport,
    Spread,
    Utilisation,
)
from batchyard.sim.sharing import ShareUse
from batchyard.sim.statistics import jain_index, spread_of

#: The literature's tau: shorter jobs are not slowed down more than one of this length.
SLOWDOWN_BOUND_MS = 10_000
#: Ours: so many kinds of jobs that are left are explained.
_EXPLAINED_MAX = 200

_MILLI = 1000
_MILLI_MS_PER_VCPU_S = 1_000_000
_WAITS_FOR_LEFT = "It waits for jobs that never end."
_OTHERS = "Not looked into: too many kinds of jobs were left."


def report_of(meter: Meter, config: Config, state: State, now_ms: int) -> RunReport:
    """Report a run that is over."""
    meter.advance(max(now_ms, meter.last_end_ms))
    table = meter.table
    began_ms = table.jobs[0].submitted_ms if table.jobs else 0
    makespan_ms = meter.last_end_ms - began_ms
    cost = meter.billing.lines(max(now_ms, meter.last_end_ms))
    return RunReport(
        config=config.name,
        job_count=table.count,
        job_count_by_status=_counts_of(meter),
        attempt_count=meter.attempt_count,
        makespan_ms=makespan_ms,
        wait_ms=spread_of(_waits_of(meter)),
        bounded_slowdown=spread_of(_slowdowns_of(meter)),
        utilisation=_utilisation_of(meter, config, makespan_ms),
        fairness=_fairness_of(meter),
        cost_usd=sum(line.usd for line in cost if line.usd is not None),
        cost=cost,
        over_time=_over_time(meter),
        never_runs=_never_runs(meter, state, now_ms),
        failures=_failures_of(meter),
        spot_interruption_count=meter.interruption_count,
        preemption_count=meter.preemption_count,
    )


def _counts_of(meter: Meter) -> Mapping[str, int]:
    counts = Counter(meter.table.phases)
    return {
        STATUS_BY_PHASE[phase].value: counts[phase]
        for phase in reversed(Phase)
        if counts[phase] or phase >= Phase.SUCCEEDED
    }


def _waits_of(meter: Meter) -> list[int]:
    table = meter.table
    return [
        started - ready
        for started, ready in zip(table.started_ms, table.ready_ms, strict=True)
        if started >= 0
    ]


def _slowdowns_of(meter: Meter) -> list[float]:
    table = meter.table
    return [
        max(1.0, (started - ready + ran) / max(ran, SLOWDOWN_BOUND_MS))
        for started, ready, ran in zip(table.started_ms, table.ready_ms, table.ran_ms, strict=True)
        if started >= 0
    ]


def _utilisation_of(meter: Meter, config: Config, makespan_ms: int) -> Utilisation:
    used, launched = meter.sum_of(USED), meter.sum_of(LAUNCHED)
    capacity = config.cpu_milli_most * makespan_ms
    return Utilisation(
        used_vcpu_seconds=used / _MILLI_MS_PER_VCPU_S,
        of_max=used / capacity if capacity else 0.0,
        of_launched=used / launched if launched else 0.0,
    )


def _fairness_of(meter: Meter) -> Fairness:
    waits: dict[int, list[int]] = {}
    jobs: Counter[int] = Counter()
    table = meter.table
    for row, number in enumerate(table.numbers()):
        share = meter.share_by_number[number]
        jobs[share] += 1
        if table.started_ms[row] >= 0:
            waits.setdefault(share, []).append(table.started_ms[row] - table.ready_ms[row])
    for use in meter.sharing.shares:
        meter.sharing.count(use)
    shares = [
        _share_report(use, jobs[index], spread_of(waits.get(index, ())))
        for index, use in enumerate(meter.sharing.shares)
    ]
    ratios = [
        share.contended_vcpu_seconds / share.due_vcpu_seconds
        for share in shares
        if share.due_vcpu_seconds > 0
    ]
    ordered = sorted(shares, key=lambda share: share.share_identifier)
    return Fairness(jain_index=jain_index(ratios), shares=tuple(ordered))


def _share_report(use: ShareUse, job_count: int, wait_ms: Spread) -> ShareReport:
    return ShareReport(
        share_identifier=use.identifier,
        weight_factor=use.group.weight_factor,
        job_count=job_count,
        used_vcpu_seconds=use.used / _MILLI_MS_PER_VCPU_S,
        contended_vcpu_seconds=use.contended / _MILLI_MS_PER_VCPU_S,
        due_vcpu_seconds=use.due / _MILLI_MS_PER_VCPU_S,
        wait_ms=wait_ms,
    )


def _over_time(meter: Meter) -> tuple[PointInTime, ...]:
    began_ms = meter.table.jobs[0].submitted_ms if meter.table.jobs else 0
    return tuple(
        PointInTime(
            at_ms=began_ms + at_ms,
            waiting=values[WAITING],
            running=values[RUNNING],
            used_vcpus=values[USED] / _MILLI,
            launched_vcpus=values[LAUNCHED] / _MILLI,
        )
        for at_ms, values in meter.course.averages()
    )


def _failures_of(meter: Meter) -> tuple[Failures, ...]:
    jobs = meter.table.jobs
    return tuple(
        Failures(
            reason=reason,
            job_count=count,
            examples=tuple(jobs[number].id for number in numbers),
        )
        for reason, (count, numbers) in sorted(
            meter.failures.items(), key=lambda item: (-item[1][0], item[0])
        )
    )


def _never_runs(meter: Meter, state: State, now_ms: int) -> tuple[NeverRuns, ...]:
    """Say why what is left is left: alike jobs of a queue for one reason."""
    reason_by_kind: dict[object, str] = {}
    counts: Counter[str] = Counter()
    examples: dict[str, list[str]] = {}
    table = meter.table
    whole = (job for job in state.jobs.values() if job.parent is None)
    for job in whole:
        number = number_of(job.id)
        kind = (job.queue_arn, job.demand, job.share_identifier, bool(job.unmet))
        if kind not in reason_by_kind and len(reason_by_kind) < _EXPLAINED_MAX:
            reason_by_kind[kind] = _why_left(state, job, now_ms)
        reason = reason_by_kind.get(kind, _OTHERS)
        left = sum(table.phases[row] < Phase.SUCCEEDED for row in table.rows_of(number))
        counts[reason] += left
        if len(named := examples.setdefault(reason, [])) < EXAMPLES_MAX:
            named.append(table.jobs[number].id)
    return tuple(
        NeverRuns(
            reason=reason,
            job_count=count,
            examples=tuple(examples[reason]),
        )
        for reason, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _why_left(state: State, job: Job, now_ms: int) -> str:
    if job.unmet:
        return _WAITS_FOR_LEFT
    asked = job.id
    if job.array is not None:
        children = (child_id(job.id, index) for index in range(job.array.size))
        asked = next((each for each in children if _is_runnable(state.find(each))), job.id)
    found = explain(state, asked, now_ms)
    return _OTHERS if found is None else found.summary


def _is_runnable(job: Job | None) -> bool:
    return job is not None and job.progress.status is JobStatus.RUNNABLE
