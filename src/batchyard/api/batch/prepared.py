"""A job definition made ready for many submissions, and the spec of one job made from it. Pure.

Decides what a submitted job is: the definition with parameters, overrides, retry strategy and
timeout of the request applied (reference/jobs.md sections 2.2, 2.4, 2.5, 12.1). What does not
depend on the request is worked out once and kept, encoded.
"""

from dataclasses import dataclass, field

import msgspec

from batchyard.api.batch.rules.fargate import check_fargate_pair
from batchyard.api.batch.rules.overrides import check_overrides, merge_container, merge_parameters
from batchyard.api.batch.rules.requirements import demand_of
from batchyard.api.batch.rules.retry import (
    check_retry_strategy,
    check_timeout,
    effective_retry,
    exit_rules_of,
    timeout_ms_of,
)
from batchyard.api.batch.rules.substitution import has_reference, substitute
from batchyard.model.amounts import Amount
from batchyard.model.ids import DefinitionArn, QueueArn
from batchyard.model.records import DefinitionRecord, ExitRule, Json

_encode = msgspec.json.Encoder().encode

#: Members of SubmitJob that make a job differ from its definition.
_SHAPING = (
    "parameters",
    "containerOverrides",
    "retryStrategy",
    "timeout",
    "propagateTags",
    "dependsOn",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one submission comes to."""

    demand: Amount
    attempts_max: int
    exit_rules: tuple[ExitRule, ...]
    timeout_ms: int | None
    spec: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedDefinition:
    """An ACTIVE revision of a job definition."""

    arn: DefinitionArn
    is_fargate: bool
    capabilities: list[str]
    #: As DescribeJobs shows it, before parameters and overrides.
    container: Json
    has_reference: bool
    parameters: dict[str, str]
    retry_strategy: Json | None
    timeout: Json | None
    propagate_tags: bool
    #: What a request without any shaping member comes to, by queue; filled on first use.
    plain_by_queue: dict[QueueArn, Work] = field(default_factory=dict)


def prepare(record: DefinitionRecord) -> PreparedDefinition:
    """Make a registered definition ready."""
    detail = record.detail
    container: Json = {**detail["containerProperties"], "networkInterfaces": []}
    capabilities = detail.get("platformCapabilities", [])
    return PreparedDefinition(
        arn=record.arn,
        is_fargate=is_fargate_definition(detail),
        capabilities=capabilities,
        container=container,
        has_reference=has_reference(container["command"]),
        parameters=detail.get("parameters", {}),
        retry_strategy=detail.get("retryStrategy"),
        timeout=detail.get("timeout"),
        propagate_tags=detail.get("propagateTags", False),
    )


def is_fargate_definition(detail: Json) -> bool:
    """Tell whether jobs of this definition run on Fargate; EC2 is the default."""
    return "FARGATE" in detail.get("platformCapabilities", ())


def work_of(
    definition: PreparedDefinition, queue_arn: QueueArn, request: Json, *, request_id: str
) -> Work:
    """Give what the request makes of the definition. Refuses what cannot be merged.

    `dependsOn` of the request is shown as it is: its ids are checked elsewhere.
    """
    for member in _SHAPING:
        if request.get(member):
            return _shaped_work(definition, queue_arn, request, request_id)
    if request.get("propagateTags", definition.propagate_tags) != definition.propagate_tags:
        return _shaped_work(definition, queue_arn, request, request_id)
    plain = definition.plain_by_queue.get(queue_arn)
    if plain is None:
        plain = _shaped_work(definition, queue_arn, {}, request_id)
        definition.plain_by_queue[queue_arn] = plain
    return plain


def _shaped_work(
    definition: PreparedDefinition, queue_arn: QueueArn, request: Json, request_id: str
) -> Work:
    container = definition.container
    is_fargate = definition.is_fargate
    if overrides := request.get("containerOverrides"):
        check_overrides(overrides, is_fargate=is_fargate)
        container = merge_container(container, overrides)
    parameters = definition.parameters
    if given := request.get("parameters"):
        parameters = merge_parameters(parameters, given)
    if definition.has_reference or (container is not definition.container):
        container = {**container, "command": substitute(container["command"], parameters)}
    demand = demand_of(container, is_fargate=is_fargate, request_id=request_id)
    if is_fargate:
        check_fargate_pair(demand)
    retry = effective_retry(_given_or(request, "retryStrategy", definition.retry_strategy))
    timeout = _given_or(request, "timeout", definition.timeout)
    timeout_ms = timeout_ms_of(timeout)
    spec: Json = {
        "jobQueue": queue_arn,
        "jobDefinition": definition.arn,
        "parameters": parameters,
        "container": container,
        "retryStrategy": retry,
        "dependsOn": request.get("dependsOn", []),
        "platformCapabilities": definition.capabilities,
        "propagateTags": request.get("propagateTags", definition.propagate_tags),
    }
    if timeout_ms is not None:
        spec["timeout"] = timeout
    return Work(
        demand=demand,
        attempts_max=retry["attempts"],
        exit_rules=exit_rules_of(retry),
        timeout_ms=timeout_ms,
        spec=_encode(spec),
    )


def check_shape(request: Json) -> None:
    """Refuse a retry strategy or timeout of the request that is out of range."""
    if strategy := request.get("retryStrategy"):
        check_retry_strategy(strategy)
    if timeout := request.get("timeout"):
        check_timeout(timeout)


def _given_or(request: Json, member: str, default: Json | None) -> Json | None:
    given: Json | None = request.get(member)
    return given or default
