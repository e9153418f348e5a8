"""Output in docker's json files: each line once, wherever the server is killed."""

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchyard.compute.port import FileTarget, LogTarget, OutputLine
from batchyard.engine.launch.logs import target_of
from batchyard.engine.output import OutputRouter
from batchyard.logs.json_files import JsonFiles
from batchyard.model.ids import TaskId
from tests.logs.yard import JOBS, NOW_MS, SCOPE, Yard

TASK = TaskId("1" * 32)
TARGET = FileTarget(container="default")
CURRENT = "default-json.log"


def line(text: str, at_ms: int = NOW_MS, *, is_error: bool = False) -> OutputLine:
    return OutputLine(at_ms=at_ms, text=text, is_error=is_error)


def texts(path: Path) -> list[str]:
    """Read the lines of one file."""
    return [msgspec.json.decode(each)["log"] for each in path.read_bytes().splitlines()]


def all_texts(folder: Path) -> list[str]:
    """Read the lines of a container's files, the oldest first."""
    elders = sorted(folder.glob(f"{CURRENT}.*"), key=lambda path: -int(path.suffix[1:]))
    current = folder / CURRENT
    return [
        text for path in [*elders, *([current] if current.exists() else [])] for text in texts(path)
    ]


@pytest.fixture
def files(tmp_path) -> JsonFiles:
    return JsonFiles(tmp_path)


@pytest.mark.aws_documented
async def test_the_form_is_docker_s(files, tmp_path):
    lines = [
        line("a", NOW_MS),
        line('"é" \x1b<', NOW_MS + 120, is_error=True),
        line("", NOW_MS + 123),
        line("\udcff", NOW_MS + 1),
    ]
    await files.append(TASK, TARGET, position=9, lines=lines)
    path = tmp_path / TASK / CURRENT
    assert path.read_text() == (
        '{"log":"a\\n","stream":"stdout","time":"2025-06-15T15:06:40Z"}\n'
        '{"log":"\\"é\\" \\u001b<\\n","stream":"stderr","time":"2025-06-15T15:06:40.12Z"}\n'
        '{"log":"\\n","stream":"stdout","time":"2025-06-15T15:06:40.123Z"}\n'
        '{"log":"?\\n","stream":"stdout","time":"2025-06-15T15:06:40.001Z"}\n'
    )
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.ours_only
async def test_lines_are_written_once(files, tmp_path):
    assert await files.read_position(TASK, TARGET) == 0
    await files.append(TASK, TARGET, position=0, lines=[])
    assert all_texts(tmp_path / TASK) == []
    await files.append(TASK, TARGET, position=5, lines=[line("a"), line("b")])
    await files.append(TASK, TARGET, position=5, lines=[line("a"), line("b")])
    again = JsonFiles(tmp_path)
    assert await again.read_position(TASK, TARGET) == 5
    await again.append(TASK, TARGET, position=3, lines=[line("older")])
    await again.append(TASK, TARGET, position=7, lines=[line("c")])
    side = FileTarget(container="side")
    await again.append(TASK, side, position=1, lines=[line("of another container")])
    assert all_texts(tmp_path / TASK) == ["a\n", "b\n", "c\n"]
    assert texts(tmp_path / TASK / "side-json.log") == ["of another container\n"]


@pytest.mark.aws_documented
async def test_full_files_are_put_aside_and_the_oldest_dropped(files, tmp_path):
    target = FileTarget(container="default", bytes_max=150, files_max=3)
    for number in range(0, 10, 2):
        lines = [line(str(number)), line(str(number + 1))]
        await files.append(TASK, target, position=number + 2, lines=lines)
    # An entry is 62 bytes, so a file is full with three.
    names = sorted(path.name for path in (tmp_path / TASK).iterdir())
    assert names == [CURRENT, f"{CURRENT}.1", f"{CURRENT}.2", "default-json.state"]
    assert texts(tmp_path / TASK / CURRENT) == ["9\n"]
    assert texts(tmp_path / TASK / f"{CURRENT}.1") == ["6\n", "7\n", "8\n"]
    assert texts(tmp_path / TASK / f"{CURRENT}.2") == ["3\n", "4\n", "5\n"]


@pytest.mark.aws_documented
async def test_a_single_file_begins_anew(files, tmp_path):
    target = FileTarget(container="default", bytes_max=100, files_max=1)
    await files.append(TASK, target, position=3, lines=[line("0"), line("1"), line("2")])
    assert all_texts(tmp_path / TASK) == ["2\n"]


class Killed(BaseException):
    """The process is gone: nothing after it happens."""


class Mortal:
    """Lets the process die at the nth system call that changes the disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.left = 0
        for name in ("write", "fdatasync", "fsync", "ftruncate", "rename", "replace", "unlink"):
            patch.setattr(os, name, self._wrap(name, getattr(os, name)))

    def _wrap(self, name, real):
        def call(*args, **kwargs):
            if self.left:
                self.left -= 1
                if not self.left:
                    if name == "write":  # half of it reached the disk
                        real(args[0], bytes(args[1])[: len(args[1]) // 2])
                    raise Killed
            return real(*args, **kwargs)

        return call


@pytest.mark.ours_only
@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.integers(1, 4),
    st.lists(st.integers(1, 40), max_size=4),
    st.integers(1, 6),
)
def test_whenever_the_server_is_killed_each_line_is_there_once(
    tmp_path_factory, counts, files_max, deaths, reread_count
):
    """Append batches, die within, start anew and append from the stored position on.

    The line that is numbered n ends at position n + 1. A server that starts anew may read less, or
    more, in one go than the one before it did.
    """
    folder = tmp_path_factory.mktemp("json")
    target = FileTarget(container="default", bytes_max=100, files_max=files_max)
    total = sum(counts)
    deaths = list(deaths)
    with pytest.MonkeyPatch.context() as patch:
        mortal = Mortal(patch)
        batches = list(counts)
        while True:
            mortal.left = deaths.pop() if deaths else 0
            files = JsonFiles(folder)
            try:
                state = files._recover(TASK, target)
                while state.position < total:
                    size = batches.pop(0) if batches else reread_count
                    position = min(total, state.position + size)
                    lines = [line(str(n)) for n in range(state.position, position)]
                    state = files._append(TASK, target, state, position, lines)
                break
            except Killed:
                continue
        mortal.left = 0
    found = [int(text) for text in all_texts(folder / TASK)]
    assert found == list(range(total))[len(range(total)) - len(found) :]
    held = 2 * files_max  # a file is full with two
    assert len(found) >= min(total, held - 1)


@pytest.mark.ours_only
async def test_a_state_that_a_power_failure_spoilt_keeps_what_is_there(files, tmp_path):
    await files.append(TASK, TARGET, position=1, lines=[line("a")])
    (tmp_path / TASK / "default-json.state").write_bytes(b"\0\0")
    again = JsonFiles(tmp_path)
    assert await again.read_position(TASK, TARGET) == 0
    await again.append(TASK, TARGET, position=1, lines=[line("b")])
    assert all_texts(tmp_path / TASK) == ["a\n", "b\n"]


@pytest.mark.ours_only
async def test_files_go_with_their_job(files, tmp_path):
    others = [TaskId(digit * 32) for digit in "234"]
    for task_id in (TASK, *others):
        await files.append(task_id, TARGET, position=1, lines=[line("a")])
    for old in others[:2]:
        os.utime(tmp_path / old, (1, 1))
    assert await files.sweep(NOW_MS, live={others[0]}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [TASK, others[0], others[2]]
    await files.remove([TASK, TaskId("unknown")])
    await files.forget([others[2]])
    assert sorted(path.name for path in tmp_path.iterdir()) == [others[0], others[2]]
    assert await JsonFiles(tmp_path / "none").sweep(NOW_MS, live=()) == 0


@pytest.mark.ours_only
async def test_each_target_has_its_store(yard: Yard, tmp_path):
    router = OutputRouter(streams=yard.logs, files=JsonFiles(tmp_path))
    stream = LogTarget(account=SCOPE.account, region=SCOPE.region, group=JOBS, stream="d/c/1")
    for target in (stream, TARGET):
        await router.append(TASK, target, position=4, lines=[line("x", is_error=True)])
        assert await router.read_position(TASK, target) == 4
    assert await yard.messages("d/c/1") == ["x"]
    assert all_texts(tmp_path / TASK) == ["x\n"]
    await router.forget([TASK])
    assert await router.read_position(TASK, stream) == 0


@pytest.mark.aws_documented
def test_a_container_s_driver_decides_where_output_goes():
    def target(driver=None, **options):
        container = {"logConfiguration": {"logDriver": driver, "options": options}}
        return target_of(container if driver else {}, scope=SCOPE, stream="d/c/1", name="c")

    stream = LogTarget(account=SCOPE.account, region=SCOPE.region, group=JOBS, stream="d/c/1")
    assert target() == target("awslogs") == stream
    assert target("none") is None
    assert target("json-file", **{"max-size": "1k", "max-file": "2"}) == FileTarget(
        container="c", bytes_max=1000, files_max=2
    )
    given = {"awslogs-region": "us-west-2", "awslogs-group": "g", "awslogs-datetime-format": "%Y"}
    assert target("awslogs", **given) == LogTarget(
        account=SCOPE.account, region="us-west-2", group="g", stream="d/c/1", starts_event=r"\d{4}"
    )
    with pytest.raises(ValueError, match="no log driver named 'syslog'"):
        target("syslog")
    with pytest.raises(ValueError, match="max-file cannot be less than 1"):
        target("json-file", **{"max-file": "0"})
