"""The filters of ListConsumableResources and ListJobsByConsumableResource. Pure.

Decides what a filter of a request means (the service model; reference/jobs.md section 12.5).
Refuses to know how things are found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from batchyard.model.records import Json
from batchyard.model.refusal import client_exception
from batchyard.model.status import CONTAINER_JOB_STATUSES, JobStatus

_ANY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A name, or how one begins; both None: any. Case does not count."""

    name: str | None = None
    prefix: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilters:
    """Which of the jobs that need a resource to list."""

    #: None: any.
    status: JobStatus | None
    named: Named


def name_filter_of(filters: Sequence[Json]) -> Named:
    """Read the filters of ListConsumableResources."""
    values = _values_by_name(filters, ("CONSUMABLE_RESOURCE_NAME",))
    return _named(values.get("CONSUMABLE_RESOURCE_NAME"))


def job_filters_of(filters: Sequence[Json]) -> JobFilters:
    """Read the filters of ListJobsByConsumableResource; given together, both hold."""
    values = _values_by_name(filters, ("JOB_STATUS", "JOB_NAME"))
    status = values.get("JOB_STATUS")
    if status is not None and status not in CONTAINER_JOB_STATUSES:
        raise client_exception(f"Job status is not one of {' | '.join(CONTAINER_JOB_STATUSES)}")
    return JobFilters(
        status=None if status is None else JobStatus(status), named=_named(values.get("JOB_NAME"))
    )


def _values_by_name(filters: Sequence[Json], known: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in filters:
        name: str = each.get("name", "")
        values: Sequence[str] = each.get("values", ())
        if name not in known:
            raise client_exception(f"filter {name} is not one of {', '.join(known)}.")
        if name in found:
            raise client_exception(f"filter {name} is given more than once.")
        if len(values) != 1:
            raise client_exception(f"filter {name} must have exactly one value.")
        found[name] = values[0]
    return found


def _named(value: str | None) -> Named:
    if value is None:
        return Named()
    if value.endswith(_ANY):
        return Named(prefix=value[:-1])
    return Named(name=value)
