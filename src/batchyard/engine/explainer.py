"""Who explains why a job waits: the engine from what it holds, or the store beside another engine.

Decides where an answer comes from. Beside another engine the state is restored from the records,
for reading alone, and kept for VIEW_KEPT_MS: what is told may be that old, and says so (`at_ms`).
Refuses to restore more than LIVE_JOBS_MAX jobs for one question: then the server in charge must be
asked.
"""

import asyncio
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from batchyard.compute.port import Host
from batchyard.core.state import State
from batchyard.core.went_ahead import Placements
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.loop import NotInCharge
from batchyard.engine.placements import explain_in, read_placements, read_runnable_since
from batchyard.engine.recovery import restore_for_reading
from batchyard.model.explanation import Explanation
from batchyard.model.ids import JobId
from batchyard.store import Connection, Store
from batchyard.store.leadership import read_lead
from batchyard.store.live_jobs import count_live_up_to

VIEW_KEPT_MS = 2000
#: Ours: about a second of work, and 50 MB for as long as the view is kept.
LIVE_JOBS_MAX = 20_000


class TooMuchToRestore(Exception):
    """Another engine leads, and more jobs are live than are read for one question."""

    def __init__(self, hosts: list[str]) -> None:
        """`hosts`: the machines of the server in charge."""
        super().__init__()
        self.hosts = hosts


class _Restored(Struct, frozen=True, kw_only=True):
    state: State
    placements: Placements
    at_ms: int


class Explainer:
    """Explains live jobs, whoever is in charge."""

    def __init__(
        self,
        explain_own: Callable[[JobId], Explanation | None],
        store: Store,
        times: LaunchTimes,
        clock_ms: Callable[[], int],
    ) -> None:
        """`explain_own` asks the engine of this process: see `Engine.explain`."""
        self._explain_own = explain_own
        self._store = store
        self._times = times
        self._clock_ms = clock_ms
        self._restored: _Restored | None = None
        #: One restores at a time; the others read what it found.
        self._restoring = asyncio.Lock()

    async def explain(self, job_id: JobId) -> Explanation | None:
        """Explain a job, child or node; None: it is not live. Raises `TooMuchToRestore`."""
        try:
            found = self._explain_own(job_id)
        except NotInCharge:
            restored = await self._restore()
            found = explain_in(restored.state, restored.placements, job_id, restored.at_ms)
        if found is None or not (found.went_ahead or found.went_ahead_since_ms):
            return found
        return await self._since_it_could_start(found)

    async def _since_it_could_start(self, found: Explanation) -> Explanation:
        """Leave out those that started while the job could not have."""
        since_ms = await self._store.read(lambda conn: read_runnable_since(conn, found.job_id))
        known_since_ms = found.went_ahead_since_ms
        if since_ms is None:
            return replace(found, went_ahead=(), went_ahead_since_ms=None)
        return replace(
            found,
            went_ahead=tuple(each for each in found.went_ahead if each.at_ms >= since_ms),
            went_ahead_since_ms=known_since_ms
            if known_since_ms is not None and known_since_ms > since_ms
            else None,
        )

    async def _restore(self) -> _Restored:
        async with self._restoring:
            now_ms = self._clock_ms()
            known = self._restored
            if known is None or now_ms - known.at_ms > VIEW_KEPT_MS:
                known = await self._store.read_long(lambda conn: self._read(conn, now_ms))
                self._restored = known
                asyncio.get_running_loop().call_later(VIEW_KEPT_MS / 1000, self._drop, known)
            return known

    def _drop(self, restored: _Restored) -> None:
        """Let go of a view that is too old, so that it takes no memory."""
        if self._restored is restored:
            self._restored = None

    def _read(self, conn: Connection, now_ms: int) -> _Restored:
        lead = read_lead(conn)
        if count_live_up_to(conn, LIVE_JOBS_MAX + 1) > LIVE_JOBS_MAX:
            raise TooMuchToRestore(sorted(lead))
        hosts = [Host(host_id=host_id, capacity=capacity) for host_id, capacity in lead.items()]
        state = restore_for_reading(conn, hosts, self._times, now_ms)
        return _Restored(state=state, placements=read_placements(conn), at_ms=now_ms)
