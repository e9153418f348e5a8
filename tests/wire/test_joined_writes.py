"""An answer leaves whole: a killed server must not leave a client with a head and no body."""

import asyncio
from asyncio import Transport
from typing import cast

import pytest

from batchyard.wire.connection import _JoinedWrites

pytestmark = pytest.mark.ours_only


class Recorder:
    """Stands for a transport and tells what reached it, in order."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("close")

    def is_closing(self) -> bool:
        return "close" in self.calls


async def test_what_is_written_in_one_go_leaves_in_one_call() -> None:
    recorder = Recorder()
    joined = _JoinedWrites(cast("Transport", recorder), asyncio.get_running_loop())
    joined.write(b"head")
    joined.write(b"body")
    assert recorder.calls == []
    await asyncio.sleep(0)
    joined.write(b"next")
    await asyncio.sleep(0)
    assert recorder.calls == [b"headbody", b"next"]


async def test_closing_sends_what_was_written_before() -> None:
    recorder = Recorder()
    joined = _JoinedWrites(cast("Transport", recorder), asyncio.get_running_loop())
    joined.write(b"answer")
    joined.close()
    await asyncio.sleep(0)
    assert recorder.calls == [b"answer", "close"]
    assert joined.is_closing()
