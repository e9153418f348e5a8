"""Credentials for registries: as docker keeps them on this machine, and those that a task brings.

Owns the reading of docker's `config.json` (of the server's own user, or where DOCKER_CONFIG says)
and of the credential helpers it names; and the folder in which the credentials of tasks lie while
their images are still to be pulled. Refuses to show any of it: no text, no log line has a value.

Source: docker's documentation of `docker login` (credential stores, helpers and their protocol).
"""

import asyncio
import base64
import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from batchyard.compute.port import RegistryAuth
from batchyard.model.ids import TaskId

_HELPER_TIMEOUT_S: Final = 20.0
#: docker's own name for Docker Hub, in its file and to helpers.
_HUB: Final = "https://index.docker.io/v1/"

_log = structlog.get_logger()


class _Entry(msgspec.Struct):
    auth: str = ""
    username: str = ""
    password: str = ""
    identitytoken: str = ""


class _Config(msgspec.Struct):
    auths: dict[str, _Entry] = {}
    creds_store: str = msgspec.field(name="credsStore", default="")
    cred_helpers: dict[str, str] = msgspec.field(name="credHelpers", default_factory=dict)


class _Helped(msgspec.Struct):
    username: str = msgspec.field(name="Username", default="")
    secret: str = msgspec.field(name="Secret", default="")


def config_path() -> Path:
    """Tell where docker keeps credentials for this user."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path("~/.docker").expanduser()) / "config.json"


async def auth_for(registry: str) -> RegistryAuth | None:
    """Find the credentials for a registry (`host[:port]`) as docker would; None if there are none.

    What cannot be read is said in the log, and counts as none.
    """
    path = config_path()
    try:
        config = msgspec.json.decode(await asyncio.to_thread(path.read_bytes), type=_Config)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        # A decoder's message may quote; only its kind is told.
        _log.warning("registry_credentials_unreadable", path=str(path), error=type(error).__name__)
        return None
    key = _HUB if registry == "docker.io" else registry
    helper = config.cred_helpers.get(registry) or config.cred_helpers.get(key) or config.creds_store
    if helper:
        return await _ask_helper(helper, key)
    for name, entry in config.auths.items():
        if _registry_of(name) == registry:
            return _auth_of(entry)
    return None


def auth_file(registry: str, auth: RegistryAuth) -> bytes:
    """Give a file in docker's form with the credentials of one registry."""
    pair = base64.b64encode(f"{auth.username}:{auth.password}".encode()).decode()
    return msgspec.json.encode({"auths": {registry: {"auth": pair}}})


def _registry_of(name: str) -> str:
    """Read a key of docker's file: a host, or a URL."""
    if name == _HUB:
        return "docker.io"
    return name.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _auth_of(entry: _Entry) -> RegistryAuth | None:
    username, password = entry.username, entry.password
    if entry.auth:
        try:
            pair = base64.b64decode(entry.auth).decode()
        except ValueError:
            return None
        username, _, password = pair.partition(":")
    if not username:
        return None
    return RegistryAuth(username=username, password=password.strip("\0"))


async def _ask_helper(helper: str, server: str) -> RegistryAuth | None:
    """Run `docker-credential-<helper> get`: a server's name in, JSON out."""
    program = shutil.which(f"docker-credential-{helper}")
    if program is None:
        _log.warning("credential_helper_missing", program=f"docker-credential-{helper}")
        return None
    process = await asyncio.create_subprocess_exec(
        program,
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_HELPER_TIMEOUT_S):
            said, _ = await process.communicate(server.encode())
        # A helper that knows nothing exits with 1; and so does one that fails.
        found = msgspec.json.decode(said, type=_Helped) if process.returncode == 0 else _Helped()
    except (TimeoutError, msgspec.DecodeError) as error:
        _log.warning("credential_helper_failed", program=program, error=type(error).__name__)
        found = _Helped()
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if not found.username:
        return None
    return RegistryAuth(username=found.username, password=found.secret)


class BroughtAuths:
    """Credentials that tasks brought, by image, for as long as those are to be pulled.

    Kept in files that only the server's user can read, because a pull goes on after a restart; the
    file of a task is deleted as soon as its images are here, or it has failed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, task_id: TaskId, auth_by_image: Mapping[str, RegistryAuth]) -> None:
        """Keep credentials. Raises `OSError`."""
        if not auth_by_image:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path(task_id).with_suffix(".new")
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(auth_by_image))
        draft.replace(self._path(task_id))

    def get(self, task_id: TaskId, image: str) -> RegistryAuth | None:
        """Find what a task brought for an image."""
        try:
            data = self._path(task_id).read_bytes()
        except OSError:
            return None
        return msgspec.json.decode(data, type=dict[str, RegistryAuth]).get(image)

    def drop(self, task_id: TaskId) -> None:
        """Forget what a task brought, if anything."""
        self._path(task_id).unlink(missing_ok=True)

    def keep_only(self, task_ids: frozenset[TaskId]) -> None:
        """Forget what all other tasks brought."""
        names = {f"{task_id}.json" for task_id in task_ids}
        for path in self._folder.glob("*"):
            if path.name not in names:
                path.unlink(missing_ok=True)

    def _path(self, task_id: TaskId) -> Path:
        return self._folder / f"{task_id}.json"
