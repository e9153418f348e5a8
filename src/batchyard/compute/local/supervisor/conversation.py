"""The supervisor's end of a connection: lines of JSON over a unix socket in the data directory.

Owns framing and buffering. Refuses to know what the lines mean. The socket is reached through
`/proc/self/fd`, because the kernel takes paths of at most 107 bytes and a data directory may be
deeper.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from batchyard.compute.local.shapes import NewsShape, OrderShape

#: Of what is said over the socket and kept in task directories; raised when either changes.
VERSION = 2
SOCKET_FILE = "supervisor.sock"
_READ_BYTES = 1024 * 1024

_listening: list[socket.socket] = []


class Conversation:
    """One connected server (or command)."""

    __slots__ = ("_in", "_out", "_socket", "answers", "fd", "is_blocked", "is_listening")

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._in = b""
        self._out = bytearray()
        self.fd = connection.fileno()
        self.answers: list[NewsShape] = []
        self.is_blocked = False
        #: Gets news, because it has greeted; others only get answers.
        self.is_listening = False

    @classmethod
    def accept(cls, listener: int) -> Conversation | None:
        for candidate in _listening:
            if candidate.fileno() == listener:
                try:
                    return cls(candidate.accept()[0])
                except OSError:
                    return None
        return None

    def read_orders(self) -> list[OrderShape] | None:
        """Read the complete lines that have arrived; None when the other end is gone."""
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._in = (self._in + data).split(b"\n")
        try:
            return [json.loads(line) for line in lines]
        except ValueError:
            return None

    def write(self, news: NewsShape) -> None:
        self._out += json.dumps(news, separators=(",", ":")).encode() + b"\n"

    def flush(self) -> bool:
        """Send what the socket takes; False if something is left."""
        while self._out:
            try:
                sent = self._socket.send(self._out)
            except BlockingIOError:
                return False
            except OSError:
                self._out.clear()  # The end of the connection is noticed by reading.
                return True
            del self._out[:sent]
        return True

    def close(self) -> None:
        self._socket.close()


def listen(data_dir: str) -> int:
    """Open the socket of a data directory, for root alone; return its descriptor."""
    directory = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        path = f"/proc/self/fd/{directory}/{SOCKET_FILE}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(mask)
        listener.listen(16)
        listener.setblocking(False)
    finally:
        os.close(directory)
    _listening.append(listener)
    return listener.fileno()
