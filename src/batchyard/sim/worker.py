"""The process that looks ahead: `python -m batchyard.sim.worker`, a task in, an answer out.

Owns how a live yard's state comes into a process of its own: read from the store, in one snapshot,
as an engine reads it at its start. So the server's engine does nothing for it. Refuses to write
anything anywhere. It is as nice to other processes as it can be.
"""

import os
import sys
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from batchyard.core.inputs import PutHost
from batchyard.core.state import State
from batchyard.engine.recovery import build_state, collector_at_rest, read_stored
from batchyard.model.forecast import Future
from batchyard.model.ids import JobId, QueueArn
from batchyard.model.status import JobStatus
from batchyard.model.what_if import Comparison
from batchyard.sim.arriving import past_of, running_of, whose_matter
from batchyard.sim.changing import Adjust, Arrivals, adjusting
from batchyard.sim.comparing import Looked, compare
from batchyard.sim.forking import on_a_copy
from batchyard.sim.forward import Bounds
from batchyard.sim.looking import (
    Question,
    See,
    Seen,
    Yard,
    first_to_start,
    future_of,
    live_by_kind,
    look,
    see,
)
from batchyard.sim.meaning import refusal_of
from batchyard.sim.past_runs import History
from batchyard.sim.task import Answer, Task
from batchyard.store import Connection
from batchyard.store.database import reading_beside
from batchyard.store.run_times import (
    PastArrival,
    read_origins_of_live,
    read_past_arrivals,
    read_past_attempts,
)

#: How many jobs of a queue are told of one by one.
JOBS_SHOWN_MAX = 20

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Seen).decode


def main() -> None:
    os.nice(10)
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=Task)
    sys.stdout.buffer.write(msgspec.json.encode(answer(task)))


def answer(task: Task) -> Answer:
    """Do what is asked for."""
    changes = task.changes
    with reading_beside(task.url) as conn:
        yard = Yard(
            now_ms=task.now_ms,
            origins=read_origins_of_live(conn),
            history=History(read_past_attempts(conn)),
            seed=task.seed,
        )
        came = read_past_arrivals(conn)
        state = _load(conn, task, lambda given: given)
        running_ms = running_of(state, yard.origins, yard.now_ms)
        yard = replace(yard, running_ms=running_ms)
        refusal = None if changes is None else refusal_of(state, changes, task.place)
        if refusal is not None:
            return Answer(refusal=refusal)
        other = None if changes is None else _load(conn, task, adjusting(changes))
    if other is None:
        return Answer(future=_future(state, yard, task, came))
    return Answer(comparison=_comparison(state, other, yard, task))


def _comparison(state: State, other: State, yard: Yard, task: Task) -> Comparison:
    """Look at both, one after the other, with half of the time for each."""
    assert task.changes is not None, "changes to compare with what is"
    arrivals = Arrivals(other, task.changes.submissions, task.now_ms)
    waiting = waiting_of(state, state.jobs, task.place)
    limits = replace(task.limits, wall_s=task.limits.wall_s and task.limits.wall_s / 2)
    sides: list[Looked] = []
    for each, wanted, coming in (
        (state, waiting, []),
        (other, [*waiting, *arrivals.ids], arrivals.coming),
    ):
        own = replace(yard, arrivals=coming, certain=arrivals.fates)
        question = Question(wanted=tuple(wanted), until_ended=True)
        found = look(copies(each, own, question), limits)
        sides.append(Looked(wanted=wanted, found=found))
    return compare(state, yard, arrivals.coming, sides[0], sides[1])


def copies(state: State, yard: Yard, question: Question) -> See:
    """Give what makes runs of a state that stays as it is."""
    yard.history.prepare(live_by_kind(state, yard))

    def make(number: int, bounds: Bounds) -> Seen:
        return _decode(on_a_copy(lambda: _encode(see(state, yard, question, number, bounds))))

    return make


def _load(conn: Connection, task: Task, adjust: Adjust) -> State:
    """Build a state of what is live, from inputs as they would have been."""
    with collector_at_rest():
        stored = read_stored(conn, task.launch_times)
        puts = tuple(each for each in map(adjust, stored.puts) if each is not None)
        offers = [PutHost(host_id=each.host_id, capacity=each.capacity) for each in task.offers]
        hosts = [each for each in map(adjust, offers) if isinstance(each, PutHost)]
        return build_state(replace(stored, puts=puts), hosts, task.now_ms)[0]


def _future(state: State, yard: Yard, task: Task, came: Sequence[PastArrival]) -> Future | None:
    """None: the job, or the queue, is not live."""
    limits = task.limits.parted()
    if task.job_id is not None:
        job = state.find(task.job_id)
        if job is None or job.progress.status.has_task:
            return None
        yard = _with_arrivals(state, yard, job.queue_arn, came)
        wanted: Sequence[JobId] = (task.job_id,)
        question = Question(wanted=tuple(wanted), until_ended=job.array is not None, is_paced=True)
        return future_of(look(copies(state, yard, question), limits), yard, wanted, shown=[0])
    assert task.queue_arn is not None, "a job, a queue, or changes"
    queue = state.queues.get(task.queue_arn)
    if queue is None:
        return None
    wanted = waiting_of(state, queue.jobs, task.place)
    if not wanted:
        return Future(at_ms=yard.now_ms, seed=yard.seed, run_count=0)
    yard = _with_arrivals(state, yard, queue.arn, came)
    question = Question(wanted=tuple(wanted), until_ended=True, is_paced=True)
    found = look(copies(state, yard, question), limits)
    return future_of(found, yard, wanted, shown=first_to_start(found, JOBS_SHOWN_MAX))


def _with_arrivals(
    state: State, yard: Yard, queue_arn: QueueArn, came: Sequence[PastArrival]
) -> Yard:
    """Expect others to come in where they may go ahead."""
    queues = whose_matter(state, [queue_arn])
    first_seq = 1 + max((job.seq for job in state.jobs.values()), default=0)
    past = past_of(came, queues, now_ms=yard.now_ms, first_seq=first_seq)
    return replace(yard, past=past)


def waiting_of(state: State, job_ids: Iterable[JobId], place: str) -> list[JobId]:
    """Name the whole jobs of an account and region that have not been placed.

    An array waits for as long as it has children that do not run.
    """
    waiting = (JobStatus.PENDING, JobStatus.RUNNABLE)
    return [
        each
        for each in job_ids
        if (job := state.jobs[each]).parent is None
        and job.progress.status in waiting
        and job.queue_arn.startswith(place)
    ]


if __name__ == "__main__":
    main()
