"""A live server on an ephemeral loopback port, and real clients of it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
import uvloop
from botocore.config import Config

from batchyard.access.keys import AccessKey, KeyRing, root_key
from batchyard.wire.call import Handlers
from batchyard.wire.server import Server

REGION = "eu-central-1"
ACCOUNT = "123456789012"
KEY = root_key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ACCOUNT)


class Running:
    """A server in a loop of its own, in a thread: boto3 blocks, so it needs the main one."""

    def __init__(self, handlers: Handlers, **options: Any) -> None:
        self._handlers = handlers
        self._options = options
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._is_up.wait(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        options = {"keys": KeyRing([KEY]), **self._options}
        server = Server(handlers=self._handlers, host="127.0.0.1", port=0, **options)
        await server.start()
        self.port, self.url = server.port, server.url
        self._is_up.set()
        await self._end.wait()
        await server.stop()

    def client(self, service: str, key: AccessKey = KEY, **config: Any) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.url,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(15)
        assert not self._thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., Running]]:
    """Start servers with the given handlers; they end with the test."""
    running: list[Running] = []

    def start(handlers: Handlers | None = None, **options: Any) -> Running:
        running.append(Running(handlers or {}, **options))
        return running[-1]

    yield start
    for each in running:
        each.end()
