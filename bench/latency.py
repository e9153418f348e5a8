"""From SubmitJob's answer to the first line of the container's process, on an idle server.

The end of the wait is the time that the line carries in CloudWatch Logs: when it was read. Both
ends are this machine's one clock, in whole milliseconds.
"""

import time
from statistics import median, quantiles
from typing import Any

from bench.yard import DEFINITION, QUEUE, bench_yard, make_queue, register

JOBS = 40
GOAL_MS = 100


async def run() -> bool:
    with bench_yard() as yard:
        batch, logs = yard.client("batch"), yard.client("logs")
        make_queue(batch, max_vcpus=8)
        register(batch, ["echo", "here"])
        waits = [_wait_of_one(batch, logs) for _ in range(JOBS)][3:]
    p50, p95 = median(waits), quantiles(waits, n=20)[-1]
    print(
        f"  median {p50:.0f} ms, p95 {p95:.0f} ms: {p50 / GOAL_MS:.2f} of the limit of {GOAL_MS} ms"
    )
    return p50 < GOAL_MS


def _wait_of_one(batch: Any, logs: Any) -> int:
    job = batch.submit_job(jobName="latency", jobQueue=QUEUE, jobDefinition=DEFINITION)["jobId"]
    answered_ms = time.time_ns() // 1_000_000
    while (detail := batch.describe_jobs(jobs=[job])["jobs"][0])["status"] != "SUCCEEDED":
        assert detail["status"] != "FAILED", detail
        time.sleep(0.05)
    events = logs.get_log_events(
        logGroupName="/aws/batch/job",
        logStreamName=detail["container"]["logStreamName"],
        startFromHead=True,
    )["events"]
    return int(events[0]["timestamp"]) - answered_ms
