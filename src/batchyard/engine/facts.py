"""How what became true is written: changed records and events, in one transaction.

Owns the translation of an outcome into rows, and the form in which events are kept. Refuses to know
why something happened. A settled wish goes in the same transaction as what came of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import assert_never

import msgspec
from msgspec.structs import replace

from batchyard.core import events as e
from batchyard.core.turn import Outcome
from batchyard.model import wording
from batchyard.model.ids import JobId, QueueArn, is_service_environment_arn
from batchyard.model.queue_snapshots import QueueSnapshot
from batchyard.model.records import EventRecord, JobProgress
from batchyard.model.status import ResourceStatus
from batchyard.store import (
    Connection,
    consumables,
    environments,
    events,
    instance_wishes,
    instances,
    leadership,
    live_jobs,
    policies,
    queues,
    quota_shares,
    service_environments,
    shares,
    wishes,
)
from batchyard.store.snapshots import delete_snapshot, write_snapshots

_DIGEST_BYTES = 16

_TYPE_BY_KIND: dict[str, type[e.Event]] = {
    each.__name__: each for each in (*e.JobEvent.__args__, *e.ResourceEvent.__args__)
}


def write_facts(
    connection: Connection,
    outcome: Outcome,
    settled_wishes: Sequence[int],
    at_ms: int,
    snapshots: Mapping[QueueArn, QueueSnapshot],
) -> bytes:
    """Make an outcome durable within the transaction of `connection`. Gives its events' digest."""
    rows = list(_event_rows(outcome.events, at_ms))
    if outcome.changed:
        changed = [(each, _dated(progress, at_ms)) for each, progress in outcome.changed.items()]
        live_jobs.write_progress(connection, changed)
    if outcome.shares:
        shares.write_shares(connection, outcome.shares)
    if outcome.events:
        events.append_events(connection, rows)
    for event in outcome.events:
        if not isinstance(event, e.JobFact):
            _write_resource(connection, event)
    if outcome.consumables:
        holdings = [(each.arn, each.held, each.used_up) for each in outcome.consumables.values()]
        consumables.write_holdings(connection, holdings)
    if snapshots:
        write_snapshots(connection, snapshots)
    if settled_wishes:
        wishes.settle_wishes(connection, settled_wishes)
    return _digest(rows)


def digest_of(happened: Iterable[e.Event]) -> bytes:
    """Tell events from others: equal for equal events in the same order, and for no others."""
    return _digest(_event_rows(happened, 0))


def decode_event(record: EventRecord) -> e.Event:
    """Read an event back.

    Raises `KeyError` for a kind and `ValueError` for a form never written.
    """
    if record.version != e.VERSION:
        raise ValueError(f"events of version {record.version} are not known here")
    return msgspec.convert(record.body, type=_TYPE_BY_KIND[record.kind])


def _dated(progress: JobProgress, at_ms: int) -> JobProgress:
    """Say when an array's counts were last written; nothing is decided by it."""
    if progress.array is None:
        return progress
    return replace(progress, array=replace(progress.array, updated_ms=at_ms))


def _event_rows(
    happened: Iterable[e.Event], at_ms: int
) -> Iterable[tuple[int, JobId | None, str, int, bytes]]:
    encode = msgspec.json.encode
    for event in happened:
        job_id = event.job_id if isinstance(event, e.JobFact) else None
        yield at_ms, job_id, type(event).__name__, e.VERSION, encode(event)


def _digest(rows: Iterable[events.NewEvent]) -> bytes:
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for _, _, kind, _, body in rows:
        digest.update(kind.encode())
        digest.update(body)
    return digest.digest()


def _write_launch(connection: Connection, event: e.InstanceLaunched) -> None:
    instances.insert_instance(connection, event.record)
    environments.update_environment(
        connection,
        event.record.environment_arn,
        cpu_milli_launched=event.cpu_milli_launched,
        launch_count=event.launch_count,
    )


def _write_instance(connection: Connection, event: e.InstanceEvent) -> None:
    match event:
        case e.InstanceLaunched():
            _write_launch(connection, event)
        case e.InstanceDraining():
            instances.drain_instance(
                connection, event.instance_id, cause=event.cause, stop_ms=event.stop_ms
            )
        case e.InstanceTerminated():
            instances.end_instance(
                connection, event.instance_id, at_ms=event.at_ms, cause=event.cause
            )
            environments.update_environment(
                connection, event.environment_arn, cpu_milli_launched=event.cpu_milli_launched
            )
        case e.InstanceWishSettled():
            instance_wishes.settle_instance_wish(
                connection, event.wish_seq, event.instance_ids, event.refusal, at_ms=event.at_ms
            )
        case e.InstanceReady():
            pass
        case _:
            assert_never(event)


def _write_resource(  # noqa: C901, PLR0912 -- one branch an event
    connection: Connection, event: e.ResourceEvent
) -> None:
    match event:
        case e.EnvironmentSettled() if event.kind.is_service:
            service_environments.settle_service_environment(connection, event.arn)
        case e.EnvironmentSettled():
            environments.update_environment(
                connection,
                event.arn,
                status=ResourceStatus.INVALID if event.fault else ResourceStatus.VALID,
                status_reason=event.fault or wording.ENVIRONMENT_HEALTHY,
            )
        case e.QueueSettled():
            queues.update_queue(
                connection,
                event.arn,
                status=ResourceStatus.VALID,
                status_reason=wording.QUEUE_HEALTHY,
            )
        case e.EnvironmentDeleted() if is_service_environment_arn(event.arn):
            service_environments.delete_service_environment(connection, event.arn)
        case e.EnvironmentDeleted():
            environments.delete_environment(connection, event.arn)
        case e.QueueDeleted():
            queues.delete_queue(connection, event.arn)
            delete_snapshot(connection, event.arn)
            shares.delete_shares(connection, event.arn)
        case e.ConsumableSettled():
            consumables.settle_consumable(connection, event.arn, event.version)
        case e.ConsumableDeleted():
            consumables.remove_deleted(connection, event.arn, event.version)
        case e.QuotaShareSettled():
            quota_shares.settle_quota_share(connection, event.arn, event.terms.name)
        case e.QuotaShareDeleted():
            quota_shares.delete_quota_share(connection, event.arn, event.name)
        case e.HostChanged():
            leadership.write_host(connection, event.host_id, event.capacity)
        case e.PolicySettled():
            policies.settle_policy(connection, event.arn, event.revision)
        case (
            e.InstanceLaunched()
            | e.InstanceReady()
            | e.InstanceDraining()
            | e.InstanceTerminated()
            | e.InstanceWishSettled()
        ):
            _write_instance(connection, event)
        case (
            e.EnvironmentDraining()
            | e.QueueDraining()
            | e.QuotaShareDraining()
            | e.ShareForgotten()
        ):
            pass
        case _:
            assert_never(event)
