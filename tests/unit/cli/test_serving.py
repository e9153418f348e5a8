"""How a server lets go of its parts."""

from __future__ import annotations

from typing import cast

from batchyard.cli import serving
from batchyard.compute.local import LocalBackend
from batchyard.compute.port import Trouble


async def test_a_supervisor_that_does_not_answer_keeps_no_server_up():
    """What is behind the backend, the store for one, must still be closed in peace."""
    calls = []

    class Backend:
        async def leave_if_idle(self) -> bool:
            calls.append("leave")
            raise Trouble("the supervisor of the containers does not answer")

        async def close(self) -> None:
            calls.append("close")

    await serving._let_go(cast("LocalBackend", Backend()))
    assert calls == ["leave", "close"]
