"""How often the intervals of forecasts hold the start: walked forward over made-up traces.

Each world (`bench.yards`) is a yard of its own in virtual time. While it lives, jobs that wait are
forecast from the state of that moment and from nothing but the past of that moment: half of the
times those that came in just then, half of the times any. Then the world goes on, and what happened
is compared, also with what two simple peers would have said (`bench.peers`). Jobs that start at
once are not asked about, nor those of which some child runs; the first forecast of a job counts;
what never starts counts for nothing. A start that is exactly one end of its interval is within it.
Forecasts of one world share its one future: they miss together.

Ends are moved by what the forecasts of the same world missed by until then, as the API does it, and
told both ways: as they were said, and as the runs had them. With few moments a world is over before
that says much: see `--moments`.

    python -m bench.forecast --worlds 6
    python -m bench.forecast --worlds 3 --moments 60
"""

import argparse
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from time import process_time

import msgspec

from batchyard.api.own.recalibrating import READ_MAX, stretch_of, stretched
from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.effects import StartTask
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.forecast import Interval, PastForecast, Stretch
from batchyard.model.ids import JobId, QueueArn, whole_id_of
from batchyard.model.records import StopCause
from batchyard.model.status import JobStatus
from batchyard.sim.arriving import past_of, running_of, whose_matter
from batchyard.sim.driver import Driver
from batchyard.sim.fate import Fate
from batchyard.sim.forking import on_a_copy
from batchyard.sim.forward import Bounds
from batchyard.sim.looking import Limits, Question, Seen, Yard, future_of, live_by_kind, look, see
from batchyard.sim.past_runs import History
from batchyard.store.run_times import PastArrival, PastAttempt, is_telling
from bench.peers import PEERS, Peer
from bench.yards import WORLDS, World, draw

GOAL = (0.75, 0.85)
#: More of one world say little more: they share its future.
MOMENTS = 12
JOBS_PER_MOMENT = 3
#: Part of the time of a world within which is asked.
_ASKED_FROM, _ASKED_UNTIL = 0.15, 0.9
_MINUTE = 60_000
#: A run of the future is given up after so many: what waits behind all others takes too long.
_TURNS_MAX = 2000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Seen).decode


#: 10, 50 and 90 %, in milliseconds from the moment when it was said.
Ends = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Told:
    """A forecast, and what came of it, in milliseconds from the moment when it was made."""

    is_new: bool
    ends: Ends
    #: As the runs had them, before they were moved.
    unmoved: Ends
    start: float
    #: What the peers would have said.
    peers: tuple[Peer, ...]

    def place(self, ends: Ends) -> int:
        """-1: the start was before the interval, 0: in it, 1: after it."""
        return (self.start > ends[2]) - (self.start < ends[0])


@dataclass(frozen=True, slots=True)
class Asked:
    """What was said of a job."""

    job_id: JobId
    queue_arn: QueueArn
    made_ms: int
    is_new: bool
    said: Interval
    #: As the runs had it.
    unmoved: Interval
    stretch: Stretch
    peers: tuple[Peer, ...]

    def past(self, started_ms: int | None) -> PastForecast | None:
        """Give it as the store keeps it; None: it does not, for it is not whole."""
        ends = _whole(self.said)
        if ends is None:
            return None
        return PastForecast(
            made_ms=self.made_ms,
            p10_ms=ends[0],
            p50_ms=ends[1],
            p90_ms=ends[2],
            stretch=self.stretch,
            started_ms=started_ms,
        )


@dataclass(slots=True)
class Score:
    """How forecasts did."""

    told: list[Told] = field(default_factory=list)
    #: Forecasts with an end that nothing was said of.
    open_ended: int = 0
    cpu_s: float = 0.0

    def add(self, other: "Score") -> None:
        self.told += other.told
        self.open_ended += other.open_ended
        self.cpu_s += other.cpu_s

    def share(self, place: int) -> float:
        return fmean([each.place(each.ends) == place for each in self.told] or [0])

    def share_unmoved(self, place: int) -> float:
        return fmean([each.place(each.unmoved) == place for each in self.told] or [0])


class Walk:
    """One world, from its first job to its last."""

    def __init__(self, world: World, seed: int, chosen: argparse.Namespace) -> None:
        self._seed = seed
        self._runs: int = chosen.runs
        self._moment_count: int = chosen.moments
        self._has_arrivals: bool = chosen.arrivals
        self._chance = random.Random(f"{seed}/{world.name}/asking")
        self._drawn = draw(world, seed)
        self._state = State()
        self._past: list[PastAttempt] = []
        #: Of what runs: since when, and why it is to stop.
        self._running: dict[JobId, tuple[int, StopCause | None]] = {}
        self._started: dict[JobId, int] = {}
        self._asked: set[JobId] = set()
        self._open: list[Asked] = []
        self._peers = [make() for make in PEERS]

    def score(self) -> Score:
        began_s = process_time()
        config = self._drawn.config
        resources: list[i.Input] = [*config.hosts, *config.environments, *config.queues]
        for happening in resources:
            step(self._state, happening, 0)
        driver = Driver(self._state, now_ms=0, fate_of=self._fate_of)
        driver.observe(self._note)
        driver.follow(self._drawn.asked)
        for at_ms, is_new in self._moments():
            driver.run(until_ms=at_ms)
            self._forecast(driver.now_ms, is_new)
        driver.run()
        score = Score()
        for each in self._open:
            started_ms = self._started.get(each.job_id)
            said, unmoved = _whole(each.said), _whole(each.unmoved)
            if started_ms is None:
                continue
            if said is None or unmoved is None:
                score.open_ended += 1
                continue
            ends, before = _since(each.made_ms, said), _since(each.made_ms, unmoved)
            start = started_ms - each.made_ms
            score.told.append(Told(each.is_new, ends, before, start, each.peers))
        score.cpu_s = process_time() - began_s
        return score

    def _moments(self) -> list[tuple[int, bool]]:
        """Draw when to ask: half of them right after something came in."""
        times = [at_ms for at_ms, _ in self._drawn.asked]
        low_ms, high_ms = _ASKED_FROM * times[-1], _ASKED_UNTIL * times[-1]
        within = [each for each in times if low_ms <= each <= high_ms]
        found = [(self._chance.choice(within), True) for _ in range(self._moment_count // 2)]
        while len(found) < self._moment_count:
            found.append((round(self._chance.uniform(low_ms, high_ms)), False))
        return sorted(found)

    def _fate_of(self, start: StartTask, _now_ms: int) -> Fate:
        run_ms, exit_code = self._drawn.attempts[start.job_id][start.attempt_number - 1]
        return Fate(run_ms=run_ms, exit_code=exit_code)

    def _note(self, events: Sequence[e.Event], now_ms: int) -> None:
        for event in events:
            match event:
                case e.AttemptStarted(job_id=job_id):
                    self._running[job_id] = (event.at_ms, None)
                    self._note_start(job_id, event.at_ms)
                case e.AttemptStopping(job_id=job_id) if job_id in self._running:
                    self._running[job_id] = (self._running[job_id][0], event.cause)
                case e.AttemptEnded(job_id=job_id) if job_id in self._running:
                    self._note_end(event)
                case _:
                    pass

    def _note_start(self, job_id: JobId, at_ms: int) -> None:
        whole_id = whole_id_of(job_id)
        if self._started.setdefault(whole_id, at_ms) == at_ms:
            queue_arn = self._drawn.origins[whole_id].kind.queue_arn
            for peer in self._peers:
                peer.note_start(queue_arn, whole_id, self._drawn.created_ms[whole_id], at_ms)

    def _note_end(self, event: e.AttemptEnded) -> None:
        started_ms, cause = self._running.pop(event.job_id)
        whole_id = whole_id_of(event.job_id)
        origin = self._drawn.origins[whole_id]
        for peer in self._peers:
            peer.note_run(origin.kind, event.at_ms - started_ms)
        if not is_telling(cause):
            return
        self._past.insert(
            0,
            PastAttempt(
                kind=origin.kind,
                batch=origin.batch,
                trait=origin.trait,
                starting_ms=0,
                running_ms=event.at_ms - started_ms,
                exit_code=event.exit_code if cause is None else 0,
                reason=event.reason,
                stopped_ms=event.at_ms,
            ),
        )

    def _forecast(self, now_ms: int, is_new: bool) -> None:
        """Forecast jobs of one queue that wait and were not asked about before."""
        wanted = self._choose(now_ms, is_new)
        if not wanted:
            return
        state, origins = self._state, self._drawn.origins
        queue_arn = state.jobs[wanted[0]].queue_arn
        came = [
            PastArrival(origin=origins[each.job.id], job=each.job)
            for at_ms, each in self._drawn.asked
            if at_ms <= now_ms and isinstance(each, i.AcceptJob)
        ]
        queues = whose_matter(state, [queue_arn]) if self._has_arrivals else []
        past = past_of(came, queues, now_ms=now_ms, first_seq=1_000_000)
        yard = Yard(
            now_ms=now_ms,
            origins=origins,
            history=History(self._past),
            seed=self._seed,
            running_ms=running_of(state, origins, now_ms),
            past=past,
        )
        question = Question(wanted=tuple(wanted))
        yard.history.prepare(live_by_kind(state, yard))

        def make(number: int, bounds: Bounds) -> Seen:
            return _decode(on_a_copy(lambda: _encode(see(state, yard, question, number, bounds))))

        found = look(make, Limits(runs_max=self._runs, turns_per_run_max=_TURNS_MAX))
        future = future_of(found, yard, wanted, shown=range(len(wanted)))
        stretch = self._stretch(queue_arn, now_ms)
        for each in future.jobs:
            said = stretched(each.start, stretch, now_ms)
            peers = tuple(peer.ask(state, self._drawn, each.job_id, now_ms) for peer in self._peers)
            self._open.append(
                Asked(each.job_id, queue_arn, now_ms, is_new, said, each.start, stretch, peers)
            )

    def _stretch(self, queue_arn: QueueArn, now_ms: int) -> Stretch:
        """Find what the ends are moved by, from what the store of such a yard would know."""
        every: list[PastForecast] = []
        of_queue: list[PastForecast] = []
        for each in self._open:
            started_ms = self._started.get(each.job_id)
            past = each.past(started_ms)
            if past is None or (started_ms is None and each.job_id not in self._state.jobs):
                continue
            every.append(past)
            if each.queue_arn == queue_arn:
                of_queue.append(past)
        return stretch_of(of_queue[-READ_MAX:], every[-READ_MAX:], now_ms)

    def _choose(self, now_ms: int, is_new: bool) -> list[JobId]:
        waiting = [
            each.id
            for each in self._state.jobs.values()
            if each.parent is None
            and each.progress.status in (JobStatus.RUNNABLE, JobStatus.PENDING)
            and each.id not in self._asked
            and each.id not in self._started
            and (not is_new or self._drawn.created_ms[each.id] == now_ms)
        ]
        if not waiting:
            return []
        queue_arn = self._state.jobs[self._chance.choice(waiting)].queue_arn
        in_queue = [each for each in waiting if self._state.jobs[each].queue_arn == queue_arn]
        wanted = self._chance.sample(in_queue, min(JOBS_PER_MOMENT, len(in_queue)))
        self._asked.update(wanted)
        return wanted


def _whole(interval: Interval) -> tuple[int, int, int] | None:
    """Give all ends; None: one is not known."""
    low_ms, middle_ms, high_ms = interval.p10_ms, interval.p50_ms, interval.p90_ms
    if low_ms is None or middle_ms is None or high_ms is None:
        return None
    return low_ms, middle_ms, high_ms


def _since(made_ms: int, ends: tuple[int, int, int]) -> Ends:
    low_ms, middle_ms, high_ms = ends
    return low_ms - made_ms, middle_ms - made_ms, high_ms - made_ms


def pinball(told: Iterable[tuple[Ends, float]]) -> float:
    """Give the mean pinball loss of quantiles at 10, 50 and 90 %, in minutes."""
    losses = [
        max(level * (start - end), (level - 1) * (start - end))
        for ends, start in told
        for level, end in zip((0.1, 0.5, 0.9), ends, strict=True)
    ]
    return fmean(losses) / _MINUTE if losses else 0.0


async def run() -> bool:
    """Walk over all worlds."""
    return walk(_parser().parse_args([]))


def walk(chosen: argparse.Namespace) -> bool:
    print(_HEAD)
    groups = {"tuned on": Score(), "held out": Score(), "all": Score()}
    for world in WORLDS:
        if chosen.only and chosen.only not in world.name:
            continue
        if chosen.group and world.held_out is not (chosen.group == "held-out"):
            continue
        score = Score()
        for seed in range(chosen.first_seed, chosen.first_seed + chosen.worlds):
            score.add(Walk(world, seed, chosen).score())
        _print(world.name, score)
        groups["held out" if world.held_out else "tuned on"].add(score)
        groups["all"].add(score)
    for name, score in groups.items():
        _print(name, score)
    told = groups["all"].told
    for name, is_new in (("as they came in", True), ("while they waited", False)):
        _print(name, Score([each for each in told if each.is_new is is_new]))
    held = groups["all"].share(0)
    is_met = GOAL[0] <= held <= GOAL[1]
    print(f"  goal: {GOAL[0]:.0%} to {GOAL[1]:.0%} held; met: {is_met}")
    return is_met


_HEAD = (
    f"  {'':26}  {'':18}  {'as said':^31}  {'as the runs had it':^31}\n"
    f"  {'':26}  asked  open  lead"
    + "  held  early  late  width   loss" * 2
    + "  of waits  of backlog  cpu s"
)


def _print(name: str, score: Score) -> None:
    """Print a line: widths in parts of the wait, leads and losses in minutes."""
    told = score.told
    if not told:
        return
    loss = pinball((each.ends, each.start) for each in told)
    peers = [
        loss / max(pinball((each.peers[number], each.start) for each in told), 1e-9)
        for number in range(len(PEERS))
    ]
    lead = median(each.start for each in told) / _MINUTE
    said = _columns(score.share, [(each.ends, each.start) for each in told])
    unmoved = _columns(score.share_unmoved, [(each.unmoved, each.start) for each in told])
    print(
        f"  {name:26}  {len(told):>5}  {score.open_ended:>4}  {lead:>4.0f}  {said}  {unmoved}"
        f"  {peers[0]:>8.2f}  {peers[1]:>10.2f}  {score.cpu_s:>5.0f}",
        flush=True,
    )


def _columns(share: Callable[[int], float], told: Sequence[tuple[Ends, float]]) -> str:
    width = median((ends[2] - ends[0]) / max(start, 1) for ends, start in told)
    return (
        f"{share(0):>4.0%}  {share(-1):>5.0%}  {share(1):>4.0%}  {width:>5.2f}"
        f"  {pinball(told):>5.1f}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.forecast", description=__doc__)
    parser.add_argument("--worlds", type=int, default=6, help="of each kind")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=19)
    parser.add_argument("--moments", type=int, default=MOMENTS, help="when is asked, of each")
    parser.add_argument("--only", help="a part of a world's name")
    parser.add_argument("--group", choices=("tuned-on", "held-out"))
    parser.add_argument(
        "--no-arrivals", dest="arrivals", action="store_false", help="expect nobody to come in"
    )
    return parser


def main() -> int:
    return 0 if walk(_parser().parse_args()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
