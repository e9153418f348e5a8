"""The server's end of the connection to the supervisor, and the starting of one where there is
none.

Owns connecting, greeting, sending orders and matching answers; sends unanswered orders again after
the supervisor was replaced (every order is safe to repeat). Refuses to know what orders and news
mean.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from batchyard.compute.local.shapes import NewsShape, SettingsShape, TaskShape
from batchyard.compute.local.supervisor.conversation import SOCKET_FILE, VERSION
from batchyard.compute.port import Trouble

#: Starting a supervisor takes 60 to 200 ms; a machine under load gets a hundred times that.
_READY_TIMEOUT_S: Final = 20.0
_ANSWER_TIMEOUT_S: Final = 20.0
_BUSY_RETRY_S: Final = 0.1
_GREETINGS_MAX: Final = 10
#: Docker's: containers inherit the supervisor's, which must not be the server's.
_CONTAINERS_UMASK: Final = 0o022

_decode_news = msgspec.json.Decoder(NewsShape).decode


class _Lost(Trouble):
    """The connection broke before the answer came."""


class Link:
    """A connection that is opened again by `connect` after `on_lost` was called."""

    def __init__(
        self,
        data_dir: Path,
        *,
        on_news: Callable[[NewsShape], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._data_dir = data_dir
        self._on_news = on_news
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._is_greeting = False
        self._answers: dict[int, asyncio.Future[NewsShape]] = {}
        #: Orders that were not answered yet, in the order they were sent.
        self._unanswered: dict[int, bytes] = {}

    async def connect(self, settings: SettingsShape) -> list[TaskShape]:
        """Reach the supervisor, starting it if need be; return what it knows. Raises `Trouble`."""
        earlier = dict(self._unanswered)
        for _ in range(_GREETINGS_MAX):
            connection = await self._reach()
            loop = asyncio.get_running_loop()
            self._transport, _ = await loop.create_unix_connection(
                lambda: _Protocol(self._receive, self._lose), sock=connection
            )
            self._is_greeting = True
            try:
                answer = await self.ask(
                    {"do": "greet", "settings": settings}, timeout_s=_ANSWER_TIMEOUT_S
                )
            except _Lost:
                continue  # It was dying when we reached it.
            finally:
                self._is_greeting = False
            if answer.get("version") != VERSION:
                self.close()
                raise Trouble(
                    "the supervisor of this data directory is of another version of batchyard; stop"
                    " it with `batchyard down` once its tasks have ended"
                )
            for order in earlier.values():
                self._transport.write(order)
            return answer["snapshot"]
        raise Trouble("the supervisor of the containers dies as soon as it is reached")

    def send(self, order: object) -> None:
        """Send an order that needs no answer; it is dropped while there is no supervisor."""
        if self._transport is not None:
            self._transport.write(msgspec.json.encode(order) + b"\n")

    async def ask(self, order: dict[str, object], *, timeout_s: float | None = None) -> NewsShape:
        """Send an order and await its answer, across a restart of the supervisor if `timeout_s` is
        None.

        Raises `Trouble` after the timeout.
        """
        self._number += 1
        number = self._number
        data = msgspec.json.encode(order | {"number": number}) + b"\n"
        future: asyncio.Future[NewsShape] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        if timeout_s is None:
            self._unanswered[number] = data
        if self._transport is not None:
            self._transport.write(data)
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError as error:
            raise Trouble("the supervisor of the containers does not answer") from error
        finally:
            self._answers.pop(number, None)
            self._unanswered.pop(number, None)

    def close(self) -> None:
        """Hang up; `on_lost` is not called."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _receive(self, lines: list[bytes]) -> None:
        for line in lines:
            news = _decode_news(line)
            number = news.get("answer")
            if number is None:
                self._on_news(news)
            elif (future := self._answers.get(number)) is not None and not future.done():
                future.set_result(news)

    def _lose(self, transport: asyncio.BaseTransport | None) -> None:
        if self._transport is not transport:
            return
        self._transport = None
        for number, future in self._answers.items():
            if number not in self._unanswered and not future.done():
                future.set_exception(_Lost("the supervisor of the containers is gone"))
        if not self._is_greeting:
            self._on_lost()

    async def _reach(self) -> socket.socket:
        for _ in range(int(_READY_TIMEOUT_S / _BUSY_RETRY_S)):
            connection = connect_socket(self._data_dir)
            if connection is not None:
                return connection
            said = await asyncio.to_thread(start_supervisor, self._data_dir)
            if said not in ("ready", "busy"):
                raise Trouble(f"the supervisor of the containers does not start: {said}")
            if said == "busy":  # Another server is starting one at this moment.
                await asyncio.sleep(_BUSY_RETRY_S)
        raise Trouble("the supervisor of the containers is busy and cannot be reached")


def start_supervisor(data_dir: Path) -> str:
    """Start the supervisor of a data directory; return what it says: `ready`, `busy`, or the
    trouble.

    It is nobody's child afterwards, in a session of its own. Blocks until it has said something.
    """
    command = [sys.executable, "-P", "-m", "batchyard.compute.local.supervisor", str(data_dir)]
    try:
        with open(data_dir / "supervisor.log", "ab", opener=_open_privately) as log:
            process = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                cwd="/",
                umask=_CONTAINERS_UMASK,
                timeout=_READY_TIMEOUT_S,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return f"it said nothing within {_READY_TIMEOUT_S:.0f} s"
    except OSError as error:
        return str(error)
    return process.stdout.decode().strip() or f"see {data_dir / 'supervisor.log'}"


def _open_privately(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def connect_socket(data_dir: Path) -> socket.socket | None:
    """Connect to the supervisor of a data directory; None if none listens there."""
    try:
        directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{SOCKET_FILE}")
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    finally:
        os.close(directory)
    return connection


def ask_supervisor(data_dir: Path, order: dict[str, object]) -> NewsShape | None:
    """Send one order from a command, blocking; None if no supervisor runs. Raises `Trouble`."""
    connection = connect_socket(data_dir)
    if connection is None:
        return None
    try:
        with connection, connection.makefile("rb") as answers:
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.sendall(msgspec.json.encode(order | {"number": 1}) + b"\n")
            line = answers.readline()
        if not line:
            return None
        answer: NewsShape = _decode_news(line)
    except ConnectionError:
        return None  # It was going when we reached it.
    except (OSError, msgspec.MsgspecError) as error:
        raise Trouble(f"the supervisor of the containers does not answer: {error}") from error
    return answer


def leave_if_idle(data_dir: Path) -> bool:
    """Have the supervisor exit if no task runs; True if none is left. For commands; blocks."""
    answer = ask_supervisor(data_dir, {"do": "leave_if_idle"})
    return answer is None or answer["is_done"]


class _Protocol(asyncio.Protocol):
    """Cuts what arrives into lines."""

    def __init__(
        self,
        receive: Callable[[list[bytes]], None],
        lose: Callable[[asyncio.BaseTransport | None], None],
    ) -> None:
        self._deliver = receive
        self._lose = lose
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._deliver(lines)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(self._transport)
