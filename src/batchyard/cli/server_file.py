"""What a running server leaves in its data folder, so that other commands find it.

Owns `server.json`: process id and endpoint. A file whose process is gone counts as absent.
"""

import os
from pathlib import Path

import msgspec


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is up."""

    pid: int
    endpoint: str
    region: str
    log_file: str | None = None


def _path(data_path: Path) -> Path:
    return data_path / "server.json"


def write_server_file(data_path: Path, server: RunningServer) -> None:
    path = _path(data_path)
    scratch = path.with_suffix(".new")
    scratch.write_bytes(msgspec.json.encode(server))
    scratch.replace(path)


def remove_server_file(data_path: Path) -> None:
    _path(data_path).unlink(missing_ok=True)


def find_server(data_path: Path) -> RunningServer | None:
    """Find the server of a data folder; None if none is up."""
    try:
        server = msgspec.json.decode(_path(data_path).read_bytes(), type=RunningServer)
        os.kill(server.pid, 0)
    except (FileNotFoundError, ProcessLookupError, msgspec.DecodeError):
        return None
    except PermissionError:
        return None if not _path(data_path).exists() else server
    return server
