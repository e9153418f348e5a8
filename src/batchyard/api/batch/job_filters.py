"""The filters of ListJobs. Pure (reference/jobs.md sections 12.2, 12.3).

Decides what a filter means: which of a stored job's columns it compares, and how. Refuses to know
how jobs are found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchyard.api.batch.names import definition_name_of
from batchyard.api.batch.refusals import unsupported
from batchyard.model.ids import DefinitionArn, Scope
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import JobStatus

_ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs of a queue to list: those that hold for every member that is not None."""

    statuses: tuple[JobStatus, ...] | None = None
    #: Compared without regard to case.
    name: str | None = None
    name_prefix: str | None = None
    definition_arn: DefinitionArn | None = None
    #: Name of a definition, any revision.
    definition_name: str | None = None
    definition_name_prefix: str | None = None
    created_before_ms: int | None = None
    created_after_ms: int | None = None


def filter_of(scope: Scope, *, status: str | None, filters: Sequence[Json]) -> JobFilter:
    """Read the filter of a request. RUNNING jobs are listed unless something else is asked for.

    Every filter we carry lists jobs of all states: the status of the request does not count then.
    """
    if status and status not in list(JobStatus):
        raise client_exception(f"Job status is not one of {' | '.join(JobStatus)}")
    if not filters:
        return JobFilter(statuses=(JobStatus(status or JobStatus.RUNNING),))
    if len(filters) > 1:
        raise client_exception("filters must not have more than 1 item.")
    name: str = filters[0].get("name", "")
    values: Sequence[str] = filters[0].get("values", ())
    if name == "SHARE_IDENTIFIER":
        raise unsupported("filter SHARE_IDENTIFIER")
    if len(values) != 1:
        raise client_exception(f"filter {name} must have exactly one value.")
    match name:
        case "JOB_NAME":
            return _by_name(values[0])
        case "JOB_DEFINITION":
            return _by_definition(scope, values[0])
        case "BEFORE_CREATED_AT":
            return JobFilter(created_before_ms=_time_of(name, values[0]))
        case "AFTER_CREATED_AT":
            return JobFilter(created_after_ms=_time_of(name, values[0]))
        case _:
            raise client_exception(
                f"filter {name} is not one of JOB_NAME, JOB_DEFINITION, BEFORE_CREATED_AT,"
                " AFTER_CREATED_AT, SHARE_IDENTIFIER."
            )


def _by_name(value: str) -> JobFilter:
    if value.endswith(_ANY):
        return JobFilter(name_prefix=value[:-1].lower())
    return JobFilter(name=value.lower())


def _by_definition(scope: Scope, value: str) -> JobFilter:
    if value.endswith(_ANY):
        if value.startswith("arn:"):
            raise client_exception("filter JOB_DEFINITION cannot have * in an ARN.")
        return JobFilter(definition_name_prefix=value[:-1])
    named = definition_name_of(scope, value)
    if named is None:
        return JobFilter(definition_arn=DefinitionArn(value))
    name, revision = named
    if revision is None:
        return JobFilter(definition_name=name)
    return JobFilter(definition_arn=scope.definition_arn(name, revision))


def _time_of(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise client_exception(f"filter {name} must be a time in milliseconds.")
    return int(value)
