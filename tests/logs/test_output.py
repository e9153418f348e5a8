"""The output of tasks comes in once, in order, whatever it holds."""

from dataclasses import replace

from batchyard.compute.port import LogTarget, OutputLine
from batchyard.logs.limits import EVENT_BYTES_MAX
from batchyard.model.ids import TaskId
from tests.logs.yard import JOBS, NOW_MS, SCOPE, Yard

TASK = TaskId("1" * 32)
TARGET = LogTarget(account=SCOPE.account, region=SCOPE.region, group=JOBS, stream="d/default/1")


def line(text: str, at_ms: int = NOW_MS) -> OutputLine:
    return OutputLine(at_ms=at_ms, text=text)


async def test_lines_are_stored_in_their_order(yard: Yard) -> None:
    await yard.sink.append(TASK, TARGET, position=10, lines=[line("b"), line("a")])
    await yard.sink.append(TASK, TARGET, position=20, lines=[line("c")])
    assert await yard.sink.read_position(TASK, TARGET) == 20
    assert await yard.messages(TARGET.stream) == ["b", "a", "c"]


async def test_an_append_that_is_repeated_is_ignored(yard: Yard) -> None:
    await yard.sink.append(TASK, TARGET, position=10, lines=[line("a")])
    await yard.sink.append(TASK, TARGET, position=10, lines=[line("a")])
    await yard.sink.append(TASK, TARGET, position=5, lines=[line("older")])
    assert await yard.messages(TARGET.stream) == ["a"]
    assert await yard.sink.read_position(TASK, TARGET) == 10


async def test_a_silent_task_has_a_stream(yard: Yard) -> None:
    assert await yard.sink.read_position(TASK, TARGET) == 0
    await yard.sink.append(TASK, TARGET, position=0, lines=[])
    assert await yard.messages(TARGET.stream) == []
    await yard.sink.append(TASK, TARGET, position=3, lines=[line("a")])
    assert await yard.messages(TARGET.stream) == ["a"]


async def test_a_clock_set_back_does_not_change_the_order(yard: Yard) -> None:
    await yard.sink.append(TASK, TARGET, position=1, lines=[line("a", NOW_MS)])
    await yard.sink.append(TASK, TARGET, position=2, lines=[line("b", NOW_MS - 5000)])
    yard.logs._known.clear()
    await yard.sink.append(TASK, TARGET, position=3, lines=[line("c", NOW_MS - 4000)])
    assert await yard.messages(TARGET.stream) == ["a", "b", "c"]


async def test_odd_characters_survive_and_empty_lines_are_no_events(yard: Yard) -> None:
    odd = ["a\x00b", "żółć 🦀", "\x1b[31mred", "\udcff"]
    await yard.sink.append(TASK, TARGET, position=1, lines=[line(""), *map(line, odd)])
    assert await yard.messages(TARGET.stream) == [*odd[:3], "?"]


async def test_a_long_line_becomes_several_events_between_characters(yard: Yard) -> None:
    long = "é" * (EVENT_BYTES_MAX // 2) + "é"
    await yard.sink.append(TASK, TARGET, position=1, lines=[line("x" + long)])
    found = await yard.messages(TARGET.stream)
    assert "".join(found) == "x" + long
    assert [len(part.encode()) for part in found] == [EVENT_BYTES_MAX - 1, 4]


async def test_a_deleted_stream_begins_anew(yard: Yard) -> None:
    await yard.sink.append(TASK, TARGET, position=1, lines=[line("a")])
    await yard.call("DeleteLogStream", logGroupName=JOBS, logStreamName=TARGET.stream)
    await yard.sink.append(TASK, TARGET, position=2, lines=[line("b")])
    assert await yard.messages(TARGET.stream) == ["b"]
    await yard.call("DeleteLogGroup", logGroupName=JOBS)
    await yard.sink.append(TASK, TARGET, position=3, lines=[line("c")])
    assert await yard.messages(TARGET.stream) == ["c"]


async def test_what_is_forgotten_has_no_position(yard: Yard) -> None:
    await yard.sink.append(TASK, TARGET, position=1, lines=[line("a")])
    await yard.logs.forget([TASK])
    assert await yard.sink.read_position(TASK, TARGET) == 0


async def test_the_group_of_jobs_is_made_in_the_task_s_own_scope(yard: Yard) -> None:
    assert not await yard.logs.has_group(SCOPE, JOBS)
    await yard.write("a")
    assert await yard.logs.has_group(SCOPE, JOBS)
    [group] = (await yard.call("DescribeLogGroups"))["logGroups"]
    assert group["logGroupName"] == JOBS
    assert group["storedBytes"] == 27


async def test_each_container_of_a_task_has_a_position_of_its_own(yard: Yard) -> None:
    side = replace(TARGET, stream="d/side/1")
    await yard.sink.append(TASK, TARGET, position=10, lines=[line("a")])
    await yard.sink.append(TASK, side, position=4, lines=[line("b")])
    await yard.sink.append(TASK, side, position=4, lines=[line("b")])
    assert await yard.sink.read_position(TASK, TARGET) == 10
    assert await yard.sink.read_position(TASK, side) == 4
    assert await yard.messages(TARGET.stream) == ["a"]
    assert await yard.messages(side.stream) == ["b"]
    await yard.logs.forget([TASK])
    assert await yard.sink.read_position(TASK, side) == 0
