"""ListContainerInstances and DescribeContainerInstances: the instances of an environment.

An instance that has ended stays to be described as INACTIVE for as long as the store keeps it.
"""

from datetime import UTC, datetime

from batchyard.api.ecs.service import (
    Service,
    find_cluster,
    missing,
    page_of,
    refuse_members,
    refuse_too_many,
    refuse_unknown,
)
from batchyard.core.instance_uses import InstanceUse
from batchyard.model.amounts import Amount
from batchyard.model.ecs_arns import container_instance_arn_of, instance_id_in
from batchyard.model.ids import EnvironmentArn, Scope
from batchyard.model.records import InstanceRecord, Json
from batchyard.store import Connection
from batchyard.store.instances import list_instances, read_instance
from batchyard.wire.call import Call

_CPU_UNITS_PER_VCPU = 1024
_MILLI = 1000
_STATUSES = ("ACTIVE", "DRAINING", "REGISTERING", "DEREGISTERING", "REGISTRATION_FAILED")
_INCLUDES = ("TAGS", "CONTAINER_INSTANCE_HEALTH")


async def list_container_instances(service: Service, call: Call, request: Json) -> Json:
    """Name the instances of a cluster that are there."""
    wanted: str | None = request.get("status")
    refuse_unknown([wanted], "status", _STATUSES)
    refuse_members(request, ["filter"])
    asked = page_of("ListContainerInstances", request)

    def read(conn: Connection) -> list[InstanceRecord]:
        return list_instances(conn, find_cluster(conn, call.scope, request).arn)

    page, token = asked.pick(
        _arn(call.scope, record)
        for record in await service.store.read(read)
        if wanted in (None, _status_of(record))
    )
    return {"containerInstanceArns": page, "nextToken": token}


async def describe_container_instances(service: Service, call: Call, request: Json) -> Json:
    """Show instances of a cluster, by ARN or by its last part."""
    asked: list[str] = request["containerInstances"]
    refuse_too_many(asked, "containerInstances")
    refuse_unknown(request.get("include") or (), "include", _INCLUDES)

    def read(conn: Connection) -> list[InstanceRecord | None]:
        cluster = find_cluster(conn, call.scope, request).arn
        return [_read(conn, call.scope, cluster, each) for each in asked]

    shown, failures = [], []
    for each, record in zip(asked, await service.store.read(read), strict=True):
        if record is None:
            failures.append(missing(each))
        else:
            use = service.find_use(record.id)
            shown.append(_shown(call.scope, _arn(call.scope, record), record, use))
    return {"containerInstances": shown, "failures": failures}


def _read(
    conn: Connection, scope: Scope, cluster: EnvironmentArn, asked: str
) -> InstanceRecord | None:
    record = read_instance(conn, instance_id_in(asked))
    if record is None or record.environment_arn != cluster:
        return None
    arn = _arn(scope, record)
    return record if asked in (arn, arn.rsplit("/", 1)[-1]) else None


def _arn(scope: Scope, record: InstanceRecord) -> str:
    return container_instance_arn_of(scope, record.environment_arn, record.id)


def _status_of(record: InstanceRecord) -> str:
    if record.terminated_ms is not None:
        return "INACTIVE"
    return "ACTIVE" if record.draining_for is None else "DRAINING"


def _shown(scope: Scope, arn: str, record: InstanceRecord, use: InstanceUse | None) -> Json:
    used = Amount() if use is None else use.used
    attributes = {
        "ecs.instance-type": record.instance_type,
        "ecs.availability-zone": f"{scope.region}a",
        "ecs.os-type": "linux",
    }
    return {
        "containerInstanceArn": arn,
        "ec2InstanceId": record.id,
        "status": _status_of(record),
        "agentConnected": record.terminated_ms is None,
        "registeredResources": _resources(record.capacity),
        "remainingResources": _resources(record.capacity - used),
        "runningTasksCount": 0 if use is None else len(use.job_ids),
        "pendingTasksCount": 0,
        "attributes": [{"name": name, "value": value} for name, value in attributes.items()],
        "registeredAt": datetime.fromtimestamp(record.ready_ms / _MILLI, UTC).timestamp(),
    }


def _resources(amount: Amount) -> list[Json]:
    quantities = {
        "CPU": amount.cpu_milli * _CPU_UNITS_PER_VCPU // _MILLI,
        "MEMORY": amount.memory_mib,
    }
    if amount.gpu_count:
        quantities["GPU"] = amount.gpu_count
    return [
        {"name": name, "type": "INTEGER", "integerValue": quantity}
        for name, quantity in quantities.items()
    ]
