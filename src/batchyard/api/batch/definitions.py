"""Register, describe and deregister job definitions (reference/jobs.md section 3)."""

from collections.abc import Collection, Mapping, Sequence

from batchyard.api.batch.paging import page_size, read_token, write_token
from batchyard.api.batch.prepared import PreparedDefinition, demand_of, prepare
from batchyard.api.batch.refusals import executing, unsupported
from batchyard.api.batch.rules.choices import is_blank, not_on_fargate
from batchyard.api.batch.rules.consumables import (
    PROPERTIES,
    all_listed,
    check_all_known,
    needs_of,
)
from batchyard.api.batch.rules.ground import Ground, Platform, platform_of
from batchyard.api.batch.rules.names import check_resource_name, definition_name_of
from batchyard.api.batch.rules.nodes import check_nodes, normalised_nodes
from batchyard.api.batch.rules.retry import check_retry_strategy, check_timeout
from batchyard.api.batch.rules.tag_rules import check_tags
from batchyard.api.batch.rules.workload import (
    DEFINED_BY,
    Kind,
    check_workload,
    normalised_workload,
)
from batchyard.api.batch.service import Service
from batchyard.model.ids import Scope
from batchyard.model.limits import (
    DEFINITION_BYTES_MAX,
    DESCRIBE_IDS_MAX,
    PAGE_SIZE_MAX,
    SCHEDULING_PRIORITY_MAX,
)
from batchyard.model.records import DefinitionRecord, Json
from batchyard.model.refusal import Refusal, client_exception
from batchyard.model.status import DefinitionStatus, EnvironmentKind
from batchyard.store import Connection, consumables, definitions
from batchyard.wire.call import Call

_MULTINODE = "multinode"
_TYPES = ("container", _MULTINODE)
_CAPABILITIES = ("EC2", "FARGATE", "MANAGED_INSTANCES")
#: Where jobs run whose definition is written for a platform.
_KINDS_BY_PLATFORM: Mapping[Platform, Collection[EnvironmentKind]] = {
    Platform.EC2: (EnvironmentKind.EC2, EnvironmentKind.SPOT, EnvironmentKind.UNMANAGED),
    Platform.FARGATE: (EnvironmentKind.FARGATE, EnvironmentKind.FARGATE_SPOT),
    Platform.MANAGED_INSTANCES: (EnvironmentKind.MANAGED_INSTANCES,),
}
#: Members that are shown again exactly as they were registered.
_ECHOED = (
    "retryStrategy",
    "timeout",
    "propagateTags",
    "platformCapabilities",
    "schedulingPriority",
    PROPERTIES,
)


async def register_job_definition(service: Service, call: Call, request: Json) -> Json:
    """Register the next revision of a definition."""
    name: str = request["jobDefinitionName"]
    _check_request(call, request)
    platform = platform_of(request)
    kind, properties = _checked_properties(request, platform, call.request_id)
    needs = needs_of(
        call.scope, all_listed(request.get(PROPERTIES), request.get(DEFINED_BY[Kind.NODES]))
    )
    tags = request.get("tags", {})
    check_tags(tags)
    detail: Json = {
        "type": request["type"],
        "parameters": request.get("parameters", {}),
        DEFINED_BY[kind]: properties,
        "containerOrchestrationType": "EKS" if platform is Platform.EKS else "ECS",
    }
    detail.update((member, request[member]) for member in _ECHOED if _is_given(request, member))

    def register(conn: Connection) -> DefinitionRecord:
        if needs:
            known = consumables.find_consumables(conn, [need.arn for need in needs])
            check_all_known(needs, known)
        return definitions.register_definition(conn, call.scope, name, detail, tags)

    record = await service.store.write(register)
    service.catalog.drop()
    call.warn(_foreseen(service, prepare(record), call.request_id))
    return {
        "jobDefinitionName": name,
        "jobDefinitionArn": record.arn,
        "revision": record.revision,
    }


def _foreseen(service: Service, definition: PreparedDefinition, request_id: str) -> Sequence[str]:
    """Say what is wrong with a definition as it is; jobs may ask for something else."""
    kinds = _KINDS_BY_PLATFORM.get(definition.platform)
    if service.foresight is None or kinds is None:
        return ()
    architecture = _architecture_of(definition.properties)
    named = () if architecture is None else (architecture,)
    others = service.foresight.of_architectures("runtimePlatform.cpuArchitecture", named)
    try:
        demand, nodes = demand_of(definition, request_id=request_id)
    except Refusal:  # It cannot be submitted as it is.
        return others
    return (*service.foresight.of_definition(demand, nodes, kinds), *others)


def _architecture_of(properties: Json) -> str | None:
    """Name the architecture that a container, or a task, says it is for; None: it says none."""
    tasks = [properties, *(properties.get("taskProperties") or ())]
    named = [(each.get("runtimePlatform") or {}).get("cpuArchitecture") for each in tasks]
    return next((each.lower() for each in named if each), None)


async def deregister_job_definition(service: Service, call: Call, request: Json) -> Json:
    """Make a revision INACTIVE. Repeating it changes nothing."""
    text: str = request["jobDefinition"]
    named = definition_name_of(call.scope, text)
    if named is None:
        raise client_exception(f"JobDefinition {text} does not exist")
    name, revision = named
    if revision is None:
        raise client_exception("jobDefinition must name a revision: <name>:<revision> or its ARN")
    arn = call.scope.definition_arn(name, revision)
    is_known = await service.store.write(
        lambda conn: definitions.set_definition_status(conn, arn, DefinitionStatus.INACTIVE)
    )
    service.catalog.drop()
    if not is_known:
        raise client_exception(f"JobDefinition {arn} does not exist")
    return {}


async def describe_job_definitions(service: Service, call: Call, request: Json) -> Json:
    """Show definitions, newest first: those listed, or a page of those that fit the filters."""
    texts = request.get("jobDefinitions")
    if not texts:
        return await _describe_page(service, call.scope, request)
    if len(texts) > DESCRIBE_IDS_MAX:
        raise client_exception(f"jobDefinitions must not have more than {DESCRIBE_IDS_MAX} items.")
    for member in ("jobDefinitionName", "status"):
        if request.get(member):
            raise client_exception(f"{member} cannot be combined with jobDefinitions.")
    found: dict[str, DefinitionRecord] = {}
    for text in texts:
        for record in await _named(service, call.scope, text):
            found[record.arn] = record
    return {"jobDefinitions": [_shown(record) for record in found.values()]}


async def _named(service: Service, scope: Scope, text: str) -> list[DefinitionRecord]:
    named = definition_name_of(scope, text)
    if named is None:
        return []
    name, revision = named
    if revision is None:
        return await service.store.read(
            lambda conn: definitions.list_definitions(
                conn, scope, name=name, status=None, before_seq=None, limit=PAGE_SIZE_MAX
            )
        )
    arn = scope.definition_arn(name, revision)
    record = await service.store.read(lambda conn: definitions.read_definition(conn, arn))
    return [] if record is None else [record]


async def _describe_page(service: Service, scope: Scope, request: Json) -> Json:
    status = _status_of(request.get("status"))
    name = None
    if text := request.get("jobDefinitionName"):
        named = definition_name_of(scope, text)
        if named is None:
            return {"jobDefinitions": []}
        name = named[0]
    size = page_size(request.get("maxResults"), size_max=PAGE_SIZE_MAX)
    query = ("DescribeJobDefinitions", scope, name, status)
    before_seq = read_token(query, request.get("nextToken"))
    records = await service.store.read(
        lambda conn: definitions.list_definitions(
            conn, scope, name=name, status=status, before_seq=before_seq, limit=size + 1
        )
    )
    answer: Json = {"jobDefinitions": [_shown(record) for record in records[:size]]}
    if len(records) > size:
        answer["nextToken"] = write_token(query, records[size - 1].seq)
    return answer


def _status_of(text: str | None) -> DefinitionStatus | None:
    if not text:
        return None
    if text not in list(DefinitionStatus):
        raise client_exception(f"status {text} is not one of ACTIVE, INACTIVE.")
    return DefinitionStatus(text)


def _shown(record: DefinitionRecord) -> Json:
    return {
        "jobDefinitionName": record.name,
        "jobDefinitionArn": record.arn,
        "revision": record.revision,
        "status": record.status.value,
        **record.detail,
        "tags": dict(record.tags),
    }


def _check_request(call: Call, request: Json) -> None:
    call.limit_body(DEFINITION_BYTES_MAX)
    check_resource_name(request["jobDefinitionName"], "jobDefinitionName")
    if request["type"] not in _TYPES:
        raise client_exception(f"type {request['type']} is not one of {', '.join(_TYPES)}.")
    _check_capabilities(request.get("platformCapabilities", []))
    priority = request.get("schedulingPriority", 0)
    if not 0 <= priority <= SCHEDULING_PRIORITY_MAX:
        raise client_exception(
            f"schedulingPriority must be between 0 and {SCHEDULING_PRIORITY_MAX}."
        )
    check_retry_strategy(request.get("retryStrategy", {}))
    check_timeout(request.get("timeout", {}))


def _checked_properties(request: Json, platform: Platform, request_id: str) -> tuple[Kind, Json]:
    """Give the kind of a definition, and its properties as Describe shows them.

    Refuses none, more than one, those of another type, and those that AWS would refuse.
    """
    given = [kind for kind, member in DEFINED_BY.items() if not is_blank(request.get(member))]
    members = [DEFINED_BY[kind] for kind in given]
    if len(given) > 1:
        raise client_exception(f"{' and '.join(members)} cannot be given together.")
    is_multinode = request["type"] == _MULTINODE
    if given and (given[0] is Kind.NODES) is not is_multinode:
        raise client_exception(f"{members[0]} is not applicable for type {request['type']}.")
    if not given:
        what = "Node" if is_multinode else "Container"
        raise executing(request_id, f"{what} properties should not be empty")
    if platform is Platform.EKS:
        for member in ("platformCapabilities", "propagateTags"):
            if request.get(member):
                raise client_exception(f"{member} is not applicable for EKS.")
    if is_multinode and platform is Platform.FARGATE:
        raise not_on_fargate("nodeProperties")
    if is_multinode and platform is Platform.MANAGED_INSTANCES:
        raise client_exception(f"nodeProperties is not applicable for {platform}.")
    [kind] = given
    [member] = members
    ground = Ground(platform=platform, is_multinode=is_multinode, request_id=request_id)
    if is_multinode:
        check_nodes(request[member], ground)
        return kind, normalised_nodes(request[member], ground)
    check_workload(kind, request[member], ground, where=member)
    return kind, normalised_workload(kind, request[member], ground)


def _check_capabilities(capabilities: list[str]) -> None:
    for capability in capabilities:
        if capability not in _CAPABILITIES:
            raise client_exception(
                f"platformCapabilities {capability} is not one of {', '.join(_CAPABILITIES)}."
            )
    if len(set(capabilities)) > 1:
        raise unsupported("platformCapabilities with more than one value")


def _is_given(request: Json, member: str) -> bool:
    value = request.get(member)
    return value not in (None, {}) and not (member == PROPERTIES and is_blank(value))
