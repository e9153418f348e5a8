"""Names and ARNs from callers: which are well formed, and what of which scope they mean. Pure.

Decides patterns (reference/jobs.md sections 0.3 and 2.3) and turns "name or ARN" into an ARN of the
caller's scope. Refuses to know whether the thing exists. An ARN of another scope means nothing.
"""

import re

from batchyard.model.ids import (
    PARTITION,
    ConsumableArn,
    EnvironmentArn,
    JobId,
    QueueArn,
    QuotaShareArn,
    Scope,
    is_job_id,
    is_whole_job_id,
)
from batchyard.model.refusal import client_exception

_RESOURCE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_QUOTA_SHARE = "/quota-share/"
_REVISION = re.compile(r"[1-9][0-9]{0,8}")


def is_resource_name(text: str) -> bool:
    """Tell whether `text` may name an environment, a queue or a job definition."""
    return _RESOURCE_NAME.fullmatch(text) is not None


def is_job_name(text: str) -> bool:
    """Tell whether `text` may name a job: like a resource, but alphanumeric at the start."""
    return _JOB_NAME.fullmatch(text) is not None


def check_resource_name(text: str, member: str) -> None:
    """Refuse a name that breaks the pattern all named resources share."""
    if not is_resource_name(text):
        raise client_exception(
            f"{member} must be 1 to 128 letters, digits, hyphens and underscores."
        )


def environment_arn_of(scope: Scope, text: str) -> EnvironmentArn:
    """Give the ARN that a compute environment's name or ARN means; never checks that it exists."""
    return EnvironmentArn(text) if text.startswith("arn:") else scope.environment_arn(text)


def service_environment_arn_of(scope: Scope, text: str) -> EnvironmentArn:
    """Give the ARN that a service environment's name or ARN means; never checks that it exists."""
    return EnvironmentArn(text) if text.startswith("arn:") else scope.service_environment_arn(text)


def queue_arn_of(scope: Scope, text: str) -> QueueArn:
    """Give the ARN that a job queue's name or ARN means; never checks that it exists."""
    return QueueArn(text) if text.startswith("arn:") else scope.queue_arn(text)


def consumable_arn_of(scope: Scope, text: str) -> ConsumableArn:
    """Give the ARN that a consumable resource's name or ARN means; never checks that it exists."""
    return ConsumableArn(text) if text.startswith("arn:") else scope.consumable_arn(text)


def is_arn_in(scope: Scope, arn: str) -> bool:
    """Tell whether `arn` names something of AWS Batch in this scope."""
    return arn.startswith(f"arn:{PARTITION}:batch:{scope.region}:{scope.account}:")


def is_policy_arn_in(scope: Scope, text: str) -> bool:
    """Tell whether `text` is the ARN of a scheduling policy in this scope."""
    return text.startswith(scope.policy_arn(""))


def quota_share_arn_of(scope: Scope, text: str) -> QuotaShareArn | None:
    """Give the ARN of a quota share; None: `text` is none of this scope. It has no other form."""
    is_one = text.startswith(scope.queue_arn("")) and _QUOTA_SHARE in text
    return QuotaShareArn(text) if is_one else None


def job_id_of(scope: Scope, text: str) -> JobId | None:
    """Give the job id in a job id or job ARN; None if malformed or of another scope."""
    if text.startswith("arn:"):
        prefix = scope.job_arn(JobId(""))
        if not text.startswith(prefix):
            return None
        text = text[len(prefix) :]
    return JobId(text) if is_job_id(text) else None


def service_job_id_of(scope: Scope, text: str) -> JobId | None:
    """Give the id in a service job's id or ARN; None if malformed or of another scope."""
    text = text.removeprefix(scope.service_job_arn(JobId("")))
    return JobId(text) if is_whole_job_id(text) else None


def definition_name_of(scope: Scope, text: str) -> tuple[str, int | None] | None:
    """Split `name`, `name:7` or an ARN into name and revision; None if it is of another scope.

    Refuses what has none of these forms, in AWS's words.
    """
    rest = text
    if text.startswith("arn:"):
        prefix = scope.arn("batch", "job-definition/")
        if not text.startswith(prefix):
            if ":job-definition/" in text:
                return None
            raise _malformed(text)
        rest = text[len(prefix) :]
    name, colon, revision = rest.partition(":")
    if not is_resource_name(name) or (colon and not _REVISION.fullmatch(revision)):
        raise _malformed(rest)
    return name, int(revision) if colon else None


def _malformed(text: str) -> Exception:
    return client_exception(f"Provided name {text} is not supported pattern[a-zA-Z_0-9-]{{1,128}}")
