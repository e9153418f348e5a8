"""The Docker Engine API, as far as tasks need it: one call, one method.

Owns the HTTP over the engine's socket, and what an answer that is no success means. Refuses to know
tasks. Podman's service answers the same calls; where the two differ, that is said at the call.

aiohttp alone, without a library for the API on top: what it would add decodes output before the
stream's number could be read, and holds a hundred connections at most. Every running container has
one here, for its output.

Source: Docker Engine API 1.41 (docker 20.10, podman 4), the oldest we ask for.
"""

import base64
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import aiohttp
import msgspec

from batchyard.compute.docker.frames import Entry, FrameReader
from batchyard.compute.port import RegistryAuth, Trouble

_VERSION: Final = "v1.41"
#: Of one answer; making a container takes a tenth of a second, on a machine under load a hundred
#: times that.
_ANSWER_TIMEOUT_S: Final = 120.0
#: A pull in which nothing arrives for so long has failed, as one of the direct runtime.
_PULL_INACTIVITY_S: Final = 60.0
_PULL_TIMEOUT_S: Final = 7200.0
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_ERROR_MIN: Final = 400

Json = dict[str, Any]


class EngineError(Exception):
    """The engine said no. The text is its own, without a line break."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(" ".join(text.split()))
        self.status = status

    @property
    def is_not_found(self) -> bool:
        return self.status == _NOT_FOUND

    @property
    def is_conflict(self) -> bool:
        """A name is taken, or the container is in no state for it. Podman says 500 for both."""
        text = str(self)
        return self.status == _CONFLICT or "in use" in text or "state improper" in text


class PullFailed(Exception):
    """The image cannot be had; the text says why, in the engine's words."""


class _State(msgspec.Struct, rename="pascal"):
    status: str
    exit_code: int = 0
    oom_killed: bool = msgspec.field(name="OOMKilled", default=False)
    error: str = ""
    started_at: str = ""
    finished_at: str = ""


class _Endpoint(msgspec.Struct, rename="pascal"):
    ip_address: str = msgspec.field(name="IPAddress", default="")


class _Networks(msgspec.Struct, rename="pascal"):
    networks: dict[str, _Endpoint] | None = None


class _Container(msgspec.Struct, rename="pascal"):
    id: str
    state: _State
    network_settings: _Networks | None = None


class _Listed(msgspec.Struct, rename="pascal"):
    id: str
    state: str = ""
    labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the engine says of a container now."""

    id: str
    #: `created`: its process has never run. `over`: it has run, and will not run again.
    stage: Literal["created", "running", "over"]
    exit_code: int
    is_out_of_memory: bool
    error: str
    started_at_ms: int | None
    finished_at_ms: int | None
    addresses: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A container in a listing."""

    id: str
    is_running: bool
    labels: Mapping[str, str]


class EngineApi:
    """Connections to one engine. Raises `EngineError` where it says no, `Trouble` where it says
    nothing."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make ready; connects with the first call."""
        # Without a limit: each running container holds a connection.
        connector = aiohttp.UnixConnector(path=self._socket_path, limit=0)
        self._session = aiohttp.ClientSession(connector=connector)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- the engine ---------------------------------------------------------------------------

    async def info(self) -> Json:
        return cast("Json", await self._call("GET", "/info"))

    async def version(self) -> Json:
        return cast("Json", await self._call("GET", "/version"))

    async def events(
        self, filters: Mapping[str, Sequence[str]], *, since_s: int
    ) -> AsyncIterator[Json]:
        """Yield what happens, for as long as the engine tells; `{}` once it listens."""
        query = {"filters": json.dumps(filters), "since": str(since_s)}
        async with self._stream("GET", "/events", query) as response:
            yield {}
            rest = b""
            async for data in response.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield msgspec.json.decode(line, type=dict)

    # -- containers ---------------------------------------------------------------------------

    async def create(self, name: str, config: Json) -> str:
        """Make a container; return its id. A taken name is a conflict."""
        made = await self._call("POST", "/containers/create", {"name": name}, config)
        return str(made["Id"])

    async def start(self, container: str) -> None:
        await self._call("POST", f"/containers/{container}/start")

    async def kill(self, container: str, signal: str) -> None:
        """Send a signal; one that does not run any more, or is gone, is left as it is."""
        try:
            await self._call("POST", f"/containers/{container}/kill", {"signal": signal})
        except EngineError as error:
            if not (error.is_not_found or error.is_conflict):
                raise

    async def remove(self, container: str, *, is_forced: bool) -> None:
        """Remove a container with its unnamed volumes; one that is gone is no error.

        Without force, one that runs is a conflict.
        """
        query = {"v": "true", "force": "true" if is_forced else "false"}
        with contextlib.suppress(_Gone):
            await self._call("DELETE", f"/containers/{container}", query)

    async def inspect(self, container: str) -> Look | None:
        """Look at a container; None if there is none."""
        try:
            data = await self._read("GET", f"/containers/{container}/json")
        except _Gone:
            return None
        found = msgspec.json.decode(data, type=_Container)
        networks = found.network_settings and found.network_settings.networks
        return Look(
            id=found.id,
            stage=_stage_of(found.state.status),
            exit_code=found.state.exit_code,
            is_out_of_memory=found.state.oom_killed,
            error=found.state.error,
            started_at_ms=time_ms_of(found.state.started_at),
            finished_at_ms=time_ms_of(found.state.finished_at),
            addresses={name: each.ip_address for name, each in (networks or {}).items()},
        )

    async def list_containers(self, label: str) -> list[Listed]:
        """List the containers with a label (`name=value`), whatever they do."""
        query = {"all": "true", "filters": json.dumps({"label": [label]})}
        data = await self._read("GET", "/containers/json", query)
        return [
            Listed(
                id=each.id,
                is_running=_stage_of(each.state) == "running",
                labels=each.labels or {},
            )
            for each in msgspec.json.decode(data, type=list[_Listed])
        ]

    async def log(
        self, container: str, *, is_followed: bool, last: int | None = None
    ) -> AsyncGenerator[list[Entry], None]:
        """Yield a container's output from its beginning (or the last entries of it), as it
        comes."""
        query = {"stdout": "true", "stderr": "true", "timestamps": "true"}
        query |= {"follow": "true"} if is_followed else {}
        query |= {} if last is None else {"tail": str(last)}
        reader = FrameReader()
        path = f"/containers/{container}/logs"
        async with self._stream("GET", path, query) as response:
            async for data in response.content.iter_any():
                if entries := reader.feed(data):
                    yield entries

    # -- images -------------------------------------------------------------------------------

    async def has_image(self, name: str) -> bool:
        try:
            await self._read("GET", f"/images/{quote(name, safe='/:@')}/json")
        except _Gone:
            return False
        return True

    async def pull(self, name: str, auth: RegistryAuth | None) -> None:
        """Pull an image by its full name. Raises `PullFailed`."""
        headers = {} if auth is None else {"X-Registry-Auth": _auth_header(auth)}
        repository, _, digest = name.partition("@")
        if not digest:
            repository, _, digest = repository.rpartition(":")
        query = {"fromImage": repository, "tag": digest}
        limits = aiohttp.ClientTimeout(total=_PULL_TIMEOUT_S, sock_read=_PULL_INACTIVITY_S)
        rest = b""
        try:
            async with self._stream(
                "POST", "/images/create", query, headers=headers, timeout=limits
            ) as response:
                async for data in response.content.iter_any():
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        _check_progress(line)
                _check_progress(rest)
        except EngineError as error:
            raise PullFailed(str(error)) from error
        except TimeoutError as error:
            raise PullFailed(f"{name}: nothing arrived for {_PULL_INACTIVITY_S:.0f} s") from error

    async def load(self, archive: bytes) -> None:
        """Store the images of a docker-archive."""
        headers = {"Content-Type": "application/x-tar"}
        await self._read("POST", "/images/load", data=archive, headers=headers)

    # -- networks and volumes -----------------------------------------------------------------

    async def find_network(self, name: str) -> Json | None:
        try:
            return cast("Json", await self._call("GET", f"/networks/{name}"))
        except _Gone:
            return None

    async def create_network(self, config: Json) -> None:
        await self._call("POST", "/networks/create", None, config)

    async def remove_network(self, name: str) -> None:
        with contextlib.suppress(_Gone):
            await self._call("DELETE", f"/networks/{name}")

    async def create_volume(self, name: str, labels: Mapping[str, str]) -> None:
        """Make a volume; one of that name is no error."""
        config = {"Name": name, "Driver": "local", "Labels": labels}
        await self._call("POST", "/volumes/create", None, config)

    async def list_volumes(self, label: str) -> list[str]:
        """Name the volumes with a label."""
        found = await self._call("GET", "/volumes", {"filters": json.dumps({"label": [label]})})
        return [str(each["Name"]) for each in found.get("Volumes") or ()]

    async def remove_volume(self, name: str) -> None:
        with contextlib.suppress(_Gone):
            await self._call("DELETE", f"/volumes/{name}")

    # -- HTTP ---------------------------------------------------------------------------------

    async def _call(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None
    ) -> Any:
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = b"" if body is None else msgspec.json.encode(body)
        answer = await self._read(method, path, query, data=data, headers=headers)
        return msgspec.json.decode(answer) if answer.strip() else None

    async def _read(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        limit = aiohttp.ClientTimeout(total=_ANSWER_TIMEOUT_S)
        try:
            async with self._stream(
                method, path, query, data=data, headers=headers, timeout=limit
            ) as response:
                return await response.read()
        except TimeoutError as error:
            raise Trouble(f"the container engine does not answer ({method} {path})") from error

    @contextlib.asynccontextmanager
    async def _stream(  # noqa: PLR0913  # HTTP's own
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        data: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: aiohttp.ClientTimeout = aiohttp.ClientTimeout(total=None),  # noqa: ASYNC109, B008
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            raise Trouble("the connection to the container engine is closed")
        url = f"http://engine/{_VERSION}{path}"
        try:
            async with self._session.request(
                method, url, params=query, data=data or None, headers=headers, timeout=timeout
            ) as response:
                if response.status >= _ERROR_MIN:
                    raise _error_of(response.status, await response.read())
                yield response
        except (aiohttp.ServerTimeoutError, TimeoutError):
            raise TimeoutError from None
        except (aiohttp.ClientError, OSError) as error:
            raise Trouble(f"the container engine cannot be reached: {error}") from error


class _Gone(EngineError):
    """There is no such thing."""


def _error_of(status: int, body: bytes) -> EngineError:
    try:
        text = str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        text = body.decode("utf-8", "replace") or f"status {status}"
    return _Gone(status, text) if status == _NOT_FOUND else EngineError(status, text)


def _check_progress(line: bytes) -> None:
    """Read a line of a pull's progress. Raises `PullFailed`."""
    if not line.strip():
        return
    with contextlib.suppress(msgspec.DecodeError):
        progress = msgspec.json.decode(line)
        if isinstance(progress, dict) and progress.get("error"):
            raise PullFailed(" ".join(str(progress["error"]).split()))


def _auth_header(auth: RegistryAuth) -> str:
    plain = json.dumps({"username": auth.username, "password": auth.password})
    return base64.urlsafe_b64encode(plain.encode()).decode()


def _stage_of(status: str) -> Literal["created", "running", "over"]:
    # Podman has `initialized` and `configured` for what docker calls created.
    if status in ("created", "initialized", "configured"):
        return "created"
    if status in ("exited", "dead", "removing", "stopped"):
        return "over"
    return "running"


def time_ms_of(text: str) -> int | None:
    """Read an engine's time; None for its way to say never (year 1)."""
    if not text or text.startswith("0001-"):
        return None
    moment = msgspec.convert(text, type=datetime, strict=False)
    return int(moment.timestamp() * 1000)
