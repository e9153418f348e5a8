"""FilterLogEvents: searching a group over time, as `aws logs tail` does."""

import pytest

from batchyard.logs import limits, reading
from tests.logs.yard import DAY_MS, JOBS, NOW_MS, Yard, messages

pytestmark = pytest.mark.aws_documented


async def search(yard: Yard, **request):
    return await yard.call("FilterLogEvents", logGroupName=JOBS, **request)


async def search_all(yard: Yard, **request):
    events, token = [], None
    for _ in range(100):
        page = await search(yard, nextToken=token, **request)
        events += page["events"]
        token = page.get("nextToken")
        if token is None:
            return events
    pytest.fail("no end of pages")


async def test_events_of_all_streams_come_by_time(yard: Yard) -> None:
    await yard.write("a1", "a3", stream="a", step_ms=2)
    await yard.write("b2", "b4", stream="b", at_ms=NOW_MS + 1, step_ms=2)
    page = await search(yard)
    assert [(each["logStreamName"], each["message"]) for each in page["events"]] == [
        ("a", "a1"),
        ("b", "b2"),
        ("a", "a3"),
        ("b", "b4"),
    ]
    assert page["searchedLogStreams"] == []
    assert "nextToken" not in page


async def test_event_ids_are_unique_and_stable(yard: Yard) -> None:
    await yard.write(*"abc", step_ms=0)
    first, again = await search(yard), await search(yard, startTime=NOW_MS)
    ids = [each["eventId"] for each in first["events"]]
    assert len(set(ids)) == 3
    assert ids == sorted(ids) == [each["eventId"] for each in again["events"]]
    assert all(len(each) == 56 and each.isdigit() for each in ids)


async def test_start_and_end_are_inclusive(yard: Yard) -> None:
    await yard.write(*"abcd")
    page = await search(yard, startTime=NOW_MS + 1, endTime=NOW_MS + 2)
    assert messages(page) == ["b", "c"]


async def test_pages_follow_each_other_while_lines_arrive(yard: Yard) -> None:
    await yard.write(*"abcde")
    page = await search(yard, limit=2)
    assert messages(page) == ["a", "b"]
    await yard.write("f", stream="other", at_ms=NOW_MS + 10)
    await yard.write("too early", stream="third", at_ms=NOW_MS - 1)
    page = await search(yard, limit=3, nextToken=page["nextToken"])
    assert messages(page) == ["c", "d", "e"]
    page = await search(yard, limit=3, nextToken=page["nextToken"])
    assert messages(page) == ["f"]
    assert "nextToken" not in page


async def test_newest_first_if_asked(yard: Yard) -> None:
    await yard.write(*"abcde")
    asked = {"startFromHead": False, "startTime": NOW_MS, "limit": 2}
    page = await search(yard, **asked)
    assert messages(page) == ["e", "d"]
    page = await search(yard, **asked, nextToken=page["nextToken"])
    assert messages(page) == ["c", "b"]
    page = await search(yard, limit=2, startTime=NOW_MS, nextToken=page["nextToken"])
    assert messages(page) == ["a"]
    code, text = await yard.refused(
        "FilterLogEvents", logGroupName=JOBS, startFromHead=False, startTime=1
    )
    assert code == "InvalidParameterException"
    assert "Jan 1, 2024" in text


async def test_streams_are_chosen_by_name_or_prefix(yard: Yard) -> None:
    for at, stream in enumerate(("train/a", "train/b", "test/a", "train")):
        await yard.write(stream, stream=stream, at_ms=NOW_MS + at)
    assert messages(await search(yard, logStreamNames=["test/a", "train/a"])) == [
        "train/a",
        "test/a",
    ]
    assert messages(await search(yard, logStreamNamePrefix="train/")) == ["train/a", "train/b"]
    assert messages(await search(yard, logStreamNamePrefix="none")) == []
    assert await yard.refused("FilterLogEvents", logGroupName=JOBS, logStreamNames=["none"]) == (
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )
    _, text = await yard.refused(
        "FilterLogEvents", logGroupName=JOBS, logStreamNames=["a"], logStreamNamePrefix="b"
    )
    assert "mutually exclusive" in text


async def test_a_prefix_of_many_streams_searches_the_group(yard: Yard) -> None:
    for number in range(limits.STREAM_NAMES_PER_FILTER_MAX + 5):
        await yard.write("x", stream=f"many/{number}")
    await yard.write("y", stream="other")
    events = await search_all(yard, logStreamNamePrefix="many/", limit=40)
    assert len({each["logStreamName"] for each in events}) == len(events) == 105


async def test_one_call_looks_only_so_far(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SCAN_EVENTS_MAX", 10)
    await yard.write(*["no"] * 25, "yes", *["no"] * 3)
    page = await search(yard, filterPattern="yes")
    assert page["events"] == []
    assert "nextToken" in page
    assert [each["message"] for each in await search_all(yard, filterPattern="yes")] == ["yes"]


async def test_a_page_holds_a_mebibyte(yard: Yard) -> None:
    await yard.write(*["x" * 200_000] * 7)
    page = await search(yard)
    assert len(page["events"]) == 5
    assert len(await search_all(yard)) == 7


async def test_a_token_belongs_to_its_query(yard: Yard) -> None:
    await yard.write(*"abc")
    token = (await search(yard, limit=1))["nextToken"]
    for other in ({"filterPattern": "a"}, {"logStreamNames": ["s"]}):
        _, text = await yard.refused("FilterLogEvents", logGroupName=JOBS, nextToken=token, **other)
        assert text == "The specified nextToken is invalid."
    _, text = await yard.refused("FilterLogEvents", logGroupName=JOBS, nextToken="ä!")
    assert text == "The specified nextToken is invalid."


async def test_following_a_group_sees_each_line_once(yard: Yard) -> None:
    """What `aws logs tail --follow` does: ask again from the last event's time, drop known ids."""
    await yard.write("a", "b", step_ms=0)
    first = (await search(yard, startTime=NOW_MS - 600_000, interleaved=True))["events"]
    await yard.write("c", stream="other", at_ms=NOW_MS)
    await yard.write("d", at_ms=NOW_MS + 5)
    second = (await search(yard, startTime=first[-1]["timestamp"], interleaved=True))["events"]
    known = {each["eventId"] for each in first}
    assert [each["message"] for each in second if each["eventId"] not in known] == ["c", "d"]


async def test_expired_events_are_not_found(yard: Yard) -> None:
    await yard.write("old", at_ms=NOW_MS - 4 * DAY_MS)
    await yard.write("new")
    await yard.call("PutRetentionPolicy", logGroupName=JOBS, retentionInDays=3)
    assert messages(await search(yard)) == ["new"]
