"""What the handlers of AWS Batch share: the store, the catalog, active shares, and new job ids."""

from dataclasses import dataclass, field

from batchyard.api.batch.active_shares import ActiveShares
from batchyard.api.batch.catalog import Catalog
from batchyard.api.batch.job_ids import JobIds
from batchyard.engine.foresight import Foresight
from batchyard.store import Store


@dataclass(frozen=True, slots=True)
class Service:
    """Passed to every handler."""

    store: Store
    catalog: Catalog
    shares: ActiveShares
    #: The operator lets queues of compute environments have quota shares.
    are_container_quota_shares_allowed: bool = False
    ids: JobIds = field(default_factory=JobIds)
    #: None: nothing is told beside an answer.
    foresight: Foresight | None = None
