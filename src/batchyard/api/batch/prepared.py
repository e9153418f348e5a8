"""A job definition made ready for many submissions, and the spec of one job made from it. Pure.

Decides what a submitted job is: the definition with parameters, overrides, retry strategy and
timeout of the request applied (reference/jobs.md sections 2.2, 2.4 to 2.6, 12.1). What does not
depend on the request is worked out once and kept, encoded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from batchyard.api.batch.rules.consumables import (
    OVERRIDE,
    PROPERTIES,
    all_listed,
    listed,
    needs_of,
)
from batchyard.api.batch.rules.ground import Ground, Platform, platform_of
from batchyard.api.batch.rules.nodes import merged_nodes, plan_of
from batchyard.api.batch.rules.overrides import merge_parameters
from batchyard.api.batch.rules.retry import (
    check_retry_strategy,
    check_timeout,
    effective_retry,
    exit_rules_of,
    timeout_ms_of,
)
from batchyard.api.batch.rules.workload import (
    DEFINED_BY,
    OVERRIDDEN_BY,
    Kind,
    demand_of_workload,
    merged_workload,
    override_of,
)
from batchyard.model.amounts import Amount
from batchyard.model.ids import DefinitionArn, QueueArn, Scope
from batchyard.model.records import ConsumableNeed, DefinitionRecord, ExitRule, Json, NodePlan
from batchyard.model.refusal import client_exception

_encode = msgspec.json.Encoder().encode

#: Members of SubmitJob that make a job differ from its definition.
_SHAPING = frozenset(
    (
        "parameters",
        *OVERRIDDEN_BY.values(),
        "retryStrategy",
        "timeout",
        "propagateTags",
        "dependsOn",
        OVERRIDE,
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one submission comes to."""

    demand: Amount
    nodes: NodePlan | None
    attempts_max: int
    exit_rules: tuple[ExitRule, ...]
    timeout_ms: int | None
    needs: tuple[ConsumableNeed, ...]
    spec: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDefinition:
    """An ACTIVE revision of a job definition."""

    arn: DefinitionArn
    scope: Scope
    platform: Platform
    kind: Kind
    capabilities: list[str]
    #: As DescribeJobs shows them in the member `kind`, before parameters and overrides.
    properties: Json
    parameters: dict[str, str]
    retry_strategy: Json | None
    timeout: Json | None
    propagate_tags: bool
    consumables: Json | None
    #: Counts on queues with a scheduling policy.
    scheduling_priority: int | None
    #: What a request without any shaping member comes to, by queue; filled on first use.
    plain_by_queue: dict[QueueArn, Work] = field(default_factory=dict)


def prepare(record: DefinitionRecord) -> PreparedDefinition:
    """Make a registered definition ready."""
    detail = record.detail
    kind = next(kind for kind, member in DEFINED_BY.items() if member in detail)
    properties: Json = detail[DEFINED_BY[kind]]
    if kind is Kind.CONTAINER:
        properties = {**properties, "networkInterfaces": []}
    return PreparedDefinition(
        arn=record.arn,
        scope=record.scope,
        platform=platform_of(detail),
        kind=kind,
        capabilities=detail.get("platformCapabilities", []),
        properties=properties,
        parameters=detail.get("parameters", {}),
        retry_strategy=detail.get("retryStrategy"),
        timeout=detail.get("timeout"),
        propagate_tags=detail.get("propagateTags", False),
        consumables=detail.get(PROPERTIES),
        scheduling_priority=detail.get("schedulingPriority"),
    )


def work_of(
    definition: PreparedDefinition, queue_arn: QueueArn, request: Json, *, request_id: str
) -> Work:
    """Give what the request makes of the definition. Refuses what cannot be merged.

    `dependsOn` of the request is shown as it is: its ids are checked elsewhere.
    """
    if not _SHAPING.isdisjoint(request) and _is_shaped(definition, request):
        return _shaped_work(definition, queue_arn, request, request_id)
    plain = definition.plain_by_queue.get(queue_arn)
    if plain is None:
        plain = _shaped_work(definition, queue_arn, {}, request_id)
        definition.plain_by_queue[queue_arn] = plain
    return plain


def demand_of(
    definition: PreparedDefinition, *, request_id: str
) -> tuple[Amount, tuple[Amount, ...]]:
    """Give what a job asks for that changes nothing, and each of its nodes. Refuses what work_of
    would.
    """
    _, demand, nodes = _shaped(definition, {}, definition.parameters, request_id)
    return demand, () if nodes is None else tuple(nodes.demands())


def check_shape(request: Json) -> None:
    """Refuse a retry strategy or timeout of the request that is out of range."""
    if strategy := request.get("retryStrategy"):
        check_retry_strategy(strategy)
    if timeout := request.get("timeout"):
        check_timeout(timeout)


def _is_shaped(definition: PreparedDefinition, request: Json) -> bool:
    propagates = request.get("propagateTags", definition.propagate_tags)
    return propagates != definition.propagate_tags or any(
        value for member, value in request.items() if member in _SHAPING
    )


def _shaped_work(
    definition: PreparedDefinition, queue_arn: QueueArn, request: Json, request_id: str
) -> Work:
    parameters = definition.parameters
    if given := request.get("parameters"):
        parameters = merge_parameters(parameters, given)
    propagates_tags = request.get("propagateTags", definition.propagate_tags)
    if propagates_tags and definition.platform is Platform.EKS:
        raise client_exception("propagateTags is not applicable for EKS.")
    properties, demand, nodes = _shaped(definition, request, parameters, request_id)
    retry = effective_retry(_given_or(request, "retryStrategy", definition.retry_strategy))
    timeout = _given_or(request, "timeout", definition.timeout)
    timeout_ms = timeout_ms_of(timeout)
    spec: Json = {
        "jobQueue": queue_arn,
        "jobDefinition": definition.arn,
        "parameters": parameters,
        definition.kind.value: properties,
        "retryStrategy": retry,
        "dependsOn": request.get("dependsOn", []),
        "platformCapabilities": definition.capabilities,
        "propagateTags": propagates_tags,
    }
    if timeout_ms is not None:
        spec["timeout"] = timeout
    consumables = definition.consumables
    if listed(request.get(OVERRIDE)):
        consumables = request[OVERRIDE]
    if consumables is not None:
        spec[PROPERTIES] = consumables
    needs = needs_of(
        definition.scope, all_listed(consumables, None if nodes is None else properties)
    )
    return Work(
        demand=demand,
        nodes=nodes,
        attempts_max=retry["attempts"],
        exit_rules=exit_rules_of(retry),
        timeout_ms=timeout_ms,
        needs=needs,
        spec=_encode(spec),
    )


def _shaped(
    definition: PreparedDefinition,
    request: Json,
    parameters: Mapping[str, str],
    request_id: str,
) -> tuple[Json, Amount, NodePlan | None]:
    """Give the merged properties of a job, what it needs, and its nodes, if it has any."""
    kind = definition.kind
    override = override_of(kind, request)
    is_multinode = kind is Kind.NODES
    ground = Ground(platform=definition.platform, is_multinode=is_multinode, request_id=request_id)
    if not is_multinode:
        merged = merged_workload(kind, definition.properties, override, parameters, ground)
        return merged, demand_of_workload(kind, merged, ground), None
    merged = merged_nodes(definition.properties, override, parameters, ground)
    plan = plan_of(merged, ground)
    return merged, sum(plan.demands(), Amount()), plan


def _given_or(request: Json, member: str, default: Json | None) -> Json | None:
    given: Json | None = request.get(member)
    return given or default
