"""One life of the server: the real engine, API and store on a loop of their own.

Ends at any moment without a chance to clean up: first it is cut off from the world (the file, the
machine, the callers), and only then are its tasks cancelled, which nobody can notice any more.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from batchyard.api import batch, own
from batchyard.api.batch.job_ids import JobIds
from batchyard.compute.secrets import SecretUnavailable
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.clock import LoopClock
from batchyard.engine.explainer import Explainer
from batchyard.engine.interruptions import InterruptionRate
from batchyard.engine.launch import Surroundings
from batchyard.engine.loop import Engine
from batchyard.engine.pace import Pace
from batchyard.logs.log_store import LogStore
from batchyard.model.ids import Scope
from batchyard.model.secret_reference import SecretReference
from batchyard.sim.oracle import Oracle
from batchyard.sim.virtual_loop import VirtualLoop
from batchyard.store import Store
from batchyard.store.database import Database, open_database
from batchyard.wire.call import Call, Handler
from tests.simulation.compiled import share_compiled
from tests.simulation.faults import Faults
from tests.simulation.machine import FaultyBackend, WatchedMachine
from tests.simulation.replays import RECORDING

SCOPE = Scope(account="123456789012", region="eu-central-1")
LAUNCH_TIMES = LaunchTimes(boot_ms=5_000, idle_ms=20_000)
_IO_ERROR = "disk I/O error"


class Server:
    """A process, as far as a process matters here."""

    def __init__(
        self,
        *,
        path: Path,
        machine: WatchedMachine,
        faults: Faults,
        seed: str,
        start_s: float,
        clock_ms: Callable[[], int],
    ) -> None:
        self._faults = faults
        self._clock_ms = clock_ms
        self.loop = VirtualLoop(start_s=start_s, thread_delay_s=self._thread_delay_s)
        self._database = open_database(f"sqlite:///{path}", is_synchronous_full=False)
        self._raw: list[sqlite3.Connection] = []
        self._watch(self._database)
        self.store = Store(self._database)
        log_store = LogStore(self.store, clock_ms=clock_ms)
        self.backend = FaultyBackend(machine, log_store, faults)
        rate = 40.0 if faults.may("spot_market") else 0.0
        self.engine = Engine(
            store=self.store,
            backend=self.backend,
            forget_output=log_store.forget,
            read_secrets=self._read_secrets,
            surroundings=Surroundings(),
            clock=LoopClock(clock_ms),
            launch_times=LAUNCH_TIMES,
            interruption_rate=InterruptionRate(per_hour=rate, notice_ms=10_000),
            recording=RECORDING,
            pace=Pace(self.loop.time),
        )
        ids = JobIds(Random(f"{seed}/ids").randbytes)
        self._handlers = {
            **batch.handlers(self.store, are_container_quota_shares_allowed=True, ids=ids),
            **own.handlers(
                self.store,
                explain_job=Explainer(
                    self.engine.explain, self.store, LAUNCH_TIMES, clock_ms
                ).explain,
                find_use=self.engine.find_use,
                seer=Oracle(
                    url=f"sqlite:///{path}",
                    launch_times=LAUNCH_TIMES,
                    list_hosts=self.backend.list_hosts,
                ),
            ),
        }
        self._call_count = 0
        self.running = self.loop.create_task(self._serve())
        self.ready = self.loop.create_task(self.engine.wait_until_ready())

    @property
    def is_ready(self) -> bool:
        return self.ready.done() and not self.running.done()

    def call(self, operation: str, request: dict[str, Any]) -> asyncio.Task[Any]:
        """Let a caller ask for something."""
        self._call_count += 1
        call = Call(
            scope=SCOPE,
            principal_arn="arn:aws:iam::123456789012:root",
            user_id="123456789012",
            access_key_id="AKIDEXAMPLE",
            request_id=f"request-{self._call_count}",
            now_ms=self._clock_ms(),
            body_size=len(json.dumps(request)),
        )
        handler = self._handlers.get(("batch", operation)) or self._handlers["batchyard", operation]
        return self.loop.create_task(_called(handler, call, request))

    def end(self) -> None:
        """Die, without a word to anybody."""
        for raw in self._raw:
            raw.close()
        self.store._writer._disconnect()
        self.loop.end_tasks()
        reader, self.store._reader = self.store._reader, None
        if reader is not None:
            reader.invalidate()
            reader.close()
        self._database.close()
        self.loop.close()

    async def _serve(self) -> None:
        await self.backend.open()
        await self.engine.run()

    async def _read_secrets(
        self, wanted: Collection[SecretReference]
    ) -> Mapping[SecretReference, str]:
        """Let a secret be late or not to be had; jobs here look at none."""
        if self._faults.happens("slow_secret"):
            await asyncio.sleep(self._faults.dice("slow_secret").choice((0.1, 3.0, 30.0)))
        if self._faults.happens("missing_secret"):
            raise SecretUnavailable("there is no such secret")
        return dict.fromkeys(wanted, "")

    def _thread_delay_s(self) -> float:
        if self._faults.happens("slow_commit"):
            return self._faults.dice("slow_commit").choice((0.001, 0.05, 2.0))
        return 0.0

    def _watch(self, database: Database) -> None:
        """Know the connections, and let works on them fail."""
        for engine in (database.writer, database.reader):
            share_compiled(engine)
            event.listen(engine, "connect", self._note_connection)
        event.listen(database.writer, "commit", self._trouble("commit_trouble"))
        event.listen(database.reader, "begin", self._trouble("read_trouble"))

    def _note_connection(self, connection: sqlite3.Connection, _entry: object) -> None:
        self._raw.append(connection)

    def _trouble(self, kind: str) -> Callable[[Connection], None]:
        def fail(_conn: Connection) -> None:
            if self._faults.happens(kind):
                raise OperationalError(None, None, sqlite3.OperationalError(_IO_ERROR))

        return fail


async def _called(handler: Handler, call: Call, request: dict[str, Any]) -> Any:
    return await handler(call, request)
