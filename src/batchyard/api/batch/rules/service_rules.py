"""What service environments and service jobs may say. Pure.

Decides by reference/compute-and-scheduling.md sections 3.5 and 5 and reference/jobs.md section 13;
where AWS's texts are not known they are ours. Refuses to know queues and machines.
"""

from collections.abc import Mapping, Sequence

from batchyard.api.batch.rules.shares import check_share_identifier
from batchyard.model.capacity_use import NUM_INSTANCES
from batchyard.model.limits import (
    ATTEMPTS_MAX,
    CAPACITY_LIMITS_PER_SERVICE_ENVIRONMENT_MAX,
    EXIT_PATTERN_LENGTH_MAX,
    EXIT_RULES_MAX,
    MAX_CAPACITY_MAX,
    SCHEDULING_PRIORITY_MAX,
    SERVICE_REQUEST_PAYLOAD_BYTES_MAX,
)
from batchyard.model.records import ExitAction, ExitRule, Json
from batchyard.model.refusal import client_exception
from batchyard.model.training_requests import BadRequest, TrainingRequest, read_training_request

SAGEMAKER_TRAINING = "SAGEMAKER_TRAINING"
LIMITS = "capacityLimits"
_INSTANCE_PREFIX = "ml."


def check_service_type(text: str, member: str) -> None:
    """Refuse a service that there is not."""
    if text != SAGEMAKER_TRAINING:
        raise client_exception(f"{member} {text} is not {SAGEMAKER_TRAINING}.")


def check_service_limits(limits: Sequence[Json]) -> None:
    """Refuse limits of a service environment that contradict each other, or say nothing."""
    most = CAPACITY_LIMITS_PER_SERVICE_ENVIRONMENT_MAX
    if not 1 <= len(limits) <= most:
        raise client_exception(f"{LIMITS} must have 1 to {most} items, but has {len(limits)}.")
    for each in limits:
        if "capacityUnit" not in each or "maxCapacity" not in each:
            raise client_exception(f"{LIMITS} must have a maxCapacity and a capacityUnit each.")
        if not 1 <= each["maxCapacity"] <= MAX_CAPACITY_MAX:
            raise client_exception(f"maxCapacity must be between 1 and {MAX_CAPACITY_MAX}.")
    units = [each["capacityUnit"] for each in limits]
    if len(set(units)) < len(units):
        raise client_exception(f"{LIMITS} must not repeat a capacityUnit.")
    if units != [NUM_INSTANCES]:
        check_instance_units(limits)


def check_instance_units(limits: Sequence[Json]) -> None:
    """Refuse units that are no instance types of SageMaker: so it is where there are quotas."""
    for each in limits:
        if not each["capacityUnit"].startswith(_INSTANCE_PREFIX):
            raise client_exception(
                f"capacityUnit {each['capacityUnit']} is not an instance type, such as"
                f" ml.m5.large; {NUM_INSTANCES} stands alone, and not where there are quota shares."
            )


def payload_of(request: Json) -> TrainingRequest:
    """Read the request for SageMaker. Refuses one that cannot be queued here.

    AWS reads as much of it: how many instances of which type.
    """
    text: str = request["serviceRequestPayload"]
    if len(text.encode(errors="replace")) > SERVICE_REQUEST_PAYLOAD_BYTES_MAX:
        raise client_exception(
            f"serviceRequestPayload can have at most {SERVICE_REQUEST_PAYLOAD_BYTES_MAX} bytes."
        )
    try:
        return read_training_request(text)
    except BadRequest as error:
        raise client_exception(f"serviceRequestPayload is not valid: {error}.") from None


def check_service_retry(strategy: Json) -> None:
    """Refuse a retry strategy that is out of range."""
    if not 1 <= strategy["attempts"] <= ATTEMPTS_MAX:
        raise client_exception(f"Number of attempts must be between 1 and {ATTEMPTS_MAX}.")
    rules = strategy.get("evaluateOnExit") or []
    if len(rules) > EXIT_RULES_MAX:
        raise client_exception(
            f"retryStrategy.evaluateOnExit can have at most {EXIT_RULES_MAX} items."
        )
    for index, rule in enumerate(rules):
        where = f"retryStrategy.evaluateOnExit[{index}]"
        if str(rule.get("action", "")).upper() not in tuple(ExitAction):
            raise client_exception(f"{where}.action must be RETRY or EXIT.")
        pattern = rule.get("onStatusReason") or ""
        if len(pattern) > EXIT_PATTERN_LENGTH_MAX or not pattern.isprintable():
            raise client_exception(
                f"{where}.onStatusReason can have at most {EXIT_PATTERN_LENGTH_MAX} printable"
                " characters."
            )


def service_exit_rules_of(strategy: Json) -> tuple[ExitRule, ...]:
    """Give the rules that decide whether a failed attempt is tried again."""
    return tuple(
        ExitRule(
            action=ExitAction(rule["action"].upper()),
            on_status_reason=rule.get("onStatusReason"),
        )
        for rule in strategy.get("evaluateOnExit") or []
    )


def check_service_members(request: Json) -> None:
    """Refuse a priority, a time or a number of preemptions that is out of range."""
    priority = request.get("schedulingPriority")
    if priority is not None:
        check_priority(priority)
    seconds = (request.get("timeoutConfig") or {}).get("attemptDurationSeconds")
    if seconds is not None and seconds < 1:
        raise client_exception("timeoutConfig.attemptDurationSeconds must be at least 1.")
    preemption = request.get("preemptionConfiguration") or {}
    retries = preemption.get("preemptionRetriesBeforeTermination")
    if retries is not None and retries < 0:
        raise client_exception("preemptionRetriesBeforeTermination must be at least 0.")


def check_priority(priority: int) -> None:
    if not 0 <= priority <= SCHEDULING_PRIORITY_MAX:
        raise client_exception(
            f"schedulingPriority must be between 0 and {SCHEDULING_PRIORITY_MAX}."
        )


def check_shares(
    request: Json, *, is_fair_share: bool, quota_shares: Mapping[str, str | None] | None
) -> None:
    """Refuse a share where the queue has none, none where it has some, and one that is closed.

    `quota_shares` has those of the queue; those that take no jobs with the reason.
    """
    identifier: str = request.get("shareIdentifier") or ""
    name: str = request.get("quotaShareName") or ""
    if identifier and not is_fair_share:
        raise client_exception(
            "shareIdentifier can only be specified for a job queue with fair share scheduling"
            " policy."
        )
    if is_fair_share:
        if not identifier:
            raise client_exception("shareIdentifier must be specified.")
        check_share_identifier(identifier)
    if quota_shares is None:
        if name:
            raise client_exception(
                "quotaShareName can only be specified for a job queue with a quota share"
                " scheduling policy."
            )
        return
    if not name:
        raise client_exception("quotaShareName must be specified.")
    if name not in quota_shares:
        raise client_exception(f"Quota share {name} does not exist in the job queue.")
    if (reason := quota_shares[name]) is not None:
        raise client_exception(f"Quota share {name} is in {reason}")
