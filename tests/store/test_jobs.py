"""Jobs in the store: order, pages, filters, progress, retention; on both databases."""

import asyncio

from msgspec.structs import replace

from batchyard.model.ids import JobId, child_id, node_id
from batchyard.model.records import NodeGroup, NodePlan, WishKind
from batchyard.model.status import JobStatus
from batchyard.store import Store, events, jobs, live_jobs, wishes
from batchyard.store.jobs import JobFilter
from tests.store.builders import ELSEWHERE, QUEUE_ARN, SCOPE, a_job, an_attempt, progress


async def submit(store: Store, *new):
    for job in new:
        await store.append_job(job)


async def set_status(store: Store, job, status: JobStatus, **fields) -> None:
    change = [(job.id, progress(status, **fields))]
    await store.write(lambda conn: live_jobs.write_progress(conn, change))


async def list_ids(store: Store, **query):
    query = {"statuses": None, "before_seq": None, "limit": 100} | query
    found = await store.read(lambda conn: jobs.list_jobs(conn, QUEUE_ARN, **query))
    return [record.job.id for record in found]


async def test_a_job_comes_back_as_it_went_in(store: Store) -> None:
    job = a_job(tags={"team": "a\x00b"}, depends_on=(JobId("x"), JobId("y")), timeout_ms=60_000)
    await submit(store, job)
    [record] = await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, [job.id]))
    assert record.job == job
    assert record.progress == progress(JobStatus.SUBMITTED)
    [queued] = await store.read(lambda conn: live_jobs.read_submitted(conn, 10))
    assert (queued.seq, queued.id, queued.demand) == (record.seq, job.id, job.demand)
    assert queued.depends_on == job.depends_on


async def test_jobs_are_read_in_the_order_asked_and_only_in_their_scope(store: Store) -> None:
    ours = [a_job(), a_job()]
    foreign = a_job(scope=ELSEWHERE)
    await submit(store, *ours, foreign)
    asked = [ours[1].id, JobId("none"), foreign.id, ours[0].id]
    found = await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, asked))
    assert [record.job.id for record in found] == [ours[1].id, ours[0].id]
    any_scope = await store.read(lambda conn: jobs.read_specs(conn, asked))
    assert any_scope.keys() == {ours[0].id, ours[1].id, foreign.id}


async def test_submitted_jobs_are_read_oldest_first_until_the_engine_took_them(store: Store):
    new = [a_job() for _ in range(5)]
    await submit(store, *new)
    await set_status(store, new[0], JobStatus.RUNNABLE)
    found = await store.read(lambda conn: live_jobs.read_submitted(conn, 3))
    assert [job.id for job in found] == [job.id for job in new[1:4]]


async def test_live_jobs_come_by_seq(store: Store, monkeypatch) -> None:
    monkeypatch.setattr(live_jobs, "_PAGE_ROWS", 2)
    statuses = [*JobStatus] * 3
    new = [a_job() for _ in statuses]
    await submit(store, *new)
    for job, status in zip(new, statuses, strict=True):
        if status is not JobStatus.SUBMITTED:
            await set_status(store, job, status)
    live = [
        job.id
        for job, status in zip(new, statuses, strict=True)
        if status is not JobStatus.SUBMITTED and not status.is_terminal
    ]
    found = await store.read(lambda conn: list(live_jobs.read_live(conn)))
    assert [job.id for job in found] == live
    counts = await store.read(live_jobs.count_live)
    assert counts[JobStatus.RUNNABLE] == counts[JobStatus.SUBMITTED] == 3
    assert JobStatus.FAILED not in counts


async def test_progress_comes_back_whole(store: Store) -> None:
    job = a_job()
    await submit(store, job)
    made = progress(
        JobStatus.RUNNING,
        started_ms=5,
        attempts=(an_attempt(stopped_ms=9, exit_code=137, reason="OutOfMemoryError: \x00"),),
        attempt=an_attempt(number=2),
        wish_reason="because",
        is_terminated=True,
    )
    await store.write(lambda conn: live_jobs.write_progress(conn, [(job.id, made)]))
    [record] = await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, [job.id]))
    assert record.progress == made
    found = await store.read(lambda conn: live_jobs.read_statuses(conn, [job.id, JobId("none")]))
    assert found == {job.id: JobStatus.RUNNING}


async def test_pages_of_a_queue_stay_stable_while_jobs_arrive(store: Store) -> None:
    new = [a_job() for _ in range(7)]
    await submit(store, *new)
    seen: list[JobId] = []
    before: int | None = None

    def read(conn):
        wanted = [JobStatus.SUBMITTED]
        return jobs.list_jobs(conn, QUEUE_ARN, statuses=wanted, before_seq=before, limit=3)

    while page := await store.read(read):
        seen += [record.job.id for record in page]
        before = page[-1].seq
        await submit(store, a_job())
    assert seen == [job.id for job in reversed(new)]


async def test_a_queue_lists_its_own_jobs_newest_first_by_status(store: Store) -> None:
    new = [a_job() for _ in range(4)]
    await submit(store, *new, a_job(queue_arn=SCOPE.queue_arn("other")))
    await set_status(store, new[1], JobStatus.RUNNING)
    await set_status(store, new[2], JobStatus.FAILED)
    ids = [job.id for job in new]
    assert await list_ids(store) == ids[::-1]
    assert await list_ids(store, statuses=[JobStatus.RUNNING]) == [ids[1]]
    both = [JobStatus.FAILED, JobStatus.SUBMITTED]
    assert await list_ids(store, statuses=both) == [ids[3], ids[2], ids[0]]


async def test_filters_narrow_a_list(store: Store) -> None:
    plain = a_job(name="Train_1%", created_ms=10)
    other = a_job(name="trainer", created_ms=20, definition_arn=SCOPE.definition_arn("Train", 12))
    await submit(store, plain, other)

    async def found(**narrowed):
        return await list_ids(store, narrowed=JobFilter(**narrowed))

    assert await found(name="train_1%") == [plain.id]
    assert await found(name_prefix="TRAIN") == [other.id, plain.id]
    assert await found(name_prefix="train_") == [plain.id]
    assert await found(definition_arn=SCOPE.definition_arn("Train", 12)) == [other.id]
    prefix = SCOPE.arn("batch", "job-definition/train:")
    assert await found(definition_arn_prefix=prefix) == [plain.id]
    assert await found(created_after_ms=10) == [other.id]
    assert await found(created_before_ms=20) == [plain.id]


async def test_jobs_can_be_listed_name_by_name(store: Store) -> None:
    new = [a_job(name=name) for name in ("b", "a", "B", "b", "c", "a")]
    await submit(store, *new, a_job(name="b", queue_arn=SCOPE.queue_arn("other")))
    await set_status(store, new[3], JobStatus.FAILED)

    async def page(after, limit=2, narrowed=JobFilter(name_prefix="")):  # noqa: B008
        return await store.read_long(
            lambda conn: jobs.list_jobs_by_name(
                conn, QUEUE_ARN, narrowed=narrowed, after=after, limit=limit
            )
        )

    seen: list[tuple[str, JobId]] = []
    after: tuple[str, int] | None = None
    while found := await page(after):
        seen += [(record.job.name, record.job.id) for record in found]
        after = (found[-1].job.name, found[-1].seq)
        await submit(store, a_job(name=after[0]))  # newer than its group's first: not seen again
    names = [name for name, _ in seen]
    assert sorted(names) == ["B", "a", "a", "b", "b", "c"]
    assert [name for name in dict.fromkeys(names) for _ in range(names.count(name))] == names
    ids = {name: [job_id for each, job_id in seen if each == name] for name in names}
    assert ids["a"] == [new[5].id, new[1].id]
    assert ids["b"] == [new[3].id, new[0].id]
    only = await page(None, 10, JobFilter(name="C"))
    assert {record.job.name for record in only} == {"c"}


async def test_which_jobs_exist_is_told_without_reading_them(store: Store) -> None:
    ours, foreign = a_job(), a_job(scope=ELSEWHERE)
    ended, array = a_job(), a_job(array_size=3)
    nodes = a_job(nodes=NodePlan(main_index=0, groups=(NodeGroup(count=2, demand=ours.demand),)))
    await submit(store, ours, foreign, ended, array, nodes)
    await set_status(store, ended, JobStatus.SUCCEEDED)
    asked = [
        *(ended.id, foreign.id, JobId("none"), ours.id, ours.id, array.id),
        *(child_id(array.id, 2), child_id(array.id, 3), child_id(ours.id, 0)),
        *(node_id(nodes.id, 1), child_id(nodes.id, 1), node_id(array.id, 1)),
    ]
    found = await store.read(lambda conn: jobs.read_array_sizes(conn, SCOPE, asked))
    assert found == {ours.id: None, ended.id: None, array.id: 3, child_id(array.id, 2): None}
    assert await store.read(lambda conn: jobs.read_array_sizes(conn, SCOPE, [])) == {}


async def test_tags_of_a_job_are_replaced(store: Store) -> None:
    job = a_job(tags={"a": "1"})
    await submit(store, job)
    assert await store.write(lambda conn: jobs.write_job_tags(conn, job.id, {"b": "2"}))
    assert not await store.write(lambda conn: jobs.write_job_tags(conn, JobId("none"), {}))
    [record] = await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, [job.id]))
    assert record.job == replace(job, tags={"b": "2"})


async def test_retention_deletes_the_oldest_ended_jobs_and_what_hangs_on_them(store: Store):
    new = [a_job() for _ in range(4)]
    await submit(store, *new)
    for at_ms, job in enumerate(new[:3]):
        await set_status(store, job, JobStatus.SUCCEEDED, stopped_ms=at_ms)

    def add(conn):
        events.append_events(conn, [(1, job.id, "JobEnded", 1, b"{}") for job in new])
        wishes.add_wish(conn, WishKind.CANCEL, new[0].id, "late")

    await store.write(add)
    assert await store.write(lambda conn: jobs.delete_finished_before(conn, 2, 1)) == 1
    assert await list_ids(store) == [new[3].id, new[2].id, new[1].id]
    assert await store.write(lambda conn: jobs.delete_finished_before(conn, 2, 10)) == 1
    assert await store.write(lambda conn: jobs.delete_finished_before(conn, 2, 10)) == 0
    assert await list_ids(store) == [new[3].id, new[2].id]
    left = await store.read(lambda conn: events.read_events_after(conn, 0, 10))
    assert [event.job_id for event in left] == [new[2].id, new[3].id]
    assert await store.read(lambda conn: wishes.read_wishes(conn, 10)) == []


async def test_a_seq_is_never_used_twice(store: Store) -> None:
    first, second = a_job(), a_job()
    await submit(store, first)
    await set_status(store, first, JobStatus.SUCCEEDED, stopped_ms=1)
    [gone] = await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, [first.id]))
    await store.write(lambda conn: jobs.delete_finished_before(conn, 2, 10))
    await submit(store, second)
    [record] = await store.read(lambda conn: jobs.read_jobs(conn, SCOPE, [second.id]))
    assert record.seq > gone.seq


async def test_jobs_of_one_group_are_numbered_in_the_order_in_which_they_came(store: Store):
    new = [a_job() for _ in range(600)]
    await asyncio.gather(*(store.append_job(job) for job in new))
    found = await store.read(lambda conn: live_jobs.read_submitted(conn, 1000))
    assert [job.id for job in found] == [job.id for job in new]
