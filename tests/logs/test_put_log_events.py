"""PutLogEvents: what is taken, what is left out, what is refused."""

import pytest

from batchyard.logs.limits import EVENT_BYTES_MAX
from tests.logs.yard import DAY_MS, JOBS, NOW_MS, Yard

pytestmark = pytest.mark.aws_documented

HOUR_MS = DAY_MS // 24


async def put(yard: Yard, *events: tuple[int, str]):
    return await yard.call("PutLogEvents", **batch(*events))


def batch(*events: tuple[int, str]):
    return {
        "logGroupName": JOBS,
        "logStreamName": "s",
        "logEvents": [{"timestamp": at_ms, "message": text} for at_ms, text in events],
    }


async def test_events_are_stored(yard: Yard) -> None:
    await yard.write()
    answer = await put(yard, (NOW_MS - 5, "a\n"), (NOW_MS, "b"))
    assert answer == {"nextSequenceToken": "49" + "0" * 54}
    assert await yard.messages() == ["a\n", "b"]


async def test_single_events_too_old_or_too_new_are_left_out(yard: Yard) -> None:
    await yard.write()
    answer = await put(
        yard,
        (NOW_MS - 14 * DAY_MS - 1, "too old"),
        (NOW_MS - 1, "a"),
        (NOW_MS + 2 * HOUR_MS, "b"),
        (NOW_MS + 2 * HOUR_MS + 1, "too new"),
    )
    assert answer["rejectedLogEventsInfo"] == {
        "tooOldLogEventEndIndex": 1,
        "tooNewLogEventStartIndex": 3,
    }
    assert await yard.messages() == ["a", "b"]


async def test_events_older_than_the_group_keeps_are_left_out(yard: Yard) -> None:
    await yard.write()
    await yard.call("PutRetentionPolicy", logGroupName=JOBS, retentionInDays=3)
    answer = await put(yard, (NOW_MS - 4 * DAY_MS, "a"), (NOW_MS - 3 * DAY_MS - 1, "b"))
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 2}
    assert await yard.messages() == []


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (
            [(NOW_MS, "a"), (NOW_MS - 1, "b")],
            "Log events in a single PutLogEvents request must be in chronological order.",
        ),
        (
            [(NOW_MS - DAY_MS - 1, "a"), (NOW_MS, "b")],
            "The batch of log events in a single PutLogEvents request cannot span more than"
            " 24 hours.",
        ),
        (
            [(NOW_MS, "x" * (EVENT_BYTES_MAX + 1))],
            "Log event too large: 262145 bytes exceeds limit of 262144",
        ),
        (
            [(NOW_MS, "x" * EVENT_BYTES_MAX)] * 4,
            "Upload too large: 1048680 bytes exceeds limit of 1048576",
        ),
        ([], "at 'logEvents' failed to satisfy constraint"),
        ([(NOW_MS, "")], "Member must have length greater than or equal to 1"),
    ],
)
async def test_a_bad_batch_is_refused_whole(yard: Yard, events, text: str) -> None:
    await yard.write()
    code, message = await yard.refused("PutLogEvents", **batch(*events))
    assert code == "InvalidParameterException"
    assert text in message
    assert await yard.messages() == []


async def test_a_missing_stream_is_refused(yard: Yard) -> None:
    await yard.call("CreateLogGroup", logGroupName=JOBS)
    assert await yard.refused("PutLogEvents", **batch((NOW_MS, "a"))) == (
        "ResourceNotFoundException",
        "The specified log stream does not exist.",
    )
