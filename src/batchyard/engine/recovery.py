"""How the engine finds its state again: everything live, read from the store.

Owns the order in which things come back: environments and queues, consumable
resources, hosts, then jobs. Refuses to know
what is owed to the backends: that is the core's `resume` to say. What was in transition comes back
as it was asked for, and is settled in the first turn like any wish.
"""

import gc
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager

from msgspec import Struct

from batchyard.compute.port import Backend, Host
from batchyard.core import inputs as i
from batchyard.core.inputs import PutHost
from batchyard.core.restore import StoredParts, restore_instances, restore_jobs, resume
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.turn import Outcome
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.wishes import (
    put_consumable_of,
    put_environment_of,
    put_queue_of,
    put_quota_share_of,
    put_service_environment_of,
)
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, JobId, QueueArn, TaskId
from batchyard.model.records import InstanceRecord, JobProgress, QueuedJob, ShareRecord
from batchyard.model.status import JobStatus
from batchyard.store import (
    Connection,
    Store,
    children,
    consumables,
    environments,
    instances,
    live_jobs,
    queues,
    quota_shares,
    service_environments,
    shares,
)

#: So many jobs are never looked through for garbage again: it would take seconds. They are
#: freed all the same, as soon as nobody holds them.
_FROZEN_JOBS_MIN = 10_000


class Stored(Struct, frozen=True, kw_only=True):
    """Everything live, as the store has it. The state that is built of it takes the jobs over."""

    #: Of environments, queues, quota shares and consumable resources, in this order.
    puts: tuple[i.Input, ...]
    live: tuple[QueuedJob, ...]
    #: See `StoredParts` for these four.
    statuses: tuple[tuple[JobId, int, JobStatus], ...]
    parts: tuple[tuple[JobId, int, JobProgress], ...]
    ended_arrays: Mapping[JobId, Mapping[int, JobStatus]]
    shares: tuple[tuple[QueueArn, str, ShareRecord], ...]
    launched: tuple[InstanceRecord, ...]


def load_state(
    connection: Connection, hosts: Iterable[Host], times: LaunchTimes, now_ms: int
) -> tuple[State, Outcome]:
    """Read everything live, in one pass over it; see `build_state`."""
    with collector_at_rest():
        puts = [PutHost(host_id=host.host_id, capacity=host.capacity) for host in hosts]
        return build_state(read_stored(connection, times), puts, now_ms)


def read_stored(connection: Connection, times: LaunchTimes) -> Stored:
    """Read everything live."""
    live = tuple(live_jobs.read_live(connection))
    return Stored(
        puts=tuple(_read_puts(connection, times)),
        live=live,
        statuses=tuple(children.read_live_statuses(connection)),
        parts=tuple(
            (row.parent_id, row.index, row.progress)
            for row in children.read_live_children(connection)
        ),
        ended_arrays=_ended_partners(connection, live),
        shares=tuple(shares.read_all_shares(connection)),
        launched=tuple(instances.read_live_instances(connection)),
    )


def build_state(stored: Stored, hosts: Iterable[PutHost], now_ms: int) -> tuple[State, Outcome]:
    """Make the state that the store tells of.

    The outcome holds what is new: the hosts, which are not stored but offered at each start.
    """
    state = State()
    for put in stored.puts:
        step(state, put, now_ms)
    outcome = Outcome()
    for host in hosts:
        outcome.add(step(state, host, now_ms))
    _keep_lost_hosts(
        state,
        [*(job.progress for job in stored.live), *(progress for _, _, progress in stored.parts)],
        stored.launched,
        now_ms,
    )
    restore_instances(state, stored.launched, now_ms)
    restore_jobs(
        state,
        stored.live,
        StoredParts(
            statuses=stored.statuses,
            progress=stored.parts,
            ended_arrays=stored.ended_arrays,
            shares=stored.shares,
        ),
    )
    if len(state.jobs) >= _FROZEN_JOBS_MIN:
        gc.freeze()
    return state, outcome


def restore_for_reading(
    connection: Connection, hosts: Iterable[Host], times: LaunchTimes, now_ms: int
) -> State:
    """Read everything live for an engine that is not in charge: nothing may come of it."""
    state, _ = load_state(connection, hosts, times, now_ms)
    return state


def settle_hosts(
    state: State, offered: Collection[HostId], known: Set[TaskId], now_ms: int
) -> Outcome:
    """Say what is owed to every host, given which are offered and what runs on them."""
    outcome = Outcome()
    for host_id in list(state.hosts):
        tasks = known if host_id in offered else None
        outcome.add(resume(state, tasks, HostId(host_id), now_ms))
    return outcome


def _read_puts(connection: Connection, times: LaunchTimes) -> Iterator[i.Input]:
    for environment in environments.read_all_environments(connection):
        yield put_environment_of(environment, times)
    for place in service_environments.read_all_service_environments(connection):
        yield put_service_environment_of(place)
    for queue in queues.read_all_queues(connection):
        yield put_queue_of(connection, queue)
    for share in quota_shares.read_all_quota_shares(connection):
        yield put_quota_share_of(share)
    for consumable in consumables.read_all_consumables(connection):
        yield put_consumable_of(consumable)


async def stop_given_up(store: Store, backend: Backend) -> None:
    """End the tasks of a backend that the store counts as nobody's.

    For an engine that is not in charge: the one that is has given up the attempts of a host that
    was gone when it took over, and may have begun others instead.
    """
    known = await backend.list_tasks()
    if not known:
        return
    kept = await store.read_long(live_jobs.read_placed_tasks)
    for task_id in sorted(known - kept):
        await backend.stop(task_id, grace_ms=0)


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Let Python not look for garbage while everything is loaded: there is none."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _ended_partners(
    connection: Connection, live: Iterable[QueuedJob]
) -> Mapping[JobId, Mapping[int, JobStatus]]:
    """Read how the children of ended arrays did that arrays without children still wait for."""
    wanted = {
        partner_id
        for job in live
        if (array := job.progress.array) is not None and array.rest is None
        for partner_id in job.depends_on_each
    }
    return live_jobs.read_ended_arrays(connection, sorted(wanted)) if wanted else {}


def _keep_lost_hosts(
    state: State,
    live: Iterable[JobProgress],
    launched: Iterable[InstanceRecord],
    now_ms: int,
) -> None:
    """Remember hosts that no backend offers any more: what is on them is about to be lost."""
    attempts = [progress.attempt for progress in live if progress.attempt is not None]
    wanted = [
        *(host_id for each in attempts for host_id in (each.host_id, *each.node_hosts)),
        *(record.host_id for record in launched),
    ]
    for host_id in dict.fromkeys(wanted):
        if host_id not in state.hosts:
            step(state, PutHost(host_id=host_id, capacity=Amount()), now_ms)
