"""What a backend is told to run: a stored job's spec and its placement become a task.

Owns the environment that a job sees (reference/jobs.md section 11). Refuses to know how a
container is made. The service's variables win over the definition's.
"""

from collections.abc import Iterable, Mapping

import msgspec

from batchyard.compute.port import (
    ContainerSpec,
    LogTarget,
    Mount,
    TaskSpec,
    Tmpfs,
    Ulimit,
)
from batchyard.core.effects import StartTask
from batchyard.model.ids import Scope, name_in_arn
from batchyard.model.log_stream import (
    DEFAULT_LOG_GROUP,
    log_group_of,
    log_region_of,
    log_stream_of,
    may_create_log_group,
)
from batchyard.model.records import JobRecord, Json
from batchyard.model.status import EnvironmentKind

_SHARED_MEMORY_MIB_DEFAULT = 64
_LOG_GROUP_OPTION = b'"awslogs-group"'


def task_of(record: JobRecord, effect: StartTask, kind: EnvironmentKind) -> TaskSpec:
    """Build the task of one attempt of a job with `containerProperties`."""
    job = record.job
    container: Json = msgspec.json.decode(job.spec)["container"]
    linux: Json = container.get("linuxParameters") or {}
    command = container.get("command")
    only = ContainerSpec(
        image=container["image"],
        command=tuple(command) if command else None,
        environment=tuple(_environment(record, effect, kind, container).items()),
        limits=job.demand,
        user=container.get("user"),
        is_root_read_only=bool(container.get("readonlyRootFilesystem")),
        has_init=bool(linux.get("initProcessEnabled")),
        shared_memory_mib=linux.get("sharedMemorySize") or _SHARED_MEMORY_MIB_DEFAULT,
        tmpfs=tuple(_tmpfs(linux.get("tmpfs") or ())),
        mounts=tuple(_mounts(container)),
        ulimits=tuple(
            Ulimit(name=each["name"], soft=each["softLimit"], hard=each["hardLimit"])
            for each in container.get("ulimits") or ()
        ),
        log=LogTarget(
            account=job.scope.account,
            region=log_region_of(container) or job.scope.region,
            group=log_group_of(container),
            stream=log_stream_of(container, job.definition_arn, effect.task_id),
        ),
    )
    return TaskSpec(task_id=effect.task_id, containers=(only,), is_cpu_capped=kind.is_fargate)


def needed_log_group_of(record: JobRecord) -> tuple[Scope, str] | None:
    """Name the log group that must exist before an attempt starts; None: it is made on demand.

    AWS Batch makes its own group, and others only where the definition says so.
    """
    if _LOG_GROUP_OPTION not in record.job.spec:
        return None  # nearly every job: not worth reading its spec twice
    container: Json = msgspec.json.decode(record.job.spec)["container"]
    group = log_group_of(container)
    if group == DEFAULT_LOG_GROUP or may_create_log_group(container):
        return None
    scope = record.job.scope
    return Scope(scope.account, log_region_of(container) or scope.region), group


def _environment(
    record: JobRecord, effect: StartTask, kind: EnvironmentKind, container: Json
) -> Mapping[str, str]:
    job = record.job
    return {
        "AWS_REGION": job.scope.region,
        "AWS_DEFAULT_REGION": job.scope.region,
        **{each["name"]: each.get("value", "") for each in container.get("environment") or ()},
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE" if kind.is_fargate else "AWS_ECS_EC2",
        "AWS_BATCH_JOB_ID": job.id,
        "AWS_BATCH_JOB_ATTEMPT": str(effect.attempt_number),
        "AWS_BATCH_JQ_NAME": name_in_arn(job.queue_arn),
        "AWS_BATCH_CE_NAME": name_in_arn(effect.environment_arn),
    }


def _mounts(container: Json) -> Iterable[Mount]:
    source_by_volume = {
        volume["name"]: (volume.get("host") or {}).get("sourcePath")
        for volume in container.get("volumes") or ()
    }
    for point in container.get("mountPoints") or ():
        yield Mount(
            source=source_by_volume.get(point["sourceVolume"]),
            volume=point["sourceVolume"],
            destination=point["containerPath"],
            is_read_only=bool(point.get("readOnly")),
        )


def _tmpfs(given: Iterable[Json]) -> Iterable[Tmpfs]:
    for each in given:
        yield Tmpfs(
            destination=each["containerPath"],
            size_mib=each["size"],
            options=tuple(each.get("mountOptions") or ()),
        )
