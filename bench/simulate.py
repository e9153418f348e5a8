"""A week of 20,000 jobs under the simulator, beside the core and the scheduler alone.

The trace is drawn from a seed: arrivals all week, run times of a log-normal spread (median 18
minutes), 1 to 16 vCPUs, 20 users; a Fargate environment that is busy for about 85 % of the week:
in line, in fair shares by users, and in five quota shares that lend and borrow.
What is timed, in CPU time: the whole simulation with its figures; a bare loop that gives the core
the same jobs and ends, with nothing around it; and in that loop the scheduler (view and plan)
alone. Memory is read off a process of its own, for each job of the trace, which is in it too::

    python -m bench.simulate --jobs 1000000

Beside it weeks that are too much for their machines: two fifths of the jobs come in in the first
hour, the others as fast as they can be served, so that thousands wait until the last one has come.
Their limit is the ordinary week, in line, of the same run::

    python -m bench.simulate --policy fifo --overloaded spot

And what a simulated start costs a forecast of a job deep in a queue (see `deep`)::

    python -m bench.simulate --deep
"""

import argparse
import asyncio
import heapq
import json
import sys
from dataclasses import asdict, dataclass
from random import Random
from statistics import median
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
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.scheduler.round import plan_round
from batchyard.sim.config import Config, parse_config
from batchyard.sim.job_table import job_id_of, number_of
from batchyard.sim.reporting import report_of
from batchyard.sim.simulation import Simulation, share_of, simulate
from batchyard.sim.trace import Trace, TraceJob
from bench import deep
from bench.quota import in_teams, quota_parts

JOBS = 20_000
POLICIES = ("fifo", "fair", "quota")
WEEK_MS = 7 * 86_400_000
SECONDS_GOAL = 10.0
#: The core's own bound for a job that waits.
BYTES_PER_JOB_GOAL = 1024

#: What a week may cost in which thousands wait, in ordinary weeks: 10 s where that takes 3.3 s.
OVERLOADED_GOAL = 3.0

_LOAD = 0.85
#: Of a week that is overloaded: what comes in at once, at its beginning.
_BACKLOG = 0.4
_HOUR_MS = 3_600_000
_FAIR = """
[[schedulingPolicies]]
name = "fair"
[schedulingPolicies.fairsharePolicy]
shareDecaySeconds = 86400
"""
_CONFIG = """
[[computeEnvironments]]
computeEnvironmentName = "ce"
computeResources = {{ type = "FARGATE", maxvCpus = {vcpus} }}
[[jobQueues]]
jobQueueName = "jq"
priority = 1
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "ce" }}]
"""
#: Ten types each of two families, on six machines: a round looks at none of them for nothing.
_SPOT = """
[[computeEnvironments]]
computeEnvironmentName = "ce"
[computeEnvironments.computeResources]
type = "SPOT"
allocationStrategy = "SPOT_PRICE_CAPACITY_OPTIMIZED"
maxvCpus = 100000
instanceTypes = ["m6i", "c6i"]
[[jobQueues]]
jobQueueName = "jq"
priority = 1
computeEnvironmentOrder = [{{ order = 1, computeEnvironment = "ce" }}]
{policy}
[machine]
count = 6
vcpus = {vcpus_each}
memory_mib = {memory_mib_each}
[delays]
instance_boot_s = 45
task_start_s = 2
[interruptions]
per_hour = 0.05
retries = 2
"""
_BY_SHARES = 'schedulingPolicyArn = "fair"'
#: In how many quota shares the twenty users are: few teams, or as many as a queue may have.
QUOTA_SHARE_COUNTS = (5, 20)
#: By name: a configuration; of quota shares made when their sizes are known.
OVERLOADED = {
    "spot": _SPOT.replace("{policy}", ""),
    "spot fair": _FAIR + _SPOT.replace("{policy}", _BY_SHARES),
    **{f"quota {count}": "" for count in QUOTA_SHARE_COUNTS},
}


@dataclass(frozen=True, slots=True)
class Week:
    """What was measured."""

    jobs: int
    policy: str
    simulate_s: float
    core_s: float
    scheduler_s: float
    waiting_max: float
    bytes_per_job: float


@dataclass(frozen=True, slots=True)
class Overload:
    """What was measured of a week that is too much for its machines."""

    simulate_s: float
    #: Over the whole run, until the last job has ended.
    waiting_middle: float
    waiting_max: float
    turns: int


async def run() -> bool:
    """Measure the week, in line and by shares, and those that are overloaded."""
    is_met = await measure(JOBS, POLICIES, tuple(OVERLOADED))
    return await measure_deep() and is_met


async def measure_deep() -> bool:
    """Measure what a simulated start costs a forecast of a job deep in a queue."""
    found = deep.Deep(**await _in_own_process("--deep"))
    ratio = found.forecast_us / found.core_us
    print(
        f"  forecast in a queue of {deep.JOBS:,}: {found.forecast_us:.0f} us a start ="
        f" {ratio:.2f} times the core alone; goal: {deep.GOAL}"
    )
    return ratio <= deep.GOAL


async def measure(jobs: int, policies: tuple[str, ...], overloaded: tuple[str, ...] = ()) -> bool:
    is_met = True
    ordinary_s = None
    print("\n       jobs  policy  simulate s  core s  scheduler s  most waiting  bytes/job")
    for policy in policies:
        week = Week(**await _in_own_process("--jobs", str(jobs), "--policy", policy))
        ordinary_s = ordinary_s or week.simulate_s
        print(
            f"  {week.jobs:>9,}  {week.policy:>6}  {week.simulate_s:>10.2f}  {week.core_s:>6.2f}"
            f"  {week.scheduler_s:>11.2f}  {week.waiting_max:>12,.0f}"
            f"  {week.bytes_per_job:>9,.0f}"
        )
        print(
            f"    {week.simulate_s / week.core_s:.2f} times the core alone,"
            f" {week.simulate_s / week.scheduler_s:.2f} times the scheduler alone;"
            f" {week.simulate_s / week.jobs * 1e6:.0f} us a job",
            flush=True,
        )
        is_met &= jobs > JOBS or week.simulate_s <= SECONDS_GOAL
        is_met &= week.bytes_per_job <= BYTES_PER_JOB_GOAL or jobs <= JOBS
    print(
        f"  goal: {JOBS:,} jobs in {SECONDS_GOAL:.0f} s; {BYTES_PER_JOB_GOAL} bytes a job of more"
    )
    if ordinary_s is not None:
        is_met &= await _measure_overloaded(jobs, overloaded, ordinary_s)
    return is_met


async def _measure_overloaded(jobs: int, names: tuple[str, ...], ordinary_s: float) -> bool:
    is_met = True
    for name in names:
        week = Overload(**await _in_own_process("--jobs", str(jobs), "--overloaded", name))
        ratio = week.simulate_s / ordinary_s
        is_met &= ratio <= OVERLOADED_GOAL
        print(
            f"  overloaded, {name}: {week.simulate_s:.2f} s = {ratio:.2f} ordinary weeks; goal:"
            f" {OVERLOADED_GOAL}; {week.waiting_middle:,.0f} wait in the middle, at most"
            f" {week.waiting_max:,.0f}; {week.turns:,} turns",
            flush=True,
        )
    return is_met


async def _in_own_process(*arguments: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.simulate", "--worker", *arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("a measurement failed")
    found: dict[str, Any] = json.loads(output)
    return found


# -- in a process of its own ----------------------------------------------------------------------


def a_week(jobs: int, *, backlog: float = 0.0) -> Trace:
    """Draw a week of submissions; `backlog` is the part of them that comes in its first hour."""
    draw = Random(20)
    first = round(jobs * backlog)
    came = sorted(draw.randrange(_HOUR_MS if at < first else WEEK_MS) for at in range(jobs))
    amounts = [
        Amount(cpu_milli=1000 * each, memory_mib=2048 * each) for each in (1, 1, 2, 4, 8, 16)
    ]
    users = [f"user{number}" for number in range(20)]
    return Trace(
        name="week",
        jobs=[
            TraceJob(
                id=str(number),
                submitted_ms=at_ms,
                run_ms=round(draw.lognormvariate(7, 1.2) * 1000),
                demand=draw.choice(amounts),
                user=draw.choice(users),
            )
            for number, at_ms in enumerate(came)
        ],
    )


def a_config(trace: Trace, policy: str) -> Config:
    """Give an environment that the trace keeps busy for most of the week."""
    work = sum(job.demand.cpu_milli * job.run_ms for job in trace.jobs)
    vcpus = round(work / WEEK_MS / 1000 / _LOAD)
    text = _CONFIG.format(vcpus=vcpus)
    if policy == "quota":
        text = quota_parts(text, count=QUOTA_SHARE_COUNTS[0], vcpus=vcpus)
    if policy == "fair":
        text = f'{_FAIR}{text}schedulingPolicyArn = "fair"\n'
    return parse_config(text, name=policy, where=policy)


def an_overloaded_config(trace: Trace, name: str) -> Config:
    """Give six machines that can do what comes in after the first hour, and no more."""
    work = sum(job.demand.cpu_milli * job.run_ms for job in trace.jobs)
    vcpus_each = round(work * (1 - _BACKLOG) / WEEK_MS / 1000 / 6)
    if name.startswith("quota"):
        plain = _CONFIG.format(vcpus=6 * vcpus_each)
        count = int(name.removeprefix("quota "))
        text = quota_parts(plain, count=count, vcpus=6 * vcpus_each)
        return parse_config(text, name=name, where=name)
    text = OVERLOADED[name].format(vcpus_each=vcpus_each, memory_mib_each=4096 * vcpus_each)
    return parse_config(text, name=name, where=name)


class _Bare:
    """The core, given jobs and their ends: nothing else."""

    def __init__(self, trace: Trace, config: Config) -> None:
        self.scheduler_s = 0.0
        self._jobs = trace.jobs
        self._queue = config.queues[0]
        self._state = State()
        self._heap: list[tuple[int, int, i.Input]] = []
        step_all(self._state, config.made, 0)

    def run(self) -> None:
        coming = ((job.submitted_ms, number) for number, job in enumerate(self._jobs))
        following = next(coming, None)
        while following is not None or self._heap:
            now_ms = min(
                following[0] if following else 2**62, self._heap[0][0] if self._heap else 2**62
            )
            inputs: list[i.Input] = []
            while following is not None and following[0] <= now_ms:
                inputs.append(self._accept(following[1]))
                following = next(coming, None)
            while self._heap and self._heap[0][0] <= now_ms:
                inputs.append(heapq.heappop(self._heap)[2])
            self._take(step_all(self._state, [*inputs, i.Tick()], now_ms), now_ms)
            began = thread_time()
            plan = plan_round(view_of(self._state, now_ms))
            self.scheduler_s += thread_time() - began
            self._take(step(self._state, plan, now_ms), now_ms)

    def _take(self, outcome: Outcome, now_ms: int) -> None:
        started: list[i.TaskStarted] = []
        for effect in outcome.effects:
            if isinstance(effect, StartTask):
                number = number_of(effect.job_id)
                at_ms = now_ms + self._jobs[number].run_ms
                started.append(i.TaskStarted(task_id=effect.task_id, at_ms=now_ms))
                end = i.TaskEnded(task_id=effect.task_id, at_ms=at_ms, exit_code=0, reason=None)
                heapq.heappush(self._heap, (at_ms, number, end))
        if started:
            step_all(self._state, started, now_ms)

    def _accept(self, number: int) -> i.AcceptJob:
        job = self._jobs[number]
        has_shares = self._queue.policy is not None or self._queue.has_quota_shares
        return i.AcceptJob(
            job=QueuedJob(
                seq=number + 1,
                id=job_id_of(number),
                queue_arn=self._queue.arn,
                demand=job.demand,
                attempts_max=1,
                timeout_ms=None,
                depends_on=(),
                share_identifier=share_of(job) if has_shares else None,
                scheduling_priority=job.scheduling_priority if has_shares else None,
                created_ms=job.submitted_ms,
                progress=JobProgress(),
            ),
            finished={},
        )


def _work(jobs: int, policy: str) -> Week:
    process = psutil.Process()
    before = process.memory_info().rss
    trace = a_week(jobs)
    if policy == "quota":
        trace = in_teams(trace, QUOTA_SHARE_COUNTS[0])
    config = a_config(trace, policy)
    began = thread_time()
    report = simulate(trace, config)
    simulate_s = thread_time() - began
    used = process.memory_info().rss - before
    bare = _Bare(trace, config)
    began = thread_time()
    bare.run()
    return Week(
        jobs=jobs,
        policy=policy,
        simulate_s=simulate_s,
        core_s=thread_time() - began,
        scheduler_s=bare.scheduler_s,
        waiting_max=max(point.waiting for point in report.over_time),
        bytes_per_job=used / jobs,
    )


def _overload(jobs: int, name: str) -> Overload:
    trace = a_week(jobs, backlog=_BACKLOG)
    if name.startswith("quota"):
        trace = in_teams(trace, int(name.removeprefix("quota ")))
    config = an_overloaded_config(trace, name)
    simulation = Simulation(trace, config, seed=0)
    began = thread_time()
    simulation.driver.run()
    state, now_ms = simulation.driver.state, simulation.driver.now_ms
    report = report_of(simulation.meter, config, state, now_ms)
    simulate_s = thread_time() - began
    waiting = [point.waiting for point in report.over_time]
    return Overload(
        simulate_s=simulate_s,
        waiting_middle=median(waiting),
        waiting_max=max(waiting),
        turns=simulation.driver.turn_count,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--policy", choices=POLICIES, nargs="+", default=list(POLICIES))
    parser.add_argument(
        "--overloaded",
        choices=tuple(OVERLOADED),
        nargs="+",
        default=[],
        help="weeks that are too much, beside the first policy",
    )
    parser.add_argument("--deep", action="store_true", help="the forecast in a deep queue, alone")
    parser.add_argument("--worker", action="store_true", help="measure here, and print JSON")
    chosen: Any = parser.parse_args()
    if not chosen.worker and chosen.deep:
        return 0 if asyncio.run(measure_deep()) else 1
    if not chosen.worker:
        weeks = measure(chosen.jobs, tuple(chosen.policy), tuple(chosen.overloaded))
        return 0 if asyncio.run(weeks) else 1
    if chosen.deep:
        print(json.dumps(asdict(deep.measure())))
    elif chosen.overloaded:
        print(json.dumps(asdict(_overload(chosen.jobs, chosen.overloaded[0]))))
    else:
        print(json.dumps(asdict(_work(chosen.jobs, chosen.policy[0]))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
