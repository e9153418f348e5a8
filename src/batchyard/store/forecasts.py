"""Forecasts that were made of jobs, and whether they held.

Owns the table `forecasts`. Refuses to know how a forecast is made.

Rules: the first forecast of a job counts, so asking often changes nothing; a job that ended without
ever starting counts for nothing; the latest KEPT_MAX are kept. Starts are looked up when forecasts
are asked for, and before old jobs are thrown away: the engine's own work never touches this.
"""

from sqlalchemy import Connection, bindparam, delete, func, select, update

from batchyard.model.forecast import HitRate, Interval
from batchyard.model.ids import JobId, Scope
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


def keep_forecast(
    conn: Connection, scope: Scope, job_id: JobId, start: Interval, *, made_ms: int
) -> None:
    """Keep what was said of a job, if it is whole and the first."""
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
    }
    insert_new(conn, forecasts, values)
    last = conn.scalar(select(func.max(forecasts.c.seq))) or 0
    conn.execute(delete(forecasts).where(forecasts.c.seq <= last - KEPT_MAX))


def score_forecasts(conn: Connection) -> None:
    """Look up which of the jobs have started since."""
    wanted = [JobId(each) for each in conn.scalars(_OPEN)]
    found = read_specs(conn, wanted) if wanted else {}
    for job_id in wanted:
        record = found.get(job_id)
        started_ms = None if record is None else first_start_of(record.progress)
        if started_ms is not None:
            conn.execute(
                update(forecasts).where(forecasts.c.job_id == job_id).values(started_ms=started_ms)
            )
        elif record is None or record.progress.status.is_terminal:
            conn.execute(delete(forecasts).where(forecasts.c.job_id == job_id))


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
