"""Kill anything: the server, the supervisor, the runtime; take away the disk. The truth is still
told."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.compute.local.link import leave_if_idle
from batchyard.compute.local.supervisor.kernel import mount, unmount
from batchyard.compute.port import TaskEnded
from tests.ports.rigs import Behaviour, LocalRig

pytestmark = [pytest.mark.asyncio, pytest.mark.ours_only, pytest.mark.slow]

_CLIENT = """
import asyncio, sys
from pathlib import Path
from batchyard.compute.local import LocalBackend
from tests.ports.rigs import LocalRig, Listener
import json

class FileSink:
    '''A sink whose lines and position survive a kill.'''
    def __init__(self, path): self.path = path
    def _load(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}
    async def read_position(self, task_id, target):
        return self._load().get(task_id, [0, []])[0]
    async def append(self, task_id, target, *, position, lines):
        content = self._load()
        _, old = content.get(task_id, [0, []])
        content[task_id] = [position, old + [line.text for line in lines]]
        draft = self.path.with_suffix('.new')
        draft.write_text(json.dumps(content)); draft.rename(self.path)

async def main():
    rig = LocalRig.__new__(LocalRig)
    rig._count = 0
    data_dir = Path(sys.argv[1])
    backend = LocalBackend(data_dir=data_dir, sink=FileSink(data_dir / 'sink.json'), runtime='crun')
    await backend.open()
    listener = Listener(backend)
    for script in sys.argv[2:]:
        spec = rig.shell(script)
        await backend.start([spec])
    print('started', flush=True)
    for task_id in sorted(await backend.list_tasks()):
        ended = await listener.ended(task_id)
        print(task_id, ended.exit_code, flush=True)

asyncio.run(main())
"""


def supervisor_pid(data_dir: Path) -> int:
    """Find the supervisor of a data directory by its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"batchyard.compute.local.supervisor" in words and os.fsencode(data_dir) in words:
                return int(entry.name)
    raise AssertionError("no supervisor runs")


def child_pid(parent: int) -> int:
    """Give the one child of a process."""
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


def client(data_dir: Path, *scripts: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CLIENT, str(data_dir), *scripts],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


async def test_killed_server_loses_and_doubles_no_line(rig: LocalRig) -> None:
    """A server is killed while its task counts; the next one collects the rest and the exit
    code."""
    count_slowly = (
        "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1));"
        " [ $((i % 100)) = 0 ] && sleep 0.02; done; exit 9"
    )
    first = client(rig.data_dir, count_slowly)
    assert first.stdout is not None
    assert "started\n" in iter(first.stdout.readline, "")
    sink = rig.data_dir / "sink.json"
    while not sink.exists() or not next(iter(json.loads(sink.read_text()).values()))[1]:
        await asyncio.sleep(0)
    first.kill()
    first.wait()
    first.stdout.close()
    second = await asyncio.to_thread(lambda: client(rig.data_dir).communicate()[0])
    assert second.splitlines()[-1].endswith(" 9")
    ((_, lines),) = json.loads(sink.read_text()).values()
    assert lines == [str(number) for number in range(3000)]


async def test_killed_supervisor_is_replaced_and_its_tasks_are_lost(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    task = rig.task(Behaviour(lines=("ready",), is_waiting=True))
    done = rig.task(Behaviour(exit_code=6))
    await backend.start([task, done])
    await listener.ended(done.task_id)
    await rig.sink.until(lambda: rig.sink.texts(task.task_id) == ["ready"])
    os.kill(supervisor_pid(rig.data_dir), signal.SIGKILL)
    ended = await listener.ended(task.task_id)
    assert (ended.exit_code, ended.is_lost) == (None, True)
    assert ended.reason is not None
    assert ended.reason.startswith("DockerStateError: the supervisor")
    assert len([r for r in listener.of(done.task_id) if isinstance(r, TaskEnded)]) == 1
    assert rig.sink.texts(task.task_id) == ["ready"]
    after = rig.task(Behaviour(lines=("works again",)))
    await backend.start([after])
    assert (await listener.ended(after.task_id)).exit_code == 0


async def test_killed_supervisor_while_no_server_runs(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    task = rig.task(Behaviour(lines=("ready",), is_waiting=True))
    await backend.start([task])
    await listener.started(task.task_id)
    await backend.close()
    os.kill(supervisor_pid(rig.data_dir), signal.SIGKILL)
    backend, listener = await rig.open()
    assert (await listener.ended(task.task_id)).is_lost


async def test_order_sent_to_a_dead_supervisor_is_carried_out_by_the_next(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    task = rig.task(Behaviour(lines=("hello",)))
    os.kill(supervisor_pid(rig.data_dir), signal.SIGKILL)
    await backend.start([task])
    assert (await listener.ended(task.task_id)).exit_code == 0
    assert rig.sink.texts(task.task_id) == ["hello"]


async def test_killed_runtime_is_told(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    task = rig.task(Behaviour(lines=("ready",), is_waiting=True))
    await backend.start([task])
    await rig.sink.until(lambda: rig.sink.texts(task.task_id) == ["ready"])
    parent = supervisor_pid(rig.data_dir)
    os.kill(child_pid(parent), signal.SIGKILL)
    ended = await listener.ended(task.task_id)
    assert ended.exit_code is None
    assert ended.reason == "DockerStateError: the container runtime was killed by signal 9"


async def test_two_servers_opening_at_once_share_one_supervisor(rig: LocalRig) -> None:
    from batchyard.compute.local import LocalBackend

    others = [LocalBackend(data_dir=rig.data_dir, sink=rig.sink, runtime="crun") for _ in range(2)]
    await asyncio.gather(*(other.open() for other in others))
    for other in others:
        await other.close()


async def test_supervisor_stays_while_tasks_run_and_leaves_when_idle(rig: LocalRig) -> None:
    backend, listener = await rig.open()
    task = rig.task(Behaviour(is_waiting=True))
    await backend.start([task])
    await listener.started(task.task_id)
    assert not await backend.leave_if_idle()
    assert not await asyncio.to_thread(leave_if_idle, rig.data_dir)
    await backend.stop(task.task_id, grace_ms=0)
    await listener.ended(task.task_id)
    assert await backend.leave_if_idle()
    await backend.close()
    assert await asyncio.to_thread(leave_if_idle, rig.data_dir)  # none runs


async def test_long_data_directory_is_reached(rig: LocalRig) -> None:
    """Unix sockets take 107 bytes of path; a data directory may be deeper."""
    deep = LocalRig(rig.data_dir / ("x" * 60) / ("y" * 60), "crun", rig.data_dir / "images")
    backend, listener = await deep.open()
    task = deep.task(Behaviour(lines=("deep",)))
    await backend.start([task])
    assert (await listener.ended(task.task_id)).exit_code == 0
    await deep.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount("tmpfs", str(tmp_path), "tmpfs", options="size=12m")
    yield tmp_path
    unmount(str(tmp_path))


async def test_full_disk_is_told(small_disk: Path, busybox_images: Path) -> None:
    rig = LocalRig(small_disk / "d", "crun", busybox_images)
    backend, listener = await rig.open()
    filler = small_disk / "filler"
    fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(fd, b"\0" * 4096):
            pass
    os.close(fd)
    talker = rig.shell("echo something; exit 3")
    await backend.start([talker])
    ended = await listener.ended(talker.task_id)
    assert ended.exit_code is None
    assert ended.reason is not None
    assert "No space left on device" in ended.reason
    filler.unlink()
    after = rig.task(Behaviour(lines=("works again",)))
    await backend.start([after])
    assert (await listener.ended(after.task_id)).exit_code == 0
    await rig.close()


async def test_output_that_finds_no_disk_space_is_given_up_with_a_line(
    small_disk: Path, busybox_images: Path
) -> None:
    rig = LocalRig(small_disk / "d", "crun", busybox_images)
    backend, listener = await rig.open()
    spec = rig.shell("dd if=/dev/zero of=/fill bs=4k 2>/dev/null; seq 1 2000; exit 3")
    await backend.start([spec])
    ended = await listener.ended(spec.task_id)
    assert ended.exit_code == 3
    last = rig.sink.texts(spec.task_id)[-1]
    assert last.startswith("batchyard: ")
    assert last.endswith(" bytes of output were lost: no disk space")
    await rig.close()
