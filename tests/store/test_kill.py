"""Acknowledged means durable: a writer killed at any moment loses nothing it acknowledged.

Goal: every id that the writer printed is in the store afterwards. Method: `kill -9` at moments
drawn from a fixed seed; one store is written to again and again, so recovery itself is killed too.
(This shows that we acknowledge after the COMMIT; a power cut is the database's promise.)
"""

import random
import subprocess
import sys
import time
from pathlib import Path

from batchyard.model.ids import JobId
from batchyard.store import Store, jobs
from tests.store.builders import SCOPE

ROUNDS = 3
ROOT = Path(__file__).parents[2]


def kill_a_writer(url: str, after_s: float) -> list[JobId]:
    """Let a writer work for a while, kill it, and give what it acknowledged."""
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.store.submitting", url], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert writer.stdout is not None
    with writer:
        first = writer.stdout.readline()
        time.sleep(after_s)
        writer.kill()
        lines = (first + writer.stdout.read()).decode().split("\n")
    # The last piece is empty, or a line that the kill cut off.
    return [JobId(line) for line in lines[:-1]]


async def test_what_was_acknowledged_survives_a_kill(url: str) -> None:
    moments = random.Random(7)
    acknowledged: list[JobId] = []
    for _ in range(ROUNDS):
        acknowledged += kill_a_writer(url, moments.uniform(0, 0.3))
    assert len(acknowledged) > ROUNDS
    store = Store.open(url)
    found = await store.read_long(lambda conn: jobs.read_jobs(conn, SCOPE, acknowledged))
    assert [record.job.id for record in found] == acknowledged
    await store.close()
