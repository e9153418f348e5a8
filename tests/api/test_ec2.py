"""Instances and instance types, as EC2 shows and refuses them."""

from __future__ import annotations

from typing import Any

import pytest

from batchyard.model.records import TerminationCause
from tests.api.conftest import NOW_MS, Yard
from tests.api.views import Views

pytestmark = pytest.mark.aws_documented

INVALID = "InvalidParameterValue"
BOTH = pytest.mark.parametrize("operation", ["DescribeInstances", "DescribeInstanceTypes"])


@pytest.fixture
async def views(ready: Yard) -> Views:
    return Views(ready)


@BOTH
@pytest.mark.parametrize("name", ["bogus", "", "tag", "Instance-Type", "x" * 10_000, "tag:"])
async def test_a_filter_that_nobody_knows_is_refused_also_where_nothing_is(
    views: Views, operation: str, name: str
) -> None:
    refusal = await views.refused("ec2", operation, Filters=[{"Name": name, "Values": ["x"]}])
    assert refusal == (INVALID, f"The filter '{name or 'null'}' is invalid")


@BOTH
async def test_a_filter_needs_a_name(views: Views, operation: str) -> None:
    refusal = await views.refused("ec2", operation, Filters=[{"Values": ["x"]}])
    assert refusal == (INVALID, "The filter 'null' is invalid")


@BOTH
async def test_filters_have_limits(views: Views, operation: str) -> None:
    one = {"Name": "instance-type", "Values": ["c6i.large"]}
    many = {"Name": "instance-type", "Values": ["c6i.large"] * 201}
    for filters in ([one] * 51, [many]):
        code, _ = await views.refused("ec2", operation, Filters=filters)
        assert code == "FilterLimitExceeded"
    assert await views.call("ec2", operation, Filters=[one] * 50)


@pytest.mark.parametrize(
    ("operation", "size", "bound"),
    [
        ("DescribeInstances", -1, "greater than or equal to 5"),
        ("DescribeInstances", 0, "greater than or equal to 5"),
        ("DescribeInstances", 4, "greater than or equal to 5"),
        ("DescribeInstances", 1001, "less than or equal to 1000"),
        ("DescribeInstanceTypes", 0, "greater than or equal to 5"),
        ("DescribeInstanceTypes", 4, "greater than or equal to 5"),
        ("DescribeInstanceTypes", 101, "less than or equal to 100"),
    ],
)
async def test_pages_have_bounds(views: Views, operation: str, size: int, bound: str) -> None:
    assert await views.refused("ec2", operation, MaxResults=size) == (
        INVALID,
        f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value {bound}.",
    )


async def test_what_is_named_is_not_paged(views: Views) -> None:
    instance_id = await views.instance(1)
    code, text = await views.refused(
        "ec2", "DescribeInstances", InstanceIds=[instance_id], MaxResults=5
    )
    assert code == "InvalidParameterCombination"
    assert text == "The parameter instancesSet cannot be used with the parameter maxResults"


@BOTH
@pytest.mark.parametrize("token", ["", "x", "%", "é", "AAAAAAAAAAAAAAAAAAAAAA", "x" * 10_000])
async def test_a_token_of_another_is_refused(views: Views, operation: str, token: str) -> None:
    assert await views.refused("ec2", operation, NextToken=token) == (
        INVALID,
        f"Value ( {token} ) for parameter NextToken is invalid. The token is invalid.",
    )


@BOTH
async def test_a_dry_run_is_answered_by_an_error_once_all_else_is_right(
    views: Views, operation: str
) -> None:
    assert await views.refused("ec2", operation, DryRun=True) == (
        "DryRunOperation",
        "Request would have succeeded, but DryRun flag is set.",
    )
    code, _ = await views.refused("ec2", operation, DryRun=True, MaxResults=1)
    assert code == INVALID
    assert await views.call("ec2", operation, DryRun=False)


async def test_instances_are_paged_and_forgotten_after_an_hour(views: Views) -> None:
    ids = [await views.instance(number) for number in range(6)]
    gone: dict[str, Any] = {"terminated_ms": NOW_MS, "cause": TerminationCause.IDLE}
    ids.append(await views.instance(6, **gone))
    first = await views.call("ec2", "DescribeInstances", MaxResults=5)
    second = await views.call(
        "ec2", "DescribeInstances", MaxResults=5, NextToken=first["NextToken"]
    )
    shown = [*first["Reservations"], *second["Reservations"]]
    assert [each["Instances"][0]["InstanceId"] for each in shown] == ids
    assert "NextToken" not in second
    views.yard.now_ms += 3_600_000
    after = await views.call("ec2", "DescribeInstances")
    assert [each["Instances"][0]["InstanceId"] for each in after["Reservations"]] == ids[:6]
    code, text = await views.refused("ec2", "DescribeInstances", InstanceIds=[ids[6]])
    assert code == "InvalidInstanceID.NotFound"
    assert text == f"The instance ID '{ids[6]}' does not exist"


async def test_a_tag_is_known_even_if_nothing_has_it(views: Views) -> None:
    await views.instance(1)
    for name, count in (("tag:AWSBatchServiceTag", 1), ("tag:other", 0)):
        filters = [{"Name": name, "Values": ["*"]}]
        answer = await views.call("ec2", "DescribeInstances", Filters=filters)
        assert len(answer["Reservations"]) == count


async def test_types_are_named_in_order_and_refused_all_at_once(views: Views) -> None:
    names = ["m5.large", "c6i.large", "m5.large"]
    answer = await views.call("ec2", "DescribeInstanceTypes", InstanceTypes=names)
    found = [each["InstanceType"] for each in answer["InstanceTypes"]]
    assert found == ["c6i.large", "m5.large"]
    refusal = await views.refused(
        "ec2", "DescribeInstanceTypes", InstanceTypes=["x9.huge", "m5.large", "y1.tiny"]
    )
    text = "The following supplied instance types do not exist: [x9.huge, y1.tiny]"
    assert refusal == ("InvalidInstanceType", text)
    code, _ = await views.refused("ec2", "DescribeInstanceTypes", InstanceTypes=["m5.large"] * 101)
    assert code == INVALID
    pages = 0
    token: dict[str, str] = {}
    listed: list[str] = []
    while True:
        page = await views.call("ec2", "DescribeInstanceTypes", MaxResults=100, **token)
        listed += [each["InstanceType"] for each in page["InstanceTypes"]]
        pages += 1
        if "NextToken" not in page:
            break
        token = {"NextToken": page["NextToken"]}
    assert pages > 1
    assert listed == sorted(set(listed))
