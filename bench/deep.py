"""A forecast of a job deep in a queue: what each simulated start costs, beside the core alone.

A state with 100,000 jobs that wait in line before one Fargate environment with 256 places. A run is
made on a fork of it, as the forecast makes one, until the job at place 5,000 has started; what is
read is the CPU time of the fork, its copying of memory included. Beside it, on a fork too, a loop
that gives the core the same number of ends and starts, with nothing around it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from time import process_time

from batchyard.core import inputs as i
from batchyard.core.cycle import run_turn
from batchyard.core.effects import StartTask
from batchyard.core.state import State
from batchyard.core.step import step, step_all
from batchyard.engine.recovery import collector_at_rest
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, JobId, Scope, TaskId
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.status import EnvironmentKind, ResourceState
from batchyard.sim.forking import on_a_copy
from batchyard.sim.forward import Bounds
from batchyard.sim.looking import Question, Yard, see
from batchyard.sim.past_runs import History
from batchyard.store.run_times import Kind, Origin, PastAttempt

JOBS = 100_000
PLACE = 5_000
SLOTS = 256
#: A simulated start may cost that much of what it costs the core alone.
GOAL = 2.5

_SCOPE = Scope("123456789012", "eu-central-1")
_QUEUE = _SCOPE.queue_arn("deep")
_ENVIRONMENT = _SCOPE.environment_arn("deep")
_DEFINITIONS = 5
_BATCH = 10
_PAST = 2000


@dataclass(frozen=True, slots=True)
class Deep:
    """What was measured, in microseconds of CPU time for each start."""

    forecast_us: float
    core_us: float


def measure() -> Deep:
    """Measure both on forks of one state."""
    with collector_at_rest():
        state = _state()
    yard = Yard(now_ms=1000, origins=_origins(), history=History(_past()), seed=1)
    question = Question(wanted=(_id_of(SLOTS + PLACE),))
    bounds = Bounds(horizon_ms=10**12, turns_max=10**9)
    return Deep(
        forecast_us=_us_on_a_copy(lambda: see(state, yard, question, 0, bounds).start_count),
        core_us=_us_on_a_copy(lambda: _run_bare(state)),
    )


def _us_on_a_copy(work: Callable[[], int]) -> float:
    def timed() -> bytes:
        began = process_time()
        count = work()
        return str((process_time() - began) / count * 1e6).encode()

    return float(on_a_copy(timed))


def _run_bare(state: State) -> int:
    running = list(state.job_by_task)
    for number in range(PLACE):
        now_ms = 1000 + number
        end = i.TaskEnded(task_id=running[number], at_ms=now_ms, exit_code=0, reason=None)
        running += _started(state, run_turn(state, [end, i.Tick()], now_ms).effects, now_ms)
    return PLACE


def _started(state: State, effects: Sequence[object], now_ms: int) -> list[TaskId]:
    tasks = [each.task_id for each in effects if isinstance(each, StartTask)]
    step_all(state, [i.TaskStarted(task_id=each, at_ms=now_ms) for each in tasks], now_ms)
    return tasks


def _state() -> State:
    state = State()
    ample = Amount(cpu_milli=10**9, memory_mib=10**9)
    step(state, i.PutHost(host_id=HostId("host"), capacity=ample), 0)
    step(
        state,
        i.PutEnvironment(
            arn=_ENVIRONMENT,
            kind=EnvironmentKind.FARGATE,
            state=ResourceState.ENABLED,
            cpu_milli_max=SLOTS * 1000,
        ),
        0,
    )
    queue = i.PutQueue(
        arn=_QUEUE,
        seq=1,
        state=ResourceState.ENABLED,
        priority=1,
        environment_arns=(_ENVIRONMENT,),
    )
    step(state, queue, 0)
    for number in range(1, SLOTS + JOBS + 1):
        step(state, _job(number), 0)
    _started(state, run_turn(state, [], 0).effects, 0)
    return state


def _job(number: int) -> i.AcceptJob:
    return i.AcceptJob(
        job=QueuedJob(
            seq=number,
            id=_id_of(number),
            queue_arn=_QUEUE,
            demand=Amount(cpu_milli=1000, memory_mib=1024),
            attempts_max=1,
            timeout_ms=None,
            depends_on=(),
            created_ms=0,
            progress=JobProgress(),
        ),
        finished={},
    )


def _kind(number: int) -> Kind:
    return Kind(f"definition{number % _DEFINITIONS}", _QUEUE)


def _origins() -> dict[JobId, Origin]:
    return {
        _id_of(number): Origin(_kind(number), str(number // _BATCH))
        for number in range(1, SLOTS + JOBS + 1)
    }


def _past() -> list[PastAttempt]:
    draw = Random(1)
    return [
        PastAttempt(
            kind=_kind(number),
            batch=f"past {number // _BATCH}",
            starting_ms=0,
            running_ms=round(1000 * draw.lognormvariate(6, 1)),
            exit_code=0,
            reason=None,
            stopped_ms=0,
        )
        for number in range(_PAST)
    ]


def _id_of(number: int) -> JobId:
    return JobId(f"00000000-0000-4000-8000-{number:012d}")
