"""The server on PostgreSQL: everything as on SQLite, a database that goes away, and a stand-by.

Two servers on one database have a data folder and containers of their own each, as if on two
machines. One leads; when it dies the other takes over, and what ran on the dead one's host is lost
as when an EC2 instance ends.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from batchyard.model import wording
from tests.e2e.live_yard import BATCHYARD, LiveYard, live_yard, own_client, runtime_pids, until
from tests.fixtures.postgres import PostgresServer, postgres_server

__all__ = ["postgres_server"]

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

HOLD = "while [ ! -e /ledger/go ] && [ ! -e /ledger/end ]; do usleep 10000; done\n"


@pytest.fixture
def db(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    url = postgres_server.make_database()
    yield url
    postgres_server.drop_database(url)


def test_jobs_live_on_postgresql_as_they_do_on_sqlite(db: str) -> None:
    """A chain, a failure with a retry, a stop; then the server is killed and finds all again."""
    with live_yard(db=db, machine_vcpus=16) as yard:
        yard.make_queue()
        first = yard.submit("echo hello")
        second = yard.submit("echo world", after=[first])
        retried = yard.submit("exit $((2 - AWS_BATCH_JOB_ATTEMPT))", attempts=2)
        stopped = yard.submit(f"trap 'exit 9' TERM\n{HOLD}")
        yard.reach("RUNNING", stopped)
        yard.batch.terminate_job(jobId=stopped, reason="enough")
        jobs = yard.ended(first, second, retried, stopped)
        assert [job["status"] for job in jobs] == ["SUCCEEDED"] * 3 + ["FAILED"]
        assert [yard.lines(job) for job in (first, second)] == [["hello"], ["world"]]
        assert [each["container"]["exitCode"] for each in jobs[2]["attempts"]] == [1, 0]
        assert jobs[3]["statusReason"] == "enough"

        running = yard.submit(f"echo before\n{HOLD}echo after; exit 4")
        waiting = yard.submit(after=[running])
        yard.reach("RUNNING", running)
        for _ in range(3):
            yard.restart_after_kill()
        assert yard.statuses(running, waiting) == {"RUNNING": 1, "PENDING": 1}
        yard.release("go")
        (job, dependent) = yard.ended(running, waiting)
        assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 4)
        assert yard.lines(running) == ["before", "after"]
        assert dependent["statusReason"] == wording.DEPENDENCY_FAILED
        yard.assert_each_ran_once(first, second, retried, stopped, running, waiting)


def test_the_database_restarts_under_a_running_server(
    db: str, postgres_server: PostgresServer
) -> None:
    with live_yard(db=db, machine_vcpus=16) as yard:
        yard.make_queue()
        count = (
            "i=0; while [ ! -e /ledger/go ] && [ ! -e /ledger/end ]; do"
            " i=$((i+1)); echo $i; usleep 10000; done; echo $i > /ledger/last; exit 7"
        )
        running = yard.submit(count)
        waiting = yard.submit(after=[running])
        # Its end comes while there is no database.
        ending = yard.submit("while [ ! -e /ledger/gone ]; do usleep 10000; done; exit 3")
        yard.reach("RUNNING", running, ending)
        postgres_server.stop()
        yard.release("gone")
        with pytest.raises(yard.batch.exceptions.ServerException, match="cannot do this now"):
            yard.submit()
        postgres_server.start()
        assert yard.ended(ending)[0]["container"]["exitCode"] == 3
        assert yard.statuses(running, waiting) == {"RUNNING": 1, "PENDING": 1}
        after = yard.submit("echo after")
        assert yard.ended(after)[0]["status"] == "SUCCEEDED"
        yard.release("go")
        assert yard.ended(running)[0]["container"]["exitCode"] == 7
        last = int((yard.ledger_path / "last").read_text())
        assert yard.lines(running) == [str(number) for number in range(1, last + 1)]
        yard.assert_each_ran_once(running, waiting, ending, after)


def assert_both_explain(leading: LiveYard, standing_by: LiveYard, pending: str) -> None:
    """The one that waits reads from the records what the other has in memory."""
    leading.register("large", resourceRequirements=requirements(vcpus=32))
    runnable = leading.submit(definition="large")
    standing_by.reach("RUNNABLE", runnable)
    for job_id, cause in ((pending, "DEPENDENCY"), (runnable, "NEVER_FITS")):
        told = [
            own_client(each).get_job_explanation(jobId=job_id) for each in (leading, standing_by)
        ]
        for each in told:
            del each["ResponseMetadata"], each["at"]
        assert told[0] == told[1]
        assert cause in [each["cause"] for each in told[0]["reasons"]]
    leading.batch.cancel_job(jobId=runnable, reason="seen")
    leading.ended(runnable)


def assert_decisions_are_made_again(db: str, data_path: Path) -> None:
    """Those of the dead server and those of the one that took over, beside both of them."""
    command = [*BATCHYARD, "replay", "--db", db, "--data-dir", str(data_path), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)["recordings"]
    assert [each["difference"] for each in told] == [None, None]
    assert [len(each["decisions"]) for each in told] == [2, 2]


def requirements(*, vcpus: int) -> list[dict[str, str]]:
    return [{"type": "VCPU", "value": str(vcpus)}, {"type": "MEMORY", "value": "16"}]


def test_a_second_server_stands_by_and_takes_over(db: str) -> None:
    with (
        live_yard(db=db, machine_vcpus=16) as first,
        live_yard(db=db, machine_vcpus=16, ledger_path=first.ledger_path) as second,
    ):
        assert "standing_by" in second.log()
        second.make_queue()  # The API beside an engine that waits is as good as any.
        once = first.submit(HOLD)
        retried = second.submit(HOLD, attempts=2)
        after = second.submit("echo after", after=[retried])
        second.reach("RUNNING", once, retried)
        assert len(runtime_pids(first.data_path)) == 2
        assert runtime_pids(second.data_path) == []
        assert_both_explain(first, second, after)

        first.kill()
        (job,) = second.ended(once)
        assert job["status"] == "FAILED"
        terminated = r"Host EC2 \(instance i-[0-9a-f]{17}\) terminated\."
        assert re.fullmatch(terminated, job["statusReason"])
        second.reach("RUNNING", retried)
        assert len(second.job(retried)["attempts"]) == 1
        assert len(runtime_pids(second.data_path)) == 1

        # The dead one comes back beside it: what still runs there has been given up.
        assert len(runtime_pids(first.data_path)) == 2
        first.start()
        until(lambda: runtime_pids(first.data_path) == [], "the end of what was given up")
        assert first.statuses(retried, after) == {"RUNNING": 1, "PENDING": 1}
        first.release("go")
        job, dependent = first.ended(retried, after)
        assert [job["status"], dependent["status"]] == ["SUCCEEDED", "SUCCEEDED"]
        first_attempt, second_attempt = job["attempts"]
        assert re.fullmatch(terminated, first_attempt["statusReason"])
        assert second_attempt["container"]["exitCode"] == 0
        first.assert_each_ran_once(once, retried, after)
        assert_decisions_are_made_again(db, first.data_path)

        second.kill()
        again = first.submit("exit 6")
        assert first.ended(again)[0]["container"]["exitCode"] == 6
        second.start()


def test_an_engine_that_lost_its_lead_ends_its_server(
    db: str, postgres_server: PostgresServer
) -> None:
    """The leader sleeps through a restart of the database; the other takes over in the meantime."""
    with live_yard(db=db) as first, live_yard(db=db, ledger_path=first.ledger_path) as second:
        second.make_queue()
        assert first.process is not None
        os.kill(first.process.pid, signal.SIGSTOP)
        postgres_server.restart()
        job = second.submit("exit 5")
        assert second.ended(job)[0]["container"]["exitCode"] == 5
        os.kill(first.process.pid, signal.SIGCONT)
        assert first.process.wait(timeout=20) == 1
        first.process = None
        assert "another server of this database has taken over" in first.log()
        first.start()
        assert first.job(job)["status"] == "FAILED"
