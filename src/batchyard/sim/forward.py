"""A run of a live yard's state into the future, with bounds.

Owns what is noted of a run, and when it is given up. Refuses to decide what happens: that is the
driver's, and so the core's. The state is used up. Equal states, fates and bounds give equal runs,
unless the bound on the clock ends one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from time import monotonic

from batchyard.core import events as e
from batchyard.core import inputs as i
from batchyard.core.state import State
from batchyard.model.ids import JobId, is_part_id, split_part_id
from batchyard.sim.driver import Coming, Driver
from batchyard.sim.fate import FateOf


class End(StrEnum):
    """Why a run was over."""

    #: All that was asked for is known.
    DONE = "DONE"
    #: Nothing more would ever happen without somebody from outside.
    STILL = "STILL"
    #: As much virtual time as was allowed has passed.
    HORIZON = "HORIZON"
    #: As many turns as were allowed were taken.
    TURNS = "TURNS"
    #: It took longer than was allowed.
    CLOCK = "CLOCK"

    @property
    def is_complete(self) -> bool:
        """Tell whether what did not happen in the run never would."""
        return self in (End.DONE, End.STILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far a run may go."""

    horizon_ms: int
    turns_max: int
    #: On `time.monotonic`; None: it may take as long as it takes.
    clock_until_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Run:
    """What happened in a run, in Unix milliseconds; nothing of what was before."""

    end: End = End.STILL
    #: How far it came.
    reached_ms: int = 0
    turn_count: int = 0
    #: First starts; of a parent that of its first child or node.
    started_ms: dict[JobId, int] = field(default_factory=dict)
    ended_ms: dict[JobId, int] = field(default_factory=dict)
    #: What of that is FAILED.
    failed: dict[JobId, None] = field(default_factory=dict)
    #: When an attempt was first stopped so that another job could start.
    preempted_ms: dict[JobId, int] = field(default_factory=dict)


class _Over(Exception):
    """Ends a run from within."""

    def __init__(self, end: End) -> None:
        super().__init__(end)
        self.end = end


def run_forward(
    driver: Driver,
    bounds: Bounds,
    is_done: Callable[[Run], bool],
) -> Run:
    """Let time pass until `is_done`, or a bound is reached, or nothing is left to happen."""
    run = Run(reached_ms=driver.now_ms)
    horizon_ms = driver.now_ms + bounds.horizon_ms

    def observe(events: Sequence[e.Event], now_ms: int) -> None:
        run.reached_ms = now_ms
        _note(run, events, now_ms)
        if is_done(run):
            raise _Over(End.DONE)
        if driver.turn_count >= bounds.turns_max:
            raise _Over(End.TURNS)
        if bounds.clock_until_s is not None and monotonic() > bounds.clock_until_s:
            raise _Over(End.CLOCK)

    driver.observe(observe)
    try:
        driver.run(until_ms=horizon_ms)
    except _Over as over:
        run.end = over.end
    else:
        run.end = End.STILL if driver.next_ms() is None else End.HORIZON
        run.reached_ms = horizon_ms if run.end is End.HORIZON else run.reached_ms
    run.turn_count = driver.turn_count
    return run


def driver_of(
    state: State,
    now_ms: int,
    fate_of: FateOf,
    arrivals: Iterable[tuple[int, Coming]] = (),
) -> Driver:
    """Take over a live yard's state: what runs in it goes on, and a first round is due now."""
    driver = Driver(state, now_ms=now_ms, fate_of=fate_of)
    driver.adopt()
    driver.at(now_ms, i.Tick())
    driver.follow(arrivals)
    return driver


def _note(run: Run, events: Sequence[e.Event], now_ms: int) -> None:
    for event in events:
        match event:
            case e.AttemptStarted():
                run.started_ms.setdefault(event.job_id, event.at_ms)
                if is_part_id(event.job_id):
                    run.started_ms.setdefault(split_part_id(event.job_id)[0], event.at_ms)
            case e.JobSucceeded():
                run.ended_ms.setdefault(event.job_id, now_ms)
            case e.JobFailed():
                run.ended_ms.setdefault(event.job_id, now_ms)
                run.failed[event.job_id] = None
            case e.AttemptStopping() if event.cause.is_preemption:
                run.preempted_ms.setdefault(event.job_id, now_ms)
            case _:
                pass
