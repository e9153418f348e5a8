"""ListClusters and DescribeClusters: each compute environment of ECS has one.

Tasks are counted as the engine holds them: nothing is read for each.
"""

from batchyard.api.ecs.service import (
    Service,
    cluster_arn,
    missing,
    page_of,
    read_clusters,
    refuse_too_many,
    refuse_unknown,
)
from batchyard.model.environment_kinds import kind_of_environment
from batchyard.model.records import EnvironmentRecord, Json
from batchyard.store.instances import list_instances
from batchyard.wire.call import Call

_CLUSTER = ":cluster/"
_INCLUDES = ("ATTACHMENTS", "CONFIGURATIONS", "SETTINGS", "STATISTICS", "TAGS")


async def list_clusters(service: Service, call: Call, request: Json) -> Json:
    """Name the clusters."""
    asked = page_of("ListClusters", request)
    records = await service.store.read(lambda conn: read_clusters(conn, call.scope))
    page, token = asked.pick(cluster_arn(each) or "" for each in records)
    return {"clusterArns": page, "nextToken": token}


async def describe_clusters(service: Service, call: Call, request: Json) -> Json:
    """Show clusters, by name or ARN."""
    asked: list[str] = list(dict.fromkeys(request.get("clusters") or ["default"]))
    refuse_too_many(asked, "clusters")
    records = await service.store.read(lambda conn: read_clusters(conn, call.scope))
    known: dict[str, EnvironmentRecord] = {}
    for record in records:
        arn = cluster_arn(record) or ""
        known |= {arn: record, arn.partition(_CLUSTER)[2]: record}
    include: list[str] = request.get("include") or []
    refuse_unknown(include, "include", _INCLUDES)
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
    tasks = service.list_tasks(record.arn)
    running_count = sum(each.is_running for each in tasks)
    pending_count = len(tasks) - running_count
    shown: Json = {
        "clusterArn": arn,
        "clusterName": arn.partition(_CLUSTER)[2],
        "status": "ACTIVE",
        "registeredContainerInstancesCount": len(instances),
        "runningTasksCount": running_count,
        "pendingTasksCount": pending_count,
        "activeServicesCount": 0,
    }
    if "SETTINGS" in include:
        settings = record.detail.get("ecsSettings") or {}
        value = str(settings.get("containerInsights", "DISABLED")).lower()
        shown["settings"] = [{"name": "containerInsights", "value": value}]
    if "STATISTICS" in include:
        kind = "Fargate" if kind_of_environment(record.detail).is_fargate else "EC2"
        counts = {
            f"running{kind}TasksCount": running_count,
            f"pending{kind}TasksCount": pending_count,
        }
        shown["statistics"] = [
            {"name": name, "value": str(count)} for name, count in counts.items()
        ]
    return shown
