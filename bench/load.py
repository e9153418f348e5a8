"""A load generator: one signed request, sent again and again over kept-alive connections.

Runs in a process of its own (`python -m bench.load`), so that it does not share the server's
interpreter. A signature is valid for five minutes and may be used again, so nothing is signed
while measuring.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import cast

import httptools
import uvloop
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


@dataclass(frozen=True)
class Load:
    host: str
    port: int
    path: str
    body: str
    access_key_id: str
    secret_access_key: str
    seconds: float
    connections: int


def signed_request(load: Load) -> bytes:
    request = AWSRequest(
        method="POST",
        url=f"http://{load.host}:{load.port}{load.path}",
        data=load.body.encode(),
        headers={"Content-Type": "application/json"},
    )
    credentials = Credentials(load.access_key_id, load.secret_access_key)
    SigV4Auth(credentials, "batch", "us-east-1").add_auth(request)
    request.headers["Host"] = f"{load.host}:{load.port}"
    request.headers["Content-Length"] = str(len(load.body))
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"POST {load.path} HTTP/1.1\r\n{head}\r\n{load.body}".encode()


class _Sender(asyncio.Protocol):
    """Sends the request, waits for its answer, sends it again."""

    def __init__(self, request: bytes, until: float) -> None:
        self.request = request
        self.until = until
        self.answers = 0
        self.refused = 0
        self.is_done = asyncio.get_running_loop().create_future()
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_complete(self) -> None:
        status = self.parser.get_status_code()
        if status != HTTPStatus.OK:
            self.refused = status
            self.transport.close()
        elif time.perf_counter() >= self.until:
            self.transport.close()
        else:
            self.answers += 1
            self.transport.write(self.request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_done.done():
            self.is_done.set_result(None)


async def send(load: Load) -> float:
    """Send until the time is up; give the answers a second."""
    request = signed_request(load)
    loop = asyncio.get_running_loop()
    begin = time.perf_counter()
    senders = []
    for _ in range(load.connections):
        _, sender = await loop.create_connection(
            lambda: _Sender(request, begin + load.seconds), load.host, load.port
        )
        senders.append(sender)
    await asyncio.gather(*(sender.is_done for sender in senders))
    for sender in senders:
        if sender.refused:
            raise SystemExit(f"the server answered {sender.refused}")
    return sum(sender.answers for sender in senders) / (time.perf_counter() - begin)


async def measure(load: Load) -> float:
    """Run a load in a process of its own; give the answers a second."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.load", json.dumps(asdict(load)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"the load generator failed: {output.decode()}")
    return float(output)


if __name__ == "__main__":
    print(uvloop.run(send(Load(**json.loads(sys.argv[1])))))
