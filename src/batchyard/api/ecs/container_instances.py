"""ListContainerInstances and DescribeContainerInstances: the instances of an environment.

An instance that has ended stays to be described as INACTIVE for as long as the store keeps it.
"""

from datetime import UTC, datetime

from batchyard.api.ecs.service import (
    Service,
    find_cluster,
    missing,
    page_of,
    refuse_too_many,
)
from batchyard.core.instance_uses import InstanceUse
from batchyard.model.amounts import Amount
from batchyard.model.ecs_arns import container_instance_arn_of
from batchyard.model.ids import EnvironmentArn, Scope
from batchyard.model.records import InstanceRecord, Json
from batchyard.model.refusal import Refusal
from batchyard.store import Connection
from batchyard.store.instances import page_instances
from batchyard.wire.call import Call

_CPU_UNITS_PER_VCPU = 1024
_MILLI = 1000
_STATUSES = ("ACTIVE", "DRAINING", "REGISTERING", "DEREGISTERING", "REGISTRATION_FAILED")
_READ_MAX = 100_000


async def list_container_instances(service: Service, call: Call, request: Json) -> Json:
    """Name the instances of a cluster that are there, in the order of their launch."""
    wanted: str | None = request.get("status")
    if wanted is not None and wanted not in _STATUSES:
        raise Refusal("InvalidParameterException", f"status must be one of {', '.join(_STATUSES)}.")
    if request.get("filter"):
        raise Refusal("InvalidParameterException", "filter is not supported yet by batchyard.")
    records = await service.store.read(
        lambda conn: _read(conn, call.scope, request, has_ended=False)
    )
    found = [_arn(call.scope, record) for record in records if wanted in (None, _status_of(record))]
    page, token = page_of(found, request)
    return {"containerInstanceArns": page, "nextToken": token}


async def describe_container_instances(service: Service, call: Call, request: Json) -> Json:
    """Show instances of a cluster, by ARN or by its last part."""
    asked: list[str] = request["containerInstances"]
    refuse_too_many(asked, "containerInstances")
    records = await service.store.read(
        lambda conn: _read(conn, call.scope, request, has_ended=True)
    )
    known = {_arn(call.scope, record): record for record in records}
    by_id = {arn.rsplit("/", 1)[-1]: arn for arn in known}
    shown, failures = [], []
    for each in asked:
        arn = each if each in known else by_id.get(each)
        if arn is None:
            failures.append(missing(each))
        else:
            use = service.find_use(known[arn].id)
            shown.append(_shown(call.scope, arn, known[arn], use))
    return {"containerInstances": shown, "failures": failures}


def _read(
    conn: Connection, scope: Scope, request: Json, *, has_ended: bool
) -> list[InstanceRecord]:
    arn: EnvironmentArn = find_cluster(conn, scope, request).arn
    found = page_instances(conn, arn, after_seq=0, limit=_READ_MAX, has_ended=has_ended)
    return [record for _, record in found if record.environment_arn == arn]


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
