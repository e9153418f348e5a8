"""Tasks that ended lately are remembered, also by the next engine; the clock is the test's own."""

from __future__ import annotations

import pytest

from batchyard.compute.twin import Script
from batchyard.engine import ended_tasks
from batchyard.engine.ended_tasks import KEPT_MS
from batchyard.engine.loop import Engine
from batchyard.model.ids import JobId, task_id_of
from batchyard.model.status import JobStatus
from tests.builders import environment_arn, job_id
from tests.engine.stage import Stage


def ended_in(engine: Engine) -> list[JobId]:
    return [each.job_id for each in engine.list_ended_tasks(environment_arn())]


async def test_what_ended_is_told_for_an_hour_also_after_a_restart(stage: Stage):
    stage.machine.scripts["quick"] = Script(duration_ms=0, exit_code=2)
    async with stage.engine() as engine:
        await stage.create()
        await stage.submit(1, image="quick", attempts=2)
        await stage.until(1, JobStatus.FAILED)
        await stage.submit(2)
        await stage.until(2, JobStatus.RUNNING)
        assert ended_in(engine) == [job_id(1), job_id(1)]
        assert [each.job_id for each in engine.list_tasks(environment_arn())] == [job_id(2)]
        tasks = [task_id_of(job_id(1), number) for number in (1, 2)]
        assert [engine.find_seen_task(each) for each in tasks] == [job_id(1)] * 2
        assert [engine.find_task(each) for each in tasks] == [None] * 2
        assert engine.find_seen_task(task_id_of(job_id(2), 1)) == job_id(2)
    async with stage.engine() as engine:
        await engine.wait_until_ready()
        assert ended_in(engine) == [job_id(1), job_id(1)]
        stage.now_ms += KEPT_MS + 1
        assert ended_in(engine) == []
        assert engine.find_seen_task(tasks[0]) is None
    async with stage.engine() as engine:
        await engine.wait_until_ready()
        assert engine.find_seen_task(tasks[0]) is None


async def test_only_the_last_are_kept(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ended_tasks, "ENDED_TASKS_KEPT_MAX", 2)
    monkeypatch.setattr(ended_tasks, "_JOBS_READ_MAX", 1)
    stage.machine.scripts["quick"] = Script(duration_ms=0)
    async with stage.engine() as engine:
        await stage.create()
        for number in (1, 2, 3):
            await stage.submit(number, image="quick")
            await stage.until(number, JobStatus.SUCCEEDED)
        assert ended_in(engine) == [job_id(2), job_id(3)]
    async with stage.engine() as engine:
        await engine.wait_until_ready()
        assert ended_in(engine) == [job_id(3)]
