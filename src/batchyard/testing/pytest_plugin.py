"""pytest: the fixture `batch_yard`, a yard with virtual time for each test that asks for one.

Loaded by itself where batchyard is installed, so it loads nothing before it is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from batchyard.testing import Yard


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "batch_yard(**options): what `batchyard.testing.yard` is given for the fixture batch_yard",
    )


@pytest.fixture
def batch_yard(request: pytest.FixtureRequest) -> Iterator[Yard]:
    """Give a yard; AWS clients that the test makes lead there by themselves."""
    from batchyard.testing import yard

    marker = request.node.get_closest_marker("batch_yard")
    with yard(**(marker.kwargs if marker else {})) as made, made.in_environ():
        yield made
