"""What every test shares: how hard hypothesis tries, the log, and which tests may not overlap.

Fixtures of a room live in that room's own conftest; here are those that several rooms share
because they take seconds to make.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.fixtures.engines import docker as docker
from tests.fixtures.engines import podman as podman

#: Rooms whose tests start containers, servers or databases, and the group that each is in. One
#: worker runs a group, in sequence: on a machine with few cores its tests would disturb each other.
#: Groups have nothing in common with each other; mostly they wait.
GROUPS = {
    "compute": "engines",
    "ports": "engines",
    "crash": "killed_servers",
    "e2e": "servers",
}
#: Fixtures of a Docker or Podman of a worker's own: one worker has them.
_ENGINES = {"docker", "podman"}
#: The room that takes longest by far is cut in so many groups, by file.
_SERVER_GROUPS = 2

_TESTS = Path(__file__).parent

# Shared machines stall: a slow example says nothing about the code, so no deadline per example.
_SLOW_MACHINE = [HealthCheck.too_slow]

settings.register_profile("dev", max_examples=50, deadline=None)
# The same examples each time, but for numbers that hypothesis finds in the modules that happen to
# be loaded: a change is judged by itself. The nightly run tries others.
settings.register_profile(
    "ci",
    max_examples=300,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=_SLOW_MACHINE,
)
settings.register_profile(
    "nightly",
    max_examples=20_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=_SLOW_MACHINE,
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev")
)


@pytest.fixture(autouse=True)
def fresh_process() -> Iterator[None]:
    """Take back what a server that a test started in this process made of the log and the umask."""
    mask = os.umask(0o022)
    os.umask(mask)
    yield
    os.umask(mask)
    structlog.reset_defaults()


def room_of(path: Path) -> str:
    """Name the folder directly under tests/ that a test file lies in; "" for none."""
    parts = path.relative_to(_TESTS).parts if path.is_relative_to(_TESTS) else ()
    return parts[0] if len(parts) > 1 else ""


def group_of(item: pytest.Item) -> str | None:
    """Name the group that a test runs in; None: it may run anywhere, at any time."""
    group = GROUPS.get(room_of(item.path))
    if group != "servers":
        return group
    if _ENGINES.intersection(getattr(item, "fixturenames", ())):
        return "engines"
    return f"{group}_{crc32(item.path.name.encode()) % _SERVER_GROUPS}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Give the rooms that may not overlap their xdist group (it counts with --dist loadgroup)."""
    for item in items:
        group = group_of(item)
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to begin where a group went unseen: its tests would fail now and then."""
    if not session.config.getoption("loadgroup", default=False):
        return
    for item in session.items:
        group = group_of(item)
        if group is not None and not item.nodeid.endswith(f"@{group}"):
            raise pytest.UsageError("this pytest-xdist does not see groups with this pytest")
