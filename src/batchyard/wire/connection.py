"""One HTTP connection, within limits: what a peer may hold of us before it has shown a signature.

Decides how large the head of a request may be, how long a request may take to arrive and an answer
to be read, how many connections there may be, and how many requests ahead of their answers. Refuses
to know what is asked. uvicorn limits none of these with httptools: without them one peer takes all
memory with a head that never ends, and all file descriptors with connections that say nothing.
"""

import resource
from asyncio import AbstractEventLoop, Transport
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from batchyard.model.limits import REQUEST_BYTES_MAX, REQUEST_HEAD_BYTES_MAX

#: A request must have arrived whole within this time, and an answer go on being read.
ARRIVAL_S_MAX = 75.0
#: Connections at once; each costs some 20 KB.
CONNECTIONS_MAX = 10_000
#: Requests sent ahead of their answers. AWS's clients send none; each costs us a hundred times what
#: the peer sent for it.
PIPELINED_MAX = 64
#: Bytes of one request on the wire; a body in chunks of one byte takes six times its size.
_ARRIVING_BYTES_MAX = 8 * REQUEST_BYTES_MAX
#: File descriptors kept for the database, the supervisor and the output of jobs.
_FILES_RESERVED = 256
_CONNECTIONS_MIN = 64

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n"
    b"\r\n"
)


def connections_max() -> int:
    """Tell how many connections there may be at once."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(_CONNECTIONS_MIN, min(CONNECTIONS_MAX, files - _FILES_RESERVED))


class _TooMuch(Exception):
    """Leaves the parser, which then ends the connection."""


class _JoinedWrites:
    """A transport that sends what is written in one go of the loop with one system call.

    uvicorn writes an answer's head and its body apart. A server that is killed between the two
    would leave a client with a 200 and nothing in it; and each call more costs.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._pieces:
            self._loop.call_soon(self._flush)
        self._pieces.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, with limits. `end_if_late` is to be called every few seconds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._connections_max = connections_max()
        self._is_in_head = False
        self._is_head_too_large = False
        self._head_number = 0
        self._head_bytes = 0
        self._arriving_bytes = 0
        #: Since when (loop time) we wait for the rest of a request; None: we do not.
        self._waiting_since: float | None = None
        #: Since when the peer reads nothing of what we write; None: it does.
        self._unread_since: float | None = None

    def end_if_late(self, now: float) -> None:
        """Cut the connection off if its peer has kept us waiting for too long."""
        since = self._unread_since
        if since is None and not self.pipeline:  # With a pipeline it is the peer that waits.
            since = self._waiting_since
        if since is not None and now - since > ARRIVAL_S_MAX:
            self.transport.abort()

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        joined = cast("Transport", _JoinedWrites(transport, self.loop))
        super().connection_made(joined)
        self._waiting_since = self.loop.time()
        if len(self.connections) > self._connections_max:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._waiting_since is None:
            self._waiting_since = self.loop.time()
        self._arriving_bytes += len(data)
        if self._arriving_bytes > _ARRIVING_BYTES_MAX:  # for one, trailers without end
            self.transport.abort()
            return
        head = self._head_number if self._is_in_head else None
        super().data_received(data)
        if self._is_in_head and self._head_number == head:
            # Nothing but this head has arrived. Its last field may be in the parser, uncounted.
            self._head_bytes += len(data)
            if self._head_bytes > REQUEST_HEAD_BYTES_MAX:
                self._is_head_too_large = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._head_number += 1
        self._head_bytes = 0
        if self._waiting_since is None:
            self._waiting_since = self.loop.time()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        size = len(self.url) + sum([len(name) + len(value) for name, value in self.headers])
        if size > REQUEST_HEAD_BYTES_MAX:
            self._is_head_too_large = True
            raise _TooMuch
        super().on_headers_complete()
        if len(self.pipeline) > PIPELINED_MAX:
            self.transport.abort()
            raise _TooMuch

    def on_message_complete(self) -> None:
        self._waiting_since = None
        self._arriving_bytes = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        self._unread_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        if self.transport.is_closing():
            return
        if not self._is_head_too_large:
            super().send_400_response(msg)
            return
        self.transport.write(_TOO_LARGE)
        self.transport.close()
