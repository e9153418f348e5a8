"""ListInstances, InterruptInstance, InterruptJob: what runs where, and what is reclaimed.

Decides what is shown of an instance, and what may be asked for. Refuses to know what comes of an
interruption: the engine answers the wish (see `registrations.get_instance_wish`).
"""

from collections.abc import Callable

from batchyard.api.batch.paging import page_size, read_token, write_token
from batchyard.api.batch.rules.names import environment_arn_of, is_arn_in
from batchyard.api.own.jobs import read_named_job
from batchyard.api.own.registrations import find_live
from batchyard.core.instance_uses import InstanceUse
from batchyard.model.amounts import Amount
from batchyard.model.instance_wishes import Interruption, TaskInterruption
from batchyard.model.instances import InstanceId
from batchyard.model.limits import SPOT_NOTICE_SECONDS, SPOT_NOTICE_SECONDS_MAX
from batchyard.model.records import InstanceRecord, Json
from batchyard.model.refusal import client_exception
from batchyard.store import Connection, Store, instance_wishes, instances
from batchyard.wire.call import Call

#: Tells what is on a live instance; None: it is not live, or this engine is not in charge.
FindUse = Callable[[InstanceId], InstanceUse | None]

_PAGE_SIZE = 100
_PAGE_SIZE_MAX = 1000
_MILLI = 1000


async def list_instances(store: Store, find_use: FindUse, call: Call, request: Json) -> Json:
    """Show instances in the order of their launch, with what is on each.

    A server whose engine is not in charge shows them without their use.
    """
    text: str = request.get("computeEnvironment") or ""
    arn = environment_arn_of(call.scope, text) if text else call.scope.environment_arn("")
    if not is_arn_in(call.scope, arn):
        raise client_exception(f"{arn} does not exist")
    has_ended = bool(request.get("includeEnded"))
    size = page_size(request.get("maxResults", _PAGE_SIZE), size_max=_PAGE_SIZE_MAX)
    query = ("ListInstances", arn, has_ended)
    after_seq = read_token(query, request.get("nextToken")) or 0
    found = await store.read(
        lambda conn: instances.page_instances(
            conn, arn, after_seq=after_seq, limit=size + 1, ended_after_ms=0 if has_ended else None
        )
    )
    answer: Json = {
        "instances": [
            _shown(record, find_use(record.id))
            for _, record in found[:size]
            if not text or record.environment_arn == arn
        ]
    }
    if len(found) > size:
        answer["nextToken"] = write_token(query, found[size - 1][0])
    return answer


async def interrupt_instance(store: Store, call: Call, request: Json) -> Json:
    """Ask for an instance back, after a notice."""
    instance_id = InstanceId(request["instanceId"])
    seconds: int = request.get("noticeSeconds", SPOT_NOTICE_SECONDS)
    is_forced = bool(request.get("force"))
    if not 0 <= seconds <= SPOT_NOTICE_SECONDS_MAX:
        raise client_exception(f"noticeSeconds must be between 0 and {SPOT_NOTICE_SECONDS_MAX}.")

    def ask(conn: Connection) -> int:
        record = find_live(conn, call.scope, instance_id)
        if not record.is_spot and not is_forced:
            raise client_exception(
                f"{instance_id} is not Spot capacity: AWS never reclaims it. Use force to do so."
            )
        asked = Interruption(
            environment_arn=record.environment_arn,
            instance_id=instance_id,
            notice_ms=seconds * _MILLI,
            is_forced=is_forced,
        )
        store.note_wish()
        return instance_wishes.add_instance_wish(conn, asked, at_ms=call.now_ms)

    return {"wishId": str(await store.write(ask))}


async def interrupt_job(store: Store, call: Call, request: Json) -> Json:
    """Ask for the Fargate Spot capacity under a job back: there is no notice but SIGTERM."""
    text: str = request["jobId"]

    def ask(conn: Connection) -> int:
        job_id, record = read_named_job(conn, call.scope, text)
        attempt = record.progress.attempt
        if attempt is None:
            raise client_exception(f"Job {text} is {record.progress.status}: it does not run.")
        asked = TaskInterruption(environment_arn=attempt.environment_arn, job_id=job_id)
        store.note_wish()
        return instance_wishes.add_instance_wish(conn, asked, at_ms=call.now_ms)

    return {"wishId": str(await store.write(ask))}


def _shown(record: InstanceRecord, use: InstanceUse | None) -> Json:
    capacity = record.capacity
    shown: Json = {
        "instanceId": record.id,
        "computeEnvironment": record.environment_arn,
        "instanceType": record.instance_type,
        "host": record.host_id,
        "capacityType": "SPOT" if record.is_spot else "ON_DEMAND",
        "state": _state_of(record, use),
        "reason": record.cause or record.draining_for,
        "vcpus": capacity.cpu_milli // _MILLI,
        "memoryMib": capacity.memory_mib,
        "gpus": capacity.gpu_count,
        "launchedAt": record.launched_ms,
        "stopsAt": None if record.terminated_ms is not None else record.stop_ms,
        "terminatedAt": record.terminated_ms,
    }
    if use is not None:
        shown |= _used(use.used) | {"jobs": list(use.job_ids)}
    return shown


def _used(used: Amount) -> Json:
    return {
        "usedMillicpus": used.cpu_milli,
        "usedMemoryMib": used.memory_mib,
        "usedGpus": used.gpu_count,
    }


def _state_of(record: InstanceRecord, use: InstanceUse | None) -> str:
    if record.terminated_ms is not None:
        return "terminated"
    if record.draining_for is not None:
        return "draining"
    return "pending" if use is not None and not use.is_ready else "running"
