"""GetJobForecast and GetQueueForecast: when jobs will start.

Decides how a forecast is told, and that it is kept to be scored. Refuses to know how it is made.
"""

from msgspec.structs import replace

from batchyard.api.batch.rules.names import is_arn_in, queue_arn_of
from batchyard.api.own.futures import Asked, Seer, answer_of, place_of
from batchyard.api.own.jobs import read_named_job
from batchyard.api.own.recalibrating import READ_MAX, stretch_of, stretched
from batchyard.model.forecast import (
    ArrivalUse,
    Basis,
    BasisUse,
    Future,
    GaveUp,
    HitRate,
    Interval,
    StartForecast,
    Stretch,
)
from batchyard.model.ids import JobId, QueueArn
from batchyard.model.records import ArrayProgress, JobRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import JobStatus
from batchyard.store import Connection, Store
from batchyard.store.forecasts import (
    first_start_of,
    keep_forecast,
    read_hit_rate,
    read_past_forecasts,
    score_forecasts,
)
from batchyard.store.queues import read_queue
from batchyard.wire.call import Call

_S = 1000
_MINUTE = 60 * _S
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
#: So many kinds of jobs are told of, those with the weakest history first.
_BASES_SHOWN_MAX = 20
_SEED_MAX = 2**31 - 1

_ASSUMES = (
    "Jobs take as long as those of their kind took of late.",
    "Nobody cancels or changes anything.",
)
_TEXT_BY_GAVE_UP = {
    GaveUp.HORIZON: "the future was followed for a month",
    GaveUp.TURNS: "a run of the future was given up after {count:,} starts",
    GaveUp.CLOCK: "looking ahead took too long and was given up after {count:,} starts",
}
_TEXT_BY_BASIS = {
    Basis.BATCH: "the last {count} attempts of what came in with them",
    Basis.DEFINITION: "the last {count} attempts of that definition in that queue",
    Basis.QUEUE: "the last {count} attempts in that queue",
    Basis.ALL: "the last {count} attempts of all queues",
    Basis.TIMEOUT: "a guess below its timeout, for nothing has ended yet",
    Basis.DEFAULT: "a guess around 10 minutes, for nothing has ended yet",
}


async def get_job_forecast(store: Store, seer: Seer, call: Call, request: Json) -> Json:
    """Say when a job, child or node of the caller's account and region will start."""
    job_id, record = await store.read(
        lambda conn: read_named_job(conn, call.scope, request["jobId"])
    )
    future = None
    if _may_start(record):
        asked = Asked(
            place=place_of(call.scope), now_ms=call.now_ms, seed=seed_of(request), job_id=job_id
        )
        future = await answer_of(lambda: seer.foresee(asked))

    queue_arn = record.job.queue_arn

    def keep(conn: Connection) -> tuple[Future | None, Stretch, HitRate]:
        score_forecasts(conn)
        said, stretch = future, Stretch()
        if future is not None and future.jobs:
            stretch = _stretch(conn, call, queue_arn)
            said = moved(future, stretch)
            if record.job.array_size is None:
                keep_forecast(
                    conn,
                    call.scope,
                    job_id,
                    said.jobs[0].start,
                    made_ms=said.at_ms,
                    queue_arn=queue_arn,
                    stretch=stretch,
                )
        return said, stretch, read_hit_rate(conn, call.scope)

    said, stretch, hit_rate = await store.write(keep)
    return _shown_job(job_id, record, said, stretch) | {"hitRate": _shown_rate(hit_rate)}


async def get_queue_forecast(store: Store, seer: Seer, call: Call, request: Json) -> Json:
    """Say when the jobs that wait in a queue will start, and when all of them will be over."""
    arn = queue_arn_of(call.scope, request["jobQueue"])
    record = await store.read(lambda conn: read_queue(conn, arn))
    if record is None or not is_arn_in(call.scope, arn):
        raise client_exception(f"{arn} does not exist")
    asked = Asked(
        place=place_of(call.scope), now_ms=call.now_ms, seed=seed_of(request), queue_arn=arn
    )
    future = await answer_of(lambda: seer.foresee(asked))
    if future is None:
        future = Future(at_ms=call.now_ms, seed=asked.seed, run_count=0)

    def score(conn: Connection) -> tuple[Stretch, HitRate]:
        score_forecasts(conn)
        return _stretch(conn, call, arn), read_hit_rate(conn, call.scope)

    stretch, hit_rate = await store.write(score)
    future = moved(future, stretch)
    return {
        "jobQueue": arn,
        "summary": _queue_summary(future),
        "waitingCount": future.waiting_count,
        "jobs": [_shown_start(each) for each in future.jobs],
        "allStarted": shown_interval(future.all_started),
        "allEnded": shown_interval(future.all_ended),
        **_shown_future(future),
        "stretch": _shown_stretch(stretch),
        "hitRate": _shown_rate(hit_rate),
    }


def _stretch(conn: Connection, call: Call, queue_arn: QueueArn) -> Stretch:
    """Find by how much the ends of what is said of a queue are to be moved."""
    of_queue, of_all = (
        read_past_forecasts(conn, call.scope, each, count_max=READ_MAX)
        for each in (queue_arn, None)
    )
    return stretch_of(of_queue, of_all, call.now_ms)


def moved(future: Future, stretch: Stretch) -> Future:
    """Move all ends of what is said."""

    def said(start: Interval) -> Interval:
        return stretched(start, stretch, future.at_ms)

    return replace(
        future,
        jobs=tuple(replace(each, start=said(each.start)) for each in future.jobs),
        all_started=said(future.all_started),
        all_ended=said(future.all_ended),
    )


def _may_start(record: JobRecord) -> bool:
    """Tell whether a job that the scheduler has seen waits for its first start, or its next."""
    return record.progress.status in (JobStatus.PENDING, JobStatus.RUNNABLE)


def seed_of(request: Json) -> int:
    """Read a seed; refuses what is none."""
    seed: int = request.get("seed", 0)
    if not 0 <= seed <= _SEED_MAX:
        raise client_exception(f"seed must be between 0 and {_SEED_MAX}.")
    return seed


def _shown_job(job_id: JobId, record: JobRecord, future: Future | None, stretch: Stretch) -> Json:
    answer: Json = {
        "jobId": job_id,
        "status": record.progress.status.value,
        "summary": _job_summary(record, future),
        "startedAt": first_start_of(record.progress),
    }
    if future is not None and future.jobs:
        found = future.jobs[0]
        answer |= {
            "start": shown_interval(found.start),
            "startedCount": found.started_count,
            **_shown_future(future),
            "stretch": _shown_stretch(stretch),
        }
        if record.progress.array is not None:
            answer["end"] = shown_interval(future.all_ended)
    return answer


def _shown_future(future: Future) -> Json:
    return {
        "at": future.at_ms,
        "seed": future.seed,
        "runCount": future.run_count,
        "gaveUp": None if future.gave_up is None else future.gave_up.value,
        "reachedAt": future.reached_ms or None,
        "assumptions": [*assumptions_of(future.arrivals), *_pace_of(future)],
        "bases": [shown_basis(each) for each in future.bases[:_BASES_SHOWN_MAX]],
    }


def _shown_start(found: StartForecast) -> Json:
    return {
        "jobId": found.job_id,
        "start": shown_interval(found.start),
        "startedCount": found.started_count,
    }


def assumptions_of(arrivals: ArrivalUse | None) -> list[str]:
    """Say what must hold for what was seen to come."""
    if arrivals is None:
        return [*_ASSUMES, "No new job goes ahead of those that wait."]
    window = duration(arrivals.window_ms)
    return [*_ASSUMES, f"Jobs come in as the last {arrivals.job_count:,} did, in {window}."]


def _pace_of(future: Future) -> list[str]:
    """Say from where on nothing was run."""
    if future.paced_after is None:
        return []
    return [
        f"What comes after {future.paced_after:,} starts goes on at the pace of the latter half of"
        " these, as if all succeeded."
    ]


def shown_interval(interval: Interval) -> Json:
    """Show an interval; what is not known is left out."""
    return {"p10": interval.p10_ms, "p50": interval.p50_ms, "p90": interval.p90_ms}


def shown_basis(use: BasisUse) -> Json:
    """Show what the run times of a kind of job rest on."""
    text = _TEXT_BY_BASIS[use.basis].format(count=use.sample_count)
    return {
        "jobDefinition": use.definition or None,
        "jobQueue": use.queue,
        "basis": use.basis.value,
        "sampleCount": use.sample_count,
        "text": f"Jobs of {use.definition or 'no definition'} in {use.queue} go by {text}.",
    }


def _shown_stretch(stretch: Stretch) -> Json:
    low, high = (round(each / 10) for each in (stretch.low_permille, stretch.high_permille))
    if not stretch.moment_count:
        text = (
            f"Ends are moved to {high} % of their distance from the middle, which held 8 of 10"
            " starts of made-up yards: no moment is over yet that something was said of here."
        )
    else:
        whose = "this queue" if stretch.is_of_queue else "all queues"
        text = (
            f"Ends are moved by what forecasts of {whose} missed by, made at"
            f" {_moments(stretch.moment_count)}: the early end to {low} % of its distance from the"
            f" middle, the late one to {high} %."
        )
    return {
        "lowPercent": low,
        "highPercent": high,
        "momentCount": stretch.moment_count,
        "text": text,
    }


def _moments(count: int) -> str:
    return "1 moment" if count == 1 else f"{count} moments"


def _shown_rate(rate: HitRate) -> Json:
    if rate.scored_count < rate.scored_min:
        text = (
            f"Not enough forecasts yet to say how good they are: {rate.scored_count} of"
            f" {rate.scored_min} jobs with one have started."
        )
    else:
        percent = round(100 * rate.held_count / rate.scored_count)
        text = (
            f"{percent} % of {rate.scored_count} jobs with a forecast started within its interval;"
            f" it should be 80 %."
        )
    return {
        "scoredCount": rate.scored_count,
        "heldCount": rate.held_count,
        "openCount": rate.open_count,
        "neededCount": rate.scored_min,
        "text": text,
    }


def _job_summary(record: JobRecord, future: Future | None) -> str:
    status = record.progress.status
    if status is JobStatus.SUBMITTED:
        return "The scheduler has not seen it yet."
    if status.is_terminal:
        return f"It has ended: {status}."
    if future is None or not future.jobs:
        return "It has its place." if status.has_task else "It has just been placed, or has ended."
    if record.progress.array is not None:
        return f"{_next_child(record.progress.array, future)} {_end_of_array(future)}".rstrip()
    return _start("It", future)


def _next_child(array: ArrayProgress, future: Future) -> str:
    """Tell when the first child of an array starts, or the next one."""
    counts = array.count_by_status()
    waiting = counts[JobStatus.PENDING] + counts[JobStatus.RUNNABLE]
    if array.rest is not None and not waiting:
        return "All its children have their place."
    return _start("It" if waiting in (0, array.size) else "Its next child", future)


def _end_of_array(future: Future) -> str:
    if future.all_ended.p50_ms is not None:
        return f"All of it is over {between(future.all_ended, future.at_ms)}."
    if future.gave_up is None:
        return "Not all of it is ever over if nothing changes from outside."
    return ""


def _start(who: str, future: Future) -> str:
    found, at_ms = future.jobs[0], future.at_ms
    if found.started_count == 0:
        if future.gave_up is None:
            return f"{who} never starts if nothing changes from outside."
        reached = duration(future.reached_ms - at_ms)
        return f"{who} does not start within {reached}: {_gave_up(future)}."
    text = f"{who} starts {between(found.start, at_ms)}."
    if found.started_count < future.run_count:
        missing = future.run_count - found.started_count
        text += f" In {missing} of {future.run_count} runs it did not start"
        text += "." if future.gave_up is None else f": {_gave_up(future)}."
    return text


def _queue_summary(future: Future) -> str:
    if not future.waiting_count:
        return "No job waits."
    jobs = "1 job waits" if future.waiting_count == 1 else f"{future.waiting_count:,} jobs wait"
    if future.all_started.p50_ms is None and future.gave_up is not None:
        reached = duration(future.reached_ms - future.at_ms)
        return f"{jobs}; not all start within {reached}: {_gave_up(future)}."
    if future.all_started.p50_ms is None:
        return f"{jobs}; not all of them ever start if nothing changes from outside."
    last = between(future.all_started, future.at_ms)
    return f"{jobs}; the last of them starts {last}."


def _gave_up(future: Future) -> str:
    assert future.gave_up is not None, "only of what was given up"
    return _TEXT_BY_GAVE_UP[future.gave_up].format(count=future.reached_start_count)


def between(interval: Interval, at_ms: int) -> str:
    """Tell an interval from a moment on."""
    low, middle, high = (
        None if each is None else duration(each - at_ms)
        for each in (interval.p10_ms, interval.p50_ms, interval.p90_ms)
    )
    if low is None:
        return "later than could be seen"
    if high is None:
        return f"in {low} at the earliest (9 of 10)"
    if low == high:
        return f"in {low}"
    return f"in {low} to {high} (8 of 10), the middle one in {middle}"


def duration(ms: int) -> str:
    """Tell how long something takes, in the unit that fits."""
    if ms < _S:
        return "less than 1 s"
    if ms < 2 * _MINUTE:
        return f"{ms // _S} s"
    if ms < 2 * _HOUR:
        return f"{ms // _MINUTE} min"
    if ms < 2 * _DAY:
        return f"{ms / _HOUR:.1f} h"
    return f"{ms / _DAY:.1f} d"
