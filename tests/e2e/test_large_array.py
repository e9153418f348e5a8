"""The largest array that AWS Batch has, in real containers, while somebody looks all the time.

What it took is printed: how long SubmitJob and the whole array took, and the memory of server and
supervisor (PSS) before and after.
"""

import re
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.live_yard import DEFINITION, MARK, QUEUE, LiveYard, live_yard, supervisor_pid

pytestmark = [
    pytest.mark.aws_documented,
    pytest.mark.nightly,
    pytest.mark.slow,
    pytest.mark.timeout(3600),
]

CHILD_COUNT = 10_000
FAILED = [index for index in range(CHILD_COUNT) if index % 1000 == 7]
_PAUSE_S = 0.5


class Watcher(threading.Thread):
    """Reads counts and pages of an array for as long as it lives, and keeps what it saw."""

    def __init__(self, yard: LiveYard, array_id: str) -> None:
        super().__init__()
        self.yard, self.array_id = yard, array_id
        self.is_over = threading.Event()
        self.counts: list[dict[str, int]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.is_over.wait(_PAUSE_S):
                self._look()
        except BaseException as error:
            self.error = error

    def _look(self) -> None:
        counts = self.yard.job(self.array_id)["arrayProperties"]["statusSummary"]
        self.counts.append(counts)
        pages = self.yard.batch.get_paginator("list_jobs").paginate(
            arrayJobId=self.array_id, jobStatus="RUNNING"
        )
        indexes = [
            job["arrayProperties"]["index"] for page in pages for job in page["jobSummaryList"]
        ]
        assert indexes == sorted(set(indexes))


def test_ten_thousand_children_run_once_each_and_are_counted_right() -> None:
    with live_yard(machine_vcpus=24, machine_memory_mib=1024) as yard:
        yard.make_queue()
        yard.ended(yard.submit("true"))
        before = memory_of(yard)
        began_s = time.monotonic()
        array_id = yard.batch.submit_job(
            jobName="large",
            jobQueue=QUEUE,
            jobDefinition=DEFINITION,
            arrayProperties={"size": CHILD_COUNT},
            containerOverrides={
                "command": ["sh", "-c", f"{MARK}exit $((AWS_BATCH_JOB_ARRAY_INDEX % 1000 == 7))"]
            },
        )["jobId"]
        submitted_s = time.monotonic() - began_s
        watcher = Watcher(yard, array_id)
        watcher.start()
        try:
            [parent] = yard.ended(array_id, timeout_s=3000)
        finally:
            watcher.is_over.set()
            watcher.join()
        took_s = time.monotonic() - began_s
        after = memory_of(yard)
        sys.stderr.write(
            f"\nSubmitJob {submitted_s * 1000:.0f} ms; all children {took_s:.0f} s,"
            f" {CHILD_COUNT / took_s:.0f}/s; looked {len(watcher.counts)} times;"
            f" PSS in MiB before {before}, after {after}\n"
        )
        assert watcher.error is None, watcher.error
        assert_counts(watcher.counts)
        assert parent["status"] == "FAILED"
        assert parent["arrayProperties"]["statusSummary"] == {
            **dict.fromkeys(("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"), 0),
            "SUCCEEDED": CHILD_COUNT - len(FAILED),
            "FAILED": len(FAILED),
        }
        listed = {status: indexes_of(yard, array_id, status) for status in ("SUCCEEDED", "FAILED")}
        assert listed["FAILED"] == FAILED
        assert sorted(listed["SUCCEEDED"] + FAILED) == list(range(CHILD_COUNT))
        runs = Counter({run: n for run, n in yard.runs().items() if run[0].startswith(array_id)})
        assert runs == {(f"{array_id}:{index}", 1): 1 for index in range(CHILD_COUNT)}


def assert_counts(seen: list[dict[str, int]]) -> None:
    """At every moment each child was somewhere, and none came back from its end."""
    assert {sum(counts.values()) for counts in seen} <= {0, CHILD_COUNT}
    ended = [counts["SUCCEEDED"] + counts["FAILED"] for counts in seen]
    assert ended == sorted(ended)


def indexes_of(yard: LiveYard, array_id: str, status: str) -> list[int]:
    pages = yard.batch.get_paginator("list_jobs").paginate(arrayJobId=array_id, jobStatus=status)
    return [job["arrayProperties"]["index"] for page in pages for job in page["jobSummaryList"]]


def memory_of(yard: LiveYard) -> dict[str, int]:
    """What server and supervisor take of the memory, in MiB."""
    assert yard.process is not None
    pids = {"server": yard.process.pid, "supervisor": supervisor_pid(yard.data_path)}
    found = {}
    for name, pid in pids.items():
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        line = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
        assert line is not None
        found[name] = int(line[1]) // 1024
    return found
