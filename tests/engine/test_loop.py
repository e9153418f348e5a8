"""The live loop: wishes in, facts out, whatever ends it in between."""

from __future__ import annotations

import asyncio
import random

import pytest

from batchyard.compute.twin import Script
from batchyard.core.evolve import evolve
from batchyard.core.state import State
from batchyard.engine.facts import decode_event
from batchyard.model import wording
from batchyard.model.ids import task_id_of
from batchyard.model.records import WishKind
from batchyard.model.status import JobStatus, ResourceStatus
from batchyard.store import Store, StoreTrouble, environments, events, queues
from tests.builders import environment_arn, job_id, queue_arn
from tests.engine.stage import Stage

SUCCEEDED, FAILED, RUNNING = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.RUNNING


async def test_wishes_are_settled_and_a_job_runs_to_its_end(stage: Stage):
    stage.machine.scripts["quick"] = Script(duration_ms=0)
    async with stage.engine():
        await stage.create()
        await stage.submit(1, image="quick")
        record = await stage.until(1, SUCCEEDED)
        assert [attempt.exit_code for attempt in record.progress.attempts] == [0]
        environment = await stage.store.read(
            lambda conn: environments.read_environment(conn, environment_arn())
        )
        assert environment is not None
        assert (environment.status, environment.status_reason) == (
            ResourceStatus.VALID,
            wording.ENVIRONMENT_HEALTHY,
        )
        while stage.machine.tasks:  # the task is forgotten once its end is durable
            await asyncio.sleep(0)


async def test_the_story_of_a_job_gives_its_record_again(stage: Stage):
    stage.machine.scripts["quick"] = Script(duration_ms=0, exit_code=2)
    async with stage.engine():
        await stage.create()
        await stage.submit(1, image="quick", attempts=2)
        await stage.submit(2, after=(1,))
        await stage.until(2, FAILED)
        stored = await stage.store.read(lambda conn: events.read_events_after(conn, 0, 1000))
    again = State()
    for record in stored:
        evolve(again, decode_event(record))
    assert again.jobs == {}
    assert [each.kind for each in stored if each.job_id == job_id(2)] == [
        "JobAccepted",
        "JobFailed",
    ]


async def test_a_timeout_fires_without_anything_else_happening(stage: Stage):
    async with stage.engine():
        await stage.create()
        await stage.submit(1, timeout_ms=60_000)
        await stage.until(1, RUNNING)
    stage.now_ms += 61_000
    async with stage.engine():  # the clock went on while no server was up
        record = await stage.until(1, FAILED)
    assert record.progress.status_reason == wording.TIMEOUT_EXCEEDED


async def test_a_wish_about_a_job_still_submitted_waits_for_it(stage: Stage):
    await stage.create()
    await stage.submit(1)
    await stage.wish(WishKind.CANCEL, 1, "never mind")
    async with stage.engine():
        record = await stage.until(1, FAILED)
    assert (record.progress.status_reason, record.progress.attempts) == ("never mind", [])


async def test_terminate_stops_the_container(stage: Stage):
    async with stage.engine():
        await stage.create()
        await stage.submit(1, attempts=3)
        await stage.until(1, RUNNING)
        await stage.wish(WishKind.TERMINATE, 1, "enough")
        record = await stage.until(1, FAILED)
    assert (record.progress.status_reason, record.progress.is_terminated) == ("enough", True)
    assert record.progress.attempts[0].exit_code == 143


async def test_deleting_a_queue_and_its_environment_leaves_nothing(stage: Stage):
    async with stage.engine():
        await stage.create()
        await stage.submit(1, 2, 3, 4, 5)
        await stage.until(1, RUNNING)

        def ask(conn) -> None:
            queues.update_queue(conn, queue_arn(), status=ResourceStatus.DELETING)
            environments.update_environment(conn, environment_arn(), status=ResourceStatus.DELETING)
            stage.store.note_wish()

        await stage.store.write(ask)
        for number in (1, 5):
            record = await stage.until(number, FAILED)
            assert record.progress.status_reason == wording.QUEUE_DELETED
        while await stage.store.read(environments.read_all_environments):
            await asyncio.sleep(0)
        assert await stage.store.read(queues.read_all_queues) == []


async def test_a_start_failure_is_told_as_aws_tells_it(stage: Stage):
    stage.machine.scripts["none"] = Script(start_failure="CannotPullContainerError: no such image")
    async with stage.engine():
        await stage.create()
        await stage.submit(1, image="none")
        record = await stage.until(1, FAILED)
    assert record.progress.status_reason == wording.TASK_FAILED_TO_START
    assert record.progress.attempts[0].reason == "CannotPullContainerError: no such image"


async def test_a_commit_that_fails_is_tried_again_and_nothing_is_sent_before(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """While the store refuses, no task starts; afterwards everything goes on by itself."""
    stage.machine.scripts["quick"] = Script(duration_ms=0)
    real = Store.write
    refusals: list[object] = []

    async def write(self, work):
        if is_refusing and work.__module__ == "batchyard.engine.loop":
            refusals.append(work)
            raise StoreTrouble("database or disk is full")
        return await real(self, work)

    is_refusing = False
    async with stage.engine():
        await stage.create()
        monkeypatch.setattr(Store, "write", write)
        is_refusing = True
        await stage.submit(1, image="quick")
        while not refusals:
            await asyncio.sleep(0)
        assert stage.machine.begin_count_by_task == {}
        is_refusing = False
        await stage.until(1, SUCCEEDED)


async def test_crashes_anywhere_lose_nothing_and_run_nothing_twice(stage: Stage):
    """Goal: end the engine at random moments, many times, and all jobs still end, each run once.

    Method: jobs with dependencies and retries; after each crash a new engine over the same store
    and machine. A seed that fails is printed by the assertion.
    """
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    stage.machine.scripts["flaky"] = Script(duration_ms=0, exit_code=1)
    await stage.create()
    numbers = range(1, 31)
    for number in numbers:
        after = (number - 1,) if number % 5 == 0 else ()
        image = "flaky" if number % 3 == 0 else "image"
        await stage.submit(number, image=image, attempts=2, after=after)
    expected = {n: FAILED if n % 3 == 0 else SUCCEEDED for n in numbers}
    for number in numbers:
        if number % 5 == 0 and expected[number - 1] is FAILED:
            expected[number] = FAILED
    for _ in range(500):
        async with stage.engine():
            for _ in range(rng.randrange(60)):
                await asyncio.sleep(0)
                for task_id in list(stage.machine.tasks):
                    if rng.random() < 0.3:
                        stage.machine.finish(task_id)
        statuses = {n: (await stage.job(n)).progress.status for n in numbers}
        if all(status.is_terminal for status in statuses.values()):
            break
    assert statuses == expected, f"seed {seed}"
    assert set(stage.machine.begin_count_by_task.values()) == {1}, f"seed {seed}"
    for number in numbers:
        attempts = (await stage.job(number)).progress.attempts
        begun = [
            n
            for n in (1, 2, 3)
            if task_id_of(job_id(number), n) in stage.machine.begin_count_by_task
        ]
        assert [each.number for each in attempts] == begun, f"seed {seed}"
