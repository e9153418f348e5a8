"""Lines become events as docker's driver makes them, once, whatever is cut, repeated or killed."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.compute.event_grouping import EVENT_BYTES_MAX, FLUSH_MS
from batchyard.compute.local.lines import EventLines, decode_marked, offset_of
from batchyard.compute.local.output import Pump, Tail, Watch
from batchyard.compute.local.shapes import EndShape, LogShape
from batchyard.compute.local.supervisor.spool import SpoolWriter
from batchyard.compute.local.targets import target_of
from batchyard.compute.port import FileTarget, LogTarget, OutputLine, TaskEnded, TaskStarted
from batchyard.model.ids import TaskId

NOW_MS = 1_750_000_000_000
TASK = TaskId("t" * 32)
TARGET = LogTarget(account="1", region="r", group="g", stream="s", starts_event="^START")


def spool_of(folder: Path, *payloads: tuple[int, str]) -> bytes:
    """Write chunks, each with a time, and give the spool's bytes."""
    path = folder / f"{TASK}.spool"
    path.unlink(missing_ok=True)
    writer = SpoolWriter(str(path))
    for at_ms, text in payloads:
        writer.append(text.encode(), at_ms)
    writer.close()
    return path.read_bytes()


def events_of(data: bytes, position: int = 0) -> tuple[list[tuple[int, str]], EventLines]:
    events = EventLines("^START", position)
    return [(line.at_ms, line.text) for line in events.add(data[events.offset :])], events


def flushed(events: EventLines) -> list[str]:
    return [line.text for line in events.flush()]


@pytest.mark.aws_documented
def test_an_event_reaches_up_to_the_next_line_that_begins_one(tmp_path):
    data = spool_of(
        tmp_path,
        (NOW_MS, "before\nSTART 1\n  a\n"),
        (NOW_MS + 7, "\n  b\nSTART 2\nSTART 3\n"),
    )
    done, events = events_of(data)
    assert done == [
        (NOW_MS, "before\n"),
        (NOW_MS, "START 1\n  a\n\n  b\n"),
        (NOW_MS + 7, "START 2\n"),
    ]
    assert events.due_in_ms(NOW_MS + 7) == FLUSH_MS
    assert events.due_in_ms(NOW_MS + 1007) == FLUSH_MS - 1000
    assert events.due_in_ms(NOW_MS + 60_000) == 0
    assert events.due_in_ms(NOW_MS - 60_000) == 0
    assert flushed(events) == ["START 3\n"]
    assert events.due_in_ms(NOW_MS) is None
    assert flushed(events) == []
    assert offset_of(events.position) == len(data)


@pytest.mark.aws_documented
def test_an_old_event_ends_before_its_next_line(tmp_path):
    data = spool_of(
        tmp_path,
        (NOW_MS, "START\na\n"),
        (NOW_MS + FLUSH_MS - 1, "b\n"),
        (NOW_MS + FLUSH_MS, "c\n"),
        (NOW_MS - 9, "set back\n"),
    )
    done, events = events_of(data)
    assert done == [(NOW_MS, "START\na\nb\n"), (NOW_MS + FLUSH_MS, "c\n")]
    assert flushed(events) == ["set back\n"]


@pytest.mark.aws_documented
def test_an_event_that_grows_too_long_is_split_between_lines(tmp_path):
    line = "€" * 40_000 + "\n"
    data = spool_of(tmp_path, (NOW_MS, "START\n"), *[(NOW_MS + 1, line)] * 5)
    done, events = events_of(data)
    assert done == [(NOW_MS, "START\n" + line * 2), (NOW_MS, line * 2)]
    assert flushed(events) == [line]
    assert all(len(text.encode()) <= EVENT_BYTES_MAX for _, text in done)


@pytest.mark.ours_only
def test_a_target_is_read_back_as_it_was_kept():
    log: LogShape = {"account": "1", "region": "r", "group": "g", "stream": "s"}
    assert target_of(None) is None
    assert target_of(log) == LogTarget(account="1", region="r", group="g", stream="s")
    assert target_of({**log, "starts_event": "^START"}) == TARGET
    assert target_of({"container": "c", "bytes_max": 5, "files_max": 2}) == FileTarget(
        container="c", bytes_max=5, files_max=2
    )


@pytest.mark.ours_only
def test_the_stream_of_a_line_is_told(tmp_path):
    writer = SpoolWriter(str(tmp_path / "spool"))
    writer.append(b"out\n", NOW_MS)
    writer.append(b"err 1\nerr 2\n", NOW_MS, is_error=True)
    data = (tmp_path / "spool").read_bytes()
    writer.close()
    lines, used = decode_marked(data)
    assert used == len(data)
    assert [(line.text, line.is_error) for line in lines] == [
        ("out", False),
        ("err 1", True),
        ("err 2", True),
    ]


class Sink:
    """Keeps what is stored, as the log store does, and fails when told to."""

    def __init__(self, fails: Sequence[bool] = ()) -> None:
        self.position = 0
        self.lines: list[str] = []
        self._fails = list(fails)

    async def read_position(self, _task_id, _target) -> int:
        return self.position

    async def append(self, _task_id, _target, *, position, lines) -> None:
        await asyncio.sleep(0)
        if self._fails and self._fails.pop():
            raise OSError("the database is locked")
        if position > self.position:
            self.position = position
            self.lines += [line.text for line in lines]


class Server:
    """A pump over a folder of spools; a new one is a new server."""

    def __init__(self, folder: Path, sink: Sink, wake=lambda _tail: None) -> None:
        self.taken = 0
        self.reports: list[object] = []
        self.pump = Pump(
            tasks_path=folder,
            sink=sink,
            note_taken=self._note,
            report=self.reports.append,
            wake=wake,
        )

    def _note(self, _unit_id: str, position: int) -> None:
        self.taken = position

    async def run(self, watch: Watch) -> None:
        while True:
            watch.is_dirty = True
            try:
                return await self.pump.run(watch)
            except OSError:
                continue


def a_watch(size: int, *, is_ended: bool, lost_bytes: int = 0) -> Watch:
    tail = Tail(TASK, TASK, TARGET, name="default", is_essential=True)
    tail.size = size
    watch = Watch(TASK, [tail])
    watch.started_at_ms = NOW_MS
    end: EndShape = {
        "at_ms": NOW_MS + 1,
        "is_lost": False,
        "started_at_ms": NOW_MS,
        "address": None,
        "containers": [
            {
                "exit_code": 0,
                "reason": None,
                "was_stopped": False,
                "spool_size": size,
                "lost_bytes": lost_bytes,
            }
        ],
    }
    watch.end = end if is_ended else None
    return watch


LINE = st.sampled_from(["START", "START x", "a", "", "é" * 9, "b" * 70_000])
CHUNKS = st.lists(
    st.tuples(st.integers(0, 3_000), st.lists(LINE, min_size=1, max_size=4)), min_size=1, max_size=8
)


@pytest.mark.ours_only
@given(CHUNKS, st.lists(st.booleans(), max_size=6), st.data())
def test_every_line_is_in_one_event_whatever_fails_and_whenever_servers_die(chunks, fails, data):
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    at_ms = NOW_MS
    payloads, ends, times = [], [0], [at_ms]
    for pause_ms, lines in chunks:
        at_ms += pause_ms
        times.append(at_ms)
        payloads.append((at_ms, "".join(f"{line}\n" for line in lines)))
        ends.append(ends[-1] + 12 + len(payloads[-1][1].encode()))
    content = spool_of(folder, *payloads)
    assert ends[-1] == len(content)
    expected, events = events_of(content)
    texts = [text for _, text in expected] + flushed(events)

    async def live() -> Sink:
        sink = Sink(fails)
        size = 0
        while size < len(content):
            # A server that sees some more of the spool, and is gone.
            size = data.draw(st.sampled_from([end for end in ends if end > size]))
            now[0] = times[ends.index(size)]
            server = Server(folder, sink)
            await server.run(watch := a_watch(size, is_ended=False))
            assert server.taken in ends
            if (flush := watch.tails[0].flush) is not None:
                flush.cancel()
        await (server := Server(folder, sink)).run(a_watch(size, is_ended=True))
        assert server.taken == len(content)
        assert [type(report) for report in server.reports] == [TaskStarted, TaskEnded]
        return sink

    now = [NOW_MS]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batchyard.compute.local.output.now_ms", lambda: now[0])
        sink = asyncio.run(live())
    assert sink.lines == texts
    (folder / f"{TASK}.spool").unlink()


@pytest.mark.ours_only
async def test_an_event_that_does_not_grow_is_stored_in_time(tmp_path, monkeypatch):
    content = spool_of(tmp_path, (NOW_MS, "START\na\n"))
    now = [NOW_MS]
    monkeypatch.setattr("batchyard.compute.local.output.now_ms", lambda: now[0])
    sink = Sink()
    woken = asyncio.Event()
    server = Server(tmp_path, sink, wake=lambda _tail: woken.set())
    watch = a_watch(len(content), is_ended=False)
    await server.run(watch)
    assert (sink.lines, sink.position) == ([], 0)
    now[0] += FLUSH_MS - 1
    await server.run(watch)
    assert sink.lines == []
    await asyncio.wait_for(woken.wait(), 20)
    now[0] += 1
    await server.run(watch)
    assert sink.lines == ["START\na\n"]
    assert server.taken == len(content)
    assert watch.tails[0].flush is None


@pytest.mark.ours_only
async def test_what_was_lost_is_told_once(tmp_path):
    content = spool_of(tmp_path, (NOW_MS, "START\na\n"))
    sink = Sink([False, True, False])
    for _ in range(2):
        await Server(tmp_path, sink).run(a_watch(len(content), is_ended=True, lost_bytes=5))
    assert sink.lines == [
        "START\na\n",
        "batchyard: 5 bytes of output were lost: no disk space",
    ]


def test_a_line_is_not_of_stderr_unless_told():
    assert not OutputLine(at_ms=1, text="a").is_error
