"""The stage of the core's tests."""

from collections.abc import Iterator

import pytest

from batchyard.core.check import check
from tests.unit.core.yard import Yard


@pytest.fixture
def yard() -> Iterator[Yard]:
    """A core with one host and one queue; at the end every invariant must hold."""
    made = Yard()
    yield made
    check(made.state)
