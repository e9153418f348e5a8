"""The line that DescribeJobs and ListJobs show of jobs that wait, as far as the API decides it."""

from __future__ import annotations

import pytest

from batchyard.model.ids import JobId
from batchyard.model.queue_snapshots import FrontJob, QueueSnapshot
from batchyard.model.records import ArrayProgress, JobProgress
from batchyard.model.status import JobStatus
from batchyard.store.snapshots import write_snapshots
from tests.api.conftest import SCOPE, Yard

HEAD = "Asked 4 vCPUs; the machine has 1 vCPU free; short by 3 vCPUs."


async def stand(yard: Yard, *ids: str, more: int = 0) -> None:
    """Let the engine have seen these jobs at the front of the queue."""
    others = [f"00000000-0000-4000-8000-{number:012d}" for number in range(more)]
    front = tuple(FrontJob(job_id=JobId(each), since_ms=1) for each in (*ids, *others))
    snapshot = QueueSnapshot(jobs=front, front_ms=1, used_ms=1, head_waits_for=HEAD)
    arn = SCOPE.queue_arn("jq")
    await yard.store.write(lambda conn: write_snapshots(conn, {arn: snapshot}))


async def runnable(yard: Yard) -> str:
    job_id = await yard.submit()
    await yard.progress(job_id, JobProgress(status=JobStatus.RUNNABLE))
    return job_id


async def line_of(yard: Yard, job_id: str) -> str:
    """Give the line, which both operations must agree about."""
    described = (await yard.job(job_id))["statusReason"]
    status = (await yard.job(job_id))["status"]
    listed = (await yard.call("ListJobs", jobQueue="jq", jobStatus=status))["jobSummaryList"]
    assert [each["statusReason"] for each in listed if each["jobId"] == job_id] == [described]
    return str(described)


async def test_a_runnable_job_says_who_stands_before_it(ready: Yard):
    first, second, third = [await runnable(ready) for _ in range(3)]
    assert await line_of(ready, first) == (
        "It has just become RUNNABLE, the first of its job queue: the next round looks for room."
    )
    await stand(ready, first)
    assert await line_of(ready, second) == (
        "It has just become RUNNABLE; 1 job of its job queue waited already. The first waits:"
        f" {HEAD}"
    )
    await stand(ready, first, second, third)
    assert await line_of(ready, first) == HEAD
    assert await line_of(ready, second) == (
        f"1 job of its job queue stands before it. The first waits: {HEAD}"
    )
    assert await line_of(ready, third) == (
        f"2 jobs of its job queue stand before it. The first waits: {HEAD}"
    )
    await stand(ready, more=100)
    assert await line_of(ready, third) == (
        f"More than 100 jobs of its job queue stand before it. The first waits: {HEAD}"
    )


async def test_a_reason_of_aws_is_left_alone(ready: Yard):
    job_id = await ready.submit()
    reason = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - …"
    progress = JobProgress(status=JobStatus.RUNNABLE, status_reason=reason, blocked_ms=1)
    await ready.progress(job_id, progress)
    await stand(ready, job_id)
    assert await line_of(ready, job_id) == reason


async def test_a_pending_job_names_what_it_waits_for(ready: Yard):
    done, running, late = [await ready.submit() for _ in range(3)]
    await ready.progress(done, JobProgress(status=JobStatus.SUCCEEDED, stopped_ms=1))
    await ready.progress(running, JobProgress(status=JobStatus.RUNNING, started_ms=1))
    waits = [{"jobId": each} for each in (done, running, late)]
    job_id = await ready.submit(dependsOn=waits)
    await ready.progress(job_id, JobProgress(status=JobStatus.PENDING))
    assert await line_of(ready, job_id) == (
        f"Waits for job {running}, which is RUNNING, and for 1 more."
    )
    for each in (running, late):
        await ready.progress(each, JobProgress(status=JobStatus.SUCCEEDED, stopped_ms=1))
    assert await line_of(ready, job_id) == "What it waited for has just ended."


async def test_a_child_names_its_counterpart_and_the_child_before_it(ready: Yard):
    size = {"size": 3}
    first = await ready.submit(arrayProperties=size)
    waits = [{"jobId": first, "type": "N_TO_N"}, {"type": "SEQUENTIAL"}]
    array = await ready.submit(arrayProperties=size, dependsOn=waits)
    for each, rest in ((first, JobStatus.RUNNABLE), (array, JobStatus.PENDING)):
        progress = ArrayProgress(size=3, rest=rest, rest_count=3)
        await ready.progress(each, JobProgress(status=JobStatus.PENDING, array=progress))
    assert (await ready.job(f"{array}:0"))["statusReason"] == (
        f"Waits for job {first}:0, which is RUNNABLE."
    )
    assert (await ready.job(f"{array}:2"))["statusReason"] == (
        f"Waits for job {first}:2, which is RUNNABLE, and for 1 more."
    )


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.SUCCEEDED])
async def test_who_waits_for_nothing_says_nothing(ready: Yard, status: JobStatus):
    job_id = await ready.submit()
    stopped_ms = 2 if status.is_terminal else None
    await ready.progress(job_id, JobProgress(status=status, started_ms=1, stopped_ms=stopped_ms))
    assert "statusReason" not in await ready.job(job_id)
