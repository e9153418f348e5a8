"""What is said of the future: words of forecasts, and of the history that they rest on.

Owns how a forecast is written down. Refuses to know how it is made. Times are Unix milliseconds.
"""

from enum import StrEnum

from msgspec import Struct

from batchyard.model.ids import JobId
from batchyard.model.status import JobStatus


class Basis(StrEnum):
    """Where the run times of a kind of job are taken from, the best first."""

    #: What came in with it: other children of its array, or jobs of its definition and minute.
    BATCH = "BATCH"
    #: Jobs of the same definition in the same queue.
    DEFINITION = "DEFINITION"
    #: Jobs of the same queue.
    QUEUE = "QUEUE"
    #: All jobs of the account and region.
    ALL = "ALL"
    #: Nothing is known: a guess below its timeout.
    TIMEOUT = "TIMEOUT"
    #: Nothing is known, and it has no timeout: a guess around ten minutes.
    DEFAULT = "DEFAULT"


class BasisUse(Struct, frozen=True, kw_only=True):
    """What the run times of one kind of job rest on."""

    #: Name of the definition; empty for service jobs.
    definition: str
    queue: str
    basis: Basis
    #: How many attempts of the past were drawn from.
    sample_count: int


class ArrivalUse(Struct, frozen=True, kw_only=True):
    """What the jobs that are expected to come in are drawn from."""

    job_count: int
    #: Over how long they came in.
    window_ms: int


class Interval(Struct, frozen=True, kw_only=True):
    """When something will be; None: beyond what was seen, or never."""

    p10_ms: int | None = None
    p50_ms: int | None = None
    p90_ms: int | None = None


class StartForecast(Struct, frozen=True, kw_only=True):
    """When a job will start."""

    job_id: JobId
    start: Interval
    #: In how many runs it started.
    started_count: int


class GaveUp(StrEnum):
    """Why the future was not followed to its end."""

    HORIZON = "HORIZON"
    TURNS = "TURNS"
    CLOCK = "CLOCK"


class Future(Struct, frozen=True, kw_only=True):
    """What runs of a yard into its future showed."""

    #: As of when.
    at_ms: int
    seed: int
    run_count: int
    #: Those that were asked for, in the order in which they were.
    jobs: tuple[StartForecast, ...] = ()
    #: RUNNABLE and PENDING jobs that were looked at; an array counts once.
    waiting_count: int = 0
    #: When all of them will have started, and when all that lives will have ended.
    all_started: Interval = Interval()
    all_ended: Interval = Interval()
    #: None: every run was followed to its end.
    gave_up: GaveUp | None = None
    #: How far every run came.
    reached_ms: int = 0
    #: The least number of jobs that started in a run.
    reached_start_count: int = 0
    #: After how many starts, at least, it is told by the pace of lines; None: nothing is.
    paced_after: int | None = None
    bases: tuple[BasisUse, ...] = ()
    #: None: no job is expected to come in.
    arrivals: ArrivalUse | None = None


class Stretch(Struct, frozen=True, kw_only=True):
    """By how much the ends of an interval were moved from its middle, for what others missed by."""

    low_permille: int = 1000
    high_permille: int = 1000
    #: Of how many moments forecasts were judged; and whether these were of one queue alone.
    moment_count: int = 0
    is_of_queue: bool = False


class PastForecast(Struct, frozen=True, kw_only=True):
    """What was said of a job."""

    made_ms: int
    p10_ms: int
    p50_ms: int
    p90_ms: int
    #: What these ends were stretched by.
    stretch: Stretch = Stretch()
    #: None: it waits still.
    started_ms: int | None = None


class HitRate(Struct, frozen=True, kw_only=True):
    """How forecasts of the past did."""

    #: Forecasts whose jobs have started since.
    scored_count: int
    #: Those of them whose interval from p10 to p90 held the start.
    held_count: int
    #: Those whose jobs have not started yet.
    open_count: int
    #: So many must be scored before a rate is told.
    scored_min: int


class JobForecast(Struct, frozen=True, kw_only=True):
    """When a job will start, and what to think of it."""

    job_id: JobId
    status: JobStatus
    #: None: it has started or ended already, or the scheduler has not seen it yet.
    future: Future | None = None
    hit_rate: HitRate | None = None
