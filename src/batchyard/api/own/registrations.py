"""RegisterInstances, DeregisterInstance, GetInstanceWish: slices of machines for UNMANAGED
environments.

Decides what may be asked for, and writes it down as a wish. Refuses to know whether there is room:
the engine answers the wish, and GetInstanceWish shows the answer (decision 0013).
"""

import re

from batchyard.api.batch.environments import does_not_exist
from batchyard.api.batch.rules.names import environment_arn_of, is_arn_in
from batchyard.engine.catalogue import capacity_of_fact, facts_by_name
from batchyard.model.amounts import Amount
from batchyard.model.environment_kinds import kind_of_environment
from batchyard.model.ids import EnvironmentArn, HostId, Scope
from batchyard.model.instance_wishes import Deregistration, Registration
from batchyard.model.instances import InstanceId
from batchyard.model.limits import (
    ENVIRONMENT_COUNT_MAX,
    MEMORY_MIB_MIN,
    REGISTERED_COUNT_MAX,
    REGISTERED_GPUS_MAX,
    REGISTERED_MEMORY_MIB_MAX,
    REGISTERED_VCPUS_MAX,
)
from batchyard.model.records import InstanceRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import EnvironmentKind
from batchyard.store import Connection, Store, environments, instance_wishes, instances
from batchyard.wire.call import Call

_CUSTOM = "custom"
_CLUSTER = ":cluster/"
_WISH_ID = re.compile(r"[1-9][0-9]{0,17}")


async def register_instances(store: Store, call: Call, request: Json) -> Json:
    """Ask for slices of a machine as instances of an UNMANAGED environment: all of them or none."""
    count: int = request.get("count", 1)
    _check_range(count, "count", 1, REGISTERED_COUNT_MAX)
    name, capacity = _capacity_of(request)
    host: str | None = request.get("host") or None

    def ask(conn: Connection) -> int:
        arn = _find(conn, call.scope, request["computeEnvironment"])
        asked = Registration(
            environment_arn=arn,
            instance_type=name,
            capacity=capacity,
            count=count,
            host_id=None if host is None else HostId(host),
        )
        store.note_wish()
        return instance_wishes.add_instance_wish(conn, asked, at_ms=call.now_ms)

    return {"wishId": str(await store.write(ask))}


async def deregister_instance(store: Store, call: Call, request: Json) -> Json:
    """Ask for the end of a registered instance: with its last job, or by force at once."""
    instance_id = InstanceId(request["instanceId"])
    is_forced = bool(request.get("force"))

    def ask(conn: Connection) -> int:
        record = find_live(conn, call.scope, instance_id)
        _check_unmanaged(conn, record.environment_arn)
        asked = Deregistration(
            environment_arn=record.environment_arn, instance_id=instance_id, is_forced=is_forced
        )
        store.note_wish()
        return instance_wishes.add_instance_wish(conn, asked, at_ms=call.now_ms)

    return {"wishId": str(await store.write(ask))}


def find_live(conn: Connection, scope: Scope, instance_id: InstanceId) -> InstanceRecord:
    """Read an instance that is there. Refuses others."""
    record = instances.read_instance(conn, instance_id)
    if record is None or not is_arn_in(scope, record.environment_arn):
        raise client_exception(f"There is no instance {instance_id}.")
    if record.terminated_ms is not None:
        raise client_exception(f"Instance {instance_id} has ended: {record.cause}.")
    return record


async def get_instance_wish(store: Store, call: Call, request: Json) -> Json:
    """Show a wish, with the engine's answer once there is one."""
    text: str = request["wishId"]
    seq = int(text) if _WISH_ID.fullmatch(text) else 0
    wish = await store.read(lambda conn: instance_wishes.read_instance_wish(conn, seq))
    if wish is None or not is_arn_in(call.scope, wish.environment_arn):
        raise client_exception(f"There is no wish {text}.")
    shown: Json = {"wishId": text, "isSettled": wish.is_settled}
    if wish.refusal is not None:
        shown["refusal"] = wish.refusal
    return shown | {"instanceIds": list(wish.instance_ids)}


def _find(conn: Connection, scope: Scope, text: str) -> EnvironmentArn:
    """Find an UNMANAGED environment by its name, its ARN, or the ARN or name of its cluster."""
    known = environments.list_environments(conn, scope, 0, ENVIRONMENT_COUNT_MAX)
    arn = environment_arn_of(scope, text)
    for record in known:
        cluster: str = record.detail.get("ecsClusterArn", "")
        if record.arn == arn or text in (cluster, cluster.partition(_CLUSTER)[2]):
            _check_kind(record.detail, record.arn)
            return record.arn
    raise does_not_exist(arn)


def _check_unmanaged(conn: Connection, arn: EnvironmentArn) -> None:
    record = environments.read_environment(conn, arn)
    if record is not None:
        _check_kind(record.detail, arn)


def _check_kind(detail: Json, arn: EnvironmentArn) -> None:
    if kind_of_environment(detail) is not EnvironmentKind.UNMANAGED:
        raise client_exception(f"{arn} is MANAGED: it launches and ends its instances itself.")


def _capacity_of(request: Json) -> tuple[str, Amount]:
    """Give the type's name, and what jobs get of each instance."""
    name: str = request.get("instanceType") or ""
    sizes = [each for each in ("vcpus", "memoryMib", "gpus") if each in request]
    if name and sizes:
        raise client_exception(f"instanceType and {sizes[0]} cannot be given together.")
    if name:
        fact = facts_by_name().get(name)
        if fact is None:
            raise client_exception(f"There is no instance type {name}.")
        return name, capacity_of_fact(fact)
    if "vcpus" not in request or "memoryMib" not in request:
        raise client_exception("Either instanceType, or vcpus and memoryMib must be given.")
    _check_range(request["vcpus"], "vcpus", 1, REGISTERED_VCPUS_MAX)
    _check_range(request["memoryMib"], "memoryMib", MEMORY_MIB_MIN, REGISTERED_MEMORY_MIB_MAX)
    _check_range(request.get("gpus", 0), "gpus", 0, REGISTERED_GPUS_MAX)
    return _CUSTOM, Amount(
        cpu_milli=request["vcpus"] * 1000,
        memory_mib=request["memoryMib"],
        gpu_count=request.get("gpus", 0),
    )


def _check_range(value: int, member: str, least: int, most: int) -> None:
    if not least <= value <= most:
        raise client_exception(f"{member} must be between {least} and {most}.")
