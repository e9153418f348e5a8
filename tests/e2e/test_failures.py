"""What a user sees when things go wrong outside of us, through the front door.

Images that are missing or no images, runtimes and supervisors that are killed, commands that do not
exist, memory and disk that run out: each time the job says why, in AWS's words and fields, the
server stays up, and nothing is left behind (`LiveYard.close` looks).
"""

import contextlib
import gzip
import os
import re
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from batchyard.model import wording
from tests.e2e.live_yard import (
    BATCHYARD,
    QUEUE,
    LiveYard,
    live_yard,
    runtime_pids,
    supervisor_pid,
    until,
)

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

HOLD = "while [ ! -e /ledger/end ] && [ ! -e /ledger/go ]; do usleep 10000; done\n"


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=16) as made:
        made.make_queue()
        yield made


def the_end(yard: LiveYard, job_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The job once it has ended, and the container of its last attempt."""
    (job,) = yard.ended(job_id)
    container: dict[str, Any] = job["attempts"][-1]["container"]
    assert job["container"].get("reason") == container.get("reason")
    assert job["container"].get("exitCode") == container.get("exitCode")
    assert job["statusReason"] == job["attempts"][-1]["statusReason"]
    return job, container


# -- images -----------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.mark.parametrize(
    "image",
    [
        pytest.param("registry.invalid/team/tool:1", id="no such registry"),
        pytest.param(f"127.0.0.1:{closed_port()}/team/tool:1", id="nobody listens there"),
    ],
)
def test_an_image_that_cannot_be_pulled(yard: LiveYard, image: str) -> None:
    yard.register("missing", image=image)
    job, container = the_end(yard, yard.submit(definition="missing", attempts=2))
    assert (job["status"], job["statusReason"]) == ("FAILED", wording.TASK_FAILED_TO_START)
    assert container["reason"].startswith("CannotPullContainerError: ")
    assert image.partition("/")[0] in container["reason"]
    assert "exitCode" not in container
    assert len(job["attempts"]) == 2


def garbage() -> dict[str, bytes]:
    return {
        "noise.tar": bytes(range(256)) * 64,
        "page.html": b"<!doctype html><title>404</title>",
        "empty.tar": b"",
        "noise.tar.gz": gzip.compress(b"no tar at all" * 100),
        "cut.tar.gz": gzip.compress(os.urandom(4096))[:1000],
    }


@pytest.mark.parametrize("name", garbage())
def test_a_file_that_is_no_image_is_refused(yard: LiveYard, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(garbage()[name])
    assert_not_imported(yard, path)


def test_an_archive_without_an_image_is_refused(yard: LiveYard, tmp_path: Path) -> None:
    """Without a name it cannot be meant as a root file system either."""
    path = tmp_path / "files.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "some.py")
    assert_not_imported(yard, path, name=None)


def assert_not_imported(yard: LiveYard, path: Path, name: str | None = "garbage") -> None:
    command = [*BATCHYARD, "image", "import", str(path), *([name] if name else [])]
    done = subprocess.run(command, env=yard.environ, capture_output=True, text=True)
    assert done.returncode == 1, done
    assert re.match(r"Error: .*\S", done.stderr), done.stderr
    assert path.name in done.stderr
    assert "Traceback" not in done.stderr
    listed = [*BATCHYARD, "image", "list"]
    shown = subprocess.run(listed, env=yard.environ, capture_output=True, text=True, check=True)
    assert "garbage" not in shown.stdout


# -- containers -------------------------------------------------------------------------------


def test_a_command_that_does_not_exist(yard: LiveYard) -> None:
    job, container = the_end(yard, yard.submit(command=["/no/such/program"], attempts=2))
    assert (job["status"], job["statusReason"]) == ("FAILED", wording.TASK_FAILED_TO_START)
    assert container["reason"].startswith("CannotStartContainerError: ")
    assert "/no/such/program" in container["reason"]
    assert "exitCode" not in container
    assert len(job["attempts"]) == 2


def test_an_exit_code_that_is_not_zero(yard: LiveYard) -> None:
    job, container = the_end(yard, yard.submit("exit 42"))
    assert (job["status"], job["statusReason"]) == ("FAILED", wording.ESSENTIAL_CONTAINER_EXITED)
    assert container["exitCode"] == 42
    assert "reason" not in container


def test_memory_that_runs_out(yard: LiveYard) -> None:
    eat = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"]
    for job_id in (yard.submit(command=eat), yard.submit(" ".join(eat))):
        job, container = the_end(yard, job_id)
        assert job["status"] == "FAILED"
        assert job["statusReason"] == wording.ESSENTIAL_CONTAINER_EXITED
        assert (container["exitCode"], container["reason"]) == (137, wording.OUT_OF_MEMORY)


def test_a_host_path_that_jobs_may_not_see(yard: LiveYard) -> None:
    yard.register(
        "curious",
        volumes=[{"name": "secret", "host": {"sourcePath": "/etc"}}],
        mountPoints=[{"sourceVolume": "secret", "containerPath": "/secret"}],
    )
    job, container = the_end(yard, yard.submit(definition="curious"))
    assert (job["status"], job["statusReason"]) == ("FAILED", wording.TASK_FAILED_TO_START)
    assert container["reason"].startswith("CannotCreateVolumeError: ")
    assert "/etc" in container["reason"]


# -- what runs containers ---------------------------------------------------------------------


def test_a_killed_container_runtime(yard: LiveYard) -> None:
    """The runtime of the first attempt is killed; the second attempt finds all well."""
    once = yard.submit(HOLD)
    retried = yard.submit(f'[ "$AWS_BATCH_JOB_ATTEMPT" = 2 ] && exit 0\n{HOLD}', attempts=2)
    yard.reach("RUNNING", once, retried)
    for pid in runtime_pids(yard.data_path):
        os.kill(pid, signal.SIGKILL)
    job, container = the_end(yard, once)
    assert (job["status"], job["statusReason"]) == ("FAILED", wording.ESSENTIAL_CONTAINER_EXITED)
    reason = "DockerStateError: the container runtime was killed by signal 9"
    assert container["reason"] == reason
    assert "exitCode" not in container
    job, container = the_end(yard, retried)
    assert (job["status"], container["exitCode"]) == ("SUCCEEDED", 0)
    assert job["attempts"][0]["container"]["reason"] == reason


def test_a_killed_supervisor(yard: LiveYard) -> None:
    """Its containers end with it; the server starts another, and tries again what may be."""
    once = yard.submit(f"echo before\n{HOLD}")
    retried = yard.submit(f'[ "$AWS_BATCH_JOB_ATTEMPT" = 2 ] && exit 0\n{HOLD}', attempts=2)
    yard.reach("RUNNING", once, retried)
    until(lambda: yard.lines(once) == ["before"])
    os.kill(supervisor_pid(yard.data_path), signal.SIGKILL)
    job, container = the_end(yard, once)
    assert job["status"] == "FAILED"
    assert re.fullmatch(r"Host EC2 \(instance i-[0-9a-f]{17}\) terminated\.", job["statusReason"])
    assert container["reason"].startswith("DockerStateError: the supervisor")
    assert yard.lines(once) == ["before"]
    job, container = the_end(yard, retried)
    assert (job["status"], container["exitCode"]) == ("SUCCEEDED", 0)
    assert job["attempts"][0]["statusReason"].startswith("Host EC2 (instance ")
    assert yard.process is not None
    assert yard.process.poll() is None


def test_a_killed_supervisor_takes_whole_tasks_and_all_nodes(yard: LiveYard) -> None:
    """They are lost with their host, as a whole, and the second attempt runs as a whole."""
    hold = (
        "trap 'exit 143' TERM\n[ $AWS_BATCH_JOB_ATTEMPT = 2 ] && exit 0\n"
        "while :; do sleep 0.05; done\n"
    )
    container = {
        "image": "busybox",
        "command": ["sh", "-c", hold],
        "resourceRequirements": [
            {"type": "VCPU", "value": "1"},
            {"type": "MEMORY", "value": "16"},
        ],
    }
    containers = [{**container, "name": name} for name in ("one", "two")]
    task, nodes = (
        yard.batch.submit_job(
            jobName="lost",
            jobQueue=QUEUE,
            jobDefinition=yard.batch.register_job_definition(
                jobDefinitionName="lost", retryStrategy={"attempts": 2}, **definition
            )["jobDefinitionArn"],
        )["jobId"]
        for definition in (
            {
                "type": "container",
                "ecsProperties": {"taskProperties": [{"containers": containers}]},
            },
            {
                "type": "multinode",
                "nodeProperties": {
                    "numNodes": 3,
                    "mainNode": 1,
                    "nodeRangeProperties": [{"targetNodes": ":", "container": container}],
                },
            },
        )
    )
    yard.reach("RUNNING", task, nodes)
    until(lambda: yard.statuses(*(f"{nodes}#{n}" for n in range(3)))["RUNNING"] == 3)
    os.kill(supervisor_pid(yard.data_path), signal.SIGKILL)
    for job in yard.ended(task, nodes):
        assert job["status"] == "SUCCEEDED"
        first, _ = job["attempts"]
        assert re.fullmatch(r"Host EC2 \(instance \S+\) terminated\.", first["statusReason"])
    parts = [first["taskProperties"][0]["containers"] for first in yard.job(task)["attempts"]]
    assert all(each["reason"].startswith("DockerStateError") for each in parts[0])
    assert not any("exitCode" in each for each in parts[0])
    for node in yard.jobs(*(f"{nodes}#{n}" for n in range(3))):
        reason = node["attempts"][0]["statusReason"]
        assert reason.startswith("Host EC2 (instance ")


# -- the disk ---------------------------------------------------------------------------------


@pytest.fixture
def small_yard() -> Iterator[LiveYard]:
    """A yard whose data folder has a small disk of its own."""
    with live_yard(disk_mib=32, machine_vcpus=4) as made:
        made.make_queue()
        yield made


def test_a_full_disk(small_yard: LiveYard) -> None:
    """While it lasts callers are told so; afterwards everything acknowledged is as it should be."""
    yard = small_yard
    running = yard.submit(
        "i=0; while [ ! -e /ledger/go ]; do i=$((i+1)); echo $i; usleep 20000; "
        "done; echo $i > /ledger/last; exit 5"
    )
    yard.reach("RUNNING", running)
    waiting = [yard.submit(f"echo hello\n{HOLD}") for _ in range(6)]
    fill(yard.data_path / "filler")
    refused: list[dict[str, Any]] = []
    acknowledged = []
    while len(refused) < 20:
        try:
            acknowledged.append(yard.submit("true"))
        except ClientError as error:
            refused.append(error.response)
    for answer in refused:
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500
        assert answer["Error"]["Code"] == "ServerException"
        assert "disk is full" in answer["Error"]["Message"]
    # Reading needs no disk.
    assert yard.job(running)["status"] == "RUNNING"
    assert yard.batch.describe_job_queues(jobQueues=[QUEUE])["jobQueues"]
    yard.release("go")
    time.sleep(0.5)
    (yard.data_path / "filler").unlink()

    job, container = the_end(yard, running)
    assert (job["status"], container["exitCode"]) == ("FAILED", 5)
    printed = yard.lines(running)
    last = int((yard.ledger_path / "last").read_text())
    assert printed == [str(number) for number in range(1, last + 1)]
    for each in yard.ended(*waiting, *acknowledged):
        if each["status"] == "FAILED":
            assert "No space left on device" in each["container"]["reason"]
    assert yard.ended(yard.submit("true"))[0]["status"] == "SUCCEEDED"


def fill(path: Path) -> None:
    """Write until the disk takes nothing more."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 4096):
        with contextlib.suppress(OSError):
            while os.write(fd, b"\0" * size):
                pass
    os.close(fd)
