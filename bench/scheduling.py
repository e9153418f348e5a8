"""What a decision of the pure core costs, and a job that waits, by how many wait and where they go.

Jobs wait RUNNABLE in one queue, as single jobs or as the children of arrays, FIFO or in 500 shares;
they go to 1, 100 or 10,000 instances that are full. In each round some of the running jobs end, so
that as many of those that wait are placed: the same number of decisions, however long the queue is.

Each combination of length, form and policy runs in a process of its own, so that its memory can be
read off the process. Every line says the command that measures it alone::

    python -m bench.scheduling --jobs 1000000 --form singles --policy fifo --instances 100

Columns, in microseconds of CPU time, so that others on the machine disturb little: `plan` is the
scheduler alone (view and plan) for each job placed, of 100 a round; `decide` is that and the
core's making it true; `life` is all that a job costs from RUNNABLE to SUCCEEDED; `round` is a whole
turn in which one job ends and one is placed.
"""

import argparse
import asyncio
import gc
import json
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from sys import intern
from time import thread_time
from typing import Any

import psutil

from batchyard.core import inputs as i
from batchyard.core.effects import StartTask
from batchyard.core.state import State
from batchyard.core.step import step, step_all
from batchyard.core.turn import Outcome
from batchyard.core.viewing import view_of
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import FairShare
from batchyard.model.ids import EnvironmentArn, HostId, JobId, PolicyArn, QueueArn, TaskId
from batchyard.model.instances import AllocationStrategy, InstanceType, LaunchSettings
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.status import EnvironmentKind, ResourceState
from batchyard.scheduler.round import plan_round

JOBS = (10_000, 100_000, 1_000_000)
FORMS = ("arrays", "singles")
POLICIES = ("fifo", "fair")
#: How many instances, and how many jobs each has room for.
SLOTS_BY_INSTANCES = {1: 128, 100: 2, 10_000: 2}
SHARES = 500
ARRAYS = 100
MANY = 100
ROUNDS = 100
ROUNDS_OF_ONE = 400

#: The same decisions may cost that much more in the longest queue than in the shortest.
SLOPE_GOAL = 1.2
DECISIONS_GOAL = 20_000
BYTES_PER_JOB_GOAL = 1024

_QUEUE = QueueArn("arn:aws:batch:us-east-1:123456789012:job-queue/bench")
_POLICY = PolicyArn("arn:aws:batch:us-east-1:123456789012:scheduling-policy/bench")
_HOST = HostId("host")
_JOB = Amount(cpu_milli=1000, memory_mib=1024)


@dataclass(frozen=True, slots=True)
class Cell:
    """What was measured in one state."""

    jobs: int
    form: str
    policy: str
    instances: int
    plan_us: float
    decide_us: float
    life_us: float
    round_us: float
    bytes_per_job: float
    accept_us: float


async def run() -> bool:
    """Measure the whole matrix."""
    return await measure(_parser().parse_args([]))


async def measure(chosen: argparse.Namespace) -> bool:
    """Measure what was chosen, print it, and tell whether every goal was met."""
    cells: list[Cell] = []
    for form in chosen.form:
        for policy in chosen.policy:
            _print_head(form, policy)
            for jobs in chosen.jobs:
                for cell in await _in_own_process(jobs, form, policy, chosen.instances):
                    cells.append(cell)
                    _print(cell)
    return _judge(cells)


def _print_head(form: str, policy: str) -> None:
    order = f"fair share, {SHARES} shares" if policy == "fair" else "FIFO"
    print(f"\n  {form}, {order}: python -m bench.scheduling --form {form} --policy {policy}")
    print(
        "       jobs  instances   plan us  decide us   life us  round us  decisions/s"
        "  bytes/job  accept us",
        flush=True,
    )


def _print(cell: Cell) -> None:
    print(
        f"  {cell.jobs:>9,}  {cell.instances:>9,}  {cell.plan_us:>8.1f}  {cell.decide_us:>9.1f}"
        f"  {cell.life_us:>8.1f}  {cell.round_us:>8.0f}  {1e6 / cell.decide_us:>11,.0f}"
        f"  {cell.bytes_per_job:>9.0f}  {cell.accept_us:>9.1f}",
        flush=True,
    )


def _judge(cells: list[Cell]) -> bool:
    print()
    is_met = True
    by_jobs: dict[tuple[str, str, int], dict[int, Cell]] = {}
    for cell in cells:
        by_jobs.setdefault((cell.form, cell.policy, cell.instances), {})[cell.jobs] = cell
    for (form, policy, instances), found in by_jobs.items():
        first, last = found[min(found)], found[max(found)]
        if first is last:
            continue
        slopes = [
            last.decide_us / first.decide_us,
            last.life_us / first.life_us,
            last.round_us / first.round_us,
        ]
        is_met &= slopes[0] <= SLOPE_GOAL
        texts = ", ".join(
            f"{what} {slope:.2f}"
            for what, slope in zip(("decide", "life", "round"), slopes, strict=True)
        )
        print(
            f"  {form}, {policy}, {instances:,} instances: {last.jobs:,} jobs beside"
            f" {first.jobs:,}: {texts}; goal: decide at most {SLOPE_GOAL}"
        )
    slowest = max(cells, key=lambda cell: cell.decide_us)
    largest = max(cells, key=lambda cell: cell.bytes_per_job)
    print(
        f"  slowest: {1e6 / slowest.decide_us:,.0f} decisions a second; goal: {DECISIONS_GOAL:,}\n"
        f"  largest: {largest.bytes_per_job:.0f} bytes a job; goal: {BYTES_PER_JOB_GOAL}"
    )
    is_fast = 1e6 / slowest.decide_us >= DECISIONS_GOAL
    return is_met and is_fast and largest.bytes_per_job <= BYTES_PER_JOB_GOAL


async def _in_own_process(jobs: int, form: str, policy: str, instances: list[int]) -> list[Cell]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.scheduling", "--worker", "--jobs", str(jobs)),
        *("--form", form, "--policy", policy, "--instances", *map(str, instances)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("a measurement failed")
    return [Cell(**each) for each in json.loads(output)]


# -- in a process of its own ----------------------------------------------------------------------


class _Bench:
    """A state with jobs in it, some running, and a clock."""

    def __init__(self, policy: str) -> None:
        self.state = State()
        self.now_ms = 1_000_000
        self.running: deque[TaskId] = deque()
        #: Started since the last look.
        self._new: list[TaskId] = []
        self._policy = FairShare(window_ms=600_000, reservation_percent=0, weights=())
        self._is_fair = policy == "fair"
        amount = Amount(cpu_milli=10**9, memory_mib=10**9)
        self.take(step(self.state, i.PutHost(host_id=_HOST, capacity=amount), self.now_ms))
        self.use(0)

    def use(self, instances: int) -> None:
        """Let the queue use an environment of so many instances; 0: none."""
        arns: tuple[EnvironmentArn, ...] = ()
        if instances:
            environment = _environment(instances)
            arns = (environment.arn,)
            step(self.state, environment, self.now_ms)
        queue = i.PutQueue(
            arn=_QUEUE,
            seq=1,
            state=ResourceState.ENABLED,
            priority=1,
            environment_arns=arns,
            policy_arn=_POLICY if self._is_fair else None,
            policy=self._policy if self._is_fair else None,
        )
        step(self.state, queue, self.now_ms)

    def take(self, outcome: Outcome) -> None:
        tasks = [each.task_id for each in outcome.effects if isinstance(each, StartTask)]
        self._new += tasks

    def fill(self) -> None:
        """Place as many as there is room for."""
        while True:
            self.take(step(self.state, plan_round(view_of(self.state, self.now_ms)), self.now_ms))
            if not self._new:
                return
            self.start()

    def start(self) -> None:
        step_all(
            self.state,
            [i.TaskStarted(task_id=each, at_ms=self.now_ms) for each in self._new],
            self.now_ms,
        )
        self.running.extend(self._new)
        self._new = []

    def end(self, number: int) -> None:
        ends = [
            i.TaskEnded(task_id=self.running.popleft(), at_ms=self.now_ms, exit_code=0, reason=None)
            for _ in range(number)
        ]
        step_all(self.state, ends, self.now_ms)

    def turn(self, number: int) -> tuple[float, float, float]:
        """End some, place as many; tell the seconds of the plan, of the decision, and of all."""
        self.now_ms += 50
        began = thread_time()
        self.end(number)
        ended = thread_time()
        plan = plan_round(view_of(self.state, self.now_ms))
        planned = thread_time()
        outcome = step(self.state, plan, self.now_ms)
        decided = thread_time()
        self.take(outcome)
        assert len(self._new) == number, "somebody was not placed"
        self.start()
        return planned - ended, decided - ended, thread_time() - began


def _work(jobs: int, form: str, policy: str, instances: list[int]) -> list[Cell]:
    bench = _Bench(policy)
    process = psutil.Process()
    slots = [each * SLOTS_BY_INSTANCES[each] for each in instances]
    more = sum(slots) + len(instances) * (ROUNDS * MANY + ROUNDS_OF_ONE)
    gc.collect()
    before = process.memory_info().rss
    began = thread_time()
    waiting = 0
    for command in _accepts(jobs, jobs + more, form, policy):
        step(bench.state, command, bench.now_ms)
        waiting += command.job.array_size or 1
    accept_us = (thread_time() - began) / waiting * 1e6
    gc.collect()
    gc.freeze()  # As after a restart: see `engine.recovery`.
    per_job = (process.memory_info().rss - before) / waiting
    cells: list[Cell] = []
    for each in instances:
        bench.use(each)
        bench.fill()
        many = [bench.turn(MANY) for _ in range(ROUNDS)]
        one = [bench.turn(1) for _ in range(ROUNDS_OF_ONE)]
        plan_us, decide_us, life_us = (
            median(part) / MANY * 1e6 for part in zip(*many, strict=True)
        )
        round_us = median(all_s for _, _, all_s in one) * 1e6
        cells.append(
            Cell(
                jobs, form, policy, each, plan_us, decide_us, life_us, round_us, per_job, accept_us
            )
        )
        bench.end(len(bench.running))
    return cells


def _accepts(jobs: int, total: int, form: str, policy: str) -> Iterator[i.AcceptJob]:
    """Make jobs, or arrays, until there are enough: alike as those that come from the store."""
    size = None
    if form == "arrays":
        size = jobs // (SHARES if policy == "fair" else ARRAYS)
    for number in range(ceil(total / (size or 1))):
        share = intern(f"share-{number % SHARES:03d}") if policy == "fair" else None
        yield i.AcceptJob(
            job=QueuedJob(
                seq=number + 1,
                id=JobId(f"00000000-0000-4000-8000-{number:012d}"),
                queue_arn=_QUEUE,
                demand=_JOB,
                attempts_max=1,
                timeout_ms=None,
                depends_on=(),
                array_size=size,
                share_identifier=share,
                scheduling_priority=None if share is None else 0,
                created_ms=0,
                progress=JobProgress(),
            ),
            finished={},
        )


def _environment(instances: int) -> i.PutEnvironment:
    slots = SLOTS_BY_INSTANCES[instances]
    capacity = Amount(cpu_milli=slots * _JOB.cpu_milli, memory_mib=slots * _JOB.memory_mib)
    return i.PutEnvironment(
        arn=EnvironmentArn(f"arn:aws:batch:us-east-1:123456789012:compute-environment/{instances}"),
        kind=EnvironmentKind.EC2,
        state=ResourceState.ENABLED,
        cpu_milli_max=instances * capacity.cpu_milli,
        has_instances=True,
        uuid=f"of {instances}",
        launching=LaunchSettings(
            strategy=AllocationStrategy.BEST_FIT_PROGRESSIVE,
            is_spot=False,
            types=(InstanceType(name="bench", capacity=capacity, price_micro=1),),
            cpu_milli_min=0,
            boot_ms=0,
            idle_ms=10**9,
        ),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.scheduling", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=list(JOBS))
    parser.add_argument("--form", choices=FORMS, nargs="+", default=list(FORMS))
    parser.add_argument("--policy", choices=POLICIES, nargs="+", default=list(POLICIES))
    parser.add_argument(
        "--instances",
        type=int,
        choices=tuple(SLOTS_BY_INSTANCES),
        nargs="+",
        default=list(SLOTS_BY_INSTANCES),
    )
    parser.add_argument("--worker", action="store_true", help="measure here, and print JSON")
    return parser


def main() -> int:
    chosen: Any = _parser().parse_args()
    if not chosen.worker:
        return 0 if asyncio.run(measure(chosen)) else 1
    cells = _work(chosen.jobs[0], chosen.form[0], chosen.policy[0], chosen.instances)
    print(json.dumps([asdict(each) for each in cells]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
