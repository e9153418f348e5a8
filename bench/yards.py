"""Yards that are made up, as traces that people have: what comes in, and how long it runs.

Decides what a kind of yard is like, and draws one from a seed. Refuses to know what is forecast.
Kinds that are `held_out` were not tuned on.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from math import exp, pi, sin

from batchyard.core import inputs as i
from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, child_id
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.sim.config import Config, parse_config
from batchyard.store.run_times import Kind, Origin, trait_of

_MS = 1000
_DAY_S = 86_400
#: How the store cuts the time within which jobs of a kind came in together.
_BATCH_MS = 60_000
#: Nothing runs for longer than so many times the middle of its definition.
_LONGEST = 60
_WEEKEND = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A kind of yard."""

    name: str
    held_out: bool = False
    #: Name, priority, and whether shares are fair, of each queue.
    queues: Sequence[tuple[str, int, bool]] = (("line", 1, False),)
    #: Identifier, weight factor, and part of all submissions.
    shares: Sequence[tuple[str, float, float]] = ()
    vcpus: int = 8
    #: Work that comes in, in parts of what the machine can do.
    load: float = 1.1
    #: Middle run time in seconds, and deviation of its logarithm, of each definition.
    definitions: Sequence[tuple[float, float]] = ((60, 0.5), (300, 0.8), (900, 0.3))
    #: How run times spread: lognormal, pareto, bimodal.
    law: str = "lognormal"
    #: Deviations of the logarithm of what jobs have in common: those of one submission, those of
    #: one share and definition.
    batch_spread: float = 0.0
    share_spread: float = 0.0
    #: By how much run times have grown at the end.
    drift: float = 1.0
    #: Definitions come up one after another, without a past.
    is_fresh: bool = False
    #: The fewest and most jobs of a submission, and the vCPUs of one.
    batch: tuple[int, int] = (1, 12)
    widths: Sequence[int] = (1, 1, 2, 4)
    #: More comes in by day than by night, and less on the last two days of a week.
    has_days: bool = False
    #: Parts of all submissions: those that are one array, and chains in which each job waits for
    #: the one before.
    arrays: float = 0.0
    chains: float = 0.0
    #: Part of all attempts that fail; a job has up to `attempts`.
    failing: float = 0.0
    attempts: int = 1
    timeout_s: int | None = None
    #: Part of all submissions that their user takes back after a while.
    taken_back: float = 0.0
    #: How long an instance takes to get ready; None: nothing is launched.
    boot_s: int | None = None
    jobs: int = 300


_LONG = ((3600, 0.8), (9000, 0.5))
_USERS = tuple((f"u{number}", 1.0, 1.0 / (number + 1)) for number in range(8))
_TEAMS = (("a", 0.5, 3.0), ("b", 1.0, 2.0), ("c", 4.0, 2.0))

WORLDS = (
    World(name="one line"),
    World(name="heavy tails", definitions=((60, 1.5), (300, 1.2))),
    World(name="Pareto tails", definitions=((120, 1.3), (300, 1.6)), law="pareto"),
    World(name="one definition", definitions=((120, 0.6),)),
    World(name="batches alike", batch_spread=0.4),
    World(name="run times that grow", drift=5.0, definitions=((200, 0.5), (400, 0.5))),
    World(
        name="users' jobs alike",
        queues=(("shares", 1, True),),
        shares=_USERS,
        share_spread=1.0,
        definitions=((300, 0.4),),
    ),
    World(
        name="new definitions",
        definitions=tuple((60 * 2 ** (number * 3 % 7), 0.5) for number in range(10)),
        is_fresh=True,
    ),
    World(name="bursts", batch=(50, 200), jobs=900),
    World(name="unequal shares", queues=(("shares", 1, True),), shares=_TEAMS),
    World(name="two priorities", queues=(("low", 1, False), ("high", 9, False))),
    World(name="from nothing", boot_s=120, load=0.8, batch=(1, 40)),
    # Not tuned on.
    World(name="bimodal", held_out=True, definitions=((60, 0.3), (240, 0.3)), law="bimodal"),
    World(
        name="wide and narrow",
        held_out=True,
        vcpus=64,
        widths=(1, 1, 2, 4, 8, 16, 32, 64),
        shares=_USERS,
        share_spread=1.2,
        batch=(1, 6),
        definitions=((600, 1.0),),
    ),
    World(
        name="three priorities, bursts",
        held_out=True,
        queues=(("low", 1, False), ("middle", 5, False), ("high", 9, False)),
        batch=(1, 60),
        jobs=500,
    ),
    World(
        name="days and weeks",
        held_out=True,
        queues=(("low", 1, False), ("high", 9, False)),
        definitions=_LONG,
        has_days=True,
        load=1.0,
        jobs=700,
    ),
    World(
        name="arrays and chains",
        held_out=True,
        queues=(("shares", 1, True),),
        shares=_TEAMS,
        arrays=0.3,
        chains=0.3,
        batch_spread=0.3,
        jobs=400,
    ),
    World(
        name="failures and timeouts",
        held_out=True,
        failing=0.25,
        attempts=3,
        timeout_s=700,
        definitions=((60, 0.8), (500, 0.8)),
    ),
    World(name="jobs taken back", held_out=True, taken_back=0.25),
    World(
        name="everything",
        held_out=True,
        queues=(("low", 1, True), ("high", 9, True)),
        shares=_TEAMS,
        share_spread=0.5,
        batch_spread=0.3,
        drift=2.0,
        law="pareto",
        definitions=((120, 1.7), (400, 2.0), (60, 1.5)),
        arrays=0.2,
        failing=0.1,
        attempts=2,
        taken_back=0.05,
        boot_s=60,
        vcpus=16,
        jobs=400,
    ),
)


@dataclass(slots=True)
class Yard:
    """One that was drawn."""

    config: Config
    #: What callers ask for, in the order of time.
    asked: list[tuple[int, i.AcceptJob | i.TerminateJob]] = field(default_factory=list)
    origins: dict[JobId, Origin] = field(default_factory=dict)
    created_ms: dict[JobId, int] = field(default_factory=dict)
    #: How each attempt of a job or child goes: its time, and its exit code.
    attempts: dict[JobId, list[tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Submission:
    """Jobs that come in at one moment."""

    definition: int
    queue: str
    share: str | None
    vcpus: int
    form: str
    attempts: Sequence[list[tuple[int, int]]]
    is_taken_back: bool

    @property
    def work_ms(self) -> int:
        return self.vcpus * sum(run_ms for job in self.attempts for run_ms, _ in job)


def draw(world: World, seed: int) -> Yard:
    """Make up a yard: the same for the same seed."""
    chance = random.Random(f"{seed}/{world.name}")
    yard = Yard(parse_config(_document(world), name=world.name, where=world.name))
    submissions = list(_Drawing(world, chance).submissions())
    span_s = sum(each.work_ms for each in submissions) / _MS / (world.vcpus * world.load)
    times = sorted(_moment(world, chance, span_s) for _ in submissions)
    seq = 0
    for at_s, each in zip(times, submissions, strict=True):
        seq = _enter(yard, world, each, seq, round(at_s * _MS))
        if each.is_taken_back:
            back_ms = round((at_s + chance.expovariate(20 / span_s)) * _MS)
            last = [come.job.id for _, come in yard.asked if isinstance(come, i.AcceptJob)]
            for job_id in last[-_jobs_of(each) :]:
                yard.asked.append((back_ms, i.TerminateJob(job_id=job_id, reason="taken back")))
    yard.asked.sort(key=lambda happening: happening[0])
    return yard


class _Drawing:
    """Draws submissions, without their times."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self._world = world
        self._chance = chance
        self._factors: Mapping[tuple[str | None, int], float] = {
            (share, number): exp(chance.gauss(0, world.share_spread))
            for share in (None, *(each[0] for each in world.shares))
            for number in range(len(world.definitions))
        }

    def submissions(self) -> Iterator[_Submission]:
        world, chance, count = self._world, self._chance, 0
        while count < world.jobs:
            low, high = world.batch
            size = chance.randint(low, high)
            form = chance.choices(
                ("jobs", "array", "chain"),
                (1 - world.arrays - world.chains, world.arrays, world.chains),
            )[0]
            number = self._definition(count / world.jobs)
            share = None
            if world.shares:
                parts = [part for _, _, part in world.shares]
                share = chance.choices(world.shares, parts)[0][0]
            factor = exp(chance.gauss(0, world.batch_spread)) * self._factors[share, number]
            factor *= world.drift ** (count / world.jobs)
            yield _Submission(
                definition=number,
                queue=chance.choice(world.queues)[0],
                share=share,
                vcpus=chance.choice(world.widths),
                form=form if size > 1 else "jobs",
                attempts=[self._attempts(number, factor) for _ in range(size)],
                is_taken_back=chance.random() < world.taken_back,
            )
            count += size

    def _definition(self, place: float) -> int:
        count = len(self._world.definitions)
        if not self._world.is_fresh:
            return self._chance.randrange(count)
        # Three are in use at any time; the newest of them came up a while ago.
        newest = min(int(place * count), count - 1)
        return max(0, newest - self._chance.randrange(3))

    def _attempts(self, number: int, factor: float) -> list[tuple[int, int]]:
        world, chance = self._world, self._chance
        found: list[tuple[int, int]] = []
        while len(found) < world.attempts:
            run_s = self._run_s(number) * factor
            is_failed = chance.random() < world.failing
            if is_failed:
                run_s *= chance.random()
            if world.timeout_s is not None and run_s > world.timeout_s:
                return [*found, (round(run_s * _MS), 0)]
            found.append((max(1, round(run_s * _MS)), int(is_failed)))
            if not is_failed:
                break
        return found

    def _run_s(self, number: int) -> float:
        chance = self._chance
        middle_s, spread = self._world.definitions[number]
        match self._world.law:
            case "pareto":
                # Here the spread is the exponent: less is heavier.
                return middle_s * min(_LONGEST, chance.paretovariate(spread) / 2 ** (1 / spread))
            case "bimodal":
                mode = chance.choice((0.2, 1.0, 5.0))
                return middle_s * mode * exp(chance.gauss(0, spread))
            case _:
                return middle_s * min(_LONGEST, exp(chance.gauss(0, spread)))


def _moment(world: World, chance: random.Random, span_s: float) -> float:
    """Draw when something comes in."""
    while True:
        at_s = chance.uniform(0, span_s)
        if not world.has_days:
            return at_s
        busy = (1 + 0.9 * sin(2 * pi * at_s / _DAY_S)) / 1.9
        busy *= 0.3 if at_s // _DAY_S % 7 >= _WEEKEND else 1.0
        if chance.random() < busy:
            return at_s


def _jobs_of(submission: _Submission) -> int:
    return 1 if submission.form == "array" else len(submission.attempts)


def _enter(yard: Yard, world: World, each: _Submission, seq: int, at_ms: int) -> int:
    """Let jobs come in, numbered from the next after `seq`; give the last number."""
    queue_arn = yard.config.queue_of(each.queue)
    fair = {name for name, _, is_fair in world.queues if is_fair}
    previous: JobId | None = None
    for place in range(_jobs_of(each)):
        seq += 1
        job_id = _id_of(seq)
        job = QueuedJob(
            seq=seq,
            id=job_id,
            queue_arn=queue_arn,
            demand=Amount(cpu_milli=each.vcpus * _MS, memory_mib=each.vcpus * 100),
            attempts_max=world.attempts,
            timeout_ms=None if world.timeout_s is None else world.timeout_s * _MS,
            depends_on=() if previous is None else (previous,),
            created_ms=at_ms,
            array_size=len(each.attempts) if each.form == "array" else None,
            share_identifier=each.share if each.queue in fair else None,
            progress=JobProgress(),
        )
        batch = job_id if each.form == "array" else str(at_ms // _BATCH_MS)
        kind = Kind(f"d{each.definition}", queue_arn)
        yard.origins[job_id] = Origin(kind, batch, trait_of(job.share_identifier, job.demand))
        yard.created_ms[job_id] = at_ms
        if each.form == "array":
            for index, attempts in enumerate(each.attempts):
                yard.attempts[child_id(job_id, index)] = attempts
        else:
            yard.attempts[job_id] = each.attempts[place]
        yard.asked.append((at_ms, i.AcceptJob(job=job, finished={})))
        previous = job_id if each.form == "chain" else None
    return seq


def _document(world: World) -> str:
    """Write the configuration of a kind of yard."""
    size = f"maxvCpus = {world.vcpus}"
    resources = f'type = "FARGATE", {size}'
    if world.boot_s is not None:
        resources = (
            f'type = "EC2", minvCpus = 0, {size}, instanceTypes = ["c5.xlarge"],'
            ' allocationStrategy = "BEST_FIT_PROGRESSIVE"'
        )
    lines = [
        f"[delays]\ninstance_boot_s = {world.boot_s or 0}",
        "[[computeEnvironments]]",
        f'computeEnvironmentName = "bench"\ncomputeResources = {{ {resources} }}',
        '[[schedulingPolicies]]\nname = "fair"\n[schedulingPolicies.fairsharePolicy]',
        "shareDecaySeconds = 600",
    ]
    for name, weight, _ in world.shares:
        lines.append(
            "[[schedulingPolicies.fairsharePolicy.shareDistribution]]\n"
            f'shareIdentifier = "{name}"\nweightFactor = {weight}'
        )
    for name, priority, is_fair in world.queues:
        lines.append(f'[[jobQueues]]\njobQueueName = "{name}"\npriority = {priority}')
        lines.append('computeEnvironmentOrder = [{ order = 1, computeEnvironment = "bench" }]')
        if is_fair:
            lines.append('schedulingPolicyArn = "fair"')
    return "\n".join(lines)


def _id_of(seq: int) -> JobId:
    digits = blake2b(str(seq).encode(), digest_size=16).hexdigest()
    return JobId(f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}")
