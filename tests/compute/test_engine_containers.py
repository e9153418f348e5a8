"""What a container of an engine sees and is denied. Real containers of a real engine."""

import os
import random
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from batchyard.compute.port import (
    Device,
    FileTarget,
    LogTarget,
    Mount,
    Network,
    Sharing,
    TaskEnded,
    TaskSpec,
    Tmpfs,
    Ulimit,
)
from batchyard.model.amounts import Amount
from batchyard.model.wording import OUT_OF_MEMORY
from tests.ports.rigs import TARGET, Behaviour, EngineRig, after, change, group

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only, pytest.mark.slow]


#: Containers see control groups v1 by their names, and v2 not at all.
HAS_V1 = Path("/sys/fs/cgroup/cpu").exists()


async def run(rig: EngineRig, spec: TaskSpec) -> tuple[TaskEnded, list[str]]:
    backend, listener = await rig.open()
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    return ended, rig.sink.texts(spec.task_id)


SEES = """
echo $A; id -u; hostname; ulimit -n; df -m /dev/shm /t | awk 'NR>1 {print $2}'
touch /x 2>/dev/null || echo refused
touch /v/y && ls /v; cat /data/in; touch /ro/x 2>/dev/null || echo refused; touch /data/out
cat /sys/fs/cgroup/cpu/cpu.shares /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null
mknod /t/d c 1 3 2>/dev/null || echo no nodes
ls /dev/given
"""


async def sees_what_its_spec_says(rig: EngineRig, ulimits: tuple[Ulimit, ...]) -> list[str]:
    data = rig.host_paths[0] / "data"
    data.mkdir(parents=True)
    (data / "in").write_text("in\n")
    data.chmod(0o777)
    rig.devices = [Path("/dev/null")]
    spec = change(
        rig.shell(SEES),
        environment=(("A", "1"), ("A", "2")),
        user="nobody",
        ulimits=ulimits,
        shared_memory_mib=17,
        tmpfs=(Tmpfs(destination="/t", size_mib=9, options=("mode=1777",)),),
        is_root_read_only=True,
        mounts=(
            Mount(volume="v", destination="/tmp"),
            Mount(volume="v", destination="/v"),
            Mount(source=str(data), destination="/data"),
            Mount(source=str(data), destination="/ro", is_read_only=True),
        ),
        devices=(Device(source="/dev/null", destination="/dev/given", permissions="r"),),
        limits=Amount(cpu_milli=500, memory_mib=48),
    )
    ended, lines = await run(rig, spec)
    assert (ended.exit_code, ended.reason) == (0, None)
    assert (data / "out").exists()
    assert lines[2] == spec.task_id[:12]
    return lines[:2] + lines[3:]


async def test_container_of_docker_is_as_its_spec_says(engine_rig: EngineRig) -> None:
    ulimits = (Ulimit(name="nofile", soft=100, hard=200),)
    lines = await sees_what_its_spec_says(engine_rig, ulimits)
    assert lines == [
        *("2", "65534", "100", "17", "9", "refused", "y", "in", "refused"),
        *(["512", str(48 << 20)] if HAS_V1 else []),
        *("no nodes", "/dev/given"),
    ]


async def test_container_of_podman_is_as_its_spec_says(podman_rig: EngineRig) -> None:
    # A ulimit makes podman ask for others that a machine without CAP_SYS_RESOURCE cannot give.
    lines = await sees_what_its_spec_says(podman_rig, ())
    assert lines[:2] == ["2", "65534"]
    assert lines[3:9] == ["17", "9", "refused", "y", "in", "refused"]
    assert lines[-2:] == ["no nodes", "/dev/given"]


async def test_memory_kill_is_told_from_a_plain_exit(engine_rig: EngineRig) -> None:
    # Docker knows of a kill if it hears of it before the end: containerd watches beside the tasks.
    spec = change(
        engine_rig.shell("tail /dev/zero; sleep 2; exit 5"),
        limits=Amount(cpu_milli=1000, memory_mib=16),
    )
    ended, _ = await run(engine_rig, spec)
    assert (ended.exit_code, ended.reason) == (5, OUT_OF_MEMORY)
    ended, _ = await run(engine_rig, engine_rig.shell("sh -c 'kill -9 $$'; exit $?"))
    assert (ended.exit_code, ended.reason) == (137, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"mounts": (Mount(source="/etc/ssl", destination="/m"),)},
            "CannotCreateVolumeError: host path /etc/ssl is not allowed; allowed are: ",
        ),
        (
            {"is_privileged": True},
            "CannotCreateContainerError: privileged containers are not allowed on this host",
        ),
        (
            {"devices": (Device(source="/dev/zero", destination="/dev/z"),)},
            "CannotCreateContainerError: device /dev/zero is not allowed; allowed are: none",
        ),
        (
            {"limits": Amount(cpu_milli=1000, memory_mib=64, gpu_count=1)},
            "CannotCreateContainerError: 1 GPUs were asked for and 0 are free on this host",
        ),
        (
            {"user": "ghost"},
            "CannotStartContainerError: Error response from daemon: unable to find",
        ),
    ],
)
async def test_what_is_not_given_is_refused(
    engine_rig: EngineRig, changes: dict[str, object], reason: str
) -> None:
    engine_rig.gpus = []
    ended, lines = await run(engine_rig, change(engine_rig.shell("true"), **changes))
    assert ended.exit_code is None
    assert ended.reason is not None
    assert ended.reason.startswith(reason)
    assert lines == []


@pytest.mark.parametrize("member", ["processes", "ipc"])
async def test_sharing_with_the_host_needs_the_operators_word(
    engine_rig: EngineRig, member: str
) -> None:
    spec = engine_rig.shell("true")
    refused = replace(spec, **{member: Sharing.HOST})  # type: ignore[arg-type]
    ended, _ = await run(engine_rig, refused)
    assert ended.reason == (
        "CannotCreateContainerError: sharing the host's processes or IPC objects is not allowed on"
        " this host"
    )


async def test_init_and_cpu_ceiling(engine_rig: EngineRig) -> None:
    text = "tr '\\0' ' ' < /proc/1/cmdline | cut -c1-20; cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    spec = replace(
        change(
            engine_rig.shell(text),
            has_init=True,
            limits=Amount(cpu_milli=16_250, memory_mib=64),
        ),
        is_cpu_capped=True,
    )
    _, lines = await run(engine_rig, spec)
    assert lines[0].startswith("/sbin/docker-init")
    if HAS_V1:
        assert lines[1] == "1625000"


async def test_declared_gpus_are_given_once_and_kept_over_a_restart(engine_rig: EngineRig) -> None:
    engine_rig.gpus = ["/dev/null", "/dev/zero"]
    both = Amount(cpu_milli=1000, memory_mib=64, gpu_count=1)
    text = "echo $NVIDIA_VISIBLE_DEVICES; trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"
    first = change(engine_rig.shell(text), limits=both)
    backend, listener = await engine_rig.open()
    assert (await backend.list_hosts())[0].capacity.gpu_count == 2
    await backend.start([first])
    await listener.started(first.task_id)
    backend, listener = await engine_rig.open()
    second = change(engine_rig.shell("echo $NVIDIA_VISIBLE_DEVICES"), limits=both)
    third = change(engine_rig.shell("echo $NVIDIA_VISIBLE_DEVICES"))
    await backend.start([second, third])
    await listener.ended(second.task_id)
    await listener.ended(third.task_id)
    await backend.stop(first.task_id, grace_ms=60_000)
    await listener.ended(first.task_id)
    texts = [engine_rig.sink.texts(spec.task_id) for spec in (first, second, third)]
    assert texts == [["/dev/null"], ["/dev/zero"], ["void"]]


async def test_odd_output_is_kept(engine_rig: EngineRig) -> None:
    spec = engine_rig.shell(
        "printf 'a\\r\\n\\n\\377\\n'; head -c 40000 /dev/zero | tr '\\0' x; echo; printf 'no break'"
    )
    _, lines = await run(engine_rig, spec)
    assert lines == ["a", "", "�", "x" * 40_000, "no break"]


async def test_odd_output_of_podman_is_kept(podman_rig: EngineRig) -> None:
    spec = podman_rig.shell("head -c 40000 /dev/zero | tr '\\0' x; echo; printf 'no break'")
    _, lines = await run(podman_rig, spec)
    assert lines == ["x" * 40_000, "no break"]


async def test_files_tell_the_streams_apart(engine_rig: EngineRig) -> None:
    spec = change(
        engine_rig.shell("echo out; sleep 0.05; echo err >&2"), log=FileTarget(container="default")
    )
    await run(engine_rig, spec)
    lines = engine_rig.sink.lines_by_task[spec.task_id]
    assert [(line.text, line.is_error) for line in lines] == [("out", False), ("err", True)]


async def test_events_of_several_lines(engine_rig: EngineRig) -> None:
    target = LogTarget(account="1", region="r", group="g", stream="default", starts_event="^begin")
    spec = change(engine_rig.shell("echo begin 1; echo more; echo begin 2; printf end"), log=target)
    assert (await run(engine_rig, spec))[1] == ["begin 1\nmore\n", "begin 2\nend\n"]
    assert engine_rig.sink.positions == {(spec.task_id, "default"): 4}


async def test_output_without_target_is_dropped(engine_rig: EngineRig) -> None:
    ended, lines = await run(engine_rig, change(engine_rig.shell("echo x; exit 3"), log=None))
    assert (ended.exit_code, lines) == (3, [])


async def test_volumes_begin_with_the_images_files_and_are_shared(engine_rig: EngineRig) -> None:
    mount = Mount(volume="etc", destination="/etc")
    first = replace(
        engine_rig.script("first", "cat /etc/group; echo new > /etc/made"),
        mounts=(mount,),
        is_essential=False,
    )
    second = replace(
        engine_rig.script("second", "cat /m/made; grep -c root /m/passwd"),
        mounts=(Mount(volume="etc", destination="/m", is_read_only=True),),
    )
    spec = group(engine_rig, after(second, "SUCCESS", "first"), first)
    spec = replace(spec, containers=tuple(reversed(spec.containers)))
    await run(engine_rig, spec)
    assert engine_rig.sink.printed("first")[0] == "root:x:0:"
    assert engine_rig.sink.printed("second") == ["new", "1"]


async def shares_everything(rig: EngineRig) -> None:
    one = rig.script(
        "one", "echo here > /dev/shm/note; nc -l -p 7777 -e echo hello; exec sleep 1000"
    )
    text = """
    until [ -e /dev/shm/note ] && ps | grep -q '[n]c -l'; do sleep 0.05; done
    cat /dev/shm/note; until nc 127.0.0.1 7777 </dev/null; do sleep 0.05; done
    """
    two = rig.script("two", text)
    spec = group(rig, replace(one, stop_timeout_ms=100), two, network=Network.OWN)
    spec = replace(spec, processes=Sharing.TASK, ipc=Sharing.TASK)
    backend, listener = await rig.open()
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    assert [(each.name, each.exit_code) for each in ended.containers] == [("one", 143), ("two", 0)]
    assert rig.sink.printed("two") == ["here", "hello"]


async def test_containers_share_network_processes_and_memory(engine_rig: EngineRig) -> None:
    await shares_everything(engine_rig)


async def test_containers_of_podman_share_too(podman_rig: EngineRig) -> None:
    await shares_everything(podman_rig)


async def test_many_at_once_leave_nothing(engine_rig: EngineRig) -> None:
    backend, listener = await engine_rig.open()
    specs = [engine_rig.task(Behaviour(lines=(f"{n}",))) for n in range(20)]
    await backend.start(specs)
    for spec in specs:
        assert (await listener.ended(spec.task_id)).exit_code == 0
    assert [engine_rig.sink.texts(spec.task_id) for spec in specs] == [[f"{n}"] for n in range(20)]
    await backend.forget([spec.task_id for spec in specs])
    assert engine_rig.engine.names() == []
    assert os.listdir(engine_rig.data_dir / "docker-tasks") == []


async def test_output_is_stored_once_whenever_the_server_ends(engine_rig: EngineRig) -> None:
    """Restart at moments drawn by chance while lines come, some without a break for a while."""
    text = """
    i=0; while [ $i -lt 400 ]; do echo "line $i"; i=$((i+1)); [ $((i % 40)) = 0 ] && sleep 0.1; done
    """
    spec = engine_rig.shell(text)

    def has_lines(count: int) -> bool:
        return len(engine_rig.sink.texts(spec.task_id)) >= count

    backend, listener = await engine_rig.open()
    await backend.start([spec])
    for _ in range(4):
        wanted = random.Random(7).randrange(30, 120) + len(engine_rig.sink.texts(spec.task_id))
        wanted = min(wanted, 400)
        await engine_rig.sink.until(partial(has_lines, wanted))
        backend, listener = await engine_rig.open()
    ended = await listener.ended(spec.task_id)
    assert ended.exit_code == 0
    assert engine_rig.sink.texts(spec.task_id) == [f"line {n}" for n in range(400)]
    assert engine_rig.sink.appended_to[0] == TARGET
