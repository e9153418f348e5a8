"""What an explanation says would help does help, and one unit less does not.

Goal: each change that is told for a waiting job is sound (with it, made for real by the inputs that
callers and backends have, the job starts in the next round) and the smallest (with one unit less it
does not). Method: random environments, machines, queues and jobs, brought to rest; then each change
of each waiting job is carried out on a copy of the state. Also: every live job has a reason.
"""

from __future__ import annotations

from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from batchyard.core import inputs as i
from batchyard.core.bookkeeping import line_of, set_priority
from batchyard.core.explaining import explain
from batchyard.core.remembered import Remembered
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.supposing import amount_of
from batchyard.model.amounts import Amount
from batchyard.model.explanation import Cause, Change, ChangeKind
from batchyard.model.fargate_sizes import MEMORY_MIB_BY_CPU_MILLI
from batchyard.model.ids import HostId, JobId
from batchyard.model.status import JobStatus, ResourceState
from tests.builders import (
    a_consumable,
    a_host,
    a_job,
    a_launching_environment,
    a_policy,
    a_queue,
    an_environment,
    needs,
    run_round,
)

NOW_MS = 10_000
VCPU = 1000
#: Each example makes many copies of its state.
EXAMPLES_MAX = max(60, settings().max_examples // 10)


@st.composite
def yards(draw, boots_ms=(0,)) -> tuple[State, dict[object, i.Input]]:
    """A state at rest, and the inputs that made its resources."""
    made: dict[object, i.Input] = {}
    for number in range(draw(st.integers(1, 2))):
        host = a_host(
            host_id=HostId(f"h{number}"),
            cpu_milli=draw(st.integers(1, 5)) * 1000,
            memory_mib=draw(st.integers(1, 12)) * 700,
        )
        made[host.host_id] = host
    flags = st.booleans()
    for name in ("ce", "other"):
        environment = an_environment(name, vcpus=draw(st.integers(1, 5)), is_enabled=draw(flags))
        made[environment.arn] = environment
    launching = a_launching_environment(
        "ec2", vcpus=draw(st.integers(1, 4)), boot_ms=draw(st.sampled_from(boots_ms))
    )
    made[launching.arn] = launching
    license_ = a_consumable(given=draw(st.integers(0, 3)))
    made[license_.arn] = license_
    names = st.lists(st.sampled_from(["ce", "other", "ec2"]), min_size=1, max_size=2, unique=True)
    for seq, name in enumerate(("low", "high", "fair"), start=1):
        policy = a_policy(reservation=draw(st.sampled_from([0, 50]))) if name == "fair" else None
        queue = a_queue(
            name,
            seq=seq,
            priority=draw(st.integers(1, 4)),
            environments=draw(names),
            policy=policy,
        )
        made[queue.arn] = queue
    state = State()
    for each in made.values():
        step(state, each, NOW_MS)
    for number in range(1, draw(st.integers(2, 9))):
        name = draw(st.sampled_from(["low", "high", "fair"]))
        job = a_job(
            number,
            queue=name,
            cpu_milli=draw(st.sampled_from([250, 1000, 2000, 6000])),
            memory_mib=draw(st.sampled_from([100, 512, 2048, 5000])),
            needs=needs(license=draw(st.integers(1, 2))) if draw(flags) else (),
            share_identifier=draw(st.sampled_from("ab")) if name == "fair" else None,
            array_size=draw(st.sampled_from([None, None, None, 3])),
            scheduling_priority=draw(st.sampled_from([0, 1, 7])) if name == "fair" else None,
        )
        step(state, job, NOW_MS)
        if draw(flags):
            run_round(state, NOW_MS)
    for _ in range(4):
        run_round(state, NOW_MS)
    return state, made


def change_of(state: State, made: dict[object, i.Input], change: Change, by: int) -> State:
    """Carry a change out on a copy of the state."""
    other, sized = deepcopy(state), replace(change, by=by)
    other.remembered = Remembered()  # What is written here no event tells of.
    if change.kind is ChangeKind.ASK_FOR_LESS:
        job = other.find(JobId(change.subject))
        assert job is not None
        whole = job.parent or job  # A child asks for what its array asks for, as its siblings do.
        for each in [each for each in other.jobs.values() if (each.parent or each) is whole]:
            each.demand -= amount_of(sized)
        return other
    if change.kind is ChangeKind.RAISE_SCHEDULING_PRIORITY:
        _raise_priority(other, JobId(change.subject), by)
        return other
    after: i.Input
    before = made[change.subject]
    match before, change.kind:
        case i.PutEnvironment(), ChangeKind.RAISE_MAX_VCPUS:
            after = replace(before, cpu_milli_max=before.cpu_milli_max + 1000 * by)
        case i.PutEnvironment(), ChangeKind.ENABLE_ENVIRONMENT:
            after = replace(before, state=ResourceState.ENABLED if by else before.state)
        case i.PutHost(), ChangeKind.ADD_CAPACITY:
            after = replace(before, capacity=before.capacity + amount_of(sized))
        case i.PutConsumable(), ChangeKind.ADD_CONSUMABLE:
            after = replace(before, version=2, given=before.given + by)
        case i.PutQueue(), ChangeKind.RAISE_QUEUE_PRIORITY:
            after = replace(before, priority=before.priority + by)
        case i.PutQueue(), ChangeKind.LOWER_RESERVATION:
            assert before.policy is not None
            percent = before.policy.reservation_percent - by
            after = replace(before, policy=replace(before.policy, reservation_percent=percent))
        case _:
            raise AssertionError(change)
    step(other, after, NOW_MS)
    return other


def one_less(state: State, change: Change, job_id: JobId) -> int:
    """Give one unit less; of a Fargate job what makes the next larger size, or nothing."""
    job = state.find(job_id)
    assert job is not None
    less = change.by - 1
    if change.kind is ChangeKind.ASK_FOR_LESS and change.unit_milli != VCPU:
        while less and not is_fargate_size(job.demand - amount_of(replace(change, by=less))):
            less -= 1
    return less


def is_fargate_size(demand: Amount) -> bool:
    return demand.memory_mib in MEMORY_MIB_BY_CPU_MILLI.get(demand.cpu_milli, ())


def _raise_priority(state: State, job_id: JobId, by: int) -> None:
    """Let a job, or a whole array, have had a higher priority from the beginning.

    As `JobPrioritized` does for a service job: nothing can change it for others.
    """
    job = state.find(job_id)
    assert job is not None
    whole = job.parent or job
    line = line_of(state, whole)
    assert line is not None
    for each in [each for each in state.jobs.values() if each.parent is whole]:
        set_priority(state, each, each.priority + by)
    if whole.array is None:
        set_priority(state, whole, whole.priority + by)
        return
    whole.priority += by
    if whole.id in line:
        line.leave(whole.id)
        line.join_array(whole.id, whole.seq, whole.array.codes, priority=whole.priority)


def starts(state: State, job_id: JobId) -> bool:
    """Tell whether a job starts in the next round."""
    run_round(state, NOW_MS)
    job = state.find(job_id)
    return job is not None and job.progress.status is JobStatus.STARTING


def waiting_jobs(state: State) -> list[JobId]:
    found: list[JobId] = []
    for queue in state.queues.values():
        lines = [queue.line, *(share.line for share in queue.shares.values())]
        found += [job_id for line in lines for job_id in line]
    return found


def essence_of(state: State) -> tuple[object, ...]:
    """Give all that an explanation looks at."""
    jobs = {job.id: (job.demand, job.progress) for job in state.jobs.values()}
    things = (state.hosts, state.environments, state.consumables, state.instances)
    return (jobs, waiting_jobs(state), *things)


@settings(max_examples=EXAMPLES_MAX)
@given(yards())
def test_changes_help_and_are_the_smallest(yard) -> None:
    state, made = yard
    before = deepcopy(state)
    for job_id in waiting_jobs(state):
        told = explain(state, job_id, NOW_MS)
        assert told is not None
        for change in told.changes:
            assert starts(change_of(state, made, change, change.by), job_id), change
            less = one_less(state, change, job_id)
            assert not starts(change_of(state, made, change, less), job_id), change
    assert essence_of(before) == essence_of(state), "an explanation changed the state"


@settings(max_examples=EXAMPLES_MAX)
@given(yards(boots_ms=(0, 5_000)))
def test_every_live_job_has_a_reason_of_its_own(yard) -> None:
    state, _ = yard
    ids = [*state.jobs, *waiting_jobs(state)]
    for job_id in ids:
        told = explain(state, job_id, NOW_MS)
        assert told is not None
        assert told.summary.endswith(".")
        assert all(each.cause is not Cause.NOTHING for each in told.reasons), told


def test_a_job_without_any_memory_to_be_had_is_told_by_how_much() -> None:
    state = State()
    step(state, a_host(memory_mib=31_431), NOW_MS)
    step(state, an_environment(vcpus=8), NOW_MS)
    step(state, a_queue(), NOW_MS)
    step(state, a_job(1, memory_mib=32_000), NOW_MS)
    run_round(state, NOW_MS)
    told = explain(state, a_job(1).job.id, NOW_MS)
    assert told is not None
    assert told.summary == (
        "Asked 32,000 MiB; the machine, even when empty, has 31,431 MiB; short by 569 MiB."
    )
    assert [(each.kind, each.by) for each in told.changes] == [
        (ChangeKind.ASK_FOR_LESS, 569),
        (ChangeKind.ADD_CAPACITY, 569),
    ]


def test_a_job_that_stands_behind_others_of_its_share_is_told_by_how_much() -> None:
    state = State()
    for each in (a_host(), an_environment(vcpus=1), a_queue(policy=a_policy())):
        step(state, each, NOW_MS)
    step(state, a_job(1, share_identifier="a"), NOW_MS)
    run_round(state, NOW_MS)
    for number, priority in ((2, 5), (3, 0)):
        job = a_job(number, cpu_milli=250, share_identifier="a", scheduling_priority=priority)
        step(state, job, NOW_MS)
    step(state, replace(an_environment(vcpus=1), cpu_milli_max=1250), NOW_MS)
    told = explain(state, a_job(3).job.id, NOW_MS)
    assert told is not None
    found = [
        (each.kind, each.by)
        for each in told.changes
        if each.kind is ChangeKind.RAISE_SCHEDULING_PRIORITY
    ]
    # 5 would make them equal, and the other one was submitted first.
    assert found == [(ChangeKind.RAISE_SCHEDULING_PRIORITY, 6)]
