"""What an inventory of everything live costs the engine: a later recording begins with one.

Jobs wait RUNNABLE in a store made for the purpose, and are loaded as at a start. Then an inventory
is taken, as many jobs in a turn as the engine takes, and the state is made of it again, as a replay
does. In CPU time; the longest turn is what everybody else waits for. Beside it stands what the
first recording of a server begins with: everything as it was read, in one go::

    python -m bench.inventory --jobs 100000
"""

import argparse
import asyncio
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import thread_time

from batchyard.core.inputs import PutHost
from batchyard.core.state import State
from batchyard.engine.catalogue import LaunchTimes
from batchyard.engine.recording import encode_stored
from batchyard.engine.recovery import build_state, collector_at_rest, read_stored
from batchyard.engine.stocktaking import Stocktaking, unpack
from batchyard.model.amounts import Amount
from batchyard.model.ids import HostId
from batchyard.store import Connection, Store
from bench.stored import insert_resources, insert_runnable

JOBS = (10_000, 100_000)
#: Seconds that one turn may take for it.
TURN_GOAL_S = 0.05
_BATCH = 10_000


async def run() -> bool:
    """Measure with the usual figures."""
    return await measure(_parser().parse_args([]))


async def measure(chosen: argparse.Namespace) -> bool:
    print("       jobs  us a job  bytes a job  longest turn ms  read back us a job  at a start us")
    is_met = True
    for jobs in chosen.jobs:
        with tempfile.TemporaryDirectory(prefix="by-bench-") as folder:
            store = Store.open(f"sqlite:///{Path(folder) / 'store.db'}", is_synchronous_full=False)
            await store.write(lambda conn: insert_resources(conn, 4))
            for first in range(0, jobs, _BATCH):
                some = range(first, min(first + _BATCH, jobs))
                await store.write(partial(insert_runnable, numbers=some, array_size=None))
            state, start_s = await store.read_long(_load)
            await store.close()
        is_met &= _measure(jobs, state, start_s)
    return is_met


def _load(conn: Connection) -> tuple[State, float]:
    capacity = Amount(cpu_milli=4000, memory_mib=8192)
    with collector_at_rest():
        stored = read_stored(conn, LaunchTimes())
        began = thread_time()
        encode_stored(stored)
        start_s = thread_time() - began
        state, _ = build_state(stored, [PutHost(host_id=HostId("host"), capacity=capacity)], 1)
        return state, start_s


def _measure(jobs: int, state: State, start_s: float) -> bool:
    began = thread_time()
    stocktaking = Stocktaking(state)
    rest, turns_s = None, [thread_time() - began]
    while rest is None:
        began = thread_time()
        rest = stocktaking.go_on(state, ())
        turns_s.append(thread_time() - began)
    began = thread_time()
    again = unpack(rest, stocktaking.pieces)
    back_s = thread_time() - began
    assert len(again.jobs) == jobs
    print(
        f"  {jobs:>9,}  {sum(turns_s) / jobs * 1e6:>8.1f}  {stocktaking.byte_count / jobs:>11.0f}"
        f"  {max(turns_s) * 1e3:>15.1f}  {back_s / jobs * 1e6:>18.1f}"
        f"  {start_s / jobs * 1e6:>13.1f}",
        flush=True,
    )
    return max(turns_s) <= TURN_GOAL_S


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.inventory", description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=list(JOBS))
    return parser


def main() -> int:
    return 0 if asyncio.run(measure(_parser().parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
