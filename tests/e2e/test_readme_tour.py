"""The README's tour, run as it stands: its shell blocks, with the real `aws` command.

The server is our own, in a temporary folder on a free port; the tour finds it because
`batchyard env` reads BATCHYARD_DATA_DIR.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BATCHYARD = [sys.executable, "-m", "batchyard.cli.main"]

#: The aws command takes over a second to start, forty times, and longer on a busy machine.
_TOUR_S_MAX = 240

_HEADING = "## A tour of five minutes"

pytestmark = [
    pytest.mark.ours_only,
    pytest.mark.slow,
    pytest.mark.timeout(_TOUR_S_MAX + 60),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting containers needs root"),
]


def tour() -> str:
    """The shell blocks of the README's tour, in one script that stops at the first failure."""
    section = (ROOT / "README.md").read_text().split(_HEADING, 1)[1].split("\n## ", 1)[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(blocks) >= 7
    return "\n".join(["set -eu", *blocks])


@pytest.fixture
def environ(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A server in a folder of its own, and the variables with which commands find it."""
    names = ("AWS_", "BATCHYARD_")
    clean = {name: text for name, text in os.environ.items() if not name.startswith(names)}
    # No configuration of the user's must reach the tour. Our own programs first, as it says.
    environ = clean | {
        "BATCHYARD_DATA_DIR": str(tmp_path / "data"),
        "BATCHYARD_PORT": "0",
        "HOME": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "COLUMNS": "200",
    }
    subprocess.run([*BATCHYARD, "up", "--detach"], env=environ, check=True)
    try:
        yield environ
    finally:
        subprocess.run([*BATCHYARD, "down"], env=environ, check=True)


def test_the_tour_works_as_written(environ: dict[str, str], tmp_path: Path) -> None:
    if shutil.which("aws", path=environ["PATH"]) is None:
        pytest.skip("the aws command is missing")
    done = subprocess.run(
        ["sh", "-c", tour()],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TOUR_S_MAX,
    )
    said = done.stdout
    assert done.returncode == 0, said
    assert re.search(r"^step 3$", said, re.MULTILINE), said
    assert re.search(r"^SUCCEEDED\t.*\t0$", said, re.MULTILINE), said
    assert re.search(r"^\d{13}\tstep 2$", said, re.MULTILINE), said
    assert "seen enough" in said, said
    for job, status in (("first", "SUCCEEDED"), ("long", "FAILED"), ("second", "FAILED")):
        assert re.search(rf"{job} .*{status}", said), (job, said)
    left = subprocess.run(
        [*BATCHYARD, "status"], env=environ, capture_output=True, text=True, check=True
    )
    assert "tour" not in left.stdout
