"""The end of a yard with real containers: none of them is left running.

Speaks to the server as any AWS client would.
"""

import time
from typing import Any

from batchyard.testing.trouble import YardTrouble

_LIVE = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
_POLL_S = 0.1
#: Longer than the 30 seconds that a job has between SIGTERM and SIGKILL.
_END_S_MAX = 60.0


def end_jobs(batch: Any) -> None:
    """Terminate every job that lives, and wait for its end. Raises `YardTrouble`."""
    deadline = time.monotonic() + _END_S_MAX
    asked: set[str] = set()
    while live := _live_jobs(batch):
        if time.monotonic() > deadline:
            raise YardTrouble(f"jobs do not end: {sorted(live)}")
        for job_id in live - asked:
            batch.terminate_job(jobId=job_id, reason="the test is over")
        asked |= live
        time.sleep(_POLL_S)


def _live_jobs(batch: Any) -> set[str]:
    queues = batch.get_paginator("describe_job_queues").paginate()
    names = [queue["jobQueueName"] for page in queues for queue in page["jobQueues"]]
    jobs = batch.get_paginator("list_jobs")
    return {
        job["jobId"]
        for name in names
        for status in _LIVE
        for page in jobs.paginate(jobQueue=name, jobStatus=status)
        for job in page["jobSummaryList"]
    }
