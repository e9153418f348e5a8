"""How often the intervals of forecasts hold the start: walked forward over made-up traces.

Each world is a yard of its own in virtual time, with arrivals and run times drawn from a seed.
While it lives, jobs that wait are forecast from the state of that moment and from nothing but the
past of that moment; then the world goes on, and what happened is compared. Jobs that would start at
once are not asked about. Forecasts of one world share its one future: they miss together.

    python -m bench.forecast --worlds 6
"""

import argparse
import pickle
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import exp
from time import perf_counter

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.effects import StartTask
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.amounts import Amount
from batchyard.model.fair_share import FairShare
from batchyard.model.forecast import Interval
from batchyard.model.ids import HostId, JobId, PolicyArn, QueueArn, Scope
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.status import EnvironmentKind, JobStatus, ResourceState
from batchyard.sim.arriving import past_of, running_of, whose_matter
from batchyard.sim.driver import Driver
from batchyard.sim.durations import History
from batchyard.sim.fate import Fate
from batchyard.sim.forward import Bounds
from batchyard.sim.looking import Limits, Question, Seen, Yard, future_of, look, see
from batchyard.store.run_times import Kind, Origin, PastArrival, PastAttempt

SCOPE = Scope("123456789012", "eu-central-1")
ENVIRONMENT = SCOPE.environment_arn("bench")
HOST = HostId("bench")
GOAL = (0.75, 0.85)
#: More of one world say little more: they share its future.
FORECASTS_PER_WORLD = 12
_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How a yard is made up."""

    name: str
    #: Name, priority and policy of each queue.
    queues: Sequence[tuple[str, int, FairShare | None]] = (("line", 1, None),)
    shares: Sequence[str] = ()
    vcpus: int = 8
    #: Work that comes in, in parts of what the machine can do.
    load: float = 1.1
    #: Middle run time in seconds, and deviation of its logarithm, of each definition.
    definitions: Sequence[tuple[float, float]] = ((60, 0.5), (300, 0.8), (900, 0.3))
    #: Jobs of one submission share a factor with this deviation of its logarithm.
    batch_spread: float = 0.0
    jobs: int = 300


WORLDS = (
    World(name="one line"),
    World(name="one line, heavy tails", definitions=((60, 1.5), (300, 1.2))),
    World(name="one line, batches alike", batch_spread=0.4),
    World(name="one line, one definition", definitions=((120, 0.6),)),
    World(
        name="fair share",
        queues=(("shares", 1, FairShare()),),
        shares=("a", "b", "c"),
    ),
    World(name="two priorities", queues=(("low", 1, None), ("high", 9, None))),
)


@dataclass(slots=True)
class Score:
    """How forecasts did."""

    held: int = 0
    early: int = 0
    late: int = 0
    #: Ends of the interval that nothing was said of.
    open_ended: int = 0
    width_ms: list[int] = field(default_factory=list)
    lead_ms: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.held + self.early + self.late

    def add(self, other: "Score") -> None:
        self.held += other.held
        self.early += other.early
        self.late += other.late
        self.open_ended += other.open_ended
        self.width_ms += other.width_ms
        self.lead_ms += other.lead_ms

    def note(self, interval: Interval, made_ms: int, started_ms: int) -> None:
        if interval.p10_ms is None or interval.p90_ms is None:
            self.open_ended += 1
            return
        if started_ms < interval.p10_ms:
            self.early += 1
        elif started_ms > interval.p90_ms:
            self.late += 1
        else:
            self.held += 1
        self.width_ms.append(interval.p90_ms - interval.p10_ms)
        self.lead_ms.append(started_ms - made_ms)


class Walk:
    """One world, from its first job to its last."""

    def __init__(self, world: World, seed: int, runs: int, arrivals: bool) -> None:
        self._world = world
        self._seed = seed
        self._runs = runs
        self._has_arrivals = arrivals
        self._chance = random.Random(f"{seed}/{world.name}")
        self._state = State()
        self._origins: dict[JobId, Origin] = {}
        self._run_ms: dict[JobId, int] = {}
        self._past: list[PastAttempt] = []
        self._started: dict[JobId, int] = {}
        self._came: list[tuple[int, i.AcceptJob]] = []
        self._told: dict[JobId, tuple[int, Interval]] = {}

    def score(self) -> Score:
        for happening in self._resources():
            step(self._state, happening, 0)
        jobs = list(self._jobs())
        driver = Driver(self._state, now_ms=0, fate_of=self._fate_of)
        driver.observe(self._note)
        driver.follow(jobs)
        times = sorted(
            self._chance.uniform(0.15, 0.9) * jobs[-1][0] for _ in range(FORECASTS_PER_WORLD)
        )
        for at_ms in times:
            driver.run(until_ms=round(at_ms))
            self._came = [each for each in jobs if each[0] <= driver.now_ms]
            self._forecast(driver.now_ms)
        driver.run()
        score = Score()
        for job_id, (made_ms, interval) in self._told.items():
            score.note(interval, made_ms, self._started[job_id])
        return score

    def _resources(self) -> Iterator[i.Input]:
        yield i.PutHost(
            host_id=HOST, capacity=Amount(cpu_milli=self._world.vcpus * _MS, memory_mib=10**9)
        )
        yield i.PutEnvironment(
            arn=ENVIRONMENT,
            kind=EnvironmentKind.FARGATE,
            state=ResourceState.ENABLED,
            cpu_milli_max=self._world.vcpus * _MS,
        )
        for seq, (name, priority, policy) in enumerate(self._world.queues, start=1):
            yield i.PutQueue(
                arn=SCOPE.queue_arn(name),
                seq=seq,
                state=ResourceState.ENABLED,
                priority=priority,
                environment_arns=(ENVIRONMENT,),
                policy=policy,
                policy_arn=None if policy is None else PolicyArn("bench"),
            )

    def _jobs(self) -> Iterator[tuple[int, i.AcceptJob]]:
        """Draw submissions of 1 to 12 jobs of one definition, with pauses that make the load."""
        world, chance = self._world, self._chance
        mean_s = sum(middle * exp(spread**2 / 2) for middle, spread in world.definitions)
        mean_s /= len(world.definitions)
        at_s, seq = 0.0, 0
        while seq < world.jobs:
            count = chance.randint(1, 12)
            vcpus = chance.choice((1, 1, 2, 4))
            number = chance.randrange(len(world.definitions))
            middle_s, spread = world.definitions[number]
            factor = exp(chance.gauss(0, world.batch_spread))
            queue_arn = SCOPE.queue_arn(chance.choice(world.queues)[0])
            share = chance.choice(world.shares) if world.shares else None
            for _ in range(count):
                seq += 1
                job_id = _id_of(seq)
                run_s = middle_s * factor * exp(chance.gauss(0, spread))
                self._run_ms[job_id] = round(run_s * _MS)
                kind = Kind(f"d{number}", QueueArn(queue_arn))
                self._origins[job_id] = Origin(kind, str(round(at_s * _MS)))
                yield round(at_s * _MS), _accept(seq, queue_arn, vcpus, share, round(at_s * _MS))
            # The mean submission: 6.5 jobs of 2 vCPUs.
            pause_s = 6.5 * 2 * mean_s / (world.vcpus * world.load)
            at_s += chance.expovariate(1 / pause_s)

    def _fate_of(self, start: StartTask, _now_ms: int) -> Fate:
        return Fate(run_ms=self._run_ms[start.job_id])

    def _note(self, events: Sequence[e.Event], now_ms: int) -> None:
        for event in events:
            if isinstance(event, e.AttemptStarted):
                self._started[event.job_id] = now_ms
            elif isinstance(event, e.JobSucceeded):
                started_ms = self._started[event.job_id]
                self._past.insert(
                    0,
                    PastAttempt(
                        kind=self._origins[event.job_id].kind,
                        batch=self._origins[event.job_id].batch,
                        starting_ms=0,
                        running_ms=now_ms - started_ms,
                        exit_code=0,
                        reason=None,
                        stopped_ms=now_ms,
                    ),
                )

    def _forecast(self, now_ms: int) -> None:
        """Forecast one job that waits and was not asked about before."""
        state = self._state
        waiting = [
            each.id
            for each in state.jobs.values()
            if each.progress.status is JobStatus.RUNNABLE and each.id not in self._told
        ]
        if not waiting:
            return
        job_id = self._chance.choice(waiting)
        queue_arn = state.jobs[job_id].queue_arn
        past = past_of(
            [
                PastArrival(origin=self._origins[come.job.id], job=come.job)
                for _, come in self._came
            ],
            whose_matter(state, [queue_arn]) if self._has_arrivals else [],
            now_ms=now_ms,
            first_seq=1_000_000,
        )
        yard = Yard(
            now_ms=now_ms,
            origins=self._origins,
            history=History(self._past),
            seed=self._seed,
            running_ms=running_of(state, self._origins, now_ms),
            past=past,
        )
        question = Question(wanted=(job_id,))

        stored = pickle.dumps(state)

        def make(number: int, bounds: Bounds) -> Seen:
            return see(pickle.loads(stored), yard, question, number, bounds)  # noqa: S301

        found = look(make, Limits(runs_max=self._runs))
        future = future_of(found, yard, [job_id], shown=[0])
        self._told[job_id] = (now_ms, future.jobs[0].start)


def _accept(
    seq: int, queue_arn: QueueArn, vcpus: int, share: str | None, created_ms: int
) -> i.AcceptJob:
    return i.AcceptJob(
        job=QueuedJob(
            seq=seq,
            id=_id_of(seq),
            queue_arn=queue_arn,
            demand=Amount(cpu_milli=vcpus * _MS, memory_mib=1),
            attempts_max=1,
            timeout_ms=None,
            depends_on=(),
            created_ms=created_ms,
            share_identifier=share,
            progress=JobProgress(),
        ),
        finished={},
    )


def _id_of(seq: int) -> JobId:
    digits = blake2b(str(seq).encode(), digest_size=16).hexdigest()
    return JobId(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")


async def run() -> bool:
    """Walk over all worlds."""
    return walk(_parser().parse_args([]))


def walk(chosen: argparse.Namespace) -> bool:
    print(
        "  world                      forecasts   held  earlier  later  middle width  lead  cpu s"
    )
    total: dict[str, Score] = defaultdict(Score)
    for world in WORLDS:
        if chosen.only and chosen.only not in world.name:
            continue
        began = perf_counter()
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.worlds):
            total[world.name].add(Walk(world, seed, chosen.runs, chosen.arrivals).score())
        _print(world.name, total[world.name], perf_counter() - began)
    whole = Score()
    for score in total.values():
        whole.add(score)
    _print("all", whole, 0.0)
    is_met = GOAL[0] <= whole.held / max(1, whole.count) <= GOAL[1]
    print(f"  goal: {GOAL[0]:.0%} to {GOAL[1]:.0%} held; met: {is_met}")
    return is_met


def _print(name: str, score: Score, seconds: float) -> None:
    count = max(1, score.count)
    width = sorted(score.width_ms)[len(score.width_ms) // 2] / 60_000 if score.width_ms else 0
    lead = sorted(score.lead_ms)[len(score.lead_ms) // 2] / 60_000 if score.lead_ms else 0
    print(
        f"  {name:26} {score.count:>9}  {score.held / count:>4.0%}  {score.early / count:>7.0%}"
        f"  {score.late / count:>5.0%}  {width:>8.1f} min  {lead:>4.0f}  {seconds:>5.0f}",
        flush=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.forecast", description=__doc__)
    parser.add_argument("--worlds", type=int, default=8, help="of each kind")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--only", help="a part of a world's name")
    parser.add_argument(
        "--no-arrivals", dest="arrivals", action="store_false", help="expect nobody to come in"
    )
    return parser


def main() -> int:
    return 0 if walk(_parser().parse_args()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
