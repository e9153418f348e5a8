"""Consumable resources: their own operations, and jobs that need some."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.model.ids import ConsumableArn, JobId
from batchyard.model.records import ConsumableNeed, JobProgress
from batchyard.model.status import JobStatus
from batchyard.store import consumables
from tests.api.conftest import CONTAINER, ELSEWHERE, NOW_MS, SCOPE, Yard, an_attempt
from tests.api.test_definition_nodes import a_range, nodes

PREFIX = "arn:aws:batch:eu-central-1:123456789012:consumable-resource/"
HOUR_MS = 3_600_000


def arn_of(name: str = "license") -> ConsumableArn:
    return SCOPE.consumable_arn(name)


def a_list(**quantity_by_name: int) -> dict[str, Any]:
    return {
        "consumableResourceList": [
            {"consumableResource": name, "quantity": quantity}
            for name, quantity in quantity_by_name.items()
        ]
    }


def needs(**quantity_by_name: int) -> tuple[ConsumableNeed, ...]:
    return tuple(
        ConsumableNeed(arn=arn_of(name), quantity=quantity)
        for name, quantity in quantity_by_name.items()
    )


async def create(yard: Yard, name: str = "license", total: int = 5, **members: Any) -> str:
    answer = await yard.call(
        "CreateConsumableResource", consumableResourceName=name, totalQuantity=total, **members
    )
    return str(answer["consumableResourceArn"])


async def update(yard: Yard, operation: str, quantity: int, **members: Any) -> int:
    answer = await yard.call(
        "UpdateConsumableResource",
        **{"consumableResource": "license", **members},
        operation=operation,
        quantity=quantity,
    )
    assert answer["consumableResourceName"] == "license"
    assert answer["consumableResourceArn"] == arn_of()
    return int(answer["totalQuantity"])


async def describe(yard: Yard, name: str = "license") -> Any:
    return await yard.call("DescribeConsumableResource", consumableResource=name)


async def engine_holds(yard: Yard, held: int, used_up: int = 0) -> None:
    """Write what the engine would about a resource."""
    changed = [(arn_of(), held, used_up)]
    await yard.store.write(lambda conn: consumables.write_holdings(conn, changed))


async def test_a_resource_goes_through_its_life(yard: Yard):
    woken: list[str] = []
    yard.store.wake_on_wish(lambda: woken.append("wake"))
    assert await create(yard, tags={"a": "b"}) == PREFIX + "license"
    assert await describe(yard, arn_of()) == {
        "consumableResourceArn": PREFIX + "license",
        "consumableResourceName": "license",
        "totalQuantity": 5,
        "inUseQuantity": 0,
        "availableQuantity": 5,
        "resourceType": "REPLENISHABLE",
        "createdAt": NOW_MS,
        "tags": {"a": "b"},
    }
    assert await update(yard, "ADD", 3) == 8
    assert await update(yard, "REMOVE", 2) == 6
    assert await update(yard, "SET", 4) == 4
    assert len(woken) == 4
    delete: dict[str, Any] = {"consumableResource": "license"}
    assert await yard.call("DeleteConsumableResource", **delete) == {}
    message = PREFIX + "license does not exist"
    for operation in ("Describe", "Delete"):
        assert await yard.refused(f"{operation}ConsumableResource", **delete) == message
    assert await yard.refused("ListTagsForResource", resourceArn=arn_of()) == message


async def test_tags_of_a_resource(yard: Yard):
    arn = await create(yard)
    await yard.call("TagResource", resourceArn=arn, tags={"k": "v", "gone": ""})
    await yard.call("UntagResource", resourceArn=arn, tagKeys=["gone"])
    assert await yard.call("ListTagsForResource", resourceArn=arn) == {"tags": {"k": "v"}}
    assert (await describe(yard))["tags"] == {"k": "v"}


async def test_what_is_in_use_stays_in_use_when_more_is_taken_out(yard: Yard):
    await create(yard, total=5)
    await engine_holds(yard, held=4)
    assert await update(yard, "REMOVE", 3) == 2
    shown = await describe(yard)
    assert (shown["totalQuantity"], shown["inUseQuantity"], shown["availableQuantity"]) == (2, 4, 0)


async def test_what_is_used_up_left_the_total(yard: Yard):
    await create(yard, total=5, resourceType="NON_REPLENISHABLE")
    await engine_holds(yard, held=2, used_up=4)
    shown = await describe(yard)
    assert shown["resourceType"] == "NON_REPLENISHABLE"
    assert (shown["totalQuantity"], shown["inUseQuantity"], shown["availableQuantity"]) == (1, 0, 1)
    assert await update(yard, "ADD", 2) == 3
    assert await update(yard, "SET", 7) == 7
    assert (await describe(yard))["availableQuantity"] == 7


async def test_a_repeated_request_counts_once_in_eight_hours(yard: Yard):
    await create(yard)
    assert await update(yard, "ADD", 1, clientToken="t") == 6
    assert await update(yard, "ADD", 1, clientToken="t") == 6
    assert await update(yard, "ADD", 1, clientToken="other") == 7
    assert await update(yard, "ADD", 2, clientToken="t") == 9, "another request"
    assert await update(yard, "REMOVE", 9, clientToken="t") == 0
    assert await update(yard, "REMOVE", 9, clientToken="t") == 0, "repeated, not refused"
    yard.now_ms += 8 * HOUR_MS
    assert await update(yard, "ADD", 1, clientToken="t") == 0, "still the same request"
    yard.now_ms += 1
    assert await update(yard, "ADD", 1, clientToken="t") == 1


async def test_a_refused_request_may_be_repeated(yard: Yard):
    await create(yard, total=1)
    request = {"consumableResource": "license", "operation": "REMOVE", "quantity": 2}
    message = "quantity 2 is more than the total quantity, 1."
    for _ in range(2):
        refused = await yard.refused("UpdateConsumableResource", **request, clientToken="t")
        assert refused == message
    await update(yard, "SET", 3)
    assert await update(yard, "REMOVE", 2, clientToken="t") == 1


async def test_a_resource_that_comes_back_is_the_same_to_whoever_holds_it(yard: Yard):
    await create(yard, total=5)
    await engine_holds(yard, held=2)
    await yard.call("DeleteConsumableResource", consumableResource="license")
    yard.now_ms += 10
    await create(yard, total=3, tags={"new": "1"})
    shown = await describe(yard)
    assert (shown["totalQuantity"], shown["inUseQuantity"], shown["availableQuantity"]) == (3, 2, 1)
    assert (shown["createdAt"], shown["tags"]) == (NOW_MS + 10, {"new": "1"})


LARGEST = 10**18


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"consumableResourceName": "a b"},
            "consumableResourceName must be 1 to 128 letters, digits, hyphens and underscores.",
        ),
        ({"totalQuantity": -1}, f"totalQuantity must be between 0 and {LARGEST}."),
        ({"totalQuantity": LARGEST + 1}, f"totalQuantity must be between 0 and {LARGEST}."),
        (
            {"resourceType": "ENDLESS"},
            "resourceType ENDLESS is not one of REPLENISHABLE, NON_REPLENISHABLE.",
        ),
        ({"tags": {"aws:a": "b"}}, "Tag keys and values cannot start with aws:"),
        ({"consumableResourceName": "license"}, "Object already exists"),
    ],
)
async def test_resources_that_are_refused(yard: Yard, changes, message):
    await create(yard)
    request = {"consumableResourceName": "another", **changes}
    assert await yard.refused("CreateConsumableResource", **request) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"consumableResource": ""}, "consumableResource must be provided"),
        ({"consumableResource": "gone"}, PREFIX + "gone does not exist"),
        (
            {"consumableResource": ELSEWHERE.consumable_arn("license")},
            f"{ELSEWHERE.consumable_arn('license')} does not exist",
        ),
        ({"operation": ""}, "operation must be provided"),
        ({"operation": "TAKE"}, "operation TAKE is not one of SET, ADD, REMOVE."),
        ({"quantity": -1}, f"quantity must be between 0 and {LARGEST}."),
        ({"quantity": LARGEST}, f"totalQuantity must be between 0 and {LARGEST}."),
        ({"clientToken": "t" * 65}, "clientToken must be 1 to 64 characters long."),
    ],
)
async def test_updates_that_are_refused(yard: Yard, changes, message):
    await create(yard)
    request = {"consumableResource": "license", "operation": "ADD", "quantity": 1, **changes}
    assert await yard.refused("UpdateConsumableResource", **request) == message


async def test_an_update_says_how_much(yard: Yard):
    await create(yard)
    request = {"consumableResource": "license", "operation": "ADD"}
    message = await yard.refused("UpdateConsumableResource", **request)
    assert message == "quantity must be provided"


async def test_resources_are_listed_in_pages_and_by_name(yard: Yard):
    names = ["Beta", "alpha", "ALPHABET", "gamma"]
    for name in names:
        await create(yard, name)
    await yard.call("CreateConsumableResource", ELSEWHERE, consumableResourceName="theirs")
    await yard.call("DeleteConsumableResource", consumableResource="gamma")
    seen: list[Any] = []
    token = None
    while token is not None or not seen:
        page = await yard.call("ListConsumableResources", maxResults=2, nextToken=token)
        seen += page["consumableResources"]
        token = page.get("nextToken")
    assert [each["consumableResourceName"] for each in seen] == names[:3]
    assert seen[0] == {
        "consumableResourceArn": PREFIX + "Beta",
        "consumableResourceName": "Beta",
        "totalQuantity": 5,
        "inUseQuantity": 0,
        "resourceType": "REPLENISHABLE",
    }

    async def found(value: str) -> list[str]:
        filters = [{"name": "CONSUMABLE_RESOURCE_NAME", "values": [value]}]
        answer = await yard.call("ListConsumableResources", filters=filters)
        return [each["consumableResourceName"] for each in answer["consumableResources"]]

    assert await found("ALPHA") == ["alpha"]
    assert await found("alpha*") == ["alpha", "ALPHABET"]
    assert await found("a%*") == []


@pytest.mark.parametrize("operation", ["ListConsumableResources", "ListJobsByConsumableResource"])
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"maxResults": 0}, "maxResults must be between 1 and 100."),
        ({"nextToken": "nonsense"}, "nextToken is not valid for this request."),
    ],
)
async def test_pages_that_are_refused(yard: Yard, operation, request_, message):
    await create(yard)
    if operation == "ListJobsByConsumableResource":
        request_ = {**request_, "consumableResource": "license"}
    assert await yard.refused(operation, **request_) == message


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([{"name": "NAME", "values": ["a"]}], "filter NAME is not one of JOB_STATUS, JOB_NAME."),
        (
            [{"name": "JOB_NAME", "values": []}],
            "filter JOB_NAME must have exactly one value.",
        ),
        (
            [{"name": "JOB_NAME", "values": ["a"]}] * 2,
            "filter JOB_NAME is given more than once.",
        ),
        (
            [{"name": "JOB_STATUS", "values": ["DONE"]}],
            "Job status is not one of SUBMITTED | PENDING | RUNNABLE | STARTING | RUNNING |"
            " SUCCEEDED | FAILED",
        ),
    ],
)
async def test_filters_that_are_refused(yard: Yard, filters, message):
    await create(yard)
    request = {"consumableResource": "license", "filters": filters}
    assert await yard.refused("ListJobsByConsumableResource", **request) == message


# ── jobs ─────────────────────────────────────────────────────────────────────────────────


async def test_what_a_definition_says_its_jobs_need(ready: Yard):
    await create(ready)
    await create(ready, "seat")
    given = a_list(license=2, **{arn_of("seat"): 1})
    await ready.define("needy", consumableResourceProperties=given)
    answer = await ready.call("DescribeJobDefinitions", jobDefinitionName="needy")
    assert answer["jobDefinitions"][0]["consumableResourceProperties"] == given
    job_id = await ready.submit(jobDefinition="needy")
    assert (await ready.job(job_id))["consumableResourceProperties"] == given
    assert (await ready.record(job_id)).job.needs == needs(license=2, seat=1)


async def test_a_submission_replaces_the_list(ready: Yard):
    await create(ready)
    await create(ready, "seat")
    await ready.define("needy", consumableResourceProperties=a_list(license=2))
    given = a_list(seat=3)
    job_id = await ready.submit(jobDefinition="needy", consumableResourcePropertiesOverride=given)
    assert (await ready.job(job_id))["consumableResourceProperties"] == given
    assert (await ready.record(job_id)).job.needs == needs(seat=3)
    empty = await ready.submit(jobDefinition="needy", consumableResourcePropertiesOverride=a_list())
    assert (await ready.record(empty)).job.needs == needs(license=2)


async def test_a_job_that_needs_nothing_shows_nothing(ready: Yard):
    await ready.define("plain", consumableResourceProperties=a_list())
    job_id = await ready.submit(jobDefinition="plain")
    assert "consumableResourceProperties" not in await ready.job(job_id)
    answer = await ready.call("DescribeJobDefinitions", jobDefinitionName="plain")
    assert "consumableResourceProperties" not in answer["jobDefinitions"][0]


async def test_a_multi_node_job_needs_the_sum_of_its_ranges(ready: Yard):
    for name in ("license", "seat", "token"):
        await create(ready, name)
    await ready.define(
        "gang",
        type="multinode",
        containerProperties=None,
        consumableResourceProperties=a_list(token=1),
        nodeProperties=nodes(
            4,
            a_range("0", container=CONTAINER, consumableResourceProperties=a_list(license=1)),
            a_range("1:3", container=CONTAINER, consumableResourceProperties=a_list(license=2)),
        ),
    )
    job_id = await ready.submit(jobDefinition="gang")
    assert (await ready.record(job_id)).job.needs == needs(token=1, license=3)
    over = {"targetNodes": "1:3", "consumableResourcePropertiesOverride": a_list(seat=5)}
    job_id = await ready.submit(
        jobDefinition="gang", nodeOverrides={"nodePropertyOverrides": [over]}
    )
    assert (await ready.record(job_id)).job.needs == needs(token=1, license=1, seat=5)
    shown = await ready.job(job_id)
    ranges = shown["nodeProperties"]["nodeRangeProperties"]
    assert ranges[1]["consumableResourceProperties"] == a_list(seat=5)
    assert shown["consumableResourceProperties"] == a_list(token=1)
    node_id = JobId(f"{job_id}#2")
    await ready.progress(
        node_id, JobProgress(status=JobStatus.STARTING, attempt=an_attempt(node_id))
    )
    node = await ready.job(node_id)
    assert node["consumableResourceProperties"] == a_list(seat=5)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([{"quantity": 1}], "consumableResource must be provided"),
        ([{"consumableResource": "license"}], "quantity must be provided"),
        (
            [{"consumableResource": "license", "quantity": 0}],
            f"quantity must be between 1 and {LARGEST}.",
        ),
        ([{"consumableResource": "gone", "quantity": 1}], PREFIX + "gone does not exist"),
        (
            [{"consumableResource": ELSEWHERE.consumable_arn("license"), "quantity": 1}],
            f"{ELSEWHERE.consumable_arn('license')} does not exist",
        ),
        (
            [
                {"consumableResource": "license", "quantity": 1},
                {"consumableResource": arn_of(), "quantity": 1},
            ],
            f"consumableResourceList must not repeat {PREFIX}license.",
        ),
        (
            [{"consumableResource": f"r{n}", "quantity": 1} for n in range(6)],
            "consumableResourceList must have 0 to 5 items.",
        ),
    ],
)
async def test_needs_that_are_refused(ready: Yard, items, message):
    await create(ready)
    await ready.call(
        "CreateConsumableResource", ELSEWHERE, consumableResourceName="license", totalQuantity=1
    )
    given = {"consumableResourceList": items}
    request = {"jobName": "job", "jobQueue": "jq", "jobDefinition": "jd"}
    submitted = await ready.refused(
        "SubmitJob", **request, consumableResourcePropertiesOverride=given
    )
    assert submitted == message
    defined = await ready.refused(
        "RegisterJobDefinition",
        jobDefinitionName="needy",
        type="container",
        containerProperties=CONTAINER,
        consumableResourceProperties=given,
    )
    assert defined == message


async def test_the_jobs_that_need_a_resource_are_listed(ready: Yard):
    await create(ready)
    await create(ready, "seat")
    await ready.submit(jobName="needs-nothing")
    ids = []
    for name in ("one", "Two", "twofold"):
        ready.now_ms += 1
        over = a_list(license=2, seat=1)
        ids.append(await ready.submit(jobName=name, consumableResourcePropertiesOverride=over))
    await ready.progress(
        ids[0], JobProgress(status=JobStatus.RUNNING, started_ms=7, status_reason="so")
    )

    async def listed(**request: Any) -> list[str]:
        answer = await ready.call(
            "ListJobsByConsumableResource", consumableResource="license", **request
        )
        return [job["jobName"] for job in answer["jobs"]]

    assert await listed() == ["twofold", "Two", "one"]
    assert await listed(filters=[{"name": "JOB_STATUS", "values": ["RUNNING"]}]) == ["one"]
    by_name = {"name": "JOB_NAME", "values": ["TWO*"]}
    assert await listed(filters=[by_name]) == ["twofold", "Two"]
    both = [by_name, {"name": "JOB_STATUS", "values": ["RUNNING"]}]
    assert await listed(filters=both) == []
    assert await listed(filters=[{"name": "JOB_NAME", "values": ["two"]}]) == ["Two"]
    answer = await ready.call("ListJobsByConsumableResource", consumableResource=arn_of())
    assert answer["jobs"][-1] == {
        "jobArn": SCOPE.job_arn(ids[0]),
        "jobQueueArn": SCOPE.queue_arn("jq"),
        "jobName": "one",
        "jobDefinitionArn": SCOPE.definition_arn("jd", 1),
        "jobStatus": "RUNNING",
        "quantity": 2,
        "createdAt": NOW_MS + 1,
        "statusReason": "so",
        "startedAt": 7,
        "consumableResourceProperties": a_list(license=2, seat=1),
    }
    gone = {"consumableResource": "gone"}
    refused = await ready.refused("ListJobsByConsumableResource", **gone)
    assert refused == PREFIX + "gone does not exist"


async def test_pages_of_jobs_are_whole_also_where_many_were_submitted_at_once(ready: Yard):
    await create(ready)
    over = a_list(license=1)
    ids = [await ready.submit(consumableResourcePropertiesOverride=over) for _ in range(7)]
    seen: list[Any] = []
    token = None
    while token is not None or not seen:
        page = await ready.call(
            "ListJobsByConsumableResource",
            consumableResource="license",
            maxResults=3,
            nextToken=token,
        )
        seen += [job["jobArn"].rpartition("/")[2] for job in page["jobs"]]
        token = page.get("nextToken")
    assert sorted(seen) == sorted(ids)
