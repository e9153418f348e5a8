"""Which kind of compute environment a record is of. Pure.

Decides by AWS's members alone. Refuses to know what a kind means for jobs.
"""

from collections.abc import Mapping
from typing import Any

from batchyard.model.status import EnvironmentKind

#: What `computeResources.type` may be.
MANAGED_KINDS = tuple(
    each
    for each in EnvironmentKind
    if each is not EnvironmentKind.UNMANAGED and not each.is_service
)


def kind_of_environment(detail: Mapping[str, Any]) -> EnvironmentKind:
    """Tell the kind of an environment, as Describe shows it."""
    resources = detail.get("computeResources")
    return EnvironmentKind.UNMANAGED if resources is None else EnvironmentKind(resources["type"])
