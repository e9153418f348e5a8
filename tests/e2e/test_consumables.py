"""Consumable resources through the front door: boto3, a real server, real containers."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.live_yard import MARK, QUEUE, LiveYard, live_yard, until

pytestmark = [pytest.mark.aws_documented, pytest.mark.slow]


@pytest.fixture(scope="module")
def yard() -> Iterator[LiveYard]:
    with live_yard(machine_vcpus=16) as made:
        made.make_queue()
        yield made


def create(yard: LiveYard, name: str, total: int, kind: str = "REPLENISHABLE") -> None:
    yard.batch.create_consumable_resource(
        consumableResourceName=name, totalQuantity=total, resourceType=kind
    )


def submit(yard: LiveYard, script: str, *, needs: dict[str, int], **members: Any) -> str:
    answer = yard.batch.submit_job(
        jobName="needy",
        jobQueue=QUEUE,
        jobDefinition="definition",
        containerOverrides={"command": ["sh", "-c", MARK + script]},
        consumableResourcePropertiesOverride={
            "consumableResourceList": [
                {"consumableResource": name, "quantity": quantity}
                for name, quantity in needs.items()
            ]
        },
        **members,
    )
    job_id: str = answer["jobId"]
    return job_id


def shown(yard: LiveYard, name: str) -> tuple[int, int, int]:
    answer = yard.batch.describe_consumable_resource(consumableResource=name)
    return answer["totalQuantity"], answer["inUseQuantity"], answer["availableQuantity"]


def test_children_that_need_the_same_licenses_never_hold_more_than_there_are(
    yard: LiveYard,
) -> None:
    create(yard, "license", 2)
    script = (
        "mkdir /ledger/held.$AWS_BATCH_JOB_ARRAY_INDEX\n"
        "ls -d /ledger/held.* | wc -l >> /ledger/at_once\n"
        "sleep 0.2\n"
        "rmdir /ledger/held.$AWS_BATCH_JOB_ARRAY_INDEX\n"
    )
    array_id = submit(yard, script, needs={"license": 1}, arrayProperties={"size": 8})
    [parent] = yard.ended(array_id)
    assert parent["status"] == "SUCCEEDED"
    counts = [int(line) for line in (yard.ledger_path / "at_once").read_text().split()]
    assert len(counts) == 8
    assert max(counts) <= 2
    assert shown(yard, "license") == (2, 0, 2)


def test_credits_are_used_up_and_who_waits_for_more_goes_on_after_a_crash(yard: LiveYard) -> None:
    create(yard, "credit", 3, "NON_REPLENISHABLE")
    failed = submit(yard, "exit 3", needs={"credit": 2})
    yard.ended(failed)
    assert shown(yard, "credit") == (1, 0, 1)
    waiting = submit(yard, "", needs={"credit": 2})
    yard.reach("RUNNABLE", waiting)
    yard.restart_after_kill()
    assert yard.job(waiting)["status"] == "RUNNABLE"
    listed = yard.batch.list_jobs_by_consumable_resource(
        consumableResource="credit", filters=[{"name": "JOB_STATUS", "values": ["RUNNABLE"]}]
    )["jobs"]
    assert [(job["jobArn"].rpartition("/")[2], job["quantity"]) for job in listed] == [(waiting, 2)]
    answer = yard.batch.update_consumable_resource(
        consumableResource="credit", operation="ADD", quantity=1
    )
    assert answer["totalQuantity"] == 2
    [job] = yard.ended(waiting)
    assert job["status"] == "SUCCEEDED"
    assert shown(yard, "credit") == (0, 0, 0)


def test_a_license_is_held_across_a_crash_of_the_server(yard: LiveYard) -> None:
    create(yard, "seat", 1)
    first = submit(yard, "while [ ! -e /ledger/go ]; do sleep 0.05; done", needs={"seat": 1})
    second = submit(yard, "", needs={"seat": 1})
    yard.reach("RUNNING", first)
    yard.restart_after_kill()
    assert shown(yard, "seat") == (1, 1, 0)
    assert yard.job(second)["status"] == "RUNNABLE"
    (yard.ledger_path / "go").touch()
    yard.ended(first, second)
    until(lambda: shown(yard, "seat") == (1, 0, 1), "the seat is free")


def test_the_front_of_the_queue_shows_who_waits(yard: LiveYard) -> None:
    create(yard, "turn", 0)
    waiting = [submit(yard, "", needs={"turn": 1}) for _ in range(3)]

    def front() -> list[str]:
        answer = yard.batch.get_job_queue_snapshot(jobQueue=QUEUE)
        return [job["jobArn"].rpartition("/")[2] for job in answer["frontOfQueue"]["jobs"]]

    until(lambda: front() == waiting, "three jobs in order")
    answer = yard.batch.cancel_jobs(jobs=waiting[:1], reason="enough")
    assert answer["successful"] == waiting[:1]
    until(lambda: front() == waiting[1:], "the second job in front")
    yard.batch.terminate_jobs(jobs=waiting[1:], reason="enough")
    yard.ended(*waiting)
    until(lambda: front() == [], "an empty front")
