"""Graphs of dependencies in the pure core: what an edge costs, in a large graph beside a small one.

Each job depends on the 20 before it, as many as may be; then the first one is cancelled, and its
failure runs through the whole graph.
"""

from dataclasses import dataclass
from time import perf_counter

from batchyard.core.inputs import AcceptJob, CancelJob, Input, PutQueue
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.model.amounts import Amount
from batchyard.model.ids import JobId, QueueArn
from batchyard.model.limits import DEPENDENCIES_PER_JOB_MAX
from batchyard.model.records import JobProgress, QueuedJob
from batchyard.model.status import ResourceState

SMALL, LARGE = 5_000, 50_000
#: What is linear costs the same per edge; a larger memory is a slower one.
RATIO_GOAL = 2.0

_QUEUE = QueueArn("queue")


@dataclass(frozen=True, slots=True)
class _Cost:
    accept_us: float
    fail_us: float


async def run() -> bool:
    small, large = _cost_of(SMALL), _cost_of(LARGE)
    is_met = True
    for what, before, after in (
        ("to accept", small.accept_us, large.accept_us),
        ("to fail", small.fail_us, large.fail_us),
    ):
        ratio = after / before
        is_met &= ratio <= RATIO_GOAL
        print(
            f"  {what}: {before:.2f} us an edge of {_edges(SMALL):,}, {after:.2f} us an edge of"
            f" {_edges(LARGE):,} = {ratio:.2f} of it; goal: {RATIO_GOAL}"
        )
    return is_met


def _cost_of(job_count: int) -> _Cost:
    state = State()
    queue = PutQueue(
        arn=_QUEUE, seq=1, state=ResourceState.ENABLED, priority=1, environment_arns=()
    )
    step(state, queue, 0)
    accept_s = _time(state, *(_job(number) for number in range(job_count)))
    assert len(state.jobs) == job_count, "somebody did not wait"
    fail_s = _time(state, CancelJob(job_id=_id_of(0), reason="the first"))
    assert not state.jobs, "the failure did not reach everyone"
    edges = _edges(job_count)
    return _Cost(accept_us=accept_s / edges * 1e6, fail_us=fail_s / edges * 1e6)


def _edges(job_count: int) -> int:
    return job_count * DEPENDENCIES_PER_JOB_MAX


def _time(state: State, *happenings: Input) -> float:
    began = perf_counter()
    for happening in happenings:
        step(state, happening, 0)
    return perf_counter() - began


def _job(number: int) -> AcceptJob:
    before = range(max(0, number - DEPENDENCIES_PER_JOB_MAX), number)
    return AcceptJob(
        job=QueuedJob(
            seq=number,
            id=_id_of(number),
            queue_arn=_QUEUE,
            demand=Amount(cpu_milli=1000, memory_mib=1024),
            attempts_max=1,
            timeout_ms=None,
            depends_on=tuple(_id_of(each) for each in before),
            created_ms=0,
            progress=JobProgress(),
        ),
        finished={},
    )


def _id_of(number: int) -> JobId:
    return JobId(f"00000000-0000-4000-8000-{number:012d}")
