"""An array of 10,000 beside a single job: time to submit, memory and bytes in the store.

Each figure is a ratio against the same thing done with one plain job in the same run. The jobs ask
for more than the machine has: none starts, so what is measured is an array that waits.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import psutil

from bench.yard import DEFINITION, QUEUE, BenchYard, bench_yard, make_queue, register

ROUNDS = 40
ARRAY_SIZE = 10_000
ARRAY_COUNT = 100
#: SubmitJob of an array must not take notably longer than that of one job.
TIME_RATIO_GOAL = 2.0
#: Ours: design.md section 4: 100 arrays cost little more than 100 jobs until they run.
BYTES_PER_CHILD_GOAL = 100.0


async def run() -> bool:
    with bench_yard() as yard:
        batch = yard.client("batch")
        make_queue(batch, max_vcpus=1000)
        register(batch, ["true"], vcpus=512)
        single = {"jobName": "bench", "jobQueue": QUEUE, "jobDefinition": DEFINITION}
        array = {**single, "arrayProperties": {"size": ARRAY_SIZE}}
        single_ms = median(_times_ms(lambda: batch.submit_job(**single)))
        array_ms = median(_times_ms(lambda: batch.submit_job(**array)))
        ratio = array_ms / single_ms
        print(
            f"  SubmitJob: one job {single_ms:.2f} ms, an array of {ARRAY_SIZE:,}"
            f" {array_ms:.2f} ms = {ratio:.2f} of it; goal: {TIME_RATIO_GOAL}"
        )
        per_child = _bytes_per_child(yard, batch, array)
    return ratio <= TIME_RATIO_GOAL and per_child <= BYTES_PER_CHILD_GOAL


def _bytes_per_child(yard: BenchYard, batch: Any, array: dict[str, Any]) -> float:
    """Submit many arrays, wait until they have children, and see what these cost."""
    process = psutil.Process(yard.server.pid)
    store = yard.data_path / "batchyard.db"
    memory, stored = process.memory_info().rss, store.stat().st_size
    began = time.perf_counter()
    ids = [batch.submit_job(**array)["jobId"] for _ in range(ARRAY_COUNT)]
    while not all(_has_children(job) for job in batch.describe_jobs(jobs=ids)["jobs"]):
        time.sleep(0.01)
    took_s = time.perf_counter() - began
    count = ARRAY_COUNT * ARRAY_SIZE
    memory, stored = process.memory_info().rss - memory, store.stat().st_size - stored
    per_child = memory / count
    print(
        f"  {ARRAY_COUNT} arrays, {count:,} children, RUNNABLE after {took_s:.2f} s:"
        f" {memory / 2**20:.1f} MiB of memory = {per_child:.1f} bytes a child,"
        f" {stored / 2**20:.1f} MiB in the store = {stored / count:.1f} bytes a child;"
        f" goal: {BYTES_PER_CHILD_GOAL:.0f} bytes of memory"
    )
    return per_child


def _has_children(job: dict[str, Any]) -> bool:
    counts: dict[str, int] = job["arrayProperties"].get("statusSummary", {})
    return counts.get("RUNNABLE") == ARRAY_SIZE


def _times_ms(call: Callable[[], object]) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return times
