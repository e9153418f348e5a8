"""How long a server takes to be in charge again with a full queue: all live jobs, from the store.

The jobs wait RUNNABLE, as single jobs or as 100 arrays, in a store made for the purpose. What is
timed is the engine's own loading, in a process of its own whose memory is read off it: by the
clock, and in CPU time, without what others on the machine took. Beside it stands a bare read of the
same rows in the same process: what the database and its driver cost::

    python -m bench.loading --jobs 1000000 --form singles
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import psutil
from sqlalchemy import text

from batchyard.compute.port import Host
from batchyard.core.state import State
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.recovery import load_state
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.store import Connection, Store
from batchyard.store.job_rows import QUEUED_COLUMNS
from bench.stored import insert_resources, insert_runnable

JOBS = (10_000, 100_000, 1_000_000)
FORMS = ("arrays", "singles")
ARRAYS = 100
_BATCH = 10_000

SECONDS_GOAL = 20.0
BYTES_PER_JOB_GOAL = 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one load cost."""

    jobs: int
    form: str
    load_s: float
    cpu_s: float
    bare_s: float
    bytes_per_job: float


async def run() -> bool:
    """Measure all lengths and forms, on SQLite."""
    return await measure(_parser().parse_args([]))


async def measure(chosen: argparse.Namespace) -> bool:
    print("       jobs  form      load s   cpu s  bare read s  bytes/job  command", flush=True)
    is_met = True
    for form in chosen.form:
        for jobs in chosen.jobs:
            found = await _in_own_processes(jobs, form, chosen.url)
            is_met &= found.load_s <= SECONDS_GOAL and found.bytes_per_job <= BYTES_PER_JOB_GOAL
            print(
                f"  {jobs:>9,}  {form:8}  {found.load_s:>6.2f}  {found.cpu_s:>6.2f}"
                f"  {found.bare_s:>11.2f}  {found.bytes_per_job:>9.0f}"
                f"  python -m bench.loading --jobs {jobs} --form {form}",
                flush=True,
            )
    print(f"  goal: {SECONDS_GOAL:.0f} s, {BYTES_PER_JOB_GOAL} bytes a job")
    return is_met


async def _in_own_processes(jobs: int, form: str, url: str | None) -> Loaded:
    with tempfile.TemporaryDirectory(prefix="by-bench-") as folder:
        url = url or f"sqlite:///{Path(folder) / 'store.db'}"
        await _worker("make", jobs, form, url)
        return Loaded(**json.loads(await _worker("load", jobs, form, url)))


async def _worker(phase: str, jobs: int, form: str, url: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.loading", "--worker", phase, "--jobs", str(jobs)),
        *("--form", form, "--url", url),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit("a measurement failed")
    return output


# -- in a process of its own ----------------------------------------------------------------------


async def _make(jobs: int, form: str, url: str) -> None:
    store = Store.open(url, is_synchronous_full=False)
    await store.write(_clear)
    await store.write(lambda conn: insert_resources(conn, 4))
    size = None if form == "singles" else jobs // ARRAYS
    numbers = range(jobs // (size or 1))
    for first in numbers[::_BATCH]:
        some = numbers[first : first + _BATCH]
        await store.write(partial(insert_runnable, numbers=some, array_size=size))
    await store.close()


def _clear(conn: Connection) -> None:
    """Empty a database that was used before."""
    for table in ("events", "children", "jobs", "queues", "environments"):
        conn.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - our own names


async def _load(jobs: int, form: str, url: str) -> Loaded:
    store = Store.open(url)
    process = psutil.Process()
    hosts = [Host(host_id=HostId("host"), capacity=Amount(cpu_milli=4000, memory_mib=8192))]
    bare_s = await store.read_long(_read_bare)
    gc.collect()
    before = process.memory_info().rss
    began = perf_counter()
    state, cpu_s = await store.read_long(lambda conn: _load_timed(conn, hosts))
    load_s = perf_counter() - began
    gc.collect()
    grown = process.memory_info().rss - before
    held = sum(1 if job.array is None else job.array.size for job in state.jobs.values())
    assert held == jobs, f"{held} jobs were loaded"
    await store.close()
    return Loaded(jobs, form, load_s, cpu_s, bare_s, grown / jobs)


def _load_timed(conn: Connection, hosts: list[Host]) -> tuple[State, float]:
    began = thread_time()
    state, _ = load_state(conn, hosts, LaunchTimes(), 1)
    return state, thread_time() - began


def _read_bare(conn: Connection) -> float:
    """Read the columns that the engine needs, as the driver gives them."""
    began = perf_counter()
    columns = ", ".join(column.name for column in QUEUED_COLUMNS)
    rows = conn.exec_driver_sql(f"SELECT {columns} FROM jobs ORDER BY seq")  # noqa: S608 - ours
    while rows.fetchmany(_BATCH):
        pass
    return perf_counter() - began


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.loading", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=list(JOBS))
    parser.add_argument("--form", choices=FORMS, nargs="+", default=list(FORMS))
    parser.add_argument("--url", help="a database of its own, emptied first; SQLite without it")
    parser.add_argument("--worker", choices=("make", "load"), help="one phase, done here")
    return parser


def main() -> int:
    chosen: Any = _parser().parse_args()
    if chosen.worker is None:
        return 0 if asyncio.run(measure(chosen)) else 1
    jobs, form = chosen.jobs[0], chosen.form[0]
    if chosen.worker == "make":
        asyncio.run(_make(jobs, form, chosen.url))
    else:
        print(json.dumps(asdict(asyncio.run(_load(jobs, form, chosen.url)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
