"""Which containers an attempt has: one, or those of a task; of the job, or of one of its nodes.

Owns the reading of a stored spec: `container`, `ecsProperties`, or the range that a node has in
`nodeProperties` (reference/jobs.md sections 9.1 and 10.1). Refuses to know what containers become.
"""

from dataclasses import dataclass

import msgspec

from batchyard.model.amounts import Amount
from batchyard.model.ids import DefinitionArn, Scope
from batchyard.model.log_stream import CONTAINER_NAME
from batchyard.model.node_ranges import range_of_node
from batchyard.model.records import JobRecord, Json
from batchyard.model.requirements import stored_amount_of
from batchyard.model.training_requests import read_training_request


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What one attempt runs, as the stored spec says."""

    scope: Scope
    definition_arn: DefinitionArn
    #: `containerProperties` with everything merged, or the containers of `ecsProperties`.
    containers: tuple[Json, ...]
    #: What each container needs.
    amounts: tuple[Amount, ...]
    #: What they share: volumes, roles, modes.
    shared: Json
    job_role_arn: str | None


def workload_of(record: JobRecord) -> Workload:
    """Read what an attempt of a job, child or node runs. Raises `KeyError` for a spec not ours."""
    job = record.job
    spec: Json = msgspec.json.decode(job.spec)
    if job.capacity_use:
        return _training_of(record, spec)
    amount = job.demand
    if job.nodes is not None:
        assert record.index is not None, job.id
        spec = range_of_node(spec["nodeProperties"], record.index)
        amount = job.nodes.demands()[record.index]
    if (properties := spec.get("ecsProperties")) is not None:
        [task] = properties["taskProperties"]
        return Workload(
            scope=job.scope,
            definition_arn=job.definition_arn,
            containers=tuple(task["containers"]),
            amounts=tuple(stored_amount_of(each) for each in task["containers"]),
            shared=task,
            job_role_arn=task.get("taskRoleArn"),
        )
    container: Json = spec["container"]
    return Workload(
        scope=job.scope,
        definition_arn=job.definition_arn,
        containers=(container,),
        amounts=(amount,),
        shared=container,
        job_role_arn=container.get("jobRoleArn"),
    )


def _training_of(record: JobRecord, spec: Json) -> Workload:
    """Read one instance of a service job."""
    job = record.job
    request = read_training_request(spec["serviceRequestPayload"])
    amount = job.demand if job.nodes is None else job.nodes.demands()[record.index or 0]
    return Workload(
        scope=job.scope,
        definition_arn=job.definition_arn,
        containers=({"image": request.algorithm.training_image},),
        amounts=(amount,),
        shared={},
        job_role_arn=request.role_arn,
    )


def name_of(container: Json) -> str:
    """Give the name of a container within its task."""
    return str(container.get("name") or CONTAINER_NAME)
