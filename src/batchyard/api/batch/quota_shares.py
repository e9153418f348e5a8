"""Create, describe, list, update and delete quota shares (compute-and-scheduling.md section 3.4).

Creating, updating and deleting are wishes: the record says so until the engine has settled it.
"""

from batchyard.api.batch.environments import BEING_MODIFIED
from batchyard.api.batch.paging import page_size, read_token, write_token
from batchyard.api.batch.queues import state_of
from batchyard.api.batch.quota_queues import has_quota_shares
from batchyard.api.batch.rules.names import (
    check_resource_name,
    is_arn_in,
    queue_arn_of,
    quota_share_arn_of,
)
from batchyard.api.batch.rules.quota import (
    LIMITS,
    PREEMPTION,
    SHARING,
    check_capacity_limits,
    check_container_units,
    check_preemption,
    check_sharing,
)
from batchyard.api.batch.rules.service_rules import SAGEMAKER_TRAINING, check_instance_units
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.service import Service
from batchyard.model.ids import QueueArn, QuotaShareArn, Scope
from batchyard.model.limits import PAGE_SIZE_MAX, QUOTA_SHARES_PER_QUEUE_MAX
from batchyard.model.records import Json, QueueRecord, QuotaShareRecord
from batchyard.model.refusal import Refusal, client_exception
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import Connection, queues
from batchyard.store import quota_shares as stored
from batchyard.wire.call import Call


async def create_quota_share(service: Service, call: Call, request: Json) -> Json:
    """Ask for a share of a VALID queue that has quota shares."""
    name: str = request["quotaShareName"]
    check_resource_name(name, "quotaShareName")
    queue_arn = queue_arn_of(call.scope, request["jobQueue"])
    if not is_arn_in(call.scope, queue_arn):
        raise _unknown(queue_arn)
    state = state_of(request.get("state")) or ResourceState.ENABLED
    detail = checked_share(request)
    tags = request.get("tags", {})
    check_tags(tags)

    def insert(conn: Connection) -> QuotaShareArn:
        queue = _find_queue(conn, queue_arn)
        if queue.status is not ResourceStatus.VALID:
            raise client_exception(f"{queue_arn} must have status VALID, but is {queue.status}.")
        _check_units(queue, detail)
        arn = call.scope.quota_share_arn(queue.name, name)
        count = len(stored.quota_shares_of_queue(conn, queue_arn))
        is_new = stored.insert_quota_share(
            conn, arn=arn, queue_arn=queue_arn, name=name, state=state, detail=detail, tags=tags
        )
        if not is_new:
            raise client_exception("Object already exists")
        if count >= QUOTA_SHARES_PER_QUEUE_MAX:
            raise client_exception(
                f"A job queue cannot have more than {QUOTA_SHARES_PER_QUEUE_MAX} quota shares."
            )
        service.store.note_wish()
        return arn

    arn = await service.store.write(insert)
    service.catalog.drop()
    return {"quotaShareName": name, "quotaShareArn": arn}


async def update_quota_share(service: Service, call: Call, request: Json) -> Json:
    """Ask for new values; members that are absent stay as they are."""
    arn = _arn_of(call.scope, request["quotaShareArn"])
    state = state_of(request.get("state"))
    changes = checked_share(request)

    def update(conn: Connection) -> str:
        record = _settled(conn, arn, "update")
        if LIMITS in changes:
            _check_units(_find_queue(conn, record.queue_arn), changes)
        detail = {**record.detail, **changes}
        stored.ask_quota_share(
            conn, arn, ResourceStatus.UPDATING, state=state or record.state, detail=detail
        )
        service.store.note_wish()
        return record.name

    name = await service.store.write(update)
    service.catalog.drop()
    return {"quotaShareName": name, "quotaShareArn": arn}


async def delete_quota_share(service: Service, call: Call, request: Json) -> Json:
    """Ask for the end of a DISABLED share; its jobs end with it."""
    arn = _arn_of(call.scope, request["quotaShareArn"])

    def delete(conn: Connection) -> None:
        record = _settled(conn, arn, "delete")
        if record.state is not ResourceState.DISABLED:
            raise client_exception("Cannot delete, state must be DISABLED")
        stored.ask_quota_share(
            conn, arn, ResourceStatus.DELETING, state=record.state, detail=record.detail
        )
        service.store.note_wish()

    await service.store.write(delete)
    service.catalog.drop()
    return {}


async def describe_quota_share(service: Service, call: Call, request: Json) -> Json:
    """Show one share, with its tags."""
    arn = _arn_of(call.scope, request["quotaShareArn"])
    record = await service.store.read(lambda conn: stored.read_quota_share(conn, arn))
    if record is None:
        raise _unknown(arn)
    return {**_shown(record), "tags": dict(record.tags)}


async def list_quota_shares(service: Service, call: Call, request: Json) -> Json:
    """Show the shares of a queue in the order of their creation."""
    queue_arn = queue_arn_of(call.scope, request["jobQueue"])
    size = page_size(request.get("maxResults"), size_max=PAGE_SIZE_MAX)
    query = ("ListQuotaShares", call.scope, queue_arn)
    after_seq = read_token(query, request.get("nextToken")) or 0

    def read(conn: Connection) -> list[QuotaShareRecord] | None:
        if queues.read_queue(conn, queue_arn) is None:
            return None
        found = stored.quota_shares_of_queue(conn, queue_arn)
        return [each for each in found if each.seq > after_seq]

    records = await service.store.read(read)
    if records is None or not is_arn_in(call.scope, queue_arn):
        raise _unknown(queue_arn)
    answer: Json = {"quotaShares": [_shown(each) for each in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_token(query, records[size - 1].seq)
    return answer


def checked_share(request: Json) -> Json:
    """Give what is kept of those members that are there."""
    detail: Json = {}
    if LIMITS in request:
        check_capacity_limits(request[LIMITS])
        detail[LIMITS] = request[LIMITS]
    if SHARING in request:
        detail[SHARING] = check_sharing(request[SHARING])
    if PREEMPTION in request:
        check_preemption(request[PREEMPTION])
        detail[PREEMPTION] = request[PREEMPTION]
    return detail


def _check_units(queue: QueueRecord, detail: Json) -> None:
    if queue.detail["jobQueueType"] == SAGEMAKER_TRAINING:
        check_instance_units(detail[LIMITS])
    elif queue.environment_arns:
        check_container_units(detail[LIMITS])


def _find_queue(conn: Connection, queue_arn: QueueArn) -> QueueRecord:
    """Give a queue that has quota shares."""
    queue = queues.read_queue(conn, queue_arn)
    if queue is None:
        raise _unknown(queue_arn)
    if not has_quota_shares(conn, queue):
        raise client_exception(f"{queue_arn} has no scheduling policy with a quotaSharePolicy.")
    return queue


def _settled(conn: Connection, arn: QuotaShareArn, verb: str) -> QuotaShareRecord:
    record = stored.read_quota_share(conn, arn)
    if record is None:
        raise _unknown(arn)
    if record.status.is_in_transition:
        raise client_exception(f"Cannot {verb}, {BEING_MODIFIED}")
    return record


def _arn_of(scope: Scope, text: str) -> QuotaShareArn:
    arn = quota_share_arn_of(scope, text)
    if arn is None:
        raise _unknown(text)
    return arn


def _unknown(arn: str) -> Refusal:
    return client_exception(f"{arn} does not exist")


def _shown(record: QuotaShareRecord) -> Json:
    return {
        "quotaShareName": record.name,
        "quotaShareArn": record.arn,
        "jobQueueArn": record.queue_arn,
        "state": record.state.value,
        "status": record.status.value,
        **record.detail,
    }
