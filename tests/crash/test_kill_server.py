"""The server is killed with SIGKILL in every state of a job, ten times each, and started again.

Nothing acknowledged is lost; no attempt runs twice (every container writes a line to a ledger on
the host before anything else); what runs goes on running, and its output is complete, also what it
printed while no server was up. The moments come from a seed that a failure prints.
"""

import asyncio
import random
import time
from collections.abc import Iterator

import msgspec
import pytest

from batchyard.model import wording
from batchyard.model.ids import JobId
from batchyard.model.limits import STOP_GRACE_MS
from batchyard.store import Store
from batchyard.store.jobs import read_specs
from tests.e2e.live_yard import LiveYard, Submitters, a_seed, live_yard, until

pytestmark = [pytest.mark.ours_only, pytest.mark.slow]

KILLS = 10

#: Waits in the container for a file of the ledger; `end` frees everything.
HOLD = 'while [ ! -e "/ledger/{name}" ] && [ ! -e /ledger/end ]; do usleep 10000; done\n'


@pytest.fixture
def chance() -> random.Random:
    return random.Random(a_seed())


@pytest.fixture
def yard() -> Iterator[LiveYard]:
    """Room for many small jobs at once, whatever the machine has."""
    with live_yard(machine_vcpus=64) as made:
        made.make_queue()
        yield made


def test_submitted_jobs_are_kept_from_the_moment_they_are_acknowledged(
    yard: LiveYard, chance: random.Random
) -> None:
    acknowledged: list[str] = []
    seen = 0
    for _ in range(KILLS):
        submitters = Submitters(yard, count=8, jobs_max=40)
        submitters.first_answer.wait()
        time.sleep(chance.uniform(0, 0.05))
        yard.kill()
        submitters.join()
        seen += yard.stored_statuses()["SUBMITTED"]
        acknowledged += submitters.acknowledged
        yard.start()
    assert seen > 0, "no kill came while a job was SUBMITTED"
    jobs = yard.ended(*acknowledged)
    assert {job["status"] for job in jobs} == {"SUCCEEDED"}
    until(lambda: not yard.live_count(), "the end of what was not acknowledged")
    yard.assert_each_ran_once(*yard.all_job_ids())


def test_pending_jobs_go_on_waiting_and_then_run(yard: LiveYard, chance: random.Random) -> None:
    chains = []
    for number in range(KILLS):
        first = yard.submit(HOLD.format(name=f"go-{number}"))
        second = yard.submit(after=[first])
        chains.append((first, second, yard.submit(after=[second])))
    yard.reach("RUNNING", *(first for first, _, _ in chains))
    yard.reach("PENDING", *(job for _, *others in chains for job in others))
    for number in range(KILLS):
        yard.release(f"go-{number}")
        time.sleep(chance.uniform(0, 0.08))
        yard.restart_after_kill()
        waiting = [job for chain in chains[number + 1 :] for job in chain[1:]]
        if waiting:
            assert set(yard.statuses(*waiting)) == {"PENDING"}
    ids = [job for chain in chains for job in chain]
    assert {job["status"] for job in yard.ended(*ids)} == {"SUCCEEDED"}
    yard.assert_each_ran_once(*ids)
    order = [words[1] for words in yard.ledger()]
    for chain in chains:
        assert [job for job in order if job in chain] == list(chain)


def test_runnable_jobs_go_on_waiting_for_room(yard: LiveYard, chance: random.Random) -> None:
    """Two fit at a time; at no moment may more run, whatever was killed."""
    half = [{"type": "VCPU", "value": "32"}, {"type": "MEMORY", "value": "16"}]
    yard.register("half", resourceRequirements=half)
    end = 'echo "end $AWS_BATCH_JOB_ID" >> /ledger/runs'
    ids = [
        yard.submit(HOLD.format(name=f"go-{number}") + end, definition="half")
        for number in range(KILLS + 2)
    ]
    yard.reach("RUNNING", *ids[:2])
    yard.reach("RUNNABLE", *ids[2:])
    for number in range(KILLS):
        yard.release(f"go-{number}")
        time.sleep(chance.uniform(0, 0.08))
        yard.restart_after_kill()
        assert set(yard.statuses(*ids[number + 3 :])) <= {"RUNNABLE"}
        yard.reach("RUNNING", *ids[number + 1 : number + 3])
    yard.release("end")
    assert {job["status"] for job in yard.ended(*ids)} == {"SUCCEEDED"}
    yard.assert_each_ran_once(*ids)
    running = 0
    for what, *_ in yard.ledger():
        running += 1 if what == "start" else -1
        assert 0 <= running <= 2


def test_starting_jobs_are_started_once(yard: LiveYard, chance: random.Random) -> None:
    ids = []
    seen = 0
    for _ in range(KILLS):
        ids += [yard.submit("echo hello") for _ in range(8)]
        time.sleep(chance.uniform(0, 0.04))
        yard.kill()
        seen += yard.stored_statuses()["STARTING"]
        yard.start()
    assert seen > 0, "no kill came while a job was STARTING"
    assert {job["status"] for job in yard.ended(*ids)} == {"SUCCEEDED"}
    yard.assert_each_ran_once(*ids)
    assert [yard.lines(job) for job in ids] == [["hello"]] * len(ids)


def test_running_jobs_are_adopted_with_every_line_they_print(
    yard: LiveYard, chance: random.Random
) -> None:
    count = (
        "i=0; while [ ! -e /ledger/go ] && [ ! -e /ledger/end ]; do"
        " i=$((i+1)); echo $i; usleep 10000; done; echo $i > /ledger/$AWS_BATCH_JOB_ID; exit 7"
    )
    ids = [yard.submit(count) for _ in range(6)]
    yard.reach("RUNNING", *ids)
    before = yard.jobs(*ids)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0, 0.2))
        yard.kill()
        time.sleep(chance.uniform(0, 0.3))
        yard.start()
        assert yard.jobs(*ids) == before
    yard.release("go")
    for job_id, earlier, job in zip(ids, before, yard.ended(*ids), strict=True):
        assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 7)
        assert job["statusReason"] == wording.ESSENTIAL_CONTAINER_EXITED
        assert job["startedAt"] == earlier["startedAt"]
        assert [each["container"]["taskArn"] for each in job["attempts"]] == [
            earlier["container"]["taskArn"]
        ]
        printed = int((yard.ledger_path / job_id).read_text())
        assert yard.lines(job_id) == [str(each) for each in range(1, printed + 1)]
    yard.assert_each_ran_once(*ids)


def test_jobs_that_end_at_that_moment_keep_their_exit_code(
    yard: LiveYard, chance: random.Random
) -> None:
    """Half of them end while no server is up, or while the end is being written down."""
    ids = []
    for _ in range(KILLS):
        for _ in range(8):
            script = (
                f"usleep {chance.randrange(300_000)}; echo from attempt $AWS_BATCH_JOB_ATTEMPT;"
                ' [ "$AWS_BATCH_JOB_ATTEMPT" = 2 ] || exit 3'
            )
            ids.append(yard.submit(script, attempts=2))
        time.sleep(chance.uniform(0.05, 0.4))
        yard.restart_after_kill()
    for job in yard.ended(*ids):
        assert job["status"] == "SUCCEEDED"
        assert [each["container"]["exitCode"] for each in job["attempts"]] == [3, 0]
        starts = [each["startedAt"] for each in job["attempts"]]
        stops = [each["stoppedAt"] for each in job["attempts"]]
        assert starts[0] <= stops[0] <= starts[1] <= stops[1], job["attempts"]
    yard.assert_each_ran_once(*ids)
    assert {tuple(yard.lines(job)) for job in ids} == {("from attempt 2",)}


def test_stopping_jobs_are_stopped_once_and_in_time(yard: LiveYard, chance: random.Random) -> None:
    """Every second one ignores SIGTERM, and must be killed when the grace time is over."""
    polite = "trap 'echo told; exit 9' TERM\n" + HOLD.format(name="never")
    stubborn = "trap 'echo told' TERM\n" + HOLD.format(name="never")
    ids = [yard.submit(stubborn if number % 2 else polite, attempts=3) for number in range(KILLS)]
    yard.reach("RUNNING", *ids)
    until(lambda: len(yard.runs()) == KILLS, "every mark")
    time.sleep(0.2)  # from its mark to its trap
    told_ms = []
    for number, job_id in enumerate(ids):
        told_ms.append(time.time() * 1000)
        yard.batch.terminate_job(jobId=job_id, reason=f"reason {number}")
        time.sleep(chance.uniform(0, 0.05))
        yard.restart_after_kill()
    up_again_ms = time.time() * 1000
    for number, job in enumerate(yard.ended(*ids)):
        is_stubborn = bool(number % 2)
        assert job["status"] == "FAILED"
        assert job["statusReason"] == f"reason {number}"
        assert job["isTerminated"]
        (attempt,) = job["attempts"]
        assert attempt["container"]["exitCode"] == (137 if is_stubborn else 9)
        grace_ms = STOP_GRACE_MS if is_stubborn else 0
        assert attempt["stoppedAt"] >= told_ms[number] + grace_ms - 100
        if number < KILLS // 2:
            assert attempt["stoppedAt"] < up_again_ms + grace_ms, "a restart began the grace anew"
        assert yard.lines(ids[number]) == ["told"], "exactly one SIGTERM"
    yard.assert_each_ran_once(*ids)


def test_timeouts_count_on_while_no_server_is_up(yard: LiveYard, chance: random.Random) -> None:
    """The API takes no timeout under a minute, so these are written into the store as jobs."""
    script = "trap 'exit 9' TERM\n" + HOLD.format(name="never")
    pattern = yard.submit(script)
    yard.reach("RUNNING", pattern)
    yard.kill()
    timeout_ms_by_id = {
        f"{number:08x}-0000-4000-8000-000000000000": 1500 * (number + 1) for number in range(KILLS)
    }
    asyncio.run(_append_like(yard, pattern, timeout_ms_by_id))
    yard.start()
    ids = list(timeout_ms_by_id)
    for _ in range(KILLS):
        time.sleep(chance.uniform(0, 0.6))
        yard.restart_after_kill()
    up_again_ms = time.time() * 1000
    for job in yard.ended(*ids):
        assert (job["status"], job["statusReason"]) == ("FAILED", wording.TIMEOUT_EXCEEDED)
        (attempt,) = job["attempts"]
        assert attempt["container"]["exitCode"] == 9
        timeout_ms = timeout_ms_by_id[job["jobId"]]
        assert attempt["stoppedAt"] >= attempt["startedAt"] + timeout_ms
        assert attempt["stoppedAt"] < up_again_ms + timeout_ms, "a restart began the time anew"
    yard.release("end")
    yard.ended(pattern)
    yard.assert_each_ran_once(pattern, *ids)


async def _append_like(yard: LiveYard, pattern: str, timeout_ms_by_id: dict[str, int]) -> None:
    store = Store.open(f"sqlite:///{yard.data_path / 'batchyard.db'}")
    try:
        found = await store.read(lambda conn: read_specs(conn, [JobId(pattern)]))
        job = found[JobId(pattern)].job
        for job_id, timeout_ms in timeout_ms_by_id.items():
            await store.append_job(
                msgspec.structs.replace(job, id=JobId(job_id), timeout_ms=timeout_ms)
            )
    finally:
        await store.close()
