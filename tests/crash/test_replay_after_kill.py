"""The server is killed with SIGKILL while jobs start and end; what it decided is decided again.

`batchyard replay` runs beside the server that took over, on the store that it is using.
"""

import json
import random
import subprocess
import time

import pytest

from tests.e2e.live_yard import BATCHYARD, a_seed, live_yard

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

KILLS = 2


def test_decisions_before_and_after_kills_are_made_again() -> None:
    chance = random.Random(a_seed())
    with live_yard(machine_vcpus=2) as yard:
        yard.make_queue()
        ids = []
        for _ in range(KILLS):
            ids += [yard.submit("exit 0") for _ in range(6)]
            time.sleep(chance.uniform(0, 0.3))
            yard.restart_after_kill()
        ids.append(yard.submit("exit 1"))
        ended = yard.ended(*ids)
        command = [*BATCHYARD, "replay", "--data-dir", str(yard.data_path), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    spans = json.loads(done.stdout)["recordings"]
    assert [span["difference"] for span in spans] == [None] * (KILLS + 1)
    started = {(each["job_id"], each["attempt_number"]) for s in spans for each in s["decisions"]}
    assert started == {
        (job["jobId"], number + 1) for job in ended for number in range(len(job["attempts"]))
    }
