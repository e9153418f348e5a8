"""What is kept of service environments and service jobs beside what all others of their kind have.

As in `records`: the rows that the API and the engine exchange through the store.
"""

from collections.abc import Mapping

from msgspec import Struct

from batchyard.model.capacity_use import UnitQuantity
from batchyard.model.ids import EnvironmentArn, Scope
from batchyard.model.records import Json
from batchyard.model.status import ResourceState, ResourceStatus


class ServiceTerms(Struct, frozen=True, kw_only=True):
    """What a service job takes and puts up with, as it is stored beside everything else."""

    capacity_use: tuple[UnitQuantity, ...]
    preemption_retries_max: int | None = None


class ServiceEnvironmentRecord(Struct, frozen=True, kw_only=True):
    """A service environment.

    The API writes the wish (CREATING, UPDATING, DELETING), the engine settles it.
    """

    #: Creation order.
    seq: int
    arn: EnvironmentArn
    scope: Scope
    name: str
    state: ResourceState
    status: ResourceStatus
    #: Everything else as DescribeServiceEnvironments shows it.
    detail: Json
    tags: Mapping[str, str]
