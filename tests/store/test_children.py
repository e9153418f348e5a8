"""Children of arrays and nodes: made up from their parent until they have a row of their own."""

from functools import partial

import pytest
from msgspec.structs import replace

from batchyard.model.ids import HostId, JobId, TaskId, child_id, node_id
from batchyard.model.records import (
    ArrayProgress,
    Attempt,
    JobProgress,
    NewJob,
    NodeGroup,
    NodePlan,
)
from batchyard.model.status import JobStatus
from batchyard.store import Connection, Store, children, events, jobs, live_jobs
from tests.store.builders import SCOPE, a_job

S = JobStatus


async def put(store: Store, job: NewJob, progress: JobProgress, **own: JobProgress) -> None:
    """Store a job with what has become of it, and of its children (`c3`) or nodes (`n0`)."""
    await store.append_job(job)
    spell = {"c": child_id, "n": node_id}
    parts = [(spell[name[0]](job.id, int(name[1:])), each) for name, each in own.items()]
    changed = [(job.id, progress), *parts]
    await store.write(lambda conn: live_jobs.write_progress(conn, changed))


def an_array_progress(rest: JobStatus | None, *, size: int, own: int = 0, **more) -> ArrayProgress:
    return ArrayProgress(size=size, rest=rest, rest_count=size - own, spawned_ms=77, **more)


def an_attempt(placed_ms: int) -> Attempt:
    return Attempt(
        number=1,
        task_id=TaskId(f"task-{placed_ms}"),
        environment_arn=SCOPE.environment_arn("ce"),
        host_id=HostId("h"),
        placed_ms=placed_ms,
    )


async def read(store: Store, *ids: JobId):
    return await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, ids))


async def page(store: Store, parent: NewJob, **how) -> list[tuple[int | None, str]]:
    how = {"statuses": None, "after_index": None, "limit": 100, **how}
    [record] = await read(store, parent.id)
    found = await store.read(lambda conn: children.list_children(conn, record, **how))
    return [(each.index, each.progress.status.value) for each in found]


async def test_a_child_without_a_row_is_what_its_parent_says(store: Store) -> None:
    array = a_job(array_size=3, tags={"a": "b"}, depends_on=(a_job().id,), is_sequential=True)
    await store.append_job(array)
    assert await read(store, child_id(array.id, 0)) == [], "not made yet"
    progress = JobProgress(
        status=S.PENDING, array=an_array_progress(S.RUNNABLE, size=3), is_cancelled=True
    )
    await store.write(lambda conn: live_jobs.write_progress(conn, [(array.id, progress)]))
    [parent, child] = await read(store, array.id, child_id(array.id, 2), child_id(array.id, 3))
    assert parent.progress == progress
    assert child.index == 2
    assert child.seq == parent.seq
    assert child.progress == JobProgress(status=S.RUNNABLE)
    assert child.job == replace(
        array, id=child_id(array.id, 2), created_ms=77, tags={}, depends_on=()
    )


async def test_the_rest_ends_as_its_parent_says(store: Store) -> None:
    array = a_job(array_size=2)
    rest = an_array_progress(
        S.FAILED, size=2, rest_status_reason="enough", rest_stopped_ms=99, own=1
    )
    gone = JobProgress(status=S.SUCCEEDED, stopped_ms=50)
    await put(store, array, JobProgress(array=rest, is_terminated=True), c1=gone)
    [first, second] = await read(store, child_id(array.id, 0), child_id(array.id, 1))
    assert first.progress == JobProgress(
        status=S.FAILED, status_reason="enough", stopped_ms=99, is_terminated=True
    )
    assert second.progress == gone


async def test_ids_that_mean_nothing_are_left_out(store: Store) -> None:
    array, nodes = a_job(array_size=2), a_job(nodes=a_plan(2))
    await put(store, array, JobProgress(array=an_array_progress(S.RUNNABLE, size=2)))
    await put(store, nodes, JobProgress(), n0=JobProgress(attempt=an_attempt(40)))
    asked = [
        node_id(array.id, 0),
        child_id(nodes.id, 0),
        node_id(nodes.id, 1),
        child_id(nodes.id, 9),
    ]
    assert await read(store, *asked) == []
    [node] = await read(store, node_id(nodes.id, 0))
    assert node.job.created_ms == 40, "a node was made with its first attempt"


def a_plan(count: int) -> NodePlan:
    return NodePlan(main_index=0, groups=(NodeGroup(count=count, demand=a_job().demand),))


async def test_pages_of_children_are_in_order_and_whole(store: Store) -> None:
    array = a_job(array_size=7)
    running, ended = JobProgress(status=S.RUNNING), JobProgress(status=S.FAILED, stopped_ms=5)
    rest = an_array_progress(S.RUNNABLE, size=7, own=3)
    await put(store, array, JobProgress(array=rest), c1=running, c3=ended, c6=running)
    everything = [
        *((0, "RUNNABLE"), (1, "RUNNING"), (2, "RUNNABLE"), (3, "FAILED")),
        *((4, "RUNNABLE"), (5, "RUNNABLE"), (6, "RUNNING")),
    ]
    assert await page(store, array) == everything
    assert await page(store, array, limit=3) == everything[:3]
    assert await page(store, array, limit=3, after_index=2) == everything[3:6]
    assert await page(store, array, after_index=6) == []
    waiting = [each for each in everything if each[1] == "RUNNABLE"]
    assert await page(store, array, statuses=[S.RUNNABLE]) == waiting
    assert await page(store, array, statuses=[S.RUNNABLE], limit=2, after_index=0) == waiting[1:3]
    assert await page(store, array, statuses=[S.RUNNING]) == [(1, "RUNNING"), (6, "RUNNING")]
    assert await page(store, array, statuses=[S.RUNNING], limit=1, after_index=1) == [
        (6, "RUNNING")
    ]
    assert await page(store, array, statuses=[S.SUCCEEDED]) == []


async def test_the_engine_finds_what_is_live(store: Store) -> None:
    array, nodes, over = a_job(array_size=4), a_job(nodes=a_plan(2)), a_job(array_size=2)
    running = JobProgress(status=S.RUNNING, attempt=an_attempt(1))
    waiting = JobProgress(status=S.RUNNABLE)
    ended = JobProgress(status=S.SUCCEEDED, stopped_ms=9)
    live = JobProgress(status=S.PENDING, array=an_array_progress(S.RUNNABLE, size=4))
    await put(store, array, live, c0=ended, c2=running, c3=waiting)
    main = JobProgress(status=S.RUNNING, attempt=an_attempt(2))
    await put(store, nodes, JobProgress(status=S.RUNNING), n0=main, n1=ended)
    await put(store, over, ended, c1=ended)
    loaded = await store.read(lambda conn: list(children.read_live_children(conn)))
    assert [(row.parent_id, row.index, row.progress) for row in loaded] == [
        (array.id, 2, running),
        (array.id, 3, waiting),
        (nodes.id, 0, main),
        (nodes.id, 1, ended),
    ]
    told = await store.read(lambda conn: list(children.read_live_statuses(conn)))
    assert sorted(told) == sorted(
        [
            *((array.id, 0, S.SUCCEEDED), (array.id, 2, S.RUNNING), (array.id, 3, S.RUNNABLE)),
            *((nodes.id, 0, S.RUNNING), (nodes.id, 1, S.SUCCEEDED)),
        ]
    )
    tasks = await store.read(live_jobs.read_placed_tasks)
    assert tasks == {"task-1", "task-2"}


async def test_statuses_are_told_of_children_too(store: Store) -> None:
    array, over = a_job(array_size=3), a_job(array_size=2)
    live = JobProgress(status=S.PENDING, array=an_array_progress(S.PENDING, size=3, own=1))
    await put(store, array, live, c1=JobProgress(status=S.RUNNING))
    failed = JobProgress(status=S.FAILED, stopped_ms=1, array=an_array_progress(S.FAILED, size=2))
    await put(store, over, failed, c0=JobProgress(status=S.SUCCEEDED, stopped_ms=1))
    ids = [array.id, child_id(array.id, 0), child_id(array.id, 1), child_id(array.id, 3)]
    statuses = await store.read(lambda conn: live_jobs.read_statuses(conn, ids))
    assert statuses == {ids[0]: S.PENDING, ids[1]: S.PENDING, ids[2]: S.RUNNING}
    asked = [array.id, over.id, a_job().id]
    ended = await store.read(lambda conn: live_jobs.read_ended_arrays(conn, asked))
    assert ended == {over.id: {0: S.SUCCEEDED, 1: S.FAILED}}


def _append(story: list[events.NewEvent], conn: Connection) -> None:
    events.append_events(conn, story)


@pytest.mark.parametrize("spell", [child_id, node_id])
async def test_what_is_purged_leaves_nothing(store: Store, spell) -> None:
    name = "c0" if spell is child_id else "n0"
    more = {"array_size": 2} if spell is child_id else {"nodes": a_plan(2)}
    job, other = a_job(**more), a_job(**more)
    ended = JobProgress(status=S.FAILED, stopped_ms=10)
    for each in (job, other):
        await put(
            store, each, replace(ended, stopped_ms=10 if each is job else 30), **{name: ended}
        )
        story = [(1, spell(each.id, 0), "JobFailed", 1, b"{}"), (1, each.id, "JobFailed", 1, b"{}")]
        await store.write(partial(_append, story))
    assert await store.write(lambda conn: jobs.delete_finished_before(conn, 20, 10)) == 1
    assert await read(store, job.id, spell(job.id, 0)) == []
    kept = await read(store, other.id, spell(other.id, 0))
    assert [each.job.id for each in kept] == [other.id, spell(other.id, 0)]

    def left(conn, job: NewJob) -> tuple[int, int]:
        whole, part = (events.read_events(conn, each) for each in (job.id, spell(job.id, 0)))
        return len(whole), len(part)

    assert await store.read(lambda conn: left(conn, job)) == (0, 0)
    assert await store.read(lambda conn: left(conn, other)) == (1, 1)
