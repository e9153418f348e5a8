"""Queues with quota shares: which ones these are, and what they may be made of.

Decides by reference/compute-and-scheduling.md section 3.4. A queue has quota shares by its policy,
for ever or never. AWS has them for service jobs only; for container jobs they are ours, and an
operator has to allow them: docs/decisions/0016-quota-shares.md.
"""

from collections.abc import Sequence

from batchyard.api.batch.rules.quota import POLICY
from batchyard.model.ids import EnvironmentArn, PolicyArn, QueueArn
from batchyard.model.records import QueueRecord
from batchyard.model.refusal import client_exception
from batchyard.model.status import ResourceState, ResourceStatus
from batchyard.store import Connection, policies, queues
from batchyard.store.quota_shares import quota_shares_of_queue

_EKS = "EKS"


def has_quota_shares(conn: Connection, queue: QueueRecord) -> bool:
    """Tell whether the policy of a queue is one of quota shares."""
    return is_of_quota_shares(conn, queue.detail.get("schedulingPolicyArn"))


def is_of_quota_shares(conn: Connection, policy_arn: PolicyArn | str | None) -> bool:
    """Tell whether a policy is one of quota shares; none is not."""
    if not policy_arn:
        return False
    policy = policies.read_policy(conn, PolicyArn(policy_arn))
    return policy is not None and POLICY in policy.detail


def check_may_have_shares(queue_type: str, *, is_allowed: bool) -> None:
    """Refuse quota shares for containers where the operator has not allowed them."""
    if not is_allowed:
        raise client_exception(
            "A job queue with a quotaSharePolicy needs a service environment: quota shares of"
            " compute environments are batchyard's own, and not allowed by its operator"
            " (setting are_container_quota_shares_allowed)."
        )
    if queue_type == _EKS:
        raise client_exception("A job queue with a quotaSharePolicy cannot be of type EKS.")


def check_connections(
    conn: Connection, own: QueueArn, environment_arns: Sequence[EnvironmentArn], *, is_quota: bool
) -> None:
    """Refuse an environment that a queue with quota shares would have to share with another."""
    for environment_arn in environment_arns:
        for other_arn in queues.queues_of_environment(conn, environment_arn):
            other = None if other_arn == own else queues.read_queue(conn, other_arn)
            if other is not None and (is_quota or has_quota_shares(conn, other)):
                raise client_exception(
                    f"{environment_arn} cannot be connected to a job queue with quota shares and"
                    f" to another one: {other_arn} is connected to it."
                )


def why_closed(conn: Connection, queue_arn: QueueArn) -> dict[str, str | None]:
    """Name the quota shares of a queue, with the reason for those that take no jobs."""
    return {
        each.name: _why_closed(each.state, each.status)
        for each in quota_shares_of_queue(conn, queue_arn)
    }


def _why_closed(state: ResourceState, status: ResourceStatus) -> str | None:
    if state is not ResourceState.ENABLED:
        return f"state {state}"
    if status in (ResourceStatus.CREATING, ResourceStatus.DELETING):
        return f"status {status}"
    return None
