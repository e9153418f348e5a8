"""What `dependsOn` and `arrayProperties` mean (reference/jobs.md sections 4.6 and 5). Pure.

Decides what a job waits for, child by child where it is an array. Refuses to know which jobs exist:
that is told afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchyard.api.batch.refusals import executing
from batchyard.api.batch.rules.names import job_id_of
from batchyard.model.ids import JobId, Scope
from batchyard.model.limits import ARRAY_SIZE_MAX, ARRAY_SIZE_MIN, DEPENDENCIES_PER_JOB_MAX
from batchyard.model.records import Json
from batchyard.model.refusal import Refusal, client_exception
from batchyard.model.status import JobStatus

_N_TO_N = "N_TO_N"
_SEQUENTIAL = "SEQUENTIAL"
_NODE_MARK = "#"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What a job, or each child of an array, waits for."""

    #: Jobs and single children that must be SUCCEEDED first.
    whole: tuple[JobId, ...] = ()
    #: Arrays whose child of the same index must be SUCCEEDED first.
    each: tuple[JobId, ...] = ()
    #: Each child waits for the one before it.
    is_sequential: bool = False

    @property
    def ids(self) -> tuple[JobId, ...]:
        return self.whole + self.each


NO_DEPENDENCIES = Dependencies()


def array_size_of(properties: Json | None) -> int | None:
    """Give the size of an array job; None: it is none. Refuses sizes that AWS does not have."""
    size: int | None = (properties or {}).get("size")
    if size is not None and not ARRAY_SIZE_MIN <= size <= ARRAY_SIZE_MAX:
        raise client_exception(f"Array size must be between {ARRAY_SIZE_MIN} and {ARRAY_SIZE_MAX}.")
    return size


def dependencies_of(
    given: Sequence[Json], scope: Scope, *, array_size: int | None, request_id: str
) -> Dependencies:
    """Read what a submission depends on. Refuses what has no meaning for it."""
    if len(given) > DEPENDENCIES_PER_JOB_MAX:
        raise executing(
            request_id, f"Job cannot have more than {DEPENDENCIES_PER_JOB_MAX} dependencies"
        )
    whole: list[JobId] = []
    each: list[JobId] = []
    is_sequential = False
    for dependency in given:
        kind = dependency.get("type") or ""
        text = dependency.get("jobId") or ""
        if kind not in ("", _N_TO_N, _SEQUENTIAL):
            raise client_exception(f"dependsOn type {kind} is not one of N_TO_N, SEQUENTIAL.")
        if array_size is None and (kind == _N_TO_N or (kind and not text)):
            raise client_exception(f"dependsOn type {kind} is only applicable for array jobs.")
        if not text and kind == _SEQUENTIAL:
            is_sequential = True
        elif not text:
            raise client_exception("dependsOn.jobId must be provided")
        elif kind == _N_TO_N:
            each.append(_id_of(scope, text))
        else:
            whole.append(_id_of(scope, text))
    return Dependencies(
        whole=tuple(dict.fromkeys(whole)),
        each=tuple(dict.fromkeys(each)),
        is_sequential=is_sequential,
    )


def check_known(
    dependencies: Dependencies,
    size_by_id: Mapping[JobId, int | None],
    *,
    array_size: int | None,
) -> None:
    """Refuse ids that do not exist: a job must never wait for ever on one that cannot resolve.

    `size_by_id` has the jobs that exist, and the sizes of those that are arrays. N_TO_N goes
    between arrays of the same size.
    """
    for job_id in dependencies.ids:
        if job_id not in size_by_id:
            raise _does_not_exist(job_id)
    for job_id in dependencies.each:
        size = size_by_id[job_id]
        if size is None:
            raise client_exception(f"dependsOn type N_TO_N: job {job_id} is not an array job.")
        if size != array_size:
            raise client_exception(
                f"dependsOn type N_TO_N: array job {job_id} has {size} children, this one"
                f" {array_size}."
            )


def failed_dependencies(
    dependencies: Dependencies, status_by_id: Mapping[JobId, JobStatus]
) -> list[str]:
    """Say of which jobs it is known already that they will not be SUCCEEDED."""
    failed = [each for each in dependencies.ids if status_by_id.get(each) is JobStatus.FAILED]
    return [
        f"Array job {each}, which it depends on, is FAILED: children whose counterparts are will"
        " fail, too."
        if each in dependencies.each
        else f"Job {each}, which it depends on, is FAILED: it will fail, too."
        for each in failed
    ]


def _id_of(scope: Scope, text: str) -> JobId:
    job_id = job_id_of(scope, text)
    if job_id is None:
        raise _does_not_exist(text)
    if _NODE_MARK in job_id:
        raise client_exception(
            f"dependsOn.jobId {job_id} is a node; a job can depend on the whole multi-node job."
        )
    return job_id


def _does_not_exist(text: str) -> Refusal:
    return client_exception(f"Job {text} does not exist.")
