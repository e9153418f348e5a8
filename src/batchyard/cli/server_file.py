"""What a running server leaves in its data folder, so that other commands find it.

Owns `server.json`: process id and endpoint. A file whose process is gone counts as absent, also
when another process has its number by now: after a power cut, or in a container, where every server
is process 1.
"""

import os
from pathlib import Path

import msgspec

#: `starttime`, among the fields of /proc/<pid>/stat behind the name.
_START_FIELD = 19


class RunningServer(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is up."""

    pid: int
    endpoint: str
    region: str


class _Process(msgspec.Struct, frozen=True, kw_only=True):
    """Which process wrote the file."""

    pid: int
    #: When it began, as the kernel counts; None where that cannot be told.
    start_ticks: int | None = None


def _path(data_path: Path) -> Path:
    return data_path / "server.json"


def write_server_file(data_path: Path, server: RunningServer) -> None:
    path = _path(data_path)
    scratch = path.with_suffix(".new")
    process = _Process(pid=server.pid, start_ticks=_start_ticks(server.pid))
    written = msgspec.to_builtins(server) | msgspec.to_builtins(process)
    scratch.write_bytes(msgspec.json.encode(written))
    scratch.replace(path)


def remove_server_file(data_path: Path) -> None:
    _path(data_path).unlink(missing_ok=True)


def find_server(data_path: Path) -> RunningServer | None:
    """Find the server of a data folder; None if none is up."""
    try:
        written = _path(data_path).read_bytes()
        server = msgspec.json.decode(written, type=RunningServer)
        process = msgspec.json.decode(written, type=_Process)
        os.kill(server.pid, 0)
    except (FileNotFoundError, NotADirectoryError, ProcessLookupError, msgspec.DecodeError):
        return None
    except PermissionError:
        return None if not _path(data_path).exists() else server
    return server if process.start_ticks in (None, _start_ticks(server.pid)) else None


def _start_ticks(pid: int) -> int | None:
    """Tell when a process began: no later process of the same number has the same."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[_START_FIELD])
