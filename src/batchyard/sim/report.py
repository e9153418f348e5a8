"""What a simulation tells: one `RunReport` for each configuration, side by side in a `Comparison`.

Owns the words and units of the JSON form, which is these structs as they are. Refuses to know how
anything is measured (`measuring`) and shown. Times are milliseconds since the beginning of the
trace, durations milliseconds, vCPUs whole ones as numbers with a fraction, money in USD.
"""

from collections.abc import Mapping

from msgspec import Struct

#: Of the JSON form; raised when a member changes its meaning or goes.
VERSION = 1


class Spread(Struct, frozen=True, kw_only=True):
    """How values are spread. All 0 where there are none."""

    count: int
    mean: float
    median: float
    p90: float
    p99: float
    max: float


class PointInTime(Struct, frozen=True, kw_only=True):
    """A stretch of time: averages by time over it."""

    #: Its beginning; it ends where the next one begins, the last one at `makespan_ms`.
    at_ms: int
    #: RUNNABLE jobs.
    waiting: float
    #: Jobs that hold capacity.
    running: float
    used_vcpus: float
    #: Of instances that are there, booting ones too, and of what runs on Fargate.
    launched_vcpus: float


class ShareReport(Struct, frozen=True, kw_only=True):
    """What one share got."""

    share_identifier: str
    #: As AWS has it: less is more. One of a prefix is for all its shares that wait together.
    weight_factor: float
    job_count: int
    #: All that its jobs used.
    used_vcpu_seconds: float
    #: Used while jobs of its own waited: then it competes.
    contended_vcpu_seconds: float
    #: Its part, by weight, of what all shares with waiting jobs used at these times.
    due_vcpu_seconds: float
    wait_ms: Spread


class Fairness(Struct, frozen=True, kw_only=True):
    """How capacity was shared out among shares whose jobs waited."""

    #: Jain's index of used / due over the shares that something was due to: 1 is just, 1/n the
    #: contrary.
    jain_index: float
    shares: tuple[ShareReport, ...]


class CostLine(Struct, frozen=True, kw_only=True):
    """What one type of capacity of one environment came to."""

    compute_environment: str
    #: EC2, SPOT, FARGATE, FARGATE_SPOT, …
    purchase: str
    #: An instance type, or `vCPU and GB` of Fargate.
    instance_type: str
    #: Instances launched, or attempts on Fargate.
    count: int
    hours: float
    #: None: nobody knows its price.
    usd: float | None


class Utilisation(Struct, frozen=True, kw_only=True):
    """Used vCPU time by what it is compared with; 0..1, and 0 where there is nothing to compare."""

    used_vcpu_seconds: float
    #: Of the sum of `maxvCpus`, or of the machines where they are smaller, over the makespan.
    of_max: float
    #: Of what was launched. Fargate launches what is used.
    of_launched: float


class NeverRuns(Struct, frozen=True, kw_only=True):
    """Jobs that were left when nothing more could happen, for one reason."""

    reason: str
    job_count: int
    #: The first of them, as the trace names them.
    examples: tuple[str, ...]


class Failures(Struct, frozen=True, kw_only=True):
    """Jobs that FAILED for one reason."""

    #: AWS's `statusReason`.
    reason: str
    job_count: int
    #: The first of them, as the trace names them.
    examples: tuple[str, ...]


class RunReport(Struct, frozen=True, kw_only=True):
    """One trace under one configuration."""

    config: str
    #: Jobs, each child of an array one.
    job_count: int
    #: By AWS's status: SUCCEEDED, FAILED, and what was left RUNNABLE, PENDING or RUNNING.
    job_count_by_status: Mapping[str, int]
    attempt_count: int
    #: From the first submission to the last end.
    makespan_ms: int
    #: From RUNNABLE (which is the submission, without dependencies) to the first attempt's start.
    wait_ms: Spread
    #: (wait + run) / max(run, 10 s), at least 1; of jobs that ran.
    bounded_slowdown: Spread
    utilisation: Utilisation
    fairness: Fairness
    #: Of all lines with a known price.
    cost_usd: float
    cost: tuple[CostLine, ...]
    #: At most 500.
    over_time: tuple[PointInTime, ...]
    never_runs: tuple[NeverRuns, ...]
    failures: tuple[Failures, ...] = ()
    spot_interruption_count: int = 0
    preemption_count: int = 0


class Comparison(Struct, frozen=True, kw_only=True):
    """One trace under several configurations."""

    trace: str
    #: See `Trace`.
    began_ms: int
    notes: tuple[str, ...]
    runs: tuple[RunReport, ...]
    version: int = VERSION
