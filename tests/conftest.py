"""What every test shares: how hard hypothesis tries, the log, and which tests may not overlap.

Fixtures of a room live in that room's own conftest; here are those that several rooms share
because they take seconds to make.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.fixtures.engines import docker as docker
from tests.fixtures.engines import podman as podman

#: Rooms whose tests start containers, servers or databases, and the group that each is in. One
#: worker runs a group, in sequence: on a machine with few cores its tests would disturb each other.
#: Servers that are killed have nothing in common with the others; mostly they wait.
GROUPS = {
    "compute": "one_at_a_time",
    "e2e": "one_at_a_time",
    "ports": "one_at_a_time",
    "crash": "killed_servers",
}

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Give the rooms that may not overlap their xdist group (it counts with --dist loadgroup)."""
    for item in items:
        group = GROUPS.get(room_of(item.path))
        if group is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to begin where a group went unseen: its tests would fail now and then."""
    if not session.config.getoption("loadgroup", default=False):
        return
    for item in session.items:
        group = GROUPS.get(room_of(item.path))
        if group is not None and not item.nodeid.endswith(f"@{group}"):
            raise pytest.UsageError("this pytest-xdist does not see groups with this pytest")
