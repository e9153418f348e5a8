"""What containers of one task share, and how they end whatever is killed. Real containers."""

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from batchyard.compute.local.supervisor.kernel import mount, unmount
from batchyard.compute.port import (
    ContainerSpec,
    Mount,
    Sharing,
    TaskEnded,
    TaskSpec,
    TaskStarted,
)
from tests.compute.made_images import MadeImage, busybox_entries, make_layer, serve_registry
from tests.compute.test_local_crashes import supervisor_pid
from tests.ports.rigs import Behaviour, LocalRig, after, group, name_of, target_of

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only, pytest.mark.slow]


async def run(rig: LocalRig, spec: TaskSpec) -> TaskEnded:
    backend, listener = await rig.open()
    await backend.start([spec])
    return await listener.ended(spec.task_id)


def codes_of(ended: TaskEnded) -> dict[str, int | None]:
    return {each.name: each.exit_code for each in ended.containers}


def with_volume(container: ContainerSpec, destination: str, name: str = "v") -> ContainerSpec:
    mount = Mount(volume=name, destination=destination)
    return replace(container, mounts=(*container.mounts, mount))


def left_of(rig: LocalRig) -> list[str]:
    """List what supervisors of the rig left in the places where containers were."""
    places = (rig.data_dir / "roots", rig.data_dir / "tasks")
    return [str(path) for place in places if place.exists() for path in place.iterdir()]


async def test_containers_share_volumes_that_begin_with_the_images_files(rig: LocalRig) -> None:
    """The first mount in the task's order gives the files, also where that container starts
    last."""
    main = rig.script("main", "exec 2>/dev/null; ls /v; cat /v/from-init; touch /x || echo refused")
    main = replace(with_volume(main, "/v"), is_root_read_only=True)
    init = rig.script("init", "ls /elsewhere; echo hello > /elsewhere/from-init")
    init = replace(with_volume(init, "/elsewhere"), is_essential=False)
    spec = group(rig, after(main, "SUCCESS", "init"), init)
    ended = await run(rig, spec)
    assert codes_of(ended) == {"main": 0, "init": 0}
    assert rig.sink.printed("main")[-3:] == ["from-init", "hello", "refused"]


async def test_volume_is_copied_up_from_the_image(rig: LocalRig) -> None:
    first = with_volume(rig.script("first", "echo more > /etc/more"), "/etc")
    second = with_volume(rig.script("second", "ls /w; cat /w/more"), "/w")
    spec = group(rig, replace(first, is_essential=False), after(second, "SUCCESS", "first"))
    ended = await run(rig, spec)
    assert codes_of(ended) == {"first": 0, "second": 0}
    seen = rig.sink.printed("second")
    assert {"passwd", "group", "more"} <= set(seen)
    other = group(
        rig,
        with_volume(rig.script("third", "ls /etc"), "/etc"),
        rig.script("fourth", "true"),
    )
    await run(rig, other)
    assert "more" not in rig.sink.printed("third")


async def test_two_mounts_of_one_container_show_one_volume(rig: LocalRig) -> None:
    only = with_volume(with_volume(rig.script("only", "echo x > /a/f; cat /b/f"), "/a"), "/b")
    spec = TaskSpec(task_id=rig.next_task_id(), containers=(only,))
    await run(rig, spec)
    assert rig.sink.printed("only") == ["x"]


async def test_volume_cannot_be_turned_into_a_way_to_the_host(rig: LocalRig) -> None:
    """A container puts a link where a later one has something mounted."""
    evil = rig.script("evil", "rm -rf /v/in; ln -s /etc /v/in; ls -la /v; echo done")
    evil = replace(with_volume(evil, "/v"), is_essential=False)
    victim = with_volume(rig.script("victim", "ls /v/in/; echo mine > /v/in/f"), "/v")
    victim = replace(with_volume(victim, "/v/in", "w"), is_essential=True)
    before = sorted(os.listdir("/etc"))
    await run(rig, group(rig, after(victim, "COMPLETE", "evil"), evil))
    assert sorted(os.listdir("/etc")) == before
    assert "passwd" not in rig.sink.printed("victim")


async def test_processes_of_a_task_are_shared_if_it_says_so(rig: LocalRig) -> None:
    side = rig.script("side", "trap 'exit 0' TERM; echo ready; sleep 1234 & wait; wait")
    main = rig.script("main", "until ps | grep -q '[s]leep 1234'; do :; done; cat /proc/1/comm")
    spec = group(rig, after(main, "START", "side"), replace(side, stop_timeout_ms=500))
    ended = await run(rig, replace(spec, processes=Sharing.TASK))
    assert codes_of(ended)["main"] == 0
    assert rig.sink.printed("main") == ["sleep"]  # not a container's own process


async def test_what_a_container_leaves_in_shared_processes_ends_with_it(rig: LocalRig) -> None:
    left = rig.script("left", "sleep 1234 & echo done")
    main = rig.script("main", "while ps | grep -q '[s]leep 1234'; do :; done")
    spec = group(rig, after(main, "COMPLETE", "left"), replace(left, is_essential=False))
    ended = await run(rig, replace(spec, processes=Sharing.TASK))
    assert codes_of(ended) == {"main": 0, "left": 0}


async def test_shared_memory_of_a_task_is_shared_if_it_says_so(rig: LocalRig) -> None:
    one = replace(rig.script("one", "echo x > /dev/shm/f"), is_essential=False)
    two = after(rig.script("two", "cat /dev/shm/f; readlink /proc/self/ns/ipc"), "SUCCESS", "one")
    await run(rig, replace(group(rig, one, two), ipc=Sharing.TASK))
    assert rig.sink.printed("two")[0] == "x"
    await run(rig, group(rig, one, replace(two, log=target_of("apart"))))
    assert not any(line == "x" for line in rig.sink.printed("apart"))


@pytest.mark.parametrize("member", ["processes", "ipc"])
async def test_sharing_with_the_host_needs_the_operators_word(rig: LocalRig, member: str) -> None:
    script = f"readlink /proc/self/ns/{'pid' if member == 'processes' else 'ipc'}"
    spec = rig.shell(script)
    host = {member: Sharing.HOST}
    ended = await run(rig, replace(spec, **host))  # type: ignore[arg-type]
    assert ended.reason == (
        "CannotCreateContainerError: sharing the host's processes or IPC objects is not allowed"
        " on this host"
    )
    rig.is_privileged_allowed = True
    again = replace(rig.shell(script), **host)  # type: ignore[arg-type]
    ended = await run(rig, again)
    assert ended.exit_code == 0
    own = os.readlink(f"/proc/self/ns/{'pid' if member == 'processes' else 'ipc'}")
    assert rig.sink.texts(again.task_id) == [own]


async def test_every_image_is_pulled_before_anything_starts(rig: LocalRig) -> None:
    with serve_registry() as registry:
        registry.add("app:1", MadeImage(layers=[make_layer(busybox_entries())]))
        pulled = replace(rig.script("pulled", "echo pulled"), image=f"{registry.address}/app:1")
        local = rig.script("local", "echo local")
        ended = await run(rig, group(rig, after(local, "COMPLETE", "pulled"), pulled))
        assert codes_of(ended)["pulled"] == 0
        assert rig.sink.printed("pulled") == ["pulled"]

        missing = replace(rig.script("none", "true"), image=f"{registry.address}/none:1")
        spec = group(rig, rig.script("ran", "echo ran"), replace(missing, is_essential=False))
        ended = await run(rig, spec)
    ran, none = ended.containers
    assert (ran.exit_code, ran.reason, ran.was_stopped) == (None, None, True)
    assert none.reason is not None
    assert none.reason.startswith("CannotPullContainerError: ")
    assert rig.sink.printed("ran") == []


@pytest.mark.parametrize(
    ("waits", "text"),
    [
        ({"a": "b", "b": "a"}, "containers wait for each other in a circle: a, b"),
        ({"a": "ghost"}, "container a starts after ghost, which the task does not have"),
    ],
)
async def test_impossible_tasks_are_refused(
    rig: LocalRig, waits: dict[str, str], text: str
) -> None:
    containers = [
        after(rig.script(name, "true"), "START", *([waits[name]] if name in waits else []))
        for name in ("a", "b")
    ]
    ended = await run(rig, group(rig, *containers))
    assert ended.containers[0].reason == f"CannotCreateContainerError: {text}"


async def test_killed_supervisor_loses_a_group_and_tells_it_once(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    init = replace(rig.script("init", "echo i"), is_essential=False)
    main = after(rig.container("main", Behaviour(lines=("m",), is_waiting=True)), "SUCCESS", "init")
    last = after(rig.script("last", "echo never"), "COMPLETE", "main")
    spec = group(rig, main, init, replace(last, is_essential=False))
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.printed("main") == ["m"])
    os.kill(supervisor_pid(rig.data_dir), signal.SIGKILL)
    ended = await listener.ended(spec.task_id)
    assert ended.is_lost
    main_end, init_end, last_end = ended.containers
    assert (main_end.exit_code, init_end.exit_code) == (None, 0)
    assert main_end.reason is not None
    assert main_end.reason.startswith("DockerStateError: the supervisor")
    assert (last_end.exit_code, last_end.reason) == (None, None)
    assert [type(each) for each in listener.of(spec.task_id)] == [TaskStarted, TaskEnded]
    assert (rig.sink.printed("init"), rig.sink.printed("last")) == (["i"], [])


async def test_gates_open_while_no_server_is_there(rig: LocalRig) -> None:
    gate = rig.host_paths[0]
    gate.mkdir()
    mount = Mount(source=str(gate), destination="/gate")
    init = rig.script("init", "echo ready; until [ -e /gate/open ]; do sleep 0.02; done")
    init = replace(init, is_essential=False, mounts=(mount,))
    main = replace(rig.script("main", "echo ran; touch /gate/ran"), mounts=(mount,))
    spec = group(rig, after(main, "SUCCESS", "init"), init)
    backend, listener = await rig.open()
    await backend.start([spec])
    await rig.sink.until(lambda: rig.sink.printed("init") == ["ready"])
    await listener.close()
    await backend.close()
    (gate / "open").touch()
    while not (gate / "ran").exists():
        await asyncio.sleep(0)
    backend, listener = await rig.open()
    assert codes_of(await listener.ended(spec.task_id)) == {"main": 0, "init": 0}
    assert rig.sink.printed("main") == ["ran"]


async def test_fifty_groups_at_once_leave_nothing(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    specs = []
    for number in range(50):
        init = with_volume(rig.script(f"init{number}", f"echo {number} > /v/f"), "/v")
        main = with_volume(rig.script(f"main{number}", "cat /w/f"), "/w")
        init = replace(init, is_essential=False)
        specs.append(group(rig, after(main, "SUCCESS", f"init{number}"), init))
    await backend.start(specs)
    for number, spec in enumerate(specs):
        ended = await listener.ended(spec.task_id)
        assert codes_of(ended) == {f"main{number}": 0, f"init{number}": 0}
        assert rig.sink.printed(f"main{number}") == [str(number)]
    assert len(left_of(rig)) > 50
    await backend.forget([spec.task_id for spec in specs])
    assert not [path for path in left_of(rig) if "/tasks/" in path]
    assert await backend.leave_if_idle()
    await rig.open()
    assert not [path for path in left_of(rig) if "/roots/" in path]


async def test_volume_that_fills_the_disk_gives_it_back(
    tmp_path: Path, busybox_images: Path
) -> None:
    mount("tmpfs", str(tmp_path), "tmpfs", options="size=16m")
    try:
        rig = LocalRig(tmp_path / "d", "crun", busybox_images)
        fill = rig.script("fill", "dd if=/dev/zero of=/v/fill bs=4k 2>/dev/null; exit 3")
        fill = replace(with_volume(fill, "/v"), is_essential=False)
        main = with_volume(rig.script("main", "rm /v/fill; echo x > /v/f && cat /v/f"), "/v")
        backend, listener = await rig.open()
        for number in range(3):
            spec = group(rig, after(main, "COMPLETE", "fill"), fill)
            await backend.start([spec])
            ended = await listener.ended(spec.task_id)
            # Without room for its line in the record, `main` is not begun: it might run twice.
            if (reason := ended.containers[0].reason) is not None:
                assert reason.endswith("No space left on device"), number
            assert codes_of(ended)["fill"] == 3
            await backend.forget([spec.task_id])
        await rig.close()
    finally:
        unmount(str(tmp_path))


async def test_output_of_each_container_has_its_own_position_and_target(rig: LocalRig) -> None:
    noisy = "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done"
    containers = [rig.script(name, noisy) for name in ("a", "b", "c")]
    waits = rig.script("main", "true")
    for name in ("a", "b", "c"):
        waits = after(waits, "COMPLETE", name)
    quiet = [replace(each, is_essential=False) for each in containers]
    quiet[2] = replace(quiet[2], log=None)
    spec = group(rig, waits, *quiet)
    await run(rig, spec)
    wanted = [str(number) for number in range(3000)]
    assert (rig.sink.printed("a"), rig.sink.printed("b")) == (wanted, wanted)
    assert rig.sink.printed("c") == []
    assert {name_of(target) for target in rig.sink.appended_to} == {"a", "b", "main"}


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def mounts_of(data_dir: Path) -> str:
    return Path(f"/proc/{supervisor_pid(data_dir)}/mountinfo").read_text()


async def test_shared_things_are_gone_with_the_task(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    one = with_volume(rig.script("one", "true"), "/v")
    two = with_volume(rig.script("two", "true"), "/v")
    spec = replace(group(rig, one, two), ipc=Sharing.TASK, processes=Sharing.TASK)
    before = len(os.listdir(f"/proc/{supervisor_pid(rig.data_dir)}/fd"))
    await backend.start([spec])
    await listener.ended(spec.task_id)
    table = mounts_of(rig.data_dir)
    assert "/binds/" not in table
    assert "/memory/" not in table
    parent = supervisor_pid(rig.data_dir)
    assert len(os.listdir(f"/proc/{parent}/fd")) == before
    while children_of(parent):
        await asyncio.sleep(0)
