"""Jobs a second through the live engine, with a backend whose tasks end at once.

The engine, its SQLite store (synced to disk at each commit) and the pretended backend run in one
process, as a server's do, without HTTP, containers and output. Three figures: jobs a second from
the start of the engine to the last SUCCEEDED, for jobs that were submitted before (`drained`), for
jobs that are submitted meanwhile, as fast as the store takes them (`submitted`), and the same for
the children of arrays (`children`). Beside them: single rows a second that the same store commits,
each in a transaction of its own: what syncing the disk costs here::

    python -m bench.engine --jobs 5000 --vcpus 256
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text

from batchyard.compute.port import Host
from batchyard.compute.twin import Script, TwinBackend, TwinMachine
from batchyard.engine.clock import LoopClock, read_wall_clock_ms
from batchyard.engine.launch import Surroundings
from batchyard.engine.loop import Engine
from batchyard.engine.recording import RecordingLimits
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId, TaskId
from batchyard.store import Connection, Store
from bench.stored import IMAGE, QUEUE, a_job, insert_resources, insert_runnable

JOBS = 5_000
VCPUS = 256
ARRAY_SIZE = 1_000
#: Jobs a second, from RUNNABLE in the store to SUCCEEDED in the store.
GOAL = 1_000
_SUBMITTERS = 64
_SYNCS = 200
_BATCH = 10_000
#: Numbers of jobs that wait behind the others.
_BEHIND = 10_000_000

_COUNT = text("SELECT count(*) FROM jobs WHERE queue_arn = :queue AND status = 'SUCCEEDED'")


@dataclass
class _Yard:
    """A store and a machine on which everything ends as soon as it starts."""

    store: Store
    machine: TwinMachine
    jobs: int
    recording_days: int

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        sink = _Sink()
        backend = TwinBackend(self.machine, sink)
        await backend.open()
        engine = Engine(
            store=self.store,
            backend=backend,
            forget_output=sink.forget,
            read_secrets=_no_secrets,
            surroundings=Surroundings(),
            clock=LoopClock(),
            recording=RecordingLimits(days=self.recording_days),
        )
        running = asyncio.ensure_future(engine.run())
        try:
            await engine.wait_until_ready()
            yield engine
        finally:
            running.cancel()
            await asyncio.wait([running])
            await backend.close()

    async def submit(self, first: int, count: int, *, array_size: int | None = None) -> None:
        numbers = iter(range(first, first + count))

        async def submitter() -> None:
            for number in numbers:
                await self.store.append_job(a_job(number, array_size))

        async with asyncio.TaskGroup() as group:
            for _ in range(_SUBMITTERS):
                group.create_task(submitter())

    async def until_ended(self, count: int) -> None:
        """Wait until so many whole jobs have SUCCEEDED, looking ten times a second."""
        while True:
            ended = await self.store.read_long(
                lambda conn: conn.execute(_COUNT, {"queue": QUEUE}).scalar_one()
            )
            if ended >= count:
                return
            await asyncio.sleep(0.1)


class _Sink:
    """Takes output, of which there is none."""

    async def read_position(self, task_id: TaskId, target: object) -> int:
        return 0

    async def append(
        self, task_id: TaskId, target: object, *, position: int, lines: Sequence[object]
    ) -> None:
        pass

    async def forget(self, task_ids: Sequence[TaskId]) -> None:
        pass


async def run() -> bool:
    """Measure with the usual figures."""
    return await measure(_parser().parse_args([]))


async def measure(chosen: argparse.Namespace) -> bool:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    is_met = True
    for what in ("drained",) if chosen.behind else ("drained", "submitted", "children"):
        rate = await _rate_of(what, chosen)
        is_met &= rate >= GOAL
        print(
            f"  {what}: {rate:,.0f} jobs a second ({chosen.jobs:,} jobs, {chosen.vcpus} at a"
            f" time); goal: {GOAL:,}",
            flush=True,
        )
    return is_met


async def _rate_of(what: str, chosen: argparse.Namespace) -> float:
    capacity = Amount(cpu_milli=10**8, memory_mib=10**8)
    machine = TwinMachine(
        now_ms=read_wall_clock_ms, hosts=[Host(host_id=HostId("host"), capacity=capacity)]
    )
    machine.scripts[IMAGE] = Script(duration_ms=0)
    with tempfile.TemporaryDirectory(prefix="by-bench-") as folder:
        store = Store.open(f"sqlite:///{Path(folder) / 'store.db'}")
        await store.write(lambda conn: insert_resources(conn, chosen.vcpus))
        if what == "drained":
            await _report_syncs(store)
        for first in range(0, chosen.behind, _BATCH):
            numbers = range(_BEHIND + first, _BEHIND + min(first + _BATCH, chosen.behind))
            await store.write(partial(insert_runnable, numbers=numbers, array_size=None))
        rate = await _RATES[what](_Yard(store, machine, chosen.jobs, chosen.recording_days))
        await store.close()
    return rate


async def _report_syncs(store: Store) -> None:
    began = time.perf_counter()
    for number in range(_SYNCS):
        await store.write(partial(_insert_event, number=number))
    rate = _SYNCS / (time.perf_counter() - began)
    print(f"  the store alone: {rate:,.0f} commits a second", flush=True)


def _insert_event(conn: Connection, number: int) -> None:
    conn.execute(
        text("INSERT INTO events (at_ms, kind, version, body) VALUES (:n, 'n', 1, x'7b7d')"),
        {"n": number},
    )


async def _drained(yard: _Yard) -> float:
    began = time.perf_counter()
    await yard.submit(0, yard.jobs)
    took_s = time.perf_counter() - began
    print(f"  submitted before: {yard.jobs / took_s:,.0f} jobs a second", flush=True)
    async with yard.engine():
        began = time.perf_counter()
        await yard.until_ended(yard.jobs)
        return yard.jobs / (time.perf_counter() - began)


async def _submitted(yard: _Yard) -> float:
    async with yard.engine():
        began = time.perf_counter()
        await yard.submit(0, yard.jobs)
        await yard.until_ended(yard.jobs)
        return yard.jobs / (time.perf_counter() - began)


async def _children(yard: _Yard) -> float:
    count = max(1, yard.jobs // ARRAY_SIZE)
    await yard.submit(0, count, array_size=ARRAY_SIZE)
    async with yard.engine():
        began = time.perf_counter()
        await yard.until_ended(count)
        return count * ARRAY_SIZE / (time.perf_counter() - began)


_RATES = {"drained": _drained, "submitted": _submitted, "children": _children}


async def _no_secrets(_wanted: object) -> dict[Any, str]:
    return {}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--vcpus", type=int, default=VCPUS, help="jobs that run at a time")
    parser.add_argument(
        "--behind", type=int, default=0, help="as many wait besides; `drained` alone"
    )
    parser.add_argument(
        "--recording-days", type=int, default=7, help="0: what is decided from is not recorded"
    )
    return parser


def main() -> int:
    return 0 if asyncio.run(measure(_parser().parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
