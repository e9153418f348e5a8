"""GetJobQueueSnapshot: who is next in a queue, and what it uses.

The engine writes down how each queue stands, at most once a second; this reads it
(reference/compute-and-scheduling.md section 2.6). There are no quota shares.
"""

from batchyard.api.batch.rules.names import is_arn_in, queue_arn_of
from batchyard.api.batch.service import Service
from batchyard.model.ids import Scope
from batchyard.model.records import Json, QueueRecord, QueueSnapshot
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
    return {
        "frontOfQueue": _front(call.scope, snapshot),
        "queueUtilization": _utilization(record, snapshot),
    }


def _front(scope: Scope, snapshot: QueueSnapshot) -> Json:
    return {
        "jobs": [
            {"jobArn": scope.job_arn(each.job_id), "earliestTimeAtPosition": each.since_ms}
            for each in snapshot.jobs
        ],
        "lastUpdatedAt": snapshot.front_ms,
    }


def _utilization(record: QueueRecord, snapshot: QueueSnapshot) -> Json:
    unit = "cpu" if record.detail["jobQueueType"] == "EKS" else "VCPU"
    usage = [{"capacityUnit": unit, "quantity": snapshot.cpu_milli / _MILLI}]
    return {
        "totalCapacityUsage": usage if snapshot.cpu_milli else [],
        "lastUpdatedAt": snapshot.used_ms,
    }
