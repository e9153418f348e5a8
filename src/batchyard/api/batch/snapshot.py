"""GetJobQueueSnapshot: who is next in a queue, and what it uses.

The engine writes down how each queue stands, at most once a second; this reads it
(reference/compute-and-scheduling.md section 2.6).
"""

from collections.abc import Mapping

from batchyard.api.batch.rules.names import is_arn_in, queue_arn_of
from batchyard.api.batch.rules.service_rules import SAGEMAKER_TRAINING
from batchyard.api.batch.service import Service
from batchyard.model.queue_snapshots import FrontJob, QueueSnapshot, QuotaShareSnapshot
from batchyard.model.records import Json, QueueRecord
from batchyard.model.refusal import client_exception
from batchyard.store import Connection, queues
from batchyard.store.snapshots import read_snapshot
from batchyard.wire.call import Call

_MILLI = 1000


async def get_job_queue_snapshot(service: Service, call: Call, request: Json) -> Json:
    """Show the front of a queue and its use; empty before the engine has looked at it."""
    arn = queue_arn_of(call.scope, request["jobQueue"])

    def read(conn: Connection) -> tuple[QueueRecord | None, QueueSnapshot | None]:
        return queues.read_queue(conn, arn), read_snapshot(conn, arn)

    record, snapshot = await service.store.read(read)
    if record is None or not is_arn_in(call.scope, arn):
        raise client_exception(f"{arn} does not exist")
    if snapshot is None:
        return {"frontOfQueue": {"jobs": []}, "queueUtilization": {"totalCapacityUsage": []}}
    answer = {
        "frontOfQueue": _front(record, snapshot),
        "queueUtilization": _utilization(record, snapshot),
    }
    if snapshot.quota_shares:
        answer["frontOfQuotaShares"] = _fronts_of_shares(record, snapshot)
    return answer


def _front(queue: QueueRecord, snapshot: QueueSnapshot) -> Json:
    return {
        "jobs": [_front_job(queue, each) for each in snapshot.jobs],
        "lastUpdatedAt": snapshot.front_ms,
    }


def _fronts_of_shares(queue: QueueRecord, snapshot: QueueSnapshot) -> Json:
    return {
        "quotaShares": {
            each.name: [] if each.front is None else [_front_job(queue, each.front)]
            for each in snapshot.quota_shares
        },
        "lastUpdatedAt": snapshot.quota_front_ms,
    }


def _front_job(queue: QueueRecord, job: FrontJob) -> Json:
    arn_of = queue.scope.service_job_arn if _has_service_jobs(queue) else queue.scope.job_arn
    return {"jobArn": arn_of(job.job_id), "earliestTimeAtPosition": job.since_ms}


def _has_service_jobs(queue: QueueRecord) -> bool:
    return bool(queue.detail["jobQueueType"] == SAGEMAKER_TRAINING)


def _usage(queue: QueueRecord, cpu_milli: int, instances: Mapping[str, int]) -> list[Json]:
    """Say what jobs use: vCPUs, or instances by their types."""
    if _has_service_jobs(queue):
        return [
            {"capacityUnit": unit, "quantity": float(count)}
            for unit, count in sorted(instances.items())
        ]
    unit = "cpu" if queue.detail["jobQueueType"] == "EKS" else "VCPU"
    return [{"capacityUnit": unit, "quantity": cpu_milli / _MILLI}] if cpu_milli else []


def _utilization(record: QueueRecord, snapshot: QueueSnapshot) -> Json:
    shown: Json = {
        "totalCapacityUsage": _usage(record, snapshot.cpu_milli, snapshot.instances),
        "lastUpdatedAt": snapshot.used_ms,
    }
    if snapshot.active_share_count is not None:
        shown["fairshareUtilization"] = {
            "activeShareCount": snapshot.active_share_count,
            "topCapacityUtilization": [
                {
                    "shareIdentifier": each.identifier,
                    "capacityUsage": _usage(record, each.cpu_milli, each.instances),
                }
                for each in snapshot.top_shares
            ],
        }
    if snapshot.quota_shares:
        by_use = sorted(snapshot.quota_shares, key=lambda each: -sum(each.used.values()))
        shown["quotaShareUtilization"] = {
            "topCapacityUtilization": [
                {"quotaShareName": each.name, "capacityUsage": _usage_of(each)} for each in by_use
            ]
        }
    return shown


def _usage_of(share: QuotaShareSnapshot) -> list[Json]:
    return [
        {"capacityUnit": unit, "quantity": quantity / _MILLI}
        for unit, quantity in sorted(share.used.items())
    ]
