"""Builders for looking ahead: a yard, a past, and runs of copies."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.cycle import run_turn
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.ids import TaskId
from batchyard.model.what_if import Changes
from batchyard.sim.changing import Arrivals
from batchyard.sim.comparing import Looked, compare
from batchyard.sim.forward import Bounds
from batchyard.sim.looking import Limits, Question, See, Seen, Yard, future_of, look, see
from batchyard.sim.past_runs import History
from batchyard.store.run_times import Kind, Origin, PastAttempt
from tests.builders import a_host, a_job, a_queue, an_environment, job_id, queue_arn

KIND = Kind("definition", queue_arn())


def a_past(run_s: Iterable[float], kind: Kind = KIND, exit_code: int = 0) -> list[PastAttempt]:
    return [
        PastAttempt(
            kind=kind,
            starting_ms=0,
            running_ms=round(each * 1000),
            exit_code=exit_code,
            reason=None,
            stopped_ms=0,
        )
        for each in run_s
    ]


def a_yard(*, vcpus: int = 1, jobs: int = 3, queue=None, **job) -> State:
    """A machine, and jobs of one vCPU at time 0: the first ones run, the others wait."""
    state = State()
    for happening in (
        a_host(cpu_milli=vcpus * 1000, memory_mib=10**6),
        an_environment(vcpus=vcpus),
        queue or a_queue(),
    ):
        step(state, happening, 0)
    come = [a_job(number, cpu_milli=1000, **job) for number in range(1, jobs + 1)]
    placed = run_turn(state, come, 0)
    starts = [each for each in placed.effects if hasattr(each, "attempt_number")]
    run_turn(state, [i.TaskStarted(task_id=TaskId(each.task_id), at_ms=0) for each in starts], 0)
    return state


def a_look(state: State, past: Iterable[PastAttempt], *, now_ms: int = 0, seed: int = 0) -> Yard:
    return Yard(
        now_ms=now_ms,
        origins={each: Origin(KIND, each) for each in state.jobs},
        history=History(list(past)),
        seed=seed,
    )


def copies(state: State, yard: Yard, question: Question) -> See:
    stored = pickle.dumps(state)

    def make(number: int, bounds: Bounds) -> Seen:
        return see(pickle.loads(stored), yard, question, number, bounds)  # noqa: S301 -- our own

    return make


def foretell(
    state: State,
    past: Iterable[PastAttempt],
    *numbers: int,
    now_ms: int = 0,
    seed: int = 0,
    until_ended: bool = False,
    limits: Limits | None = None,
    arrivals: Sequence[tuple[int, i.AcceptJob]] = (),
):
    """Look ahead for some jobs."""
    yard = a_look(state, past, now_ms=now_ms, seed=seed)
    origins = {each.job.id: Origin(KIND, each.job.id) for _, each in arrivals}
    yard = replace(yard, arrivals=arrivals, origins={**yard.origins, **origins})
    wanted = [job_id(each) for each in numbers]
    limits = limits or Limits()
    question = Question(wanted=tuple(wanted), until_ended=until_ended, is_paced=limits.is_parted)
    found = look(copies(state, yard, question), limits)
    return future_of(found, yard, wanted, shown=range(len(wanted)))


def compared_states(before: State, after: State, *, changes: Changes):
    """Compare two futures of what does not run yet; all live jobs take a minute."""
    arrivals = Arrivals(after, changes.submissions, 0)
    waiting = [each for each, job in before.jobs.items() if not job.progress.status.has_task]
    sides = []
    for state, wanted, coming in (
        (before, waiting, []),
        (after, [*waiting, *arrivals.ids], arrivals.coming),
    ):
        yard = a_look(state, a_past([60] * 5))
        yard = replace(yard, arrivals=coming, certain=arrivals.fates)
        question = Question(wanted=tuple(wanted), until_ended=True)
        sides.append(
            Looked(wanted=wanted, found=look(copies(state, yard, question), Limits(runs_max=3)))
        )
    return compare(before, yard, arrivals.coming, *sides)
