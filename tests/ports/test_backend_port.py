"""The rules of `batchyard.compute.port`, for every backend: the twin, crun and runc.

Method: a rig makes tasks with a wished behaviour; a listener collects reports; nothing sleeps,
every wait is for a report or a line.
"""

import pytest

from batchyard.compute.port import TaskEnded, TaskStarted
from tests.ports.rigs import MISSING_IMAGE, PULL_MS, TARGET, Behaviour, Rig
from tests.ports.rigs import task as task_of

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only]


async def test_task_starts_prints_and_ends_with_its_exit_code(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(lines=("one", "two"), exit_code=3))
    await backend.start([task])
    ended = await listener.ended(task.task_id)
    assert (ended.exit_code, ended.reason, ended.is_lost) == (3, None, False)
    started, last = listener.of(task.task_id)
    assert isinstance(started, TaskStarted)
    assert last == ended
    assert started.at_ms <= ended.at_ms
    assert rig.sink.texts(task.task_id) == ["one", "two"]
    assert rig.sink.appended_to[0] == TARGET


async def test_what_is_pulled_is_told_before_the_task_ends(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(is_image_missing=True))
    await backend.start([task])
    fetching = await listener.fetching(task.task_id)
    assert fetching.image == MISSING_IMAGE
    rig.pass_time(PULL_MS)
    ended = await listener.ended(task.task_id)
    assert (ended.reason or "").startswith("CannotPullContainerError")
    assert listener.of(task.task_id) == [fetching, ended]
    assert fetching.at_ms <= ended.at_ms


async def test_output_is_stored_before_the_end_is_told(rig: Rig) -> None:
    backend, listener = await rig.open()
    tasks = [task_of(rig, Behaviour(lines=tuple(f"{n} {i}" for i in range(50)))) for n in range(4)]
    await backend.start(tasks)
    for task in tasks:
        await listener.ended(task.task_id)
        assert len(rig.sink.texts(task.task_id)) == 50


async def test_stream_exists_once_the_start_is_told(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(is_waiting=True))
    await backend.start([task])
    await listener.started(task.task_id)
    assert task.task_id in rig.sink.lines_by_task


async def test_second_start_of_a_task_changes_nothing(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(lines=("once",)))
    await backend.start([task])
    await backend.start([task])
    await listener.ended(task.task_id)
    await backend.start([task])
    other = task_of(rig, Behaviour())
    await backend.start([other])
    await listener.ended(other.task_id)
    assert rig.sink.texts(task.task_id) == ["once"]
    assert len([r for r in listener.of(task.task_id) if isinstance(r, TaskEnded)]) == 1


async def test_second_start_from_a_new_server_changes_nothing(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(lines=("once",)))
    await backend.start([task])
    await listener.ended(task.task_id)
    backend, listener = await rig.open()
    await backend.start([task])
    await listener.ended(task.task_id)
    assert rig.sink.texts(task.task_id) == ["once"]


async def test_tasks_outlive_the_server(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(lines=("before",), is_waiting=True))
    await backend.start([task])
    await listener.started(task.task_id)
    await rig.sink.until(lambda: rig.sink.texts(task.task_id) == ["before"])

    backend, listener = await rig.open()
    assert await backend.list_tasks() == {task.task_id}
    await listener.started(task.task_id)
    await backend.stop(task.task_id, grace_ms=60_000)
    ended = await listener.ended(task.task_id)
    assert ended.exit_code == 143
    assert rig.sink.texts(task.task_id) == ["before"]


async def test_reports_come_again_until_forgotten(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(lines=("once",), exit_code=5))
    await backend.start([task])
    first = await listener.ended(task.task_id)

    backend, listener = await rig.open()
    assert await listener.ended(task.task_id) == first
    assert [type(report) for report in listener.of(task.task_id)] == [TaskStarted, TaskEnded]
    await backend.forget([task.task_id])
    assert await backend.list_tasks() == frozenset()

    backend, listener = await rig.open()
    assert await backend.list_tasks() == frozenset()
    assert rig.sink.texts(task.task_id) == ["once"]


async def test_stop_sends_sigterm_first(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(lines=("ready",), is_waiting=True))
    await backend.start([task])
    await rig.sink.until(lambda: rig.sink.texts(task.task_id) == ["ready"])
    await backend.stop(task.task_id, grace_ms=600_000)
    ended = await listener.ended(task.task_id)
    assert (ended.exit_code, ended.reason) == (143, None)


async def test_stop_kills_when_the_grace_time_is_over(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(lines=("ready",), is_waiting=True, is_term_ignored=True))
    await backend.start([task])
    await rig.sink.until(lambda: rig.sink.texts(task.task_id) == ["ready"])
    await backend.stop(task.task_id, grace_ms=20)
    rig.pass_time(20)
    ended = await listener.ended(task.task_id)
    assert (ended.exit_code, ended.reason) == (137, None)


async def test_stop_of_unknown_ended_and_stopping_tasks_does_nothing(rig: Rig) -> None:
    backend, listener = await rig.open()
    unknown = task_of(rig, Behaviour())
    await backend.stop(unknown.task_id, grace_ms=0)
    task = task_of(rig, Behaviour(lines=("ready",), is_waiting=True, is_term_ignored=True))
    await backend.start([task])
    await rig.sink.until(lambda: rig.sink.texts(task.task_id) == ["ready"])
    await backend.stop(task.task_id, grace_ms=20)
    await backend.stop(task.task_id, grace_ms=600_000)
    rig.pass_time(20)
    first = await listener.ended(task.task_id)
    await backend.stop(task.task_id, grace_ms=0)
    assert [r for r in listener.of(task.task_id) if isinstance(r, TaskEnded)] == [first]


async def test_task_that_cannot_start_ends_with_a_reason(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(is_executable_missing=True))
    await backend.start([task])
    ended = await listener.ended(task.task_id)
    assert ended.exit_code is None
    assert ended.reason is not None
    assert ended.reason.startswith("CannotStartContainerError: ")
    assert listener.of(task.task_id) == [ended]
    # As with docker, whose log driver makes the stream before the command is looked for.
    assert rig.sink.appended_to == [task.containers[0].log]


async def test_forget_of_a_running_task_is_refused_quietly(rig: Rig) -> None:
    backend, listener = await rig.open()
    task = task_of(rig, Behaviour(is_waiting=True))
    await backend.start([task])
    await listener.started(task.task_id)
    await backend.forget([task.task_id])
    assert await backend.list_tasks() == {task.task_id}


async def test_sink_that_fails_is_tried_again(rig: Rig) -> None:
    if type(rig).__name__ == "TwinRig":
        pytest.skip("the twin hands a failing sink's error to whoever reads reports")
    backend, listener = await rig.open()
    rig.sink.failure_count = 1
    task = task_of(rig, Behaviour(lines=("kept",)))
    await backend.start([task])
    await listener.ended(task.task_id)
    assert rig.sink.texts(task.task_id) == ["kept"]


async def test_hosts_offer_capacity(rig: Rig) -> None:
    backend, _ = await rig.open()
    (host,) = await backend.list_hosts()
    assert host.capacity.cpu_milli > 0
    assert host.capacity.memory_mib > 0
