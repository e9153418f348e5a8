"""ListClusters and DescribeClusters: each compute environment of ECS has one."""

from batchyard.api.ecs.service import (
    Service,
    cluster_arn,
    missing,
    page_of,
    read_clusters,
)
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.store.instances import list_instances
from batchyard.wire.call import Call

_CLUSTER = ":cluster/"


async def list_clusters(service: Service, call: Call, request: Json) -> Json:
    """Name the clusters, in the order in which their environments were created."""
    records = await service.store.read(lambda conn: read_clusters(conn, call.scope))
    page, token = page_of([cluster_arn(each) or "" for each in records], request)
    return {"clusterArns": page, "nextToken": token}


async def describe_clusters(service: Service, call: Call, request: Json) -> Json:
    """Show clusters, by name or ARN."""
    asked: list[str] = request.get("clusters") or ["default"]
    records = await service.store.read(lambda conn: read_clusters(conn, call.scope))
    known: dict[str, EnvironmentRecord] = {}
    for record in records:
        arn = cluster_arn(record) or ""
        known |= {arn: record, arn.partition(_CLUSTER)[2]: record}
    include: list[str] = request.get("include") or []
    return {
        "clusters": [
            await _shown(service, known[each], include) for each in asked if each in known
        ],
        "failures": [
            missing(each if each.startswith("arn:") else call.scope.arn("ecs", f"cluster/{each}"))
            for each in asked
            if each not in known
        ],
    }


async def _shown(service: Service, record: EnvironmentRecord, include: list[str]) -> Json:
    arn = cluster_arn(record) or ""
    instances = await service.store.read(lambda conn: list_instances(conn, record.arn))
    tasks = [await service.describe_task(each) for each in service.list_tasks(record.arn)]
    running = [each for each in tasks if each is not None and each.is_running]
    pending = [each for each in tasks if each is not None and not each.is_running]
    shown: Json = {
        "clusterArn": arn,
        "clusterName": arn.partition(_CLUSTER)[2],
        "status": "ACTIVE",
        "registeredContainerInstancesCount": len(instances),
        "runningTasksCount": len(running),
        "pendingTasksCount": len(pending),
        "activeServicesCount": 0,
    }
    if "SETTINGS" in include:
        settings = record.detail.get("ecsSettings") or {}
        value = str(settings.get("containerInsights", "DISABLED")).lower()
        shown["settings"] = [{"name": "containerInsights", "value": value}]
    if "STATISTICS" in include:
        kind = "Fargate" if all(each.is_fargate for each in (*running, *pending)) else "EC2"
        counts = {
            f"running{kind}TasksCount": len(running),
            f"pending{kind}TasksCount": len(pending),
        }
        shown["statistics"] = [
            {"name": name, "value": str(count)} for name, count in counts.items()
        ]
    return shown
