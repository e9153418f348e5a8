"""Create, describe, update and delete service environments (compute-and-scheduling.md section 5).

Creating, updating and deleting are wishes: the record says so until the engine has settled it.
"""

from batchyard.api.batch.environments import BEING_MODIFIED
from batchyard.api.batch.listing import Listing, describe
from batchyard.api.batch.queues import state_of
from batchyard.api.batch.quota_queues import has_quota_shares
from batchyard.api.batch.rules.names import (
    check_resource_name,
    is_arn_in,
    service_environment_arn_of,
)
from batchyard.api.batch.rules.service_rules import (
    LIMITS,
    check_instance_units,
    check_service_limits,
    check_service_type,
)
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.service import Service
from batchyard.model.ids import EnvironmentArn
from batchyard.model.limits import SERVICE_ENVIRONMENT_COUNT_MAX
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.service_records import ServiceEnvironmentRecord
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import Connection, queues
from batchyard.store import service_environments as stored
from batchyard.wire.call import Call

_TYPE = "serviceEnvironmentType"


async def create_service_environment(service: Service, call: Call, request: Json) -> Json:
    """Ask for an environment; it is CREATING until the engine has looked at it."""
    scope = call.scope
    name: str = request["serviceEnvironmentName"]
    state = state_of(request.get("state")) or ResourceState.ENABLED
    detail = checked_service_environment(request)
    tags = request.get("tags", {})
    check_tags(tags)
    arn = scope.service_environment_arn(name)

    def insert(conn: Connection) -> None:
        count = stored.count_service_environments(conn, scope)
        is_new = stored.insert_service_environment(
            conn,
            arn=arn,
            scope=scope,
            name=name,
            state=state,
            detail=detail,
            tags=tags,
        )
        if not is_new:
            raise client_exception("Object already exists")
        if count >= SERVICE_ENVIRONMENT_COUNT_MAX:
            raise client_exception(
                f"An account cannot have more than {SERVICE_ENVIRONMENT_COUNT_MAX} service"
                " environments."
            )
        service.store.note_wish()

    await service.store.write(insert)
    return {"serviceEnvironmentName": name, "serviceEnvironmentArn": arn}


async def update_service_environment(service: Service, call: Call, request: Json) -> Json:
    """Ask for another state or other limits; what runs goes on."""
    arn = service_environment_arn_of(call.scope, request["serviceEnvironment"])
    if not is_arn_in(call.scope, arn):
        raise client_exception(f"{arn} does not exist")
    state = state_of(request.get("state"))
    if LIMITS in request:
        check_service_limits(request[LIMITS])

    def update(conn: Connection) -> str:
        record = stored.read_service_environment(conn, arn)
        if record is None:
            raise client_exception(f"{arn} does not exist")
        _check_settled(record, "update")
        detail = record.detail
        if LIMITS in request:
            if _has_quotas(conn, arn):
                check_instance_units(request[LIMITS])
            detail = {**detail, LIMITS: request[LIMITS]}
        stored.ask_service_environment(
            conn, arn, ResourceStatus.UPDATING, state=state or record.state, detail=detail
        )
        service.store.note_wish()
        return record.name

    name = await service.store.write(update)
    return {"serviceEnvironmentName": name, "serviceEnvironmentArn": arn}


async def delete_service_environment(service: Service, call: Call, request: Json) -> Json:
    """Ask for the end of a DISABLED environment that no queue refers to."""
    arn = service_environment_arn_of(call.scope, request["serviceEnvironment"])
    if not is_arn_in(call.scope, arn):
        return {}

    def delete(conn: Connection) -> None:
        record = stored.read_service_environment(conn, arn)
        if record is None:
            return
        _check_settled(record, "delete")
        if record.state is not ResourceState.DISABLED:
            raise client_exception("Cannot delete, state must be DISABLED")
        if queues.queues_of_environment(conn, arn):
            raise client_exception("Cannot delete, found existing JobQueue relationship")
        stored.ask_service_environment(
            conn, arn, ResourceStatus.DELETING, state=record.state, detail=record.detail
        )
        service.store.note_wish()

    await service.store.write(delete)
    return {}


async def describe_service_environments(service: Service, call: Call, request: Json) -> Json:
    """Show environments in the order of their creation; unknown ones are left out."""
    return await describe(_LISTING, service, call, request)


def checked_service_environment(request: Json) -> Json:
    """Give what is kept of a new environment. Refuses a name or limits that cannot be."""
    check_resource_name(request["serviceEnvironmentName"], "serviceEnvironmentName")
    check_service_type(request[_TYPE], _TYPE)
    check_service_limits(request[LIMITS])
    return {_TYPE: request[_TYPE], LIMITS: request[LIMITS]}


def _check_settled(record: ServiceEnvironmentRecord, verb: str) -> None:
    if record.status.is_in_transition:
        raise client_exception(f"Cannot {verb}, {BEING_MODIFIED}")


def _has_quotas(conn: Connection, arn: EnvironmentArn) -> bool:
    """Tell whether a queue with quota shares is connected."""
    found = (queues.read_queue(conn, each) for each in queues.queues_of_environment(conn, arn))
    return any(queue is not None and has_quota_shares(conn, queue) for queue in found)


def _shown(record: ServiceEnvironmentRecord) -> Json:
    return {
        "serviceEnvironmentName": record.name,
        "serviceEnvironmentArn": record.arn,
        "state": record.state.value,
        "status": record.status.value,
        **record.detail,
        "tags": dict(record.tags),
    }


_LISTING = Listing(
    operation="DescribeServiceEnvironments",
    member="serviceEnvironments",
    arn_of=service_environment_arn_of,
    read_one=stored.read_service_environment,
    read_page=stored.list_service_environments,
    show=_shown,
)
