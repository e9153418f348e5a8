"""SubmitJob into shares, what is shown of them, and how many there may be."""

from __future__ import annotations

import pytest

from batchyard.model.ids import JobId
from batchyard.model.records import JobProgress, ShareRecord
from batchyard.model.status import JobStatus
from batchyard.store.shares import write_shares
from tests.api.conftest import NOW_MS, Yard
from tests.api.test_policies import queue_with

QUEUE = "fair"
TOO_MANY = "A job queue cannot have more than 500 active share identifiers."


@pytest.fixture
async def fair(ready: Yard) -> Yard:
    """A ready account with the queue `fair`, and the definition `ranked` of priority 7."""
    await ready.call("CreateSchedulingPolicy", name="p", fairsharePolicy={"shareDecaySeconds": 900})
    await queue_with(ready)
    await ready.define("ranked", schedulingPriority=7)
    return ready


async def submit(yard: Yard, share: str = "a", **members) -> JobId:
    request = {"jobQueue": QUEUE, "jobDefinition": "ranked", "shareIdentifier": share, **members}
    return await yard.submit(**request)


async def test_share_and_priority_are_kept_and_shown(fair: Yard) -> None:
    plain = await submit(fair, "TeamA1")
    urgent = await submit(fair, "b", schedulingPriorityOverride=9999)
    bottom = await submit(fair, "b", jobDefinition="jd", schedulingPriorityOverride=0)
    found = [await fair.job(each) for each in (plain, urgent, bottom)]
    assert [(job["shareIdentifier"], job["schedulingPriority"]) for job in found] == [
        ("TeamA1", 7),
        ("b", 9999),
        ("b", 0),
    ]
    record = await fair.record(urgent)
    assert (record.job.share_identifier, record.job.scheduling_priority) == ("b", 9999)


async def test_jobs_of_plain_queues_have_neither_whatever_their_definition_says(
    fair: Yard,
) -> None:
    job_id = await fair.submit(jobDefinition="ranked")
    assert {"shareIdentifier", "schedulingPriority"}.isdisjoint(await fair.job(job_id))
    record = await fair.record(job_id)
    assert (record.job.share_identifier, record.job.scheduling_priority) == (None, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shareIdentifier": ""}, "shareIdentifier must be specified."),
        (
            {"jobDefinition": "jd"},
            "Either schedulingPriority in job definition or schedulingPriorityOverride should be"
            " specified.",
        ),
        (
            {"schedulingPriorityOverride": 10_000},
            "schedulingPriorityOverride must be between 0 and 9999.",
        ),
        (
            {"schedulingPriorityOverride": -1},
            "schedulingPriorityOverride must be between 0 and 9999.",
        ),
        *(
            (
                {"shareIdentifier": text},
                "shareIdentifier must be 1 to 255 letters and digits, and may end with an"
                " asterisk (*).",
            )
            for text in ("a-b", "a b", "*a", "ä", "a" * 256)
        ),
    ],
)
async def test_submissions_that_are_refused(fair: Yard, changes, message: str) -> None:
    request = {
        "jobName": "job",
        "jobQueue": QUEUE,
        "jobDefinition": "ranked",
        "shareIdentifier": "a",
        **changes,
    }
    assert await fair.refused("SubmitJob", **request) == message
    del request["shareIdentifier"]
    if "shareIdentifier" not in changes:
        assert await fair.refused("SubmitJob", **request) == "shareIdentifier must be specified."


async def test_the_filter_of_a_share_goes_with_a_status(fair: Yard) -> None:
    first, other, last = [await submit(fair, share) for share in ("a", "ab", "a")]

    async def listed(**request) -> list[str]:
        filters = [{"name": "SHARE_IDENTIFIER", "values": ["a"]}]
        answer = await fair.call("ListJobs", jobQueue=QUEUE, filters=filters, **request)
        assert all(job["shareIdentifier"] == "a" for job in answer["jobSummaryList"])
        return [job["jobId"] for job in answer["jobSummaryList"]]

    assert await listed() == [last, first]
    assert await listed(jobStatus="SUBMITTED") == [last, first]
    assert await listed(jobStatus="RUNNING") == []
    answer = await fair.call("ListJobs", jobQueue=QUEUE, jobStatus="SUBMITTED")
    shares = [job["shareIdentifier"] for job in answer["jobSummaryList"]]
    assert shares == ["a", "ab", "a"]
    assert other in [job["jobId"] for job in answer["jobSummaryList"]]


async def keep(yard: Yard, **share_by_identifier: ShareRecord | None) -> None:
    """Write what the engine would have of the shares of the queue."""
    arn = (await yard.call("DescribeJobQueues", jobQueues=[QUEUE]))["jobQueues"][0]["jobQueueArn"]
    changed = {(arn, identifier): record for identifier, record in share_by_identifier.items()}
    await yard.store.write(lambda conn: write_shares(conn, changed))


def a_share(*, live: int = 0, usage: int = 0, used_before_s: int = 0) -> ShareRecord:
    counted_ms = NOW_MS - 1000 * used_before_s
    return ShareRecord(live_count=live, usage=usage, counted_ms=counted_ms, cpu_milli=0)


async def test_there_are_at_most_500_active_shares(fair: Yard) -> None:
    many = {f"s{number}": a_share(live=1) for number in range(498)}
    await keep(
        fair,
        **many,
        recent=a_share(usage=1, used_before_s=899),
        over=a_share(usage=1, used_before_s=900),
        never=a_share(),
    )
    await submit(fair, "one", arrayProperties={"size": 2})
    request = {"jobName": "job", "jobQueue": QUEUE, "jobDefinition": "ranked"}
    for share in ("two", "over", "never"):
        assert await fair.refused("SubmitJob", shareIdentifier=share, **request) == TOO_MANY
    for share in ("one", "s0", "recent"):
        await submit(fair, share)
    await keep(fair, s1=None)
    await submit(fair, "two")
    assert await fair.refused("SubmitJob", shareIdentifier="over", **request) == TOO_MANY


async def test_a_share_is_looked_for_again_after_a_while(fair: Yard) -> None:
    ended = JobProgress(status=JobStatus.SUCCEEDED, stopped_ms=NOW_MS)
    await fair.progress(await submit(fair, "a"), ended)
    await keep(fair, **{f"s{number}": a_share(live=1) for number in range(500)})
    fair.now_ms += 999
    await fair.progress(await submit(fair, "a"), ended)
    fair.now_ms += 1
    request = {"jobName": "job", "jobQueue": QUEUE, "jobDefinition": "ranked"}
    assert await fair.refused("SubmitJob", shareIdentifier="a", **request) == TOO_MANY
