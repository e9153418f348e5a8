"""Forecasts that were made, and how they did."""

from __future__ import annotations

import pytest
import sqlalchemy
from msgspec.structs import replace

from batchyard.model.forecast import HitRate, Interval, Stretch
from batchyard.model.ids import DefinitionArn
from batchyard.model.records import JobProgress, StopCause
from batchyard.model.status import JobStatus
from batchyard.store import Store, forecasts, run_times
from batchyard.store.live_jobs import write_progress
from tests.store.builders import QUEUE_ARN, SCOPE, a_job, an_attempt

pytestmark = pytest.mark.ours_only

SOON = Interval(p10_ms=100, p50_ms=150, p90_ms=200)


def ended(started_ms: int | None, *, status: JobStatus = JobStatus.SUCCEEDED) -> JobProgress:
    attempt = an_attempt(
        placed_ms=90,
        started_ms=started_ms,
        stopped_ms=5000,
        exit_code=0,
    )
    attempts = () if started_ms is None else (attempt,)
    return JobProgress(status=status, stopped_ms=5000, attempts=attempts)


async def test_a_forecast_is_scored_once_its_job_has_started(store: Store) -> None:
    jobs = [a_job() for _ in range(4)]
    for job in jobs:
        await store.append_job(job)

    def keep(conn) -> None:
        for job in jobs:
            forecasts.keep_forecast(conn, SCOPE, job.id, SOON, made_ms=1, queue_arn=QUEUE_ARN)
        later = Interval(p10_ms=1, p50_ms=1, p90_ms=1)
        forecasts.keep_forecast(conn, SCOPE, jobs[0].id, later, made_ms=2, queue_arn=QUEUE_ARN)
        forecasts.score_forecasts(conn)

    await store.write(keep)
    rate = await store.read(lambda conn: forecasts.read_hit_rate(conn, SCOPE))
    assert rate == HitRate(scored_count=0, held_count=0, open_count=4, scored_min=20)
    failed = JobStatus.FAILED
    progress = [ended(200), ended(201), ended(None, status=failed)]
    changed = [(job.id, each) for job, each in zip(jobs, progress, strict=False)]
    await store.write(lambda conn: write_progress(conn, changed))
    await store.write(forecasts.score_forecasts)
    rate = await store.read(lambda conn: forecasts.read_hit_rate(conn, SCOPE))
    assert rate == HitRate(scored_count=2, held_count=1, open_count=1, scored_min=20)


async def test_what_is_not_whole_is_not_kept_and_the_latest_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecasts, "KEPT_MAX", 2)
    jobs = [a_job() for _ in range(3)]
    for job in jobs:
        await store.append_job(job)

    def keep(conn) -> None:
        forecasts.keep_forecast(
            conn, SCOPE, jobs[0].id, Interval(p10_ms=1), made_ms=1, queue_arn=QUEUE_ARN
        )
        for job in jobs:
            forecasts.keep_forecast(conn, SCOPE, job.id, SOON, made_ms=1, queue_arn=QUEUE_ARN)

    await store.write(keep)
    rate = await store.read(lambda conn: forecasts.read_hit_rate(conn, SCOPE))
    assert rate.open_count == 2


async def test_the_past_is_read_by_definition_and_queue(store: Store) -> None:
    job = a_job()
    await store.append_job(job)
    live = await store.read(run_times.read_origins_of_live)
    name = DefinitionArn(job.definition_arn).rsplit("/", 1)[-1].rsplit(":", 1)[0]
    kind = run_times.Kind(name, job.queue_arn)
    batch = str(job.created_ms // 60_000)
    trait = run_times.trait_of(None, job.demand)
    assert live == {job.id: run_times.Origin(kind, batch, trait)}
    await store.write(lambda conn: write_progress(conn, [(job.id, ended(1000))]))
    (past,) = await store.read(run_times.read_past_attempts)
    assert (past.kind, past.batch, past.trait) == (kind, batch, trait)
    assert (past.kind, past.starting_ms, past.running_ms) == (kind, 910, 4000)
    assert await store.read(run_times.read_origins_of_live) == {}


@pytest.mark.parametrize(
    ("cause", "is_kept"),
    [
        (StopCause.TIMED_OUT, True),
        (StopCause.TERMINATED, True),
        (StopCause.INSTANCE_TERMINATED, False),
        (StopCause.CROSS_SHARE_PREEMPTION, False),
    ],
)
async def test_what_was_stopped_says_how_long_others_run_unless_the_yard_cut_it_short(
    store: Store, cause: StopCause, is_kept: bool
) -> None:
    job = a_job()
    await store.append_job(job)
    progress = ended(1000, status=JobStatus.FAILED)
    (attempt,) = progress.attempts
    stopped = replace(attempt, stop_cause=cause, exit_code=143, reason="Host EC2: gone")
    progress = replace(progress, attempts=(stopped,))
    await store.write(lambda conn: write_progress(conn, [(job.id, progress)]))
    found = await store.read(run_times.read_past_attempts)
    told = [(each.running_ms, each.exit_code, each.reason) for each in found]
    assert told == ([(4000, 0, None)] if is_kept else [])


@pytest.mark.parametrize("cause", [None, StopCause.TERMINATED])
async def test_what_failed_to_start_says_how_long_it_held_its_place(
    store: Store, cause: StopCause | None
) -> None:
    job = a_job()
    await store.append_job(job)
    progress = ended(1000, status=JobStatus.FAILED)
    (attempt,) = progress.attempts
    reason = "CannotPullContainerError: no such image"
    failed = replace(attempt, started_ms=None, stop_cause=cause, exit_code=None, reason=reason)
    progress = replace(progress, attempts=(failed,))
    await store.write(lambda conn: write_progress(conn, [(job.id, progress)]))
    found = await store.read(run_times.read_past_attempts)
    told = [(each.starting_ms, each.running_ms, each.exit_code, each.reason) for each in found]
    assert told == ([(0, 4910, None, reason)] if cause is None else [])


async def test_the_latest_that_was_said_of_a_queue_is_read_with_what_came_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is beyond the open ones that are looked at in one go; what cannot start is out."""
    monkeypatch.setattr(forecasts, "_OPEN", forecasts._OPEN.limit(0))
    low = SCOPE.queue_arn("low")
    jobs = [a_job() for _ in range(5)]
    stretch = Stretch(low_permille=900, high_permille=2000)
    for job in jobs:
        await store.append_job(job)

    def keep(conn) -> None:
        for number, job in enumerate(jobs):
            forecasts.keep_forecast(
                conn,
                SCOPE,
                job.id,
                SOON,
                made_ms=number,
                queue_arn=low if number == 3 else QUEUE_ARN,
                stretch=stretch,
            )

    await store.write(keep)
    failed = ended(None, status=JobStatus.FAILED)
    changed = [(jobs[1].id, ended(150)), (jobs[2].id, failed), (jobs[3].id, ended(140))]
    await store.write(lambda conn: write_progress(conn, changed))

    async def read(queue_arn) -> list[tuple[int, int | None]]:
        found = await store.write(
            lambda conn: forecasts.read_past_forecasts(conn, SCOPE, queue_arn, count_max=4)
        )
        for each in found:
            assert (each.p10_ms, each.p50_ms, each.p90_ms, each.stretch) == (100, 150, 200, stretch)
        return [(each.made_ms, each.started_ms) for each in found]

    assert await read(low) == [(3, 140)]
    assert await read(QUEUE_ARN) == [(0, None), (1, 150), (4, None)]
    assert await read(None) == [(0, None), (1, 150), (3, 140), (4, None)]


async def test_what_was_said_of_a_queue_is_found_by_an_index(store: Store) -> None:
    def plans(conn) -> list[str]:
        if conn.dialect.name != "sqlite":
            pytest.skip("PostgreSQL plans by sizes: a scan of an empty table is right there")
        found = []
        for query, names in (
            (forecasts.OF_QUEUE, {"queue_arn": QUEUE_ARN}),
            (forecasts.OF_SCOPE, {"account": SCOPE.account, "region": SCOPE.region}),
        ):
            rows = conn.execute(sqlalchemy.text(f"EXPLAIN QUERY PLAN {query}"), names)
            found.append(" ".join(row[3] for row in rows))
        return found

    of_queue, of_scope = await store.read(plans)
    assert "USING INDEX ix_forecasts_queue" in of_queue
    assert "USING INDEX ix_forecasts_scope" in of_scope
    assert "TEMP B-TREE" not in of_queue + of_scope
