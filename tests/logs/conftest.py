"""A log store on SQLite and on PostgreSQL, with a clock of our own."""

import pytest

from batchyard.logs import LogStore
from batchyard.store import Store
from tests.fixtures.stores import *  # noqa: F403 - all of them are fixtures
from tests.logs.yard import Clock, Yard


@pytest.fixture
def yard(store: Store) -> Yard:
    """The operations of `logs`, called as the wire calls them."""
    clock = Clock()
    return Yard(LogStore(store, clock_ms=clock.now), clock)
