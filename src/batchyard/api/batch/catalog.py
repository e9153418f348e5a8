"""Queues and definitions that submissions name over and over, kept ready in this process.

Decides what SubmitJob may take from memory. Rules: only queues that are ENABLED and VALID are
kept, and only ACTIVE definitions; every write of this process to either drops them before it is
answered, and a read that was under way meanwhile is not kept. Where other processes write too,
nothing is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from batchyard.api.batch.prepared import PreparedDefinition, prepare
from batchyard.api.batch.quota_queues import has_quota_shares, why_closed
from batchyard.api.batch.rules.ground import Platform
from batchyard.api.batch.rules.names import definition_name_of, is_arn_in, queue_arn_of
from batchyard.model.ids import QueueArn, Scope
from batchyard.model.records import DefinitionRecord, QueueRecord
from batchyard.model.refusal import Refusal, client_exception
from batchyard.model.status import DefinitionStatus, ResourceState, ResourceStatus
from batchyard.store import Connection, Store, definitions, queues

#: Entries of each kind; when full, all are dropped and read again. Bounds memory, not correctness.
_ENTRIES_MAX = 4096

#: `jobQueueType` of the queues whose jobs run on each platform.
QUEUE_TYPE_BY_PLATFORM = {
    Platform.EC2: "ECS",
    Platform.FARGATE: "ECS_FARGATE",
    Platform.EKS: "EKS",
    Platform.MANAGED_INSTANCES: "ECS_MANAGED_INSTANCES",
    Platform.SAGEMAKER_TRAINING: "SAGEMAKER_TRAINING",
}
_PLATFORM_BY_QUEUE_TYPE = {text: platform for platform, text in QUEUE_TYPE_BY_PLATFORM.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQueue:
    """A queue that takes jobs."""

    arn: QueueArn
    platform: Platform
    #: It has a scheduling policy of fair share: its jobs are in shares.
    is_fair_share: bool
    #: Its quota shares, with the reason for those that take no jobs; None: it has none for ever.
    quota_shares: Mapping[str, str | None] | None


class Catalog:
    """Finds what a submission names. `is_only_writer`: no other process writes the store."""

    def __init__(self, store: Store, *, is_only_writer: bool) -> None:
        self._store = store
        self._keeps = is_only_writer
        self._queue_by_text: dict[tuple[Scope, str], OpenQueue] = {}
        self._definition_by_text: dict[tuple[Scope, str], PreparedDefinition] = {}
        #: Rises with each drop: a read that began before it is not kept.
        self._generation = 0

    async def open_queue(self, scope: Scope, text: str) -> OpenQueue:
        """Find the queue named `text`. Refuses one that is unknown or takes no jobs."""
        known = self._queue_by_text.get((scope, text))
        if known is not None:
            return known
        generation = self._generation
        arn = queue_arn_of(scope, text)
        record, quota_shares = await self._store.read(lambda conn: _read_queue(conn, arn))
        if record is None or not is_arn_in(scope, arn):
            raise client_exception(f"JobQueue {text} not found.")
        found = _open(record, quota_shares)
        # A share that is being made takes jobs soon, and nobody here is told.
        closed = (quota_shares or {}).values()
        is_final = not any(each is not None and each.startswith("status") for each in closed)
        is_settled = record.status is ResourceStatus.VALID and is_final
        if self._keeps and is_settled and generation == self._generation:
            if len(self._queue_by_text) >= _ENTRIES_MAX:
                self._queue_by_text.clear()
            self._queue_by_text[scope, text] = found
        return found

    async def definition(self, scope: Scope, text: str) -> PreparedDefinition:
        """Find the ACTIVE definition that `text` means. Refuses where there is none."""
        known = self._definition_by_text.get((scope, text))
        if known is not None:
            return known
        generation = self._generation
        found = prepare(await self._read_active(scope, text))
        if self._keeps and generation == self._generation:
            if len(self._definition_by_text) >= _ENTRIES_MAX:
                self._definition_by_text.clear()
            self._definition_by_text[scope, text] = found
        return found

    def drop(self) -> None:
        """Forget everything: a queue or a definition has changed. Such changes are rare."""
        self._generation += 1
        self._queue_by_text.clear()
        self._definition_by_text.clear()

    async def _read_active(self, scope: Scope, text: str) -> DefinitionRecord:
        named = definition_name_of(scope, text)
        if named is None:
            raise _no_definition(text)
        name, revision = named
        if revision is None:
            record = await self._store.read(
                lambda conn: definitions.latest_active(conn, scope, name)
            )
        else:
            arn = scope.definition_arn(name, revision)
            record = await self._store.read(lambda conn: definitions.read_definition(conn, arn))
        if record is None or record.status is not DefinitionStatus.ACTIVE:
            raise _no_definition(name)
        return record


def _read_queue(
    conn: Connection, arn: QueueArn
) -> tuple[QueueRecord | None, dict[str, str | None] | None]:
    record = queues.read_queue(conn, arn)
    if record is None or not has_quota_shares(conn, record):
        return record, None
    return record, why_closed(conn, arn)


def _open(record: QueueRecord, quota_shares: Mapping[str, str | None] | None) -> OpenQueue:
    """Refuse a queue that takes no jobs.

    One that is UPDATING or INVALID takes them: an update must not turn callers away, and jobs of an
    INVALID queue wait until it is repaired.
    """
    if record.state is not ResourceState.ENABLED:
        raise client_exception(f"Job Queue {record.arn} is in state DISABLED")
    if record.status in (ResourceStatus.CREATING, ResourceStatus.DELETING):
        raise client_exception(f"Job Queue {record.arn} is in status {record.status}")
    platform = _PLATFORM_BY_QUEUE_TYPE[record.detail["jobQueueType"]]
    return OpenQueue(
        arn=record.arn,
        platform=platform,
        is_fair_share=quota_shares is None and "schedulingPolicyArn" in record.detail,
        quota_shares=quota_shares,
    )


def _no_definition(name: str) -> Refusal:
    return client_exception(f"JobDefinition name {name} does not exist or is not in ACTIVE status")
