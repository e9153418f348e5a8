"""Fixtures of the engine's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchyard.store import Store
from tests.engine.stage import Stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    yield Stage(store)
    await store.close()
