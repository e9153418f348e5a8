"""Log groups and streams: made, described, deleted, given a retention."""

import pytest

from batchyard.logs.limits import SWEEP_ROWS
from batchyard.model.ids import Scope
from batchyard.store import log_groups
from tests.logs.yard import DAY_MS, JOBS, NOW_MS, Yard

pytestmark = pytest.mark.aws_documented

ARN = "arn:aws:logs:eu-west-1:111122223333:log-group"


async def names(yard: Yard, **request) -> list[str]:
    answer = await yard.call("DescribeLogGroups", **request)
    return [group["logGroupName"] for group in answer["logGroups"]]


async def test_a_group_is_described(yard: Yard) -> None:
    assert await yard.call("CreateLogGroup", logGroupName="mine", tags={"a": "b"}) == {}
    await yard.call("PutRetentionPolicy", logGroupName="mine", retentionInDays=7)
    assert await yard.call("DescribeLogGroups") == {
        "logGroups": [
            {
                "logGroupName": "mine",
                "creationTime": NOW_MS,
                "retentionInDays": 7,
                "metricFilterCount": 0,
                "arn": f"{ARN}:mine:*",
                "logGroupArn": f"{ARN}:mine",
                "storedBytes": 0,
                "logGroupClass": "STANDARD",
            }
        ]
    }
    await yard.call("DeleteRetentionPolicy", logGroupName="mine")
    [group] = (await yard.call("DescribeLogGroups"))["logGroups"]
    assert "retentionInDays" not in group


async def test_groups_are_listed_by_name_in_pages(yard: Yard) -> None:
    for name in ("b/2", "a", "B", "b/1", "b/3"):
        await yard.call("CreateLogGroup", logGroupName=name)
    assert await names(yard) == ["B", "a", "b/1", "b/2", "b/3"]
    assert await names(yard, logGroupNamePrefix="b/") == ["b/1", "b/2", "b/3"]
    assert await names(yard, logGroupNamePrefix="none") == []
    assert await names(yard, logGroupNamePattern="/2") == ["b/2"]
    assert await names(yard, logGroupIdentifiers=["a", f"{ARN}:b/3"]) == ["a", "b/3"]
    page = await yard.call("DescribeLogGroups", limit=2, logGroupNamePrefix="b/")
    assert [group["logGroupName"] for group in page["logGroups"]] == ["b/1", "b/2"]
    rest = await names(yard, limit=2, logGroupNamePrefix="b/", nextToken=page["nextToken"])
    assert rest == ["b/3"]
    assert await names(yard, scope=Scope("111122223333", "us-east-1")) == []


async def test_streams_are_described_by_name_and_by_time(yard: Yard) -> None:
    for name, at_ms in (("b", NOW_MS + 5), ("a", NOW_MS + 9), ("c", NOW_MS + 7)):
        await yard.write("x", "y", stream=name, at_ms=at_ms, step_ms=100)
    await yard.call("CreateLogStream", logGroupName=JOBS, logStreamName="empty")

    async def listed(**request) -> list[str]:
        found, token = [], None
        while True:
            answer = await yard.call(
                "DescribeLogStreams", logGroupName=JOBS, limit=2, nextToken=token, **request
            )
            found += [stream["logStreamName"] for stream in answer["logStreams"]]
            if (token := answer.get("nextToken")) is None:
                return found

    assert await listed() == ["a", "b", "c", "empty"]
    assert await listed(descending=True) == ["empty", "c", "b", "a"]
    assert await listed(orderBy="LastEventTime") == ["empty", "b", "c", "a"]
    assert await listed(orderBy="LastEventTime", descending=True) == ["a", "c", "b", "empty"]
    assert await listed(logStreamNamePrefix="e") == ["empty"]
    answer = await yard.call("DescribeLogStreams", logGroupIdentifier=f"{ARN}:{JOBS}:*", limit=1)
    assert answer["logStreams"] == [
        {
            "logStreamName": "a",
            "creationTime": NOW_MS,
            "firstEventTimestamp": NOW_MS + 9,
            "lastEventTimestamp": NOW_MS + 109,
            "lastIngestionTime": NOW_MS,
            "uploadSequenceToken": "49" + "0" * 54,
            "arn": f"{ARN}:{JOBS}:log-stream:a",
            "storedBytes": 0,
        }
    ]


async def test_what_exists_is_not_made_twice(yard: Yard) -> None:
    await yard.call("CreateLogGroup", logGroupName="g")
    assert await yard.refused("CreateLogGroup", logGroupName="g") == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    await yard.call("CreateLogStream", logGroupName="g", logStreamName="s")
    assert await yard.refused("CreateLogStream", logGroupName="g", logStreamName="s") == (
        "ResourceAlreadyExistsException",
        "The specified log stream already exists",
    )


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("DeleteLogGroup", {}),
        ("PutRetentionPolicy", {"retentionInDays": 1}),
        ("DeleteRetentionPolicy", {}),
        ("CreateLogStream", {"logStreamName": "s"}),
        ("DeleteLogStream", {"logStreamName": "s"}),
        ("DescribeLogStreams", {}),
        ("FilterLogEvents", {}),
        ("PutLogEvents", {"logStreamName": "s", "logEvents": [{"timestamp": 1, "message": "m"}]}),
    ],
)
async def test_an_operation_on_a_missing_group_is_refused(yard: Yard, operation, request_) -> None:
    assert await yard.refused(operation, logGroupName="none", **request_) == (
        "ResourceNotFoundException",
        "The specified log group does not exist.",
    )


@pytest.mark.parametrize(
    ("operation", "request_", "text"),
    [
        ("CreateLogGroup", {"logGroupName": "a b"}, "at 'logGroupName' failed to satisfy"),
        ("CreateLogGroup", {"logGroupName": "a" * 513}, "less than or equal to 512"),
        ("CreateLogGroup", {"logGroupName": "a", "logGroupClass": "X"}, "enum value set"),
        ("CreateLogGroup", {"logGroupName": "a", "kmsKeyId": "k"}, "kmsKeyId is not supported"),
        ("CreateLogStream", {"logGroupName": JOBS, "logStreamName": "a:b"}, "logStreamName"),
        ("PutRetentionPolicy", {"logGroupName": JOBS, "retentionInDays": 2}, "retentionInDays"),
        ("DescribeLogGroups", {"limit": 51}, "less than or equal to 50"),
        (
            "DescribeLogGroups",
            {"logGroupNamePrefix": "a", "logGroupNamePattern": "b"},
            "LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.",
        ),
        ("DescribeLogGroups", {"nextToken": "AAAA"}, "The specified nextToken is invalid."),
        ("DescribeLogStreams", {"logGroupName": JOBS, "orderBy": "x"}, "enum value set"),
        (
            "DescribeLogStreams",
            {"logGroupName": JOBS, "orderBy": "LastEventTime", "logStreamNamePrefix": "a"},
            "Cannot order by LastEventTime with a logStreamNamePrefix.",
        ),
    ],
)
async def test_a_bad_request_is_refused(yard: Yard, operation, request_, text: str) -> None:
    await yard.write("a")
    code, message = await yard.refused(operation, **request_)
    assert code == "InvalidParameterException"
    assert text in message


async def test_a_deleted_group_is_gone_at_once_and_swept_later(yard: Yard) -> None:
    await yard.write(*["x"] * (SWEEP_ROWS + 1))
    await yard.write("y", stream="other")
    await yard.call("DeleteLogGroup", logGroupName=JOBS)
    assert await names(yard) == []
    await yard.write("new")
    assert await yard.messages() == ["new"]
    assert await yard.logs.sweep() == SWEEP_ROWS + 2 + 2
    assert await yard.logs.sweep() == 0
    assert await yard.logs.store.read(log_groups.read_trash) is None
    assert await yard.messages() == ["new"]


async def test_the_sweep_deletes_what_expired(yard: Yard) -> None:
    await yard.write("old", "older", at_ms=NOW_MS - 2 * DAY_MS)
    await yard.write("new")
    await yard.write("kept", group="elsewhere", stream="e", at_ms=NOW_MS - 2 * DAY_MS)
    assert await yard.logs.sweep() == 0
    await yard.call("PutRetentionPolicy", logGroupName=JOBS, retentionInDays=1)
    assert await yard.logs.sweep() == 2
    await yard.call("DeleteRetentionPolicy", logGroupName=JOBS)
    assert await yard.messages() == ["new"]
    assert await yard.messages("e", "elsewhere") == ["kept"]
    [group] = (await yard.call("DescribeLogGroups", logGroupNamePrefix=JOBS))["logGroups"]
    assert group["storedBytes"] == 26 + 3
