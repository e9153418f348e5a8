"""Containers of `true` a second, submit to SUCCEEDED, beside a bare loop over the same runtime.

Both run 8 at a time, with the same image, overlay, process configuration and limits (CPU shares,
memory). The bare loop only makes a bundle, runs the runtime and cleans up; the product also takes
signed requests, decides, commits every step durably, captures output and keeps each exit code
over a crash. Rounds alternate, so that a change of the machine's speed meets both.
"""

import asyncio
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from bench.yard import DEFINITION, QUEUE, BenchYard, bench_yard, make_queue, register

ROUNDS = 5
COUNT = 400
PARALLEL = 8
GOAL = 0.7


async def run() -> bool:
    with bench_yard(machine_vcpus=PARALLEL) as yard:
        batch = yard.client("batch")
        make_queue(batch, max_vcpus=PARALLEL)
        register(batch, ["true"])
        _run_jobs(batch, PARALLEL)  # the first use of the image and of every code path
        ratios = []
        for number in range(1, ROUNDS + 1):
            bare = await _bare_loop(yard)
            rate = _run_jobs(batch, COUNT)
            ratios.append(rate / bare)
            print(f"  round {number}: bare {bare:6.1f}/s   batchyard {rate:6.1f}/s")
    ratio = median(ratios)
    print(f"  {ratio:.2f} of the bare loop; goal: {GOAL}")
    return ratio >= GOAL


def _run_jobs(batch: Any, count: int) -> float:
    """Submit jobs and wait for their end; give those a second, by the times the jobs tell."""

    def submit(_: int) -> str:
        answer = batch.submit_job(jobName="true", jobQueue=QUEUE, jobDefinition=DEFINITION)
        return str(answer["jobId"])

    with ThreadPoolExecutor(2) as threads:
        ids = list(threads.map(submit, range(count)))
    details: list[dict[str, Any]] = []
    for begin in range(0, count, 100):
        some = ids[begin : begin + 100]
        while True:
            found = batch.describe_jobs(jobs=some)["jobs"]
            if all("stoppedAt" in job for job in found):
                break
            time.sleep(0.25)
        details += found
    assert {job["status"] for job in details} == {"SUCCEEDED"}, details[0]
    first: float = min(job["createdAt"] for job in details)
    last: float = max(job["stoppedAt"] for job in details)
    return count / (last - first) * 1000


async def _bare_loop(yard: BenchYard) -> float:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.bare_loop",
        str(yard.data_path),
        str(COUNT),
        str(PARALLEL),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return float(output)
