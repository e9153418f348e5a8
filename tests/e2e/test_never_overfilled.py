"""Instances and the machine are never filled beyond what they have, as the kernel sees it.

Random jobs of every size go through environments of instances and of Fargate on a small machine.
All the while the control groups of the containers are read, and nothing else is believed: the
limits of those that live at one moment, added up for each instance and for the machine. At the end
every attempt ran exactly once.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batchyard.compute.local.supervisor.namespace import base_name_of
from batchyard.model.ecs_arns import container_instance_arn_of
from batchyard.model.ids import EnvironmentArn, HostId, Scope
from tests.e2e.live_yard import (
    MARK,
    QUEUE,
    REGION,
    LiveYard,
    a_seed,
    live_yard,
    own_client,
    until,
)

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

VCPUS, MEMORY_MIB = 6, 14_000
SCOPE = Scope("000000000000", REGION)
#: CPU shares or weight of one vCPU, and the file that says it, by what the machine has.
V1 = Path("/sys/fs/cgroup/memory")
MIB = 1 << 20
SHARES_PER_VCPU = 1024


class Watcher(threading.Thread):
    """Reads the groups of a yard's containers again and again."""

    def __init__(self, yard: LiveYard) -> None:
        super().__init__()
        self._base = base_name_of(str(yard.data_path))
        self._is_over = threading.Event()
        #: At each moment: the limits of the live tasks, in MiB and thousandths of a vCPU.
        self.moments: list[dict[str, tuple[int, int]]] = []

    def end(self) -> None:
        self._is_over.set()
        self.join()

    def run(self) -> None:
        while not self._is_over.wait(0.02):
            found = {path.name: limits_of(path) for path in self._groups() if is_alive(path)}
            # Whoever lives before and after has lived beside all others that do.
            alive = [path.name for path in self._groups() if path.name in found and is_alive(path)]
            moment = {name: limits for name in alive if (limits := found[name]) is not None}
            if moment:
                self.moments.append(moment)

    def _groups(self) -> list[Path]:
        root = V1 if V1.exists() else Path("/sys/fs/cgroup")
        return [path for path in (root / self._base).glob("*") if len(path.name) == 32]


def is_alive(path: Path) -> bool:
    try:
        return any(
            each.read_text() for each in [path / "cgroup.procs", *path.glob("*/cgroup.procs")]
        )
    except OSError:
        return False


def limits_of(path: Path) -> tuple[int, int] | None:
    """Memory in MiB and CPU in thousandths; None: it has just gone."""
    try:
        if not V1.exists():
            weight = int((path / "cpu.weight").read_text())
            shares = 2 + (weight - 1) * 262_142 // 9_999
            memory = (path / "memory.max").read_text()
        else:
            shares = int(Path(str(path).replace("/memory/", "/cpu/"), "cpu.shares").read_text())
            memory = (path / "memory.limit_in_bytes").read_text()
    except OSError:
        return None
    return int(memory) // MIB, shares * 1000 // SHARES_PER_VCPU


@pytest.fixture
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=VCPUS, machine_memory_mib=MEMORY_MIB, instance_idle_s=0.3) as made:
        made.make_other_queue(QUEUE, max_vcpus=4, instance_types=["c6i.large", "m6i.large"])
        made.make_other_queue("fargate", kind="FARGATE", max_vcpus=4)
        yield made


def asking(vcpus: str, memory_mib: int) -> list[dict[str, str]]:
    return [{"type": "VCPU", "value": vcpus}, {"type": "MEMORY", "value": str(memory_mib)}]


def submit_some(yard: LiveYard, chance: random.Random, number: int) -> list[tuple[str, int]]:
    """Submit a random job; give the ids that run, each with its number of attempts."""
    is_fargate = chance.random() < 0.3
    fails = not is_fargate and chance.random() < 0.3
    script = f"sleep {chance.uniform(0.05, 0.5):.2f}"
    if fails:
        script += "; [ $AWS_BATCH_JOB_ATTEMPT = 2 ]"
    container: dict[str, Any] = {"image": "busybox", "command": ["sh", "-c", script]}
    if is_fargate:
        vcpus, memory = chance.choice([("0.25", 512), ("0.5", 1024), ("1", 2048), ("2", 4096)])
        container |= {
            "resourceRequirements": asking(vcpus, memory),
            "executionRoleArn": "arn:aws:iam::000000000000:role/execution",
        }
    else:
        vcpus, memory = str(chance.randint(1, 2)), chance.choice([64, 500, 1500, 3500])
        container |= {
            "command": ["sh", "-c", MARK + script],
            "resourceRequirements": asking(vcpus, memory),
            "volumes": [{"name": "ledger", "host": {"sourcePath": str(yard.ledger_path)}}],
            "mountPoints": [{"sourceVolume": "ledger", "containerPath": "/ledger"}],
        }
    yard.batch.register_job_definition(
        jobDefinitionName=f"d{number}",
        type="container",
        platformCapabilities=["FARGATE" if is_fargate else "EC2"],
        containerProperties=container,
    )
    size = 3 if chance.random() < 0.2 else None
    job_id = yard.batch.submit_job(
        jobName=f"j{number}",
        jobQueue="fargate" if is_fargate else QUEUE,
        jobDefinition=f"d{number}",
        retryStrategy={"attempts": 2},
        **({"arrayProperties": {"size": size}} if size else {}),
    )["jobId"]
    ids = [f"{job_id}:{index}" for index in range(size)] if size else [job_id]
    return [(each, 2 if fails else 1) for each in ids]


def test_the_kernel_never_sees_more_than_there_is(yard: LiveYard) -> None:
    seed = a_seed()
    chance = random.Random(seed)
    watcher = Watcher(yard)
    watcher.start()
    try:
        attempts_by_id = dict(
            pair for number in range(24) for pair in submit_some(yard, chance, number)
        )
        ids = list(attempts_by_id)
        # Children are there once the engine has taken their array in.
        until(lambda: len(yard.batch.describe_jobs(jobs=ids)["jobs"]) == len(ids), "all children")
        jobs = yard.ended(*ids, timeout_s=120)
    finally:
        watcher.end()
    assert Counter(job["status"] for job in jobs) == {"SUCCEEDED": len(jobs)}, seed
    ran = {job["jobId"]: len(job["attempts"]) for job in jobs}
    assert ran == attempts_by_id, seed
    instances = own_client(yard).list_instances(includeEnded=True, maxResults=1000)["instances"]
    room_by_arn = {
        container_instance_arn_of(
            SCOPE, EnvironmentArn(each["computeEnvironment"]), HostId(each["instanceId"])
        ): (each["memoryMib"], each["vcpus"] * 1000)
        for each in instances
    }
    instance_by_task = {
        attempt["container"]["taskArn"].rsplit("/", 1)[-1]: attempt["container"].get(
            "containerInstanceArn"
        )
        for job in jobs
        for attempt in job["attempts"]
    }
    seen: set[str] = set()
    for moment in watcher.moments:
        seen |= set(moment)
        used: defaultdict[str | None, list[int]] = defaultdict(lambda: [0, 0])
        for task_id, (memory_mib, cpu_milli) in moment.items():
            for holder in ("machine", instance_by_task[task_id]):
                used[holder][0] += memory_mib
                used[holder][1] += cpu_milli
        for arn, (memory_mib, cpu_milli) in used.items():
            room = (MEMORY_MIB, VCPUS * 1000) if arn == "machine" else room_by_arn.get(arn or "")
            if room is not None:
                assert (memory_mib <= room[0], cpu_milli <= room[1]) == (True, True), (
                    f"{arn} has {room} and {moment} on it; seed {seed}"
                )
    assert max(len(moment) for moment in watcher.moments) > 1, "nothing ran beside anything"
    assert len(seen) > len(instance_by_task) // 2, f"{len(seen)} of {len(instance_by_task)} seen"
