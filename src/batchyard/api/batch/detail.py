"""How a job is shown: DescribeJobs' detail and ListJobs' summary. Pure.

Everything static comes from the job's spec, everything else from its progress (reference/jobs.md
sections 1.2, 1.3, 4.2, 6.4, 9.2, 12.1, 12.4). The job's own times and reasons are those of its
latest attempt. A child or a node is shown from its parent's spec.
"""

import msgspec

from batchyard.api.batch.attempt_views import (
    CONTAINER,
    ECS,
    attempt_detail,
    container_view,
    end_of,
    ended_attempts,
    latest_attempt,
    nodes_attempt_detail,
    setting_of,
    task_detail,
)
from batchyard.model.node_ranges import range_of_node
from batchyard.model.records import JobProgress, JobRecord, Json
from batchyard.model.status import CONTAINER_JOB_STATUSES

_decode = msgspec.json.Decoder(Json).decode

_EKS = "eksProperties"
_NODES = "nodeProperties"
_CONSUMABLES = "consumableResourceProperties"
_WORKLOADS = (CONTAINER, ECS, _EKS)
#: How a spec that has pods says so; no value in it can have these bytes, for quotes are escaped.
_EKS_MEMBER = b'"eksProperties":'
_MILLI = 1000


def job_detail(record: JobRecord) -> Json:
    """Give a job, a child or a node as DescribeJobs shows it."""
    job, progress = record.job, record.progress
    spec = _decode(job.spec)
    if record.index is not None:
        spec["dependsOn"] = []
    if _is_node(record):
        _turn_into_node(spec, record)
    shown: Json = {
        "jobArn": job.scope.job_arn(job.id),
        "jobName": job.name,
        "jobId": job.id,
        **spec,
        "status": progress.status.value,
        "createdAt": job.created_ms,
        "isCancelled": progress.is_cancelled,
        "isTerminated": progress.is_terminated,
        "tags": dict(job.tags),
    }
    if job.share_identifier is not None:
        shown["shareIdentifier"] = job.share_identifier
        shown["schedulingPriority"] = job.scheduling_priority
    _add_runs(shown, record)
    if job.array_size is not None:
        shown["arrayProperties"] = _array_properties(record)
        if record.index is not None:
            shown["arrayProperties"]["statusSummary"] = {}
    _add_times(shown, progress)
    return shown


def job_summary(record: JobRecord) -> Json:
    """Give a job, a child or a node as ListJobs shows it."""
    job, progress = record.job, record.progress
    is_array = job.array_size is not None
    shown: Json = {
        "jobArn": job.scope.job_arn(job.id),
        "jobId": job.id,
        "jobName": job.name,
        "createdAt": job.created_ms,
        "status": progress.status.value,
        "jobDefinition": job.definition_arn,
        "isCancelled": progress.is_cancelled,
        "isTerminated": progress.is_terminated,
    }
    if job.share_identifier is not None:
        shown["shareIdentifier"] = job.share_identifier
    if is_array:
        shown["arrayProperties"] = _array_properties(record)
    if job.nodes is not None:
        shown["nodeProperties"] = (
            {"numNodes": job.nodes.count}
            if record.index is None
            else {"nodeIndex": record.index, "isMainNode": record.index == job.nodes.main_index}
        )
    latest = latest_attempt(record)
    if latest is not None and (progress.status.has_task or progress.status.is_terminal):
        shown["container"] = end_of(latest)
    is_whole_array = is_array and record.index is None
    if not is_whole_array and not _is_node(record):
        unit = "cpu" if _EKS_MEMBER in job.spec else "VCPU"
        quantity = job.demand.cpu_milli / _MILLI
        shown["capacityUsage"] = [{"capacityUnit": unit, "quantity": quantity}]
    _add_times(shown, progress)
    return shown


def _is_node(record: JobRecord) -> bool:
    return record.index is not None and record.job.nodes is not None


def _turn_into_node(spec: Json, record: JobRecord) -> None:
    """Make the spec of a multi-node job that of one of its nodes."""
    index, nodes = record.index, record.job.nodes
    assert index is not None, record.job.id
    assert nodes is not None, record.job.id
    item = range_of_node(spec.pop(_NODES), index)
    spec.update((member, item[member]) for member in _WORKLOADS if member in item)
    spec.pop(_CONSUMABLES, None)
    if _CONSUMABLES in item:
        spec[_CONSUMABLES] = item[_CONSUMABLES]
    spec["nodeDetails"] = {"nodeIndex": index, "isMainNode": index == nodes.main_index}
    # AWS's answers about nodes have none: a node is not tried again by itself.
    del spec["retryStrategy"]
    if CONTAINER in spec:
        spec[CONTAINER]["networkInterfaces"] = []


def _add_runs(shown: Json, record: JobRecord) -> None:
    """Add the attempts, and what the latest one has made of the container or the task."""
    ended = ended_attempts(record)
    setting = setting_of(record, shown)
    if _NODES in shown:
        main_index: int = shown[_NODES]["mainNode"]
        main = range_of_node(shown[_NODES], main_index)
        is_eks = _EKS in main
        shown["attempts"] = [
            nodes_attempt_detail(record, main, main_index, attempt, setting)
            for attempt in ended
            if not is_eks
        ]
    elif _EKS in shown:
        is_eks = True
        shown["attempts"] = []
    else:
        is_eks = False
        shown["attempts"] = [attempt_detail(shown, attempt, setting) for attempt in ended]
        latest = latest_attempt(record)
        if ECS in shown:
            [task] = shown[ECS]["taskProperties"]
            shown[ECS] = {"taskProperties": [task_detail(task, latest, setting)]}
        elif latest is not None:
            shown[CONTAINER].update(container_view(shown[CONTAINER], latest, setting))
    if is_eks:
        shown["eksAttempts"] = []


def _array_properties(record: JobRecord) -> Json:
    """Say which child this is, or how many children there are and how they stand."""
    if record.index is not None:
        return {"index": record.index}
    array = record.progress.array
    counts = dict.fromkeys(CONTAINER_JOB_STATUSES, 0) if array is None else array.count_by_status()
    shown: Json = {
        "size": record.job.array_size,
        "statusSummary": {status.value: count for status, count in counts.items()},
    }
    if array is not None and array.updated_ms is not None:
        shown["statusSummaryLastUpdatedAt"] = array.updated_ms
    return shown


def _add_times(shown: Json, progress: JobProgress) -> None:
    if progress.status_reason is not None:
        shown["statusReason"] = progress.status_reason
    if progress.started_ms is not None:
        shown["startedAt"] = progress.started_ms
    if progress.stopped_ms is not None:
        shown["stoppedAt"] = progress.stopped_ms
