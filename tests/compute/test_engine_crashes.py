"""What becomes of tasks when a server, an engine or a container ends at a bad moment."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from batchyard.compute.docker.engine_api import EngineApi
from batchyard.compute.port import Mount, TaskEnded, TaskStarted, Trouble
from tests.fixtures.engines import run_engine
from tests.ports.rigs import Behaviour, EngineRig, after, group

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only, pytest.mark.slow]


async def test_container_that_may_have_been_told_to_start_is_replaced(
    engine_rig: EngineRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends between writing the launch down and the engine's answer. The request that
    was under way then finds nothing, and the task runs once."""
    late: list[str] = []

    async def never(_api: EngineApi, container: str) -> None:
        late.append(container)
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(EngineApi, "start", never)
        backend, _ = await engine_rig.open()
        spec = engine_rig.task(Behaviour(lines=("once",)))
        await backend.start([spec])
        while not late:
            await asyncio.sleep(0)
        await backend.close()
    backend, listener = await engine_rig.open()
    ended = await listener.ended(spec.task_id)
    assert ended.exit_code == 0
    with pytest.raises(AssertionError, match="No such container"):
        engine_rig.engine.call("POST", f"/containers/{late[0]}/start")
    assert engine_rig.sink.texts(spec.task_id) == ["once"]


async def test_start_whose_answer_was_not_seen_is_found_out(
    engine_rig: EngineRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = EngineApi.start

    async def start_and_die(api: EngineApi, container: str) -> None:
        await start(api, container)
        raise Trouble("the connection broke")

    monkeypatch.setattr(EngineApi, "start", start_and_die)
    backend, listener = await engine_rig.open()
    spec = engine_rig.task(Behaviour(lines=("once",), exit_code=3))
    await backend.start([spec])
    assert (await listener.ended(spec.task_id)).exit_code == 3
    assert engine_rig.sink.texts(spec.task_id) == ["once"]


async def test_end_that_nobody_saw_is_told_with_all_output(engine_rig: EngineRig) -> None:
    backend, listener = await engine_rig.open()
    spec = engine_rig.shell("sleep 0.5; echo late; printf rest; exit 4")
    await backend.start([spec])
    await listener.started(spec.task_id)
    await backend.close()
    await asyncio.to_thread(engine_rig.engine.wait_until_over)
    backend, listener = await engine_rig.open()
    assert (await listener.ended(spec.task_id)).exit_code == 4
    assert [type(report) for report in listener.of(spec.task_id)] == [TaskStarted, TaskEnded]
    assert engine_rig.sink.texts(spec.task_id) == ["late", "rest"]


async def test_gates_open_again_with_the_next_server(engine_rig: EngineRig) -> None:
    backend, _ = await engine_rig.open()
    text = "until [ -e /go/now ]; do sleep 0.05; done"
    init = replace(engine_rig.script("init", f"echo ready; {text}"), is_essential=False)
    main = after(engine_rig.container("main", Behaviour(lines=("m",))), "SUCCESS", "init")
    folder = engine_rig.host_paths[0]
    folder.mkdir()
    init = replace(init, mounts=(Mount(source=str(folder), destination="/go"),))
    spec = group(engine_rig, main, init)
    await backend.start([spec])
    await engine_rig.sink.until(lambda: engine_rig.sink.printed("init") == ["ready"])
    await backend.close()
    (folder / "now").touch()
    _, listener = await engine_rig.open()
    ended = await listener.ended(spec.task_id)
    assert [(each.name, each.exit_code) for each in ended.containers] == [("main", 0), ("init", 0)]
    assert engine_rig.sink.printed("main") == ["m"]


async def test_stop_goes_on_with_the_next_server(engine_rig: EngineRig) -> None:
    backend, _ = await engine_rig.open()
    spec = engine_rig.task(Behaviour(lines=("r",), is_waiting=True, is_term_ignored=True))
    await backend.start([spec])
    await engine_rig.sink.until(lambda: engine_rig.sink.texts(spec.task_id) == ["r"])
    await backend.stop(spec.task_id, grace_ms=500)
    await backend.close()
    _, listener = await engine_rig.open()
    assert (await listener.ended(spec.task_id)).exit_code == 137


async def test_container_that_somebody_removed_is_lost(engine_rig: EngineRig) -> None:
    backend, listener = await engine_rig.open()
    spec = engine_rig.task(Behaviour(is_waiting=True))
    await backend.start([spec])
    await listener.started(spec.task_id)
    name = engine_rig.engine.names()[0].strip("/")
    engine_rig.engine.call("DELETE", f"/containers/{name}?force=true")
    ended = await listener.ended(spec.task_id)
    assert (ended.exit_code, ended.is_lost) == (None, True)
    assert ended.reason == "DockerStateError: the container was removed by somebody else"


async def test_engine_that_ends_takes_its_containers_along(short_path: Path) -> None:
    """docker stops its containers when it is stopped, and says how they ended once it is back."""
    with run_engine("docker") as first:
        rig = EngineRig(short_path / "d", first)
        backend, listener = await rig.open()
        spec = rig.task(Behaviour(lines=("r",), is_waiting=True))
        waiting = rig.task(Behaviour())
        await backend.start([spec])
        await rig.sink.until(lambda: rig.sink.texts(spec.task_id) == ["r"])
        first.stop()
        await backend.start([waiting])
        first.start_again()
        assert (await listener.ended(spec.task_id)).exit_code == 143
        assert (await listener.ended(waiting.task_id)).exit_code == 0
        await rig.close()


async def test_record_that_was_only_begun_is_dropped(engine_rig: EngineRig) -> None:
    folder = engine_rig.data_dir / "docker-tasks"
    folder.mkdir(parents=True)
    (folder / "t1.task").write_text('{"task_id": "t')
    backend, _ = await engine_rig.open()
    assert await backend.list_tasks() == frozenset()
    assert list(folder.iterdir()) == []
