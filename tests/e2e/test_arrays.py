"""Arrays and dependencies through the front door: boto3, a real server, real containers."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.live_yard import MARK, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]

#: Of the array whose children are counted: many times what runs at once.
CHILD_COUNT = 300
STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=16) as made:
        made.make_queue()
        yield made


def submit(yard: LiveYard, script: str, *, size: int | None = None, **members: Any) -> str:
    if size is not None:
        members["arrayProperties"] = {"size": size}
    answer = yard.batch.submit_job(
        jobName="array",
        jobQueue=QUEUE,
        jobDefinition="definition",
        containerOverrides={"command": ["sh", "-c", MARK + script]},
        **members,
    )
    job_id: str = answer["jobId"]
    return job_id


def listed(yard: LiveYard, array_id: str, **members: Any) -> list[dict[str, Any]]:
    pages = yard.batch.get_paginator("list_jobs").paginate(arrayJobId=array_id, **members)
    return [job for page in pages for job in page["jobSummaryList"]]


def summary(job: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = job["arrayProperties"]["statusSummary"]
    assert tuple(counts) == STATUSES or set(counts) == set(STATUSES)
    return {status: count for status, count in counts.items() if count}


def test_a_large_array_runs_each_child_once_while_it_is_watched(yard: LiveYard) -> None:
    array_id = submit(yard, "exit $((AWS_BATCH_JOB_ARRAY_INDEX % 100 == 7))", size=CHILD_COUNT)
    watched: list[int] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.is_set():
            counts = summary(yard.job(array_id))
            watched.append(sum(counts.values()))
            indexes = [job["arrayProperties"]["index"] for job in listed(yard, array_id)]
            assert indexes == sorted(set(indexes)), "a page told a child twice"

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        [parent] = yard.ended(array_id, timeout_s=120)
    finally:
        is_over.set()
        watcher.join()
    assert set(watched) <= {0, CHILD_COUNT}, "the counts always sum to the size"
    assert parent["status"] == "FAILED"
    assert parent["statusReason"] == "Array Child Job failed"
    assert summary(parent) == {"SUCCEEDED": CHILD_COUNT - 3, "FAILED": 3}
    failed = [job["jobId"] for job in listed(yard, array_id, jobStatus="FAILED")]
    assert failed == [f"{array_id}:{index}" for index in (7, 107, 207)]
    assert len(listed(yard, array_id, jobStatus="SUCCEEDED", maxResults=100)) == CHILD_COUNT - 3
    of_array = Counter(run for run in yard.runs().elements() if run[0].startswith(array_id))
    assert of_array == {(f"{array_id}:{index}", 1): 1 for index in range(CHILD_COUNT)}


def test_a_child_knows_its_place_and_a_parent_its_children(yard: LiveYard) -> None:
    array_id = submit(
        yard, "echo $AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ARRAY_INDEX/$AWS_BATCH_JOB_ARRAY_SIZE", size=2
    )
    yard.ended(array_id)
    for index in range(2):
        child_id = f"{array_id}:{index}"
        assert yard.lines(child_id) == [f"{child_id} {index}/2"]
        child = yard.job(child_id)
        assert child["arrayProperties"] == {"statusSummary": {}, "index": index}
        assert child["container"]["exitCode"] == 0
    parent = yard.job(array_id)
    assert parent["arrayProperties"]["size"] == 2
    assert (parent["attempts"], parent["status"]) == ([], "SUCCEEDED")
    assert "exitCode" not in parent["container"]
    assert yard.job(f"{array_id}:0")["jobArn"].endswith(f"job/{array_id}:0")


def test_children_of_pairs_and_sequences_wait_for_each_other(yard: LiveYard) -> None:
    first = submit(yard, "exit $((AWS_BATCH_JOB_ARRAY_INDEX == 1))", size=3)
    second = submit(yard, "", size=3, dependsOn=[{"jobId": first, "type": "N_TO_N"}])
    chain = submit(
        yard, "exit $((AWS_BATCH_JOB_ARRAY_INDEX == 2))", size=5, dependsOn=[{"type": "SEQUENTIAL"}]
    )
    after = submit(yard, "", dependsOn=[{"jobId": f"{first}:2"}])
    never = submit(yard, "", dependsOn=[{"jobId": first}])
    yard.ended(first, second, chain, after, never)
    assert summary(yard.job(second)) == {"SUCCEEDED": 2, "FAILED": 1}
    assert yard.job(f"{second}:1")["statusReason"] == "Dependent Job failed"
    assert summary(yard.job(chain)) == {"SUCCEEDED": 2, "FAILED": 3}
    started = [words[1] for words in yard.ledger() if words[1].startswith(chain)]
    assert started == [f"{chain}:{index}" for index in range(3)]
    assert yard.job(after)["status"] == "SUCCEEDED"
    assert yard.job(never)["statusReason"] == "Dependent Job failed"


def test_each_child_is_tried_again_by_itself(yard: LiveYard) -> None:
    script = 'test "$AWS_BATCH_JOB_ATTEMPT" = 2 || exit $AWS_BATCH_JOB_ARRAY_INDEX'
    array_id = submit(yard, script, size=2, retryStrategy={"attempts": 3})
    yard.ended(array_id)
    attempts = [len(yard.job(f"{array_id}:{index}")["attempts"]) for index in range(2)]
    assert attempts == [1, 2]
    assert yard.job(array_id)["status"] == "SUCCEEDED"


def test_terminate_of_an_array_ends_all_of_it_and_of_a_child_one(yard: LiveYard) -> None:
    hold = "trap 'exit 143' TERM; while :; do sleep 0.1; done"
    array_id = submit(yard, hold, size=30)
    until(lambda: summary(yard.job(array_id)).get("RUNNING", 0) > 5, "running children")
    yard.batch.terminate_job(jobId=f"{array_id}:0", reason="only this one")
    [child] = yard.ended(f"{array_id}:0")
    assert (child["statusReason"], child["isTerminated"]) == ("only this one", True)
    yard.batch.terminate_job(jobId=array_id, reason="all of it")
    [parent] = yard.ended(array_id)
    assert summary(parent) == {"FAILED": 30}
    assert (parent["statusReason"], parent["isTerminated"]) == ("all of it", True)
    reasons = Counter(job["statusReason"] for job in listed(yard, array_id, jobStatus="FAILED"))
    assert reasons == {"only this one": 1, "all of it": 29}


def test_a_killed_server_finds_its_arrays_again(yard: LiveYard) -> None:
    hold = "until [ -e /ledger/go ]; do sleep 0.05; done"
    array_id = submit(yard, hold, size=40)
    paired = submit(yard, "", size=40, dependsOn=[{"jobId": array_id, "type": "N_TO_N"}])
    until(lambda: summary(yard.job(array_id)).get("RUNNING", 0) == 16, "a full machine")
    before = summary(yard.job(array_id))
    yard.kill()
    yard.release("go")
    yard.start()
    assert before == {"RUNNING": 16, "RUNNABLE": 24}
    yard.ended(array_id, paired)
    for each in (array_id, paired):
        assert summary(yard.job(each)) == {"SUCCEEDED": 40}
        runs = {run: count for run, count in yard.runs().items() if run[0].startswith(each)}
        assert runs == {(f"{each}:{index}", 1): 1 for index in range(40)}
