"""Networks of their own: tasks reach each other and the host, and nothing stays. Real
containers."""

import asyncio
import os
import signal
import socket
import struct
import threading
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import pytest

from batchyard.compute.local import LocalBackend
from batchyard.compute.local.detect import Check, run_checks
from batchyard.compute.local.supervisor import kernel
from batchyard.compute.local.supervisor.netlink import Netlink
from batchyard.compute.local.supervisor.network import Networks, NoNetwork, Range, link_name_of
from batchyard.compute.port import ContainerSpec, Mount, Network, TaskSpec, Trouble
from tests.compute.test_local_crashes import supervisor_pid
from tests.ports.conftest import require_containers
from tests.ports.rigs import Behaviour, LocalRig, MemorySink, after, group

pytestmark = [pytest.mark.ours_only]

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
by-own\t0000D50A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_ranges_and_their_collisions() -> None:
    own = Range("10.213.0.0/16")
    assert (str(own), own.address(1), own.address(258)) == (
        "10.213.0.0/16",
        "10.213.0.1",
        "10.213.1.2",
    )
    assert own.collision(ROUTES, own_link="by-own") == ""
    assert own.collision(ROUTES, own_link="by-other") == "10.213.0.0 on by-own"
    assert Range("192.0.0.0/16").collision(ROUTES, own_link="") == "192.0.2.0 on eth0"
    assert Range("192.0.2.128/25").collision(ROUTES, own_link="") == "192.0.2.0 on eth0"
    assert Range("192.0.3.0/24").collision(ROUTES, own_link="") == ""


def test_yards_of_one_machine_have_blocks_of_a_range() -> None:
    own = Range("10.213.0.0/16")
    blocks = [str(block) for block in own.blocks(1)]
    assert (len(blocks), blocks[0], blocks[-1]) == (64, "10.213.4.0/22", "10.213.0.0/22")
    first = own.free_block("", own_link="by-a")
    start, mask = (socket.htonl(number) for number in (first.base, 0xFFFFFC00))
    route = f"by-b {start:08X} 0 1 0 0 0 {mask:08X}"
    second = own.free_block(f"\n{route}", own_link="by-a")
    assert second.base == first.base + 1024
    assert own.free_block(f"\n{route}", own_link="by-b").base != second.base
    with pytest.raises(
        ValueError, match=r"collides with the host's route to 10\.213\.0\.0 on by-own"
    ):
        own.free_block(ROUTES, own_link="by-other")
    assert [str(block) for block in Range("10.0.0.0/24").blocks(7)] == ["10.0.0.0/24"]


@pytest.mark.parametrize("text", ["", "10.0.0.1/16", "10.0.0.0", "10.0.0.0/31", "10.0/16", "::/64"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no range of IPv4|beyond its length"):
        Range(text)


class Ports:
    """Stands for the switch: the ports that the kernel still has."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def has_link(self, name: str) -> bool:
        return name in self.names


def test_addresses_are_given_again_only_after_all_others() -> None:
    networks = Networks("by-none")
    networks._range = Range("10.9.0.0/29")
    none = cast("Netlink", Ports())
    first = [networks._choose(none) for _ in range(5)]
    assert sorted(first) == [2, 3, 4, 5, 6]
    networks._used = set(first[:3])
    assert [networks._choose(none) for _ in range(3)] == [*first[3:], first[3]]
    going = cast("Netlink", Ports(f"port{first[3]}"))
    assert [networks._choose(going) for _ in range(2)] == [first[4]] * 2
    networks._used = set(first)
    with pytest.raises(ValueError, match=r"all addresses of 10\.9\.0\.0/29 are in use"):
        networks._choose(none)


def test_doctor_tells_of_a_collision(tmp_path: Path) -> None:
    def found(network_range: str) -> Check:
        checks = run_checks(tmp_path, network_range=network_range)
        return next(check for check in checks if check.name == "network")

    assert found("10.249.17.0/24") == Check(name="network", is_ok=True, detail="10.249.17.0/24")
    assert not found("everywhere").is_ok
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        address = socket.inet_ntoa(struct.pack("=I", int(fields[1], 16)))
        length = int(fields[7], 16).bit_count()
        if 8 <= length <= 30:
            check = found(f"{address}/{length}")
            assert check.detail.startswith(f"the range {address}/{length} collides with the host's")
            assert check.remedy == "set another range for jobs of several nodes"


@pytest.mark.asyncio
async def test_backend_refuses_what_is_no_range(tmp_path: Path) -> None:
    backend = LocalBackend(data_dir=tmp_path, sink=MemorySink(), network_range="here")
    with pytest.raises(Trouble, match="here is no range of IPv4 addresses"):
        await backend.open()


@pytest.fixture
def runtime(request: pytest.FixtureRequest) -> Literal["crun", "runc"]:
    kind: Literal["crun", "runc"] = getattr(request, "param", "crun")
    require_containers(kind)
    return kind


def own(spec: TaskSpec) -> TaskSpec:
    return replace(spec, network=Network.OWN)


def only(rig: LocalRig, container: ContainerSpec) -> TaskSpec:
    return own(TaskSpec(task_id=rig.next_task_id(), containers=(container,)))


def link_of(rig: LocalRig) -> str:
    """Name the host's end of a rig's way to its switch."""
    return link_name_of(os.path.realpath(rig.data_dir))


def has_link(rig: LocalRig) -> bool:
    return link_of(rig) in [name for _, name in socket.if_nameindex()]


def namespaces_of(pid: int) -> list[list[str]]:
    """List the links in each network namespace that a process holds open."""
    found: list[list[str]] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        if os.readlink(entry).startswith("net:"):
            thread = threading.Thread(target=lambda path=entry: found.append(_links_in(path)))
            thread.start()
            thread.join()
    return found


def _links_in(path: Path) -> list[str]:
    """To be run in a thread that ends: a thread's namespace is its own."""
    fd = os.open(path, os.O_RDONLY)
    assert kernel._libc.setns(fd, kernel.CLONE_NEWNET) == 0
    os.close(fd)
    return sorted(name for _, name in socket.if_nameindex())


@pytest.mark.slow
@pytest.mark.asyncio
@pytest.mark.parametrize("runtime", ["crun", "runc"], indirect=True)
async def test_three_tasks_reach_each_other_on_any_port_and_the_host(rig: LocalRig) -> None:
    """Each listens to two ports; then each asks the two others, and the gateway."""
    shared = rig.host_paths[0]
    shared.mkdir()
    server = await asyncio.start_server(_answer, "0.0.0.0", 0)  # noqa: S104  # the gateway's too
    port = server.sockets[0].getsockname()[1]
    listen = (
        'for p in 22 40000; do (while :; do echo "from $(hostname -i):$p" | nc -l -p $p'
        " >/dev/null; done) & done\n"
    )
    ask = (
        "until [ -e /shared/peers ]; do sleep 0.05; done\n"
        "for peer in $(cat /shared/peers); do for p in 22 40000; do\n"
        '  until r=$(nc -w 5 $peer $p </dev/null 2>/dev/null) && [ -n "$r" ]; do :; done; echo $r\n'
        "done; done\n"
        f"nc -w 5 $(ip route | awk '/default/ {{print $3}}') {port} </dev/null\n"
        "tail -n 1 /etc/hosts | awk '{print $1}'; hostname -i; ping -c 1 -W 5 127.0.0.1 >/dev/null"
        " && echo loopback; touch /shared/done-$HOSTNAME\n"
        "until [ $(ls /shared | grep -c done) = 3 ]; do sleep 0.05; done\n"
    )
    mount = Mount(source=str(shared), destination="/shared")
    specs = [
        only(rig, replace(rig.script(f"n{n}", listen + ask), mounts=(mount,))) for n in range(3)
    ]
    backend, listener = await rig.open()
    await backend.start(specs)
    addresses = [(await listener.started(spec.task_id)).address for spec in specs]
    assert None not in addresses
    (shared / "new").write_text(" ".join(str(each) for each in addresses))
    (shared / "new").rename(shared / "peers")
    for number, spec in enumerate(specs):
        ended = await listener.ended(spec.task_id)
        assert ended.exit_code == 0
        lines = rig.sink.printed(f"n{number}")
        wanted = [f"from {each}:{p}" for each in addresses for p in (22, 40000)]
        assert lines[:6] == wanted
        assert lines[6:] == ["the host", addresses[number], addresses[number], "loopback"]
    server.close()


async def _answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"the host\n")
    await writer.drain()
    writer.close()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_containers_of_a_task_share_its_network(rig: LocalRig) -> None:
    side = rig.script("side", "echo hello | nc -l -p 7000; sleep 100")
    main = rig.script(
        "main", "until nc 127.0.0.1 7000 </dev/null 2>/dev/null; do :; done; hostname -i"
    )
    side = replace(side, stop_timeout_ms=100)
    backend, listener = await rig.open()
    spec = own(group(rig, after(main, "START", "side"), side))
    await backend.start([spec])
    started = await listener.started(spec.task_id)
    await listener.ended(spec.task_id)
    assert rig.sink.printed("main") == ["hello", started.address]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_networks_are_gone_with_their_tasks(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    assert not has_link(rig)
    waiting = rig.container("w", Behaviour(lines=("ready",), is_waiting=True))
    specs = [only(rig, waiting), only(rig, waiting)]
    await backend.start(specs)
    for spec in specs:
        await listener.started(spec.task_id)
    pid = supervisor_pid(rig.data_dir)
    found = namespaces_of(pid)
    assert sorted(len(links) for links in found) == [2, 2, 5]
    assert ["eth0", "lo"] in found
    failing = [
        only(rig, rig.container("x", Behaviour(is_executable_missing=True))),
        only(rig, replace(waiting, user="ghost")),
    ]
    await backend.start(failing)
    for spec in failing:
        assert (await listener.ended(spec.task_id)).reason is not None
    for spec in specs:
        await backend.stop(spec.task_id, grace_ms=0)
        await listener.ended(spec.task_id)
    while namespaces_of(pid) != [["host", "lo", "switch"]]:
        await asyncio.sleep(0)  # the kernel takes them apart in its own time
    assert has_link(rig)
    await backend.forget([spec.task_id for spec in (*specs, *failing)])
    assert await backend.leave_if_idle()
    while has_link(rig):
        await asyncio.sleep(0)


@pytest.mark.slow
@pytest.mark.asyncio
async def test_networks_are_made_anew_after_the_supervisor_was_killed(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    waiting = rig.container("w", Behaviour(lines=("ready",), is_waiting=True))
    first = only(rig, waiting)
    await backend.start([first])
    address = (await listener.started(first.task_id)).address
    os.kill(supervisor_pid(rig.data_dir), signal.SIGKILL)
    assert (await listener.ended(first.task_id)).is_lost
    second = only(rig, waiting)
    await backend.start([second])
    started = await listener.started(second.task_id)
    assert started.address not in (None, address)
    assert has_link(rig)
    assert sorted(len(links) for links in namespaces_of(supervisor_pid(rig.data_dir))) == [2, 4]


@pytest.mark.slow
@pytest.mark.asyncio
async def test_two_yards_share_a_large_range(
    rig: LocalRig, short_path: Path, busybox_images: Path
) -> None:
    other = LocalRig(short_path / "other", "crun", busybox_images)
    addresses = []
    for yard in (rig, other):
        yard.network_range = "10.246.0.0/16"
        backend, listener = await yard.open()
        spec = only(yard, yard.container("w", Behaviour(is_waiting=True)))
        await backend.start([spec])
        addresses.append((await listener.started(spec.task_id)).address)
    blocks = {str(address).rpartition(".")[0] for address in addresses}
    assert len(blocks) == 2
    await other.close()


@pytest.mark.slow
@pytest.mark.asyncio
async def test_range_that_the_host_has_a_route_to_is_refused(
    rig: LocalRig, short_path: Path, busybox_images: Path
) -> None:
    """Another yard of this machine with the same range."""
    backend, listener = await rig.open()
    waiting = rig.container("w", Behaviour(is_waiting=True))
    first = only(rig, waiting)
    await backend.start([first])
    await listener.started(first.task_id)
    other = LocalRig(short_path / "other", "crun", busybox_images)
    other.network_range = rig.network_range
    backend, listener = await other.open()
    spec = only(other, waiting)
    await backend.start([spec])
    reason = (await listener.ended(spec.task_id)).reason
    assert reason == (
        f"ResourceInitializationError: no network for the task: the range {rig.network_range}"
        f" collides with the host's route to {rig.network_range.partition('/')[0]} on"
        f" {link_of(rig)}"
    )
    await other.close()


def test_networks_need_the_kernels_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_flag: int) -> object:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(kernel, "new_namespace", refuse)
    monkeypatch.setattr(Networks, "clear", lambda _self: None)
    with pytest.raises(NoNetwork, match=r"no network for the task: .*not permitted"):
        Networks("by-none").make("10.249.0.0/24")
