"""Forecasts that were made of jobs, and whether they held.

Owns the table `forecasts`. Refuses to know how a forecast is made.

Rules: the first forecast of a job counts, so asking often changes nothing; a job that ended without
ever starting counts for nothing; the latest KEPT_MAX are kept. Starts are looked up when forecasts
are asked for, and before old jobs are thrown away: the engine's own work never touches this.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, delete, func, select, update

from batchyard.model.forecast import HitRate, Interval, PastForecast, Stretch
from batchyard.model.ids import JobId, QueueArn, Scope
from batchyard.model.records import JobProgress
from batchyard.store.jobs import read_specs
from batchyard.store.schema import forecasts
from batchyard.store.statements import insert_new

#: Ours.
KEPT_MAX = 10_000
#: Ours: fewer say too little about a rate of 80 %.
SCORED_MIN = 20
#: Ours: how many open ones are looked at in one go, the oldest first.
_LOOKED_AT_MAX = 500

_NONE = Stretch()
_OPEN = (
    select(forecasts.c.job_id)
    .where(forecasts.c.started_ms.is_(None))
    .order_by(forecasts.c.seq)
    .limit(_LOOKED_AT_MAX)
)
_OF_SCOPE = (
    forecasts.c.account == bindparam("account"),
    forecasts.c.region == bindparam("region"),
)

_LATEST = select(
    forecasts.c.job_id,
    forecasts.c.made_ms,
    forecasts.c.p10_ms,
    forecasts.c.p50_ms,
    forecasts.c.p90_ms,
    forecasts.c.low_permille,
    forecasts.c.high_permille,
    forecasts.c.started_ms,
).order_by(forecasts.c.seq.desc())
#: What was said last of a queue, and in a scope: each in the order of an index.
OF_QUEUE = _LATEST.where(forecasts.c.queue_arn == bindparam("queue_arn"))
OF_SCOPE = _LATEST.where(*_OF_SCOPE)


def keep_forecast(  # noqa: PLR0913 -- a row
    conn: Connection,
    scope: Scope,
    job_id: JobId,
    start: Interval,
    *,
    made_ms: int,
    queue_arn: QueueArn,
    stretch: Stretch = _NONE,
) -> None:
    """Keep what was said of a job of a queue, if it is whole and the first."""
    if start.p10_ms is None or start.p50_ms is None or start.p90_ms is None:
        return
    values = {
        "job_id": job_id,
        "account": scope.account,
        "region": scope.region,
        "made_ms": made_ms,
        "p10_ms": start.p10_ms,
        "p50_ms": start.p50_ms,
        "p90_ms": start.p90_ms,
        "queue_arn": queue_arn,
        "low_permille": stretch.low_permille,
        "high_permille": stretch.high_permille,
    }
    insert_new(conn, forecasts, values)
    last = conn.scalar(select(func.max(forecasts.c.seq))) or 0
    conn.execute(delete(forecasts).where(forecasts.c.seq <= last - KEPT_MAX))


def score_forecasts(conn: Connection) -> None:
    """Look up which of the jobs have started since."""
    _score(conn, [JobId(each) for each in conn.scalars(_OPEN)])


def read_past_forecasts(
    conn: Connection, scope: Scope, queue_arn: QueueArn | None, *, count_max: int
) -> list[PastForecast]:
    """Read what was said last of a queue, or of all, the oldest first, and what came of it."""
    query, names = OF_SCOPE, {"account": scope.account, "region": scope.region}
    if queue_arn is not None:
        query, names = OF_QUEUE, {"queue_arn": queue_arn}
    query = query.limit(count_max)
    rows = conn.execute(query, names).all()
    if _score(conn, [JobId(row.job_id) for row in rows if row.started_ms is None]):
        rows = conn.execute(query, names).all()
    return [
        PastForecast(
            made_ms=row.made_ms,
            p10_ms=row.p10_ms,
            p50_ms=row.p50_ms,
            p90_ms=row.p90_ms,
            stretch=Stretch(low_permille=row.low_permille, high_permille=row.high_permille),
            started_ms=row.started_ms,
        )
        for row in reversed(rows)
    ]


def read_hit_rate(conn: Connection, scope: Scope) -> HitRate:
    """Count how forecasts did in a scope."""
    start = forecasts.c.started_ms
    is_held = start.between(forecasts.c.p10_ms, forecasts.c.p90_ms)
    row = conn.execute(
        select(
            func.count(start),
            func.count(start).filter(is_held),
            func.count(),
        ).where(*_OF_SCOPE),
        {"account": scope.account, "region": scope.region},
    ).one()
    return HitRate(
        scored_count=row[0], held_count=row[1], open_count=row[2] - row[0], scored_min=SCORED_MIN
    )


def first_start_of(progress: JobProgress) -> int | None:
    """Tell when a job, child or node first started; None: it has not."""
    attempts = (*progress.preempted, *progress.attempts)
    every = attempts if progress.attempt is None else (*attempts, progress.attempt)
    return min((each.started_ms for each in every if each.started_ms is not None), default=None)


def _score(conn: Connection, wanted: Sequence[JobId]) -> int:
    """Look up what became of jobs; give of how many something did."""
    changed_count = 0
    found = read_specs(conn, wanted) if wanted else {}
    for job_id in wanted:
        record = found.get(job_id)
        started_ms = None if record is None else first_start_of(record.progress)
        if started_ms is not None:
            changed_count += 1
            conn.execute(
                update(forecasts).where(forecasts.c.job_id == job_id).values(started_ms=started_ms)
            )
        elif record is None or record.progress.status.is_terminal:
            changed_count += 1
            conn.execute(delete(forecasts).where(forecasts.c.job_id == job_id))
    return changed_count
