"""Create, update, delete, describe and list consumable resources, and list the jobs that need one.

Decides by reference/compute-and-scheduling.md section 4 and jobs.md section 12.5. A resource may be
deleted at any time, as AWS's guide says: jobs that need it wait, and one of the same name that is
created later is the same resource to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from batchyard.api.batch.paging import (
    page_size,
    read_named_token,
    read_token,
    write_named_token,
    write_token,
)
from batchyard.api.batch.rules.choices import check_choice
from batchyard.api.batch.rules.consumable_filters import job_filters_of, name_filter_of
from batchyard.api.batch.rules.consumables import PROPERTIES, all_listed
from batchyard.api.batch.rules.names import check_resource_name, consumable_arn_of, is_arn_in
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.rules.workload import Kind
from batchyard.api.batch.service import Service
from batchyard.model.ids import ConsumableArn, Scope
from batchyard.model.limits import (
    CLIENT_TOKEN_LENGTH_MAX,
    CLIENT_TOKEN_MS,
    CONSUMABLE_COUNT_MAX,
    CONSUMABLE_QUANTITY_MAX,
    PAGE_SIZE_MAX,
)
from batchyard.model.records import ConsumableRecord, JobRecord, Json
from batchyard.model.refusal import Refusal, client_exception
from batchyard.store import Connection, consumables
from batchyard.store.consumable_jobs import list_jobs_by_consumable
from batchyard.wire.call import Call


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """What UpdateConsumableResource is to do."""

    operation: str
    quantity: int
    #: Empty: the request is no repetition of any other.
    token: str


_REPLENISHABLE = "REPLENISHABLE"
_TYPES = (_REPLENISHABLE, "NON_REPLENISHABLE")
_OPERATIONS = ("SET", "ADD", "REMOVE")
_DIGEST_BYTES = 32

_decode = msgspec.json.Decoder(dict).decode


async def create_consumable_resource(service: Service, call: Call, request: Json) -> Json:
    """Make a resource; without a quantity there is nothing of it yet."""
    name: str = request["consumableResourceName"]
    check_resource_name(name, "consumableResourceName")
    total = _checked_quantity(request.get("totalQuantity", 0), "totalQuantity")
    kind = request.get("resourceType") or _REPLENISHABLE
    check_choice(request, "resourceType", _TYPES)
    tags = request.get("tags", {})
    check_tags(tags)
    arn = call.scope.consumable_arn(name)

    def insert(conn: Connection) -> None:
        count = consumables.count_consumables(conn, call.scope)
        is_new = consumables.insert_consumable(
            conn,
            arn=arn,
            scope=call.scope,
            name=name,
            is_replenishable=kind == _REPLENISHABLE,
            total=total,
            created_ms=call.now_ms,
            tags=tags,
        )
        if not is_new:
            raise client_exception("Object already exists")
        if count >= CONSUMABLE_COUNT_MAX:
            raise client_exception(
                f"An account cannot have more than {CONSUMABLE_COUNT_MAX} consumable resources."
            )
        service.store.note_wish()

    await service.store.write(insert)
    return {"consumableResourceName": name, "consumableResourceArn": arn}


async def update_consumable_resource(service: Service, call: Call, request: Json) -> Json:
    """Change the total; the same request with the same token counts once in 8 hours."""
    arn = _arn_of(call.scope, request)
    change = _change_of(request)

    def update(conn: Connection) -> Json:
        record = consumables.lock_consumable(conn, arn)
        if record is None:
            raise _unknown(arn)
        total = record.total
        if _is_first(conn, call, record, change):
            total = _total_after(record.total, change)
            consumables.give_consumable(conn, arn, record.used_up + total)
            service.store.note_wish()
        return {
            "consumableResourceName": record.name,
            "consumableResourceArn": arn,
            "totalQuantity": total,
        }

    return await service.store.write(update)


async def delete_consumable_resource(service: Service, call: Call, request: Json) -> Json:
    """Delete a resource at once; attempts that hold some of it go on."""
    arn = _arn_of(call.scope, request)

    def delete(conn: Connection) -> None:
        if not consumables.delete_consumable(conn, arn):
            raise _unknown(arn)
        service.store.note_wish()

    await service.store.write(delete)
    return {}


async def describe_consumable_resource(service: Service, call: Call, request: Json) -> Json:
    """Show one resource."""
    arn = _arn_of(call.scope, request)
    record = await service.store.read(lambda conn: consumables.read_consumable(conn, arn))
    if record is None:
        raise _unknown(arn)
    return {
        **_summary(record),
        "availableQuantity": record.available,
        "createdAt": record.created_ms,
        "tags": dict(record.tags),
    }


async def list_consumable_resources(service: Service, call: Call, request: Json) -> Json:
    """List resources in the order of their creation."""
    scope = call.scope
    wanted = name_filter_of(request.get("filters", ()))
    size = page_size(request.get("maxResults"), size_max=PAGE_SIZE_MAX)
    query = ("ListConsumableResources", scope, wanted)
    after_seq = read_token(query, request.get("nextToken")) or 0
    records = await service.store.read_long(
        lambda conn: consumables.list_consumables(
            conn,
            scope,
            name=wanted.name,
            name_prefix=wanted.prefix,
            after_seq=after_seq,
            limit=size + 1,
        )
    )
    answer: Json = {"consumableResources": [_summary(record) for record in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_token(query, records[size - 1].seq)
    return answer


async def list_jobs_by_consumable_resource(service: Service, call: Call, request: Json) -> Json:
    """List the jobs that need a resource, newest first; arrays and multi-node jobs as a whole."""
    arn = _arn_of(call.scope, request)
    wanted = job_filters_of(request.get("filters", ()))
    size = page_size(request.get("maxResults"), size_max=PAGE_SIZE_MAX)
    query = ("ListJobsByConsumableResource", arn, wanted)
    after = read_named_token(query, request.get("nextToken"))

    def read(conn: Connection) -> list[JobRecord]:
        if consumables.read_consumable(conn, arn) is None:
            raise _unknown(arn)
        return list_jobs_by_consumable(
            conn,
            arn,
            status=wanted.status,
            name=wanted.named.name,
            name_prefix=wanted.named.prefix,
            before=None if after is None else (after[1], after[0]),
            limit=size + 1,
        )

    records = await service.store.read_long(read)
    answer: Json = {"jobs": [_job_summary(record, arn) for record in records[:size]]}
    if len(records) > size:
        last = records[size - 1].job
        answer["nextToken"] = write_named_token(query, last.id, last.created_ms)
    return answer


def _change_of(request: Json) -> _Change:
    operation: str = request.get("operation") or ""
    if not operation:
        raise client_exception("operation must be provided")
    check_choice(request, "operation", _OPERATIONS)
    if "quantity" not in request:
        raise client_exception("quantity must be provided")
    token: str = request.get("clientToken") or ""
    if len(token) > CLIENT_TOKEN_LENGTH_MAX:
        raise client_exception(
            f"clientToken must be 1 to {CLIENT_TOKEN_LENGTH_MAX} characters long."
        )
    quantity = _checked_quantity(request["quantity"], "quantity")
    return _Change(operation=operation, quantity=quantity, token=token)


def _is_first(conn: Connection, call: Call, record: ConsumableRecord, change: _Change) -> bool:
    """Tell whether the request is no repetition of an earlier one, and remember it."""
    if not change.token:
        return True
    # A resource that was deleted and made again is another one here.
    parts = (record.arn, record.created_ms, change.operation, change.quantity, change.token)
    return consumables.note_update(
        conn,
        blake2b(repr(parts).encode(), digest_size=_DIGEST_BYTES).digest(),
        at_ms=call.now_ms,
        forget_before_ms=call.now_ms - CLIENT_TOKEN_MS,
    )


def _total_after(total: int, change: _Change) -> int:
    """Refuse to take out more than there is in all; what is in use may be taken out."""
    match change.operation:
        case "SET":
            after = change.quantity
        case "ADD":
            after = total + change.quantity
        case _:
            after = total - change.quantity
    if after < 0:
        raise client_exception(
            f"quantity {change.quantity} is more than the total quantity, {total}."
        )
    return _checked_quantity(after, "totalQuantity")


def _checked_quantity(quantity: int, member: str) -> int:
    if not 0 <= quantity <= CONSUMABLE_QUANTITY_MAX:
        raise client_exception(f"{member} must be between 0 and {CONSUMABLE_QUANTITY_MAX}.")
    return quantity


def _arn_of(scope: Scope, request: Json) -> ConsumableArn:
    text: str = request["consumableResource"]
    if not text:
        raise client_exception("consumableResource must be provided")
    arn = consumable_arn_of(scope, text)
    if not is_arn_in(scope, arn):
        raise _unknown(arn)
    return arn


def _unknown(arn: ConsumableArn) -> Refusal:
    return client_exception(f"{arn} does not exist")


def _summary(record: ConsumableRecord) -> Json:
    return {
        "consumableResourceArn": record.arn,
        "consumableResourceName": record.name,
        "totalQuantity": record.total,
        "inUseQuantity": record.in_use,
        "resourceType": _TYPES[0] if record.is_replenishable else _TYPES[1],
    }


def _job_summary(record: JobRecord, arn: ConsumableArn) -> Json:
    job, progress = record.job, record.progress
    spec: Json = _decode(job.spec)
    shown: Json = {
        "jobArn": job.scope.job_arn(job.id),
        "jobQueueArn": job.queue_arn,
        "jobName": job.name,
        "jobDefinitionArn": job.definition_arn,
        "jobStatus": progress.status.value,
        "quantity": next(need.quantity for need in job.needs if need.arn == arn),
        "createdAt": job.created_ms,
        "consumableResourceProperties": {"consumableResourceList": _all_items(spec)},
    }
    if job.share_identifier is not None:
        shown["shareIdentifier"] = job.share_identifier
    if progress.status_reason is not None:
        shown["statusReason"] = progress.status_reason
    if progress.started_ms is not None:
        shown["startedAt"] = progress.started_ms
    return shown


def _all_items(spec: Json) -> list[Json]:
    """Give the items of a job's own list and of its ranges' lists."""
    lists: Sequence[Sequence[Json]] = all_listed(spec.get(PROPERTIES), spec.get(Kind.NODES))
    return [item for items in lists for item in items]
