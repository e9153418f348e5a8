"""ARNs of the ECS things behind a job: cluster, task, container instance. Pure.

AWS names an environment's cluster `<name>_Batch_<uuid>`. A finished job shows its cluster after its
environment is gone, so ours is derived from the environment's ARN alone and outlives it.
"""

import re
from hashlib import blake2b

from batchyard.model.ids import EnvironmentArn, HostId, Scope, TaskId, name_in_arn
from batchyard.model.instances import InstanceId

_INSTANCE_DIGITS = 17
_INSTANCE_ID = re.compile(rf"i-[0-9a-f]{{{_INSTANCE_DIGITS}}}")


def cluster_name_of(environment_arn: EnvironmentArn) -> str:
    """Name the ECS cluster of a compute environment, in AWS's form."""
    return f"{name_in_arn(environment_arn)}_Batch_{_uuid_of(environment_arn)}"


def cluster_arn_of(scope: Scope, environment_arn: EnvironmentArn) -> str:
    """Give `ecsClusterArn` of a compute environment."""
    return scope.arn("ecs", f"cluster/{cluster_name_of(environment_arn)}")


def task_arn_of(scope: Scope, environment_arn: EnvironmentArn, task_id: TaskId) -> str:
    """Give `taskArn` of an attempt."""
    return scope.arn("ecs", f"task/{cluster_name_of(environment_arn)}/{task_id}")


def container_instance_arn_of(
    scope: Scope, environment_arn: EnvironmentArn, machine: InstanceId | HostId
) -> str:
    """Give `containerInstanceArn`: the instance as the environment's cluster knows it.

    It begins with the digits of the instance's id, so that the instance is found by it. (Where
    there are none, the host stands for it.)
    """
    digits = blake2b(f"{environment_arn} {machine}".encode(), digest_size=16).hexdigest()
    if _INSTANCE_ID.fullmatch(machine):
        own = machine.removeprefix("i-")
        digits = own + digits[len(own) :]
    return scope.arn("ecs", f"container-instance/{cluster_name_of(environment_arn)}/{digits}")


def instance_id_in(container_instance: str) -> InstanceId:
    """Name the instance that a `containerInstanceArn`, or the last part of one, can only mean.

    Whether there is such an instance, and whether the rest is right, is for the caller to see.
    """
    return InstanceId(f"i-{container_instance.rsplit('/', 1)[-1][:_INSTANCE_DIGITS]}")


def attachment_id_of(task_id: TaskId) -> str:
    """Give `attachmentId` of the network interface that a task has of its own."""
    return _uuid_of(f"{task_id} interface")


def _uuid_of(text: str) -> str:
    digits = blake2b(text.encode(), digest_size=16).hexdigest()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
