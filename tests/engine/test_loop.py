"""The live loop: wishes in, facts out, whatever ends it in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from batchyard.compute.port import TaskSpec, Trouble
from batchyard.compute.secrets import SecretUnavailable
from batchyard.compute.twin import Script, TwinBackend
from batchyard.core import draining
from batchyard.core.evolve import evolve
from batchyard.core.state import State
from batchyard.engine import dispatch
from batchyard.engine import wishes as engine_wishes
from batchyard.engine.facts import decode_event
from batchyard.model import wording
from batchyard.model.ids import task_id_of
from batchyard.model.records import Fetching, JobRecord, WishKind
from batchyard.model.status import JobStatus, ResourceStatus
from batchyard.store import Store, StoreTrouble, environments, events, log_groups, queues
from tests.builders import SCOPE, environment_arn, job_id, queue_arn
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
    assert (record.progress.status_reason, record.progress.attempts) == ("never mind", ())


async def test_no_job_starts_after_its_cancel_however_many_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """A cancel that one turn is too short for must not lose against the scheduler."""
    monkeypatch.setattr(engine_wishes, "WISHES_PER_TURN_MAX", 2)
    await stage.create()
    numbers = range(1, 12)
    await stage.submit(*numbers)
    for number in reversed(numbers):
        await stage.wish(WishKind.CANCEL, number, "never mind")
    async with stage.engine():
        for number in numbers:
            record = await stage.until(number, FAILED, RUNNING)
            assert (record.progress.status_reason, record.progress.attempts) == ("never mind", ())
    assert stage.machine.begin_count_by_task == {}


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


async def test_a_queue_with_many_jobs_is_deleted_in_many_turns(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """A queue of 100,000 jobs must not hold the loop for seconds."""
    monkeypatch.setattr(draining, "DRAINED_JOBS_PER_TURN_MAX", 2)
    numbers = range(1, 12)
    async with stage.engine():
        await stage.create(vcpus=2)
        await stage.submit(*numbers, after=())
        await stage.submit(12, after=(3,))
        await stage.until(2, RUNNING)

        def ask(conn) -> None:
            queues.update_queue(conn, queue_arn(), status=ResourceStatus.DELETING)
            stage.store.note_wish()

        await stage.store.write(ask)
        ended: set[int] = set()
        while await stage.store.read(queues.read_all_queues):
            records = [await stage.job(number) for number in (*numbers, 12)]
            ended.add(sum(record.progress.status is FAILED for record in records))
            await asyncio.sleep(0)
        for number in (*numbers, 12):
            assert (await stage.job(number)).progress.status is FAILED
    assert len(ended) > 3, "it went in few turns"
    assert len(stage.machine.begin_count_by_task) == 2, "the queue went on starting jobs"


async def test_a_queue_goes_after_all_that_was_submitted_to_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """A queue made anew under its name must not get jobs of the old one."""
    monkeypatch.setattr(engine_wishes, "WISHES_PER_TURN_MAX", 2)
    await stage.create()
    await stage.submit(1, 2, 3, 4, 5)

    def ask(conn) -> None:
        queues.update_queue(conn, queue_arn(), status=ResourceStatus.DELETING)
        stage.store.note_wish()

    await stage.store.write(ask)
    async with stage.engine():
        while await stage.store.read(queues.read_all_queues):
            await asyncio.sleep(0)
        for number in (1, 2, 3, 4, 5):
            progress = (await stage.job(number)).progress
            assert (progress.status, progress.status_reason) == (FAILED, wording.QUEUE_DELETED)


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


async def test_a_read_that_fails_is_tried_again(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    """A database that is away for a moment delays wishes; it does not end the engine."""
    stage.machine.scripts["quick"] = Script(duration_ms=0)
    real = Store.read
    refusals: list[object] = []

    async def read(self, work):
        if is_refusing and work.__module__ == "batchyard.engine.loop":
            refusals.append(work)
            raise StoreTrouble("disk I/O error")
        return await real(self, work)

    is_refusing = False
    async with stage.engine():
        await stage.create()
        monkeypatch.setattr(Store, "read", read)
        is_refusing = True
        await stage.submit(1, image="quick")
        while not refusals:
            await asyncio.sleep(0)
        is_refusing = False
        await stage.until(1, SUCCEEDED)
    assert len(refusals) == 1, "it asked again without a pause"


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


NO_GROUP = {"awslogs-group": "/mine"}


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({}, SUCCEEDED),
        ({"awslogs-group": "/aws/batch/job"}, SUCCEEDED),
        (NO_GROUP | {"awslogs-create-group": "true"}, SUCCEEDED),
        (NO_GROUP, FAILED),
        (NO_GROUP | {"awslogs-create-group": "false"}, FAILED),
    ],
)
async def test_an_attempt_without_its_log_group_fails_to_start(stage: Stage, options, status):
    stage.machine.scripts["quick"] = Script(duration_ms=0)
    async with stage.engine():
        await stage.create()
        await stage.submit(1, image="quick", attempts=2, log_options=options)
        record = await stage.until(1, SUCCEEDED, FAILED)
    assert record.progress.status is status
    attempts = record.progress.attempts
    if status is FAILED:
        assert [attempt.reason for attempt in attempts] == [wording.NO_LOG_GROUP_ON_EC2] * 2
        assert record.progress.status_reason == wording.TASK_FAILED_TO_START
        assert {attempt.exit_code for attempt in attempts} == {None}
    else:
        assert [attempt.exit_code for attempt in attempts] == [0]


async def test_a_log_group_of_the_job_s_own_region_is_what_counts(stage: Stage):
    stage.machine.scripts["quick"] = Script(duration_ms=0)

    def make_group(conn) -> None:
        new = log_groups.NewGroup(created_ms=1, detail={}, tags={})
        log_groups.insert_group(conn, SCOPE, "/mine", new)

    await stage.store.write(make_group)
    async with stage.engine():
        await stage.create()
        elsewhere = NO_GROUP | {"awslogs-region": "eu-west-9"}
        await stage.submit(1, image="quick", log_options=NO_GROUP)
        await stage.submit(2, image="quick", log_options=elsewhere)
        await stage.until(1, SUCCEEDED)
        await stage.until(2, FAILED)


async def test_a_task_that_was_offered_is_not_refused_when_it_is_offered_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """The group goes away after the backend took the task, and before it said so."""
    take = TwinBackend.start

    async def start(backend: TwinBackend, tasks: Sequence[TaskSpec]) -> None:
        await take(backend, tasks)
        group = await stage.store.read(lambda conn: log_groups.read_group(conn, SCOPE, "/mine"))
        if group is not None:
            await stage.store.write(lambda conn: log_groups.delete_group(conn, group.id))
            raise Trouble("no answer")

    monkeypatch.setattr(TwinBackend, "start", start)
    monkeypatch.setattr(dispatch, "_RETRY_PAUSE_S", 0)
    new = log_groups.NewGroup(created_ms=1, detail={}, tags={})
    await stage.store.write(lambda conn: log_groups.insert_group(conn, SCOPE, "/mine", new))
    async with stage.engine():
        await stage.create()
        await stage.submit(1, attempts=2, log_options=NO_GROUP)
        await stage.until(1, RUNNING)
        stage.machine.finish(task_id_of(job_id(1), 1))
        record = await stage.until(1, SUCCEEDED, FAILED)
    assert record.progress.status is SUCCEEDED
    assert len(record.progress.attempts) == 1


async def test_a_task_that_was_refused_is_not_started_when_its_batch_is_offered_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """The group is made while the backend is in trouble."""
    take = TwinBackend.start
    failures = 3

    async def start(backend: TwinBackend, tasks: Sequence[TaskSpec]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            new = log_groups.NewGroup(created_ms=1, detail={}, tags={})
            await stage.store.write(lambda conn: log_groups.insert_group(conn, SCOPE, "/mine", new))
            raise Trouble("no answer")
        await take(backend, tasks)

    monkeypatch.setattr(TwinBackend, "start", start)
    monkeypatch.setattr(dispatch, "_RETRY_PAUSE_S", 0)
    await stage.create()
    await stage.submit(1, log_options=NO_GROUP)
    await stage.submit(2)
    async with stage.engine():
        await stage.until(1, FAILED)
        await stage.until(2, RUNNING)
    assert list(stage.machine.begin_count_by_task) == [task_id_of(job_id(2), 1)]


async def test_a_task_without_its_secret_is_not_started_when_its_batch_is_offered_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """The secret is there again while the backend is in trouble."""
    take, has_ended = TwinBackend.start, asyncio.Event()

    async def start(backend: TwinBackend, tasks: Sequence[TaskSpec]) -> None:
        if not has_ended.is_set():
            await stage.until(1, FAILED)
            has_ended.set()
            raise Trouble("no answer")
        await take(backend, tasks)

    async def read_secrets(wanted):
        if not has_ended.is_set():
            raise SecretUnavailable("it is gone")
        return dict.fromkeys(wanted, "value")

    monkeypatch.setattr(TwinBackend, "start", start)
    monkeypatch.setattr(stage, "read_secrets", read_secrets)
    monkeypatch.setattr(dispatch, "_RETRY_PAUSE_S", 0)
    await stage.create()
    await stage.submit(1, secret="parameter")
    await stage.submit(2)
    async with stage.engine():
        await stage.until(2, RUNNING)
        await stage.submit(3)
        await stage.until(3, RUNNING)
    tasks = [task_id_of(job_id(number), 1) for number in (2, 3)]
    assert list(stage.machine.begin_count_by_task) == tasks


async def test_secrets_that_are_slow_to_come_are_told_of(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    have_come = asyncio.Event()

    async def read_secrets(wanted):
        await have_come.wait()
        return dict.fromkeys(wanted, "value")

    def fetching(record: JobRecord) -> Fetching | None:
        attempt = record.progress.attempt
        return None if attempt is None else attempt.fetching

    monkeypatch.setattr(stage, "read_secrets", read_secrets)
    monkeypatch.setattr(dispatch, "_SECRETS_TOLD_AFTER_S", 0)
    await stage.create()
    await stage.submit(1, secret="parameter")
    async with stage.engine():
        told = await stage.until_true(lambda record: fetching(record) is not None, 1)
        assert fetching(told) == Fetching(since_ms=stage.now_ms)
        have_come.set()
        assert fetching(await stage.until(1, RUNNING)) is None


async def test_a_head_that_is_blocked_for_too_long_is_given_up_also_over_a_restart(stage: Stage):
    too_small = "MISCONFIGURATION:COMPUTE_ENVIRONMENT_MAX_RESOURCE"
    limit = {"reason": too_small, "state": "RUNNABLE", "maxTimeSeconds": 600, "action": "CANCEL"}
    await stage.create(vcpus=0)
    await stage.store.write(
        lambda conn: queues.update_queue(
            conn, queue_arn(), detail={"jobStateTimeLimitActions": [limit]}
        )
    )
    await stage.submit(1, 2)
    async with stage.engine():
        record = await stage.until_true(lambda job: job.progress.status_reason is not None, 1)
        assert record.progress.status_reason == wording.ENVIRONMENT_TOO_SMALL
        assert record.progress.blocked_ms == stage.now_ms
    stage.now_ms += 600_000
    async with stage.engine():
        record = await stage.until(1, FAILED)
        assert record.progress.status_reason == (
            f"Canceled by JobStateTimeLimit action due to reason: {too_small}"
        )
        record = await stage.until_true(lambda job: job.progress.status_reason is not None, 2)
        assert record.progress.blocked_ms == stage.now_ms
