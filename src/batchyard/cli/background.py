"""A server in the background: started until it is ready, stopped until it is gone."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import click
import msgspec

from batchyard.cli.server_file import RunningServer, find_server
from batchyard.cli.settings import PREFIX, Settings

_START_S_MAX = 60.0
_LOG_TAIL_LINES = 15


def start_server(settings: Settings, *, config: str | None = None) -> RunningServer:
    """Start a server of its own session, and return once it answers.

    `config` is the file that the settings came from: access keys are read from there again. The log
    goes to `server.log` in the data folder. Raises `click.ClickException` with the end of
    that log if it does not come up.
    """
    data_path = settings.data_path
    running = find_server(data_path)
    if running is not None:
        raise click.ClickException(f"a server is up already at {running.endpoint}")
    try:
        data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise click.ClickException(f"the data folder cannot be made: {error}") from error
    log_path = data_path / "server.log"
    ready, told = os.pipe()
    with open(log_path, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as log:
        start_of_log = log.tell()
        process = subprocess.Popen(  # noqa: S603 -- ourselves, with arguments of ours
            # -P: what lies in the operator's current folder must not be imported as root.
            [sys.executable, "-P", "-m", "batchyard.cli.main", "up", "--ready-fd", str(told)],
            env=_without_settings() | _as_variables(settings, config),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[told],
            start_new_session=True,
        )
    os.close(told)
    readable, _, _ = select.select([ready], [], [], _START_S_MAX)
    answer = os.read(ready, 16) if readable else b""
    os.close(ready)
    server = find_server(data_path)
    if answer != b"ready" or server is None:
        process.kill()
        process.wait()
        raise click.ClickException(f"the server did not come up:\n{_tail(log_path, start_of_log)}")
    return server


def stop_server(data_path: Path, *, timeout_s: float = 30) -> None:
    """Stop the server of a data folder, if one is up, and wait for its end.

    Raises `click.ClickException` if the server is not gone in time.
    """
    server = find_server(data_path)
    if server is not None:
        try:
            process = os.pidfd_open(server.pid)
        except ProcessLookupError:
            return
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not select.select([process], [], [], timeout_s)[0]:
                raise click.ClickException(
                    f"the server (pid {server.pid}) did not end within {timeout_s:g} seconds"
                )
        except ProcessLookupError:
            pass
        finally:
            os.close(process)
        click.echo(f"the server (pid {server.pid}) has ended")


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def _as_variables(settings: Settings, config: str | None) -> dict[str, str]:
    """Hand the settings over as they are; access keys stay in their file.

    So do tables that a variable cannot hold: a value with a comma can only come from there.
    """
    variables = {} if config is None else {f"{PREFIX}CONFIG": str(Path(config).absolute())}
    for name, value in msgspec.to_builtins(settings).items():
        if value is None or name == "keys":
            continue
        if isinstance(value, dict):
            pairs = [f"{left}={right}" for left, right in value.items()]
            if any("," in pair for pair in pairs):
                continue
            text = ",".join(pairs)
        else:
            text = ",".join(value) if isinstance(value, list | tuple) else str(value)
        variables[PREFIX + name.upper()] = text.lower() if isinstance(value, bool) else text
    return variables


def _tail(path: Path, start: int) -> str:
    with path.open("rb") as log:
        log.seek(start)
        lines = log.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:]) or "(it said nothing)"
