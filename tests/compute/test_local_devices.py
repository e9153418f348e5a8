"""Devices, GPUs, privileges and swap: who gets what, and who is refused."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from batchyard.compute.local.detect import capability_mask, read_layout
from batchyard.compute.local.gpus import declared_gpus, gpus_of_information, gpus_of_listing
from batchyard.compute.local.supervisor.cgroups import (
    Limits,
    runtime_resources,
    v1_files,
    v2_files,
)
from batchyard.compute.local.supervisor.devices import (
    GpuBook,
    NotGiven,
    check_allowed,
    every_node,
    node_of,
    rules_for,
)
from batchyard.compute.port import Device, TaskEnded, TaskSpec, Trouble
from batchyard.model.amounts import Amount
from tests.ports.conftest import require_containers
from tests.ports.rigs import Behaviour, LocalRig, after, change, group

pytestmark = [pytest.mark.ours_only]

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
"""
INFORMATION = """\
Model: \t\t NVIDIA A100-SXM4-40GB
IRQ:   \t\t 221
GPU UUID: \t GPU-{name}
Video BIOS: \t 92.00.19.00.01
Bus Type: \t PCIe
Device Minor: \t {minor}
GPU Excluded:\t No
"""


def test_gpus_are_read_from_the_driver_and_from_its_tool() -> None:
    texts = [INFORMATION.format(name="b", minor=1), INFORMATION.format(name="a", minor=0), "odd"]
    assert gpus_of_information(texts) == [
        {"id": "GPU-a", "paths": ["/dev/nvidia0"]},
        {"id": "GPU-b", "paths": ["/dev/nvidia1"]},
    ]
    assert gpus_of_listing(LISTING) == [
        {"id": "GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77", "paths": ["/dev/nvidia0"]},
        {"id": "GPU-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "paths": ["/dev/nvidia1"]},
    ]
    assert gpus_of_listing("NVIDIA-SMI has failed\n") == []


def test_gpus_are_declared_by_path_name_or_number(tmp_path: Path) -> None:
    found = gpus_of_listing(LISTING)
    assert declared_gpus(["1", found[0]["id"]], found) == [found[1], found[0]]
    assert declared_gpus(["/dev/nvidia1"], found) == [found[1]]
    assert declared_gpus(["/dev/zero", "7"], []) == [
        {"id": "/dev/zero", "paths": ["/dev/zero"]},
        {"id": "7", "paths": []},
    ]
    with pytest.raises(Trouble, match=r"the GPU 0 is named twice"):
        declared_gpus(["/dev/nvidia0", "0"], found)
    with pytest.raises(Trouble, match=r"is not there: No such file"):
        declared_gpus([str(tmp_path / "none")], [])
    with pytest.raises(Trouble, match=r"is not a character device"):
        declared_gpus([str(tmp_path)], [])


def test_gpus_are_given_once() -> None:
    book, gpus = GpuBook(), gpus_of_listing(LISTING)
    assert book.take("a", gpus, 0) == []
    assert book.take("a", gpus, 1) == gpus[:1]
    with pytest.raises(NotGiven, match="2 GPUs were asked for and 1 are free on this host"):
        book.take("b", gpus, 2)
    assert book.take("b", gpus, 1) == gpus[1:]
    book.give_back("a")
    assert book.take("c", gpus, 1) == gpus[:1]


def test_devices_have_rules_of_their_own() -> None:
    zero = node_of("/dev/zero", "/dev/z", "rm")
    assert zero.to_oci()["path"] == "/dev/z"
    rules = rules_for([zero])
    assert rules[-1] == ("c", 1, 5, "r")
    limits = Limits(cpu_milli=1, memory_mib=4, is_cpu_capped=False, device_rules=rules[-1:])
    assert v1_files(limits, "devices") == [("devices.deny", "a"), ("devices.allow", "c 1:5 r")]
    assert runtime_resources(limits)["devices"] == [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "access": "r", "major": 1, "minor": 5},
    ]
    assert ("devices.allow", "c 136:* rwm") in v1_files(
        Limits(cpu_milli=1, memory_mib=4, is_cpu_capped=False, device_rules=rules), "devices"
    )
    with pytest.raises(NotGiven, match="is not a device node"):
        node_of("/etc/passwd", "/x", "r")
    with pytest.raises(NotGiven, match="no such file or directory"):
        node_of("/dev/none", "/x", "r")
    assert "/dev/null" in [node.path for node in every_node()]


def test_devices_are_allowed_by_path_or_folder(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    assert check_allowed(str(tmp_path / "link"), ["/dev/zero"]) == "/dev/zero"
    assert check_allowed("/dev/zero", ["/dev"]) == "/dev/zero"
    for allowed in ([], ["/dev/zer"], [str(tmp_path)]):
        with pytest.raises(NotGiven, match=r"device .*link is not allowed; allowed are: "):
            check_allowed(str(tmp_path / "link"), allowed)


def test_swap_is_a_limit_of_its_own() -> None:
    limits = Limits(cpu_milli=1, memory_mib=4, is_cpu_capped=False, swap_mib=2, swappiness=30)
    assert v1_files(limits, "memory") == [
        ("memory.limit_in_bytes", str(4 << 20)),
        ("memory.memsw.limit_in_bytes", str(6 << 20)),
        ("memory.swappiness", "30"),
    ]
    assert ("memory.swap.max", str(2 << 20)) in v2_files(limits)
    assert runtime_resources(limits)["memory"] == {
        "limit": 4 << 20,
        "swap": 6 << 20,
        "swappiness": 30,
    }


@pytest.fixture(params=["crun", "runc"])
def runtime(request: pytest.FixtureRequest) -> Literal["crun", "runc"]:
    require_containers(request.param)
    return "crun" if request.param == "crun" else "runc"


async def run(rig: LocalRig, spec: TaskSpec) -> tuple[TaskEnded, list[str]]:
    backend, listener = await rig.open()
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    return ended, rig.sink.texts(spec.task_id)


def device(source: str, destination: str, permissions: str = "rwm") -> Device:
    return Device(source=source, destination=destination, permissions=permissions)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_device_is_given_with_its_permissions(rig: LocalRig, runtime: str) -> None:
    rig.devices = [Path("/dev/kmsg")]
    look = (
        "exec 2>&1; [ -c /dev/deep/log ] && echo there; (: >/dev/deep/log) && echo written;"
        " (: </dev/zero) && echo common; mknod /dev/x c 1 11"
    )
    spec = change(rig.shell(look), devices=(device("/dev/kmsg", "/dev/deep/log", "w"),))
    _, lines = await run(rig, spec)
    refused = "mknod: /dev/x: Operation not permitted"
    assert lines == ["there", "written", "common", refused]
    if read_layout().v2 is not None and runtime == "crun":
        return  # Nobody enforces permissions there.
    spec = change(rig.shell(look), devices=(device("/dev/kmsg", "/dev/deep/log", "r"),))
    _, lines = await run(rig, spec)
    denied = "sh: can't create /dev/deep/log: Operation not permitted"
    assert lines == ["there", denied, "common", refused]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_device_that_is_not_allowed_is_refused(rig: LocalRig) -> None:
    rig.devices = [Path("/dev/full")]
    for source, text in (
        ("/dev/kmsg", "device /dev/kmsg is not allowed; allowed are: /dev/full"),
        ("/dev/fuller", "device /dev/fuller is not allowed; allowed are: /dev/full"),
    ):
        spec = change(rig.shell("true"), devices=(device(source, source),))
        ended, _ = await run(rig, spec)
        assert (ended.exit_code, ended.reason) == (None, f"CannotCreateContainerError: {text}")


@pytest.mark.slow
@pytest.mark.asyncio
async def test_privileged_needs_the_operators_word(rig: LocalRig) -> None:
    script = (
        "grep CapEff /proc/self/status; [ -c /dev/kmsg ] && echo kmsg; ls -d /sys/firmware;"
        " echo 1 > /proc/sys/kernel/domainname; mount -t tmpfs none /mnt && echo mounted"
    )
    ended, _ = await run(rig, change(rig.shell(script), is_privileged=True))
    assert (ended.exit_code, ended.reason) == (
        None,
        "CannotCreateContainerError: privileged containers are not allowed on this host",
    )
    rig.is_privileged_allowed = True
    script = "mkdir -p /mnt; " + script
    ended, lines = await run(rig, change(rig.shell(script), is_privileged=True))
    assert int(lines[0].split()[1], 16) == capability_mask()
    assert {"kmsg", "mounted"} <= set(lines)
    _, lines = await run(rig, rig.shell(script + "; true"))
    assert not {"kmsg", "mounted"} & set(lines)


SHOW = "echo $NVIDIA_VISIBLE_DEVICES; ls /dev | grep -c kmsg"


def with_gpus(spec: TaskSpec, count: int) -> TaskSpec:
    return change(spec, limits=Amount(cpu_milli=100, memory_mib=64, gpu_count=count))


@pytest.mark.slow
@pytest.mark.asyncio
async def test_gpus_are_whole_and_given_once(rig: LocalRig) -> None:
    rig.gpus = ["/dev/kmsg", "/dev/full", "GPU-7"]
    backend, listener = await rig.open()
    (host,) = await backend.list_hosts()
    assert host.capacity.gpu_count == 3
    print_and_wait = "trap 'exit 143' TERM; " + SHOW + "; while :; do sleep 1000 & wait; done"
    first = with_gpus(rig.shell(print_and_wait), 2)
    await backend.start([first])
    await rig.sink.until(lambda: len(rig.sink.texts(first.task_id)) == 2)
    assert rig.sink.texts(first.task_id) == ["/dev/kmsg,/dev/full", "1"]

    backend, listener = await rig.open()  # the next server's supervisor knows
    second, none, many = (
        with_gpus(rig.shell(SHOW), 1),
        change(rig.shell(SHOW), environment=(("NVIDIA_VISIBLE_DEVICES", "all"),)),
        with_gpus(rig.shell(SHOW), 2),
    )
    await backend.start([many])
    ended = await listener.ended(many.task_id)
    assert ended.reason == (
        "CannotCreateContainerError: 2 GPUs were asked for and 1 are free on this host"
    )
    await backend.start([second, none])
    await listener.ended(second.task_id)
    await listener.ended(none.task_id)
    assert rig.sink.texts(second.task_id) == ["GPU-7", "0"]
    assert rig.sink.texts(none.task_id) == ["void", "0"]
    await backend.stop(first.task_id, grace_ms=60_000)
    await listener.ended(first.task_id)
    again = with_gpus(rig.shell(SHOW), 3)
    await backend.start([again])
    await listener.ended(again.task_id)
    assert rig.sink.texts(again.task_id) == ["/dev/kmsg,/dev/full,GPU-7", "1"]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_containers_of_a_task_get_different_gpus(rig: LocalRig) -> None:
    rig.gpus = ["A", "B", "C"]
    limits = Amount(cpu_milli=100, memory_mib=64, gpu_count=1)
    one, two = (replace(rig.script(name, SHOW), limits=limits) for name in ("one", "two"))
    three = rig.script("three", SHOW)
    spec = group(rig, *(replace(each, is_essential=each is three) for each in (one, two, three)))
    backend, listener = await rig.open()
    waiting = after(spec.containers[2], "COMPLETE", "one", "two")
    spec = replace(spec, containers=(*spec.containers[:2], waiting))
    await backend.start([spec])
    await listener.ended(spec.task_id)
    shown = [rig.sink.printed(name)[0] for name in ("one", "two", "three")]
    assert shown == ["A", "B", "void"]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_without_gpus_nothing_is_said_of_them(rig: LocalRig) -> None:
    rig.gpus = []
    _, lines = await run(rig, rig.shell("echo [$NVIDIA_VISIBLE_DEVICES]"))
    assert lines == ["[]"]
    ended, _ = await run(rig, with_gpus(rig.task(Behaviour()), 1))
    assert ended.reason == (
        "CannotCreateContainerError: 1 GPUs were asked for and 0 are free on this host"
    )


@pytest.mark.slow
@pytest.mark.asyncio
async def test_swap_and_swappiness_are_set_where_the_kernel_has_them(rig: LocalRig) -> None:
    spec = change(rig.shell("cat /proc/self/cgroup"), swap_mib=5, swappiness=11)
    ended, _ = await run(rig, spec)
    assert (ended.exit_code, ended.reason) == (0, None)


def test_this_machine_has_the_devices_of_these_tests() -> None:
    assert all(os.path.exists(path) for path in ("/dev/kmsg", "/dev/full", "/dev/zero"))
