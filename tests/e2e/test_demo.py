"""The demo: its counting against itself without containers, then the whole of it.

The shell programs run here with this machine's busybox, on text made to confuse them, and must
count exactly as Python does; the whole demo must end well, fast, and leave nothing behind.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from batchyard.cli.demo.programs import COUNT, MERGE
from batchyard.cli.demo.text import (
    SourceFile,
    balance,
    copy_shards,
    count_words,
    find_sources,
    read_counts,
    shard_name,
)

pytestmark = pytest.mark.ours_only

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="starting containers needs root")

Run = Callable[..., subprocess.CompletedProcess[bytes]]

_DEMO = [sys.executable, "-m", "batchyard.cli.main", "demo"]

#: What a careless program would count wrongly: numbers first, names of floating-point values,
#: awk's and sort's own syntax, bytes that are no text, lines without an end.
_AWKWARD = [
    b"3abc 0x1F 1e5 nan inf Infinity NaN -nan _ __ _1 1_ 007\n",
    b"$1 $NF %s %d \\t \\n 'quoted' \"words\" a\tb\r\nc\x00d\x0be\x0cf",
    b"\xff\xfecaf\xc3\xa9 na\xefve \xe2\x80\xa8word",
    b"",
    b"no_end_of_line",
    b"0" * 300 + b"x" * 5000 + b"\n" + b"y" * 70000,
    b"BEGIN END function count[word]++\n\n\n   \n",
]


@pytest.fixture(scope="module")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a program of the demo with busybox's own applets and nothing else on PATH."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("busybox is missing")
    applets = tmp_path_factory.mktemp("applets")
    subprocess.run([busybox, "--install", "-s", applets], check=True)

    def run(program: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
        shell = [busybox, "sh", "-c", program, "program", *map(str, arguments)]
        return subprocess.run(shell, capture_output=True, check=False, env={"PATH": str(applets)})

    return run


def write_shards(folder: Path, contents: list[bytes], *, shard_count: int) -> None:
    for number, content in enumerate(contents):
        shard = folder / shard_name(number % shard_count + 1)
        path = shard / f"odd folder {number}" / f" -name * {number}.py"
        path.parent.mkdir(parents=True)
        path.write_bytes(content)


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_shell_and_python_count_the_same(
    run_program: Run, tmp_path: Path, seed: int | None
) -> None:
    contents = list(_AWKWARD)
    if seed is not None:
        draw = random.Random(seed)
        letters = b"aZ_09 \n\t\r\x00\x80\xffnaif.%$'\"\\"
        contents = [bytes(draw.choices(letters, k=draw.randrange(3000))) for _ in range(12)]
    write_shards(tmp_path / "input", contents, shard_count=3)
    output = tmp_path / "output"
    output.mkdir()
    for number in range(1, 4):
        done = run_program(COUNT, tmp_path / "input", shard_name(number), output)
        assert done.returncode == 0, done.stderr
        part = read_counts(output / f"{shard_name(number)}.tsv")
        assert part == count_words(tmp_path / "input" / shard_name(number))
    merged = run_program(MERGE, output, 3, 15)
    assert merged.returncode == 0, merged.stderr
    total = read_counts(output / "total.tsv")
    assert total == count_words(tmp_path / "input")
    in_order = sorted(total.items(), key=lambda item: (-item[1], item[0]))
    assert merged.stdout.decode().splitlines() == [f"{n}\t{word}" for word, n in in_order[:15]]


def test_merging_refuses_missing_parts(run_program: Run, tmp_path: Path) -> None:
    (tmp_path / "shard-01.tsv").write_text("1\tword\n")
    merged = run_program(MERGE, tmp_path, 2, 15)
    assert merged.returncode == 1
    assert merged.stdout == b"there are 1 parts, not 2\n"
    assert not (tmp_path / "total.tsv").exists()


def test_shards_hold_every_file_once_and_are_balanced() -> None:
    draw = random.Random(7)
    files = [SourceFile(path=Path(f"{n}.py"), size_bytes=draw.randrange(9000)) for n in range(500)]
    shards = balance(files, 10)
    assert Counter(file.path for shard in shards for file in shard) == Counter(
        file.path for file in files
    )
    sizes = [sum(file.size_bytes for file in shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 9000


def test_sources_are_copied_whole_and_installed_packages_left_out(tmp_path: Path) -> None:
    root = tmp_path / "lib"
    for name in ("a.py", "b/c.py", "b/notes.txt", "site-packages/d.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"word_of_{Path(name).stem}")
    files = find_sources(root)
    assert [file.path for file in files] == [root / "a.py", root / "b" / "c.py"]
    copy_shards(balance(files, 3), root, tmp_path / "copy")
    assert count_words(tmp_path / "copy") == {"word_of_a": 1, "word_of_c": 1}


@needs_root
@pytest.mark.slow
def test_the_demo_ends_well_and_leaves_nothing(tmp_path: Path) -> None:
    done = subprocess.run(_DEMO, capture_output=True, text=True, env=environment(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "agree with a direct computation" in done.stdout
    assert "hello from job" in done.stdout
    assert done.stdout.count("SUCCEEDED") == 11
    assert_nothing_is_left(tmp_path)


@needs_root
@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("✓ text", signal.SIGINT),
        ("✓ image", signal.SIGTERM),  # while the server starts
        ("✓ server", signal.SIGHUP),
        ("10 jobs count", signal.SIGINT),
    ],
    ids=["image", "server", "first job", "jobs"],
)
def test_the_demo_cleans_up_when_it_is_stopped(
    tmp_path: Path, moment: str, number: signal.Signals
) -> None:
    with subprocess.Popen(
        _DEMO, stdout=subprocess.PIPE, text=True, env=environment(tmp_path)
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if moment in line:
                break
        process.send_signal(number)
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 130, rest
    assert "stopped, and cleaned up" in rest
    assert_nothing_is_left(tmp_path)


@needs_root
@pytest.mark.slow
def test_a_kept_demo_answers_until_it_is_taken_down(tmp_path: Path) -> None:
    data = tmp_path / "data"
    batchyard = [sys.executable, "-m", "batchyard.cli.main"]
    command = [*_DEMO, "--keep", "--data-dir", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        again = subprocess.run(command, capture_output=True, text=True, env=environment(tmp_path))
        assert "is not empty" in again.stderr
        status = [*batchyard, "status", "--data-dir", str(data)]
        shown = subprocess.run(status, capture_output=True, text=True, check=True).stdout
        assert "demo-fargate" in shown
        server = json.loads((data / "server.json").read_bytes())
        assert server["endpoint"] in done.stdout
    finally:
        subprocess.run([*batchyard, "down", "--data-dir", str(data)], check=True)
    assert_nothing_runs(data)


def environment(folder: Path) -> dict[str, str]:
    """Run with temporary files below `folder`, wide enough that no line is broken."""
    return os.environ | {"TMPDIR": str(folder), "COLUMNS": "250"}


def assert_nothing_is_left(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    assert_nothing_runs(folder)


def assert_nothing_runs(folder: Path) -> None:
    """No process of this machine has the folder in its command line."""
    deadline = time.monotonic() + 5
    while found := [line for line in command_lines() if str(folder) in line]:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return lines
