"""The filters of ListJobs. Pure (reference/jobs.md sections 12.2, 12.3).

Decides what a filter of a request means. Refuses to know how jobs are found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchyard.api.batch.rules.names import definition_name_of
from batchyard.model.ids import Scope
from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import CONTAINER_JOB_STATUSES, JobStatus
from batchyard.store.jobs import JobFilter

_ANY = "*"
#: Later than any job, and small enough for every database.
_END_MS = 10**18
_TIME_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which jobs of a queue to list."""

    #: None means all.
    statuses: tuple[JobStatus, ...] | None
    narrowed: JobFilter

    @property
    def is_grouped_by_name(self) -> bool:
        """Jobs found by name come name by name."""
        return self.narrowed.name is not None or self.narrowed.name_prefix is not None


def filter_of(scope: Scope, *, status: str | None, filters: Sequence[Json]) -> Wanted:
    """Read the filter of a request. RUNNING jobs are listed unless something else is asked for.

    Every filter lists jobs of all states, and the status of the request does not count then; only
    with SHARE_IDENTIFIER it does, if there is one.
    """
    if status and status not in CONTAINER_JOB_STATUSES:
        raise client_exception(f"Job status is not one of {' | '.join(CONTAINER_JOB_STATUSES)}")
    if not filters:
        return Wanted(statuses=(JobStatus(status or JobStatus.RUNNING),), narrowed=JobFilter())
    if len(filters) > 1:
        raise client_exception("filters must not have more than 1 item.")
    narrowed = _narrowed(scope, filters[0])
    if status and narrowed.share_identifier is not None:
        return Wanted(statuses=(JobStatus(status),), narrowed=narrowed)
    return Wanted(statuses=None, narrowed=narrowed)


def service_filter_of(*, status: str | None, filters: Sequence[Json]) -> Wanted:
    """Read the filter of ListServiceJobs. RUNNING jobs are listed unless something else is asked
    for.

    Filters list jobs of all states; those of shares only of the request's status, if it has one.
    """
    if status and status not in list(JobStatus):
        raise client_exception(f"Job status is not one of {' | '.join(JobStatus)}")
    if not filters:
        return Wanted(statuses=(JobStatus(status or JobStatus.RUNNING),), narrowed=JobFilter())
    if len(filters) > 1:
        raise client_exception("filters must not have more than 1 item.")
    narrowed = _narrowed_services(filters[0])
    of_share = narrowed.share_identifier is not None or narrowed.quota_share is not None
    return Wanted(statuses=(JobStatus(status),) if status and of_share else None, narrowed=narrowed)


def _narrowed_services(given: Json) -> JobFilter:
    name: str = given.get("name", "")
    values: Sequence[str] = given.get("values", ())
    if len(values) != 1:
        raise client_exception(f"filter {name} must have exactly one value.")
    match name:
        case "JOB_NAME":
            return _by_name(values[0])
        case "BEFORE_CREATED_AT":
            return JobFilter(created_before_ms=_time_of(name, values[0]))
        case "AFTER_CREATED_AT":
            return JobFilter(created_after_ms=_time_of(name, values[0]))
        case "SHARE_IDENTIFIER":
            return JobFilter(share_identifier=values[0])
        case "QUOTA_SHARE_NAME":
            return JobFilter(quota_share=values[0])
        case _:
            raise client_exception(
                f"filter {name} is not one of JOB_NAME, BEFORE_CREATED_AT, AFTER_CREATED_AT,"
                " SHARE_IDENTIFIER, QUOTA_SHARE_NAME."
            )


def _narrowed(scope: Scope, given: Json) -> JobFilter:
    name: str = given.get("name", "")
    values: Sequence[str] = given.get("values", ())
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
        case "SHARE_IDENTIFIER":
            return JobFilter(share_identifier=values[0])
        case _:
            raise client_exception(
                f"filter {name} is not one of JOB_NAME, JOB_DEFINITION, BEFORE_CREATED_AT,"
                " AFTER_CREATED_AT, SHARE_IDENTIFIER."
            )


def _by_name(value: str) -> JobFilter:
    if value.endswith(_ANY):
        return JobFilter(name_prefix=value[:-1])
    return JobFilter(name=value)


def _by_definition(scope: Scope, value: str) -> JobFilter:
    if value.endswith(_ANY):
        if value.startswith("arn:"):
            raise client_exception("filter JOB_DEFINITION cannot have * in an ARN.")
        return JobFilter(definition_arn_prefix=_definition_arn(scope, value[:-1]))
    named = definition_name_of(scope, value)
    if named is None:
        return JobFilter(definition_arn=value)
    name, revision = named
    if revision is None:
        return JobFilter(definition_arn_prefix=_definition_arn(scope, f"{name}:"))
    return JobFilter(definition_arn=scope.definition_arn(name, revision))


def _definition_arn(scope: Scope, rest: str) -> str:
    return scope.arn("batch", f"job-definition/{rest}")


def _time_of(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise client_exception(f"filter {name} must be a time in milliseconds.")
    # What is later than any time that can be stored means the end of time.
    return int(value) if len(value) <= _TIME_DIGITS_MAX else _END_MS
