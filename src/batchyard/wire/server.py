"""The HTTP server: a socket, uvicorn with httptools, and the application behind it.

Owns listening and stopping. Runs inside an asyncio loop that is already running (uvloop, where the
caller chose it) and installs no signal handlers: both are the business of whoever puts the parts
together. Refuses to know what is served.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Generator, Mapping
from importlib.metadata import PackageNotFoundError, version

import structlog
import uvicorn

from batchyard.access.keys import KeyRing
from batchyard.model.addresses import TASK_ENDPOINT_ADDRESS
from batchyard.wire.app import Application, AsgiApp, read_wall_clock_ms
from batchyard.wire.call import Handlers
from batchyard.wire.connection import Connection

_log = structlog.get_logger()

#: Addresses that stand for all of this machine, and the loopback address each of them includes.
_LOOPBACK_BY_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "[::1]"}  # noqa: S104
#: Linux: an address may be bound before it is there. Python's `socket` has no name for it.
_IP_FREEBIND = 15
#: Connections that may wait for us to accept them.
BACKLOG = 2048
#: An idle connection is kept this long; SDKs reuse theirs for about a minute.
KEEP_ALIVE_S = 75
#: On stop, requests under way get this long to finish.
STOP_S_MAX = 10
#: uvicorn ticks ten times a second; every five seconds we look for peers that keep us waiting.
_TICKS_PER_LOOK = 50


class CannotListen(Exception):
    """The address cannot be listened on. Says why and what to do."""


class Server:
    """Serves the AWS protocols on one address."""

    def __init__(  # noqa: PLR0913  # values from the settings; all but four have defaults
        self,
        *,
        handlers: Handlers,
        keys: KeyRing,
        host: str,
        port: int,
        extra_routes: Mapping[str, AsgiApp] | None = None,
        now_ms: Callable[[], int] = read_wall_clock_ms,
        signing_now_ms: Callable[[], int] | None = None,
    ) -> None:
        """Prepare a server; nothing is opened yet.

        `extra_routes` maps path prefixes to ASGI applications, for what is not AWS's. Port 0 lets
        the system choose; see `port`. `now_ms` is the time that operations are told, and by which
        signatures are judged unless `signing_now_ms` is given. Raises ValueError for a
        handler that no model knows.
        """
        self._host = host
        self._asked_port = port
        self._app = Application(
            handlers=handlers,
            keys=keys,
            extra_routes=extra_routes or {},
            version=_own_version(),
            now_ms=now_ms,
            signing_now_ms=signing_now_ms or now_ms,
        )
        self._socket: socket.socket | None = None
        #: Where tasks with a network of their own ask; None: the port is taken there.
        self._task_socket: socket.socket | None = None
        self._uvicorn: _Uvicorn | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port listened on. Only between `bind` and `stop`."""
        assert self._socket is not None, "the server has no address yet"
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """What clients take as endpoint URL. Only between `bind` and `stop`."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    @property
    def local_url(self) -> str:
        """What programs on this machine take as endpoint URL: loopback, where that is listened on.

        Only between `bind` and `stop`.
        """
        loopback = _LOOPBACK_BY_EVERYWHERE.get(self._host)
        return self.url if loopback is None else f"http://{loopback}:{self.port}"

    @property
    def task_url(self) -> str | None:
        """What tasks with a network of their own take as endpoint URL; None: they have none.

        Only between `bind` and `stop`.
        """
        if self._task_socket is None and self._host not in _LOOPBACK_BY_EVERYWHERE:
            return None
        return f"http://{TASK_ENDPOINT_ADDRESS}:{self.port}"

    def bind(self) -> None:
        """Take the addresses: whoever connects waits until `start`. Raises CannotListen."""
        if self._socket is None:
            self._socket = _listen(self._host, self._asked_port)
            if self._host not in _LOOPBACK_BY_EVERYWHERE:
                self._task_socket = _listen_to_tasks(self.port)

    async def start(self) -> None:
        """Listen; requests are answered from here on. Raises CannotListen."""
        assert self._running is None, "the server is started already"
        self.bind()
        assert self._socket is not None
        config = uvicorn.Config(
            self._app,
            http=Connection,
            loop="uvloop",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",  # below that, every port scan is a line
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S_MAX,
        )
        self._uvicorn = _Uvicorn(config)
        # This task is uvicorn's whole life; `stop` ends it and waits for it.
        sockets = [self._socket, *([self._task_socket] if self._task_socket else [])]
        self._running = asyncio.create_task(self._uvicorn.serve(sockets=sockets))
        await asyncio.wait(
            [self._running, listening := asyncio.ensure_future(self._uvicorn.listening.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        listening.cancel()
        if self._running.done():
            await self._running  # raises what went wrong

    async def wait(self) -> None:
        """Wait until the server has ended, and raise what ended it."""
        assert self._running is not None, "the server is not started"
        await asyncio.shield(self._running)

    async def stop(self) -> None:
        """Take no more connections, finish the requests under way within STOP_S_MAX, close."""
        if self._running is None or self._uvicorn is None:
            for listener in (self._socket, self._task_socket):
                if listener is not None:
                    listener.close()
            self._socket = self._task_socket = None
            return
        self._uvicorn.should_exit = True
        await self._running
        self._running = None


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers, telling when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def on_tick(self, counter: int) -> bool:
        if counter % _TICKS_PER_LOOK == 0:
            now = asyncio.get_running_loop().time()
            for connection in list(self.server_state.connections):
                assert isinstance(connection, Connection)
                connection.end_if_late(now)
        return await super().on_tick(counter)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except (socket.gaierror, UnicodeError) as error:
        raise CannotListen(f"{host!r} is no address of this machine: {error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CannotListen(_why_not(host, port, error)) from error
    listener.setblocking(False)
    return listener


def _listen_to_tasks(port: int) -> socket.socket | None:
    """Listen where tasks with a network of their own ask, before that address is there."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        listener.bind((TASK_ENDPOINT_ADDRESS, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        _log.warning("tasks_not_listened_to", address=TASK_ENDPOINT_ADDRESS, reason=str(error))
        return None
    listener.setblocking(False)
    return listener


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use by another process: stop it, or choose another port"
            " (0 lets the system choose)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has: choose one above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine: use 127.0.0.1, or 0.0.0.0 for all"
    return f"cannot listen on {host} port {port}: {error.strerror or error}"


def _own_version() -> str:
    try:
        return version("batchyard")
    except PackageNotFoundError:
        return "unknown"
