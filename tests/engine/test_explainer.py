"""Who explains: an engine from what it holds, also after a restart, or the store beside another."""

from __future__ import annotations

import pytest

from batchyard.compute.twin import Script
from batchyard.engine import explainer as module
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.explainer import Explainer, TooMuchToRestore
from batchyard.engine.loop import Engine, NotInCharge
from batchyard.model.explanation import AheadRule, Explanation
from batchyard.model.ids import task_id_of
from batchyard.model.status import JobStatus
from tests.builders import job_id
from tests.engine.stage import Stage


class OfAnother:
    """An engine that is not in charge."""

    def explain(self, wanted: object) -> Explanation:
        raise NotInCharge


def explainer(stage: Stage, engine: Engine | OfAnother) -> Explainer:
    return Explainer(
        explain_own=engine.explain,
        store=stage.store,
        times=LaunchTimes(),
        clock_ms=lambda: stage.now_ms,
    )


async def explained(stage: Stage, engine: Engine | OfAnother, number: int) -> Explanation:
    found = await explainer(stage, engine).explain(job_id(number))
    assert found is not None
    return found


async def passed_over(stage: Stage) -> None:
    """Let job 2 wait for job 1, become RUNNABLE too late, and be passed by jobs 3 and 4."""
    stage.machine.scripts["quick"] = Script(duration_ms=0)
    await stage.create()
    await stage.submit(1)
    await stage.until(1, JobStatus.RUNNING)
    await stage.submit(2, cpu_milli=10**6)
    await stage.until(2, JobStatus.RUNNABLE)
    stage.now_ms += 1000
    await stage.submit(3, image="quick")
    await stage.until(3, JobStatus.SUCCEEDED)


async def test_who_went_ahead_is_known_after_a_restart(stage: Stage):
    async with stage.engine() as engine:
        await passed_over(stage)
        before = await explained(stage, engine, 2)
        assert [(each.job_id, each.rule) for each in before.went_ahead] == [
            (job_id(3), AheadRule.ROOM_NOT_FOR_IT)
        ]
        assert before.went_ahead_since_ms is None
    async with stage.engine() as engine:
        await engine.wait_until_ready()
        assert (await explained(stage, engine, 2)).went_ahead == before.went_ahead


async def test_a_job_that_waited_first_is_told_who_started_since(stage: Stage):
    async with stage.engine() as engine:
        await stage.create()
        await stage.submit(1)
        await stage.submit(2, after=(1,), cpu_milli=10**6)
        stage.machine.scripts["quick"] = Script(duration_ms=0)
        await stage.submit(3, image="quick")
        await stage.until(3, JobStatus.SUCCEEDED)
        stage.now_ms += 1000
        stage.machine.finish(task_id_of(job_id(1), 1))
        await stage.until(2, JobStatus.RUNNABLE)
        assert (await explained(stage, engine, 2)).went_ahead == ()
        stage.now_ms += 1000
        await stage.submit(4, image="quick")
        await stage.until(4, JobStatus.SUCCEEDED)
        found = await explained(stage, engine, 2)
        assert [each.job_id for each in found.went_ahead] == [job_id(4)]


async def test_beside_another_engine_the_store_tells(stage: Stage):
    async with stage.engine() as engine:
        await passed_over(stage)
        own = await explained(stage, engine, 2)
        other = await explained(stage, OfAnother(), 2)
        assert (other.summary, other.reasons, other.changes) == (
            own.summary,
            own.reasons,
            own.changes,
        )
        assert other.went_ahead == own.went_ahead
        assert await explainer(stage, OfAnother()).explain(job_id(3)) is None


async def test_a_view_is_kept_for_a_moment(stage: Stage):
    async with stage.engine():
        await passed_over(stage)
        beside = explainer(stage, OfAnother())
        first = await beside.explain(job_id(2))
        stage.now_ms += module.VIEW_KEPT_MS
        again = await beside.explain(job_id(2))
        stage.now_ms += 1
        later = await beside.explain(job_id(2))
        assert first is not None
        assert again is not None
        assert later is not None
        assert (again.at_ms, later.at_ms) == (first.at_ms, first.at_ms + module.VIEW_KEPT_MS + 1)


async def test_too_many_live_jobs_are_not_restored(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "LIVE_JOBS_MAX", 1)
    async with stage.engine():
        await passed_over(stage)
        with pytest.raises(TooMuchToRestore) as refused:
            await explainer(stage, OfAnother()).explain(job_id(2))
    assert refused.value.hosts == ["twin"]
