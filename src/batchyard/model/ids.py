"""Names of things: ids and ARNs, and how AWS spells them.

Decides the form of every identifier (reference/jobs.md section 0.3). Refuses to know whether the
thing named exists.
"""

import re
from hashlib import blake2b
from typing import NewType

from msgspec import Struct

JobId = NewType("JobId", str)
QueueArn = NewType("QueueArn", str)
EnvironmentArn = NewType("EnvironmentArn", str)
DefinitionArn = NewType("DefinitionArn", str)
ConsumableArn = NewType("ConsumableArn", str)
PolicyArn = NewType("PolicyArn", str)
QuotaShareArn = NewType("QuotaShareArn", str)
HostId = NewType("HostId", str)
#: 32 lower-case hex digits, as the last part of an ECS task ARN.
TaskId = NewType("TaskId", str)

PARTITION = "aws"

_JOB_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?:[:#](?:0|[1-9][0-9]{0,8}))?"
)

#: Of the id of a job that is no part of another one.
_WHOLE_LENGTH = 36


class Scope(Struct, frozen=True):
    """The account and region that own a resource; nothing is ever visible across scopes."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """Spell the ARN of `resource` (for example `job-queue/high`) of `service` in this scope."""
        return f"arn:{PARTITION}:{service}:{self.region}:{self.account}:{resource}"

    def queue_arn(self, name: str) -> QueueArn:
        return QueueArn(self.arn("batch", f"job-queue/{name}"))

    def quota_share_arn(self, queue: str, name: str) -> QuotaShareArn:
        return QuotaShareArn(self.arn("batch", f"job-queue/{queue}/quota-share/{name}"))

    def environment_arn(self, name: str) -> EnvironmentArn:
        return EnvironmentArn(self.arn("batch", f"compute-environment/{name}"))

    def service_environment_arn(self, name: str) -> EnvironmentArn:
        return EnvironmentArn(self.arn("batch", f"service-environment/{name}"))

    def policy_arn(self, name: str) -> PolicyArn:
        return PolicyArn(self.arn("batch", f"scheduling-policy/{name}"))

    def definition_arn(self, name: str, revision: int) -> DefinitionArn:
        return DefinitionArn(self.arn("batch", f"job-definition/{name}:{revision}"))

    def consumable_arn(self, name: str) -> ConsumableArn:
        return ConsumableArn(self.arn("batch", f"consumable-resource/{name}"))

    def job_arn(self, job_id: JobId) -> str:
        return self.arn("batch", f"job/{job_id}")

    def service_job_arn(self, job_id: JobId) -> str:
        return self.arn("batch", f"service-job/{job_id}")


def is_job_id(text: str) -> bool:
    """Tell whether `text` has the form of a job id, a child's (`…:3`) or a node's (`…#1`)."""
    return _JOB_ID.fullmatch(text) is not None


def is_whole_job_id(text: str) -> bool:
    """Tell whether `text` has the form of the id of a job that is no part of another one."""
    return len(text) == _WHOLE_LENGTH and is_job_id(text)


def child_id(parent_id: JobId, index: int) -> JobId:
    """Spell the id of an array's child."""
    return JobId(f"{parent_id}:{index}")


def node_id(parent_id: JobId, index: int) -> JobId:
    """Spell the id of a node of a multi-node job."""
    return JobId(f"{parent_id}#{index}")


def is_part_id(job_id: JobId) -> bool:
    """Tell whether an id is of a child or a node: a part of another job."""
    return len(job_id) > _WHOLE_LENGTH


def is_node_id(job_id: JobId) -> bool:
    """Tell whether an id is of a node of a multi-node job."""
    return job_id[_WHOLE_LENGTH:].startswith("#")


def whole_id_of(job_id: JobId) -> JobId:
    """Give the parent's id of a child or a node; any other id is its own."""
    return JobId(job_id[:_WHOLE_LENGTH])


def split_part_id(job_id: JobId) -> tuple[JobId, int]:
    """Give the parent's id and the index in the id of a child or a node."""
    return JobId(job_id[:_WHOLE_LENGTH]), int(job_id[_WHOLE_LENGTH + 1 :])


def name_in_arn(arn: str) -> str:
    """Give the part behind the last `/` of a resource ARN: its name (with revision, if any)."""
    return arn.rsplit("/", 1)[-1]


def quota_share_arn_in(queue_arn: QueueArn, name: str) -> QuotaShareArn:
    """Spell the ARN of a quota share of a queue."""
    return QuotaShareArn(f"{queue_arn}/quota-share/{name}")


def split_quota_share_arn(arn: QuotaShareArn) -> tuple[QueueArn, str]:
    """Give the queue's ARN and the name in the ARN of a quota share."""
    queue_arn, name = arn.split("/quota-share/", 1)
    return QueueArn(queue_arn), name


def is_service_environment_arn(arn: EnvironmentArn) -> bool:
    """Tell a service environment from a compute environment."""
    return ":service-environment/" in arn


def task_id_of(job_id: JobId, attempt_number: int) -> TaskId:
    """Derive the id of the task that runs an attempt (numbered from 1).

    Deterministic, so that an effect repeated after a crash names the same task and a backend can
    refuse to run it twice.
    """
    return TaskId(blake2b(f"{job_id}/{attempt_number}".encode(), digest_size=16).hexdigest())
