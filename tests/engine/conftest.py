"""Fixtures of the engine's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from batchyard.sim.replay import replay_span
from batchyard.store import Store
from batchyard.store.recordings import read_spans
from tests.engine.stage import Stage


@pytest.fixture
async def stage(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,  # what a test patches holds for the replay as well
) -> AsyncIterator[Stage]:
    store = Store.open(f"sqlite:///{tmp_path / 'store.db'}")
    yield Stage(store)
    # Whatever a test made its engines decide, they decide again from what was recorded of it.
    replays = await store.read_long(
        lambda conn: [replay_span(conn, span) for span in read_spans(conn)]
    )
    await store.close()
    assert [each for each in replays if not each.is_identical] == []
