"""Many runs of one state into its future, and what they have in common.

Decides how many runs there are and what an interval is. Refuses to know how a run is made from a
state (`forward`) and how long attempts take (`durations`).

Rules: the number of runs follows from what the first one cost in turns, so equal states and seeds
give equal answers on any machine; only the bound on the clock, the last resort, may differ. What a
run did not reach counts as later than everything that any other run says about it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import nsmallest
from math import ceil, floor, inf
from statistics import median_low
from time import monotonic

from msgspec import Struct
from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.effects import StartTask
from batchyard.core.state import Job, State
from batchyard.model.forecast import BasisUse, Future, GaveUp, Interval, StartForecast
from batchyard.model.ids import JobId, whole_id_of
from batchyard.sim.arriving import Past
from batchyard.sim.changing import ComingIn
from batchyard.sim.durations import Draws
from batchyard.sim.fate import Fate
from batchyard.sim.forward import Bounds, End, Run, driver_of, run_forward
from batchyard.sim.paced_line import Left, held_ms
from batchyard.sim.pacing import Paces, waits
from batchyard.sim.past_runs import History
from batchyard.store.run_times import Kind, Origin

#: Ours: with so many the ends of an interval are known well enough.
RUNS_MAX = 100
#: Ours: fewer say nothing about its ends.
RUNS_MIN = 10
#: Ours: what all runs together, and one of them, may cost. A turn takes about half a millisecond.
TURNS_TOTAL = 30_000
TURNS_PER_RUN_MAX = 12_000
#: Ours: a month.
HORIZON_MS = 31 * 86_400_000


class Limits(Struct, frozen=True, kw_only=True):
    """What looking ahead may cost."""

    runs_max: int = RUNS_MAX
    turns_total: int = TURNS_TOTAL
    turns_per_run_max: int = TURNS_PER_RUN_MAX
    horizon_ms: int = HORIZON_MS
    #: Each run has its part of the seconds.
    is_parted: bool = False
    #: Seconds for all runs; None: no bound.
    wall_s: float | None = None

    def parted(self) -> "Limits":
        """Let none of the least runs that say something take what is meant for another.

        For runs whose pace tells the rest: many short ones say more than a few long ones.
        """
        return replace(self, turns_per_run_max=self.turns_total // RUNS_MIN, is_parted=True)


class Question(Struct, frozen=True, kw_only=True):
    """What a run is made for."""

    #: Live jobs, children or nodes, or jobs that come in later.
    wanted: tuple[JobId, ...]
    #: A run goes on until all of them have ended; else until they have started.
    until_ended: bool = False
    #: What a run did not come to is told by the pace of its line.
    is_paced: bool = False


class Seen(Struct, frozen=True, kw_only=True):
    """What one run says about what is wanted, in the order of that."""

    end: End
    reached_ms: int
    turn_count: int
    #: Everything that started in it, whether it is wanted or not.
    start_count: int
    started_ms: tuple[int | None, ...]
    ended_ms: tuple[int | None, ...]
    #: What of what is wanted is FAILED.
    failed: tuple[JobId, ...] = ()
    #: Whatever was stopped so that another job could start, and when first.
    preempted_ms: Mapping[JobId, int] = {}
    #: What it did not come to is told by the pace of lines.
    is_paced: bool = False
    #: What its run times rest on; of the first run alone.
    bases: tuple[BasisUse, ...] = ()

    def ended_unstarted(self, place: int) -> bool:
        """Tell whether what is wanted at a place ended without a start: what it needed failed."""
        return self.started_ms[place] is None and self.ended_ms[place] is not None


#: Makes a run, by its number, within bounds.
See = Callable[[int, Bounds], Seen]


class Yard(Struct, frozen=True, kw_only=True):
    """What a run needs to know besides the state."""

    now_ms: int
    origins: Mapping[JobId, Origin]
    history: History
    seed: int
    #: For how long what runs of each batch has done so.
    running_ms: Mapping[Origin, Sequence[int]] = {}
    #: What other jobs that come in are drawn from.
    past: Past | None = None
    #: What comes in later, with its moments; the same in every run.
    arrivals: Sequence[tuple[int, i.AcceptJob]] = ()
    #: What is known for certain of how attempts go.
    certain: Mapping[JobId, Fate] = {}


def live_by_kind(state: State, yard: Yard) -> dict[Kind, int]:
    """Count what lives of each kind, an array by its children; 0: it only may come in."""
    came = () if yard.past is None else yard.past.arrivals
    found = dict.fromkeys((each.origin.kind for each in came), 0)
    for job in state.jobs.values():
        origin = yard.origins.get(job.id)
        if origin is not None:
            array = job.progress.array
            count = 1 if array is None else array.size
            kind = yard.history.narrowed(origin, job.id).kind
            found[kind] = found.get(kind, 0) + count
    return found


def see(state: State, yard: Yard, question: Question, run_number: int, bounds: Bounds) -> Seen:
    """Make one run. The state is used up."""
    origins = dict(yard.origins)
    draws = Draws(
        yard.history,
        origins,
        yard.running_ms,
        seed=yard.seed,
        run=run_number,
        now_ms=yard.now_ms,
    )

    paces = Paces(state)

    def drawn(job: Job, job_id: JobId, number: int = 1, elapsed_ms: int | None = None) -> Fate:
        return yard.certain.get(whole_id_of(job_id)) or draws.fate_of(
            job_id, number, elapsed_ms=elapsed_ms, timeout_ms=job.timeout_ms
        )

    def fate_of(start: StartTask, now_ms: int) -> Fate:
        job = state.jobs[start.job_id]
        attempt = job.progress.attempt
        started_ms = None if attempt is None else attempt.started_ms
        elapsed_ms = None if started_ms is None else max(0, now_ms - started_ms)
        fate = drawn(job, job.id, start.attempt_number, elapsed_ms)
        if elapsed_ms is None:
            paces.note_start(job, start.attempt_number, fate, now_ms)
        else:
            paces.note_end(job, now_ms - elapsed_ms + held_ms(job, fate))
        return fate

    coming = ComingIn(yard.arrivals)
    driver = driver_of(state, yard.now_ms, fate_of, coming.in_time())
    driver.observe(coming.note)
    if question.is_paced:
        driver.observe(paces.note_events)
    if yard.past is not None:
        driver.follow(yard.past.laid_ahead(origins, seed=yard.seed, run=run_number))
    run = run_forward(driver, bounds, _ending(question))
    start_count = len(run.started_ms)
    is_paced = question.is_paced and run.end in (End.TURNS, End.CLOCK)
    if is_paced:
        _go_on(run, question, paces, Left(state, run.reached_ms, origins, drawn))
    return Seen(
        end=run.end,
        reached_ms=run.reached_ms,
        turn_count=run.turn_count,
        start_count=start_count,
        started_ms=tuple(run.started_ms.get(each) for each in question.wanted),
        ended_ms=tuple(run.ended_ms.get(each) for each in question.wanted),
        is_paced=is_paced,
        failed=tuple(each for each in question.wanted if each in run.failed),
        preempted_ms=run.preempted_ms,
        bases=() if run_number else tuple(yard.history.bases()),
    )


def _go_on(run: Run, question: Question, paces: Paces, left: Left) -> None:
    """Say of what is wanted, and was not come to, what is to be expected."""
    over = run.ended_ms if question.until_ended else run.started_ms
    missing = [each for each in question.wanted if each not in over]
    expected = paces.expect(left, missing)
    for job_id in missing:
        found, end_ms = expected.get(job_id), paces.end_ms.get(job_id, 0)
        if found is not None:
            run.started_ms.setdefault(job_id, found.start_ms)
            run.ended_ms[job_id] = max(found.end_ms, end_ms)
        elif end_ms and not waits(left.state.jobs[job_id]):
            run.ended_ms[job_id] = max(run.reached_ms, end_ms)


def look(make: See, limits: Limits) -> list[Seen]:
    """Make as many runs as the limits allow; at least one."""
    wall_s = inf if limits.wall_s is None else limits.wall_s
    part_s = wall_s / RUNS_MIN if limits.is_parted else wall_s
    until_s = monotonic() + wall_s

    def run(number: int) -> Seen:
        run_until_s = min(until_s, monotonic() + part_s)
        bounds = Bounds(
            horizon_ms=limits.horizon_ms,
            turns_max=limits.turns_per_run_max,
            clock_until_s=None if run_until_s == inf else run_until_s,
        )
        return make(number, bounds)

    first = run(0)
    found = [first]
    is_given_up = first.end in (End.TURNS, End.CLOCK) and not first.is_paced
    wanted = max(1 if is_given_up else RUNS_MIN, limits.turns_total // max(1, first.turn_count))
    for number in range(1, min(limits.runs_max, wanted)):
        left_s = until_s - monotonic()
        if left_s < 0 or (limits.is_parted and left_s < part_s / 2):
            break
        found.append(run(number))
    telling = [each for each in found if each.end is not End.CLOCK or each.is_paced]
    # A run that the clock cut says little; it would cast doubt on what all others say.
    return telling if len(telling) >= RUNS_MIN else found


def future_of(
    found: Sequence[Seen], yard: Yard, wanted: Sequence[JobId], shown: Iterable[int]
) -> Future:
    """Sum up runs: the wanted jobs at the places `shown` one by one, and all of them together."""
    incomplete = [each for each in found if not each.end.is_complete]
    paced = [each.start_count for each in found if each.is_paced]

    def interval(times: Sequence[int | None], place: int | None = None) -> Interval:
        """What a run neither came to nor tells otherwise may be any time after its end."""
        ends = [
            each.reached_ms
            for each, at_ms in zip(found, times, strict=True)
            if at_ms is None
            and not each.end.is_complete
            and (place is None or not each.ended_unstarted(place))
        ]
        return interval_of(times, min(ends, default=None))

    return Future(
        at_ms=yard.now_ms,
        seed=yard.seed,
        run_count=len(found),
        jobs=tuple(
            StartForecast(
                job_id=wanted[place],
                start=interval([each.started_ms[place] for each in found], place),
                started_count=sum(each.started_ms[place] is not None for each in found),
            )
            for place in shown
        ),
        waiting_count=len(wanted),
        all_started=interval([_last(each.started_ms) for each in found]),
        all_ended=interval([_last(each.ended_ms) for each in found]),
        gave_up=None if not incomplete else GaveUp(incomplete[0].end),
        reached_ms=min(each.reached_ms for each in found),
        reached_start_count=min(each.start_count for each in found),
        paced_after=min(paced, default=None),
        bases=found[0].bases,
        arrivals=None if yard.past is None else yard.past.use,
    )


def first_to_start(found: Sequence[Seen], count: int) -> list[int]:
    """Give the places of what starts first in the middle run."""
    never = float("inf")
    middles = [
        median_low([never if each is None else each for each in times])
        for times in zip(*(each.started_ms for each in found), strict=True)
    ]
    return nsmallest(count, range(len(middles)), key=lambda place: (middles[place], place))


def interval_of(times: Sequence[int | None], limit_ms: int | None) -> Interval:
    """Give the interval that holds eight of ten times, and the middle; None is later than all.

    `limit_ms`: nothing beyond it can be said.
    """
    count = len(times)
    known = sorted(each for each in times if each is not None)

    def at(rank: int) -> int | None:
        place = min(max(rank, 1), count) - 1
        if place >= len(known) or (limit_ms is not None and known[place] > limit_ms):
            return None
        return known[place]

    return Interval(
        p10_ms=at(floor((count + 1) * 0.1)),
        p50_ms=at(ceil(count * 0.5)),
        p90_ms=at(ceil((count + 1) * 0.9)),
    )


def _last(times: Sequence[int | None]) -> int | None:
    """Give the last of them; None if one is missing."""
    last = 0
    for each in times:
        if each is None:
            return None
        last = max(last, each)
    return last or None


def _ending(question: Question) -> Callable[[Run], bool]:
    """Tell, at a cost that does not grow with what is wanted, whether a run has shown it all."""
    wanted, place = question.wanted, 0

    def is_done(run: Run) -> bool:
        nonlocal place
        while place < len(wanted):
            each = wanted[place]
            is_shown = each in run.ended_ms
            if not is_shown and not question.until_ended:
                is_shown = each in run.started_ms
            if not is_shown:
                return False
            place += 1
        return True

    return is_done
