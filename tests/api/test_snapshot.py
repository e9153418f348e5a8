"""GetJobQueueSnapshot, as far as the API decides about it."""

from __future__ import annotations

from typing import Any

from batchyard.model.ids import JobId, QueueArn
from batchyard.model.queue_snapshots import FrontJob, QueueSnapshot, ShareUse
from batchyard.store.snapshots import delete_snapshot, read_all_snapshots, write_snapshots
from tests.api.conftest import ELSEWHERE, SCOPE, Yard

PARENT = "00000000-0000-4000-8000-000000000000"


async def take(yard: Yard, arn: QueueArn, **members: Any) -> None:
    """Write what the engine would have seen."""
    snapshot = QueueSnapshot(front_ms=5, used_ms=7, **members)
    await yard.store.write(lambda conn: write_snapshots(conn, {arn: snapshot}))


async def test_what_the_engine_saw_is_shown(ready: Yard):
    arn = SCOPE.queue_arn("jq")
    jobs = tuple(
        FrontJob(job_id=JobId(f"{PARENT}{part}"), since_ms=since_ms)
        for part, since_ms in (("", 1), (":3", 2))
    )
    await take(ready, arn)
    await take(ready, arn, jobs=jobs, cpu_milli=2500)
    for text in ("jq", arn):
        assert await ready.call("GetJobQueueSnapshot", jobQueue=text) == {
            "frontOfQueue": {
                "jobs": [
                    {"jobArn": SCOPE.job_arn(JobId(PARENT)), "earliestTimeAtPosition": 1},
                    {"jobArn": SCOPE.job_arn(JobId(f"{PARENT}:3")), "earliestTimeAtPosition": 2},
                ],
                "lastUpdatedAt": 5,
            },
            "queueUtilization": {
                "totalCapacityUsage": [{"capacityUnit": "VCPU", "quantity": 2.5}],
                "lastUpdatedAt": 7,
            },
        }
    await ready.store.write(lambda conn: delete_snapshot(conn, arn))
    assert await ready.store.read(read_all_snapshots) == {}


async def test_a_queue_of_eks_counts_in_its_own_unit(ready: Yard):
    await ready.eks_environment()
    arn = await ready.queue("pods", "eks")
    await take(ready, arn, cpu_milli=250)
    answer = await ready.call("GetJobQueueSnapshot", jobQueue="pods")
    usage = answer["queueUtilization"]["totalCapacityUsage"]
    assert usage == [{"capacityUnit": "cpu", "quantity": 0.25}]


async def test_a_queue_that_does_nothing_has_empty_lists(ready: Yard):
    before = await ready.call("GetJobQueueSnapshot", jobQueue="jq")
    assert before == {"frontOfQueue": {"jobs": []}, "queueUtilization": {"totalCapacityUsage": []}}
    await take(ready, SCOPE.queue_arn("jq"))
    assert await ready.call("GetJobQueueSnapshot", jobQueue="jq") == {
        "frontOfQueue": {"jobs": [], "lastUpdatedAt": 5},
        "queueUtilization": {"totalCapacityUsage": [], "lastUpdatedAt": 7},
    }


async def test_unknown_and_foreign_queues_are_refused(ready: Yard):
    for arn in (SCOPE.queue_arn("gone"), ELSEWHERE.queue_arn("jq")):
        message = await ready.refused("GetJobQueueSnapshot", jobQueue=arn)
        assert message == f"{arn} does not exist"


async def test_shares_are_shown_by_what_they_hold(ready: Yard):
    arn = SCOPE.queue_arn("jq")
    top = (ShareUse(identifier="a", cpu_milli=2500), ShareUse(identifier="b", cpu_milli=250))
    await take(ready, arn, cpu_milli=2750, active_share_count=2, top_shares=top)
    answer = await ready.call("GetJobQueueSnapshot", jobQueue="jq")
    assert answer["queueUtilization"]["fairshareUtilization"] == {
        "activeShareCount": 2,
        "topCapacityUtilization": [
            {
                "shareIdentifier": name,
                "capacityUsage": [{"capacityUnit": "VCPU", "quantity": quantity}],
            }
            for name, quantity in (("a", 2.5), ("b", 0.25))
        ],
    }
    await take(ready, arn)
    answer = await ready.call("GetJobQueueSnapshot", jobQueue="jq")
    assert "fairshareUtilization" not in answer["queueUtilization"]
