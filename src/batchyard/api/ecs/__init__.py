"""ECS, read-only: our environments, instances and tasks as the clusters behind AWS Batch.

For whoever follows `ecsClusterArn`, `containerInstanceArn` and `taskArn` from AWS Batch onwards
(reference/integrations.md section 8). Every operation that is not here is refused by the wire.
"""

from functools import partial

from batchyard.api.ecs import clusters, container_instances, tasks
from batchyard.api.ecs.service import Service as Service
from batchyard.wire.call import Handlers

_OPERATIONS = {
    "DescribeClusters": clusters.describe_clusters,
    "DescribeContainerInstances": container_instances.describe_container_instances,
    "DescribeTasks": tasks.describe_tasks,
    "ListClusters": clusters.list_clusters,
    "ListContainerInstances": container_instances.list_container_instances,
    "ListTasks": tasks.list_tasks,
}


def handlers(service: Service) -> Handlers:
    """Give the handler of each operation of `ecs` that is served."""
    return {("ecs", name): partial(each, service) for name, each in _OPERATIONS.items()}
