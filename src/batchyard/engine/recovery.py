"""How the engine finds its state again: everything live, read from the store.

Owns the order in which things come back: environments and queues, hosts, then jobs. Refuses to know
what is owed to the backends: that is the core's `resume` to say. What was in transition comes back
as it was asked for, and is settled in the first turn like any wish.
"""

from collections.abc import Iterable

from batchyard.compute.port import Backend, Host
from batchyard.core.inputs import PutHost
from batchyard.core.restore import restore_jobs
from batchyard.core.state import State
from batchyard.core.step import step
from batchyard.core.turn import Outcome
from batchyard.engine.wishes import put_environment_of, put_queue_of
from batchyard.model.amounts import Amount
from batchyard.model.records import QueuedJob
from batchyard.store import Connection, Store, environments, live_jobs, queues

_PAGE_ROWS = 5000


def load_state(connection: Connection, hosts: Iterable[Host], now_ms: int) -> tuple[State, Outcome]:
    """Read everything live, in one pass over it.

    The outcome holds what is new: the hosts, which are not stored but offered at each start.
    """
    state = State()
    for environment in environments.read_all_environments(connection):
        step(state, put_environment_of(environment), now_ms)
    for queue in queues.read_all_queues(connection):
        step(state, put_queue_of(queue), now_ms)
    outcome = Outcome()
    for host in hosts:
        outcome.add(step(state, PutHost(host_id=host.host_id, capacity=host.capacity), now_ms))
    live = list(_live_jobs(connection))
    _keep_lost_hosts(state, live, now_ms)
    restore_jobs(state, live)
    return state, outcome


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


def _live_jobs(connection: Connection) -> Iterable[QueuedJob]:
    after_seq = 0
    while page := live_jobs.read_live(connection, after_seq, _PAGE_ROWS):
        yield from page
        after_seq = page[-1].seq


def _keep_lost_hosts(state: State, live: Iterable[QueuedJob], now_ms: int) -> None:
    """Remember hosts that no backend offers any more: attempts on them are about to be lost."""
    for job in live:
        attempt = job.progress.attempt
        if attempt is not None and attempt.host_id not in state.hosts:
            step(state, PutHost(host_id=attempt.host_id, capacity=Amount()), now_ms)
