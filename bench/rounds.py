"""What a round costs by what lies around the queue: environments, hosts, types, rooms, shares.

One queue with jobs that wait, and one environment whose instances are full. In each round one job
ends and one is placed (`one`), or nothing happens and nothing can be placed (`none`). Each line
multiplies one thing and leaves the others alone; the first is what it is compared with. Times are
CPU time, so that others on the machine disturb little::

    python -m bench.rounds
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import thread_time

from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.effects import StartTask
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.viewing import view_of
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import EnvironmentArn, HostId, JobId, PolicyArn, QueueArn, TaskId
from batchyard.model.instances import AllocationStrategy, InstanceType, LaunchSettings
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.status import EnvironmentKind, ResourceState
from batchyard.scheduler.round import plan_round

TURNS = 200
SLOTS = 64
_POLICY = PolicyArn("policy")
_AMPLE = Amount(cpu_milli=10**9, memory_mib=10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What lies around the one queue that is served."""

    environments: int = 1
    queues: int = 1
    hosts: int = 1
    types: int = 1
    #: Different demands, which leave different rooms on the instances.
    demands: int = 1
    instances: int = 1
    idle: int = 0
    shares: int = 0


LINES: Sequence[tuple[str, Around]] = (
    ("one of each", Around()),
    ("1,000 environments", Around(environments=1000)),
    ("1,000 queues", Around(queues=1000)),
    ("1,000 hosts", Around(hosts=1000)),
    ("1,000 types", Around(types=1000)),
    ("10,000 instances", Around(instances=10_000)),
    ("10,000 instances, 100 different demands", Around(instances=10_000, demands=100)),
    ("10,000 idle instances kept by minvCpus, no room", Around(environments=2, idle=10_000)),
    ("500 shares", Around(shares=500)),
)


async def run() -> bool:
    print(f"  {'':46}  one us  none us   of the first")
    first: tuple[float, float] | None = None
    for name, around in LINES:
        found = _measure(around)
        first = first or found
        print(
            f"  {name:46}  {found[0]:>6.0f}  {found[1]:>7.0f}"
            f"   {found[0] / first[0]:.1f}, {found[1] / first[1]:.1f}",
            flush=True,
        )
    return True


class _Bench:
    def __init__(self, around: Around) -> None:
        self.state = State()
        self.now_ms = 1_000_000
        self.running: list[TaskId] = []
        for number in range(around.hosts):
            host_id = HostId(f"host-{number}")
            step(self.state, i.PutHost(host_id=host_id, capacity=_AMPLE), self.now_ms)
        for number in range(around.environments):
            step(self.state, _environment(number, around), self.now_ms)
        for number in range(around.queues):
            step(self.state, _queue(number, around), self.now_ms)

    def round(self) -> None:
        outcome = step(self.state, plan_round(view_of(self.state, self.now_ms)), self.now_ms)
        for each in outcome.effects:
            if isinstance(each, StartTask):
                self.running.append(each.task_id)
                started = i.TaskStarted(task_id=each.task_id, at_ms=self.now_ms)
                step(self.state, started, self.now_ms)

    def end(self) -> None:
        task_id = self.running.pop(0)
        ended = i.TaskEnded(task_id=task_id, at_ms=self.now_ms, exit_code=0, reason=None)
        step(self.state, ended, self.now_ms)


def _measure(around: Around) -> tuple[float, float]:
    bench = _Bench(around)
    if around.idle:
        _leave_idle(bench, around.idle)
    count = around.instances * _slots_of(around) + 2 * TURNS
    for number in range(count):
        step(bench.state, _job(number, around), bench.now_ms)
    bench.round()
    bench.round()
    one, none = [], []
    for _ in range(TURNS):
        bench.now_ms += 50
        began = thread_time()
        bench.end()
        bench.round()
        one.append(thread_time() - began)
        began = thread_time()
        bench.round()
        none.append(thread_time() - began)
    return median(one) * 1e6, median(none) * 1e6


def _leave_idle(bench: _Bench, count: int) -> None:
    """Let the last environment launch instances that run nothing, and the first one find no room.

    `maxvCpus` would let it launch another one in each round.
    """
    first, last = bench.state.environments.values()
    assert first.launching is not None
    assert last.launching is not None
    first.cpu_milli_max *= 2
    least = count * _slot_room(SLOTS).cpu_milli
    last.launching = replace(last.launching, cpu_milli_min=least)
    last.cpu_milli_max = least
    bench.round()
    host = next(iter(bench.state.hosts.values()))
    capacity = host.used + _slot_room(SLOTS)
    step(bench.state, i.PutHost(host_id=host.id, capacity=capacity), bench.now_ms)


def _slots_of(around: Around) -> int:
    if around.instances <= SLOTS:
        return SLOTS
    return 1 if around.demands == 1 else 4


def _slot_room(slots: int) -> Amount:
    return Amount(cpu_milli=slots * 1000, memory_mib=slots * 1024)


def _environment(number: int, around: Around) -> i.PutEnvironment:
    room = _slot_room(_slots_of(around))
    types = tuple(
        InstanceType(
            name=f"type-{each:04d}",
            capacity=room + Amount(cpu_milli=each, memory_mib=each),
            price_micro=each + 1,
        )
        for each in range(around.types)
    )
    return i.PutEnvironment(
        arn=EnvironmentArn(f"environment-{number}"),
        kind=EnvironmentKind.EC2,
        state=ResourceState.ENABLED,
        cpu_milli_max=around.instances * room.cpu_milli,
        has_instances=True,
        uuid=f"of {number}",
        launching=LaunchSettings(
            strategy=AllocationStrategy.BEST_FIT_PROGRESSIVE,
            is_spot=False,
            types=types,
            cpu_milli_min=0,
            boot_ms=0,
            idle_ms=10**9,
        ),
    )


def _queue(number: int, around: Around) -> i.PutQueue:
    policy = FairShare(window_ms=600_000, reservation_percent=0, weights=())
    return i.PutQueue(
        arn=QueueArn(f"queue-{number}"),
        seq=number,
        state=ResourceState.ENABLED,
        priority=1,
        environment_arns=(EnvironmentArn("environment-0"),),
        policy_arn=_POLICY if around.shares else None,
        policy=policy if around.shares else None,
    )


def _job(number: int, around: Around) -> i.AcceptJob:
    less = number % around.demands
    share = f"share-{number % around.shares}" if around.shares else None
    return i.AcceptJob(
        job=QueuedJob(
            seq=number + 1,
            id=JobId(f"00000000-0000-4000-8000-{number:012d}"),
            queue_arn=QueueArn("queue-0"),
            demand=Amount(cpu_milli=1000, memory_mib=1024 - less),
            attempts_max=1,
            timeout_ms=None,
            depends_on=(),
            share_identifier=share,
            scheduling_priority=None if share is None else 0,
            created_ms=0,
            progress=JobProgress(),
        ),
        finished={},
    )


if __name__ == "__main__":
    import asyncio

    sys.exit(0 if asyncio.run(run()) else 1)
