"""GetLogEvents: pages in both directions, tokens, and what is refused."""

import re

import pytest

from tests.logs.yard import DAY_MS, JOBS, NOW_MS, Yard, messages

pytestmark = pytest.mark.aws_documented

NO_GROUP = ("ResourceNotFoundException", "The specified log group does not exist.")
NO_STREAM = ("ResourceNotFoundException", "The specified log stream does not exist.")


async def get(yard: Yard, **request):
    return await yard.call("GetLogEvents", logGroupName=JOBS, logStreamName="s", **request)


async def test_the_newest_page_comes_first_by_default(yard: Yard) -> None:
    await yard.write(*"abcdef")
    page = await get(yard, limit=2)
    assert messages(page) == ["e", "f"]
    assert page["events"][0] == {"timestamp": NOW_MS + 4, "message": "e", "ingestionTime": NOW_MS}
    page = await get(yard, limit=3, nextToken=page["nextBackwardToken"])
    assert messages(page) == ["b", "c", "d"]
    page = await get(yard, limit=3, nextToken=page["nextBackwardToken"])
    assert messages(page) == ["a"]
    end = await get(yard, limit=3, nextToken=page["nextBackwardToken"])
    assert messages(end) == []
    assert end["nextBackwardToken"] == page["nextBackwardToken"]
    assert messages(await get(yard, nextToken=end["nextForwardToken"])) == list("abcdef")


async def test_reading_from_the_head_ends_with_the_same_token(yard: Yard) -> None:
    await yard.write(*"abcde")
    seen, token = [], None
    for _ in range(10):
        page = await get(yard, limit=2, startFromHead=True, nextToken=token)
        seen += messages(page)
        if page["nextForwardToken"] == token:
            break
        token = page["nextForwardToken"]
    assert seen == list("abcde")
    assert re.fullmatch("f/[0-9]{56}/s", str(token))


async def test_the_token_at_the_end_later_gives_only_what_is_new(yard: Yard) -> None:
    await yard.write("a", at_ms=NOW_MS)
    token = (await get(yard, startFromHead=True))["nextForwardToken"]
    assert (await get(yard, nextToken=token))["nextForwardToken"] == token
    await yard.write("b", "c", at_ms=NOW_MS, step_ms=0)
    page = await get(yard, nextToken=token)
    assert messages(page) == ["b", "c"]
    assert messages(await get(yard, nextToken=page["nextForwardToken"])) == []
    assert messages(await get(yard, nextToken=page["nextBackwardToken"])) == ["a"]


async def test_an_empty_stream_has_tokens_that_wait_for_lines(yard: Yard) -> None:
    await yard.write()
    page = await get(yard)
    assert messages(page) == []
    again = await get(yard, nextToken=page["nextForwardToken"])
    assert again["nextForwardToken"] == page["nextForwardToken"]
    await yard.write("a")
    assert messages(await get(yard, nextToken=page["nextForwardToken"])) == ["a"]


async def test_the_start_is_inclusive_and_the_end_exclusive(yard: Yard) -> None:
    await yard.write(*"abcd")
    page = await get(yard, startTime=NOW_MS + 1, endTime=NOW_MS + 3)
    assert messages(page) == ["b", "c"]
    token = page["nextForwardToken"]
    end = await get(yard, startTime=NOW_MS + 1, endTime=NOW_MS + 3, nextToken=token)
    assert (messages(end), end["nextForwardToken"]) == ([], token)


async def test_a_page_holds_a_mebibyte(yard: Yard) -> None:
    lines = [str(number) * 200_000 for number in range(8)]
    await yard.write(*lines)
    page = await get(yard, startFromHead=True)
    assert messages(page) == lines[:5]
    rest = await get(yard, nextToken=page["nextForwardToken"])
    assert messages(rest) == lines[5:]
    assert messages(await get(yard)) == lines[3:]


async def test_many_lines_of_one_millisecond_are_paged_without_loss(yard: Yard) -> None:
    lines = [str(number) for number in range(2500)]
    await yard.write(*lines, step_ms=0)
    assert await yard.messages() == lines
    seen, token = [], None
    for _ in range(5):
        page = await get(yard, limit=600, startFromHead=True, nextToken=token)
        token = page["nextForwardToken"]
        seen += messages(page)
    assert seen == lines


@pytest.mark.parametrize(
    "identifier",
    [
        JOBS,
        f"arn:aws:logs:eu-west-1:111122223333:log-group:{JOBS}",
        f"arn:aws:logs:eu-west-1:111122223333:log-group:{JOBS}:*",
    ],
)
async def test_the_group_may_be_named_by_its_identifier(yard: Yard, identifier: str) -> None:
    await yard.write("a")
    page = await yard.call("GetLogEvents", logGroupIdentifier=identifier, logStreamName="s")
    assert messages(page) == ["a"]


async def test_expired_events_are_invisible_at_once(yard: Yard) -> None:
    await yard.write("old", at_ms=NOW_MS - 2 * DAY_MS)
    await yard.write("new", at_ms=NOW_MS)
    await yard.call("PutRetentionPolicy", logGroupName=JOBS, retentionInDays=1)
    assert await yard.messages() == ["new"]


async def test_what_does_not_exist_is_refused(yard: Yard) -> None:
    asked = {"logGroupName": JOBS, "logStreamName": "s"}
    assert await yard.refused("GetLogEvents", **asked) == NO_GROUP
    await yard.call("CreateLogGroup", logGroupName=JOBS)
    assert await yard.refused("GetLogEvents", **asked) == NO_STREAM
    foreign = f"arn:aws:logs:us-east-1:111122223333:log-group:{JOBS}"
    asked = {"logGroupIdentifier": foreign, "logStreamName": "s"}
    assert await yard.refused("GetLogEvents", **asked) == NO_GROUP


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"logGroupIdentifier": JOBS}, "logGroupName and logGroupIdentifier cannot both be"),
        ({"logGroupName": None}, "Either logGroupName or logGroupIdentifier must be specified"),
        ({"nextToken": "f/12/s"}, "The specified nextToken is invalid."),
        ({"nextToken": f"f/{7:056d}/s"}, "The specified nextToken is invalid."),
        ({"limit": 0}, "Value '0' at 'limit' failed to satisfy constraint: Member must have value"),
        ({"limit": 10001}, "Member must have value less than or equal to 10000"),
        ({"startTime": -1}, "Member must have value greater than or equal to 0"),
    ],
)
async def test_a_bad_request_is_refused(yard: Yard, request_, text: str) -> None:
    await yard.write("a")
    asked = {"logGroupName": JOBS, "logStreamName": "s"} | request_
    code, message = await yard.refused("GetLogEvents", **asked)
    assert code == "InvalidParameterException"
    assert text in message
