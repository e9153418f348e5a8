"""Which engines answer on this machine, and a few calls to one outside a running server.

Owns the places where sockets are looked for, and calls that block. Refuses to choose between an
engine and the direct runtime: `compute.choice` does.

Source: docker's documentation of contexts and DOCKER_HOST, podman's of its service; both name a
socket in the environment. Only sockets of this machine count: folders and devices of jobs are here.
"""

import http.client
import os
import socket
from contextlib import closing
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from batchyard.compute.port import Trouble

Kind = Literal["docker", "podman"]
KINDS: Final[tuple[Kind, ...]] = ("docker", "podman")

_VERSION: Final = "v1.41"
_TIMEOUT_S: Final = 20.0
_LOAD_TIMEOUT_S: Final = 600.0
_ERROR_MIN: Final = 400
_VARIABLE_BY_KIND: Final = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}
_INSTALL_BY_KIND: Final = {
    "docker": "install Docker and start it, or be in the group docker",
    "podman": "install podman and start its service: systemctl --user start podman.socket",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEngine:
    """An engine that answered."""

    kind: Kind
    socket_path: str
    version: str


def socket_paths(kind: Kind) -> list[str]:
    """List where an engine's socket may be; the first that answers is it."""
    named = os.environ.get(_VARIABLE_BY_KIND[kind], "")
    if named.startswith("unix://"):
        return [named.removeprefix("unix://")]
    home = os.path.expanduser("~")
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    if kind == "docker":
        return [
            "/var/run/docker.sock",
            f"{runtime}/docker.sock",
            f"{home}/.docker/run/docker.sock",
            f"{home}/.docker/desktop/docker.sock",
        ]
    system, own = "/run/podman/podman.sock", f"{runtime}/podman/podman.sock"
    return [system, own] if os.geteuid() == 0 else [own, system]


def find_engine(kind: Kind, socket_path: str | None = None) -> FoundEngine:
    """Find an engine, at a socket or where its kind has one. Raises `Trouble`; blocks."""
    problems = []
    for path in [socket_path] if socket_path else socket_paths(kind):
        if not os.path.exists(path):
            continue
        try:
            answer = msgspec.json.decode(ask(path, "GET", "/version"), type=dict)
        except (Trouble, msgspec.DecodeError) as error:
            problems.append(f"{path}: {error}")
            continue
        found: Kind = "podman" if "Podman" in str(answer.get("Components")) else "docker"
        if found != kind:
            problems.append(f"{path}: {found} answers there")
            continue
        return FoundEngine(kind=kind, socket_path=path, version=str(answer.get("Version")))
    why = "; ".join(problems) or f"there is no socket at {socket_path or 'its usual places'}"
    raise Trouble(f"{kind} does not answer ({why}): {_INSTALL_BY_KIND[kind]}")


def load_image(engine: FoundEngine, archive: bytes) -> None:
    """Store the images of a docker-archive in an engine. Raises `Trouble`; blocks."""
    ask(engine.socket_path, "POST", "/images/load", archive, timeout_s=_LOAD_TIMEOUT_S)


def ask(
    socket_path: str, method: str, path: str, body: bytes = b"", *, timeout_s: float = _TIMEOUT_S
) -> bytes:
    """Make one call to an engine and give the answer. Raises `Trouble`; blocks."""
    headers = {"Content-Type": "application/x-tar"} if body else {}
    try:
        with closing(_Connection(socket_path, timeout_s)) as connection:
            connection.request(method, f"/{_VERSION}{path}", body or None, headers)
            response = connection.getresponse()
            data = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Trouble(str(error)) from error
    if response.status >= _ERROR_MIN:
        raise Trouble(data.decode("utf-8", "replace").strip() or f"status {response.status}")
    return data


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("engine", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(self.timeout)
        try:
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        self.sock = made
